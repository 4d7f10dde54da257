"""What every op starts with: its operands as Tensors of one dtype, and their shapes.

Dtypes are combined as NumPy does, by np.result_type, with one exception: a NumPy scalar counts as a
Python number. So a float32 tensor plus 2.5 or np.float64(2.5) stays float32.
"""

from __future__ import annotations

import functools
import math
import numbers
import operator
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np

from tinytensor import kernels, recorder, tensors
from tinytensor.arrays import Array
from tinytensor.autograd import is_grad_enabled, record
from tinytensor.errors import (
    DTypeError,
    GradientError,
    NotSupported,
    SettingError,
    ShapeError,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike

    from tinytensor.tensors import Tensor

__all__ = ["cast"]

Operand: TypeAlias = "Tensor | ArrayLike"
Axis: TypeAlias = "int | tuple[int, ...] | None"
Shape: TypeAlias = tuple[int, ...]

_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)

# Dtypes -----------------------------------------------------------------------------------------


def as_tensor(op: str, x: Operand, dtype: DTypeLike | None = None) -> Tensor:
    """x as a Tensor: x itself, or a copy of numbers, lists or an array.

    It is a copy because backward may read it again after the owner of the array has changed it. A
    list that holds tensors is stacked, so that gradients flow to them.

    dtype: the dtype of the result, into which Python numbers must fit; by default that of x.
    """
    if isinstance(x, tensors.Tensor):
        return x if dtype is None else cast(x, dtype)
    if x is None or isinstance(x, str):
        raise NotSupported(f"{op}: got {x!r}; a tensor, an array or numbers are needed")
    first = next(tensors_in(x), None)
    if first is not None:
        return as_tensor(op, _stacked(op, x, first), dtype)
    return tensors.wrap(tensors.to_array(op, x, dtype))


def tensors_in(x: object) -> Iterator[Tensor]:
    """Yield the tensors in a list or tuple, at any depth; x itself if it is a tensor."""
    if isinstance(x, tensors.Tensor):
        yield x
    elif isinstance(x, list | tuple):
        types = set(map(type, x))  # a list of numbers may be long, and map needs no Python loop
        if any(issubclass(each, tensors.Tensor | list | tuple) for each in types):
            for part in x:
                yield from tensors_in(part)


def _stacked(op: str, x: Operand, first: Tensor) -> Tensor:
    """A list as one Tensor; numbers in it take the dtype of its first tensor if that holds them."""
    if isinstance(x, list | tuple):
        return shape.stack([_stacked(op, part, first) for part in x])
    return x if isinstance(x, tensors.Tensor) else _next_to(op, x, first, compared=False)


def as_array(op: str, x: Operand) -> Array:
    """x as an array, not copied if it is one: for arrays that are read at once, such as labels."""
    return x if isinstance(x, np.ndarray) else as_tensor(op, x).array


def kept_integers(given: Array) -> Array:
    """Labels or indices as int64, in memory that does not change between a check and its use.

    The argument of a captured step is kept as it is, because a program has its own copy of it.
    """
    notes = recorder.recorder()
    if notes is None:
        return np.array(given, np.int64)
    if given.dtype == np.int64 and given.flags.c_contiguous and notes.is_argument(given):
        return given
    copy = np.empty(given.shape, np.int64)
    kernels.cast(np.ascontiguousarray(given), copy)
    return copy


def as_float(op: str, x: Operand) -> Tensor:
    """x as a Tensor of floats: bool and uint8 become float32, int32 and int64 become float64."""
    x = as_tensor(op, x)
    if x.array.dtype.kind == "f":
        return x
    return cast(x, np.result_type(x.array.dtype, np.float32))


def as_alike(
    op: str, x: Operand, y: Operand, floats: bool = False, compared: bool = False
) -> tuple[Tensor, Tensor]:
    """x and y as Tensors of one dtype.

    floats: True converts integers and bool to floats. compared: True allows a number that is too
    large for the other operand's dtype, because a comparison with it has a result.
    """
    if not isinstance(x, tensors.Tensor):
        x = _next_to(op, x, y, compared)
    if not isinstance(y, tensors.Tensor):
        y = _next_to(op, y, x, compared)
    x_dtype, y_dtype = x.array.dtype, y.array.dtype
    if x_dtype is not y_dtype or (floats and x_dtype.kind != "f"):
        dtype = np.result_type(x_dtype, y_dtype, *((np.float64,) if floats else ()))
        if x_dtype.kind == "f" or y_dtype.kind == "f":
            dtype = np.result_type(x_dtype, y_dtype)
        x, y = cast(x, dtype), cast(y, dtype)
    return x, y


