"""Ops that change the shape of a tensor or the order of its elements, but not their values.

Tensors are always C-contiguous, so most of these ops copy. reshape, flatten, squeeze, unsqueeze and
view do not: their result shares x's memory.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from tinytensor import kernels, tensors
from tinytensor.autograd import record, view_of
from tinytensor.errors import NotSupported, SettingError, ShapeError
from tinytensor.ops.operands import (
    Operand,
    Shape,
    all_axes,
    as_sizes,
    as_tensor,
    broadcasts_to,
    cast,
    one_axis,
    torch_spelling,
    whole,
)

if TYPE_CHECKING:
    from tinytensor.tensors import Tensor

__all__ = [
    "broadcast_to",
    "concat",
    "flatten",
    "flip",
    "meshgrid",
    "permute",
    "repeat",
    "reshape",
    "roll",
    "split",
    "squeeze",
    "stack",
    "swapaxes",
    "transpose",
    "unsqueeze",
]

# Another shape of the same memory ---------------------------------------------------------------


def reshape(x: Operand, *shape: int | Shape) -> Tensor:
    """x in another shape, in the same memory.

    Args:
        x: array-like, any shape and dtype.
        shape: ints, one by one or as a tuple, whose product is x.size; one of them may be -1, and
            is computed from the rest.

    Returns:
        Tensor of that shape and of x's dtype, which shares x's memory.

    Gradient: dx = grad, reshaped to x's shape.

    Raises:
        ShapeError: the sizes do not fit x.size.
        DTypeError: x does not hold real numbers.
        NotSupported: x is None or a string.

    Source: numpy.reshape, torch.reshape; tt.view is the same function.

    >>> tt.reshape(tt.arange(6), 2, -1)
    Tensor([[0, 1, 2],
            [3, 4, 5]], dtype=int64)
    """
    x = as_tensor("reshape", x)
    wanted = as_sizes("reshape", shape)
    try:
        out = x.array.reshape(wanted)
    except ValueError:
        raise ShapeError(
            f"reshape: got x of shape {x.shape}, {x.size} elements; they don't fit into {wanted}"
        ) from None

    def backward(grad: Tensor) -> tuple[Tensor | None, ...]:
        return (reshape(grad, x.shape),)

    return view_of(x, record("reshape", out, (x,), backward))


def flatten(x: Operand, start: int = 0, end: int = -1) -> Tensor:
    """x with the axes from start to end joined into one, in the same memory.

    Args:
        x: array-like, any shape and dtype; a scalar becomes shape (1,).
        start, end: ints, the first and the last of the axes; negative ones count from the end.

    Returns:
        Tensor of x's dtype, which shares x's memory.

    Gradient: dx = grad, reshaped to x's shape.

    Raises:
        ShapeError: an axis does not exist, or start is after end.
        DTypeError: x does not hold real numbers.
        NotSupported: x is None or a string.

    Source: torch.flatten; numpy.ndarray.ravel.

    >>> tt.flatten(tt.zeros(100, 28, 28), start=1).shape
    (100, 784)
    """
    x = as_tensor("flatten", x)
    if not x.ndim:
        return reshape(x, 1)
    first, last = one_axis("flatten", start, x.ndim), one_axis("flatten", end, x.ndim)
    middle = math.prod(x.shape[first : last + 1])
    if first > last:
        raise ShapeError(f"flatten: got start {start} and end {end}; start must not be after end")
    return reshape(x, (*x.shape[:first], middle, *x.shape[last + 1 :]))


@torch_spelling
def squeeze(x: Operand, axis: int | tuple[int, ...] | None = None) -> Tensor:
    """x without axes of size 1, in the same memory.

    Args:
        x: array-like, any shape and dtype.
        axis (or dim): int or tuple of ints, axes of size 1; None removes all axes of size 1.

    Returns:
        Tensor of x's dtype, which shares x's memory.

    Gradient: dx = grad, reshaped to x's shape.

    Raises:
        ShapeError: an axis does not exist or has another size than 1.
        DTypeError: x does not hold real numbers.
        NotSupported: x is None or a string.

    Source: numpy.squeeze, torch.squeeze.

    >>> tt.squeeze(tt.zeros(1, 3, 1)).shape
    (3,)
    """
    x = as_tensor("squeeze", x)
    ones = tuple(a for a, size in enumerate(x.shape) if size == 1)
    axes = ones if axis is None else all_axes("squeeze", axis, x.ndim)
    wrong = set(axes) - set(ones)
    if wrong:
        raise ShapeError.drawn(
            f"squeeze: got axis {axis}", {"x": (x.shape, wrong)}, "an axis of size 1 is needed"
        )
    return reshape(x, tuple(size for a, size in enumerate(x.shape) if a not in axes))


@torch_spelling
def unsqueeze(x: Operand, axis: int) -> Tensor:
    """x with a new axis of size 1, in the same memory.

    Args:
        x: array-like, any shape and dtype.
        axis (or dim): int, the position of the new axis in the result; negative ones count from the
            end.

    Returns:
        Tensor of x's dtype with one more axis, which shares x's memory.

    Gradient: dx = grad, reshaped to x's shape.

    Raises:
        ShapeError: the axis is not one of the result.
        DTypeError: x does not hold real numbers.
        NotSupported: x is None or a string.

    Source: torch.unsqueeze, numpy.expand_dims; x[None] works too.

    >>> tt.unsqueeze([1.0, 2.0, 3.0], 0).shape
    (1, 3)
    """
    x = as_tensor("unsqueeze", x)
    place = one_axis("unsqueeze", axis, x.ndim + 1)
    return reshape(x, (*x.shape[:place], 1, *x.shape[place:]))


# Repeating and reordering -----------------------------------------------------------------------


def broadcast_to(x: Operand, *shape: int | Shape, copy: bool = False) -> Tensor:
    """x repeated along its axes of size 1, and along new axes at the front, to fill a shape.

    Args:
        x: array-like, any dtype, a shape that broadcasts to the new one.
        shape: ints, one by one or as a tuple.
        copy: True returns a copy also where x has that shape already; else x itself is returned.

    Returns:
        Tensor of that shape and of x's dtype.

    Gradient: dx = grad, summed over the axes along which x was repeated.

    Raises:
        ShapeError: x's shape does not broadcast, or a size is not an int.
        DTypeError: x does not hold real numbers.
        NotSupported: x is None or a string.

    Source: numpy.broadcast_to, torch.broadcast_to.

    >>> tt.broadcast_to([1, 2], 3, 2)
    Tensor([[1, 2],
            [1, 2],
            [1, 2]], dtype=int64)
    """
    x = as_tensor("broadcast_to", x)
    wanted = as_sizes("broadcast_to", shape)
    if x.array.shape == wanted and not copy:
        return x
    if not broadcasts_to(x.shape, wanted):
        pairs = zip(range(-1, -x.ndim - 1, -1), wanted[::-1], strict=False)
        wrong = [a for a, size in pairs if x.shape[a] not in (1, size)]
        raise ShapeError.drawn(
            "broadcast_to: x doesn't broadcast to that shape",
            {
                "x": (x.shape, [a + x.ndim for a in wrong]),
                "shape": (wanted, [a + len(wanted) for a in wrong]),
            },
            "seen from the right, x's sizes must be equal to the shape's, or 1",
        )
    out = np.empty(wanted, x.dtype)
    kernels.broadcast_to(x.array, out)

    def backward(grad: Tensor) -> tuple[Tensor | None, ...]:
        return (reduce.sum_to(grad, x.shape),)

    return record("broadcast_to", out, (x,), backward)


def permute(x: Operand, *axes: int | tuple[int, ...]) -> Tensor:
    """A copy of x with its axes in another order: axis i of the result is axis axes[i] of x.

    Args:
        x: array-like, any shape and dtype.
        axes: ints, one by one or as a tuple: each axis of x once; negative ones count from the end.

    Returns:
        Tensor of x's dtype; x itself if the order does not change.

    Gradient: dx = grad with its axes in x's order again.

    Raises:
        ShapeError: axes is not a permutation of x's axes.
        DTypeError: x does not hold real numbers.
        NotSupported: x is None or a string.

    Source: torch.permute, numpy.transpose.

    >>> tt.permute(tt.zeros(10, 28, 28, 3), 0, 3, 1, 2).shape
    (10, 3, 28, 28)
    """
    x = as_tensor("permute", x)
    return _permuted("permute", x, as_sizes("permute", axes, "axes"))


def _permuted(op: str, x: Tensor, axes: Shape) -> Tensor:
    order = tuple(one_axis(op, a, x.ndim) for a in axes)
    if sorted(order) != list(range(x.ndim)):
        hint = "; swapaxes(x, a, b) swaps two axes" if len(axes) == 2 else ""
        raise ShapeError(f"{op}: got axes {axes}; each of x's {x.ndim} axes once is needed{hint}")
    if order == tuple(range(x.ndim)):
        return x
    out = np.empty(tuple(x.shape[a] for a in order), x.dtype)
    kernels.transpose(x.array, out, order)

    def backward(grad: Tensor) -> tuple[Tensor | None, ...]:
        return (permute(grad, tuple(order.index(a) for a in range(x.ndim))),)

    return record(op, out, (x,), backward)


def transpose(x: Operand, *axes: int | tuple[int, ...] | None) -> Tensor:
    """A copy of x with its axes in reverse order, or in a given order, see permute.

    Args:
        x: array-like, any shape and dtype.
        axes: ints, one by one or as a tuple: each axis of x once. Without axes, or with None, the
            order is reversed.

    Returns:
        Tensor of x's dtype; x itself if the order does not change.

    Gradient: dx = grad with its axes in x's order again.

    Raises:
        ShapeError: axes is not a permutation of x's axes.
        DTypeError: x does not hold real numbers.
        NotSupported: x is None or a string.

    Warns if the given order is the one that x has: `transpose(0, 1)` of a matrix changes nothing,
    as in NumPy.

    Source: numpy.transpose; x.T is the same. torch.transpose(x, a, b) is swapaxes(x, a, b).

    >>> tt.transpose([[1, 2, 3], [4, 5, 6]])
    Tensor([[1, 4],
            [2, 5],
            [3, 6]], dtype=int64)
    """
    x = as_tensor("transpose", x)
    if not axes or axes[0] is None:
        return permute(x, tuple(range(x.ndim))[::-1])
    result = _permuted("transpose", x, as_sizes("transpose", axes, "axes"))
    if result is x and x.ndim > 1:
        warnings.warn(
            f"transpose: got the axes {tuple(range(x.ndim))}, the order that x has, so the result "
            "is x; x.T reverses the axes, and x.swapaxes(0, 1) swaps two",
            stacklevel=2,
        )
    return result


def swapaxes(x: Operand, axis1: int, axis2: int) -> Tensor:
    """A copy of x with two axes swapped.

    Args:
        x: array-like, any shape and dtype.
        axis1, axis2: ints; negative ones count from the end.

    Returns:
        Tensor of x's dtype; x itself if the two axes are the same.

    Gradient: dx = grad with the two axes swapped.

    Raises:
        ShapeError: an axis does not exist.
        DTypeError: x does not hold real numbers.
        NotSupported: x is None or a string.

    Source: numpy.swapaxes, torch.swapaxes, torch.transpose.

    >>> tt.swapaxes(tt.zeros(10, 28, 3), 0, -1).shape
    (3, 28, 10)
    """
    x = as_tensor("swapaxes", x)
    a, b = (one_axis("swapaxes", axis, x.ndim) for axis in (axis1, axis2))
    order = list(range(x.ndim))
    order[a], order[b] = b, a
    return _permuted("swapaxes", x, tuple(order))


@torch_spelling
def flip(x: Operand, axis: int | tuple[int, ...] | None = None) -> Tensor:
    """A copy of x with the order of its elements reversed along an axis.

    Args:
        x: array-like, any shape and dtype.
        axis (or dim): int, tuple of ints, or None for all axes; negative axes count from the end.

    Returns:
        Tensor of x's shape and dtype.

    Gradient: dx = grad, flipped along the same axes.

    Raises:
        ShapeError: an axis does not exist or occurs twice.
        DTypeError: x does not hold real numbers.
        NotSupported: x is None or a string.

    Source: numpy.flip, torch.flip.

    >>> tt.flip([1, 2, 3])
    Tensor([3, 2, 1], dtype=int64)
    """
    x = as_tensor("flip", x)
    axes = all_axes("flip", axis, x.ndim)
    return x[tuple(slice(None, None, -1 if a in axes else None) for a in range(x.ndim))]


@torch_spelling
def repeat(x: Operand, repeats: int | Sequence[int], axis: int | None = None) -> Tensor:
    """x with each entry along an axis repeated.

    Args:
        x: array-like, any shape and dtype.
        repeats: int from 0 up, the number of copies of each entry; or a list of one int per entry.
        axis (or dim): int; None flattens x first. Negative axes count from the end.

    Returns:
        Tensor of x's dtype.

    Gradient: dx = the sum of grad over the copies of an entry.

    Raises:
        ShapeError: repeats does not fit the axis or is not of ints, or the axis does not exist.
        DTypeError: x does not hold real numbers.
        NotSupported: x is None or a string.

    Source: numpy.repeat, torch.repeat_interleave.

    >>> tt.repeat([1, 2], 3)
    Tensor([1, 1, 1, 2, 2, 2], dtype=int64)
    """
    x = as_tensor("repeat", x)
    if axis is None:
        return repeat(reshape(x, (-1,)), repeats, axis=0)
    axis = one_axis("repeat", axis, x.ndim)
    if isinstance(repeats, tensors.Tensor):
        repeats = repeats.tolist()
    try:
        counts = np.asarray(repeats)
        if counts.dtype.kind not in "iub" and counts.size:
            raise ValueError("NumPy would round the repeats down")
        entries = np.repeat(np.arange(x.shape[axis]), counts.astype(np.int64))
    except ValueError:
        raise ShapeError(
            f"repeat: got repeats {repeats}; one number from 0 up, or {x.shape[axis]} of them, is "
            "needed"
        ) from None
    return x[(slice(None),) * axis + (entries,)]


@torch_spelling
def roll(
    x: Operand, shift: int | Sequence[int], axis: int | tuple[int, ...] | None = None
) -> Tensor:
    """x with the elements moved by `shift` places along an axis; the last ones come first again.

    Args:
        x: array-like, any shape and dtype.
        shift: int, the number of places; negative numbers move to the front. Or one int for each
            axis.
        axis (or dim): int, or tuple of ints; None moves the elements of the flattened x. Negative
            axes count from the end.

    Returns:
        Tensor of x's shape and dtype.

    Gradient: dx = grad, moved by -shift.

    Raises:
        ShapeError: an axis does not exist, or the numbers of shifts and axes differ.
        SettingError: a shift is not an int.
        DTypeError: x does not hold real numbers.
        NotSupported: x is None or a string.

    Source: numpy.roll, torch.roll (whose keyword is `shifts`).

    >>> tt.roll([1, 2, 3, 4], 1)
    Tensor([4, 1, 2, 3], dtype=int64)
    """
    x = as_tensor("roll", x)
    if axis is None:
        return reshape(roll(reshape(x, (-1,)), shift, 0), x.shape)
    axes = axis if isinstance(axis, tuple | list) else (axis,)
    shifts = shift if isinstance(shift, tuple | list) else (shift,) * len(axes)
    if len(shifts) != len(axes):
        raise ShapeError(f"roll: got shift {shift} for axis {axis}; one for each axis is needed")
    rolled = x
    for places, a in zip(shifts, axes, strict=True):
        places, a = whole("roll", "shift", places, None), one_axis("roll", a, x.ndim)
        first = -places % (x.shape[a] or 1)
        before = (slice(None),) * a
        parts = rolled[(*before, slice(first, None))], rolled[(*before, slice(None, first))]
        rolled = concat(parts, a)
    return rolled


# Joining and splitting --------------------------------------------------------------------------


def _operands(op: str, xs: Sequence[Operand]) -> list[Tensor]:
    """The tensors of an op that takes a list of them."""
    is_list = isinstance(xs, list | tuple | np.ndarray | tensors.Tensor)
    if not is_list or getattr(xs, "ndim", 1) == 0:
        raise NotSupported(f"{op}: got {xs!r}; a list of tensors is needed")
    if not len(xs):
        raise ShapeError(f"{op}: got no tensor; at least one is needed")
    return [as_tensor(op, x) for x in xs]


@torch_spelling
def concat(tensors: Sequence[Operand], axis: int = 0) -> Tensor:
    """The tensors joined along an axis.

    Args:
        tensors: list of one or more array-likes; their shapes differ on that axis only.
        axis (or dim): int; negative ones count from the end.

    Returns:
        Tensor of dtype `np.result_type(*tensors)`; its size on the axis is the sum of theirs.

    Gradient: each tensor gets its own slice of grad.

    Raises:
        ShapeError: the list is empty, the axis does not exist or other sizes differ.
        DTypeError: a tensor does not hold real numbers.
        NotSupported: tensors is not a list of array-likes.

    Source: numpy.concatenate, torch.cat; tt.cat is the same function.

    >>> tt.concat([[1, 2], [3]])
    Tensor([1, 2, 3], dtype=int64)
    """
    xs = _operands("concat", tensors)
    axis = one_axis("concat", axis, xs[0].ndim)
    for x in xs:
        if x.ndim != xs[0].ndim or any(
            a != axis and x.shape[a] != xs[0].shape[a] for a in range(x.ndim)
        ):
            same = x.ndim == xs[0].ndim
            wrong = [
                a for a in range(x.ndim) if same and a != axis and x.shape[a] != xs[0].shape[a]
            ]
            raise ShapeError.drawn(
                f"concat: sizes differ on another axis than {axis}",
                {"first": (xs[0].shape, wrong), "other": (x.shape, wrong)},
                f"only axis {axis} may have another size",
            )
    dtype = np.result_type(*(x.dtype for x in xs))
    xs = [cast(x, dtype) for x in xs]
    ends = np.cumsum([x.shape[axis] for x in xs]).tolist()
    starts = [0, *ends[:-1]]
    before, after = math.prod(xs[0].shape[:axis]), math.prod(xs[0].shape[axis + 1 :])
    out = np.empty((*xs[0].shape[:axis], ends[-1], *xs[0].shape[axis + 1 :]), dtype)
    for x, start in zip(xs, starts, strict=True):
        piece = x.array.reshape(before, x.shape[axis], after)
        kernels.concat(piece, out.reshape(before, ends[-1], after), start)

    def backward(grad: Tensor) -> tuple[Tensor | None, ...]:
        return tuple(
            grad[(slice(None),) * axis + (slice(start, end),)] if x.requires_grad else None
            for x, start, end in zip(xs, starts, ends, strict=True)
        )

    return record("concat", out, tuple(xs), backward)


@torch_spelling
def stack(tensors: Sequence[Operand], axis: int = 0) -> Tensor:
    """Tensors of one shape joined along a new axis.

    Args:
        tensors: list of one or more array-likes of the same shape.
        axis (or dim): int, the position of the new axis in the result; negative ones count from the
            end.

    Returns:
        Tensor of dtype `np.result_type(*tensors)`; its size on the new axis is len(tensors).

    Gradient: each tensor gets its own entry of grad along the axis.

    Raises:
        ShapeError: the list is empty, the shapes differ or the axis does not exist.
        DTypeError: a tensor does not hold real numbers.
        NotSupported: tensors is not a list of array-likes.

    Source: numpy.stack, torch.stack.

    >>> tt.stack([[1, 2], [3, 4]], axis=1)
    Tensor([[1, 3],
            [2, 4]], dtype=int64)
    """
    xs = _operands("stack", tensors)
    for x in xs:
        if x.shape != xs[0].shape:
            same = x.ndim == xs[0].ndim
            wrong = [a for a in range(x.ndim) if same and x.shape[a] != xs[0].shape[a]]
            raise ShapeError.drawn(
                "stack: the shapes differ",
                {"first": (xs[0].shape, wrong), "other": (x.shape, wrong)},
                "equal shapes are needed",
            )
    axis = one_axis("stack", axis, xs[0].ndim + 1)
    return concat([unsqueeze(x, axis) for x in xs], axis)


def meshgrid(*xs: Operand, indexing: Literal["xy", "ij"] = "xy") -> tuple[Tensor, ...]:
    """The coordinates of all points of a grid: one Tensor for each axis of the grid.

    Args:
        xs: array-likes (n,) or (), the coordinates along each axis.
        indexing: "ij" for results of shape `(len(xs[0]), len(xs[1]), ...)`; "xy" (default) swaps
            the first two axes, so that columns are x and rows are y.

    Returns:
        tuple of Tensors of the grid's shape, each of the dtype of its operand.

    Gradient: each operand gets grad, summed over the other axes.

    Raises:
        ShapeError: an operand has more than one axis.
        SettingError: indexing is not "xy" or "ij".
        DTypeError: an operand does not hold real numbers.
        NotSupported: it is None or a string.

    Source: numpy.meshgrid; torch.meshgrid has the default "ij".

    >>> tt.meshgrid([1, 2, 3], [10, 20])
    (Tensor([[1, 2, 3],
            [1, 2, 3]], dtype=int64), Tensor([[10, 10, 10],
            [20, 20, 20]], dtype=int64))
    """
    vectors = [as_tensor("meshgrid", x) for x in xs]
    if not isinstance(indexing, str) or indexing not in ("xy", "ij"):
        raise SettingError(f"meshgrid: got indexing={indexing!r}; 'xy' or 'ij' is needed")
    for x in vectors:
        if x.ndim > 1:
            raise ShapeError(f"meshgrid: got an operand of shape {x.shape}; (n,) is needed")
    places = list(range(len(vectors)))  # the axis of the grid along which each operand varies
    if indexing == "xy" and len(places) > 1:
        places[:2] = 1, 0
    shape = [1] * len(vectors)
    for x, place in zip(vectors, places, strict=True):
        shape[place] = x.size
    return tuple(
        broadcast_to(
            reshape(x, tuple(x.size if a == place else 1 for a in range(len(shape)))),
            tuple(shape),
            copy=True,
        )
        for x, place in zip(vectors, places, strict=True)
    )


@torch_spelling
def split(x: Operand, sizes: int | Sequence[int], axis: int = 0) -> list[Tensor]:
    """A list of pieces of x along an axis.

    Args:
        x: array-like, any dtype, at least 1-D.
        sizes: int, the size of each piece (the last one may be smaller); or a list of the pieces'
            sizes, whose sum is the size of the axis.
        axis (or dim): int; negative ones count from the end.

    Returns:
        list of Tensors of x's dtype, each a copy.

    Gradient: dx = the gradients of the pieces, joined.

    Raises:
        ShapeError: the sizes do not fit the axis or are not ints, or the axis does not exist.
        DTypeError: x does not hold real numbers.
        NotSupported: x is None or a string.

    Source: torch.split. numpy.split takes the number of pieces or the indices between them.

    >>> tt.split([1, 2, 3, 4, 5], 2)
    [Tensor([1, 2], dtype=int64), Tensor([3, 4], dtype=int64), Tensor([5], dtype=int64)]
    """
    x = as_tensor("split", x)
    axis = one_axis("split", axis, x.ndim)
    size = x.shape[axis]
    if isinstance(sizes, int | np.integer):
        sizes = int(sizes)
        if sizes < 1:
            raise ShapeError(f"split: got size {sizes}; at least 1 is needed")
        sizes = [min(sizes, size - start) for start in range(0, size, sizes)] or [0]
    if not isinstance(sizes, list | tuple):
        raise ShapeError(f"split: got sizes {sizes!r}; a number, or a list of them, is needed")
    sizes = as_sizes("split", sizes)
    if sum(sizes) != size or min(sizes, default=0) < 0:
        raise ShapeError(f"split: got sizes {list(sizes)}; together they must be {size}")
    ends = np.cumsum(sizes).tolist()
    before = (slice(None),) * axis
    return [x[(*before, slice(end - piece, end))] for piece, end in zip(sizes, ends, strict=True)]


from tinytensor.ops import reduce  # noqa: E402 - broadcast_to and sum_to are each other's gradient
