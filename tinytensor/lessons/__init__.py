"""The course: networks that learn to read digits, each one screen of code.

The story is Martin Görner's, "TensorFlow and deep learning without a PhD". A lesson is a module
with one constant, LESSON, which defines the network, its training and the file of its chapter. The
chapter is a Markdown file in the folder `chapters`, which `tinytensor lesson` prints. To add a
lesson, write both files and add the module to _FILES.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import math
import runpy
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Literal, TypeVar

from tinytensor.arrays import Array
from tinytensor.datasets import CLASSES, MNIST_SHAPE, described_shape
from tinytensor.datasets.augment import Augmentation
from tinytensor.errors import DataError, SettingError, UnknownName
from tinytensor.lessons.chapter import Chapter, read
from tinytensor.nn import Dropout, Module
from tinytensor.ops import cross_entropy
from tinytensor.optim import SGD, Adam, AdamW, Optimizer, RMSprop, Schedule, multiplied
from tinytensor.tensors import Tensor

BATCH = 100
Shape = tuple[int, int, int]  # of an image: height, width, channels
MNIST: Shape = MNIST_SHAPE
OWN_SETTINGS = {  # those of the lesson's file
    "lr": "own", "optimizer": "own", "keep_prob": "own", "scale_rate": "own",
}  # fmt: skip
OWN_MODEL = "own"  # the number of a lesson that trains a model of your own, such as in tt.fit
WEIGHTS = Path(__file__).parent / "weights"  # safetensors files, named by the lesson's number
_Known = TypeVar("_Known")


@dataclass(frozen=True)
class Lesson:
    """One network of the course and how it is trained.

    `dataclasses.replace(find("relu"), steps=300)` is a lesson that differs in one setting.

    Args:
        number: such as "2.1".
        name: such as "relu"; `find` and the commands accept both.
        title: the idea of the lesson, in words.
        chapter: the name of the Markdown file that explains the lesson, in the folder
            lessons/chapters of the package.
        model: a function that returns a new Module, which maps images (N, 28, 28, 1) float32 to
            logits (N, 10). For data with another number of classes it is called with this number,
            and the logits are (N, classes). For images of another shape it is called with the
            number of classes and the shape (height, width, channels).
        optimizer: a function from the list of parameters to an Optimizer.
        expected_accuracy: the accuracy on the test images that the lesson must reach, 0 to 1.
        expected_of: "final": the mean of several runs after the last step must reach it. "best":
            the best test of each run must reach it.
        steps: the number of training steps.
        rate: a function from the number of steps of the whole run to a schedule of the learning
            rate, such as `lambda steps: tt.optim.cosine(0.01, steps)`. None uses the optimiser's
            learning rate.
        batch: the number of images per step.
        loss: a function from logits (N, classes) and labels (N,) to a scalar Tensor.
        augment: a function that changes the images of each batch, such as
            tt.datasets.augment.distort(); None for unchanged images.
        average: the decay of the moving average of the weights, from 0 up, below 1. The tests then
            use the averaged weights. None tests the weights themselves.
        evaluate_every: the number of steps between tests.
        settings: what differs from the lesson in its file; `changed` and `with_scaled_rate` fill
            it.
    """

    number: str
    name: str
    title: str
    chapter: str  # the Markdown file in the folder chapters that explains the lesson
    model: Callable[..., Module]  # from images (N, 28, 28, 1) to logits (N, 10)
    optimizer: Callable[[Sequence[Tensor]], Optimizer]
    expected_accuracy: float  # on the test images
    expected_of: Literal["final", "best"] = "final"  # the mean of the last, or each run's best
    steps: int = 10_000
    rate: Callable[[int], Schedule] | None = None  # of a run of n steps; else the optimiser's
    batch: int = BATCH
    loss: Callable[[Tensor, Array], Tensor] = cross_entropy  # of logits and labels
    augment: Augmentation | None = None  # of the training images
    average: float | None = None  # decay of the moving average of the weights that a test takes
    evaluate_every: int = 100
    settings: Mapping[str, str] = field(default_factory=lambda: OWN_SETTINGS)

    def new_model(self, classes: int = CLASSES, shape: Shape = MNIST) -> Module:
        """Return a new network with one output per class.

        Args:
            classes: the number of classes.
            shape: of an image: height, width, channels.

        Raises:
            SettingError: `model` takes no number of classes, and 10 are not right; or it takes no
                shape, and the images are not 28 x 28 with one channel.
        """
        if (classes, shape) == (CLASSES, MNIST):
            return self.model()
        given = (classes,) if shape == MNIST else (classes, shape)
        try:
            inspect.signature(self.model).bind(*given)
        except TypeError:
            if shape == MNIST:
                differ = f"has {CLASSES} outputs and the data have {classes} classes"
                needed = "the number of classes"
            else:
                differ = f"is for images of 28 x 28 and the data have {described_shape(shape)}"
                needed = "the number of classes and the shape (height, width, channels)"
            raise SettingError(
                f"lesson {self.name}: its model {differ}; a model function that takes {needed} is "
                "needed"
            ) from None
        return self.model(*given)

    @property
    def in_words(self) -> str:
        """Number and name: "lesson 2.1 relu", "lesson best", or "a network of your own"."""
        if self.number == OWN_MODEL:
            return "a network of your own"
        is_named = self.number in (self.name, f"{self.name}.py")  # the number is the name
        return f"lesson {self.number}" if is_named else f"lesson {self.number} {self.name}"

    @property
    def heading(self) -> str:
        """Number and title: "Lesson 1.0: one layer", or "A network of your own: Sequential"."""
        if self.number == OWN_MODEL:
            return f"A network of your own: {self.title}"
        return f"Lesson {self.number}: {self.title}"

    def weights_file(self) -> Path:
        """The file of trained weights in the package.

        Raises:
            UnknownName: the package has no weights of this lesson.
        """
        file = WEIGHTS / f"{self.number}.safetensors"
        if not file.is_file():
            known = ", ".join(sorted(other.stem for other in WEIGHTS.glob("*.safetensors")))
            raise UnknownName(
                f"lesson {self.number}: the package has no weights of it, only of {known}; make a "
                f"file by tinytensor train {self.name} --save-weights FILE"
            )
        return file

    def read_chapter(self) -> Chapter:
        """The text of the chapter."""
        return read(self.chapter)


def of_model(
    model: Module,
    optimizer: Callable[[Sequence[Tensor]], Optimizer] = Adam,
    loss: Callable[[Tensor, Array], Tensor] = cross_entropy,
    lr: str = "own",
) -> Lesson:
    """Return a lesson that trains this model, which is made already.

    Args:
        model: maps examples (N, ...) to outputs (N, outputs).
        optimizer: a function from the list of parameters to an Optimizer.
        loss: a function from outputs and labels or targets to a scalar Tensor.
        lr: the learning rate in words, which a resumed run must share.
    """
    name = type(model).__name__
    return Lesson(
        number=OWN_MODEL, name=name, title=name, chapter="", model=lambda *_: model,
        optimizer=optimizer, loss=loss, expected_accuracy=0.0, settings=OWN_SETTINGS | {"lr": lr},
    )  # fmt: skip


def scaled(rate: float) -> float:
    """Return the learning rate for the mean loss of a batch: rate * 100.

    The talk that the course follows gives learning rates for the sum of the losses of 100 images.
    Here the loss is their mean, so the gradient is 100 times smaller: scaled(0.005) is 0.5.

    Args:
        rate: the learning rate for the sum.

    Returns:
        The learning rate for the mean.
    """
    return rate * BATCH


_COURSE_FILES = (
    "mnist_1_0_softmax",
    "mnist_2_0_five_layers_sigmoid",
    "mnist_2_1_five_layers_relu_lrdecay",
    "mnist_2_2_five_layers_relu_lrdecay_dropout",
    "mnist_3_0_convolutional",
    "mnist_3_1_convolutional_bigger_dropout",
    "mnist_4_0_batchnorm_five_layers_sigmoid",
    "mnist_4_1_batchnorm_five_layers_relu",
    "mnist_4_2_batchnorm_convolutional",
)
_FILES = (*_COURSE_FILES, "mnist_fast", "mnist_small", "mnist_best")


def course() -> list[Lesson]:
    """The nine lessons of the course, 1.0 to 4.2, in its order."""
    return lessons()[: len(_COURSE_FILES)]


def lessons() -> list[Lesson]:
    """All lessons: the course and, after it, three more."""
    return [module.LESSON for module in _modules()]


def _modules() -> Iterator[ModuleType]:
    return (importlib.import_module(f"tinytensor.lessons.{name}") for name in _FILES)


def source(name: str | float) -> str:
    """The text of the Python file of the lesson with that name or number."""
    found = find(name)
    return next(inspect.getsource(module) for module in _modules() if module.LESSON is found)


def find(name: str | float) -> Lesson:
    """The lesson of that name or number: "softmax", "1.0", 1.0 or 1.

    Raises UnknownName, with the nearest name there is.
    """
    text = f"{name}.0" if str(name).isdecimal() else str(name)
    known = {key: lesson for lesson in lessons() for key in (lesson.name, lesson.number)}
    return known_by_name(known, text if text in known else str(name), "lesson: there is none")


def find_or_read(name: str) -> Lesson:
    """The lesson of that name or number, or of that Python file: "softmax", "1.0" or "mine.py"."""
    return read_file(name) if name.endswith(".py") else find(name)


def read_file(file: str | Path) -> Lesson:
    """Run a Python file, and return the Lesson in its constant LESSON.

    Its number and name become the file's name, because its network may differ from the lesson that
    the file was copied from.

    Args:
        file: the name of the file. A copy of a file of tinytensor/lessons works unchanged.

    Raises:
        DataError: the file can't be read, raises an exception, or has no LESSON; the message has
            the line.
    """
    path = Path(file)
    try:
        names = runpy.run_path(str(path))
    except OSError as error:
        raise DataError.unread(path, error, "a Python file is needed") from None
    except (Exception, SystemExit) as error:
        lines = [
            f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)
        ]
        line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
        what = error.msg if isinstance(error, SyntaxError) else error
        where = path if line is None else f"{path}, line {line}"  # None for a NUL byte
        raise DataError(f"{where}: {type(error).__name__}: {what}") from error
    found = names.get("LESSON")
    if not isinstance(found, Lesson):
        raise DataError(
            f"{path}: there is no LESSON; LESSON = tinytensor.lessons.Lesson(...) is needed, as in "
            "the files of tinytensor/lessons"
        )
    return replace(found, number=path.name, name=path.stem)


OPTIMIZERS = {"sgd": SGD, "adam": Adam, "adamw": AdamW, "rmsprop": RMSprop}


def changed(
    lesson: Lesson,
    *,
    lr: float | None = None,
    optimizer: str | None = None,
    keep_prob: float | None = None,
) -> Lesson:
    """Return the lesson with other settings; None leaves a setting unchanged.

    Args:
        lesson: the lesson.
        lr: a constant learning rate, instead of the lesson's rate or schedule.
        optimizer: the name of an optimiser in OPTIMIZERS, with its default settings. Its learning
            rate is `lr`, or else the lesson's, which may be a schedule.
        keep_prob: the probability of all Dropout layers to keep an element, above 0 and up to 1.

    Raises:
        SettingError: a value is out of range, or the network has no Dropout layer.
    """
    settings = {"lr": lr, "optimizer": optimizer, "keep_prob": keep_prob}
    given = {name: str(value) for name, value in settings.items() if value is not None}
    if keep_prob is not None:
        lesson = replace(lesson, model=_with_keep_prob(lesson, keep_prob))
    if lr is not None:
        lesson = replace(lesson, rate=None)
    if lr is not None or optimizer is not None:
        lesson = replace(lesson, optimizer=_with_optimizer(lesson, optimizer, lr))
    return replace(lesson, settings={**lesson.settings, **given})


def _with_keep_prob(lesson: Lesson, keep_prob: float) -> Callable[..., Module]:
    if not 0 < keep_prob <= 1:
        raise SettingError(f"keep_prob: got {keep_prob}; above 0 and up to 1 is needed")

    def model(classes: int = CLASSES, shape: Shape = MNIST) -> Module:
        network = lesson.new_model(classes, shape)
        layers = [layer for layer in network.modules() if isinstance(layer, Dropout)]
        if not layers:
            raise SettingError(
                f"keep_prob: lesson {lesson.number} has no Dropout layer; a lesson with one is "
                "needed, such as 2.2"
            )
        for layer in layers:
            layer.keep_prob = keep_prob
        return network

    return model


def _with_optimizer(
    lesson: Lesson, name: str | None, lr: float | None
) -> Callable[[Sequence[Tensor]], Optimizer]:
    make = lesson.optimizer

    def optimizer(parameters: Sequence[Tensor]) -> Optimizer:
        made = make(parameters)
        if name is not None:
            rate = made.lr  # raises SettingError if groups of parameters have different ones
            made = OPTIMIZERS[name](parameters, lr=made.param_groups[0].schedule or rate)
        if lr is not None:
            made.lr = lr
        return made

    return optimizer


RATE_RULES: dict[str, Callable[[float], float]] = {"linear": float, "sqrt": math.sqrt}


def with_scaled_rate(lesson: Lesson, batch: int, rule: str = "linear") -> Lesson:
    """Return the lesson with a learning rate for another number of images per step.

    With n = batch / lesson.batch, the learning rate of each step is multiplied by n ("linear") or
    by the square root of n ("sqrt"). The lesson's batch stays as it is: pass `batch` to Training,
    too.

    Args:
        lesson: the lesson, after `changed`.
        batch: the number of images per step, 1 or more.
        rule: "linear" or "sqrt".

    Raises:
        SettingError: `batch` is less than 1.
        UnknownName: there is no such rule.

    Source: Goyal et al., "Accurate, Large Minibatch SGD", 2017, for the linear rule, which is that
    of SGD; Malladi et al., "On the SDEs and Scaling Rules for Adaptive Gradient Algorithms", 2022,
    for the square root, which is that of Adam and RMSprop.
    """
    if batch < 1:
        raise SettingError(f"batch: got {batch}; 1 or more is needed")
    factor = known_by_name(RATE_RULES, rule, "scale_rate: there is no rule")(batch / lesson.batch)
    make, rate = lesson.optimizer, lesson.rate

    def optimizer(parameters: Sequence[Tensor]) -> Optimizer:
        made = make(parameters)
        for group in made.param_groups:
            own = group.schedule
            group["lr"] = group["lr"] * factor if own is None else multiplied(own, factor)
        return made

    settings = {**lesson.settings, "scale_rate": rule}
    scaled_lesson = replace(lesson, optimizer=optimizer, settings=settings)
    if rate is None:
        return scaled_lesson
    return replace(scaled_lesson, rate=lambda steps: multiplied(rate(steps), factor))


def known_by_name(known: Mapping[str, _Known], name: str, missing: str) -> _Known:
    """Return the value of this name.  Raises UnknownName with `missing` and the nearest names."""
    if name in known:
        return known[name]
    # Numbers are not misspelt: after 5.0, all names help more than 4.0.
    near = [] if name[:1].isdecimal() else difflib.get_close_matches(name, known, n=1)
    near = near or [key for key in known if name and key.startswith(name)]
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else ""
    hint = hint or f"choose from {', '.join(known)}"
    raise UnknownName(f"{missing} named {name!r}; {hint}")
