"""The chain rule in numbers: how the gradient of a loss comes back to one value of a network.

One path leads from the value to the loss. Where a layer sends a value to many neurons, its gradient
is a sum with a term for each of them, and the path goes through the largest term.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinytensor import ops
from tinytensor.arrays import Array
from tinytensor.autograd import no_grad
from tinytensor.nn import (
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    MaxPool2d,
    ReLU,
    Sequential,
    Sigmoid,
)
from tinytensor.tensors import Tensor, from_numpy

TERMS = 3  # of a sum that are written out
Place = tuple[int, ...]  # of a value in the result of a layer, without the axis of the examples


@dataclass(frozen=True)
class Stage:
    """A layer behind the followed one, for one example.

    layer: its path and type. formula: how the gradient passes through it, with numbers. grad: the
    gradient of the loss at the value of its input through which the path goes; None if the path is
    not known.
    """

    layer: str
    formula: str
    grad: float | None


def grad_of(x: Tensor) -> Array:
    """Return the gradient of a result, which backward() has stored."""
    assert x.grad is not None
    return x.grad.array


def smoothing_of(loss: Callable[..., Any]) -> float | None:
    """Return the label smoothing of a lesson's loss; None if it is no cross-entropy."""
    if loss is ops.cross_entropy:
        return 0.0
    if not isinstance(loss, functools.partial) or loss.func is not ops.cross_entropy:
        return None
    is_other = loss.args or loss.keywords.keys() - {"label_smoothing"}
    return None if is_other else float(loss.keywords.get("label_smoothing", 0.0))


def stages(
    chain: Sequential,
    results: list[Tensor],
    number: int,
    example: int,
    place: Place,
    labels: Array,
    probs: Array,
    smoothing: float | None,
) -> tuple[Stage, ...]:
    """Return the stages from the loss back to a value of the result of layer `number`.

    Args:
        chain: the layers.
        results: the images, and the result of each layer, with their gradients.
        number: of the followed layer.
        example: of the batch.
        place: of the value.
        labels, probs: of the batch, (N,) and (N, C).
        smoothing: see smoothing_of.
    """
    path: Place | None = place
    found = []
    for i in range(number + 1, len(chain.layers)):
        layer, x, out = chain.layers[i], results[i], results[i + 1]
        name = f"layers.{i}: {type(layer).__name__}"
        if path is None:
            found.append(Stage(name, _formula(layer), None))
            continue
        factors, after = _factors(layer, x, out, example, path)
        formula = _formula(layer).replace("dx", f"dx[{', '.join(map(str, path))}]", 1)
        found.append(Stage(name, formula + factors, float(grad_of(x)[(example, *path)])))
        path = after
    return (*_of_loss(results[-1], example, path, labels, probs, smoothing), *reversed(found))


def _of_loss(
    logits: Tensor,
    example: int,
    path: Place | None,
    labels: Array,
    probs: Array,
    smoothing: float | None,
) -> list[Stage]:
    """The stage of the loss, and the one of the logit through which the path goes."""
    N, C = probs.shape
    right, name = int(labels[example]), "softmax and cross-entropy"
    if smoothing is None:
        name, formula = "loss", "dL/dlogits of the lesson's loss"
        stages = [Stage(name, formula, None)]
    else:
        least = smoothing / C
        formula = f"dL/dlogits = (p - y) / {N}, with y = {1 - smoothing + least:.4g} for class "
        stages = [Stage("loss", f"{formula}{right}, else {least:.4g}", None)]
    if path is None:
        return stages
    (c,) = path
    text, grad = f"dL/dlogits[{c}]", float(grad_of(logits)[example, c])
    if smoothing is not None:
        y = smoothing / C + (1 - smoothing) * (c == right)
        text += f" = ({probs[example, c]:.6g} - {y:.4g}) / {N}"
    return [*stages, Stage(name, text, grad)]


