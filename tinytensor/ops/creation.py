"""Tensors made from nothing but a shape. The sizes may come one by one or as a tuple."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import DTypeLike

from tinytensor import kernels, random
from tinytensor.arrays import Array
from tinytensor.errors import DTypeError, SettingError, ShapeError
from tinytensor.ops.operands import Operand, as_float, as_tensor
from tinytensor.tensor import FLOATS, Tensor, checked_dtype, wrap

__all__ = [
    "arange",
    "bernoulli",
    "eye",
    "full",
    "full_like",
    "ones",
    "ones_like",
    "rand",
    "rand_like",
    "randint",
    "randn",
    "randn_like",
    "truncated_normal",
    "zeros",
    "zeros_like",
]

ShapeLike = int | tuple[int, ...]


def _sizes(op: str, shape: tuple[ShapeLike, ...]) -> tuple[int, ...]:
    given = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple | list) else shape
    try:
        sizes = tuple(size.__index__() for size in given)  # type: ignore[union-attr]
    except (AttributeError, TypeError):
        sizes = (-1,)
    if min(sizes, default=0) < 0:
        raise ShapeError(f"{op}: got the sizes {given}; whole numbers from 0 up are needed")
    return sizes


def full(
    shape: ShapeLike, value: float, dtype: DTypeLike | None = None, requires_grad: bool = False
) -> Tensor:
    """A tensor full of one value, by default of that value's kind of number."""
    number = Tensor(value, dtype)
    if number.ndim:
        raise ShapeError(f"full: got a value of shape {number.shape}; a single number is needed")
    sizes = _sizes("full", (shape,))
    try:
        array = np.empty(sizes, number.dtype)
    except ValueError as error:
        raise ShapeError(f"full: got the sizes {sizes}: {error}") from None
    kernels.broadcast_to(number.array, array)
    return wrap(array).requires_grad_(requires_grad)


def zeros(*shape: ShapeLike, dtype: DTypeLike = "float32", requires_grad: bool = False) -> Tensor:
    """A tensor full of zeros."""
    return full(_sizes("zeros", shape), 0, dtype or "float32", requires_grad)


def ones(*shape: ShapeLike, dtype: DTypeLike = "float32", requires_grad: bool = False) -> Tensor:
    """A tensor full of ones."""
    return full(_sizes("ones", shape), 1, dtype or "float32", requires_grad)


