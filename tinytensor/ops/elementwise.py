"""Ops that compute each element of the result from the same element of each operand.

An op is declared in three lines: its derivatives, its name with its operands, its formula. It calls
the kernel of the same name in kernels.py. A derivative is a function of the values that it reads,
by name: `grad`, the operands `x` and `y`, or the op's own result, `out`. It is written with ops, so
it can be differentiated again. The gradient of an operand that was broadcast is summed over its
copies.

Ops of two operands accept numbers, lists and arrays next to a tensor. An op that can be written as
a formula of other ops is defined by this formula, at the end of the file.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tinytensor import kernels, recorder, tensors
from tinytensor.autograd import record
from tinytensor.errors import DTypeError, ShapeError
from tinytensor.ops.operands import (
    Operand,
    as_alike,
    as_float,
    as_tensor,
    broadcast_shape,
    broadcasts_to,
    cast,
    real,
    same_shape,
)
from tinytensor.ops.reduce import sum_to
from tinytensor.ops.shape import broadcast_to

if TYPE_CHECKING:
    from tinytensor.tensors import Tensor

__all__ = [
    "abs",
    "add",
    "allclose",
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
    "isclose",
    "isfinite",
    "isinf",
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

# Sections of docstrings that ops share; `_complete` inserts them.
FLOATS_OF_ONE = """\
    Args:
        x: array-like, any shape; bool and uint8 become float32, int32 and int64 become float64.

    Returns:
        Tensor of x's shape, float.

"""
ONE = """\
    Args:
        x: array-like, any shape, numeric.

    Returns:
        Tensor of x's shape and dtype.

"""
ONE_RAISES = """\
    Raises:
        DTypeError: the op is not defined for x's dtype, such as complex.
        NotSupported: x is None or a string.

"""
TWINS = """\
    Args:
        grad, x: array-like, the same shape, float.

    Returns:
        Tensor of that shape and dtype.

"""
TWINS_RAISES = """\
    Raises:
        ShapeError: the shapes differ.
        DTypeError: the op is not defined for a dtype.
        NotSupported: an operand is None or a string.

"""
TWO = """\
    Args:
        x, y: array-like, shapes that broadcast together, numeric.

    Returns:
        Tensor of the broadcast shape, {dtype}.

"""
SUMMED = """\
    The gradient of an operand that was broadcast is summed over its copies.

"""
TWO_RAISES = """\
    Raises:
        ShapeError: the shapes do not broadcast.
        DTypeError: the op is not defined for a dtype, such as complex.
        NotSupported: an operand is None or a string.

"""
PROMOTED = """\
dtype np.result_type(x, y). A number next to a
        tensor takes the tensor's dtype if that can hold it"""


def _complete(declared: Callable[..., Any], args: str, raises: str) -> None:
    """The docstring of a declared op, with the sections that all such ops share in their places."""
    text = declared.__doc__ or ""
    text = text.replace("    Gradient:", f"{args}    Gradient:")
    declared.__doc__ = text.replace("    Source:", f"{raises}    Source:")


def _needs(derivative: Derivative | None) -> list[int]:
    """The positions in (grad, x, y, out) of a derivative's parameters."""
    names = inspect.signature(derivative).parameters if derivative else ()
    return [("grad", "x", "y", "out").index(name) for name in names]


# Of one operand ---------------------------------------------------------------------------------


def unary(dx: Derivative, floats: bool = True) -> Callable[..., Callable[[Operand], Tensor]]:
    """Make an op from a declaration `def name(x)`.

    dx: the derivative. floats: True converts integers and bool to floats first.
    """
    needs = _needs(dx)
    keep_out = OUT in needs

    def declare(declared: Callable[[Operand], Tensor]) -> Callable[[Operand], Tensor]:
        name = declared.__name__
        kernel = getattr(kernels, name)
        _complete(declared, FLOATS_OF_ONE if floats else ONE, ONE_RAISES)

        @functools.wraps(declared)
        def op(x: Operand) -> Tensor:
            x = as_float(name, x) if floats else as_tensor(name, x)
            array = x.array
            out = np.empty(array.shape, array.dtype)
            kernel(array, out)
            if not x._requires_grad:
                return record(name, out, (x,))

            def backward(grad: Tensor, out: Tensor | None = None) -> tuple[Tensor | None, ...]:
                known = grad, x, None, out
                return (dx(*[known[i] for i in needs]),)

            return record(name, out, (x,), backward, (x,) * (X in needs), keep_out)

        return op

    return declare


def _flat(grad: Tensor) -> Tensor:
    """The gradient of a step function: 0 everywhere."""
    return tensors.wrap(np.zeros_like(grad.array))


@unary(lambda grad: -grad, floats=False)
def neg(x: Operand) -> Tensor:
    """-x, elementwise. Not defined for bool.

    Gradient: dx = -grad.

    Source: numpy.negative, torch.neg; the operator -x.

    >>> tt.neg([1.0, -2.0])
    Tensor([-1.,  2.], dtype=float32)
    """


