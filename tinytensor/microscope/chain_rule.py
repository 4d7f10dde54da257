"""The chain rule in numbers: how the gradient of a loss comes back to one value of a network.

One path leads from the value to the loss. Where a layer sends a value to many neurons, its gradient
is a sum with a term for each of them, and the path goes through the largest term.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tinytensor import ops
from tinytensor.arrays import Array
from tinytensor.autograd import no_grad
from tinytensor.nn import (
    GELU,
    Activation,
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Dropout,
    Flatten,
    Identity,
    LayerNorm,
    LeakyReLU,
    Linear,
    MaxPool2d,
    Module,
    ReLU,
    Sequential,
    Sigmoid,
    SiLU,
    Softmax,
    Tanh,
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
        passing = passing_of(layer)
        name = f"layers.{i}: {getattr(layer, '__name__', type(layer).__name__)}"
        if path is None:
            found.append(Stage(name, passing.formula, None))
            continue
        factors, after = passing.numbers(layer, x, out, example, path)
        formula = passing.formula.replace("dx", f"dx[{', '.join(map(str, path))}]", 1)
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


# How the gradient passes back through each layer ------------------------------------------------
#
# A function below gets the layer, its input x and its result out, the example, and the place in x.
# It returns the right side of the layer's formula in numbers, and where the path goes on in out.

Numbers = Callable[[Any, Tensor, Tensor, int, Place], tuple[str, Place | None]]


class Passing(NamedTuple):
    """How the gradient passes through a layer, from its result to its input: see above."""

    formula: str
    numbers: Numbers


def _through_linear(
    layer: Linear, x: Tensor, out: Tensor, example: int, path: Place
) -> tuple[str, Place]:
    grads = _grads(out, example)
    weights = np.zeros(grads.shape)
    weights[path[:-1]] = layer.weight.array[path[-1]]
    return _sum(grads, weights)


def _through_windows(
    layer: Conv2d | AvgPool2d, x: Tensor, out: Tensor, example: int, path: Place
) -> tuple[str, Place]:
    return _sum(_grads(out, example), _shares(layer, x, path))


def _through_largest(
    layer: MaxPool2d, x: Tensor, out: Tensor, example: int, path: Place
) -> tuple[str, Place]:
    reached = _shares(AvgPool2d(*layer.settings), x, path) > 0
    reached &= out.array[example] == x.array[(example, *path)]
    return "", _largest(np.where(reached, _grads(out, example), 0))


def _through_flatten(
    layer: Flatten, x: Tensor, out: Tensor, example: int, path: Place
) -> tuple[str, Place]:
    return "", (int(np.ravel_multi_index(path, x.shape[1:])),)


def _through_unknown(
    layer: object, x: Tensor, out: Tensor, example: int, path: Place
) -> tuple[str, Place | None]:
    return "", path if x.shape == out.shape else None


def _through_mask(
    layer: Dropout, x: Tensor, out: Tensor, example: int, path: Place
) -> tuple[str, Place]:
    place = (example, *path)
    is_kept = bool(out.array[place] if x.array[place] else grad_of(x)[place])
    mask = 0.0 if not is_kept else 1 / layer.keep_prob if layer.training else 1.0
    return f" = {_grads(out, example)[path]:.4g} * {mask:.4g}", path


def _through_softmax(
    layer: Softmax, x: Tensor, out: Tensor, example: int, path: Place
) -> tuple[str, Place]:
    axis = layer.axis % x.ndim - 1  # without the axis of the examples
    if axis < 0:
        return "", path
    along: tuple[Any, ...] = (*path[:axis], slice(None), *path[axis + 1 :])
    probs, grads = out.array[example].astype(np.float64), _grads(out, example)
    total = (grads[along] * probs[along]).sum()
    return f" = {probs[path]:.4g} * ({grads[path]:.4g} - {total:.4g})", path


def _through_batch_norm(
    layer: BatchNorm, x: Tensor, out: Tensor, example: int, path: Place
) -> tuple[str, Place]:
    if not layer.training:  # then x changes neither the mean nor the variance
        return "", path
    channel = path[-1]
    values, grads = (x.array[..., channel], grad_of(out)[..., channel])
    scale = 1.0 if layer.scale is None else float(layer.scale.array[channel])
    return _normalised(values, grads, (example, *path[:-1]), layer.epsilon, scale), path


def _through_layer_norm(
    layer: LayerNorm, x: Tensor, out: Tensor, example: int, path: Place
) -> tuple[str, Place]:
    before = len(path) - len(layer.channels)  # axes that are not normalised
    if before < 0:
        return "", path
    values, grads = x.array[(example, *path[:before])], _grads(out, example)[path[:before]]
    if layer.scale is not None:
        grads = grads * layer.scale.array
    return _normalised(values, grads, path[before:], layer.epsilon, 1.0), path


def _normalised(values: Array, grads: Array, place: Place, epsilon: float, scale: float) -> str:
    """The gradient at a place of values that are normalised together, in numbers."""
    values, grads = values.astype(np.float64), grads.astype(np.float64)
    deviation = np.sqrt(values.var() + epsilon)
    n = (values - values.mean()) / deviation
    return (
        f" = {scale:.4g} / {deviation:.4g} * ({grads[place]:.4g} - {grads.mean():.4g} - "
        f"{n[place]:.4g} * {(grads * n).mean():.4g})"
    )


def _elementwise(formula: str, slope: Callable[[Any, float], str]) -> Passing:
    """A layer that computes each value alone. slope: of the layer and of x, in numbers."""

    def numbers(
        layer: object, x: Tensor, out: Tensor, example: int, path: Place
    ) -> tuple[str, Place]:
        at = float(x.array[(example, *path)])
        return f" = {_grads(out, example)[path]:.4g} * {slope(layer, at)}", path

    return Passing(formula, numbers)


def _sigmoid(x: float) -> float:
    return math.exp(min(x, 0)) / (1 + math.exp(-abs(x)))  # no overflow


def _slope_of_gelu(layer: GELU, x: float) -> str:
    share, density = (1 + math.erf(x / 2**0.5)) / 2, math.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    return f"({share:.6g} + {x:.6g} * {density:.6g})"


def _slope_of_silu(layer: SiLU, x: float) -> str:
    return f"{_sigmoid(x):.6g} * (1 + {x:.6g} * {_sigmoid(-x):.6g})"


def _slope_by_engine(layer: Activation, x: float) -> str:
    """The slope of an activation of one's own, by a backward pass."""
    at = from_numpy(np.array([x])).requires_grad_()
    layer(at).sum().backward()
    return f"{float(grad_of(at)[0]):.4g}"


