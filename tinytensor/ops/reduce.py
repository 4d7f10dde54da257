"""Ops that reduce one axis, several axes (a tuple) or all axes (None) of a tensor.

All follow one rule of shapes: a kernel writes a result in which each reduced axis has size 1. With
`keepdims=True` this axis stays in the result's shape, else it is dropped. An op that is made of
sums is defined by its formula, and its gradient follows from the formula. PyTorch's spellings `dim`
and `keepdim` work too.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable
from functools import lru_cache
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np

from tinytensor import kernels, tensors
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
    real,
    torch_spelling,
)
from tinytensor.ops.shape import broadcast_to, concat, flip, permute, reshape

if TYPE_CHECKING:
    from tinytensor.tensors import Tensor

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


def _kept_and_dropped(op: str, shape: Shape, axis: Axis) -> tuple[Shape, Shape]:
    """The shape with size 1 for the reduced axes, and without them."""
    if axis is None or type(axis) is int:  # a cache would take 1.0 for 1, and no list
        return _cached_kept_and_dropped(op, shape, axis)
    return _computed_kept_and_dropped(op, shape, axis)


def _computed_kept_and_dropped(op: str, shape: Shape, axis: Axis) -> tuple[Shape, Shape]:
    axes = all_axes(op, axis, len(shape))
    kept = tuple(1 if a in axes else size for a, size in enumerate(shape))
    return kept, tuple(size for a, size in enumerate(shape) if a not in axes)


_cached_kept_and_dropped = lru_cache(maxsize=1024)(_computed_kept_and_dropped)


def _kept(op: str, x: Tensor, axis: Axis) -> Shape:
    """x's shape with size 1 for the reduced axes."""
    return _kept_and_dropped(op, x.shape, axis)[0]


def _dropped(op: str, kept: Tensor, axis: Axis, keepdims: bool) -> Tensor:
    """The result without the reduced axes, unless keepdims is True."""
    if keepdims:
        return kept
    return reshape(kept, _kept_and_dropped(op, kept.shape, axis)[1])


# Sums -------------------------------------------------------------------------------------------


def sum_to(x: Operand, shape: Shape) -> Tensor:
    """The sum of x over the axes along which `shape` is repeated to fill x's shape.

    Args:
        x: array-like, numeric.
        shape: tuple of ints that broadcasts to x's shape.

    Returns:
        Tensor of that shape, x's dtype if float, else int64.

    Gradient: dx = grad, broadcast to x's shape.

    Raises:
        ShapeError: shape does not broadcast to x's shape.
        DTypeError: x does not hold real numbers.
        NotSupported: x is None or a string.

    Source: torch.Tensor.sum_to_size.
    """
    x = as_tensor("sum_to", x)
    if not broadcasts_to(shape, x.shape):
        raise ShapeError(f"sum_to: got x of shape {x.shape}; {shape} doesn't broadcast to it")

    def backward(grad: Tensor) -> tuple[Tensor | None, ...]:
        return (broadcast_to(grad, x.shape),)

    return record("sum", _sums(x, shape), (x,), backward)


def _sums(x: Tensor, shape: Shape) -> Array:
    dtype = x.array.dtype
    out = np.empty(shape, dtype if dtype.kind == "f" else np.int64)
    kernels.sum(x.array, out)
    return out


