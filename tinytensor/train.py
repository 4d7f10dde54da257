"""The training loop, one for all lessons. It yields reports and knows no screen."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tinytensor import checkpoint, kernels, ops, random, recorder
from tinytensor.arrays import Array
from tinytensor.autograd import no_grad
from tinytensor.capture.captured import capture
from tinytensor.datasets import Dataset, batches, to_float
from tinytensor.errors import AnomalyError, DataError, SettingError, UnknownName
from tinytensor.lessons import Lesson, find
from tinytensor.nn import Module
from tinytensor.tensor import Tensor, from_numpy, wrap

_OF_ANOTHER = {  # why a saved run can't be gone on with, where "is of seed 0" would say too little
    "steps": "is of a run of {its} steps, with a rate made for them; it can't become one of {own}",
    "data": "is of other training data (their checksum is {its}, here {own}); the same are needed",
}
Step = Callable[[Array, Array], tuple[Tensor, Tensor]]
EVALUATED_AT_ONCE = 250  # images; more would need more memory, and time to fetch it


@dataclass(frozen=True)
class Seconds:
    """Where the time went, so far. The first step stands apart: it may compile kernels."""

    first_step: float = 0.0
    train: float = 0.0
    evaluate: float = 0.0


@dataclass(frozen=True)
class StepReport:
    """How things stand after a number of steps.

    The training figures are of the last step's batch, before its update (None before the first
    step); the test figures are of all test images, after it. rate is that of the last step.
    """

    step: int
    train_accuracy: float | None
    train_loss: float | None
    test_accuracy: float
    test_loss: float
    rate: float
    seconds: Seconds


class Made(NamedTuple):
    """A step that has just been made: its batch, and what was computed before the update."""

    images: Array  # (N, 28, 28, 1)
    labels: Array  # (N)
    logits: Tensor  # (N, 10), good until the next step
    loss: float
    rate: float

    def predictions(self) -> Array:
        """The digits (N) that the network computed for the batch, before the update."""
        predicted: Array = self.logits.argmax(axis=1).numpy()
        return predicted


class Predictions(NamedTuple):
    """The digits that the network computed for a step's batch and for all test images."""

    images: Array  # of the batch, (N, 28, 28, 1)
    labels: Array  # (N)
    predictions: Array  # (N), before the update
    test_predictions: Array  # of all test images


