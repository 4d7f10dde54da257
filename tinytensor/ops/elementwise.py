"""Ops that compute each number of the result from one number of each operand.

An op is declared in three lines: the derivatives, the name with its operands, the formula. The
kernel is the one of the same name in kernels.py. A derivative is a function of what it needs, by
name: `grad`, the operands `x` and `y`, or the op's own result, `out`. It is written with ops, so it
can be differentiated again. An operand that was broadcast gets the sum of what arrives at its
copies.

Ops on pairs take single numbers, lists and arrays beside a tensor. Those that are sums and products
of others stand at the end, as that formula.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tinytensor import kernels, tensor
from tinytensor.autograd import no_grad, record
from tinytensor.errors import DTypeError, ShapeError
from tinytensor.ops.operands import (
    Operand,
    as_alike,
    as_float,
    as_tensor,
    broadcast_shape,
    broadcasts_to,
    cast,
    same_shape,
)
from tinytensor.ops.reduce import sum_to
from tinytensor.ops.shape import broadcast_to

if TYPE_CHECKING:
    from tinytensor.tensor import Tensor

__all__ = [
    "abs",
    "add",
    "ceil",
    "clip",
    "clone",
    "cos",
    "div",
    "elu",
    "equal",
    "erf",
    "exp",
    "expm1",
    "floor",
    "floor_div",
    "gelu",
    "greater",
    "greater_equal",
    "isfinite",
    "isnan",
    "leaky_relu",
    "less",
    "less_equal",
    "log",
    "log1p",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "masked_fill",
    "maximum",
    "minimum",
    "mod",
    "mul",
    "neg",
    "not_equal",
    "pow",
    "reciprocal",
    "relu",
    "round",
    "rsqrt",
    "sigmoid",
    "sign",
    "silu",
    "sin",
    "softplus",
    "sqrt",
    "square",
    "sub",
    "tanh",
    "where",
]

Derivative = Callable[..., "Tensor"]
BOOL = np.dtype(np.bool_)


GRAD, X, Y, OUT = range(4)
OF_ONE = """

    x: any shape, which is the result's.

    Raises DTypeError for kinds of number that the op has no meaning for."""
OF_TWO = """

    x, y: any shapes that broadcast; the result has the shape that they broadcast to. The gradient
    of an operand that was repeated is summed over its copies.

    Raises ShapeError for shapes that don't broadcast, DTypeError for kinds of number that the op
    has no meaning for."""


def _needs(derivative: Derivative | None) -> list[int]:
    """Which of (grad, x, y, out) a derivative is a function of."""
    names = inspect.signature(derivative).parameters if derivative else ()
    return [("grad", "x", "y", "out").index(name) for name in names]


# Of one operand ---------------------------------------------------------------------------------


def unary(dx: Derivative, floats: bool = True) -> Callable[..., Callable[[Operand], Tensor]]:
    """Make an op of a declaration `def name(x)`; floats: integers become floats first."""
    needs = _needs(dx)
    keep_out = OUT in needs

    def declare(declared: Callable[[Operand], Tensor]) -> Callable[[Operand], Tensor]:
        name = declared.__name__
        kernel = getattr(kernels, name)
        declared.__doc__ = f"{declared.__doc__}{OF_ONE}"

        @functools.wraps(declared)
        def op(x: Operand) -> Tensor:
            x = as_float(name, x) if floats else as_tensor(name, x)
            out = np.empty(x.array.shape, x.array.dtype)
            kernel(x.array, out)
            if not x.requires_grad:
                return record(name, out, (x,))

            def backward(grad: Tensor, out: Tensor | None = None) -> tuple[Tensor | None, ...]:
                known = grad, x, None, out
                return (dx(*[known[i] for i in needs]),)

            return record(name, out, (x,), backward, (x,) * (X in needs), keep_out)

        return op

    return declare


def _flat(grad: Tensor) -> Tensor:
    """Of a function of steps: no slope anywhere."""
    return tensor.wrap(np.zeros_like(grad.array))


@unary(lambda grad: -grad, floats=False)
def neg(x: Operand) -> Tensor:
    """-x.  dx = -grad."""


@unary(lambda grad, x: grad * sign(x), floats=False)
def abs(x: Operand) -> Tensor:
    """|x|.  dx = grad * sign(x), 0 at 0."""


@unary(_flat, floats=False)
def sign(x: Operand) -> Tensor:
    """-1, 0 or 1, as x is below, at or above zero.  dx = 0."""


@unary(_flat, floats=False)
def floor(x: Operand) -> Tensor:
    """x rounded down.  dx = 0."""


@unary(_flat, floats=False)
def ceil(x: Operand) -> Tensor:
    """x rounded up.  dx = 0."""


@unary(_flat, floats=False)
def round(x: Operand) -> Tensor:
    """x rounded to the nearest whole number, halves to the even one.  dx = 0."""


@unary(lambda grad, out: grad * out)
def exp(x: Operand) -> Tensor:
    """e^x.  dx = grad * e^x."""


@unary(lambda grad, out: grad * (out + 1))
def expm1(x: Operand) -> Tensor:
    """e^x - 1, exact also near 0.  dx = grad * e^x."""


@unary(lambda grad, x: grad / x)
def log(x: Operand) -> Tensor:
    """The natural logarithm of x.  dx = grad / x."""


@unary(lambda grad, x: grad / (x + 1))
def log1p(x: Operand) -> Tensor:
    """log(1 + x), exact also near 0.  dx = grad / (1 + x)."""


@unary(lambda grad, out: grad / (2 * out))
def sqrt(x: Operand) -> Tensor:
    """The square root of x.  dx = grad / (2 sqrt(x))."""


@unary(lambda grad, x: grad * cos(x))
def sin(x: Operand) -> Tensor:
    """sin x.  dx = grad * cos x."""


@unary(lambda grad, x: -grad * sin(x))
def cos(x: Operand) -> Tensor:
    """cos x.  dx = -grad * sin x."""


@unary(lambda grad, out: grad * (1 - out * out))
def tanh(x: Operand) -> Tensor:
    """(e^x - e^-x) / (e^x + e^-x).  dx = grad * (1 - tanh(x)^2)."""


@unary(lambda grad, x: grad * (2 / math.sqrt(math.pi)) * exp(-x * x))
def erf(x: Operand) -> Tensor:
    """2 / sqrt(pi) * integral of e^-t^2 from 0 to x.  dx = grad * 2 / sqrt(pi) * e^-x^2."""


@unary(lambda grad, out: grad * out * (1 - out))
def sigmoid(x: Operand) -> Tensor:
    """s = 1 / (1 + e^-x).  dx = grad * s * (1 - s)."""


@unary(lambda grad, x: relu_backward(grad, x), floats=False)
def relu(x: Operand) -> Tensor:
    """x where it is positive, else 0; a NaN stays.  dx = grad where x > 0, else 0."""


def relu_backward(grad: Operand, x: Operand) -> Tensor:
    """grad where x > 0, else 0; both of one shape.  dgrad = the same of its gradient, dx = 0."""
    grad, x = as_alike("relu_backward", grad, x)
    same_shape("relu_backward", grad, x)
    out = np.empty(x.shape, x.dtype)
    kernels.relu_backward(grad.array, x.array, out)

    def backward(upstream: Tensor) -> tuple[Tensor | None, ...]:
        return relu_backward(upstream, x) if grad.requires_grad else None, _flat(upstream)

    return record("relu_backward", out, (grad, x), backward, (x,))


# Of two operands --------------------------------------------------------------------------------


def binary(
    dx: Derivative | None = None,
    dy: Derivative | None = None,
    *,
    floats: bool = False,
    out_dtype: np.dtype[Any] | None = None,
    kernel: Callable[..., None] | None = None,
) -> Callable[..., Callable[[Operand, Operand], Tensor]]:
    """Make an op of a declaration `def name(x, y)`; without derivatives it has no gradient.

    floats: integers become floats first; out_dtype: the result's, if not the operands'; kernel: if
    it isn't the one of the same name.
    """
    x_needs, y_needs = _needs(dx), _needs(dy)
    keep_out = OUT in x_needs + y_needs
    # Which of (x, y) backward reads, by which of them requires a gradient.
    reads = {
        (for_x, for_y): slice(*_first_and_last(x_needs * for_x + y_needs * for_y))
        for for_x in (False, True)
        for for_y in (False, True)
    }

    def declare(declared: Callable[[Operand, Operand], Tensor]) -> Callable[..., Tensor]:
        name = declared.__name__
        compute = kernel or getattr(kernels, name)
        declared.__doc__ = f"{declared.__doc__}{OF_TWO}"

        @functools.wraps(declared)
        def op(x: Operand, y: Operand) -> Tensor:
            x, y = as_alike(name, x, y, floats, compared=out_dtype is BOOL)
            shape = x.array.shape
            if shape != y.array.shape:
                shape = broadcast_shape(name, x, y)
            out = np.empty(shape, out_dtype or x.array.dtype)
            compute(x.array, y.array, out)
            if dx is None or dy is None or not (x.requires_grad or y.requires_grad):
                return record(name, out, (x, y))

            def backward(grad: Tensor, out: Tensor | None = None) -> tuple[Tensor | None, ...]:
                known = grad, x, y, out
                return (
                    _unbroadcast(dx(*[known[i] for i in x_needs]), x) if x.requires_grad else None,
                    _unbroadcast(dy(*[known[i] for i in y_needs]), y) if y.requires_grad else None,
                )

            saved = [x, y][reads[x.requires_grad, y.requires_grad]]
            return record(name, out, (x, y), backward, saved, keep_out)

        return op

    return declare


def _first_and_last(needs: list[int]) -> tuple[int, int]:
    """The part of (x, y) that is needed, as a slice has it."""
    return (0 if X in needs else 1), (2 if Y in needs else 1)


def _unbroadcast(grad: Tensor, x: Tensor) -> Tensor:
    """The gradient of an operand that was repeated: what arrives at its copies is summed."""
    return grad if grad.array.shape == x.array.shape else sum_to(grad, x.array.shape)


@binary(lambda grad: grad, lambda grad: grad)
def add(x: Operand, y: Operand) -> Tensor:
    """x + y.  dx = dy = grad."""


@binary(lambda grad: grad, lambda grad: -grad)
def sub(x: Operand, y: Operand) -> Tensor:
    """x - y.  dx = grad, dy = -grad."""


@binary(lambda grad, y: grad * y, lambda grad, x: grad * x)
def mul(x: Operand, y: Operand) -> Tensor:
    """x * y by elements.  dx = grad * y, dy = grad * x."""


@binary(lambda grad, y: grad / y, lambda grad, x, y: -grad * x / (y * y), floats=True)
def div(x: Operand, y: Operand) -> Tensor:
    """x / y; integers become floats.  dx = grad / y, dy = -grad * x / y^2."""


@binary(_flat, _flat)
def floor_div(x: Operand, y: Operand) -> Tensor:
    """x / y rounded down.  dx = dy = 0."""


@binary(lambda grad: grad, lambda grad, x, y: -grad * floor_div(x, y))
def mod(x: Operand, y: Operand) -> Tensor:
    """x - floor(x / y) * y, with the sign of y.  dx = grad, dy = -grad * floor(x / y)."""


def _pow_dx(grad: Tensor, x: Tensor, y: Tensor) -> Tensor:
    # x^0 is 1 everywhere: its slope is 0, also where x^(0-1) is infinite.
    return grad * where(equal(y, 0), 0, y * pow(x, where(equal(y, 0), 1, y - 1)))


def _pow_dy(grad: Tensor, x: Tensor, y: Tensor, out: Tensor) -> Tensor:
    # 0^y is 0 for all y > 0: its slope is 0, though log 0 is infinite.
    at_zero = logical_and(equal(x, 0), less_equal(0, y))
    return grad * out * log(where(at_zero, 1, x))


@binary(_pow_dx, _pow_dy)
def pow(x: Operand, y: Operand) -> Tensor:
    """x^y.  dx = grad * y * x^(y-1), dy = grad * x^y * log x; both 0 where x^y is constant."""


def _share(x: Tensor, y: Tensor) -> Tensor:
    """1 where x > y, a half where they are equal, else 0."""
    return cast(less(y, x), x.dtype) + 0.5 * cast(equal(x, y), x.dtype)


@binary(lambda grad, x, y: grad * _share(x, y), lambda grad, x, y: grad * _share(y, x))
def maximum(x: Operand, y: Operand) -> Tensor:
    """The larger of x and y; NaN where either is.  It gets grad, equals get half of it each."""


@binary(lambda grad, x, y: grad * _share(y, x), lambda grad, x, y: grad * _share(x, y))
def minimum(x: Operand, y: Operand) -> Tensor:
    """The smaller of x and y; NaN where either is.  It gets grad, equals get half of it each."""


@binary(out_dtype=BOOL)
def equal(x: Operand, y: Operand) -> Tensor:
    """x == y by elements; no gradient."""


@binary(out_dtype=BOOL)
def less(x: Operand, y: Operand) -> Tensor:
    """x < y; no gradient."""


@binary(out_dtype=BOOL)
def less_equal(x: Operand, y: Operand) -> Tensor:
    """x <= y; no gradient."""


@binary(out_dtype=BOOL, kernel=lambda x, y, out: kernels.less(y, x, out))
def greater(x: Operand, y: Operand) -> Tensor:
    """x > y; no gradient."""


@binary(out_dtype=BOOL, kernel=lambda x, y, out: kernels.less_equal(y, x, out))
def greater_equal(x: Operand, y: Operand) -> Tensor:
    """x >= y; no gradient."""


# Choosing ---------------------------------------------------------------------------------------


def where(condition: Operand, x: Operand, y: Operand) -> Tensor:
    """x where the condition, of bool, holds, else y; all broadcast.

    dx = grad where the condition holds, else 0; dy the other way round.

    Raises DTypeError for a condition that isn't bool, ShapeError for shapes that don't broadcast.
    """
    condition = as_tensor("where", condition)
    if condition.dtype != BOOL:
        raise DTypeError(f"where: got a condition of {condition.dtype}; bool is needed: x != 0")
    x, y = as_alike("where", x, y)
    both = broadcast_shape("where", x, y)
    shape = broadcast_shape("where", condition, both, names=("condition", "x and y"))
    condition, x, y = (broadcast_to(operand, shape) for operand in (condition, x, y))
    out = np.empty(shape, x.dtype)
    kernels.where(condition.array, x.array, y.array, out)

    def backward(grad: Tensor) -> tuple[Tensor | None, ...]:
        return (
            None,
            where(condition, grad, 0) if x.requires_grad else None,
            where(condition, 0, grad) if y.requires_grad else None,
        )

    return record("where", out, (condition, x, y), backward, (condition,))


def clip(x: Operand, min: Operand | None = None, max: Operand | None = None) -> Tensor:
    """x, but not below min and not above max; a NaN stays, and a NaN bound wins.

    dx = grad where x is within the bounds, else 0; a bound that is a tensor gets the rest.

    Raises ShapeError for bounds that don't broadcast with x.
    """
    x = as_tensor("clip", x)
    if min is not None:
        x = where(logical_or(greater_equal(x, min), isnan(x)), x, min)
    if max is not None:
        x = where(logical_or(less_equal(x, max), isnan(x)), x, max)
    return x


def masked_fill(x: Operand, mask: Operand, value: Operand) -> Tensor:
    """The value where the mask, of bool, holds, else x.  dx = grad where it doesn't, else 0.

    mask: broadcasts to x's shape.

    Raises ShapeError if it doesn't, DTypeError for a mask that isn't bool.
    """
    x, mask = as_tensor("masked_fill", x), as_tensor("masked_fill", mask)
    if not broadcasts_to(mask.shape, x.shape):
        raise ShapeError.drawn(
            "masked_fill: the mask doesn't fit",
            {"x": (x.shape, ()), "mask": (mask.shape, ())},
            "a mask that broadcasts to x's shape is needed",
        )
    return where(mask, value, x)


# By the formula: gradients come from the ops they are made of -----------------------------------


def not_equal(x: Operand, y: Operand) -> Tensor:
    """x != y by elements; no gradient."""
    return logical_not(equal(x, y))


def logical_not(x: Operand) -> Tensor:
    """True where x is zero or False; no gradient."""
    return equal(x, 0)


def logical_and(x: Operand, y: Operand) -> Tensor:
    """True where both are not zero; no gradient."""
    return mul(not_equal(x, 0), not_equal(y, 0))


def logical_or(x: Operand, y: Operand) -> Tensor:
    """True where x or y, or both, are not zero; no gradient."""
    return maximum(not_equal(x, 0), not_equal(y, 0))


def logical_xor(x: Operand, y: Operand) -> Tensor:
    """True where one of x and y is zero and the other is not; no gradient."""
    return not_equal(equal(x, 0), equal(y, 0))


def isnan(x: Operand) -> Tensor:
    """True where x is no number; no gradient."""
    return not_equal(x, x)


def isfinite(x: Operand) -> Tensor:
    """True where x is neither NaN nor infinite; no gradient."""
    return less(abs(as_float("isfinite", x)), math.inf)


def square(x: Operand) -> Tensor:
    """x * x.  dx = grad * 2x."""
    return mul(x, x)


def reciprocal(x: Operand) -> Tensor:
    """1 / x.  dx = -grad / x^2."""
    return div(1, as_tensor("reciprocal", x))


def rsqrt(x: Operand) -> Tensor:
    """1 / sqrt(x).  dx = -grad / (2 x^(3/2))."""
    return reciprocal(sqrt(x))


def leaky_relu(x: Operand, slope: float = 0.01) -> Tensor:
    """x where it is positive, else slope * x.  dx = grad, times the slope where x <= 0.

    Maas, Hannun and Ng, 2013.
    """
    x = as_float("leaky_relu", x)
    return where(greater(x, 0), x, slope * x)


def elu(x: Operand, alpha: float = 1.0) -> Tensor:
    """x where it is positive, else alpha * (e^x - 1).  dx = grad, or grad * alpha * e^x.

    Clevert, Unterthiner and Hochreiter, 2015.
    """
    x = as_float("elu", x)
    return where(greater(x, 0), x, alpha * expm1(clip(x, max=0)))


def gelu(x: Operand) -> Tensor:
    """x * P, P = (1 + erf(x / sqrt(2))) / 2.  dx = grad * (P + x * e^(-x^2/2) / sqrt(2 pi)).

    Hendrycks and Gimpel, 2016; exact, not their approximation by tanh.
    """
    x = as_float("gelu", x)
    return 0.5 * x * (1 + erf(x * math.sqrt(0.5)))


def silu(x: Operand) -> Tensor:
    """x * s, s = sigmoid(x).  dx = grad * s * (1 + x * (1 - s)).

    Elfwing, Uchibe and Doya, 2017; also known as swish.
    """
    x = as_float("silu", x)
    return x * sigmoid(x)


def softplus(x: Operand) -> Tensor:
    """log(1 + e^x), without overflow.  dx = grad * sigmoid(x)."""
    x = as_float("softplus", x)
    with no_grad():  # the formula's own slope has an edge at 0, where softplus has none
        result = maximum(x, 0) + log1p(exp(-abs(x)))

    def backward(grad: Tensor) -> tuple[Tensor | None, ...]:
        return (grad * sigmoid(x),)

    return record("softplus", result.array, (x,), backward, (x,))


def clone(x: Operand) -> Tensor:
    """A copy in memory of its own.  dx = grad."""
    return broadcast_to(x, as_tensor("clone", x).shape, copy=True)
