"""Tests of a model in eval mode: accuracy, loss, predictions and probabilities."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from tinytensor import ops
from tinytensor.arrays import Array
from tinytensor.autograd import no_grad
from tinytensor.datasets import one_label_each, to_float
from tinytensor.nn import Module
from tinytensor.ranks import ALONE, World
from tinytensor.tensors import Tensor, from_numpy

Step = Callable[[Array, Array], tuple[Tensor, Tensor]]
EVALUATION_BATCH = 250  # images; a larger batch needs more memory, and more time to fetch it


class OutOfTimeError(Exception):
    """A test was given up, because Training.deadline has passed."""


def evaluate(model: Module, images: Array, labels: Array) -> tuple[float, float, Array]:
    """Evaluate a model in eval mode; afterwards each module is in the same mode as before.

    Args:
        model: maps images (N, 28, 28, 1) float32 to logits (N, classes).
        images: (N, 28, 28) uint8.
        labels: (N,) integers from 0 to classes - 1.

    Returns:
        accuracy (0 to 1), mean loss, and predictions (N,) int64.

    Raises:
        ShapeError: the number of labels is not the number of images.
    """
    one_label_each("evaluate", "test", images, labels)
    with evaluation_mode(model):
        return scores(lambda chosen, labels: score(model, images, chosen, labels), labels)


@contextmanager
def evaluation_mode(model: Module) -> Iterator[None]:
    """Set the model to eval mode inside a `with` block: no dropout, batch norm by its averages.

    Afterwards the model and each module in it are in the same mode as before.
    """
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


def scores(
    score: Step,
    labels: Array,
    before_each: Callable[[], None] | None = None,
    world: World = ALONE,
) -> tuple[float, float, Array]:
    """Accuracy, mean loss and predictions (N,) on all N images.

    score: called with the indices and labels of at most EVALUATION_BATCH images; returns their
    predictions and mean loss. before_each: called before each of these calls; it may raise
    OutOfTimeError. world: the ranks that share these calls.
    """
    predictions = np.zeros(len(labels), np.int64)
    starts = range(0, len(labels), EVALUATION_BATCH)
    losses = np.zeros(len(starts) + 1)  # of each call, and whether a rank is out of time
    with no_grad():
        for i in range(world.rank, len(starts), world.size):
            try:
                if before_each is not None:
                    before_each()
            except OutOfTimeError:
                losses[-1] = 1
                break
            chosen = np.arange(starts[i], min(starts[i] + EVALUATION_BATCH, len(labels)))
            predicted, loss = score(chosen, labels[chosen])
            predictions[chosen] = predicted.numpy()
            losses[i] = loss.item() * len(chosen)
    world.sum(predictions)
    world.sum(losses)
    if losses[-1]:
        raise OutOfTimeError
    total = sum(losses[:-1].tolist())  # one by one, in order
    return float((predictions == labels).mean()), total / len(labels), predictions


def score(model: Module, images: Array, chosen: Array, labels: Array) -> tuple[Tensor, Tensor]:
    """Predictions (R,) and mean loss () on images[chosen]; chosen: int64 indices (R,)."""
    logits = model(from_numpy(to_float(images, chosen)))
    return logits.argmax(axis=1), ops.cross_entropy(logits, labels)


def probabilities(model: Module, images: Array) -> Array:
    """Probabilities of the classes, computed in eval mode.

    Args:
        model: maps images (N, 28, 28, 1) float32 to logits (N, classes).
        images: (N, 28, 28) uint8.

    Returns:
        (N, classes) float32. Afterwards each module is in the same mode as before.
    """
    with evaluation_mode(model), no_grad():
        parts = [
            ops.softmax(model(from_numpy(to_float(images[start : start + EVALUATION_BATCH]))))
            for start in range(0, len(images), EVALUATION_BATCH)
        ]
    return np.concatenate([part.numpy() for part in parts])
