"""What every op begins with: its operands as Tensors of one kind of number, and their shapes.

Kinds of number are combined as NumPy does it, np.result_type, but a single number never widens a
tensor: float32 stays float32 beside 2.5 or np.float64(2.5).
"""

from __future__ import annotations

import functools
import math
import numbers
import operator
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np

from tinytensor import kernels, tensor
from tinytensor.arrays import Array
from tinytensor.autograd import record
from tinytensor.errors import DTypeError, NotSupported, SettingError, ShapeError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike

    from tinytensor.tensor import Tensor

__all__ = ["cast"]

Operand: TypeAlias = "Tensor | ArrayLike"
Axis: TypeAlias = "int | tuple[int, ...] | None"
Shape: TypeAlias = tuple[int, ...]

_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)

# Kinds of number --------------------------------------------------------------------------------


def as_tensor(op: str, x: Operand) -> Tensor:
    """x as a Tensor: itself, or a copy of numbers, lists or an array.

    A copy, for backward may read it again when the array's owner has long changed it.
    """
    if isinstance(x, tensor.Tensor):
        return x
    if x is None or isinstance(x, str):
        raise NotSupported(f"{op}: got {x!r}; a tensor, an array or numbers are needed")
    return tensor.wrap(tensor.to_array(x))


def as_array(op: str, x: Operand) -> Array:
    """x as an array, not copied if it is one: for what is read at once, such as labels."""
    return x if isinstance(x, np.ndarray) else as_tensor(op, x).array


def as_float(op: str, x: Operand) -> Tensor:
    """x as a Tensor of floats: integers and booleans become floats wide enough for them."""
    x = as_tensor(op, x)
    if x.array.dtype.kind == "f":
        return x
    return cast(x, np.result_type(x.array.dtype, np.float32))


def as_alike(
    op: str, x: Operand, y: Operand, floats: bool = False, compared: bool = False
) -> tuple[Tensor, Tensor]:
    """x and y as Tensors of one kind of number.

    floats: never integers or booleans. compared: a number that is too large for the other's kind
    is no error, for a comparison has an answer.
    """
    if not isinstance(x, tensor.Tensor):
        x = _beside(op, x, y, compared)
    if not isinstance(y, tensor.Tensor):
        y = _beside(op, y, x, compared)
    x_dtype, y_dtype = x.array.dtype, y.array.dtype
    if x_dtype is not y_dtype or (floats and x_dtype.kind != "f"):
        dtype = np.result_type(x_dtype, y_dtype, *((np.float64,) if floats else ()))
        if x_dtype.kind == "f" or y_dtype.kind == "f":
            dtype = np.result_type(x_dtype, y_dtype)
        x, y = cast(x, dtype), cast(y, dtype)
    return x, y


def _beside(op: str, x: Operand, y: Operand, compared: bool) -> Tensor:
    """x, which is no Tensor, as one; a single number takes y's dtype where that can hold it."""
    if not isinstance(x, numbers.Number | np.generic):
        return as_tensor(op, x)
    number = x.item() if isinstance(x, np.generic) else x
    if not isinstance(number, bool | int | float):
        raise DTypeError(f"{op}: got {x!r}; a real number is needed")
    if not isinstance(y, tensor.Tensor):
        return as_tensor(op, number)
    dtype = _number_beside(type(number), y.array.dtype)  # type: ignore[arg-type]
    try:
        return tensor.wrap(np.array(number, dtype))
    except OverflowError:
        if compared:
            return as_tensor(op, number)
        raise DTypeError(f"{op}: {number} doesn't fit into {dtype}") from None