def _factors(
    layer: object, x: Tensor, out: Tensor, example: int, path: Place
) -> tuple[str, Place | None]:
    """The factors of the gradient at x[path] as text, and where the path goes on in `out`."""
    at, grads = float(x.array[(example, *path)]), grad_of(out)[example].astype(np.float64)
    if isinstance(layer, Linear):
        weights = np.zeros(grads.shape)
        weights[path[:-1]] = layer.weight.array[path[-1]]
        return _sum(grads, weights)
    if isinstance(layer, Conv2d | AvgPool2d):
        return _sum(grads, _shares(layer, x, path))
    if isinstance(layer, MaxPool2d):
        reached = _shares(AvgPool2d(*layer.settings), x, path) > 0
        reached &= out.array[example] == at
        return "", _largest(np.where(reached, grads, 0))
    if isinstance(layer, Flatten):
        return "", (int(np.ravel_multi_index(path, x.shape[1:])),)
    if x.shape != out.shape:
        return "", None
    grad = float(grads[path])
    if isinstance(layer, BatchNorm) and layer.training:
        return _normalised(layer, x, out, at, grad, path[-1]), path
    if isinstance(layer, ReLU | Sigmoid | Dropout):
        is_kept = bool(out.array[(example, *path)] if at else grad_of(x)[(example, *path)])
        return f" = {grad:.4g} * {_slope(layer, at, is_kept):.4g}", path
    return "", path


def _shares(layer: Callable[[Tensor], Tensor], x: Tensor, path: Place) -> Array:
    """How much each output of a linear layer changes if x[path] grows by 1.

    The layer computes it: the difference of its results for an image with 1 at this place, and for
    one without.
    """
    pair = np.zeros((2, *x.shape[1:]), x.dtype)
    pair[(0, *path)] = 1
    with no_grad():
        one, none = layer(from_numpy(pair)).numpy().astype(np.float64)
    shares: Array = one - none
    return shares


def _sum(grads: Array, weights: Array) -> tuple[str, Place]:
    """The largest terms of a sum of products as text, and the place of the largest one."""
    terms = (grads * weights).ravel()
    count = int(np.count_nonzero(weights))
    top = np.argsort(-np.abs(terms), kind="stable")[: min(TERMS, count)]
    listed = " + ".join(f"({grads.flat[k]:.4g} * {weights.flat[k]:.4g})" for k in top)
    more = f" + {count - len(top)} more" if count > len(top) else ""
    return f" = {listed}{more}" if listed else "", _largest(terms.reshape(grads.shape))


def _largest(terms: Array) -> Place:
    return tuple(map(int, np.unravel_index(np.abs(terms).argmax(), terms.shape)))


def _normalised(
    layer: BatchNorm, x: Tensor, out: Tensor, at: float, grad: float, channel: int
) -> str:
    """The gradient through batch norm in numbers."""
    values = x.array[..., channel].ravel().astype(np.float64)
    grads = grad_of(out)[..., channel].ravel().astype(np.float64)
    deviation = np.sqrt(values.var() + layer.epsilon)
    n = (values - values.mean()) / deviation
    scale = 1.0 if layer.scale is None else float(layer.scale.array[channel])
    here = (at - values.mean()) / deviation
    return (
        f" = {scale:.4g} / {deviation:.4g} * ({grad:.4g} - {grads.mean():.4g} - {here:.4g} * "
        f"{(grads * n).mean():.4g})"
    )


def _formula(layer: object) -> str:
    """How the gradient passes through a layer, from its result to its input."""
    known = {
        Linear: "dx = sum over its neurons k of grad[k] * w[., k]",
        Conv2d: "dx = sum over the windows that contain x of grad * w",
        AvgPool2d: "dx = sum over the windows that contain x of grad / size",
        MaxPool2d: "dx = sum over the windows whose largest value is x of grad",
        ReLU: "dx = grad * (1 where x > 0, else 0)",
        Sigmoid: "dx = grad * s * (1 - s)",
        Dropout: "dx = grad * mask",
        Flatten: "dx = grad in the shape of x",
        BatchNorm: "dx = scale / sqrt(var + epsilon) * (grad - mean(grad) - n * mean(grad * n))",
    }
    return known.get(type(layer), "dx = grad through the formula in its docstring")


def _slope(layer: object, x: float, is_kept: bool) -> float:
    """The local factor of an elementwise layer. is_kept: False if dropout switched x off."""
    if isinstance(layer, ReLU):
        return float(x > 0)
    if isinstance(layer, Sigmoid):
        s = 1 / (1 + float(np.exp(-x)))
        return s * (1 - s)
    if isinstance(layer, Dropout):
        return 1 / layer.keep_prob if is_kept else 0.0
    return 1.0
