"""Looks into a network: a digit's way through it, its weights as images.

They read a model that stands still, as in a test: `run.ask(lambda model: way(model, image))`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from tinytensor import ops
from tinytensor.arrays import Array
from tinytensor.autograd import no_grad
from tinytensor.datasets import SIDE, to_float
from tinytensor.live.picture import tiles
from tinytensor.nn import Activation, BatchNorm, Dropout, Flatten, Module, Sequential
from tinytensor.tensor import from_numpy

PIXELS = SIDE * SIDE
MOST_TILES = 100
MOST_IN_A_ROW = 50


class Way(NamedTuple):
    """What a network makes of one digit."""

    probabilities: Array  # (10)
    layers: list[tuple[str, Array]]  # what each gives, as an image, and what it is


def way(model: Module, image: Array) -> Way:
    """How an image (28, 28) of bytes goes through the network.

    What only prepares for an activation, a convolution or weighted sum, isn't shown by itself.
    """
    x = from_numpy(to_float(image[None]))
    layers: list[tuple[str, Array]] = [("image 28 x 28", x.numpy().reshape(SIDE, SIDE))]
    with no_grad():
        if isinstance(model, Sequential):
            for layer, following in zip(model.layers, [*model.layers[1:], None], strict=True):
                x = layer(x)
                idle = isinstance(layer, Flatten | Dropout)  # they change nothing in a test
                if not idle and not isinstance(following, BatchNorm | Activation):
                    shape = " x ".join(map(str, x.shape[1:]))
                    layers.append((f"{type(layer).__name__} {shape}", _shown(x.numpy()[0])))
        else:
            layers += _evidence(model, image)
            x = model(x)
            layers.append(("logits 10", _shown(x.numpy()[0])))
        probabilities = ops.softmax(x).numpy()[0]
    return Way(probabilities, layers)


def probabilities(model: Module, image: Array) -> Array:
    """The probabilities (10) of the digits for an image (28, 28) of bytes."""
    with no_grad():
        probs: Array = ops.softmax(model(from_numpy(to_float(image[None])))).numpy()[0]
    return probs


def _evidence(model: Module, image: Array) -> list[tuple[str, Array]]:
    """Of neurons that see the image itself: each pixel times its weight, for and against."""
    for _, x in model.named_parameters():
        if x.ndim == 2 and x.shape[0] == PIXELS:
            seen = x.numpy().T.reshape(-1, SIDE, SIDE) * (image / np.float32(255))
            return [("image * weight, of each neuron", tiles(seen, columns=5))]
    return []


def _shown(x: Array) -> Array:
    """What a layer gives, as one image: channels (H, W, C) side by side, numbers (C) in rows."""
    if x.ndim == 3:
        return tiles(x.transpose(2, 0, 1), columns=_columns(x.shape[2]))
    rows = range(math.ceil(x.size / MOST_IN_A_ROW), x.size + 1)
    return x.reshape(next(count for count in rows if x.size % count == 0), -1)


def _columns(count: int) -> int:
    return min(count, 12)


def weight_names(model: Module) -> list[str]:
    """The parameters that can be shown as images, the first layer's first."""
    return [f"{name} {x.shape}" for name, x in model.named_parameters() if x.ndim > 1]


def weights(model: Module, name: str) -> Array:
    """The weights of that name as an image: blanks are NaN.

    Of a layer that sees the image itself, a template (28, 28) for each neuron; of a convolution its
    filters, a row for each output and a column for each input; else the matrix.
    """
    ((_, x),) = [(n, x) for n, x in model.named_parameters() if f"{n} {x.shape}" == name]
    weight = x.numpy().copy()
    if weight.ndim == 4:
        KH, KW, inputs, outputs = weight.shape
        outputs = min(outputs, max(1, MOST_TILES * 2 // inputs))
        filters = weight[..., :outputs].transpose(3, 2, 0, 1).reshape(-1, KH, KW)
        return tiles(filters, columns=_columns(outputs) if inputs == 1 else inputs)
    if weight.shape[0] == PIXELS:
        templates = weight.T.reshape(-1, SIDE, SIDE)[:MOST_TILES]
        return tiles(templates, columns=5 if len(templates) <= 10 else 10)
    return weight


def confusion(labels: Array, predictions: Array) -> Array:
    """(10, 10): how many images of each digit, by row, were taken for which, by column."""
    counts = np.zeros((10, 10), np.int64)
    np.add.at(counts, (labels, predictions), 1)
    return counts
