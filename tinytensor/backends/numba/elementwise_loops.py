"""Broadcasting, and element by element.

`pairs` and `each` hold the loops, once; the functions of numbers say what is computed, and are
compiled into them. Whole numbers in them are made x's kind: Numba computes in float64 what joins
float32 with int64.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinytensor.arrays import Array
from tinytensor.backends.lowering import Lowered, LoweredKernel, lowered
from tinytensor.backends.numba.compiling import kernel, part
from tinytensor.backends.numba.exponential import exponential
from tinytensor.backends.numba.places import broadcast_places, offset
from tinytensor.backends.numba.tile import number, put_number


def pairs(
    function: Callable[[Any, Any], Any], result: str = "real"
) -> LoweredKernel[[Array, Array, Array]]:
    """A kernel that computes one number from two, broadcast."""
    one = part(function)

    def loops(x, y, out, shape, x_strides, y_strides):
        last = len(shape) - 1
        C, x_step, y_step = shape[last], x_strides[last], y_strides[last]
        for r in range(len(out) // max(C, 1)):
            i = offset(r, last, shape, x_strides)
            j = offset(r, last, shape, y_strides)
            # Along a row x and y move on or stay; only a loop that knows which is vectorised.
            if x_step == 1 and y_step == 1:
                for c in range(C):
                    put_number(out, r * C + c, one(number(x, i + c), number(y, j + c)))
            elif x_step == 1:
                for c in range(C):
                    put_number(out, r * C + c, one(number(x, i + c), number(y, j)))
            else:
                for c in range(C):
                    put_number(out, r * C + c, one(number(x, i), number(y, j + c)))

    loops.__name__ = function.__name__
    sizes = "int64[::1], int64[::1], int64[::1]"
    compiled = kernel(f"real[::1], real[::1], {result}[::1], {sizes}")(loops)

    @lowered
    def call(x: Array, y: Array, out: Array) -> Lowered:
        places = broadcast_places(x.shape, y.shape, out.shape)
        return compiled, (x.reshape(-1), y.reshape(-1), out.reshape(-1), *places)

    return call


def compare(function: Callable[[Any, Any], Any]) -> LoweredKernel[[Array, Array, Array]]:
    """pairs, for results that are true or false."""
    return pairs(function, "boolean")


def each(function: Callable[[Any], Any]) -> LoweredKernel[[Array, Array]]:
    """A kernel that computes one number from one."""
    one = part(function)

    def loop(x, out):
        for i in range(len(x)):
            out[i] = one(x[i])

    loop.__name__ = function.__name__
    compiled = kernel("real[::1], real[::1]")(loop)

    @lowered
    def call(x: Array, out: Array) -> Lowered:
        return compiled, (x.reshape(-1), out.reshape(-1))

    return call


@pairs
def add(x, y):
    return x + y


@pairs
def sub(x, y):
    return x - y


@pairs
def mul(x, y):
    return x * y


@pairs
def div(x, y):
    return x / y


@pairs
def floor_div(x, y):
    # Dividing and rounding down may give the next whole number where the quotient is rounded up to
    # it; without the remainder the division is exact.
    if y == 0:
        return x / y
    rest = np.fmod(x, y)
    quotient = (x - rest) / y
    if rest != 0 and (rest < 0) != (y < 0):
        quotient -= type(x)(1)
    return math.copysign(type(x)(0), x / y) if quotient == 0 else np.rint(quotient)


@pairs
def mod(x, y):
    rest = np.fmod(x, y)
    if rest == 0:
        return math.copysign(rest, y)
    return rest + y if (rest < 0) != (y < 0) else rest


@pairs
def pow(x, y):
    return x**y


@pairs
def maximum(x, y):
    return x if x > y or x != x else y  # a NaN is neither larger nor smaller, but wins


@pairs
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


@each
def neg(x):
    return -x


@each
def exp(x):
    return exponential(x)


@each
def log(x):
    return np.log(x)


@part
def rectified(x):
    return type(x)(0) if x < 0 else x


@each
def relu(x):
    return rectified(x)


@each
def sigmoid(x):
    e = exponential(-np.abs(x))  # never e of a positive number: that would overflow
    one = type(x)(1)
    return (e if x < 0 else one) / (one + e)


@pairs
def add_relu(x, y):
    return rectified(x + y)


@each
def abs(x):
    return np.abs(x)


@each
def sign(x):
    one = type(x)(1)
    return one if x > 0 else -one if x < 0 else type(x)(0) if x == 0 else x


@each
def sqrt(x):
    return np.sqrt(x)


@each
def expm1(x):
    return math.expm1(x)


@each
def log1p(x):
    return np.log1p(x)


@each
def sin(x):
    return math.sin(x)


@each
def cos(x):
    return math.cos(x)


@each
def tanh(x):
    return math.tanh(x)


@each
def erf(x):
    return math.erf(x)


@each
def floor(x):
    return np.floor(x)


@each
def ceil(x):
    return np.ceil(x)


@each
def round(x):
    return np.rint(x)


@lowered
def relu_backward(grad: Array, x: Array, out: Array) -> Lowered:
    return _relu_backward, (grad.reshape(-1), x.reshape(-1), out.reshape(-1))


@kernel("real[::1], real[::1], real[::1]")
def _relu_backward(grad, x, out):
    for i in range(len(x)):
        out[i] = grad[i] if x[i] > 0 else 0


@lowered
def where(condition: Array, x: Array, y: Array, out: Array) -> Lowered:
    return _where, (x.reshape(-1), y.reshape(-1), condition.reshape(-1), out.reshape(-1))


@kernel("real[::1], real[::1], boolean[::1], real[::1]")
def _where(x, y, condition, out):
    for i in range(len(out)):
        from_x, from_y = x[i], y[i]  # both are read, so that there is no branch
        out[i] = from_x if condition[i] else from_y
