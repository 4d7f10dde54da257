"""What is inside a network: each layer's output for one digit, weights as images, confusions.

The functions read the model, so no step may run meanwhile. For a training that runs, use
`run.submit(lambda model: layer_outputs(model, image))`, which calls them between two steps.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from tinytensor import ops
from tinytensor.arrays import Array
from tinytensor.autograd import no_grad
from tinytensor.datasets import CLASSES, MNIST_SHAPE, described_shape, to_float
from tinytensor.live.picture import tiles
from tinytensor.nn import Activation, BatchNorm, Dropout, Flatten, Module, Sequential
from tinytensor.tensors import from_numpy

MAX_TILES = 100
MAX_ROW_LENGTH = 50


class LayerOutputs(NamedTuple):
    """The outputs of a network and of its layers for one digit."""

    probabilities: Array  # (classes,)
    layers: list[tuple[str, Array]]  # for each layer, its name and its output as an image (H, W)


def layer_outputs(model: Module, image: Array) -> LayerOutputs:
    """The outputs of the layers of `model` for an image (H, W) or (H, W, C) uint8.

    A layer that an activation or batch norm follows is not listed; the activation is. If the model
    has several views of an image, such as lesson best, the layers are those of the image itself.
    """
    x = from_numpy(to_float(image[None]))
    size = described_shape(x.shape[1:])
    layers: list[tuple[str, Array]] = [(f"image {size}", as_image(x.numpy()[0]))]
    with no_grad():
        if isinstance(model, Sequential):
            for layer, following in zip(model.layers, [*model.layers[1:], None], strict=True):
                x = layer(x)
                idle = isinstance(layer, Flatten | Dropout)  # no change of values in eval mode
                if not idle and not isinstance(following, BatchNorm | Activation):
                    shape = " x ".join(map(str, x.shape[1:]))
                    layers.append((f"{type(layer).__name__} {shape}", as_image(x.numpy()[0])))
        else:
            layers += _weighted_pixels(model, image)
            x = model(x)
            layers.append((f"logits {x.shape[1]}", as_image(x.numpy()[0])))
    return LayerOutputs(probabilities(model, image), layers)


def probabilities(model: Module, image: Array) -> Array:
    """The probabilities (classes,) of the classes for an image (H, W) or (H, W, C) uint8."""
    with no_grad():
        probs: Array = ops.softmax(model(from_numpy(to_float(image[None])))).numpy()[0]
    return probs


def _weighted_pixels(model: Module, image: Array) -> list[tuple[str, Array]]:
    """For the neurons of the first layer, each pixel times its weight, as one image."""
    for _, x in model.named_parameters():
        if x.ndim == 2 and x.shape[0] == image.size:
            products = x.numpy().T.reshape(-1, *image.shape) * (image / np.float32(255))
            if products.ndim == 4:
                products = products.sum(axis=3)
            return [("image * weight, for each neuron", tiles(products, columns=5))]
    return []


def as_image(x: Array) -> Array:
    """A layer's output as one image: channels (H, W, C) side by side, a vector (C,) in rows."""
    if x.ndim == 3:
        return tiles(x.transpose(2, 0, 1), columns=_columns(x.shape[2]))
    rows = range(math.ceil(x.size / MAX_ROW_LENGTH), x.size + 1)
    return x.reshape(next(count for count in rows if x.size % count == 0), -1)


def _columns(count: int) -> int:
    return min(count, 12)


def weight_names(model: Module) -> list[str]:
    """Names with shapes of the parameters that can be shown as images, first layer first."""
    return [f"{name} {x.shape}" for name, x in model.named_parameters() if x.ndim > 1]


def weights(model: Module, name: str, image_shape: tuple[int, int, int] = MNIST_SHAPE) -> Array:
    """The weights with the given name as an image (H, W); gaps between tiles are NaN.

    name: one of weight_names(model). image_shape: of the data; a first dense layer is shown as one
    template of this height and width per neuron, the mean over the channels. A convolution is shown
    as its filters, one row per output channel and one column per input channel. Other weights are
    shown as the matrix.
    """
    ((_, x),) = [(n, x) for n, x in model.named_parameters() if f"{n} {x.shape}" == name]
    weight = x.numpy().copy()
    if weight.ndim == 4:
        KH, KW, inputs, outputs = weight.shape
        outputs = min(outputs, max(1, MAX_TILES * 2 // inputs))
        filters = weight[..., :outputs].transpose(3, 2, 0, 1).reshape(-1, KH, KW)
        return tiles(filters, columns=_columns(outputs) if inputs == 1 else inputs)
    if weight.shape[0] == math.prod(image_shape):
        templates = weight.T.reshape(-1, *image_shape)[:MAX_TILES].mean(axis=3)
        return tiles(templates, columns=5 if len(templates) <= 10 else 10)
    return weight


def confusion(labels: Array, predictions: Array, classes: int = CLASSES) -> Array:
    """The confusion matrix: counts[i, j] images of class i were predicted as j.

    Returns:
        (classes, classes) int64.
    """
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (labels, predictions), 1)
    return counts
