"""What a picture shows of one moment: digits, predictions, and bands of the network's numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tinytensor.arrays import Array
from tinytensor.autograd import no_grad
from tinytensor.nn import Activation, BatchNorm, Module, Sequential
from tinytensor.tensor import Tensor, from_numpy
from tinytensor.train import Predictions, evaluation_mode

BANDS = 7  # of equal count, between 8 quantiles
SAMPLED = 20_000  # elements from which the quantiles of a larger number of elements are estimated


@dataclass(frozen=True)
class Details:
    """What a picture of the training shows besides the curves.

    Bands are of "weights" and "biases" (with the offsets), or, where there is batch norm, of the
    hidden layers' "activations" for the last batch and the "logits" from which they come.
    """

    images: Array  # of the last batch, (N, 28, 28, 1)
    labels: Array  # (N)
    predictions: Array  # (N)
    test_predictions: Array  # of all test images
    bands: dict[str, Array]  # two, each as the 8 quantiles between which 7 of equal count lie


def details_of(model: Module, predictions: Predictions) -> Details:
    """The details of a moment: `predictions`, and the bands of the model as it is now."""
    return Details(*predictions, bands(model, predictions.images))


def bands(model: Module, images: Array) -> dict[str, Array]:
    """The 8 quantiles of weights and biases; with batch norm, of activations and logits.

    images: float32 (N, 28, 28, 1), for which the activations are computed in eval mode. The course
    shows them instead of weights because batch norm keeps the scale of the weights in place.
    """
    if _has_batch_norm(model):
        hidden = list(_hidden(model, from_numpy(images)))
        return {
            "activations": quantiles([after.numpy() for _, after in hidden]),
            "logits": quantiles([before.numpy() for before, _ in hidden]),
        }
    parameters = [x for _, x in model.named_parameters()]
    return {
        "weights": quantiles([x.numpy() for x in parameters if x.ndim > 1]),
        "biases": quantiles([x.numpy() for x in parameters if x.ndim == 1]),
    }


def _has_batch_norm(model: Module) -> bool:
    return isinstance(model, BatchNorm) or any(_has_batch_norm(m) for _, m in model.children())


def _hidden(model: Module, images: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Input and output of each activation layer for a batch, in eval mode."""
    x = images
    with evaluation_mode(model), no_grad():
        for layer in model.layers if isinstance(model, Sequential) else []:
            before, x = x, layer(x)
            if isinstance(layer, Activation):
                yield before, x


def quantiles(arrays: list[Array]) -> Array:
    """8 quantiles (8,) float64 of all elements of the arrays, NaN if there are none.

    The smallest and the largest are exact. Of more than SAMPLED elements the quantiles between them
    are those of a random sample.
    """
    numbers = np.concatenate([array.reshape(-1) for array in arrays]) if arrays else np.empty(0)
    if not numbers.size:
        return np.full(BANDS + 1, np.nan)
    some = numbers
    if numbers.size > SAMPLED:  # random, because every n-th element would be of a few channels only
        some = numbers[np.random.default_rng(0).integers(numbers.size, size=SAMPLED)]
    # Not np.quantile, because its first call takes as long as 200 steps of lesson 1.0.
    places = np.linspace(0, some.size - 1, BANDS + 1).round().astype(int)
    found = np.sort(some)[places].astype(np.float64)
    found[0], found[-1] = numbers.min(), numbers.max()
    return found  # type: ignore[no-any-return]
