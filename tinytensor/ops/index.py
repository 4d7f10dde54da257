"""Ops that pick elements: x[...] with all of NumPy's indexing, and the ops that are built on it.

NumPy decides which elements an index means: it indexes an array of row numbers in x's shape. Two
kernels do the rest, and each is the other's gradient: `take` copies rows from x, `scatter_add` adds
rows to x. So a row that is picked twice gets both gradients. The axes at the end that an index does
not touch stay together as rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import EllipsisType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from tinytensor import kernels, recorder, tensors
from tinytensor.arrays import Array
from tinytensor.autograd import record
from tinytensor.errors import CaptureError, DTypeError, IndexingError, ShapeError
from tinytensor.ops.operands import (
    Operand,
    Shape,
    as_alike,
    as_array,
    as_tensor,
    one_axis,
    possible,
    real,
    torch_spelling,
)

if TYPE_CHECKING:
    from tinytensor.tensors import Tensor

__all__ = ["gather", "pad", "scatter_add", "take"]

_One: TypeAlias = "int | slice | EllipsisType | Tensor | Array | Sequence[Any] | None"
Key: TypeAlias = "_One | tuple[_One, ...]"


class Places(NamedTuple):
    """What an index means in a tensor: the rows that it picks, in the order of the result."""

    numbers: Array  # (R,) int64, row numbers from 0 to N - 1
    table: Shape  # (N, C): the tensor as rows; C is the size of the axes that stay together
    rows: Shape  # (R, C): the result as rows
    shape: Shape  # the result's


def places(shape: Shape, key: Key, op: str = "index") -> Places:
    """The rows that an index picks from a tensor of this shape; errors name the op.

    Raises:
        IndexingError: the index does not fit the shape.
    """
    keys = [_as_array(k) for k in (key if isinstance(key, tuple) else (key,))]
    while keys and keys[-1] is Ellipsis:
        keys.pop()
    touched = sum(_axes_of(k) for k in keys)
    if any(k is Ellipsis for k in keys):
        touched = len(shape)
    front, end = shape[:touched], shape[touched:]
    N, C = math.prod(front), math.prod(end)

    def pick(keys: Sequence[Any]) -> Array:
        try:
            if touched > len(shape):
                raise IndexError(f"{touched} indices for {len(shape)} axes")
            return np.asarray(np.arange(N).reshape(front)[tuple(keys)])
        except (IndexError, ValueError, TypeError, OverflowError) as error:
            raise IndexingError(f"{op}: x has shape {shape}: {error}") from None

    picked = pick(keys)
    numbers = np.ascontiguousarray(picked).reshape(-1)
    arrays = [k for k in keys if isinstance(k, np.ndarray)]
    if arrays and recorder.recorder():
        _pick_each_step(pick, picked.shape, keys, arrays, numbers)
    return Places(numbers, (N, C), (numbers.size, C), picked.shape + end)


def _pick_each_step(
    pick: Callable[[Sequence[Any]], Array],
    shape: Shape,
    keys: Sequence[Any],
    arrays: Sequence[Array],
    numbers: Array,
) -> None:
    """Make every replay of a captured step pick again, because an index's arrays may change."""
    # The function holds no array, because an array that still exists after the step is stored.
    form = [np.ndarray if isinstance(k, np.ndarray) else k for k in keys]

    def pick_again(*given: Array) -> None:
        *arrays, numbers = given
        waiting = iter(arrays)
        picked = pick([next(waiting) if k is np.ndarray else k for k in form])
        if picked.shape != shape:
            raise CaptureError(
                f"captured step: an index picks a result of shape {picked.shape}, and {shape} was "
                "recorded; where(mask, x, 0) has the same shape whatever the mask"
            )
        numbers[:] = picked.reshape(-1)

    others = tuple(repr(k) for k in keys if not isinstance(k, np.ndarray))
    recorder.each_step(pick_again, reads=arrays, writes=(numbers,), settings=(shape, others))


def _as_array(key: Any) -> Any:
    """A part of an index; tensors, lists, tuples and ranges become arrays."""
    if isinstance(key, list | tuple | range):
        try:
            array = np.asarray(key)
        except ValueError:
            raise IndexingError(f"index: got {key!r}; its rows have different lengths") from None
        return array if array.size else array.astype(np.int64)  # NumPy does the same with []
    if isinstance(key, np.ndarray):
        return np.asarray(key)
    return key.array if isinstance(key, tensors.Tensor) else key


def _axes_of(key: Any) -> int:
    """The number of axes that one part of an index covers."""
    if key is None or key is Ellipsis:
        return 0
    if isinstance(key, np.ndarray | np.generic):
        if key.dtype.kind not in "iub" and key.size:
            raise IndexingError(f"index: got {key.dtype}; integers or bool are needed")
        return key.ndim if key.dtype.kind == "b" else 1
    if isinstance(key, bool):
        return 0
    if isinstance(key, slice) or hasattr(key, "__index__"):
        return 1
    raise IndexingError(
        f"index: got {key!r}; an integer, slice, ..., None, or a tensor of integers or bool is "
        "needed"
    )


