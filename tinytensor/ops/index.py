"""Ops that pick: x[...] with all that NumPy's indexing can do, and what is built on it.

NumPy itself is asked which places an index means: it indexes an array of place numbers in x's
shape. Two kernels do the rest, and are each other's gradient: `take` fetches rows from there,
`scatter_add` adds rows up there; so an index that comes twice gets both gradients. The axes at the
end that an index doesn't touch stay together as rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import EllipsisType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from tinytensor import kernels, recorder, tensor
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
    torch_spelling,
)

if TYPE_CHECKING:
    from tinytensor.tensor import Tensor

__all__ = ["gather", "pad", "scatter_add", "take"]

_One: TypeAlias = "int | slice | EllipsisType | Tensor | Array | Sequence[Any] | None"
Key: TypeAlias = "_One | tuple[_One, ...]"


class Places(NamedTuple):
    """What an index means in a tensor: which of its rows, in the result's order."""

    numbers: Array  # (R) int64, from 0 to N-1
    table: Shape  # (N, C): the tensor as rows; C counts the axes at the end that stay together
    rows: Shape  # (R, C): the result as rows
    shape: Shape  # the result's


def places(shape: Shape, key: Key) -> Places:
    """What an index means in a tensor of this shape.  Raises IndexingError for what it can't."""
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
        except (IndexError, ValueError, TypeError) as error:
            raise IndexingError(f"index: x has shape {shape}: {error}") from None

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
    """Have every replay of a captured step find the places, which an array's values decide."""

    def pick_again(*given: Array) -> None:
        *arrays, numbers = given
        waiting = iter(arrays)
        picked = pick([next(waiting) if isinstance(k, np.ndarray) else k for k in keys])
        if picked.shape != shape:
            raise CaptureError(
                f"captured step: an index picks a result of shape {picked.shape}, and {shape} was "
                "recorded; where(mask, x, 0) has the same shape whatever the mask"
            )
        numbers[:] = picked.reshape(-1)

    others = tuple(repr(k) for k in keys if not isinstance(k, np.ndarray))
    recorder.each_step(pick_again, reads=arrays, writes=(numbers,), settings=(shape, others))


def _as_array(key: Any) -> Any:
    """Tensors and lists as arrays; other parts of an index as they are."""
    if isinstance(key, list):
        try:
            array = np.asarray(key)
        except ValueError:
            raise IndexingError(f"index: got {key!r}; its rows have different lengths") from None
        return array if array.size else array.astype(np.int64)  # NumPy, too, takes [] so
    if isinstance(key, np.ndarray):
        return np.asarray(key)
    return key.array if isinstance(key, tensor.Tensor) else key


def _axes_of(key: Any) -> int:
    """How many axes one part of an index takes up."""
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
    """x[key], a copy, as NumPy: integers, slices, ..., None, integer arrays, boolean masks, mixed.

    dx = grad at the places that were picked, summed where one was picked more than once, else 0.

    Raises IndexingError for an index outside x, or of another kind.
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
    """Zeros of that shape, with x's rows added at these places: _pick's mirror image."""
    out = np.empty(shape, x.dtype)
    kernels.scatter_add(x.array.reshape(at.rows), at.numbers, out.reshape(at.table))

    def backward(grad: Tensor) -> tuple[Tensor | None, ...]:
        return (_pick(grad, at),)

    return record("scatter_add", out, (x,), backward)


@torch_spelling
def take(x: Operand, index: Operand, axis: int | None = None) -> Tensor:
    """The entries of x at these integers along an axis (None: of the flattened tensor), as NumPy's.

    index: any shape; the result has it in the axis' place. dx as x[index].
    """
    x = as_tensor("take", x)
    if axis is None:
        return take(x.reshape(-1), index, axis=0)
    return x[(slice(None),) * one_axis("take", axis, x.ndim) + (_integers("take", index),)]


def take_flat(x: Tensor, index: Array) -> Tensor:
    """The entries of the flattened x at these places, (...) int64, which are known to be in it."""
    return _pick(x, Places(index.reshape(-1), (x.size, 1), (index.size, 1), index.shape))


@torch_spelling
def gather(x: Operand, index: Operand, axis: int) -> Tensor:
    """out[i, j] = x[index[i, j], j] for axis 0, x[i, index[i, j]] for axis 1, and so on.

    index: integers, as many axes as x, not longer than x on the others. dx as x[index].
    """
    x = as_tensor("gather", x)
    return x[_along("gather", x, index, axis)]


@torch_spelling
def scatter_add(x: Operand, index: Operand, source: Operand, axis: int) -> Tensor:
    """x with source[i, j] added at [index[i, j], j] for axis 0, and so on: gather backwards.

    index as in gather; source of its shape. dx = grad, dsource = gather(grad, index, axis).
    """
    x, source = as_alike("scatter_add", x, source)
    at = places(x.shape, _along("scatter_add", x, index, axis))
    if source.shape != at.shape:
        raise ShapeError(f"scatter_add: got source of shape {source.shape}; {at.shape} is needed")
    return x + _spread(source, at, x.shape)


def _along(op: str, x: Tensor, index: Operand, axis: int) -> tuple[Array, ...]:
    """The index that reads `index` along an axis, and every other axis entry by entry."""
    axis, index = one_axis(op, axis, x.ndim), _integers(op, index)
    longer = [a for a in range(x.ndim) if a != axis and index.shape[a : a + 1] > x.shape[a : a + 1]]
    if index.ndim != x.ndim or longer:
        raise ShapeError.drawn(
            f"{op}: index doesn't fit",
            {"x": (x.shape, longer), "index": (index.shape, longer)},
            f"as many axes are needed, none longer than x but axis {axis}",
        )
    others = np.ogrid[tuple(slice(size) for size in index.shape)]
    key = [index if a == axis else other for a, other in enumerate(others)]
    return tuple(key)


def _integers(op: str, index: Operand) -> Array:
    array = as_array(op, index)
    if array.dtype.kind not in "iu" and array.size:
        raise DTypeError(f"{op}: got an index of {array.dtype}; integers are needed")
    return array if array.size else array.astype(np.int64)


def pad(x: Operand, widths: int | Sequence[Any], value: float = 0.0) -> Tensor:
    """x with a border of `value`.  dx = grad without the border.

    widths: as NumPy's pad: one number for all sides, a pair (before, after) for all axes, or such a
        pair for each axis.

    Raises ShapeError for other widths.
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
    out = np.empty([b + size + a for b, size, a in sizes], x.dtype)
    kernels.broadcast_to(np.array(value, x.dtype), out)
    at = places(out.shape, tuple(slice(b, b + size) for b, size, _ in sizes))
    kernels.put(x.array.reshape(at.rows), at.numbers, out.reshape(at.table))

    def backward(grad: Tensor) -> tuple[Tensor | None, ...]:
        return (_pick(grad, at),)

    return record("pad", out, (x,), backward)
