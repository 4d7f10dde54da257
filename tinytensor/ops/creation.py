"""Ops that make tensors from a shape, by a rule or from random numbers."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import DTypeLike

from tinytensor import kernels, random
from tinytensor.arrays import Array
from tinytensor.errors import DTypeError, SettingError, ShapeError
from tinytensor.ops.operands import (
    Operand,
    as_float,
    as_sizes,
    as_tensor,
    possible,
    real,
    refuse_to_lose_gradient,
    whole,
)
from tinytensor.tensors import FLOATS, Tensor, checked_dtype, wrap

__all__ = [
    "arange",
    "bernoulli",
    "empty",
    "empty_like",
    "eye",
    "full",
    "full_like",
    "linspace",
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
    sizes = as_sizes(op, shape)
    if min(sizes, default=0) < 0:
        raise ShapeError(f"{op}: got the sizes {sizes}; whole numbers from 0 up are needed")
    return possible(op, sizes)


def full(
    shape: ShapeLike, value: float, dtype: DTypeLike | None = None, requires_grad: bool = False
) -> Tensor:
    """A tensor filled with one value.

    Args:
        shape: int or tuple of ints from 0 up.
        value: number, or a scalar tensor.
        dtype: by default the dtype of the value: float32 for a Python float, int64 for an int.
        requires_grad: True to collect gradients in .grad; floats only.

    Returns:
        Tensor of that shape and dtype.

    Gradient: none; the result is a leaf.

    Raises:
        ShapeError: a size is negative, or the value is not a scalar.
        DTypeError: the dtype is not supported, cannot hold the value, or requires_grad is True for
            integers.
        GradientError: the value is a tensor that requires a gradient.
        NotSupported: the value is None or a string.

    Source: numpy.full, torch.full.

    >>> tt.full((2, 2), 7)
    Tensor([[7, 7],
            [7, 7]], dtype=int64)
    """
    return _filled("full", (shape,), value, dtype, requires_grad)


def _filled(
    op: str,
    shape: tuple[ShapeLike, ...],
    value: float,
    dtype: DTypeLike | None,
    requires_grad: bool,
) -> Tensor:
    """A tensor filled with one value; errors name the op."""
    instead = "broadcast_to(value, shape) passes gradients on: call it, or "
    refuse_to_lose_gradient(op, "value", value, instead)
    number = as_tensor(op, value, None if dtype is None else checked_dtype(op, dtype))
    if number.ndim:
        raise ShapeError(f"{op}: got a value of shape {number.shape}; a scalar is needed")
    array = np.empty(_sizes(op, shape), number.dtype)
    kernels.broadcast_to(number.array, array)
    return wrap(array).requires_grad_(requires_grad)


def zeros(*shape: ShapeLike, dtype: DTypeLike = "float32", requires_grad: bool = False) -> Tensor:
    """A tensor filled with zeros.

    Args:
        shape: ints from 0 up, one by one or as a tuple.
        dtype: float32 by default.
        requires_grad: True to collect gradients in .grad; floats only.

    Returns:
        Tensor of that shape and dtype.

    Gradient: none; the result is a leaf.

    Raises:
        ShapeError: a size is negative.
        DTypeError: the dtype is not supported, or requires_grad is True for integers.

    Source: numpy.zeros, torch.zeros.

    >>> tt.zeros(2, 3)
    Tensor([[0., 0., 0.],
            [0., 0., 0.]], dtype=float32)
    """
    return _filled("zeros", shape, 0, "float32" if dtype is None else dtype, requires_grad)


def ones(*shape: ShapeLike, dtype: DTypeLike = "float32", requires_grad: bool = False) -> Tensor:
    """A tensor filled with ones.

    Args:
        shape: ints from 0 up, one by one or as a tuple.
        dtype: float32 by default.
        requires_grad: True to collect gradients in .grad; floats only.

    Returns:
        Tensor of that shape and dtype.

    Gradient: none; the result is a leaf.

    Raises:
        ShapeError: a size is negative.
        DTypeError: the dtype is not supported, or requires_grad is True for integers.

    Source: numpy.ones, torch.ones.

    >>> tt.ones(3, requires_grad=True)
    Tensor([1., 1., 1.], dtype=float32, requires_grad=True)
    """
    return _filled("ones", shape, 1, "float32" if dtype is None else dtype, requires_grad)


def empty(*shape: ShapeLike, dtype: DTypeLike = "float32", requires_grad: bool = False) -> Tensor:
    """A tensor for values that are written later. They are 0 at first.

    In NumPy and PyTorch they are whatever the memory contains. Zeros cost little time, and a
    program that reads them by mistake has the same result in every run.

    Args:
        shape: ints from 0 up, one by one or as a tuple.
        dtype: float32 by default.
        requires_grad: True to collect gradients in .grad; floats only.

    Returns:
        Tensor of that shape and dtype.

    Gradient: none; the result is a leaf.

    Raises:
        ShapeError: a size is negative.
        DTypeError: the dtype is not supported, or requires_grad is True for integers.

    Source: numpy.empty, torch.empty.

    >>> tt.empty(2)
    Tensor([0., 0.], dtype=float32)
    """
    return _filled("empty", shape, 0, "float32" if dtype is None else dtype, requires_grad)


def arange(
    start: float,
    stop: float | None = None,
    step: float = 1,
    dtype: DTypeLike | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """The numbers start, start + step, ... below stop; arange(n) is 0, 1, ... n - 1.

    Args:
        start, stop, step: finite numbers. With start alone, the range is from 0 to below start. A
            negative step counts down.
        dtype: by default int64 for ints, else float32.
        requires_grad: True to collect gradients in .grad; floats only.

    Returns:
        Tensor (n,) of n numbers.

    Gradient: none; the result is a leaf.

    Raises:
        SettingError: the step is 0, an argument is not a finite number, or the range is too long.
        DTypeError: the dtype is not supported, or requires_grad is True for integers.
        GradientError: an argument is a tensor that requires a gradient.

    Source: numpy.arange, torch.arange.

    >>> tt.arange(2, 10, 3)
    Tensor([2, 5, 8], dtype=int64)
    """
    start, step = real("arange", "start", start), real("arange", "step", step)
    begin, end = (0, start) if stop is None else (start, real("arange", "stop", stop))
    if step == 0 or not _are_finite(begin, end, step):
        raise SettingError(
            f"arange: got {begin}, {end}, {step}; finite numbers, and a step above or below 0, "
            "are needed"
        )
    try:
        numbers = np.arange(begin, end, step)
    except (ValueError, OverflowError) as error:
        raise SettingError(f"arange: got {begin}, {end}, {step}: {error}") from None
    own = np.int64 if numbers.dtype.kind == "i" else np.float32
    kind = checked_dtype("arange", own if dtype is None else dtype)
    return wrap(numbers.astype(kind)).requires_grad_(requires_grad)


def linspace(
    start: float,
    stop: float,
    num: int = 50,
    endpoint: bool = True,
    dtype: DTypeLike | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """num numbers from start to stop, at equal distances.

    Args:
        start, stop: finite numbers.
        num: int from 0 up.
        endpoint: False leaves out stop, so that the distance is (stop - start) / num.
        dtype: float32 by default. For integers the numbers are rounded down.
        requires_grad: True to collect gradients in .grad; floats only.

    Returns:
        Tensor (num,).

    Gradient: none; the result is a leaf.

    Raises:
        SettingError: start or stop is not a finite number, or num is not an int from 0 up.
        DTypeError: the dtype is not supported or can't hold the numbers, or requires_grad is True
            for integers.
        GradientError: start or stop is a tensor that requires a gradient.

    Source: numpy.linspace, torch.linspace (without the default of num).

    >>> tt.linspace(0, 1, 5)
    Tensor([0.  , 0.25, 0.5 , 0.75, 1.  ], dtype=float32)
    """
    first, last = real("linspace", "start", start), real("linspace", "stop", stop)
    if not _are_finite(first, last):
        raise SettingError(f"linspace: got {first}, {last}; finite numbers are needed")
    kind = checked_dtype("linspace", np.float32 if dtype is None else dtype)
    numbers = np.linspace(float(first), float(last), whole("linspace", "num", num), bool(endpoint))
    if kind.kind in "iu":
        numbers = np.floor(numbers)
        limits = np.iinfo(kind)
        if numbers.size and not limits.min <= numbers.min() <= numbers.max() < limits.max + 1:
            raise DTypeError(f"linspace: got {first}, {last}; {kind} can't hold them")
    return wrap(numbers.astype(kind)).requires_grad_(requires_grad)


def _are_finite(*numbers: float) -> bool:
    """True if each number is a finite float64, or an int that a float64 can hold."""
    try:
        return all(map(math.isfinite, numbers))
    except OverflowError:  # an int of more than 308 digits
        return False


def eye(
    n: int,
    columns: int | None = None,
    dtype: DTypeLike = "float32",
    requires_grad: bool = False,
) -> Tensor:
    """The identity matrix: 1 on the diagonal, else 0.

    Args:
        n: int from 0 up, the number of rows.
        columns: int from 0 up, the number of columns; n by default.
        dtype: float32 by default.
        requires_grad: True to collect gradients in .grad; floats only.

    Returns:
        Tensor (n, columns).

    Gradient: none; the result is a leaf.

    Raises:
        ShapeError: a size is negative.
        DTypeError: the dtype is not supported, or requires_grad is True for integers.

    Source: numpy.eye, torch.eye.

    >>> tt.eye(2)
    Tensor([[1., 0.],
            [0., 1.]], dtype=float32)
    """
    sizes = _sizes("eye", (n, n if columns is None else columns))
    ones = np.eye(*sizes, dtype=checked_dtype("eye", dtype))
    return wrap(ones).requires_grad_(requires_grad)


# Random numbers ---------------------------------------------------------------------------------


def _float(op: str, dtype: DTypeLike) -> type:
    kind = checked_dtype(op, dtype)
    if kind not in FLOATS:
        raise DTypeError(f"{op}: got {kind}; float32 or float64 is needed")
    return kind.type


def rand(*shape: ShapeLike, dtype: DTypeLike = "float32", requires_grad: bool = False) -> Tensor:
    """Random numbers, uniformly distributed in [0, 1).

    Args:
        shape: ints from 0 up, one by one or as a tuple.
        dtype: float32 (default) or float64.
        requires_grad: True to collect gradients in .grad.

    Returns:
        Tensor of that shape and dtype; the same numbers after the same tt.manual_seed.

    Gradient: none; the result is a leaf.

    Raises:
        ShapeError: a size is negative.
        DTypeError: the dtype is not float32 or float64.
        CaptureError: a captured step is being recorded.

    Source: numpy.random.Generator.random, torch.rand.

    >>> x = tt.rand(100, 10)
    >>> x.shape, bool((x >= 0).all()), bool((x < 1).all())
    ((100, 10), True, True)
    """
    drawn = random.generator().random(_sizes("rand", shape), _float("rand", dtype))
    return wrap(np.asarray(drawn)).requires_grad_(requires_grad)


def randn(*shape: ShapeLike, dtype: DTypeLike = "float32", requires_grad: bool = False) -> Tensor:
    """Random numbers, normally distributed with mean 0 and standard deviation 1.

    Args:
        shape: ints from 0 up, one by one or as a tuple.
        dtype: float32 (default) or float64.
        requires_grad: True to collect gradients in .grad.

    Returns:
        Tensor of that shape and dtype; the same numbers after the same tt.manual_seed.

    Gradient: none; the result is a leaf.

    Raises:
        ShapeError: a size is negative.
        DTypeError: the dtype is not float32 or float64.
        CaptureError: a captured step is being recorded.

    Source: numpy.random.Generator.standard_normal, torch.randn.

    >>> tt.randn(2, 3, requires_grad=True).shape
    (2, 3)
    """
    drawn = random.generator().standard_normal(_sizes("randn", shape), _float("randn", dtype))
    return wrap(np.asarray(drawn)).requires_grad_(requires_grad)


def randint(
    low: int, high: int | ShapeLike, shape: ShapeLike | None = None, dtype: DTypeLike = "int64"
) -> Tensor:
    """Random integers from low to below high, each equally likely.

    Args:
        low, high: ints, low < high. `randint(high, shape)` starts at 0.
        shape: int or tuple of ints from 0 up.
        dtype: int64 (default), int32 or uint8, which must hold high - 1.

    Returns:
        Tensor of that shape and dtype; the same numbers after the same tt.manual_seed.

    Gradient: none.

    Raises:
        SettingError: low and high are not ints, low is not below high, there is no shape, or the
            dtype is a float or too small.
        ShapeError: a size is negative.
        DTypeError: the dtype is not supported.
        CaptureError: a captured step is being recorded.

    Source: numpy.random.Generator.integers, torch.randint.

    >>> dice = tt.randint(1, 7, (1000,))
    >>> dice.min(), dice.max()
    (Tensor(1, dtype=int64), Tensor(6, dtype=int64))
    """
    if shape is None:
        if not isinstance(high, tuple | list):
            raise SettingError(
                f"randint: got {low!r} and {high!r} without a shape; randint(0, 10, (3,)) or "
                "randint(10, (3,)) is needed"
            )
        low, high, shape = 0, low, high
    low, high = whole("randint", "low", low, None), whole("randint", "high", high, None)
    if low >= high:
        raise SettingError(f"randint: got low={low} and high={high}; low must be below high")
    sizes, kind = _sizes("randint", (shape,)), checked_dtype("randint", dtype)
    try:
        drawn = random.generator().integers(low, high, sizes, kind)
    except (ValueError, TypeError) as error:
        raise SettingError(f"randint: got low={low}, high={high} for {kind}: {error}") from None
    return wrap(np.asarray(drawn))


def truncated_normal(
    *shape: ShapeLike,
    std: float = 1.0,
    dtype: DTypeLike = "float32",
    requires_grad: bool = False,
) -> Tensor:
    """Normal random numbers with mean 0, redrawn until they are within two standard deviations.

    Args:
        shape: ints from 0 up, one by one or as a tuple.
        std: number from 0 up, the standard deviation before the truncation.
        dtype: float32 (default) or float64.
        requires_grad: True to collect gradients in .grad.

    Returns:
        Tensor of that shape and dtype; the same numbers after the same tt.manual_seed.

    Gradient: none; the result is a leaf.

    Raises:
        SettingError: std is negative or not a number.
        ShapeError: a size is negative.
        DTypeError: the dtype is not float32 or float64.
        GradientError: std is a tensor that requires a gradient.
        CaptureError: a captured step is being recorded.

    Source: TensorFlow's tf.random.truncated_normal, `torch.nn.init.trunc_normal_`.

    >>> bool((tt.truncated_normal(1000, std=0.1).abs() <= 0.2).all())
    True
    """
    std = real("truncated_normal", "std", std)
    if not std >= 0:
        raise SettingError(f"truncated_normal: got std={std}; a number from 0 up is needed")
    sizes, kind = _sizes("truncated_normal", shape), _float("truncated_normal", dtype)
    drawn: Array = np.asarray(random.generator().standard_normal(sizes))
    while (beyond := np.abs(drawn) > 2).any():
        drawn[beyond] = random.generator().standard_normal(np.count_nonzero(beyond))
    return wrap((drawn * std).astype(kind, order="C")).requires_grad_(requires_grad)


def bernoulli(probs: Operand) -> Tensor:
    """1 with the given probability, else 0, independently for each element.

    Args:
        probs: array-like, any shape, from 0 to 1; integers become floats.

    Returns:
        Tensor of probs' shape and dtype; the same numbers after the same tt.manual_seed.

    Gradient: none.

    Raises:
        SettingError: a probability is not from 0 to 1.
        DTypeError: probs does not hold real numbers.
        NotSupported: probs is None.
        CaptureError: a captured step is being recorded.

    Source: torch.bernoulli.

    >>> tt.bernoulli([0.0, 1.0])
    Tensor([0., 1.], dtype=float32)
    """
    probs = as_float("bernoulli", probs)
    if not ((probs.array >= 0) & (probs.array <= 1)).all():
        raise SettingError("bernoulli: probabilities from 0 to 1 are needed")
    kind = _float("bernoulli", probs.dtype)
    drawn = random.generator().random(probs.shape, kind) < probs.array
    return wrap(np.asarray(drawn, kind))


# In the shape of another tensor -----------------------------------------------------------------


def full_like(
    x: Operand, value: float, dtype: DTypeLike | None = None, requires_grad: bool = False
) -> Tensor:
    """A tensor of x's shape filled with one value.

    Args:
        x: array-like, any shape and dtype.
        value: number, or a scalar tensor.
        dtype: x's dtype by default.
        requires_grad: True to collect gradients in .grad; floats only.

    Returns:
        Tensor of x's shape.

    Gradient: none; the result is a leaf.

    Raises:
        ShapeError: the value is not a scalar.
        DTypeError: the dtype is not supported, cannot hold the value, or requires_grad is True for
            integers.
        GradientError: the value is a tensor that requires a gradient.
        NotSupported: x or the value is None or a string.

    Source: numpy.full_like, torch.full_like.

    >>> tt.full_like([1, 2, 3], 7)
    Tensor([7, 7, 7], dtype=int64)
    """
    return _filled_like("full_like", x, value, dtype, requires_grad)


def _filled_like(
    op: str, x: Operand, value: float, dtype: DTypeLike | None, requires_grad: bool
) -> Tensor:
    x = as_tensor(op, x)
    return _filled(op, (x.shape,), value, x.dtype if dtype is None else dtype, requires_grad)


def empty_like(x: Operand, dtype: DTypeLike | None = None, requires_grad: bool = False) -> Tensor:
    """A tensor of x's shape for values that are written later. They are 0 at first, see empty.

    Args:
        x: array-like, any shape and dtype.
        dtype: x's dtype by default.
        requires_grad: True to collect gradients in .grad; floats only.

    Returns:
        Tensor of x's shape.

    Gradient: none; the result is a leaf.

    Raises:
        DTypeError: the dtype is not supported, or requires_grad is True for integers.
        NotSupported: x is None.

    Source: numpy.empty_like, torch.empty_like.
    """
    return _filled_like("empty_like", x, 0, dtype, requires_grad)


def zeros_like(x: Operand, dtype: DTypeLike | None = None, requires_grad: bool = False) -> Tensor:
    """A tensor of x's shape filled with zeros.

    Args:
        x: array-like, any shape and dtype.
        dtype: x's dtype by default.
        requires_grad: True to collect gradients in .grad; floats only.

    Returns:
        Tensor of x's shape.

    Gradient: none; the result is a leaf.

    Raises:
        DTypeError: the dtype is not supported, or requires_grad is True for integers.
        NotSupported: x is None.

    Source: numpy.zeros_like, torch.zeros_like.

    >>> tt.zeros_like([1.0, 2.0])
    Tensor([0., 0.], dtype=float32)
    """
    return _filled_like("zeros_like", x, 0, dtype, requires_grad)


def ones_like(x: Operand, dtype: DTypeLike | None = None, requires_grad: bool = False) -> Tensor:
    """A tensor of x's shape filled with ones.

    Args:
        x: array-like, any shape and dtype.
        dtype: x's dtype by default.
        requires_grad: True to collect gradients in .grad; floats only.

    Returns:
        Tensor of x's shape.

    Gradient: none; the result is a leaf.

    Raises:
        DTypeError: the dtype is not supported, or requires_grad is True for integers.
        NotSupported: x is None.

    Source: numpy.ones_like, torch.ones_like.

    >>> tt.ones_like([[1.5, 2.5]])
    Tensor([[1., 1.]], dtype=float32)
    """
    return _filled_like("ones_like", x, 1, dtype, requires_grad)


def rand_like(x: Operand, dtype: DTypeLike | None = None, requires_grad: bool = False) -> Tensor:
    """Random numbers in x's shape, uniformly distributed in [0, 1).

    Args:
        x: array-like, any shape.
        dtype: float32 or float64; x's dtype by default.
        requires_grad: True to collect gradients in .grad.

    Returns:
        Tensor of x's shape; the same numbers after the same tt.manual_seed.

    Gradient: none; the result is a leaf.

    Raises:
        DTypeError: the dtype is not float32 or float64.
        NotSupported: x is None.
        CaptureError: a captured step is being recorded.

    Source: torch.rand_like.

    >>> tt.rand_like(tt.zeros(2, 3)).shape
    (2, 3)
    """
    x = as_tensor("rand_like", x)
    kind = _float("rand_like", x.dtype if dtype is None else dtype)
    return rand(x.shape, dtype=kind, requires_grad=requires_grad)


def randn_like(x: Operand, dtype: DTypeLike | None = None, requires_grad: bool = False) -> Tensor:
    """Random numbers in x's shape, normally distributed with mean 0 and standard deviation 1.

    Args:
        x: array-like, any shape.
        dtype: float32 or float64; x's dtype by default.
        requires_grad: True to collect gradients in .grad.

    Returns:
        Tensor of x's shape; the same numbers after the same tt.manual_seed.

    Gradient: none; the result is a leaf.

    Raises:
        DTypeError: the dtype is not float32 or float64.
        NotSupported: x is None.
        CaptureError: a captured step is being recorded.

    Source: torch.randn_like.
    """
    x = as_tensor("randn_like", x)
    kind = _float("randn_like", x.dtype if dtype is None else dtype)
    return randn(x.shape, dtype=kind, requires_grad=requires_grad)
