"""Tests of a model in eval mode: accuracy, loss, predictions and probabilities."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from tinytensor import ops
from tinytensor.arrays import Array, first_false
from tinytensor.autograd import no_grad
from tinytensor.capture.captured import capture
from tinytensor.datasets import one_label_each, to_float
from tinytensor.datasets.mapped import FileRows, is_mapped, row_in_words
from tinytensor.errors import AnomalyError, DTypeError, SettingError
from tinytensor.nn import Module
from tinytensor.ranks import ALONE, World
from tinytensor.tensors import Tensor, from_numpy

Step = Callable[[Array, Array], tuple[Tensor, Tensor]]
Loss = Callable[[Tensor, Array], Tensor]  # of outputs and labels or targets
EVALUATION_BATCH = 250  # images; a larger batch needs more memory, and more time to fetch it


class OutOfTimeError(Exception):
    """A test was given up, because Training.deadline has passed."""


def evaluate(model: Module, images: Array, labels: Array) -> tuple[float, float, Array]:
    """Evaluate a model in eval mode; afterwards each module is in the same mode as before.

    Args:
        model: maps images (N, H, W, C) float32 to logits (N, classes).
        images: (N, H, W) or (N, H, W, C) uint8, or a memory map of them, whose file is read.
        labels: (N,) integers from 0 to classes - 1.

    Returns:
        accuracy (0 to 1), mean loss, and predictions (N,) int64.

    Raises:
        ShapeError: the number of labels is not the number of images.
        DTypeError: the images are integers of another dtype, which are not scaled.
    """
    check_pixels("evaluate: got images", images)
    one_label_each("evaluate", "test", images, labels)
    with evaluation_mode(model):
        return scores(scorer(model, images, eager=True), labels)


def check_pixels(got: str, images: Array) -> None:
    """Raise DTypeError for integers in the shape of images that would not be scaled: not uint8.

    got: the start of the message.
    """
    if images.dtype.kind in "iu" and images.dtype != np.uint8 and images.ndim in (3, 4):
        raise DTypeError(
            f"{got} of dtype {images.dtype}, and only uint8 images become floats from 0 to 1; "
            "np.asarray(images, np.uint8) is needed for values from 0 to 255, "
            "np.asarray(x, np.float32) for other numbers, and shape (N, T) for the indices of an "
            "Embedding"
        )


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
    """Accuracy, mean loss and predictions (N,) on all N images; for targets the accuracy is NaN.

    score: called with the indices and labels of at most EVALUATION_BATCH images; returns their
    predictions and mean loss. before_each: called before each of these calls; it may raise
    OutOfTimeError. world: the ranks that share these calls.
    """
    if not len(labels):
        raise SettingError("test: got no images to test on; at least one is needed")
    predictions = np.zeros_like(labels)
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
    return accuracy(predictions, labels), total / len(labels), predictions


def accuracy(predictions: Array, labels: Array) -> float:
    """The share of predictions (N,) that equal the labels (N,); NaN for targets (N, T)."""
    return math.nan if labels.dtype.kind == "f" else float((predictions == labels).mean())


def scorer(
    model: Module, images: Array, loss: Loss = ops.cross_entropy, *, eager: bool = False
) -> Step:
    """A function of the indices (R,) and the labels of images, for `scores`.

    It returns the predictions (R,) and the mean loss of the model. For targets (R, T) the
    predictions are the outputs.

    Args:
        model: the model.
        images: (N, ...), or a memory map, whose file is read.
        loss: maps outputs and labels to a scalar Tensor.
        eager: True to compute op by op. By default the computation is captured.
    """
    captured: Callable[[Step], Step] = (lambda step: step) if eager else capture
    if images.dtype == np.uint8 and images.ndim in (3, 4) and not is_mapped(images):
        images = np.ascontiguousarray(images)

        def score_chosen(chosen: Array, labels: Array) -> tuple[Tensor, Tensor]:
            return _score(model, to_float(images, chosen), labels, loss)

        return captured(score_chosen)

    score_rows = captured(lambda rows, labels: _score(model, rows, labels, loss))
    read = _finite_rows(images) if is_mapped(images) else images.__getitem__
    return lambda chosen, labels: score_rows(as_input(read(chosen)), labels)


def _finite_rows(images: np.memmap) -> Callable[[Array], Array]:
    """A function that reads rows of a memory map from its file, without NaN and infinity.

    Arrays in memory are checked as a whole before the training; a file may be too large for that.
    """
    source = FileRows(images)

    def read(chosen: Array) -> Array:
        rows = source.read(chosen)
        if rows.dtype.kind == "f" and not (is_finite := np.isfinite(rows)).all():
            example, *place = first_false(is_finite)
            row = row_in_words(images, int(chosen[example]))
            where = f", at {place}" if place else ""
            raise AnomalyError(
                f"test: got {rows[(example, *place)]} in {row}{where}; finite numbers are needed"
            )
        return rows

    return read


def _score(model: Module, x: Array, labels: Array, loss: Loss) -> tuple[Tensor, Tensor]:
    outputs = model(from_numpy(x))
    predicted = outputs if labels.dtype.kind == "f" else outputs.argmax(axis=1)
    return predicted, loss(outputs, labels)


def as_input(rows: Array) -> Array:
    """Rows as networks get them: uint8 images from 0 to 1, other floats as float32."""
    if rows.dtype == np.uint8 and rows.ndim in (3, 4):
        return to_float(rows)
    dtype = np.float32 if rows.dtype.kind == "f" else rows.dtype
    return np.ascontiguousarray(rows, dtype)


def probabilities(model: Module, images: Array) -> Array:
    """Probabilities of the classes, computed in eval mode.

    Args:
        model: maps images (N, H, W, C) float32 to logits (N, classes).
        images: (N, H, W) or (N, H, W, C) uint8.

    Returns:
        (N, classes) float32. Afterwards each module is in the same mode as before.
    """
    with evaluation_mode(model), no_grad():
        parts = [
            ops.softmax(model(from_numpy(to_float(images[start : start + EVALUATION_BATCH]))))
            for start in range(0, len(images), EVALUATION_BATCH)
        ]
    return np.concatenate([part.numpy() for part in parts])
