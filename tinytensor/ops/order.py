"""Ops that compare the elements along an axis: sorted values, their indices, different values.

NumPy sorts indices; an op picks the elements at these indices, as x[index] does. So the gradient of
a sorted element goes to the place that the element had before. In a captured step each replay sorts
again. The order is stable: equal elements stay in their order. NaN counts as larger than every
number.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tinytensor import recorder, tensors
from tinytensor.arrays import Array
from tinytensor.errors import SettingError
from tinytensor.ops.index import take_flat
from tinytensor.ops.operands import (
    Operand,
    as_tensor,
    one_axis,
    refuse_to_lose_gradient,
    torch_spelling,
    whole,
)
from tinytensor.ops.reduce import move_axis
from tinytensor.ops.shape import reshape

if TYPE_CHECKING:
    from tinytensor.tensors import Tensor

__all__ = ["argsort", "sort", "topk", "unique"]


@torch_spelling
def sort(x: Operand, axis: int | None = -1, descending: bool = False) -> Tensor:
    """The elements of x in ascending order along an axis; NaN last.

    Args:
        x: array-like, at least 1-D, numeric.
        axis (or dim): int; None flattens x first. Negative axes count from the end.
        descending: True for descending order; NaN is first then.

    Returns:
        Tensor of x's shape, or (x.size,) if axis is None; x's dtype.

    Gradient: dx[i] = the gradient at the place to which element i moved.

    Raises:
        ShapeError: the axis does not exist.
        DTypeError: x does not hold real numbers.
        NotSupported: x is None or a string.

    Source: numpy.sort with stable=True. torch.sort returns indices too, see argsort.

    >>> tt.sort([3.0, 1.0, 2.0])
    Tensor([1., 2., 3.], dtype=float32)
    """
    return _picked("sort", x, axis, descending, None)[0]


@torch_spelling
def argsort(x: Operand, axis: int | None = -1, descending: bool = False) -> Tensor:
    """The indices along an axis that sort x: gather(x, argsort(x, axis), axis) is sort(x, axis).

    Args:
        x: array-like, at least 1-D, numeric.
        axis (or dim): int; None flattens x first. Negative axes count from the end.
        descending: True for descending order; NaN is first then.

    Returns:
        Tensor of x's shape, or (x.size,) if axis is None; int64. Of equal elements the first one
        comes first.

    Gradient: none.

    Raises:
        ShapeError: the axis does not exist.
        DTypeError: x does not hold real numbers.
        NotSupported: x is None or a string.

    Source: numpy.argsort with stable=True, torch.argsort.

    >>> tt.argsort([3.0, 1.0, 2.0])
    Tensor([1, 2, 0], dtype=int64)
    """
    x, axis = _with_axis("argsort", x, axis)
    return move_axis(tensors.wrap(_sorting(x, axis, descending)), x.ndim - 1, axis)


@torch_spelling
def topk(x: Operand, k: int, axis: int = -1, largest: bool = True) -> tuple[Tensor, Tensor]:
    """The k largest elements along an axis, in descending order, and their indices.

    Args:
        x: array-like, at least 1-D, numeric.
        k: int from 0 to the size of the axis.
        axis (or dim): int; negative axes count from the end.
        largest: False for the k smallest elements, in ascending order.

    Returns:
        (values, indices): Tensors of x's shape with size k on the axis; x's dtype and int64.

    Gradient: dx = the gradient of the value at each index, else 0. The indices have none.

    Raises:
        SettingError: k is not an int from 0 to the size of the axis.
        ShapeError: the axis does not exist.
        DTypeError: x does not hold real numbers.
        NotSupported: x is None or a string.

    Source: torch.topk; of equal elements it may return any, and this op returns the first ones.

    >>> tt.topk([3.0, 1.0, 2.0], 2)
    (Tensor([3., 2.], dtype=float32), Tensor([0, 2], dtype=int64))
    """
    return _picked("topk", x, axis, largest, k)


def unique(x: Operand) -> Tensor:
    """The different elements of x, each once, in ascending order.

    Args:
        x: array-like, any shape, numeric.

    Returns:
        Tensor (n,) of x's dtype, for n different elements; NaN counts once.

    Gradient: none.

    Raises:
        GradientError: x requires a gradient.
        DTypeError: x does not hold real numbers.
        NotSupported: x is None or a string.
        CaptureError: a captured step is being recorded, because n depends on the values.

    Source: numpy.unique, torch.unique. np.unique(x.numpy(), return_counts=True) counts them.

    >>> tt.unique([[3, 1], [1, 2]])
    Tensor([1, 2, 3], dtype=int64)
    """
    x = as_tensor("unique", x)
    refuse_to_lose_gradient("unique", "x", x, "")
    recorder.refuse("unique() has a result of unknown size", "call it outside of the step")
    return tensors.wrap(np.unique(x.array))


def _with_axis(op: str, x: Operand, axis: int | None) -> tuple[Tensor, int]:
    """x, flattened if the axis is None, and the axis from 0 to x.ndim - 1."""
    x = as_tensor(op, x)
    if axis is None:
        return reshape(x, (-1,)), 0
    return x, one_axis(op, axis, x.ndim)


def _sorting(x: Tensor, axis: int, descending: bool) -> Array:
    """The int64 indices that sort x along an axis, which is the last one of the result."""
    shape = (*x.shape[:axis], *x.shape[axis + 1 :], x.shape[axis])
    order = np.empty(shape, np.int64)

    def sort_again(x: Array, order: Array) -> None:
        rows = np.moveaxis(x, axis, -1)
        if descending:  # the reverse of an ascending order of the reversed row is stable, too
            last = rows.shape[-1] - 1
            order[...] = last - np.argsort(rows[..., ::-1], axis=-1, kind="stable")[..., ::-1]
        else:
            order[...] = np.argsort(rows, axis=-1, kind="stable")

    recorder.each_step(
        sort_again, reads=(x.array,), writes=(order,), settings=("sort", axis, descending)
    )
    return order


def _picked(
    op: str, x: Operand, axis: int | None, descending: bool, k: int | None
) -> tuple[Tensor, Tensor]:
    """The first k sorted elements along an axis, all of them by default, and their indices."""
    x, axis = _with_axis(op, x, axis)
    size = x.shape[axis]
    if k is not None and not 0 <= whole(op, "k", k) <= size:
        raise SettingError(f"{op}: got k={k}; a number from 0 to {size}, the axis' size, is needed")
    order = _sorting(x, axis, descending)
    chosen = tensors.wrap(order) if k is None else tensors.wrap(order)[..., : int(k)]
    rows = move_axis(x, axis, x.ndim - 1)
    starts = np.arange(math.prod(rows.shape[:-1])).reshape(*rows.shape[:-1], 1) * size
    flat = chosen + tensors.wrap(starts)
    values = take_flat(rows, flat.array)
    return move_axis(values, x.ndim - 1, axis), move_axis(chosen, x.ndim - 1, axis)
