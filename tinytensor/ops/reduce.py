"""Ops that make many numbers one: along one axis, several (a tuple), or all (None).

One rule of shapes for all: the axes that are reduced get size 1, which is the shape a kernel
writes; with `keepdims` they stay in the result's shape, else they are dropped. What is made of sums
is written as that formula, and its gradient comes from there. torch's spellings `dim` and `keepdim`
are taken as well.

Raises, all of them: ShapeError for an axis that isn't there or comes twice.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from tinytensor import kernels, tensor
from tinytensor.arrays import Array
from tinytensor.autograd import record
from tinytensor.errors import SettingError, ShapeError
from tinytensor.ops.operands import (
    Axis,
    Operand,
    Shape,
    all_axes,
    as_float,
    as_rows,
    as_tensor,
    broadcasts_to,
    cast,
    one_axis,
    torch_spelling,
)
from tinytensor.ops.shape import broadcast_to, concat, flip, permute, reshape

if TYPE_CHECKING:
    from tinytensor.tensor import Tensor

__all__ = [
    "all",
    "any",
    "argmax",
    "argmin",
    "cumsum",
    "logsumexp",
    "max",
    "mean",
    "min",
    "norm",
    "prod",
    "std",
    "sum",
    "var",
]


def _kept(op: str, x: Tensor, axis: Axis) -> Shape:
    """x's shape with 1 for the axes that are reduced."""
    axes = all_axes(op, axis, x.ndim)
    return tuple(1 if a in axes else size for a, size in enumerate(x.shape))


def _dropped(op: str, kept: Tensor, axis: Axis, keepdims: bool) -> Tensor:
    """The result without the axes that were reduced, unless they are to stay."""
    if keepdims:
        return kept
    axes = all_axes(op, axis, kept.ndim)
    return reshape(kept, tuple(size for a, size in enumerate(kept.shape) if a not in axes))


# Sums -------------------------------------------------------------------------------------------


def sum_to(x: Operand, shape: Shape) -> Tensor:
    """Sum x down to `shape`, which broadcasts to x's.  dx = grad, broadcast to x's shape.

    Integers are summed as int64, a bool counts as 0 or 1.
    """
    x = as_tensor("sum_to", x)
    if not broadcasts_to(shape, x.shape):
        raise ShapeError(f"sum_to: got x of shape {x.shape}; {shape} doesn't broadcast to it")
    out = np.empty(shape, x.dtype if x.dtype.kind == "f" else np.int64)
    kernels.sum(x.array, out)

    def backward(grad: Tensor) -> tuple[Tensor | None, ...]:
        return (broadcast_to(grad, x.shape),)

    return record("sum", out, (x,), backward)