@unary(lambda grad, x: grad * sign(x), floats=False)
def abs(x: Operand) -> Tensor:
    """The absolute value of x, elementwise: its distance from 0.

    Gradient: dx = grad * sign(x), which is 0 where x is 0.

    Source: numpy.abs, torch.abs; Python's abs(x).

    >>> tt.abs([1.5, -2.0])
    Tensor([1.5, 2. ], dtype=float32)
    """


@unary(_flat, floats=False)
def sign(x: Operand) -> Tensor:
    """-1 where x < 0, 0 where x is 0, 1 where x > 0; NaN stays NaN. Not defined for bool.

    Gradient: dx = 0.

    Source: numpy.sign, torch.sign.

    >>> tt.sign([-2.5, 0.0, 3.0])
    Tensor([-1.,  0.,  1.], dtype=float32)
    """


@unary(_flat, floats=False)
def floor(x: Operand) -> Tensor:
    """The largest integer that is at most x, elementwise.

    Gradient: dx = 0.

    Source: numpy.floor, torch.floor.

    >>> tt.floor([1.5, -1.5])
    Tensor([ 1., -2.], dtype=float32)
    """


@unary(_flat, floats=False)
def ceil(x: Operand) -> Tensor:
    """The smallest integer that is at least x, elementwise.

    Gradient: dx = 0.

    Source: numpy.ceil, torch.ceil.

    >>> tt.ceil([1.5, -1.5])
    Tensor([ 2., -1.], dtype=float32)
    """


@unary(_flat, floats=False)
def round(x: Operand) -> Tensor:
    """x rounded to the nearest integer, elementwise; halves to the even one. Not defined for bool.

    Gradient: dx = 0.

    Source: numpy.rint, torch.round; Python's round(x).

    >>> tt.round([0.5, 1.5, 2.6])
    Tensor([0., 2., 3.], dtype=float32)
    """


@unary(lambda grad, out: grad * out)
def exp(x: Operand) -> Tensor:
    """e^x, elementwise.

    Gradient: dx = grad * exp(x).

    Source: numpy.exp, torch.exp.

    >>> print(f"{tt.exp(1.0).item():.4f}")
    2.7183
    """


@unary(lambda grad, out: grad * (out + 1))
def expm1(x: Operand) -> Tensor:
    """e^x - 1, elementwise; exact also for x near 0.

    Gradient: dx = grad * exp(x).

    Source: numpy.expm1, torch.expm1.
    """


@unary(lambda grad, x: grad / x)
def log(x: Operand) -> Tensor:
    """The natural logarithm of x, elementwise; -inf at 0, NaN below 0.

    Gradient: dx = grad / x.

    Source: numpy.log, torch.log.

    >>> print(f"{tt.log(10.0).item():.4f}")
    2.3026
    """


@unary(lambda grad, x: grad / (x + 1))
def log1p(x: Operand) -> Tensor:
    """log(1 + x), elementwise; exact also for x near 0.

    Gradient: dx = grad / (1 + x).

    Source: numpy.log1p, torch.log1p.
    """


@unary(lambda grad, out: grad / (2 * out))
def sqrt(x: Operand) -> Tensor:
    """The square root of x, elementwise; NaN below 0.

    Gradient: dx = grad / (2 * sqrt(x)), which is infinite at 0.

    Source: numpy.sqrt, torch.sqrt.

    >>> tt.sqrt([4.0, 9.0])
    Tensor([2., 3.], dtype=float32)
    """


@unary(lambda grad, x: grad * cos(x))
def sin(x: Operand) -> Tensor:
    """The sine of x in radians, elementwise.

    Gradient: dx = grad * cos(x).

    Source: numpy.sin, torch.sin.
    """


@unary(lambda grad, x: -grad * sin(x))
def cos(x: Operand) -> Tensor:
    """The cosine of x in radians, elementwise.

    Gradient: dx = -grad * sin(x).

    Source: numpy.cos, torch.cos.
    """


@unary(lambda grad, out: grad * (1 - out * out))
def tanh(x: Operand) -> Tensor:
    """The hyperbolic tangent (e^x - e^-x) / (e^x + e^-x), elementwise; from -1 to 1.

    Gradient: dx = grad * (1 - tanh(x)^2).

    Source: numpy.tanh, torch.tanh.

    >>> tt.tanh([0.0, 100.0])
    Tensor([0., 1.], dtype=float32)
    """


@unary(lambda grad, x: grad * (2 / math.sqrt(math.pi)) * exp(-x * x))
def erf(x: Operand) -> Tensor:
    """The error function 2 / sqrt(pi) * integral of e^(-t^2) for t from 0 to x, elementwise.

    Gradient: dx = grad * 2 / sqrt(pi) * e^(-x^2).

    Source: scipy.special.erf, torch.erf.
    """