class Training:
    """One run of a lesson: its model, its optimiser, and how far it has come.

    steps, batch: the lesson's own where None. seed: of the first weights, the batches' order and
    dropout. evaluate_every: how many steps lie between reports. eager: whether each step is run op
    by op; else it is captured, with the same results. between_steps: called after each step but the
    last, when its report is out; until it returns the model stands still, and so does the clock.

    predictions: those of the last report; None before the first, and if no step was made.

    Raises SettingError for numbers that make no sense.
    """

    def __init__(
        self,
        lesson: Lesson,
        data: Dataset,
        *,
        steps: int | None = None,
        batch: int | None = None,
        seed: int = 0,
        evaluate_every: int | None = None,
        eager: bool = False,
        between_steps: Callable[[Made], None] | None = None,
    ) -> None:
        self.lesson, self.data, self.seed = lesson, data, seed
        self.eager, self.between_steps = eager, between_steps
        self.steps = lesson.steps if steps is None else steps
        self.batch = lesson.batch if batch is None else batch
        self.evaluate_every = lesson.evaluate_every if evaluate_every is None else evaluate_every
        if self.steps < 0:
            raise SettingError(f"steps: got {self.steps}; a number from 0 up is needed")
        if self.evaluate_every < 1:
            raise SettingError(
                f"evaluate_every: got {self.evaluate_every}; a number from 1 up is needed"
            )
        random.manual_seed(seed)
        self.model = lesson.model()
        self.optimizer = lesson.optimizer(self.model.parameters())
        if lesson.rate is not None:
            self.optimizer.lr = lesson.rate(max(self.steps, 1))
        self._rate = self.optimizer.lr  # of the last step
        # What is tested: the model, or a second one with moving averages of its weights.
        self.tested = self.model if lesson.average is None else lesson.model()
        self.step = 0
        self.predictions: Predictions | None = None
        self.stop = False  # set it, from wherever, to end after the step at hand, with a report
        self.report_next = False  # set it to have a report after the step at hand, out of turn
        self._clock = _Clock()
        self._batches = self._batches_from(0)
        self._test_images = np.ascontiguousarray(data.test_images)
        self._step: Step = self.train_step if eager else capture(self.train_step)
        self._score: Step = self._score_some if eager else capture(self._score_some)

    def _batches_from(self, step: int) -> Iterator[tuple[Array, Array]]:
        images, labels = self.data.train_images, self.data.train_labels
        augment = self.lesson.augment
        return batches(images, labels, self.batch, self.seed, skip=step, augment=augment)

    def __iter__(self) -> Iterator[StepReport]:
        """Train, and yield a report every so many steps and after the last.

        Raises AnomalyError if the loss is no longer a number.
        """
        clock = self._clock = _Clock()
        if self.step >= self.steps:
            accuracy, test_loss, _ = self.test()
            rate = self.optimizer.lr
            seconds = clock.lap("evaluate")
            yield StepReport(self.step, None, None, accuracy, test_loss, rate, seconds)
        first = self.step + 1
        self.model.train()
        while self.step < self.steps:
            made = self.make_step()
            if self.step == first:
                clock.lap("first_step")
            last = self.stop or self.step == self.steps
            if self.step % self.evaluate_every == 0 or last or self.report_next:
                self.report_next = False
                predicted = made.predictions()
                clock.lap("train")
                accuracy, test_loss, tested = self.test()
                self.predictions = Predictions(made.images, made.labels, predicted, tested)
                yield StepReport(
                    self.step, float((predicted == made.labels).mean()), made.loss, accuracy,
                    test_loss, made.rate, clock.lap("evaluate"),
                )  # fmt: skip
                if last:
                    return
                self.model.train()
                clock.restart()
            if self.between_steps is not None:
                clock.lap("train")
                self.between_steps(made)
                clock.restart()

    @property
    def seconds(self) -> Seconds:
        """Where the time went, so far."""
        return self._clock.seconds

    def anew(self) -> Training:
        """Another run with the same settings, from its first step."""
        return Training(
            self.lesson, self.data, steps=self.steps, batch=self.batch, seed=self.seed,
            evaluate_every=self.evaluate_every, eager=self.eager,
        )  # fmt: skip

    def make_step(self) -> Made:
        """Train on the next batch; the model must be in training.

        Raises AnomalyError if the loss is no longer a number.
        """
        images, labels = next(self._batches)
        self._rate = self.optimizer.lr
        loss, logits = self._step(images, labels)
        self.step += 1
        self._check_finite("loss", value := loss.item())
        return Made(images, labels, logits, value, self._rate)

    def train_step(self, images: Array, labels: Array) -> tuple[Tensor, Tensor]:
        """Train on a batch; the loss and the logits before the update."""
        logits = self.model(from_numpy(images))
        loss = self.lesson.loss(logits, labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        if self.lesson.average is not None:
            self._average(self.lesson.average)
        return loss, logits

    def _check_finite(self, name: str, loss: float) -> None:
        if not math.isfinite(loss):
            raise AnomalyError(
                f"train: the {name} is {loss} at step {self.step}, and training can't mend that; "
                f"usually the rate, {self._rate:g} here, is too large, or a logarithm or quotient "
                "of 0 was taken: tt.detect_anomaly() finds the line"
            )

    def _average(self, most: float) -> None:
        """Let the tested model's tensors follow the trained one's, faster at first."""
        decay = np.empty(1)

        def find_decay(decay: Array) -> None:
            made = self.step + 1  # with the one at hand
            decay[0] = min(most, (1 + made) / (10 + made))

        recorder.each_step(find_decay, writes=(decay,), settings=(most,), reads_anything=True)
        pairs = zip(self.tested.named_tensors(), self.model.named_tensors(), strict=True)
        for (_, average), (_, x) in pairs:
            if x.dtype.kind == "f":
                kernels.moving_average(x.array, decay, average.array)

    def test(self) -> tuple[float, float, Array]:
        """Accuracy, mean loss and predictions (N) on all test images, by the model in eval mode.

        Afterwards each module is in the mode it was in before.

        Raises AnomalyError where the last update has spoilt the weights: this is the first sign.
        """
        with evaluation_mode(self.tested):
            accuracy, loss, predictions = _scores(self._score, self.data.test_labels)
        self._check_finite("test loss", loss)
        return accuracy, loss, predictions

    def _score_some(self, chosen: Array, labels: Array) -> tuple[Tensor, Tensor]:
        return _score(self.tested, self._test_images, chosen, labels)

    # Kept in a file, and gone on with

    def save(self, file: str | Path) -> None:
        """Write model, optimiser and place in the run.  Raises DataError if that fails."""
        checkpoint.save(file, self._tensors(), self._about() | {"step": str(self.step)})

    def _about(self) -> dict[str, str]:
        """All that the next steps depend on, besides the tensors.

        The number of all steps is among it only where the rate follows it: else a run may go on for
        longer than was meant at first. How often it is tested, the backend and the threads are not.
        """
        about = {"lesson": self.lesson.number, "seed": str(self.seed), "batch": str(self.batch)}
        if self.lesson.rate is not None:
            about["steps"] = str(self.steps)
        return about | {"data": self._training_data}

    @cached_property
    def _training_data(self) -> str:
        """The first 16 hexadecimal digits of a checksum of the training images and labels."""
        checksum = hashlib.sha256()
        for array in (self.data.train_images, self.data.train_labels):
            checksum.update(f"{array.dtype}{array.shape}".encode())
            checksum.update(np.ascontiguousarray(array).data)
        return checksum.hexdigest()[:16]

    def _tensors(self) -> dict[str, Tensor]:
        """All that changes from step to step, in its own memory."""
        tensors = {f"model.{name}": x for name, x in self.model.state_dict().items()}
        tensors |= {f"tested.{name}": x for name, x in self.tested.state_dict().items()}
        tensors |= {f"optimizer.{name}": x for name, x in self.optimizer.state_dict().items()}
        return tensors | {"masks": wrap(random.state().view(np.int64))}

    def resume(self, file: str | Path) -> None:
        """Go on where a saved run was: the next steps are those that it would have made.

        Raises DataError for a file of another lesson, seed, batch or data set, of another number of
        steps where the rate follows it, or one that doesn't fit; nothing is changed then.
        """
        about = checkpoint.about(file)
        for name, own in self._about().items():
            if (its := about.get(name, "unknown")) != own:
                words = _OF_ANOTHER.get(name, "is of {name} {its}; {own} is needed")
                raise DataError(f"resume: {file} {words.format(name=name, its=its, own=own)}")
        step = about.get("step", "unknown")
        if not step.isdecimal():
            raise DataError(f"resume: {file} is of step {step}; a whole number is needed")
        if int(step) > self.steps:
            raise SettingError(
                f"resume: {file} has {step} steps behind it; more than {self.steps} are needed"
            )
        checkpoint.copy_into(f"resume: {file}", self._tensors(), checkpoint.load(file))
        self.step = int(step)
        self._batches = self._batches_from(self.step)


def train(lesson: Lesson, data: Dataset, **settings: int | None) -> Iterator[StepReport]:
    """Train a lesson's network and yield reports: a Training, begun."""
    return iter(Training(lesson, data, **settings))  # type: ignore[arg-type]


class _Clock:
    """Adds the time since it was last looked at to one of the Seconds."""

    def __init__(self) -> None:
        self.seconds = Seconds()
        self.restart()

    def restart(self) -> None:
        self._then = time.perf_counter()

    def lap(self, name: str) -> Seconds:
        now = time.perf_counter()
        self.seconds = replace(
            self.seconds, **{name: getattr(self.seconds, name) + now - self._then}
        )
        self._then = now
        return self.seconds


def evaluate(model: Module, images: Array, labels: Array) -> tuple[float, float, Array]:
    """Accuracy, mean loss and predictions (N) on images (N, 28, 28) of bytes with labels (N).

    The model computes in eval mode; afterwards each module is in the mode it was in before.
    """
    with evaluation_mode(model):
        return _scores(lambda chosen, some: _score(model, images, chosen, some), labels)


@contextmanager
def evaluation_mode(model: Module) -> Iterator[None]:
    """Inside a `with` block the model is in eval mode: no dropout, and batch norm by its averages.

    Afterwards the model and each module in it is in the mode it was in before.
    """
    before = [(module, module.training) for module in _modules(model)]
    model.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


def _modules(model: Module) -> Iterator[Module]:
    """The model and all modules in it."""
    yield model
    for _, child in model.children():
        yield from _modules(child)


def _scores(score: Step, labels: Array) -> tuple[float, float, Array]:
    """Accuracy, mean loss and predictions on all images, of which score takes a few at a time."""
    predictions = np.empty(len(labels), np.int64)
    total = 0.0
    with no_grad():
        for start in range(0, len(labels), EVALUATED_AT_ONCE):
            some = np.arange(start, min(start + EVALUATED_AT_ONCE, len(labels)))
            predicted, loss = score(some, labels[some])
            predictions[some] = predicted.numpy()
            total += loss.item() * len(some)
    return float((predictions == labels).mean()), total / len(labels), predictions


def _score(model: Module, images: Array, chosen: Array, labels: Array) -> tuple[Tensor, Tensor]:
    """Predictions and mean loss on the chosen images."""
    logits = model(from_numpy(to_float(images, chosen)))
    return logits.argmax(axis=1), ops.cross_entropy(logits, labels)


def seconds_a_step(lesson: Lesson, data: Dataset, steps: int = 10) -> float:
    """Median seconds of `steps` training steps, after three to warm up, without evaluations.

    The random state is as before afterwards.
    """
    one = data._replace(test_images=data.test_images[:1], test_labels=data.test_labels[:1])
    with random.fork():
        training = Training(lesson, one, steps=steps + 3, evaluate_every=1)
        times = [report.seconds.train for report in training]
    return float(np.median(np.diff(times[2:])))


def load_model(file: str | Path) -> tuple[Lesson, Module]:
    """The lesson and the network of a saved run.  Raises DataError if it isn't one."""
    about = checkpoint.about(file)
    if "lesson" not in about:
        raise DataError(f"{file}: a model that tinytensor train --save wrote is needed")
    try:
        lesson = find(about["lesson"])
    except UnknownName:
        raise DataError(f"{file} is of lesson {about['lesson']}, and there is none") from None
    model = lesson.model()
    own = {f"tested.{name}": x for name, x in model.named_tensors()}
    given = {n: x for n, x in checkpoint.load(file).items() if n.startswith("tested.")}
    checkpoint.copy_into(str(file), own, given)
    return lesson, model.eval()


def probabilities(model: Module, images: Array) -> Array:
    """The probabilities (N, 10) of the ten digits for images (N, 28, 28) of bytes.

    The model computes in eval mode; afterwards each module is in the mode it was in before.
    """
    with evaluation_mode(model), no_grad():
        parts = [
            ops.softmax(model(from_numpy(to_float(images[start : start + EVALUATED_AT_ONCE]))))
            for start in range(0, len(images), EVALUATED_AT_ONCE)
        ]
    return np.concatenate([part.numpy() for part in parts])