_BY_DEVIATION = "/ sqrt(var + epsilon) * "
PASSING: dict[type[Module], Passing] = {  # a base class comes after its subclasses
    Linear: Passing("dx = sum over its neurons k of grad[k] * w[., k]", _through_linear),
    Conv2d: Passing("dx = sum over the windows that contain x of grad * w", _through_windows),
    AvgPool2d: Passing("dx = sum over the windows that contain x of grad / size", _through_windows),
    MaxPool2d: Passing(
        "dx = sum over the windows whose largest value is x of grad", _through_largest
    ),
    Flatten: Passing("dx = grad in the shape of x", _through_flatten),
    Identity: Passing("dx = grad", _through_unknown),
    Dropout: Passing("dx = grad * mask", _through_mask),
    Softmax: Passing("dx = p * (grad - sum(grad * p))", _through_softmax),
    BatchNorm: Passing(
        f"dx = scale {_BY_DEVIATION}(grad - mean(grad) - n * mean(grad * n))", _through_batch_norm
    ),
    LayerNorm: Passing(
        f"with g = grad * scale: dx = 1 {_BY_DEVIATION}(g - mean(g) - n * mean(g * n))",
        _through_layer_norm,
    ),
    ReLU: _elementwise("dx = grad * (1 where x > 0, else 0)", lambda _, x: f"{float(x > 0):.4g}"),
    LeakyReLU: _elementwise(
        "dx = grad * (1 where x > 0, else slope)",
        lambda layer, x: f"{1.0 if x > 0 else layer.slope:.4g}",
    ),
    Sigmoid: _elementwise(
        "dx = grad * s * (1 - s)", lambda _, x: f"{_sigmoid(x):.4g} * {_sigmoid(-x):.4g}"
    ),
    Tanh: _elementwise(
        "dx = grad * (1 - tanh(x)^2)", lambda _, x: f"(1 - {math.tanh(x) ** 2:.6g})"
    ),
    GELU: _elementwise("dx = grad * (P(x) + x * e^(-x^2 / 2) / sqrt(2 * pi))", _slope_of_gelu),
    SiLU: _elementwise("with s = sigmoid(x): dx = grad * s * (1 + x * (1 - s))", _slope_of_silu),
    Activation: _elementwise("dx = grad * the slope of its function at x", _slope_by_engine),
}
_UNKNOWN = Passing("dx = grad through the formula in its docstring", _through_unknown)


def passing_of(layer: object) -> Passing:
    """Return how the gradient passes through a layer, which may be a function such as tt.relu.

    A subclass passes it as its base class does, if it has the same `forward`.
    """
    for kind, passing in PASSING.items():
        is_same = isinstance(layer, kind) and type(layer).forward is kind.forward
        if is_same or getattr(kind, "op", None) is layer:
            return passing
    return _UNKNOWN


def _grads(out: Tensor, example: int) -> Array:
    """The gradient of a layer's result, for one example."""
    grads: Array = grad_of(out)[example].astype(np.float64)
    return grads


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
    if (rest := count - len(top)) > 0:
        listed += f" + {terms.sum() - terms[top].sum():.4g} ({rest} more)"
    return f" = {listed}" if listed else "", _largest(terms.reshape(grads.shape))


def _largest(terms: Array) -> Place:
    return tuple(map(int, np.unravel_index(np.abs(terms).argmax(), terms.shape)))