@unary(lambda grad, out: grad * out * (1 - out))
def sigmoid(x: Operand) -> Tensor:
    """1 / (1 + e^-x), elementwise; from 0 to 1.

    Gradient: dx = grad * s * (1 - s), with s = sigmoid(x).

    Source: torch.sigmoid; the logistic function.

    >>> tt.sigmoid([0.0, 100.0])
    Tensor([0.5, 1. ], dtype=float32)
    """


@unary(lambda grad, x: relu_backward(grad, x), floats=False)
def relu(x: Operand) -> Tensor:
    """x where x > 0, else 0, elementwise; NaN stays NaN.

    Gradient: dx = grad where x > 0, else 0.

    Source: torch.relu; Nair and Hinton, "Rectified linear units", 2010.

    >>> tt.relu([-1.0, 0.0, 2.0])
    Tensor([0., 0., 2.], dtype=float32)
    """


@unary(lambda grad, x: gelu_backward(grad, x))
def gelu(x: Operand) -> Tensor:
    """x * P(x), elementwise; P(x) = (1 + erf(x / sqrt(2))) / 2 is the normal distribution.

    At -inf the result is the limit, 0.

    Gradient: dx = grad * (P(x) + x * e^(-x^2 / 2) / sqrt(2 * pi)).

    Source: torch.nn.functional.gelu, exact and not by tanh; Hendrycks and Gimpel, "Gaussian error
    linear units", 2016.

    >>> tt.gelu([-10.0, 0.0, 10.0]).round()
    Tensor([-0.,  0., 10.], dtype=float32)
    """


@unary(lambda grad, x: silu_backward(grad, x))
def silu(x: Operand) -> Tensor:
    """x * sigmoid(x), elementwise; also called swish.

    At -inf the result is the limit, 0.

    Gradient: dx = grad * s * (1 + x * (1 - s)), with s = sigmoid(x).

    Source: torch.nn.functional.silu; Elfwing, Uchibe and Doya, "Sigmoid-weighted linear units",
    2017.
    """


@unary(lambda grad, x: softplus_backward(grad, x))
def softplus(x: Operand) -> Tensor:
    """log(1 + e^x), elementwise, without overflow: a smooth relu.

    Gradient: dx = grad * sigmoid(x).

    Source: torch.nn.functional.softplus; numpy.logaddexp(0, x).
    """


# Gradients of ops of one operand ----------------------------------------------------------------


def slope(curvature: Callable[[Tensor], Tensor] | None) -> Callable[..., Callable[..., Tensor]]:
    """Make the op grad * f'(x) from a declaration `def f_backward(grad, x)`.

    curvature: f''(x), which the op's own gradient contains; None if it is 0 everywhere.
    """

    def declare(declared: Callable[[Operand, Operand], Tensor]) -> Callable[..., Tensor]:
        name = declared.__name__
        kernel = getattr(kernels, name)
        _complete(declared, TWINS, TWINS_RAISES)

        @functools.wraps(declared)
        def op(grad: Operand, x: Operand) -> Tensor:
            grad, x = as_alike(name, grad, x)
            same_shape(name, grad, x)
            out = np.empty(x.shape, x.dtype)
            kernel(grad.array, x.array, out)

            def backward(upstream: Tensor) -> tuple[Tensor | None, ...]:
                dgrad = op(upstream, x) if grad.requires_grad else None
                if curvature is None:
                    return dgrad, _flat(upstream)
                return dgrad, upstream * grad * curvature(x) if x.requires_grad else None

            return record(name, out, (grad, x), backward, (grad, x) if curvature else (x,))

        return op

    return declare


@slope(None)
def relu_backward(grad: Operand, x: Operand) -> Tensor:
    """grad where x > 0, else 0: the gradient of relu.

    Gradient: dgrad = upstream where x > 0, else 0; dx = 0.

    Source: torch.ops.aten.threshold_backward.
    """


@slope(lambda x: exp(-x * x / 2) * (2 - x * x) / math.sqrt(2 * math.pi))
def gelu_backward(grad: Operand, x: Operand) -> Tensor:
    """grad * (P(x) + x * p(x)): the gradient of gelu, with the normal density p = P'.

    Gradient: dgrad = upstream * (P(x) + x * p(x)); dx = upstream * grad * p(x) * (2 - x^2).

    Source: torch.ops.aten.gelu_backward.
    """


def _silu_curvature(x: Tensor) -> Tensor:
    s = sigmoid(x)
    return s * (1 - s) * (2 + x * (1 - 2 * s))


@slope(_silu_curvature)
def silu_backward(grad: Operand, x: Operand) -> Tensor:
    """grad * s * (1 + x * (1 - s)), with s = sigmoid(x): the gradient of silu.

    Gradient: dgrad = upstream * s * (1 + x * (1 - s));
    dx = upstream * grad * s * (1 - s) * (2 + x * (1 - 2 * s)).

    Source: torch.ops.aten.silu_backward.
    """


