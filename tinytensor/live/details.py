"""Digits, predictions, and bands of weights or activations at one training step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tinytensor.arrays import Array
from tinytensor.autograd import no_grad
from tinytensor.evaluation import evaluation_mode
from tinytensor.nn import Activation, BatchNorm, Module, Sequential
from tinytensor.step_report import Predictions
from tinytensor.tensors import Tensor, from_numpy

BANDS = 7  # bands of equal count, between 8 quantiles
MAX_SAMPLE = 20_000  # elements; quantiles of a larger array are estimated from a random sample


@dataclass(frozen=True)
class Details:
    """The data of the panels without the curves, at one training step.

    The two bands are named "weights" and "biases" (with the offsets of batch norm). A network with
    batch norm has "activations" and "logits" instead: the outputs and the inputs of its hidden
    activation layers for the last batch.
    """

    images: Array  # (N, H, W, C) float32, the last batch
    labels: Array  # (N,)
    predictions: Array  # (N,)
    test_predictions: Array  # (number of test images,)
    bands: dict[str, Array]  # two bands by name, each as 8 quantiles (8,)


def details_of(model: Module, predictions: Predictions) -> Details:
    """The Details of the current step: `predictions`, and the bands of `model`."""
    return Details(*predictions, bands(model, predictions.images))


def bands(model: Module, images: Array) -> dict[str, Array]:
    """The 8 quantiles of weights and biases; with batch norm, of activations and logits.

    images: float32 (N, H, W, C). The activations are computed for them in eval mode. With batch
    norm the course shows activations because the weights alone no longer set their scale.
    """
    if _has_batch_norm(model):
        hidden = list(_hidden(model, from_numpy(images)))
        values = [[after.numpy() for _, after in hidden], [before.numpy() for before, _ in hidden]]
    else:
        parameters = [x.numpy() for _, x in model.named_parameters()]
        values = [[x for x in parameters if x.ndim > 1], [x for x in parameters if x.ndim == 1]]
    return dict(zip(band_names(model), map(quantiles, values), strict=True))


def band_names(model: Module) -> tuple[str, str]:
    """The names of the two bands of a network."""
    return ("activations", "logits") if _has_batch_norm(model) else ("weights", "biases")


def _has_batch_norm(model: Module) -> bool:
    return isinstance(model, BatchNorm) or any(map(_has_batch_norm, model.children()))


def _hidden(model: Module, images: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Input and output of each activation layer for a batch, in eval mode."""
    x = images
    with evaluation_mode(model), no_grad():
        for layer in model.layers if isinstance(model, Sequential) else []:
            before, x = x, layer(x)
            if isinstance(layer, Activation):
                yield before, x


def quantiles(arrays: list[Array]) -> Array:
    """8 quantiles (8,) float64 of all elements of the arrays; NaN if the arrays are empty.

    The first and the last, minimum and maximum, are exact. The quantiles between them are estimated
    from a random sample if there are more than MAX_SAMPLE elements.
    """
    values = np.concatenate([array.reshape(-1) for array in arrays]) if arrays else np.empty(0)
    if not values.size:
        return np.full(BANDS + 1, np.nan)
    sample = values
    if values.size > MAX_SAMPLE:  # random, because every n-th element would miss most channels
        sample = values[np.random.default_rng(0).integers(values.size, size=MAX_SAMPLE)]
    # Not np.quantile, because its first call takes as much time as 200 steps of lesson 1.0.
    places = np.linspace(0, sample.size - 1, BANDS + 1).round().astype(int)
    found = np.sort(sample)[places].astype(np.float64)
    found[0], found[-1] = values.min(), values.max()
    return found  # type: ignore[no-any-return]