def getitem(x: Operand, key: Key) -> Tensor:
    """x[key], a copy, with NumPy's indexing.

    Args:
        x: array-like, any shape and dtype.
        key: an int, a slice, ..., None, an integer array, a bool mask, or a tuple of these. A list
            stands for an array, and so does a tuple in a tuple: x[(0, 1), (1, 2)].

    Returns:
        Tensor of x's dtype and of the shape that NumPy gives to x[key].

    Gradient: dx[key] += grad, with dx = 0 at first: an element that is picked twice gets both.

    Raises:
        IndexingError: the key is outside x or of another type.
        CaptureError: a mask in a captured step picks another number of elements than when it was
            recorded.

    Source: numpy.ndarray.__getitem__, torch.Tensor.__getitem__ (which allows no negative steps).
    """
    x = as_tensor("getitem", x)
    return _pick(x, places(x.shape, key))


def _pick(x: Tensor, at: Places) -> Tensor:
    """The rows of x at these places."""
    out = np.empty(at.shape, x.dtype)
    kernels.take(x.array.reshape(at.table), at.numbers, out.reshape(at.rows))

    def backward(grad: Tensor) -> tuple[Tensor | None, ...]:
        return (_spread(grad, at, x.shape),)

    return record("getitem", out, (x,), backward)


def _spread(x: Tensor, at: Places, shape: Shape) -> Tensor:
    """Zeros of the given shape, with x's rows added at these places: the gradient of _pick."""
    out = np.empty(shape, x.dtype)
    kernels.scatter_add(x.array.reshape(at.rows), at.numbers, out.reshape(at.table))

    def backward(grad: Tensor) -> tuple[Tensor | None, ...]:
        return (_pick(grad, at),)

    return record("scatter_add", out, (x,), backward)


@torch_spelling
def take(x: Operand, index: Operand, axis: int | None = None) -> Tensor:
    """The entries of x at the given indices along an axis: x[index] for axis 0.

    Args:
        x: array-like, any dtype.
        index: array-like of integers, any shape; negative ones count from the end.
        axis (or dim): int; None flattens x first. Negative axes count from the end.

    Returns:
        Tensor of x's dtype; index.shape takes the place of the axis in x's shape.

    Gradient: dx[index] += grad along the axis, with dx = 0 at first.

    Raises:
        IndexingError: an index is outside x.
        DTypeError: the index is not of integers.
        ShapeError: the axis does not exist.
        NotSupported: x or index is None or a string.

    Source: numpy.take, torch.index_select.

    >>> tt.take([10, 20, 30], [2, 0, 2])
    Tensor([30, 10, 30], dtype=int64)
    """
    return entries("take", as_tensor("take", x), index, axis)


def entries(op: str, x: Tensor, index: Operand, axis: int | None) -> Tensor:
    """The entries of x at these indices along an axis, of the flattened x if it is None."""
    if axis is None:
        return entries(op, x.reshape(-1), index, axis=0)
    key = (slice(None),) * one_axis(op, axis, x.ndim) + (integers(op, index),)
    return _pick(x, places(x.shape, key, op))


def take_flat(x: Tensor, index: Array) -> Tensor:
    """The elements of the flattened x at these int64 indices, which must be in range."""
    return _pick(x, Places(index.reshape(-1), (x.size, 1), (index.size, 1), index.shape))


def put_flat(x: Tensor, index: Array, shape: Shape) -> Tensor:
    """Zeros of this shape with x's elements at these int64 indices of the flattened result."""
    table = math.prod(shape), 1
    return _spread(x, Places(index.reshape(-1), table, (index.size, 1), x.shape), shape)


@torch_spelling
def gather(x: Operand, index: Operand, axis: int) -> Tensor:
    """The elements of x at the given indices along an axis, for each entry of the other axes.

    Axis 0: out[i, j] = x[index[i, j], j]. Axis 1: out[i, j] = x[i, index[i, j]].

    Args:
        x: array-like, any dtype.
        index: array-like of integers with x.ndim axes, not longer than x except on `axis`.
        axis (or dim): int; negative axes count from the end.

    Returns:
        Tensor of index's shape and x's dtype.

    Gradient: dx[index[i, j], j] += grad[i, j] for axis 0, with dx = 0 at first.

    Raises:
        IndexingError: an index is outside x.
        DTypeError: the index is not of integers.
        ShapeError: index does not fit x or the axis does not exist.
        NotSupported: x or index is None or a string.

    Source: torch.gather, numpy.take_along_axis.

    >>> tt.gather([[1, 2], [3, 4]], [[0], [1]], axis=1)
    Tensor([[1],
            [4]], dtype=int64)
    """
    x = as_tensor("gather", x)
    return _pick(x, places(x.shape, _along("gather", x, index, axis), "gather"))