@slope(lambda x: sigmoid(x) * (1 - sigmoid(x)))
def softplus_backward(grad: Operand, x: Operand) -> Tensor:
    """grad * sigmoid(x): the gradient of softplus.

    Gradient: dgrad = upstream * s; dx = upstream * grad * s * (1 - s), with s = sigmoid(x).

    Source: torch.ops.aten.softplus_backward.
    """


# Of two operands --------------------------------------------------------------------------------


def binary(
    dx: Derivative | None = None,
    dy: Derivative | None = None,
    *,
    floats: bool = False,
    out_dtype: np.dtype[Any] | None = None,
    kernel: Callable[..., None] | None = None,
) -> Callable[..., Callable[[Operand, Operand], Tensor]]:
    """Make an op from a declaration `def name(x, y)`; without derivatives the op has no gradient.

    dx, dy: the derivatives. floats: True converts integers and bool to floats first. out_dtype: the
    dtype of the result, if it is not that of the operands. kernel: the kernel, if it is not the
    one of the same name.
    """
    x_needs, y_needs = _needs(dx), _needs(dy)
    keep_out = OUT in x_needs + y_needs
    # The part of (x, y) that backward reads, by which of them requires a gradient.
    reads = {
        (for_x, for_y): slice(*_first_and_last(x_needs * for_x + y_needs * for_y))
        for for_x in (False, True)
        for for_y in (False, True)
    }

    def declare(declared: Callable[[Operand, Operand], Tensor]) -> Callable[..., Tensor]:
        name = declared.__name__
        compute = kernel or getattr(kernels, name)
        dtype = "bool" if out_dtype is BOOL else "float" if floats else PROMOTED
        _complete(declared, TWO.format(dtype=dtype), SUMMED * (dx is not None) + TWO_RAISES)

        @functools.wraps(declared)
        def op(x: Operand, y: Operand) -> Tensor:
            x, y = as_alike(name, x, y, floats, compared=out_dtype is BOOL)
            x_array, y_array = x.array, y.array
            shape = x_array.shape
            if shape != y_array.shape:
                shape = broadcast_shape(name, x, y)
            out = np.empty(shape, out_dtype or x_array.dtype)
            compute(x_array, y_array, out)
            if dx is None or dy is None or not (x._requires_grad or y._requires_grad):
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
    """The slice of (x, y) that holds the needed operands."""
    return (0 if X in needs else 1), (2 if Y in needs else 1)


def _unbroadcast(grad: Tensor, x: Tensor) -> Tensor:
    """The gradient of an operand that was broadcast: the sum over its copies."""
    return grad if grad.array.shape == x.array.shape else sum_to(grad, x.array.shape)


@binary(lambda grad: grad, lambda grad: grad)
def add(x: Operand, y: Operand) -> Tensor:
    """x + y, elementwise.

    Gradient: dx = dy = grad.

    Source: numpy.add, torch.add; the operator x + y.

    >>> tt.add([1.0, 2.0], 10)
    Tensor([11., 12.], dtype=float32)
    """


@binary(lambda grad: grad, lambda grad: -grad)
def sub(x: Operand, y: Operand) -> Tensor:
    """x - y, elementwise. Not defined for bool.

    Gradient: dx = grad, dy = -grad.

    Source: numpy.subtract, torch.sub; the operator x - y.

    >>> tt.sub([1.0, 2.0], [[1.0], [2.0]])
    Tensor([[ 0.,  1.],
            [-1.,  0.]], dtype=float32)
    """


@binary(lambda grad, y: grad * y, lambda grad, x: grad * x)
def mul(x: Operand, y: Operand) -> Tensor:
    """x * y, elementwise. For the matrix product see matmul.

    Gradient: dx = grad * y, dy = grad * x.

    Source: numpy.multiply, torch.mul; the operator x * y.

    >>> tt.mul([1.0, 2.0], [3.0, 4.0])
    Tensor([3., 8.], dtype=float32)
    """


@binary(lambda grad, y: grad / y, lambda grad, x, y: -grad * x / (y * y), floats=True)
def div(x: Operand, y: Operand) -> Tensor:
    """x / y, elementwise; integers become floats. Division by 0 gives an infinity or NaN.

    Gradient: dx = grad / y, dy = -grad * x / y^2.

    Source: numpy.divide, torch.div; the operator x / y.

    >>> tt.div([1.0, 3.0], 2)
    Tensor([0.5, 1.5], dtype=float32)
    """


@binary(_flat, _flat)
def floor_div(x: Operand, y: Operand) -> Tensor:
    """x / y rounded down, elementwise. Not defined for bool.

    Gradient: dx = dy = 0.

    Source: numpy.floor_divide, torch.floor_divide; the operator x // y.

    >>> tt.floor_div([7.0, -7.0], 2)
    Tensor([ 3., -4.], dtype=float32)
    """