@lru_cache
def _number_beside(kind: type[float], dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.result_type(kind(1), dtype)


def cast(x: Operand, dtype: DTypeLike) -> Tensor:
    """x in another kind of number, as NumPy's astype.  dx = grad, cast back."""
    x = as_tensor("cast", x)
    dtype = tensor.checked_dtype("cast", dtype)
    if dtype == x.dtype:
        return x
    out = np.empty(x.shape, dtype)
    kernels.cast(x.array, out)
    if dtype.kind != "f" or x.dtype.kind != "f":
        return tensor.wrap(out)

    def backward(grad: Tensor) -> tuple[Tensor | None, ...]:
        return (cast(grad, x.dtype),)

    return record("cast", out, (x,), backward)


# Shapes -----------------------------------------------------------------------------------------


_broadcast_shapes = lru_cache(np.broadcast_shapes)


def broadcast_shape(
    op: str, x: Tensor | Shape, y: Tensor | Shape, names: tuple[str, str] = ("x", "y")
) -> Shape:
    """The shape of an op on x and y, which are repeated along axes of size 1."""
    x_shape = x if isinstance(x, tuple) else x.array.shape
    y_shape = y if isinstance(y, tuple) else y.array.shape
    if x_shape == y_shape:
        return x_shape
    try:
        return _broadcast_shapes(x_shape, y_shape)
    except ValueError:
        raise _dont_broadcast(op, x_shape, y_shape, names) from None


def _dont_broadcast(op: str, x: Shape, y: Shape, names: tuple[str, str]) -> ShapeError:
    wrong = [a for a in range(-min(len(x), len(y)), 0) if x[a] != y[a] and x[a] != 1 and y[a] != 1]
    return ShapeError.drawn(
        f"{op}: the shapes don't broadcast",
        {
            names[0]: (x, [a + len(x) for a in wrong]),
            names[1]: (y, [a + len(y) for a in wrong]),
        },
        "seen from the right, sizes must be equal, or one of them 1",
    )


def broadcasts_to(shape: Shape, larger: Shape) -> bool:
    """Can an array of this shape be repeated to fill the larger one?"""
    try:
        return _broadcast_shapes(shape, larger) == larger
    except ValueError:
        return False


def same_shape(op: str, x: Tensor, y: Tensor) -> None:
    """Raise ShapeError unless x and y have one shape."""
    if x.array.shape != y.array.shape:
        wrong = [a for a in range(x.ndim) if x.shape[a] != y.shape[a]] if x.ndim == y.ndim else []
        raise ShapeError.drawn(
            f"{op}: the shapes differ",
            {"x": (x.shape, wrong), "y": (y.shape, wrong)},
            "both alike are needed",
        )


def all_axes(op: str, axis: Axis, ndim: int) -> Shape:
    """Axes from 0 to ndim - 1, in order; None means all of them."""
    given = range(ndim) if axis is None else axis if isinstance(axis, tuple | list) else (axis,)
    axes = sorted(one_axis(op, a, ndim) for a in given)
    if len(set(axes)) < len(axes):
        raise ShapeError(f"{op}: got axis {axis}; each axis may come once")
    return tuple(axes)


def one_axis(op: str, axis: int, ndim: int) -> int:
    """An axis from 0 to ndim - 1; negative ones count from the end."""
    try:
        number = axis.__index__()
    except (AttributeError, TypeError):
        raise ShapeError(f"{op}: got axis {axis!r}; a whole number is needed") from None
    if not -ndim <= number < ndim:
        has = f"axes {-ndim} to {ndim - 1}" if ndim else "no axes"
        raise ShapeError(f"{op}: got axis {axis}; the tensor has {has}")
    return number % ndim


def whole(op: str, name: str, given: Any, least: int = 0) -> int:
    """A whole number from `least` up, Python's or NumPy's."""
    try:
        number = operator.index(given)
    except TypeError:
        number = least - 1
    if not least <= number < 2**62:
        raise SettingError(f"{op}: got {name}={given!r}; a whole number from {least} up is needed")
    return number


def per_channel(
    op: str, name: str, given: Operand | None, x: Tensor, channels: int
) -> Tensor | None:
    """One number for each channel, as a bias or a scale is."""
    if given is None:
        return None
    numbers = cast(as_tensor(op, given), x.dtype)
    if numbers.shape != (channels,):
        raise ShapeError.drawn(
            f"{op}: {name} doesn't fit",
            {"x": (x.shape, ()), name: (numbers.shape, range(numbers.ndim))},
            f"one number for each channel, ({channels},), is needed",
        )
    return numbers


_Op = TypeVar("_Op", bound="Callable[..., Any]")


def torch_spelling(op: _Op) -> _Op:
    """Let an op take `dim` and `keepdim` for `axis` and `keepdims`."""

    @functools.wraps(op)
    def spelled(*arguments: Any, **named: Any) -> Any:
        for torchs, ours in (("dim", "axis"), ("keepdim", "keepdims")):
            if torchs in named:
                named[ours] = named.pop(torchs)
        return op(*arguments, **named)

    return spelled  # type: ignore[return-value]


def as_rows(array: Array) -> Array:
    """The array as a matrix (R, C): its last axis, and all others in one."""
    return array.reshape(math.prod(array.shape[:-1]), array.shape[-1])


def as_sizes(given: tuple[int | tuple[int, ...], ...]) -> Shape:
    """Sizes that came one by one, or as one tuple or list."""
    if len(given) == 1 and isinstance(given[0], tuple | list):
        return tuple(given[0])
    return given  # type: ignore[return-value]
