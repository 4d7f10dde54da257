"""The training loop, one for all lessons. It yields reports and knows no screen."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tinytensor import ops
from tinytensor.autograd import no_grad
from tinytensor.datasets import Dataset, batches, to_float
from tinytensor.errors import SettingError
from tinytensor.kernels import Array
from tinytensor.lessons import Lesson, Model
from tinytensor.random import manual_seed
from tinytensor.tensor import Tensor, from_numpy


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
    step); the test figures are of all test images, after it.
    """

    step: int
    train_accuracy: float | None
    train_loss: float | None
    test_accuracy: float
    test_loss: float
    seconds: Seconds


def train(
    lesson: Lesson,
    data: Dataset,
    *,
    steps: int | None = None,
    batch: int | None = None,
    seed: int = 0,
    evaluate_every: int = 50,
) -> Iterator[StepReport]:
    """Train a lesson's network; yield a report every so many steps and after the last.

    steps, batch: the lesson's own where None. seed: of the first weights and of the batches' order.

    Raises SettingError for numbers that make no sense, before anything is trained.
    """
    steps = lesson.steps if steps is None else steps
    batch = lesson.batch if batch is None else batch
    if steps < 0:
        raise SettingError(f"steps: got {steps}; a number from 0 up is needed")
    if evaluate_every < 1:
        raise SettingError(f"evaluate_every: got {evaluate_every}; a number from 1 up is needed")
    endless_batches = batches(data.train_images, data.train_labels, batch, seed)
    return _train(lesson, data, endless_batches, steps, seed, evaluate_every)


def _train(
    lesson: Lesson,
    data: Dataset,
    endless_batches: Iterator[tuple[Array, Array]],
    steps: int,
    seed: int,
    evaluate_every: int,
) -> Iterator[StepReport]:
    manual_seed(seed)
    model = lesson.model()
    optimizer = lesson.optimizer(model.parameters())
    test_images, test_labels = from_numpy(to_float(data.test_images)), data.test_labels
    clock = _Clock()

    for step in range(1, steps + 1):
        images, labels = next(endless_batches)
        logits = model(from_numpy(images))
        loss = ops.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

        if step == 1:
            clock.lap("first_step")
        if step % evaluate_every == 0 or step == steps:
            train_accuracy, train_loss = accuracy(logits, labels), loss.item()
            clock.lap("train")
            test_accuracy, test_loss = evaluate(model, test_images, test_labels)
            clock.lap("evaluate")
            yield StepReport(
                step, train_accuracy, train_loss, test_accuracy, test_loss, clock.seconds
            )
            clock.restart()

    if steps == 0:
        clock.restart()
        test_accuracy, test_loss = evaluate(model, test_images, test_labels)
        clock.lap("evaluate")
        yield StepReport(0, None, None, test_accuracy, test_loss, clock.seconds)


class _Clock:
    """Adds the time since it was last looked at to one of the Seconds."""

    def __init__(self) -> None:
        self.seconds = Seconds()
        self.restart()

    def restart(self) -> None:
        self._then = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds = replace(
            self.seconds, **{name: getattr(self.seconds, name) + now - self._then}
        )
        self._then = now


def accuracy(logits: Tensor, labels: Array) -> float:
    """The share of rows whose largest logit is in the right column."""
    return float((logits.argmax(axis=1).numpy() == labels).mean())


def evaluate(model: Model, images: Tensor, labels: Array) -> tuple[float, float]:
    """Accuracy and mean loss on images (N, 28, 28, 1) with labels (N,)."""
    with no_grad():
        logits = model(images)
        return accuracy(logits, labels), ops.cross_entropy(logits, labels).item()