@binary(lambda grad: grad, lambda grad, x, y: -grad * floor_div(x, y))
def mod(x: Operand, y: Operand) -> Tensor:
    """x - floor(x / y) * y, elementwise: the remainder, with the sign of y. Not defined for bool.

    Gradient: dx = grad, dy = -grad * floor(x / y).

    Source: numpy.mod, torch.remainder; the operator x % y.

    >>> tt.mod([7.0, -7.0], 3)
    Tensor([1., 2.], dtype=float32)
    """


def _pow_dx(grad: Tensor, x: Tensor, y: Tensor) -> Tensor:
    # x^0 is 1 everywhere: its slope is 0 * x^0, also where x^(0-1) is infinite.
    return grad * (y * pow(x, where(equal(y, 0), 0, y - 1)))


def _pow_dy(grad: Tensor, x: Tensor, y: Tensor, out: Tensor) -> Tensor:
    # 0^y is 0 for all y > 0: its slope is 0, though log 0 is infinite.
    at_zero = logical_and(equal(x, 0), less_equal(0, y))
    return grad * out * log(where(at_zero, 1, x))


@binary(_pow_dx, _pow_dy)
def pow(x: Operand, y: Operand) -> Tensor:
    """x^y, elementwise. Not defined for bool, nor for integers with a negative integer y.

    Gradient: dx = grad * y * x^(y-1), dy = grad * x^y * log(x); dx is 0 where y is 0, and dy is 0
    where x is 0 and y >= 0.

    Source: numpy.power, torch.pow; the operator x ** y.

    >>> tt.pow([2.0, 3.0], 2)
    Tensor([4., 9.], dtype=float32)
    """


def _share(x: Tensor, y: Tensor) -> Tensor:
    """1 where x > y, 0.5 where they are equal, else 0."""
    return cast(less(y, x), x.dtype) + 0.5 * cast(equal(x, y), x.dtype)


@binary(lambda grad, x, y: grad * _share(x, y), lambda grad, x, y: grad * _share(y, x))
def maximum(x: Operand, y: Operand) -> Tensor:
    """The larger of x and y, elementwise; NaN where one of them is NaN.

    Gradient: the larger operand gets grad; equal operands get half of it each.

    Source: numpy.maximum, torch.maximum. For the largest element of one tensor see max.

    >>> tt.maximum([1.0, 5.0], 3)
    Tensor([3., 5.], dtype=float32)
    """


@binary(lambda grad, x, y: grad * _share(y, x), lambda grad, x, y: grad * _share(x, y))
def minimum(x: Operand, y: Operand) -> Tensor:
    """The smaller of x and y, elementwise; NaN where one of them is NaN.

    Gradient: the smaller operand gets grad; equal operands get half of it each.

    Source: numpy.minimum, torch.minimum. For the smallest element of one tensor see min.

    >>> tt.minimum([1.0, 5.0], 3)
    Tensor([1., 3.], dtype=float32)
    """


@binary(out_dtype=BOOL)
def equal(x: Operand, y: Operand) -> Tensor:
    """True where x == y, elementwise.

    Gradient: none.

    Source: numpy.equal, torch.eq; the operator x == y. torch.equal is (x == y).all().

    >>> tt.equal([1, 2, 3], [1, 0, 3])
    Tensor([ True, False,  True], dtype=bool)
    """


@binary(out_dtype=BOOL)
def less(x: Operand, y: Operand) -> Tensor:
    """True where x < y, elementwise.

    Gradient: none.

    Source: numpy.less, torch.lt; the operator x < y.
    """


@binary(out_dtype=BOOL)
def less_equal(x: Operand, y: Operand) -> Tensor:
    """True where x <= y, elementwise.

    Gradient: none.

    Source: numpy.less_equal, torch.le; the operator x <= y.
    """


@binary(out_dtype=BOOL, kernel=lambda x, y, out: kernels.less(y, x, out))
def greater(x: Operand, y: Operand) -> Tensor:
    """True where x > y, elementwise.

    Gradient: none.

    Source: numpy.greater, torch.gt; the operator x > y.

    >>> tt.greater([1.0, 2.0, 3.0], 2)
    Tensor([False, False,  True], dtype=bool)
    """


@binary(out_dtype=BOOL, kernel=lambda x, y, out: kernels.less_equal(y, x, out))
def greater_equal(x: Operand, y: Operand) -> Tensor:
    """True where x >= y, elementwise.

    Gradient: none.

    Source: numpy.greater_equal, torch.ge; the operator x >= y.
    """


# Choosing ---------------------------------------------------------------------------------------