@torch_spelling
def sum(x: Operand, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The sum over `axis`. The sum of an empty array is 0.

    Args:
        x: array-like, any shape, numeric.
        axis (or dim): int, tuple of ints, or None for all axes; negative axes count from the end.
        keepdims (or keepdim): True keeps the reduced axes with size 1.

    Returns:
        Tensor, x's shape without the reduced axes; x's dtype if float, else int64.

    Gradient: dx = grad, repeated along the reduced axes.

    Raises:
        ShapeError: an axis does not exist or occurs twice.
        DTypeError: x does not hold real numbers.
        NotSupported: x is None or a string.

    Source: numpy.sum, torch.sum.

    >>> x = tt.Tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> tt.sum(x)
    Tensor(10., dtype=float32)
    >>> tt.sum(x, axis=0)
    Tensor([4., 6.], dtype=float32)
    """
    x = as_tensor("sum", x)
    kept, dropped = _kept_and_dropped("sum", x.array.shape, axis)
    if axis is None and not keepdims:
        out = _sums(x, ())
    else:
        out = _sums(x, kept)
        out = out if keepdims else out.reshape(dropped)

    def backward(grad: Tensor) -> tuple[Tensor | None, ...]:
        return (broadcast_to(reshape(grad, kept), x.shape),)

    return record("sum", out, (x,), backward)


@torch_spelling
def mean(x: Operand, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The mean over `axis`. The mean of an empty array is NaN.

    Args:
        x: array-like, any shape, numeric.
        axis (or dim): int, tuple of ints, or None for all axes; negative axes count from the end.
        keepdims (or keepdim): True keeps the reduced axes with size 1.

    Returns:
        Tensor, x's shape without the reduced axes; float (float64 for integers).

    Gradient: dx = grad / n, repeated along the reduced axes, with n elements in each mean.

    Raises:
        ShapeError: an axis does not exist or occurs twice.
        DTypeError: x does not hold real numbers.
        NotSupported: x is None or a string.

    Source: numpy.mean, torch.mean.

    >>> tt.mean([[1.0, 2.0], [3.0, 4.0]], axis=1)
    Tensor([1.5, 3.5], dtype=float32)
    """
    x = as_tensor("mean", x)
    terms = _terms("mean", x, axis)
    return sum(x, axis, keepdims) / terms


@torch_spelling
def var(x: Operand, axis: Axis = None, correction: float = 0, keepdims: bool = False) -> Tensor:
    """The variance over `axis`: the sum of (x - mean)^2, divided by n - correction, for n elements.

    Args:
        x: array-like, any shape; integers become floats.
        axis (or dim): int, tuple of ints, or None for all axes; negative axes count from the end.
        correction: number; 0 for the variance of these elements (NumPy's default), 1 to estimate
            the variance of the distribution that they are a sample of (torch's default).
        keepdims (or keepdim): True keeps the reduced axes with size 1.

    Returns:
        Tensor, x's shape without the reduced axes; float.

    Gradient: dx = grad * 2 * (x - mean) / (n - correction).

    Raises:
        ShapeError: an axis does not exist or occurs twice.
        SettingError: correction is not a number.
        GradientError: correction is a tensor that requires a gradient.
        DTypeError: x does not hold real numbers.
        NotSupported: x is None or a string.

    Source: numpy.var, torch.var.

    >>> tt.var([1.0, 2.0, 3.0, 4.0])
    Tensor(1.25, dtype=float32)
    """
    x = as_float("var", x)
    terms = builtins.max(_terms("var", x, axis) - real("var", "correction", correction), 0)
    distance = x - mean(x, axis, keepdims=True)
    return sum(distance * distance, axis, keepdims) / terms


@torch_spelling
def std(x: Operand, axis: Axis = None, correction: float = 0, keepdims: bool = False) -> Tensor:
    """The standard deviation over `axis`: the square root of the variance.

    Args:
        x: array-like, any shape; integers become floats.
        axis (or dim): int, tuple of ints, or None for all axes; negative axes count from the end.
        correction: number; the divisor of the variance is n - correction, see var.
        keepdims (or keepdim): True keeps the reduced axes with size 1.

    Returns:
        Tensor, x's shape without the reduced axes; float.

    Gradient: dx = grad * (x - mean) / ((n - correction) * std), and 0 where std is 0.

    Raises:
        ShapeError: an axis does not exist or occurs twice.
        SettingError: correction is not a number.
        GradientError: correction is a tensor that requires a gradient.
        DTypeError: x does not hold real numbers.
        NotSupported: x is None or a string.

    Source: numpy.std, torch.std.

    >>> tt.std([1.0, 3.0])
    Tensor(1., dtype=float32)
    """
    x = as_float("std", x)
    all_axes("std", axis, x.ndim)
    correction = real("std", "correction", correction)
    return _root(var(x, axis, correction, keepdims))


@torch_spelling
def norm(x: Operand, ord: int = 2, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The norm over `axis`: the root of the sum of squares (ord 2), or the sum of `|x|` (ord 1).

    Args:
        x: array-like, any shape; integers become floats.
        ord: 1 or 2.
        axis (or dim): int, tuple of ints, or None for all axes; negative axes count from the end.
        keepdims (or keepdim): True keeps the reduced axes with size 1.

    Returns:
        Tensor, x's shape without the reduced axes; float.

    Gradient: dx = grad * x / norm for ord 2, and 0 where the norm is 0; grad * sign(x) for ord 1.

    Raises:
        SettingError: ord is not 1 or 2.
        ShapeError: an axis does not exist or occurs twice.
        DTypeError: x does not hold real numbers.
        NotSupported: x is None or a string.

    Source: numpy.linalg.norm, torch.linalg.vector_norm.

    >>> tt.norm([3.0, 4.0])
    Tensor(5., dtype=float32)
    """
    x = as_float("norm", x)
    all_axes("norm", axis, x.ndim)
    if not isinstance(ord, Real) or ord not in (1, 2):
        raise SettingError(f"norm: got ord={ord!r}; 1 or 2 is needed")
    if ord == 1:
        return sum(x.abs(), axis, keepdims)
    return _root(sum(x * x, axis, keepdims))


def _root(squares: Tensor) -> Tensor:
    """The square root of a sum of squares, with gradient 0 where the sum is 0."""
    zeros: Tensor = squares == 0
    return squares.masked_fill(zeros, 1).sqrt().masked_fill(zeros, 0)


@torch_spelling
def logsumexp(x: Operand, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """log(sum of e^x) over `axis`, without overflow. For an empty array it is -inf.

    Args:
        x: array-like, any shape; integers become floats.
        axis (or dim): int, tuple of ints, or None for all axes; negative axes count from the end.
        keepdims (or keepdim): True keeps the reduced axes with size 1.

    Returns:
        Tensor, x's shape without the reduced axes; float.

    Gradient: dx = grad * softmax(x), the softmax over the same axes.

    Raises:
        ShapeError: an axis does not exist or occurs twice.
        DTypeError: x does not hold real numbers.
        NotSupported: x is None or a string.

    Source: torch.logsumexp, scipy.special.logsumexp.

    >>> print(f"{tt.logsumexp([1000.0, 1000.0]).item():.3f}")
    1000.693
    """
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
    """True if at least one element over `axis` is not 0. For an empty array it is False.

    Args:
        x: array-like, any shape, numeric.
        axis (or dim): int, tuple of ints, or None for all axes; negative axes count from the end.
        keepdims (or keepdim): True keeps the reduced axes with size 1.

    Returns:
        Tensor, x's shape without the reduced axes; bool.

    Gradient: none.

    Raises:
        ShapeError: an axis does not exist or occurs twice.
        DTypeError: x does not hold real numbers.
        NotSupported: x is None or a string.

    Source: numpy.any, torch.any.

    >>> tt.any([[True, False], [False, False]], axis=1)
    Tensor([ True, False], dtype=bool)
    """
    x = as_tensor("any", x)
    all_axes("any", axis, x.ndim)
    return sum(x != 0, axis, keepdims) > 0


@torch_spelling
def all(x: Operand, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """True if no element over `axis` is 0. For an empty array it is True.

    Args:
        x: array-like, any shape, numeric.
        axis (or dim): int, tuple of ints, or None for all axes; negative axes count from the end.
        keepdims (or keepdim): True keeps the reduced axes with size 1.

    Returns:
        Tensor, x's shape without the reduced axes; bool.

    Gradient: none.

    Raises:
        ShapeError: an axis does not exist or occurs twice.
        DTypeError: x does not hold real numbers.
        NotSupported: x is None or a string.

    Source: numpy.all, torch.all.

    >>> tt.all([[True, True], [True, False]], axis=1)
    Tensor([ True, False], dtype=bool)
    """
    x = as_tensor("all", x)
    all_axes("all", axis, x.ndim)
    none_is_zero: Tensor = sum(x == 0, axis, keepdims) == 0
    return none_is_zero


def _terms(op: str, x: Tensor, axis: Axis) -> int:
    """The number of elements that are reduced to one."""
    return math.prod(x.shape[a] for a in all_axes(op, axis, x.ndim))


# Products ---------------------------------------------------------------------------------------


@torch_spelling
def prod(x: Operand, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The product over `axis`. The product of an empty array is 1.

    Neighbours are multiplied until one element is left, so the gradient is right also where an
    element is 0.

    Args:
        x: array-like, any shape, numeric.
        axis (or dim): int, tuple of ints, or None for all axes; negative axes count from the end.
        keepdims (or keepdim): True keeps the reduced axes with size 1.

    Returns:
        Tensor, x's shape without the reduced axes; x's dtype if float, else int64.

    Gradient: dx[i] = grad * the product of all x[j] with j != i.

    Raises:
        ShapeError: an axis does not exist or occurs twice.
        DTypeError: x does not hold real numbers.
        NotSupported: x is None or a string.

    Source: numpy.prod, torch.prod.

    >>> tt.prod([2.0, 3.0, 4.0])
    Tensor(24., dtype=float32)
    """
    x = as_tensor("prod", x)
    x = x if x.dtype.kind == "f" else cast(x, np.int64)
    axes = all_axes("prod", axis, x.ndim)
    others = tuple(a for a in range(x.ndim) if a not in axes)
    factors = math.prod(x.shape[a] for a in axes)
    if factors == 1:  # no product: a copy, which shares no memory with x
        x = broadcast_to(x, x.shape, copy=True)
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
    """The cumulative sum along an axis: out[i] = x[0] + ... + x[i].

    Args:
        x: array-like, any shape, numeric.
        axis (or dim): int; None flattens x first. Negative axes count from the end.

    Returns:
        Tensor of x's shape, or (x.size,) if axis is None; x's dtype if float, else int64.

    Gradient: dx[i] = grad[i] + grad[i + 1] + ... along the axis.

    Raises:
        ShapeError: the axis does not exist.
        DTypeError: x does not hold real numbers.
        NotSupported: x is None or a string.

    Source: numpy.cumsum, torch.cumsum.

    >>> tt.cumsum([1.0, 2.0, 3.0])
    Tensor([1., 3., 6.], dtype=float32)
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


# Largest and smallest elements ------------------------------------------------------------------


@torch_spelling
def max(x: Operand, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The largest element over `axis`; NaN if one of them is NaN.

    Args:
        x: array-like, any shape, numeric.
        axis (or dim): int, tuple of ints, or None for all axes; negative axes count from the end.
        keepdims (or keepdim): True keeps the reduced axes with size 1.

    Returns:
        Tensor, x's shape without the reduced axes; x's dtype.

    Gradient: dx = grad at the largest element, else 0; k equal largest elements get grad / k each.

    Raises:
        ShapeError: there is no element to compare, or an axis does not exist or occurs twice.
        DTypeError: x does not hold real numbers.
        NotSupported: x is None or a string.

    Source: numpy.max, torch.amax. torch.max(x, 1) returns indices too, see argmax.

    >>> tt.max([[1.0, 5.0], [3.0, 2.0]], axis=1)
    Tensor([5., 3.], dtype=float32)
    """
    return _extreme("max", kernels.max, x, axis, keepdims)


@torch_spelling
def min(x: Operand, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The smallest element over `axis`; NaN if one of them is NaN.

    Args:
        x: array-like, any shape, numeric.
        axis (or dim): int, tuple of ints, or None for all axes; negative axes count from the end.
        keepdims (or keepdim): True keeps the reduced axes with size 1.

    Returns:
        Tensor, x's shape without the reduced axes; x's dtype.

    Gradient: dx = grad at the smallest element, else 0; k equal smallest elements get grad / k
    each.

    Raises:
        ShapeError: there is no element to compare, or an axis does not exist or occurs twice.
        DTypeError: x does not hold real numbers.
        NotSupported: x is None or a string.

    Source: numpy.min, torch.amin. torch.min(x, 1) returns indices too, see argmin.

    >>> tt.min([[1.0, 5.0], [3.0, 2.0]], axis=1)
    Tensor([1., 2.], dtype=float32)
    """
    return _extreme("min", kernels.min, x, axis, keepdims)


def _extreme(
    op: str, kernel: Callable[[Array, Array], None], x: Operand, axis: Axis, keepdims: bool
) -> Tensor:
    x = as_tensor(op, x)
    kept = _kept(op, x, axis)
    if not _terms(op, x, axis):
        raise _no_elements(op, x, axis)
    out = np.empty(kept, x.dtype)
    kernel(x.array, out)

    def backward(grad: Tensor, best: Tensor) -> tuple[Tensor | None, ...]:
        hits = cast(x == best, x.dtype)
        return (hits * (grad / sum_to(hits, kept)),)

    return _dropped(op, record(op, out, (x,), backward, (x,), keep_out=True), axis, keepdims)


@torch_spelling
def argmax(x: Operand, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The index of the largest element along an axis: the first NaN, else the first of equal ones.

    Args:
        x: array-like, any shape, numeric.
        axis (or dim): int, or None for the index in the flattened tensor; negative axes count from
            the end.
        keepdims (or keepdim): True keeps the reduced axes with size 1.

    Returns:
        Tensor, x's shape without the axis; int64.

    Gradient: none.

    Raises:
        ShapeError: there is no element to compare, or the axis does not exist.
        DTypeError: x does not hold real numbers.
        NotSupported: x is None or a string.

    Source: numpy.argmax, torch.argmax.

    >>> tt.argmax([[1.0, 5.0], [3.0, 2.0]], axis=1)
    Tensor([1, 0], dtype=int64)
    """
    return _where_is("argmax", kernels.argmax, x, axis, keepdims)


@torch_spelling
def argmin(x: Operand, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The index of the smallest element along an axis: the first NaN, else the first of equal ones.

    Args:
        x: array-like, any shape, numeric.
        axis (or dim): int, or None for the index in the flattened tensor; negative axes count from
            the end.
        keepdims (or keepdim): True keeps the reduced axes with size 1.

    Returns:
        Tensor, x's shape without the axis; int64.

    Gradient: none.

    Raises:
        ShapeError: there is no element to compare, or the axis does not exist.
        DTypeError: x does not hold real numbers.
        NotSupported: x is None or a string.

    Source: numpy.argmin, torch.argmin.

    >>> tt.argmin([[1.0, 5.0], [3.0, 2.0]], axis=1)
    Tensor([0, 1], dtype=int64)
    """
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
        raise _no_elements(op, x, axis)
    out = np.empty(math.prod(rows.shape[:-1]), np.int64)
    kernel(as_rows(rows.array), out)
    return _dropped(op, tensors.wrap(out.reshape(kept)), axis, keepdims)


def _no_elements(op: str, x: Tensor, axis: Axis) -> ShapeError:
    return ShapeError(f"{op}: got shape {x.shape}, axis {axis}; there is no element to compare")


def move_axis(x: Tensor, source: int, target: int) -> Tensor:
    """x with the axis `source` moved to position `target`; the other axes keep their order."""
    order = [a for a in range(x.ndim) if a != source]
    order.insert(target, source)
    return x if source == target else permute(x, tuple(order))