def _next_to(op: str, x: Operand, y: Operand, compared: bool) -> Tensor:
    """x, which is not a Tensor, as one; a number takes y's dtype if that can hold it."""
    number: Any
    if type(x) in (float, int):  # the usual operands, without the slow check of abstract classes
        number = x
    elif not isinstance(x, numbers.Number | np.generic):
        return as_tensor(op, x)
    else:
        number = x.item() if isinstance(x, np.generic) else x
        if not isinstance(number, bool | int | float):
            raise DTypeError(f"{op}: got {x!r}; a real number is needed")
    if not isinstance(y, tensors.Tensor):
        return as_tensor(op, number)
    dtype = _dtype_of_number(type(number), y.array.dtype)  # type: ignore[arg-type]
    try:
        return tensors.wrap(np.array(number, dtype))
    except OverflowError:
        if compared:
            return as_tensor(op, number)
        raise DTypeError(f"{op}: {number} doesn't fit into {dtype}") from None


@lru_cache
def _dtype_of_number(kind: type[float], dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.result_type(kind(1), dtype)


def cast(x: Operand, dtype: DTypeLike) -> Tensor:
    """x converted to another dtype.

    Args:
        x: array-like, any shape and dtype.
        dtype: float32, float64, int32, int64, uint8 or bool, as a name or a NumPy dtype.

    Returns:
        Tensor of x's shape; x itself if it has that dtype.

    Gradient: dx = grad, cast back, if both dtypes are floats; none otherwise.

    Raises:
        DTypeError: the dtype is not supported.
        NotSupported: x is None or a string.

    Source: torch.Tensor.to; numpy.ndarray.astype with copy=False. x.astype(dtype) always copies.

    >>> tt.cast([1.7, -1.7], "int64")
    Tensor([ 1, -1], dtype=int64)
    """
    x = as_tensor("cast", x)
    dtype = tensors.checked_dtype("cast", dtype)
    if dtype == x.dtype:
        return x
    out = np.empty(x.shape, dtype)
    kernels.cast(x.array, out)
    if dtype.kind != "f" or x.dtype.kind != "f":
        return tensors.wrap(out)

    def backward(grad: Tensor) -> tuple[Tensor | None, ...]:
        return (cast(grad, x.dtype),)

    return record("cast", out, (x,), backward)


# Shapes -----------------------------------------------------------------------------------------


_broadcast_shapes = lru_cache(np.broadcast_shapes)


def broadcast_shape(
    op: str, x: Tensor | Shape, y: Tensor | Shape, names: tuple[str, str] = ("x", "y")
) -> Shape:
    """The shape that x and y broadcast to: each is repeated along its axes of size 1.

    Raises:
        ShapeError: the shapes do not broadcast.
    """
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
    """True if an array of this shape can be repeated to fill the larger one."""
    try:
        return _broadcast_shapes(shape, larger) == larger
    except ValueError:
        return False


def same_shape(op: str, x: Tensor, y: Tensor) -> None:
    """Raise ShapeError unless x and y have the same shape."""
    if x.array.shape != y.array.shape:
        wrong = [a for a in range(x.ndim) if x.shape[a] != y.shape[a]] if x.ndim == y.ndim else []
        raise ShapeError.drawn(
            f"{op}: the shapes differ",
            {"x": (x.shape, wrong), "y": (y.shape, wrong)},
            "equal shapes are needed",
        )


def all_axes(op: str, axis: Axis, ndim: int) -> Shape:
    """Axes from 0 to ndim - 1, in ascending order; None means all of them.

    Raises:
        ShapeError: an axis does not exist or occurs twice.
    """
    if axis is None:
        return tuple(range(ndim))
    given = axis if isinstance(axis, tuple | list) else (axis,)
    axes = sorted(one_axis(op, a, ndim) for a in given)
    if len(set(axes)) < len(axes):
        raise ShapeError(f"{op}: got axis {axis}; an axis occurs twice")
    return tuple(axes)


def one_axis(op: str, axis: int, ndim: int) -> int:
    """An axis from 0 to ndim - 1; negative ones count from the end.

    Raises:
        ShapeError: the axis does not exist.
    """
    try:
        number = axis.__index__()
    except (AttributeError, TypeError):
        raise ShapeError(f"{op}: got axis {axis!r}; a whole number is needed") from None
    if not -ndim <= number < ndim:
        has = f"axes {-ndim} to {ndim - 1}" if ndim else "no axes"
        raise ShapeError(f"{op}: got axis {axis}; the tensor has {has}")
    return number % ndim


def possible(op: str, shape: Shape) -> Shape:
    """The shape of a result.

    Raises:
        ShapeError: no array can have it.
    """
    if len(shape) > 64 or math.prod(filter(None, shape)) >= 2**60:  # NumPy's limit is 2**63 bytes
        raise ShapeError(
            f"{op}: got the sizes {shape}; at most 64 axes and fewer than 2**60 elements are needed"
        )
    return shape


def whole(op: str, name: str, given: Any, least: int | None = 0) -> int:
    """An int from `least` up, from Python or NumPy; any int if `least` is None.

    Raises:
        SettingError: the value is not such an int.
    """
    try:
        number = operator.index(given)
    except TypeError:
        number = 2**62
    lowest = -(2**62) if least is None else least
    if not lowest <= number < 2**62:
        needed = "" if least is None else f" from {least} up"
        raise SettingError(f"{op}: got {name}={_shown(given)}; a whole number{needed} is needed")
    return number


def real(op: str, name: str, given: Any) -> float:
    """A setting that is a real number, from Python, NumPy or a tensor of one element.

    Raises:
        SettingError: the value is not a real number.
        GradientError: it is a tensor whose gradient would be lost.
    """
    refuse_to_lose_gradient(op, name, given, "")
    if isinstance(given, tensors.Tensor | np.ndarray) and given.size == 1:
        given = given.item()
    try:
        float(given)
        is_real = isinstance(given, numbers.Real)
    except (TypeError, ValueError, OverflowError):  # an int of more than 308 digits, for the last
        is_real = False
    if not is_real:
        raise SettingError(f"{op}: got {name}={_shown(given)}; a number is needed")
    return given  # type: ignore[no-any-return]


def _shown(given: object) -> str:
    """A wrong setting for a message: as Python writes it, if that is short, or its type."""
    if isinstance(given, np.ndarray) and given.ndim:
        return f"an array of shape {given.shape}"
    text = repr(given)
    return text if len(text) <= 200 and "\n" not in text else f"a {type(given).__name__}"


def refuse_to_lose_gradient(op: str, name: str, given: Any, instead: str) -> None:
    """Raise GradientError if an argument without a gradient is a tensor that requires one."""
    if isinstance(given, tensors.Tensor) and given.requires_grad and is_grad_enabled():
        raise GradientError(
            f"{op}: got {name} with requires_grad=True, and no gradient flows to it; {instead}"
            f"pass {name}.detach()"
        )


def per_channel(
    op: str, name: str, given: Operand | None, x: Tensor, channels: int
) -> Tensor | None:
    """An operand of shape (channels,), such as a bias or a scale, in x's dtype.

    Raises:
        ShapeError: the operand has another shape.
    """
    if given is None:
        return None
    numbers = cast(as_tensor(op, given), x.dtype)
    if numbers.shape != (channels,):
        raise ShapeError.drawn(
            f"{op}: {name} doesn't fit",
            {"x": (x.shape, ()), name: (numbers.shape, range(numbers.ndim))},
            f"one value for each channel, ({channels},), is needed",
        )
    return numbers


_Op = TypeVar("_Op", bound="Callable[..., Any]")


def torch_spelling(op: _Op) -> _Op:
    """Let an op accept `dim` and `keepdim` for `axis` and `keepdims`."""

    @functools.wraps(op)
    def spelled(*arguments: Any, **named: Any) -> Any:
        if not named:
            return op(*arguments)
        for torchs, ours in (("dim", "axis"), ("keepdim", "keepdims")):
            if torchs in named:
                named[ours] = named.pop(torchs)
        return op(*arguments, **named)

    return spelled  # type: ignore[return-value]


def as_rows(array: Array) -> Array:
    """The array as a matrix (R, C): C is its last axis, R all others together."""
    return array.reshape(math.prod(array.shape[:-1]), array.shape[-1])


def as_sizes(op: str, given: Sequence[Any], name: str = "sizes") -> Shape:
    """Ints, such as sizes or axes, that were given one by one, or as one tuple or list.

    Raises:
        ShapeError: one of them is not an int.
    """
    sizes = given[0] if len(given) == 1 and isinstance(given[0], tuple | list) else given
    try:
        return tuple(map(operator.index, sizes))
    except TypeError:
        raise ShapeError(f"{op}: got the {name} {sizes!r}; whole numbers are needed") from None


from tinytensor.ops import shape  # noqa: E402 - shape imports this module; as_tensor needs its stack
