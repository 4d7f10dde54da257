"""Ops that leave the numbers as they are and change where they stand.

Tensors are always in C order, so most of these copy; reshape and its kin don't: their result lies
in the same memory. Raises, all of them: ShapeError for what doesn't fit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tinytensor import kernels, tensor
from tinytensor.autograd import record, view_of
from tinytensor.errors import NotSupported, ShapeError
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
)

if TYPE_CHECKING:
    from tinytensor.tensor import Tensor

__all__ = [
    "broadcast_to",
    "concat",
    "flatten",
    "flip",
    "permute",
    "repeat",
    "reshape",
    "split",
    "squeeze",
    "stack",
    "transpose",
    "unsqueeze",
]

# The same memory in another shape ---------------------------------------------------------------


def reshape(x: Operand, *shape: int | Shape) -> Tensor:
    """The same memory in another shape; -1 stands for what is left.  dx = grad in x's shape.

    The sizes may come one by one or as a tuple.
    """
    x = as_tensor("reshape", x)
    wanted = as_sizes(shape)
    try:
        out = x.array.reshape(wanted)
    except (ValueError, TypeError):
        raise ShapeError(
            f"reshape: got x of shape {x.shape}, {x.size} elements; they don't fit into {wanted}"
        ) from None

    def backward(grad: Tensor) -> tuple[Tensor | None, ...]:
        return (reshape(grad, x.shape),)

    return view_of(x, record("reshape", out, (x,), backward))


def flatten(x: Operand, start: int = 0, end: int = -1) -> Tensor:
    """The axes from start to end as one, in the same memory.  dx = grad in x's shape."""
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
    """Without axes of size 1: those given, or all; the same memory.  dx = grad in x's shape."""
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
    """With a new axis of size 1 in that place, in the same memory.  dx = grad in x's shape."""
    x = as_tensor("unsqueeze", x)
    place = one_axis("unsqueeze", axis, x.ndim + 1)
    return reshape(x, (*x.shape[:place], 1, *x.shape[place:]))


# Repeated, and in another order -----------------------------------------------------------------


def broadcast_to(x: Operand, *shape: int | Shape, copy: bool = False) -> Tensor:
    """x repeated along axes of size 1, or new ones at the front.  dx = grad, summed over them.

    copy: where nothing is to be repeated, give a copy rather than x itself.
    """
    x = as_tensor("broadcast_to", x)
    wanted = as_sizes(shape)
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
    """A copy with the axes in another order.  dx = grad with the axes put back."""
    x = as_tensor("permute", x)
    given = as_sizes(axes)
    order = tuple(one_axis("permute", a, x.ndim) for a in given)
    if sorted(order) != list(range(x.ndim)):
        raise ShapeError(f"permute: got axes {given}; each of x's {x.ndim} axes once is needed")
    if order == tuple(range(x.ndim)):
        return x
    out = np.empty(tuple(x.shape[a] for a in order), x.dtype)
    kernels.transpose(x.array, out, order)

    def backward(grad: Tensor) -> tuple[Tensor | None, ...]:
        return (permute(grad, tuple(order.index(a) for a in range(x.ndim))),)

    return record("permute", out, (x,), backward)


def transpose(x: Operand, *axes: int | tuple[int, ...] | None) -> Tensor:
    """permute with NumPy's default: without axes (or None) they come in reverse order."""
    x = as_tensor("transpose", x)
    if axes and axes[0] is not None:
        return permute(x, *axes)  # type: ignore[arg-type]
    return permute(x, tuple(range(x.ndim))[::-1])


@torch_spelling
def flip(x: Operand, axis: int | tuple[int, ...] | None = None) -> Tensor:
    """Backwards along an axis, several, or all.  dx = grad, flipped in the same way."""
    x = as_tensor("flip", x)
    axes = all_axes("flip", axis, x.ndim)
    return x[tuple(slice(None, None, -1 if a in axes else None) for a in range(x.ndim))]


@torch_spelling
def repeat(x: Operand, repeats: int | Sequence[int], axis: int | None = None) -> Tensor:
    """Every entry along an axis (None: of the flattened tensor) several times, as NumPy's repeat.

    repeats: how often; one number for all, or one for each entry.
    dx = the sum of grad over an entry's copies.
    """
    x = as_tensor("repeat", x)
    if axis is None:
        return repeat(reshape(x, (-1,)), repeats, axis=0)
    axis = one_axis("repeat", axis, x.ndim)
    if isinstance(repeats, tensor.Tensor):
        repeats = repeats.tolist()
    try:
        entries = np.repeat(np.arange(x.shape[axis]), repeats)
    except (ValueError, TypeError):
        raise ShapeError(
            f"repeat: got repeats {repeats}; one number from 0 up, or {x.shape[axis]} of them, is "
            "needed"
        ) from None
    return x[(slice(None),) * axis + (entries,)]


# Together and apart -----------------------------------------------------------------------------


@torch_spelling
def concat(tensors: Sequence[Operand], axis: int = 0) -> Tensor:
    """The tensors one after the other along an axis; the other sizes must be equal.

    Each gets its own part of grad.
    """
    if isinstance(tensors, int | float | None):
        raise NotSupported(f"concat: got {tensors!r}; a list of tensors is needed")
    xs = [as_tensor("concat", x) for x in tensors]
    if not xs:
        raise ShapeError("concat: got no tensor; at least one is needed")
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
    """Tensors of one shape side by side along a new axis.  Each gets its own part of grad."""
    xs = [as_tensor("stack", x) for x in tensors]
    for x in xs:
        if x.shape != xs[0].shape:
            same = x.ndim == xs[0].ndim
            wrong = [a for a in range(x.ndim) if same and x.shape[a] != xs[0].shape[a]]
            raise ShapeError.drawn(
                "stack: the shapes differ",
                {"first": (xs[0].shape, wrong), "other": (x.shape, wrong)},
                "all alike are needed",
            )
    return concat([unsqueeze(x, axis) for x in xs], axis) if xs else concat(xs)


@torch_spelling
def split(x: Operand, sizes: int | Sequence[int], axis: int = 0) -> list[Tensor]:
    """Pieces along an axis, as torch's split: of one size (the last may be smaller), or of each."""
    x = as_tensor("split", x)
    axis = one_axis("split", axis, x.ndim)
    whole = x.shape[axis]
    if isinstance(sizes, int | np.integer):
        sizes = int(sizes)
        if sizes < 1:
            raise ShapeError(f"split: got size {sizes}; at least 1 is needed")
        sizes = [min(sizes, whole - start) for start in range(0, whole, sizes)] or [0]
    if not isinstance(sizes, list | tuple):
        raise ShapeError(f"split: got sizes {sizes!r}; a number, or a list of them, is needed")
    if sum(sizes) != whole or min(sizes, default=0) < 0:
        raise ShapeError(f"split: got sizes {list(sizes)}; together they must be {whole}")
    ends = np.cumsum(sizes).tolist()
    before = (slice(None),) * axis
    return [x[(*before, slice(end - size, end))] for size, end in zip(sizes, ends, strict=True)]


from tinytensor.ops import reduce  # noqa: E402 - broadcast_to and sum_to are each other's gradient
