"""The data of the six panels at one training step, as small arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinytensor.arrays import Array
from tinytensor.datasets import SIDE, Dataset
from tinytensor.live.details import Details
from tinytensor.step_report import StepReport

TRAIN_SHOWN = 100  # images
TEST_SHOWN = 1000  # images


@dataclass(frozen=True, eq=False)  # two snapshots are never equal
class Snapshot:
    """The data of the six panels at one training step.

    Images are in the order in which they are shown, misclassified images first. There are fewer
    images than the shapes say if the batch or the data set is smaller. test_accuracy and test_loss
    are None if there was no test since the last snapshot; the test predictions are then those of
    the last test.
    """

    step: int
    train_accuracy: float | None
    train_loss: float | None
    test_accuracy: float | None
    test_loss: float | None
    rate: float  # the learning rate
    seconds: float  # of training and evaluation so far
    images_per_second: float
    backend: str
    train_images: Array  # (100, 28, 28) uint8
    train_labels: Array  # (100) uint8
    train_predictions: Array  # (100) uint8
    test_images: Array  # (1000, 28, 28) uint8
    test_labels: Array  # (1000) uint8
    test_predictions: Array  # (1000) uint8
    bands: dict[str, Array]  # 8 quantiles (8,) each: weights and biases, or activations and logits

    @classmethod
    def of(
        cls,
        report: StepReport,
        details: Details,
        data: Dataset,
        *,
        backend: str,
        images_per_second: float,
    ) -> Snapshot:
        """The snapshot of a report and the details of the same step.

        backend: name of the backend that computed the step. images_per_second: training speed.
        """
        train = misclassified_first(details.labels, details.predictions, TRAIN_SHOWN)
        test = misclassified_first(data.test_labels, details.test_predictions, TEST_SHOWN)
        pixels = details.images[train].reshape(-1, SIDE, SIDE)
        seconds = report.seconds
        return cls(
            step=report.step,
            train_accuracy=report.train_accuracy,
            train_loss=report.train_loss,
            test_accuracy=report.test_accuracy,
            test_loss=report.test_loss,
            rate=report.rate,
            seconds=seconds.first_step + seconds.train + seconds.evaluate,
            images_per_second=images_per_second,
            backend=backend,
            train_images=np.rint(pixels * 255).astype(np.uint8),
            train_labels=details.labels[train].astype(np.uint8),
            train_predictions=details.predictions[train].astype(np.uint8),
            test_images=data.test_images[test],
            test_labels=data.test_labels[test].astype(np.uint8),
            test_predictions=details.test_predictions[test].astype(np.uint8),
            bands=details.bands,
        )


def misclassified_first(labels: Array, predictions: Array, count: int) -> Array:
    """Indices of the first `count` images to show: misclassified images first."""
    return np.argsort(labels == predictions, kind="stable")[:count]