def arange(
    start: float,
    stop: float | None = None,
    step: float = 1,
    dtype: DTypeLike | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """start, start + step, ... below stop; from 0 to below start if it is alone."""
    begin, end = (0, start) if stop is None else (start, stop)
    if step == 0 or not all(map(math.isfinite, (begin, end, step))):
        raise SettingError(
            f"arange: got {begin}, {end}, {step}; finite numbers, and a step above or below 0, "
            "are needed"
        )
    numbers = np.arange(begin, end, step)
    whole = numbers.dtype.kind == "i"
    kind = checked_dtype("arange", dtype or (np.int64 if whole else np.float32))
    return wrap(numbers.astype(kind)).requires_grad_(requires_grad)


def eye(
    n: int,
    columns: int | None = None,
    dtype: DTypeLike = "float32",
    requires_grad: bool = False,
) -> Tensor:
    """The identity matrix (n, n), or (n, columns): 1 on the diagonal, else 0."""
    sizes = _sizes("eye", (n, n if columns is None else columns))
    ones = np.eye(*sizes, dtype=checked_dtype("eye", dtype))
    return wrap(ones).requires_grad_(requires_grad)


# By chance --------------------------------------------------------------------------------------


def _float(op: str, dtype: DTypeLike) -> type:
    kind = checked_dtype(op, dtype)
    if kind not in FLOATS:
        raise DTypeError(f"{op}: got {kind}; float32 or float64 is needed")
    return kind.type


def rand(*shape: ShapeLike, dtype: DTypeLike = "float32", requires_grad: bool = False) -> Tensor:
    """Uniform random numbers in [0, 1); float32 or float64."""
    drawn = random.generator().random(_sizes("rand", shape), _float("rand", dtype))
    return wrap(np.asarray(drawn)).requires_grad_(requires_grad)


def randn(*shape: ShapeLike, dtype: DTypeLike = "float32", requires_grad: bool = False) -> Tensor:
    """Normally distributed random numbers, mean 0 and standard deviation 1; float32 or float64."""
    drawn = random.generator().standard_normal(_sizes("randn", shape), _float("randn", dtype))
    return wrap(np.asarray(drawn)).requires_grad_(requires_grad)


def randint(low: int, high: int, shape: ShapeLike, dtype: DTypeLike = "int64") -> Tensor:
    """Whole random numbers from low to below high, each equally likely."""
    if low >= high:
        raise SettingError(f"randint: got low={low} and high={high}; low must be below high")
    kind = checked_dtype("randint", dtype)
    try:
        drawn = random.generator().integers(low, high, _sizes("randint", (shape,)), kind)
    except (ValueError, TypeError) as error:
        raise SettingError(f"randint: got low={low}, high={high} for {kind}: {error}") from None
    return wrap(np.asarray(drawn))


def truncated_normal(
    *shape: ShapeLike,
    std: float = 1.0,
    dtype: DTypeLike = "float32",
    requires_grad: bool = False,
) -> Tensor:
    """Normal random numbers, mean 0, drawn again where they are beyond two standard deviations."""
    if not std >= 0:
        raise SettingError(f"truncated_normal: got std={std}; a number from 0 up is needed")
    sizes, kind = _sizes("truncated_normal", shape), _float("truncated_normal", dtype)
    drawn: Array = np.asarray(random.generator().standard_normal(sizes))
    while (beyond := np.abs(drawn) > 2).any():
        drawn[beyond] = random.generator().standard_normal(np.count_nonzero(beyond))
    return wrap((drawn * std).astype(kind, order="C")).requires_grad_(requires_grad)


def bernoulli(probs: Operand) -> Tensor:
    """1 with the probability that stands in its place, else 0, in the same kind of float."""
    probs = as_float("bernoulli", probs)
    if not ((probs.array >= 0) & (probs.array <= 1)).all():
        raise SettingError("bernoulli: probabilities from 0 to 1 are needed")
    kind = _float("bernoulli", probs.dtype)
    drawn = random.generator().random(probs.shape, kind) < probs.array
    return wrap(np.asarray(drawn, kind))


# Like another: in x's shape, and in its kind of number if none is given


def full_like(
    x: Operand, value: float, dtype: DTypeLike | None = None, requires_grad: bool = False
) -> Tensor:
    """One value in x's shape."""
    x = as_tensor("full_like", x)
    return full(x.shape, value, dtype or x.dtype, requires_grad)


def zeros_like(x: Operand, dtype: DTypeLike | None = None, requires_grad: bool = False) -> Tensor:
    """Zeros in x's shape."""
    return full_like(x, 0, dtype, requires_grad)


def ones_like(x: Operand, dtype: DTypeLike | None = None, requires_grad: bool = False) -> Tensor:
    """Ones in x's shape."""
    return full_like(x, 1, dtype, requires_grad)


def rand_like(x: Operand, dtype: DTypeLike | None = None, requires_grad: bool = False) -> Tensor:
    """Uniform random numbers in [0, 1) in x's shape."""
    x = as_tensor("rand_like", x)
    return rand(x.shape, dtype=dtype or x.dtype, requires_grad=requires_grad)


def randn_like(x: Operand, dtype: DTypeLike | None = None, requires_grad: bool = False) -> Tensor:
    """Normal random numbers in x's shape."""
    x = as_tensor("randn_like", x)
    return randn(x.shape, dtype=dtype or x.dtype, requires_grad=requires_grad)
