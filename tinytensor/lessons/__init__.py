"""The course: networks that learn to read digits, each one screen of code.

The story is Martin Görner's, "TensorFlow and deep learning without a PhD". A lesson is a module
with one constant, LESSON, which defines the network, its training and the file of its chapter. The
chapter is a Markdown file in the folder `chapters`, which `tinytensor lesson` prints. To add a
lesson, write both files and add the module to _FILES.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from tinytensor.arrays import Array
from tinytensor.datasets.augment import Augmentation
from tinytensor.errors import UnknownName
from tinytensor.lessons.chapter import Chapter, read
from tinytensor.nn import Module
from tinytensor.ops import cross_entropy
from tinytensor.optim import Optimizer, Schedule
from tinytensor.tensor import Tensor

BATCH = 100
_Known = TypeVar("_Known")


@dataclass(frozen=True)
class Lesson:
    """One network of the course and how it is trained."""

    number: str
    name: str
    title: str
    chapter: str  # the Markdown file in the folder chapters that explains the lesson
    model: Callable[[], Module]  # from images (N, 28, 28, 1) to logits (N, 10)
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

    def read_chapter(self) -> Chapter:
        """The text of the chapter."""
        return read(self.chapter)


def scaled(rate: float) -> float:
    """The course's rate for a loss that is the sum over a batch, as one for the mean."""
    return rate * BATCH


_FILES = (
    "mnist_1_0_softmax",
    "mnist_2_0_five_layers_sigmoid",
    "mnist_2_1_five_layers_relu_lrdecay",
    "mnist_2_2_five_layers_relu_lrdecay_dropout",
    "mnist_3_0_convolutional",
    "mnist_3_1_convolutional_bigger_dropout",
    "mnist_4_0_batchnorm_five_layers_sigmoid",
    "mnist_4_1_batchnorm_five_layers_relu",
    "mnist_4_2_batchnorm_convolutional",
    "mnist_fast",
    "mnist_best",
)


def lessons() -> list[Lesson]:
    """All lessons, in the course's order."""
    modules = (importlib.import_module(f"tinytensor.lessons.{name}") for name in _FILES)
    return [module.LESSON for module in modules]


def find(name: str | float) -> Lesson:
    """The lesson of that name or number: "softmax", "1.0" or 1.0.

    Raises UnknownName, with the nearest name there is.
    """
    known = {key: lesson for lesson in lessons() for key in (lesson.name, lesson.number)}
    return known_by_name(known, str(name), "lesson: there is none")


def known_by_name(known: Mapping[str, _Known], name: str, missing: str) -> _Known:
    """Return the value of this name.  Raises UnknownName with `missing` and the nearest names."""
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1)
    near = near or [key for key in known if name and key.startswith(name)]
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else ""
    hint = hint or f"choose from {', '.join(known)}"
    raise UnknownName(f"{missing} named {name!r}; {hint}")
