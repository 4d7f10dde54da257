"""The data of the six panels at one training step, as small arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tinytensor.arrays import Array
from tinytensor.datasets import Dataset
from tinytensor.live.details import Details
from tinytensor.step_report import StepReport

TRAIN_SHOWN = 100  # images
TEST_SHOWN = 1000  # images; fewer if they have more than SHOWN_BYTES together
SHOWN_BYTES = 2**24


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
    train_images: Array  # (100, H, W) uint8, or (100, H, W, C) with several channels
    train_labels: Array  # (100) uint8
    train_predictions: Array  # (100) uint8
    test_images: Array  # (1000, H, W) or (1000, H, W, C) uint8
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
        count = most_test_images(data)
        test = misclassified_first(data.test_labels, details.test_predictions, count)
        pixels = details.images[train]
        pixels = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
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


def most_test_images(data: Dataset) -> int:
    """The number of test images that a snapshot has, at most."""
    return max(1, min(TEST_SHOWN, SHOWN_BYTES // math.prod(data.image_shape)))


def misclassified_first(labels: Array, predictions: Array, count: int) -> Array:
    """Indices of the first `count` images to show: misclassified images first."""
    return np.argsort(labels == predictions, kind="stable")[:count]