def where(condition: Operand, x: Operand, y: Operand) -> Tensor:
    """x where the condition is True, else y, elementwise.

    Args:
        condition: array-like of bool.
        x, y: array-like, numeric. All three shapes broadcast together.

    Returns:
        Tensor of the broadcast shape and of dtype np.result_type(x, y).

    Gradient: dx = grad where the condition is True, else 0; dy = 0 where it is True, else grad. The
    gradient of an operand that was broadcast is summed over its copies.

    Raises:
        DTypeError: the condition is not bool.
        ShapeError: the shapes do not broadcast.
        NotSupported: an operand is None or a string.

    Source: numpy.where, torch.where.

    >>> x = tt.Tensor([-1.0, 2.0])
    >>> tt.where(x > 0, x, 0)
    Tensor([0., 2.], dtype=float32)
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
    """x limited to the range from min to max, elementwise; NaN stays NaN.

    Args:
        x: array-like, any shape, numeric.
        min, max: array-like whose shape broadcasts with x's; None means no limit. The result is NaN
            where a limit is NaN.

    Returns:
        Tensor of the broadcast shape and of dtype np.result_type(x, min, max).

    Gradient: dx = grad where x is within the limits, else 0; a limit that is a tensor gets grad
    where it replaced x.

    Raises:
        ShapeError: the shapes do not broadcast.
        DTypeError: a limit is not a real number.
        NotSupported: x is None or a string.

    Source: numpy.clip, torch.clamp; tt.clamp is the same function.

    >>> tt.clip([-1.0, 0.5, 2.0], 0, 1)
    Tensor([0. , 0.5, 1. ], dtype=float32)
    """
    x = as_tensor("clip", x)
    if min is None and max is None:
        return clone(x)
    if min is not None:
        x, low = as_alike("clip", x, min)
        broadcast_shape("clip", x, low, names=("x", "min"))
        x = where(logical_or(greater_equal(x, low), isnan(x)), x, low)
    if max is not None:
        x, high = as_alike("clip", x, max)
        broadcast_shape("clip", x, high, names=("x", "max"))
        x = where(logical_or(less_equal(x, high), isnan(x)), x, high)
    return x


def masked_fill(x: Operand, mask: Operand, value: Operand) -> Tensor:
    """The value where the mask is True, else x, elementwise.

    Args:
        x: array-like, any shape, numeric.
        mask: array-like of bool whose shape broadcasts to x's.
        value: array-like whose shape broadcasts with x's; usually a number.

    Returns:
        Tensor of x's shape.

    Gradient: dx = 0 where the mask is True, else grad; a value that is a tensor gets grad where the
    mask is True.

    Raises:
        ShapeError: the mask does not broadcast to x's shape, or the value not with it.
        DTypeError: the mask is not bool.
        NotSupported: x or mask is None or a string.

    Source: torch.masked_fill.

    >>> tt.masked_fill([1.0, 2.0, 3.0], [False, True, False], 0)
    Tensor([1., 0., 3.], dtype=float32)
    """
    x, mask = as_tensor("masked_fill", x), as_tensor("masked_fill", mask)
    if not broadcasts_to(mask.shape, x.shape):
        raise ShapeError.drawn(
            "masked_fill: the mask doesn't fit",
            {"x": (x.shape, ()), "mask": (mask.shape, ())},
            "a mask that broadcasts to x's shape is needed",
        )
    if mask.dtype != BOOL:
        raise DTypeError(f"masked_fill: got a mask of {mask.dtype}; bool is needed: x != 0")
    fill, x = as_alike("masked_fill", value, x)
    broadcast_shape("masked_fill", x, fill, names=("x", "value"))
    return where(mask, fill, x)


# By the formula: gradients come from the ops they are made of -----------------------------------


def not_equal(x: Operand, y: Operand) -> Tensor:
    """True where x != y, elementwise.

    Args:
        x, y: array-like, shapes that broadcast together, numeric.

    Returns:
        Tensor of the broadcast shape, bool.

    Gradient: none.

    Raises:
        ShapeError: the shapes do not broadcast.
        DTypeError: an operand does not hold real numbers.
        NotSupported: an operand is None or a string.

    Source: numpy.not_equal, torch.ne; the operator x != y.
    """
    x, y = as_alike("not_equal", x, y, compared=True)
    broadcast_shape("not_equal", x, y)
    return logical_not(equal(x, y))


def logical_not(x: Operand) -> Tensor:
    """True where x is 0 or False, elementwise.

    Args:
        x: array-like, any shape, numeric.

    Returns:
        Tensor of x's shape, bool.

    Gradient: none.

    Raises:
        DTypeError: x does not hold real numbers.
        NotSupported: x is None or a string.

    Source: numpy.logical_not, torch.logical_not; the operator ~x for bool.

    >>> tt.logical_not([True, False])
    Tensor([False,  True], dtype=bool)
    """
    return equal(as_tensor("logical_not", x), 0)


def logical_and(x: Operand, y: Operand) -> Tensor:
    """True where neither x nor y is 0, elementwise.

    Args:
        x, y: array-like, shapes that broadcast together, numeric.

    Returns:
        Tensor of the broadcast shape, bool.

    Gradient: none.

    Raises:
        ShapeError: the shapes do not broadcast.
        DTypeError: an operand does not hold real numbers.
        NotSupported: an operand is None or a string.

    Source: numpy.logical_and, torch.logical_and; the operator x & y for bool.

    >>> tt.logical_and([True, True], [True, False])
    Tensor([ True, False], dtype=bool)
    """
    return mul(*_truths("logical_and", x, y))


def logical_or(x: Operand, y: Operand) -> Tensor:
    """True where x or y, or both, are not 0, elementwise.

    Args:
        x, y: array-like, shapes that broadcast together, numeric.

    Returns:
        Tensor of the broadcast shape, bool.

    Gradient: none.

    Raises:
        ShapeError: the shapes do not broadcast.
        DTypeError: an operand does not hold real numbers.
        NotSupported: an operand is None or a string.

    Source: numpy.logical_or, torch.logical_or; the operator x | y for bool.

    >>> tt.logical_or([True, False], [False, False])
    Tensor([ True, False], dtype=bool)
    """
    return maximum(*_truths("logical_or", x, y))


def logical_xor(x: Operand, y: Operand) -> Tensor:
    """True where exactly one of x and y is not 0, elementwise.

    Args:
        x, y: array-like, shapes that broadcast together, numeric.

    Returns:
        Tensor of the broadcast shape, bool.

    Gradient: none.

    Raises:
        ShapeError: the shapes do not broadcast.
        DTypeError: an operand does not hold real numbers.
        NotSupported: an operand is None or a string.

    Source: numpy.logical_xor, torch.logical_xor; the operator x ^ y for bool.
    """
    return not_equal(*_truths("logical_xor", x, y))


def _truths(op: str, x: Operand, y: Operand) -> tuple[Tensor, Tensor]:
    """True where x is not 0, and where y is not 0."""
    x, y = not_equal(as_tensor(op, x), 0), not_equal(as_tensor(op, y), 0)
    broadcast_shape(op, x, y)
    return x, y


def isnan(x: Operand) -> Tensor:
    """True where x is NaN, elementwise.

    Args:
        x: array-like, any shape, numeric.

    Returns:
        Tensor of x's shape, bool.

    Gradient: none.

    Raises:
        DTypeError: x does not hold real numbers.
        NotSupported: x is None or a string.

    Source: numpy.isnan, torch.isnan.

    >>> tt.isnan([1.0, float("nan")])
    Tensor([False,  True], dtype=bool)
    """
    x = as_tensor("isnan", x)
    return not_equal(x, x)


def isfinite(x: Operand) -> Tensor:
    """True where x is neither NaN nor infinite, elementwise.

    Args:
        x: array-like, any shape, numeric.

    Returns:
        Tensor of x's shape, bool.

    Gradient: none.

    Raises:
        DTypeError: x does not hold real numbers.
        NotSupported: x is None or a string.

    Source: numpy.isfinite, torch.isfinite.
    """
    return less(abs(as_float("isfinite", x)), math.inf)


def isinf(x: Operand) -> Tensor:
    """True where x is inf or -inf, elementwise.

    Args:
        x: array-like, any shape, numeric.

    Returns:
        Tensor of x's shape, bool.

    Gradient: none.

    Raises:
        DTypeError: x does not hold real numbers.
        NotSupported: x is None or a string.

    Source: numpy.isinf, torch.isinf.
    """
    return equal(abs(as_float("isinf", x)), math.inf)


def isclose(
    x: Operand, y: Operand, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Tensor:
    """True where x and y are almost equal: `|x - y| <= atol + rtol * |y|`, elementwise.

    Args:
        x, y: array-like, shapes that broadcast together, numeric. An infinity is close to itself
            only.
        rtol, atol: numbers, the tolerance relative to y and the absolute one.
        equal_nan: True if NaN is close to NaN.

    Returns:
        Tensor of the broadcast shape, bool.

    Gradient: none.

    Raises:
        ShapeError: the shapes do not broadcast.
        SettingError: a tolerance is not a number.
        GradientError: a tolerance is a tensor that requires a gradient.
        DTypeError: an operand does not hold real numbers.
        NotSupported: an operand is None or a string.

    Source: numpy.isclose, torch.isclose.

    >>> tt.isclose([1.0, 2.0], [1.0000001, 2.1])
    Tensor([ True, False], dtype=bool)
    """
    return _isclose("isclose", x, y, rtol, atol, equal_nan)


def allclose(
    x: Operand, y: Operand, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> bool:
    """True if all elements of x and y are almost equal, see isclose.

    Args:
        x, y: array-like, shapes that broadcast together, numeric.
        rtol, atol: numbers, the tolerance relative to y and the absolute one.
        equal_nan: True if NaN is close to NaN.

    Returns:
        bool.

    Gradient: none.

    Raises:
        ShapeError: the shapes do not broadcast.
        SettingError: a tolerance is not a number.
        GradientError: a tolerance is a tensor that requires a gradient.
        DTypeError: an operand does not hold real numbers.
        NotSupported: an operand is None or a string.
        CaptureError: a captured step is being recorded, and a recorded step can't read values.

    Source: numpy.allclose, torch.allclose.

    >>> tt.allclose([1.0, 2.0], [1.0000001, 2.0])
    True
    """
    recorder.refuse_to_read("allclose()")
    return bool(_isclose("allclose", x, y, rtol, atol, equal_nan).array.all())


def _isclose(op: str, x: Operand, y: Operand, rtol: float, atol: float, equal_nan: bool) -> Tensor:
    x, y = as_alike(op, x, y, floats=True)
    broadcast_shape(op, x, y)
    x, y = x.detach(), y.detach()
    most = real(op, "atol", atol) + real(op, "rtol", rtol) * abs(y)
    with np.errstate(invalid="ignore"):  # inf - inf is NaN, and not close
        near = logical_and(less_equal(abs(x - y), most), isfinite(y))
    close = logical_or(near, equal(x, y))
    return logical_or(close, logical_and(isnan(x), isnan(y))) if equal_nan else close


def square(x: Operand) -> Tensor:
    """x * x, elementwise.

    Args:
        x: array-like, any shape, numeric.

    Returns:
        Tensor of x's shape and dtype.

    Gradient: dx = grad * 2 * x.

    Raises:
        DTypeError: x does not hold real numbers.
        NotSupported: x is None or a string.

    Source: numpy.square, torch.square.

    >>> tt.square([1.0, -3.0])
    Tensor([1., 9.], dtype=float32)
    """
    x = as_tensor("square", x)
    return mul(x, x)


def reciprocal(x: Operand) -> Tensor:
    """1 / x, elementwise; integers become floats.

    Args:
        x: array-like, any shape; integers become floats.

    Returns:
        Tensor of x's shape, float.

    Gradient: dx = -grad / x^2.

    Raises:
        DTypeError: x does not hold real numbers.
        NotSupported: x is None or a string.

    Source: numpy.reciprocal, torch.reciprocal.
    """
    return div(1, as_tensor("reciprocal", x))


def rsqrt(x: Operand) -> Tensor:
    """1 / sqrt(x), elementwise; infinite at 0, NaN below 0.

    Args:
        x: array-like, any shape; integers become floats.

    Returns:
        Tensor of x's shape, float.

    Gradient: dx = -grad / (2 * x^(3/2)).

    Raises:
        DTypeError: x does not hold real numbers.
        NotSupported: x is None or a string.

    Source: torch.rsqrt.
    """
    return reciprocal(sqrt(as_float("rsqrt", x)))


def leaky_relu(x: Operand, slope: float = 0.01) -> Tensor:
    """x where x > 0, else slope * x, elementwise.

    Args:
        x: array-like, any shape; integers become floats.
        slope: number, the factor where x <= 0.

    Returns:
        Tensor of x's shape, float.

    Gradient: dx = grad where x > 0, else grad * slope.

    Raises:
        DTypeError: x or the slope does not hold real numbers.
        NotSupported: it is None or a string.

    Source: torch.nn.functional.leaky_relu; Maas, Hannun and Ng, "Rectifier nonlinearities improve
    neural network acoustic models", 2013.

    >>> tt.leaky_relu([-1.0, 2.0], slope=0.1)
    Tensor([-0.1,  2. ], dtype=float32)
    """
    x, factor = as_alike("leaky_relu", as_float("leaky_relu", x), slope)
    broadcast_shape("leaky_relu", x, factor, names=("x", "slope"))
    return where(greater(x, 0), x, factor * x)


def elu(x: Operand, alpha: float = 1.0) -> Tensor:
    """x where x > 0, else alpha * (e^x - 1), elementwise.

    Args:
        x: array-like, any shape; integers become floats.
        alpha: number; the result approaches -alpha for large negative x.

    Returns:
        Tensor of x's shape, float.

    Gradient: dx = grad where x > 0, else grad * alpha * e^x.

    Raises:
        DTypeError: x or alpha does not hold real numbers.
        NotSupported: it is None or a string.

    Source: torch.nn.functional.elu; Clevert, Unterthiner and Hochreiter, "Exponential linear
    units", 2015.
    """
    x, factor = as_alike("elu", as_float("elu", x), alpha)
    broadcast_shape("elu", x, factor, names=("x", "alpha"))
    return where(greater(x, 0), x, factor * expm1(clip(x, max=0)))


def clone(x: Operand) -> Tensor:
    """A copy of x that shares no memory with it.

    Args:
        x: array-like, any shape, numeric.

    Returns:
        Tensor of x's shape and dtype.

    Gradient: dx = grad.

    Raises:
        DTypeError: x does not hold real numbers.
        NotSupported: x is None or a string.

    Source: torch.clone, numpy.copy. Unlike x.detach(), gradients flow through it.

    >>> x = tt.Tensor([1.0, 2.0])
    >>> y = tt.clone(x)
    >>> y[0] = 5.0
    >>> x
    Tensor([1., 2.], dtype=float32)
    """
    return broadcast_to(x, as_tensor("clone", x).shape, copy=True)
