"""Elementwise kernels: out[i] = f(x[i]) and out[i] = f(x[i], y[i]), with broadcasting.

`unary` and `binary` contain the loops. The decorated functions compute one element and are compiled
into the loops. Integer constants in them are converted to the dtype of x, because Numba computes
float32 with int64 in float64.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinytensor.arrays import Array
from tinytensor.backends.lowering import Lowered, LoweredKernel, lowered
from tinytensor.backends.numba import functions
from tinytensor.backends.numba.compiling import kernel, subroutine
from tinytensor.backends.numba.exponential import exponential
from tinytensor.backends.numba.strides import broadcast_strides, flat, offset
from tinytensor.backends.numba.tile import item, set_item

SHORT = 64  # elements; a loop over a shorter row takes longer to start than to run
LONG = 256  # elements of a repeated row
MANY = 16 * LONG  # elements; smaller arrays do not repay the time for the repeated row


@subroutine
def _long_rows(x, y, shape, x_strides, y_strides):
    """Return the operands of a broadcast, their shape and strides, with longer rows if possible.

    If one operand is a short row that is broadcast to all rows of the other, such as a bias with
    few channels, the row is repeated, and rows of the other operand are merged. The last merged row
    may reach beyond the end.
    """
    if len(shape) == 2 and shape[1] <= SHORT and shape[0] * shape[1] >= MANY:
        C, steps = shape[1], (x_strides[1], y_strides[1])
        if steps == (1, 1) and (x_strides[0] == 0 or y_strides[0] == 0):
            times = LONG // C
            shape = np.array([-(-shape[0] // times), times * C])
            whole, repeated = np.array([times * C, 1]), np.array([0, 1])
            if x_strides[0] == 0:
                return _repeated(x, C, times), y, shape, repeated, whole
            return x, _repeated(y, C, times), shape, whole, repeated
    return x, y, shape, x_strides, y_strides


@subroutine
def _repeated(x, C, times):
    row = np.empty(times * C, x.dtype)
    for i in range(len(row)):
        row[i] = x[i % C]
    return row


def binary(
    function: Callable[[Any, Any], Any], result: str = "real"
) -> LoweredKernel[[Array, Array, Array]]:
    """Return a kernel that computes function(x[i], y[i]) with broadcasting."""
    one = subroutine(function)

    def loops(x, y, out, shape, x_strides, y_strides):
        x, y, shape, x_strides, y_strides = _long_rows(x, y, shape, x_strides, y_strides)
        last = len(shape) - 1
        row, x_step, y_step = shape[last], x_strides[last], y_strides[last]
        for r in range(shape[0] if last == 1 else len(out) // max(row, 1)):
            i = offset(r, last, shape, x_strides)
            j = offset(r, last, shape, y_strides)
            C = min(row, len(out) - r * row)
            # Along a row an operand has stride 1 or 0. There is a loop for each case, because the
            # compiler vectorises only constant strides.
            if x_step == 1 and y_step == 1:
                for c in range(C):
                    set_item(out, r * row + c, one(item(x, i + c), item(y, j + c)))
            elif x_step == 1:
                for c in range(C):
                    set_item(out, r * row + c, one(item(x, i + c), item(y, j)))
            else:
                for c in range(C):
                    set_item(out, r * row + c, one(item(x, i), item(y, j + c)))

    loops.__name__ = function.__name__
    sizes = "int64[::1], int64[::1], int64[::1]"
    compiled = kernel(f"real[::1], real[::1], {result}[::1], {sizes}")(loops)

    @lowered
    def call(x: Array, y: Array, out: Array) -> Lowered:
        places = broadcast_strides(x.shape, y.shape, out.shape)
        return compiled, (flat(x), flat(y), flat(out), *places)

    return call


def compare(function: Callable[[Any, Any], Any]) -> LoweredKernel[[Array, Array, Array]]:
    """Return a kernel that computes function(x[i], y[i]) as bool."""
    return binary(function, "boolean")


def unary(function: Callable[[Any], Any]) -> LoweredKernel[[Array, Array]]:
    """Return a kernel that computes function(x[i])."""
    one = subroutine(function)

    def loop(x, out):
        for i in range(len(x)):
            out[i] = one(x[i])

    loop.__name__ = function.__name__
    compiled = kernel("real[::1], real[::1]")(loop)

    @lowered
    def call(x: Array, out: Array) -> Lowered:
        return compiled, (flat(x), flat(out))

    return call


@binary
def add(x, y):
    return x + y


@binary
def sub(x, y):
    return x - y


@binary
def mul(x, y):
    return x * y


@binary
def div(x, y):
    return x / y


@binary
def floor_div(x, y):
    # floor(x / y) can be 1 too large, because x / y is rounded. (x - remainder) / y is exact.
    if y == 0:
        return x / y
    rest = np.fmod(x, y)
    quotient = (x - rest) / y
    if rest != 0 and (rest < 0) != (y < 0):
        quotient -= type(x)(1)
    return math.copysign(type(x)(0), x / y) if quotient == 0 else np.rint(quotient)


@binary
def mod(x, y):
    rest = np.fmod(x, y)
    if rest == 0:
        return math.copysign(rest, y)
    return rest + y if (rest < 0) != (y < 0) else rest


@binary
def pow(x, y):
    return functions.power(x, y)


@binary
def maximum(x, y):
    return x if x > y or x != x else y  # NaN if x or y is NaN: x > NaN is false


@binary
def minimum(x, y):
    return x if x < y or x != x else y


@compare
def equal(x, y):
    return x == y


@compare
def less(x, y):
    return x < y


@compare
def less_equal(x, y):
    return x <= y


@unary
def neg(x):
    return -x


@unary
def exp(x):
    return exponential(x)


@unary
def log(x):
    return functions.log(x)


@subroutine
def rectified(x):
    return type(x)(0) if x < 0 else x


@unary
def relu(x):
    return rectified(x)


@subroutine
def logistic(x):
    e = exponential(-np.abs(x))  # e^-x would overflow for large negative x
    one = type(x)(1)
    return (e if x < 0 else one) / (one + e)


@unary
def sigmoid(x):
    return logistic(x)


@binary
def add_relu(x, y):
    return rectified(x + y)


@unary
def abs(x):
    return np.abs(x)


@unary
def sign(x):
    one = type(x)(1)
    return one if x > 0 else -one if x < 0 else type(x)(0) if x == 0 else x


@unary
def sqrt(x):
    return np.sqrt(x)


@unary
def expm1(x):
    return functions.expm1(x)


@unary
def log1p(x):
    return functions.log1p(x)


SINES = 256  # elements in a block


def sines(library: Callable[[Any], Any], quarters: int) -> LoweredKernel[[Array, Array]]:
    """Return a kernel that computes sin(x[i] + quarters * pi / 2), which is library(x[i]).

    The C library computes a block with a number for which sin_of_quarters is not exact, and any
    block of float64.
    """

    def loop(x, out):
        for first in range(0, len(x), SINES):
            last = min(first + SINES, len(x))
            near = x.itemsize == 4  # float32
            for i in range(first, last):
                near &= np.abs(x[i]) < functions.FAR
            if near:
                for i in range(first, last):
                    out[i] = functions.sin_of_quarters(x[i], quarters)
            else:
                for i in range(first, last):
                    out[i] = library(x[i])

    loop.__name__ = library.__name__
    compiled = kernel("real[::1], real[::1]")(loop)

    @lowered
    def call(x: Array, out: Array) -> Lowered:
        return compiled, (flat(x), flat(out))

    return call


sin, cos = sines(math.sin, 0), sines(math.cos, 1)


@unary
def tanh(x):
    return functions.tanh(x)


@unary
def erf(x):
    return functions.erf(x)


@unary
def gelu(x):
    return functions.gelu(x)


@unary
def silu(x):
    return functions.silu(x)


@unary
def softplus(x):
    return functions.softplus(x)


@unary
def floor(x):
    return np.floor(x)


@unary
def ceil(x):
    return np.ceil(x)


@unary
def round(x):
    return np.rint(x)


def backward(function: Callable[[Any, Any], Any]) -> LoweredKernel[[Array, Array, Array]]:
    """Return a kernel that computes function(grad[i], x[i])."""
    one = subroutine(function)

    def loop(grad, x, out):
        for i in range(len(x)):
            out[i] = one(grad[i], x[i])

    loop.__name__ = function.__name__
    compiled = kernel("real[::1], real[::1], real[::1]")(loop)

    @lowered
    def call(grad: Array, x: Array, out: Array) -> Lowered:
        return compiled, (flat(grad), flat(x), flat(out))

    return call


@backward
def relu_backward(grad, x):
    return grad if x > 0 else type(x)(0)


@backward
def gelu_backward(grad, x):
    return grad * functions.gelu_slope(x)


@backward
def silu_backward(grad, x):
    y = type(x)(-800) if x < -800 else type(x)(800) if x > 800 else x  # infinity * 0 is NaN
    s = logistic(y)
    return grad * (s + y * s * logistic(-y))


@backward
def softplus_backward(grad, x):
    return grad * logistic(x)


@lowered
def where(condition: Array, x: Array, y: Array, out: Array) -> Lowered:
    return _where, (flat(x), flat(y), flat(condition), flat(out))


@kernel("real[::1], real[::1], boolean[::1], real[::1]")
def _where(x, y, condition, out):
    for i in range(len(out)):
        from_x, from_y = x[i], y[i]  # both are read, because a loop without a branch is vectorised
        out[i] = from_x if condition[i] else from_y