@torch_spelling
def scatter_add(x: Operand, index: Operand, source: Operand, axis: int) -> Tensor:
    """A copy of x with the elements of source added at the given indices along an axis.

    Axis 0: out[index[i, j], j] += source[i, j]. Axis 1: out[i, index[i, j]] += source[i, j].

    Args:
        x: array-like, numeric.
        index: array-like of integers with x.ndim axes, not longer than x except on `axis`.
        source: array-like of index's shape.
        axis (or dim): int; negative axes count from the end.

    Returns:
        Tensor of x's shape and of dtype np.result_type(x, source).

    Gradient: dx = grad; dsource = gather(grad, index, axis).

    Raises:
        IndexingError: an index is outside x.
        DTypeError: the index is not of integers.
        ShapeError: index or source does not fit or the axis does not exist.
        NotSupported: an operand is None or a string.

    Source: torch.scatter_add, numpy.add.at.

    >>> tt.scatter_add([0.0, 0.0], [1, 1, 0], [1.0, 2.0, 3.0], axis=0)
    Tensor([3., 3.], dtype=float32)
    """
    x, source = as_alike("scatter_add", x, source)
    at = places(x.shape, _along("scatter_add", x, index, axis), "scatter_add")
    if source.shape != at.shape:
        raise ShapeError(f"scatter_add: got source of shape {source.shape}; {at.shape} is needed")
    return x + _spread(source, at, x.shape)


def _along(op: str, x: Tensor, index: Operand, axis: int) -> tuple[Array, ...]:
    """The index that reads `index` along an axis, and every other axis entry by entry."""
    axis, index = one_axis(op, axis, x.ndim), integers(op, index)
    longer = [a for a in range(x.ndim) if a != axis and index.shape[a : a + 1] > x.shape[a : a + 1]]
    if index.ndim != x.ndim or longer:
        raise ShapeError.drawn(
            f"{op}: index doesn't fit",
            {"x": (x.shape, longer), "index": (index.shape, longer)},
            f"the same number of axes is needed, none longer than x's but axis {axis}",
        )
    others = np.ogrid[tuple(slice(size) for size in index.shape)]
    key = [index if a == axis else other for a, other in enumerate(others)]
    return tuple(key)


def integers(op: str, index: Operand) -> Array:
    """An index as an array of integers."""
    array = as_array(op, index)
    if array.dtype.kind not in "iu" and array.size:
        raise DTypeError(f"{op}: got an index of {array.dtype}; integers are needed")
    return array if array.size else array.astype(np.int64)


def pad(x: Operand, widths: int | Sequence[Any], value: float = 0.0) -> Tensor:
    """x with a border of one value around it.

    Args:
        x: array-like, any shape, numeric.
        widths: int for all sides; a pair (before, after) for all axes; or one pair for each axis.
        value: number, the value of the border.

    Returns:
        Tensor of x's dtype; each axis grows by before + after.

    Gradient: dx = grad without the border.

    Raises:
        ShapeError: widths does not fit, is negative, or is too large for an array.
        SettingError: the value is not a number.
        GradientError: the value is a tensor that requires a gradient.
        DTypeError: x does not hold real numbers, or its dtype cannot hold the value.
        NotSupported: x is None or a string.

    Source: numpy.pad; torch.nn.functional.pad has the last axis first.

    >>> tt.pad([[1, 2]], 1)
    Tensor([[0, 0, 0, 0],
            [0, 1, 2, 0],
            [0, 0, 0, 0]], dtype=int64)
    """
    x = as_tensor("pad", x)
    try:
        pairs = np.broadcast_to(np.asarray(widths), (x.ndim, 2))
    except ValueError:
        pairs = np.full((1, 2), -1)
    if pairs.dtype.kind not in "iu" or (pairs < 0).any():
        raise ShapeError(
            f"pad: got widths {widths} for shape {x.shape}; a whole number from 0 up, a pair "
            "(before, after), or a pair for each axis is needed"
        )
    before, after = pairs[:, 0].tolist(), pairs[:, 1].tolist()
    sizes = list(zip(before, x.shape, after, strict=True))
    out = np.empty(possible("pad", tuple(b + size + a for b, size, a in sizes)), x.dtype)
    border = as_tensor("pad", real("pad", "value", value), x.dtype)
    kernels.broadcast_to(border.array, out)
    at = places(out.shape, tuple(slice(b, b + size) for b, size, _ in sizes))
    kernels.put(x.array.reshape(at.rows), at.numbers, out.reshape(at.table))

    def backward(grad: Tensor) -> tuple[Tensor | None, ...]:
        return (_pick(grad, at),)

    return record("pad", out, (x,), backward)
