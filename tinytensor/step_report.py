"""What a training reports: accuracies, losses, predictions and times."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import NamedTuple

from tinytensor.arrays import Array
from tinytensor.tensors import Tensor


@dataclass(frozen=True)
class Seconds:
    """Seconds spent so far. The first step is counted separately because it may compile kernels."""

    first_step: float = 0.0
    train: float = 0.0
    evaluate: float = 0.0


@dataclass(frozen=True)
class StepReport:
    """The accuracies and losses after `step` steps.

    train_accuracy and train_loss are measured on the last batch, before its update; they are None
    before the first step. test_accuracy and test_loss are measured on all test images, after it.
    For targets of a regression the accuracies are NaN.
    """

    step: int  # number of steps made
    train_accuracy: float | None
    train_loss: float | None
    test_accuracy: float
    test_loss: float
    rate: float  # the learning rate of the last step
    seconds: Seconds

    def __repr__(self) -> str:
        """The step and the test accuracy, or else the test loss; the attributes have the rest."""
        if math.isnan(self.test_accuracy):
            return f"StepReport(step {self.step:,}, test loss {self.test_loss:.4g})"
        return f"StepReport(step {self.step:,}, test {self.test_accuracy:.4f})"


class TrainedStep(NamedTuple):
    """The batch of the last step, with its logits and its loss before the update."""

    images: Array  # (N, H, W, C) float32
    labels: Array  # (N,)
    logits: Tensor  # (N, classes), overwritten by the next step
    loss: float
    rate: float  # the learning rate

    def predictions(self) -> Array:
        """The classes (N,) int64 predicted for the batch, before the update.

        For targets they are the outputs (N, T).
        """
        has_targets = self.labels.dtype.kind == "f"
        predicted: Array = (self.logits if has_targets else self.logits.argmax(axis=1)).numpy()
        return predicted


class Predictions(NamedTuple):
    """The predicted classes for the batch of a step and for all test images."""

    images: Array  # (N, H, W, C) float32, the batch
    labels: Array  # (N,)
    predictions: Array  # (N,), before the update
    test_predictions: Array  # (number of test images,)


class Clock:
    """A stopwatch: lap(name) adds the time since the last lap to one field of Seconds."""

    def __init__(self) -> None:
        self.seconds = Seconds()
        self.restart()

    def restart(self) -> None:
        """Start the next lap; the time since the last one is not counted."""
        self._then = time.perf_counter()

    def lap(self, name: str) -> Seconds:
        """Add the time since the last lap to a field, and return all fields."""
        now = time.perf_counter()
        self.seconds = replace(
            self.seconds, **{name: getattr(self.seconds, name) + now - self._then}
        )
        self._then = now
        return self.seconds