@torch_spelling
def sum(x: Operand, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The sum; 0 of nothing; integers and booleans are summed as int64.  dx = grad, repeated."""
    x = as_tensor("sum", x)
    return _dropped("sum", sum_to(x, _kept("sum", x, axis)), axis, keepdims)


@torch_spelling
def mean(x: Operand, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The sum divided by the number of its terms; NaN of nothing.  dx = grad / terms, repeated."""
    x = as_tensor("mean", x)
    terms = _terms("mean", x, axis)
    return sum(x, axis, keepdims) / terms


@torch_spelling
def var(x: Operand, axis: Axis = None, correction: float = 0, keepdims: bool = False) -> Tensor:
    """The mean squared distance from the mean: sum of (x - mean)^2 / (terms - correction).

    correction: 0 for the variance of these numbers (NumPy's default), 1 to estimate that of what
        they are a sample of (torch's default).
    dx = grad * 2 (x - mean) / (terms - correction).
    """
    x = as_float("var", x)
    terms = builtins.max(_terms("var", x, axis) - correction, 0)
    distance = x - mean(x, axis, keepdims=True)
    return sum(distance * distance, axis, keepdims) / terms


@torch_spelling
def std(x: Operand, axis: Axis = None, correction: float = 0, keepdims: bool = False) -> Tensor:
    """The square root of the variance (see var).

    dx = grad * (x - mean) / ((terms - correction) * std), 0 where the deviation is 0.
    """
    x = as_float("std", x)
    all_axes("std", axis, x.ndim)
    return _root(var(x, axis, correction, keepdims))


@torch_spelling
def norm(x: Operand, ord: int = 2, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The length: ord 1, sum of |x|; ord 2, the square root of the sum of x^2.

    dx = grad * sign(x); dx = grad * x / norm; 0 where the norm is 0.

    Raises SettingError for another ord.
    """
    x = as_float("norm", x)
    all_axes("norm", axis, x.ndim)
    if ord == 1:
        return sum(x.abs(), axis, keepdims)
    if ord != 2:
        raise SettingError(f"norm: got ord={ord}; 1 or 2 is needed")
    return _root(sum(x * x, axis, keepdims))


def _root(squares: Tensor) -> Tensor:
    """The square root of a sum of squares; where that is 0 the root has an edge, and slope 0."""
    nothing: Tensor = squares == 0
    return squares.masked_fill(nothing, 1).sqrt().masked_fill(nothing, 0)


@torch_spelling
def logsumexp(x: Operand, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """log of the sum of e^x, without overflow; -inf of nothing.  dx = grad * softmax(x)."""
    x = as_float("logsumexp", x)
    all_axes("logsumexp", axis, x.ndim)
    if not x.size:
        return sum(x.exp(), axis, keepdims).log()
    largest = max(x.detach(), axis, keepdims=True)
    shift = largest.masked_fill(~largest.isfinite(), 0)
    total = sum((x - shift).exp(), axis, keepdims=True).log() + shift
    return _dropped("logsumexp", total, axis, keepdims)


@torch_spelling
def any(x: Operand, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Is one of them not zero?  False of nothing; no gradient."""
    x = as_tensor("any", x)
    all_axes("any", axis, x.ndim)
    return sum(x != 0, axis, keepdims) > 0


@torch_spelling
def all(x: Operand, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Is none of them zero?  True of nothing; no gradient."""
    x = as_tensor("all", x)
    all_axes("all", axis, x.ndim)
    none_is_zero: Tensor = sum(x == 0, axis, keepdims) == 0
    return none_is_zero


def _terms(op: str, x: Tensor, axis: Axis) -> int:
    """How many numbers become one."""
    return math.prod(x.shape[a] for a in all_axes(op, axis, x.ndim))


# Products ---------------------------------------------------------------------------------------


@torch_spelling
def prod(x: Operand, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The product; 1 of nothing; integers and booleans are multiplied as int64.

    Neighbours are multiplied until one number is left, so that the gradient, grad times the product
    of the others, is right also where a number is 0.
    """
    x = as_tensor("prod", x)
    x = x if x.dtype.kind == "f" else cast(x, np.int64)
    axes = all_axes("prod", axis, x.ndim)
    others = tuple(a for a in range(x.ndim) if a not in axes)
    factors = math.prod(x.shape[a] for a in axes)
    rows = reshape(permute(x, others + axes), (*(x.shape[a] for a in others), factors))
    if not factors:
        rows = sum(rows, axis=-1, keepdims=True) + 1
    while (factors := rows.shape[-1]) > 1:
        even = factors // 2 * 2
        pairs = rows[..., 0:even:2] * rows[..., 1:even:2]
        rows = concat((pairs, rows[..., even:]), axis=-1) if factors % 2 else pairs
    kept = reshape(rows, _kept("prod", x, axis))
    return _dropped("prod", kept, axis, keepdims)


@torch_spelling
def cumsum(x: Operand, axis: int | None = None) -> Tensor:
    """The sums of the first, the first two, ... along an axis (None: flattened).

    dx_i = the sum of grad_i and all that come after it.
    """
    x = as_tensor("cumsum", x)
    if axis is None:
        return cumsum(reshape(x, (-1,)), axis=0)
    axis = one_axis("cumsum", axis, x.ndim)
    if axis != x.ndim - 1:
        return move_axis(cumsum(move_axis(x, axis, x.ndim - 1), axis=-1), x.ndim - 1, axis)
    out = np.empty(x.shape, x.dtype if x.dtype.kind == "f" else np.int64)
    kernels.cumsum(as_rows(x.array), as_rows(out))

    def backward(grad: Tensor) -> tuple[Tensor | None, ...]:
        return (flip(cumsum(flip(grad, -1), axis=-1), -1),)

    return record("cumsum", out, (x,), backward)


# The largest and the smallest -------------------------------------------------------------------


@torch_spelling
def max(x: Operand, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The largest; NaN where there is one.  It gets grad; several that are equal share it evenly.

    Raises ShapeError if there is nothing to compare.
    """
    return _extreme("max", kernels.max, x, axis, keepdims)


@torch_spelling
def min(x: Operand, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The smallest; NaN where there is one.  It gets grad; several that are equal share it evenly.

    Raises ShapeError if there is nothing to compare.
    """
    return _extreme("min", kernels.min, x, axis, keepdims)


def _extreme(
    op: str, kernel: Callable[[Array, Array], None], x: Operand, axis: Axis, keepdims: bool
) -> Tensor:
    x = as_tensor(op, x)
    kept = _kept(op, x, axis)
    if not _terms(op, x, axis):
        raise _nothing_to_compare(op, x, axis)
    out = np.empty(kept, x.dtype)
    kernel(x.array, out)

    def backward(grad: Tensor, best: Tensor) -> tuple[Tensor | None, ...]:
        hits = cast(x == best, x.dtype)
        return (hits * (grad / sum_to(hits, kept)),)

    return _dropped(op, record(op, out, (x,), backward, (x,), keep_out=True), axis, keepdims)


@torch_spelling
def argmax(x: Operand, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Where the largest is along an axis (None: in the flattened tensor), as int64; no gradient.

    The first of equals; a NaN counts as larger than any number.

    Raises ShapeError if there is nothing to compare.
    """
    return _where_is("argmax", kernels.argmax, x, axis, keepdims)


@torch_spelling
def argmin(x: Operand, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Where the smallest is along an axis, as argmax; a NaN counts as smaller than any number."""
    return _where_is("argmin", kernels.argmin, x, axis, keepdims)


def _where_is(
    op: str, kernel: Callable[[Array, Array], None], x: Operand, axis: int | None, keepdims: bool
) -> Tensor:
    x = as_tensor(op, x)
    kept = _kept(op, x, axis)
    if axis is None:
        rows = reshape(x, (1, x.size))
    else:
        rows = move_axis(x, one_axis(op, axis, x.ndim), x.ndim - 1)
    if not rows.shape[-1]:
        raise _nothing_to_compare(op, x, axis)
    out = np.empty(math.prod(rows.shape[:-1]), np.int64)
    kernel(as_rows(rows.array), out)
    return _dropped(op, tensor.wrap(out.reshape(kept)), axis, keepdims)


def _nothing_to_compare(op: str, x: Tensor, axis: Axis) -> ShapeError:
    return ShapeError(f"{op}: got shape {x.shape}, axis {axis}; nothing is there to compare")


def move_axis(x: Tensor, source: int, target: int) -> Tensor:
    """x with one axis in another place, the others in their order."""
    order = [a for a in range(x.ndim) if a != source]
    order.insert(target, source)
    return x if source == target else permute(x, tuple(order))
