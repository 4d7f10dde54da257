"""The Numba backend: every kernel as plain loops, compiled at its first call.

What Python loops over number by number is slow; compiled by Numba, the same text runs at the
machine's speed. How and when it is compiled stands in numba_compile.py. Where most of the time is
spent, in matmul and convolutions, the loops are those of numba_tile.py. The shapes stand in
tinytensor/kernels.py.

A kernel whose arrays may have any number of axes gets flat views and, from axes.py, the sizes and
strides of the few axes it has to walk. One thread computes all.
"""

import builtins
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import lru_cache, partial
from typing import Any

import numpy as np

from tinytensor.backends.axes import Sizes, broadcast, permutation, reduction
from tinytensor.errors import BackendUnavailable
from tinytensor.kernels import Array, OnNumPy

try:
    import numba
    from numba import types
    from numba.extending import overload
except Exception as error:  # also of the LLVM library that it loads
    raise BackendUnavailable(
        f"numba: the backend can't be used: {error}; mend it with: pip install --upgrade numba"
    ) from None
if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
    raise BackendUnavailable(
        "numba: the backend can't be used: NUMBA_DISABLE_JIT is set; mend it with: "
        "unset NUMBA_DISABLE_JIT"
    )

from tinytensor.backends.numba_compile import (
    REASSOCIATE,
    BoundCall,
    kernel,
    noting,
    part,
    spent,
)
from tinytensor.backends.numba_tile import (
    LANES,
    ROWS,
    load_part,
    narrowed,
    number,
    plus,
    products,
    products_of_few_columns,
    put_number,
    store_part,
    widened,
    zeros,
)  # fmt: skip

Pair = tuple[int, int]


@lru_cache(maxsize=1024)
def _sizes(sizes: Sizes) -> Array:
    return np.array(sizes, np.int64)


@part
def _offset(index, axes, shape, strides):
    """Counting through the first `axes` axes, last fastest: where does count `index` stand?"""
    place = 0
    for axis in range(axes - 1, 0, -1):
        place += index % shape[axis] * strides[axis]
        index //= shape[axis]
    return place + index * strides[0] if axes else place


@part
def _like(x, value):
    """A number of x's kind: with float64 among them, Numba computes in float64."""
    return x.dtype.type(value)


# Broadcasting, and element by element. `pairs` and `each` hold the loops, once; the functions of
# numbers say what is computed, and are compiled into them. Whole numbers in them are made x's kind:
# Numba computes in float64 what joins float32 with int64.


def pairs(function: Callable[[Any, Any], Any], result: str = "real") -> Callable[..., None]:
    """A kernel that computes one number from two, broadcast."""
    one = part(function)

    def loops(x, y, out, shape, x_strides, y_strides):
        last = len(shape) - 1
        C, x_step, y_step = shape[last], x_strides[last], y_strides[last]
        for r in range(len(out) // max_of(C, 1)):
            i = _offset(r, last, shape, x_strides)
            j = _offset(r, last, shape, y_strides)
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

    def call(x: Array, y: Array, out: Array) -> None:
        places = _broadcast(x.shape, y.shape, out.shape)
        compiled(x.reshape(-1), y.reshape(-1), out.reshape(-1), *places)

    return call


max_of, min_of = builtins.max, builtins.min  # whose names are kernels' here


@lru_cache(maxsize=1024)
def _broadcast(x: Sizes, y: Sizes, out: Sizes) -> tuple[Array, ...]:
    return tuple(map(_sizes, broadcast(x, y, out)))


@lru_cache(maxsize=1024)
def _reduction(x: Sizes, out: Sizes) -> tuple[Array, ...]:
    return tuple(map(_sizes, reduction(x, out)))


def compare(function: Callable[[Any, Any], Any]) -> Callable[..., None]:
    """pairs, for results that are true or false."""
    return pairs(function, "boolean")


def each(function: Callable[[Any], Any]) -> Callable[[Array, Array], None]:
    """A kernel that computes one number from one."""
    one = part(function)

    def loop(x, out):
        for i in range(len(x)):
            out[i] = one(x[i])

    loop.__name__ = function.__name__
    compiled = kernel("real[::1], real[::1]")(loop)

    def call(x: Array, out: Array) -> None:
        compiled(x.reshape(-1), out.reshape(-1))

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


@part
def _power_of_two(n):
    return np.int32((n + np.int32(127)) << np.int32(23)).view(np.float32)  # a float's exponent


LARGE = np.float32(1.5 * 2**23)
LARGE_BITS = LARGE.view(np.int32)


@part
def _exp_of_float(x):
    """e^x in plain arithmetic, so that a loop over it is vectorised.

    x = n ln 2 + r with a whole n and |r| <= ln 2 / 2, so e^x = 2^n e^r. For so small an r the
    Taylor series up to r^7 leaves an error of 5e-9, a tenth of what float can tell.
    """
    # Beyond these the result is infinity and 0 anyway. A NaN fails both comparisons, and stays.
    x = np.float32(89) if x > np.float32(89) else x
    x = np.float32(-104) if x < np.float32(-104) else x
    # Adding LARGE leaves no room for a fraction: the last bits are x / ln 2, rounded.
    shifted = np.float32(x * np.float32(1 / math.log(2)) + LARGE)
    n = np.int32(shifted.view(np.int32) - LARGE_BITS)
    whole = shifted - LARGE
    # ln 2 in two parts: n times the first is exact.
    r = (x - whole * np.float32(0.693145752)) - whole * np.float32(1.42860677e-6)
    tail = np.float32(1 / 5040)
    tail = tail * r + np.float32(1 / 720)
    tail = tail * r + np.float32(1 / 120)
    tail = tail * r + np.float32(1 / 24)
    tail = tail * r + np.float32(1 / 6)
    tail = tail * r + np.float32(1 / 2)
    power = np.float32(1) + (r + r * r * tail)
    # 2^n may be beyond float where e^x is not: multiply in two steps.
    half = n >> np.int32(1)
    return power * _power_of_two(half) * _power_of_two(n - half)


def exponential(x):
    """e^x, of a number in a kernel"""
    return math.exp(x)


@overload(exponential)
def _exponential(x):
    if x == types.float32:
        return lambda x: _exp_of_float(x)
    return lambda x: math.exp(x)


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


def relu_backward(grad: Array, x: Array, out: Array) -> None:
    _relu_backward(grad.reshape(-1), x.reshape(-1), out.reshape(-1))


@kernel("real[::1], real[::1], real[::1]")
def _relu_backward(grad, x, out):
    for i in range(len(x)):
        out[i] = grad[i] if x[i] > 0 else 0


def where(condition: Array, x: Array, y: Array, out: Array) -> None:
    _where(x.reshape(-1), y.reshape(-1), condition.reshape(-1), out.reshape(-1))


@kernel("real[::1], real[::1], boolean[::1], real[::1]")
def _where(x, y, condition, out):
    for i in range(len(out)):
        from_x, from_y = x[i], y[i]  # both are read, so that there is no branch
        out[i] = from_x if condition[i] else from_y


# Reductions and layout


def sum(x: Array, out: Array) -> None:
    _sum(x.reshape(-1), out.reshape(-1), *_reduction(x.shape, out.shape))


REDUCTION = "real[::1], real[::1], int64[::1], int64[::1], int64[::1], int64[::1]"


@part
def _product(sizes):
    result = 1
    for size in sizes:
        result *= size
    return result


@kernel(REDUCTION, REASSOCIATE)
def _sum(x, out, kept, kept_strides, gone, gone_strides):
    terms, last = _product(gone), len(gone) - 1
    inner, step = gone[last], gone_strides[last]
    outer = terms // max_of(inner, 1)
    if kept_strides[-1] == 1:  # the columns of rows are added up, side by side in a register
        C = kept[-1]
        for first in range(0, len(out), max_of(C, 1)):
            base = _offset(first // C, len(kept) - 1, kept, kept_strides)
            for c in range(0, C, LANES):
                total = widened(zeros(x))
                for r in range(outer):
                    row = base + c + _offset(r, last, gone, gone_strides)
                    for i in range(inner):
                        total = plus(total, widened(load_part(x, row + i * step, C - c)))
                store_part(narrowed(total, out), out, first + c, C - c)
    else:  # each result comes of rows that lie in one piece
        for i in range(len(out)):
            base = _offset(i, len(kept), kept, kept_strides)
            one_total = 0.0
            for r in range(outer):
                row = base + _offset(r, last, gone, gone_strides)
                for c in range(inner):
                    one_total += number(x, row + c)
            out[i] = one_total


def choose(better: Callable[[Any, Any], Any]) -> Callable[[Array, Array], None]:
    """A kernel that takes one of many numbers, the better of two and two."""
    one = part(better)

    def loops(x, out, kept, kept_strides, gone, gone_strides):
        last = len(kept) - 1
        C, step = kept[last], kept_strides[last]
        for first in range(0, len(out), max_of(C, 1)):
            row = _offset(first // C, last, kept, kept_strides)
            for c in range(C):
                put_number(out, first + c, number(x, row + c * step))
            for term in range(1, _product(gone)):
                i = row + _offset(term, len(gone), gone, gone_strides)
                for c in range(C):
                    best = one(number(out, first + c), number(x, i + c * step))
                    put_number(out, first + c, best)

    loops.__name__ = better.__name__
    compiled = kernel(REDUCTION)(loops)

    def call(x: Array, out: Array) -> None:
        compiled(x.reshape(-1), out.reshape(-1), *_reduction(x.shape, out.shape))

    return call


@choose
def max(x, y):
    return x if x > y or x != x else y


@choose
def min(x, y):
    return x if x < y or x != x else y


def cumsum(x: Array, out: Array) -> None:
    _cumsum(x, out)


@kernel("real[:, ::1], real[:, ::1]")
def _cumsum(x, out):
    R, C = x.shape
    for r in range(R):
        total = -0.0  # -0 + x is x, also where x is -0
        for c in range(C):
            total += x[r, c]
            out[r, c] = total


def broadcast_to(x: Array, out: Array) -> None:
    shape, strides, _ = _broadcast(x.shape, out.shape, out.shape)
    _gather(x.reshape(-1), out.reshape(-1), shape, strides)


def argmax(x: Array, out: Array) -> None:
    _argmax(x, out)


@kernel("real[:, ::1], int64[::1]")
def _argmax(x, out):
    R, C = x.shape
    for r in range(R):
        best = 0
        for c in range(1, C):
            if x[r, best] != x[r, best]:  # a NaN
                break
            if not x[r, c] <= x[r, best]:
                best = c
        out[r] = best


def argmin(x: Array, out: Array) -> None:
    _argmin(x, out)


@kernel("real[:, ::1], int64[::1]")
def _argmin(x, out):
    R, C = x.shape
    for r in range(R):
        best = 0
        for c in range(1, C):
            if x[r, best] != x[r, best]:
                break
            if not x[r, c] >= x[r, best]:
                best = c
        out[r] = best


def transpose(x: Array, out: Array, axes: tuple[int, ...]) -> None:
    _gather(x.reshape(-1), out.reshape(-1), *map(_sizes, permutation(x.shape, axes)))


@kernel("real[::1], real[::1], int64[::1], int64[::1]")
def _gather(x, out, shape, strides):
    last = len(shape) - 1
    C, step = shape[last], strides[last]
    for r in range(len(out) // max_of(C, 1)):
        row = _offset(r, last, shape, strides)
        if step == 1:
            for c in range(C):
                put_number(out, r * C + c, number(x, row + c))
        else:
            for c in range(C):
                put_number(out, r * C + c, number(x, row + c * step))


def take(x: Array, index: Array, out: Array) -> None:
    _take(x, index, out)


@kernel("real[:, ::1], int64[::1], real[:, ::1]")
def _take(x, index, out):
    R, C = out.shape
    for r in range(R):
        row = x[index[r]]
        for c in range(C):
            out[r, c] = row[c]


def scatter_add(grad: Array, index: Array, out: Array) -> None:
    _scatter_add(grad, index, out)


@kernel("real[:, ::1], int64[::1], real[:, ::1]")
def _scatter_add(grad, index, out):
    out[:] = 0
    R, C = grad.shape
    for r in range(R):
        row = out[index[r]]
        for c in range(C):
            row[c] += grad[r, c]


def put(x: Array, index: Array, out: Array) -> None:
    _put(x, index, out)


@kernel("real[:, ::1], int64[::1], real[:, ::1]")
def _put(x, index, out):
    R, C = x.shape
    for r in range(R):
        row = out[index[r]]
        for c in range(C):
            row[c] = x[r, c]


def concat(x: Array, out: Array, start: int) -> None:
    _concat(x, out, start)


@kernel("real[:, :, ::1], real[:, :, ::1], int64")
def _concat(x, out, start):
    A, n, B = x.shape
    for a in range(A):
        for i in range(n):
            for b in range(B):
                out[a, start + i, b] = x[a, i, b]


# Linear algebra


LONG_SUMS = 128  # terms; fewer don't repay adding up a register's numbers in the end


def matmul(x: Array, y: Array, out: Array, transpose_x: bool, transpose_y: bool) -> None:
    B, (M, N) = math.prod(out.shape[:-2]), out.shape[-2:]
    K = x.shape[-2 if transpose_x else -1]
    x_row, x_column = (1, M) if transpose_x else (K, 1)
    y_row, y_column = (1, K) if transpose_y else (N, 1)
    flat_x, flat_y, flat_out = x.reshape(-1), y.reshape(-1), out.reshape(-1)
    if N < LANES and K >= LONG_SUMS and not transpose_x:
        products_of_few_columns(flat_x, flat_y, y_row, y_column, flat_out, B, M, K, N)
    elif transpose_x and N < LANES < M:
        # Lines of N numbers would leave a part of each register idle. The transpose of the result,
        # y^T . x, has long lines.
        products(
            flat_y, K * N, _rows(N, y_column), _places(K, y_row),
            flat_x, M * K, _places(K, x_column), x_row,
            flat_out, M * N, _places(N, 1), N, M, B, False,
        )  # fmt: skip
    else:
        products(
            flat_x, M * K, _rows(M, x_row), _places(K, x_column),
            flat_y, K * N, _places(K, y_row), y_column,
            flat_out, M * N, _places(M, N), 1, N, B, False,
        )  # fmt: skip


@lru_cache(maxsize=1024)
def _places(count: int, apart: int) -> Array:
    return np.arange(count) * apart


@lru_cache(maxsize=1024)
def _rows(count: int, apart: int) -> Array:
    return _full_tiles(_places(count, apart))


def _full_tiles(places: Array) -> Array:
    """The last place is repeated until there are full tiles of them."""
    return np.pad(places, (0, -len(places) % ROWS), "edge") if len(places) else places


# Convolution. Images are copied into frames of zeros, so that no window reaches outside, and the
# rest is a matter of places: in its frame, a number is where its pixel's window begins, and from
# there on as far as its weight tells.
#
#                      row                  k                       line of y
#     forward          pixel of the result  input of its window     the weights of an input
#     gradient of x    pixel of x           result it went to       the weights of a result
#     of the weights   input of a window    pixel of the result     the gradients of a pixel

FRAMES = 1 << 18  # numbers in the frames of as many images as are computed at once


def _pixels(rows: Array, columns: Array, channels: int, width: int) -> Array:
    """Where pixels begin in an image: of every one of `rows` those of `columns`, flat."""
    return ((rows[:, np.newaxis] * width + columns) * channels).reshape(-1)


def _numbers(pixels: Array, channels: int) -> Array:
    """Where the numbers of pixels are, flat."""
    return (pixels[:, np.newaxis] + np.arange(channels)).reshape(-1)


def _framed(x: Array, size: Pair, corner: Pair) -> Iterator[tuple[slice, Array]]:
    """A few images after the other: which ones, and their frames with the images at `corner`.

    What of an image doesn't fit into a frame is cut off.
    """
    N, H, W, C = x.shape
    at_once = builtins.max(1, FRAMES // builtins.max(1, math.prod(size) * C))
    frames = np.zeros((builtins.min(N, at_once), *size, C), x.dtype)
    inside = frames[:, corner[0] : corner[0] + H, corner[1] : corner[1] + W]
    height, width = inside.shape[1:3]
    for first in range(0, N, at_once):
        some = slice(first, builtins.min(N, first + at_once))
        inside[: some.stop - first] = x[some, :height, :width]
        yield some, frames.reshape(-1)


@lru_cache(maxsize=256)
def _windows(weight: Sizes, out: Sizes, stride: Pair) -> tuple[Pair, Array, Array]:
    """A frame's size; where its windows begin; and from there on, where its weights find inputs."""
    KH, KW, I, _ = weight  # noqa: E741
    _, OH, OW, _ = out
    size = (OH - 1) * stride[0] + KH, (OW - 1) * stride[1] + KW
    begins = _pixels(np.arange(OH) * stride[0], np.arange(OW) * stride[1], I, size[1])
    return size, begins, _numbers(_pixels(np.arange(KH), np.arange(KW), I, size[1]), I)


def conv2d(x: Array, weight: Array, out: Array, stride: Pair, padding: Pair) -> None:
    O = weight.shape[3]  # noqa: E741
    size, begins, inputs = _windows(weight.shape, out.shape, stride)
    pixels = len(begins)
    for some, frames in _framed(x, size, padding):
        products(
            frames, math.prod(size) * x.shape[3], _full_tiles(begins), inputs,
            weight.reshape(-1), 0, _places(len(inputs), O), 1,
            out[some].reshape(-1), pixels * O, _places(pixels, O), 1,
            O, some.stop - some.start, False,
        )  # fmt: skip


def conv2d_grad_weight(x: Array, grad: Array, out: Array, stride: Pair, padding: Pair) -> None:
    O = out.shape[3]  # noqa: E741
    size, begins, inputs = _windows(out.shape, grad.shape, stride)
    pixels = len(begins)
    out[...] = 0
    for some, frames in _framed(x, size, padding):
        products(
            frames, math.prod(size) * x.shape[3], _full_tiles(inputs), begins,
            grad[some].reshape(-1), pixels * O, _places(pixels, O), 1,
            out.reshape(-1), 0, _places(len(inputs), O), 1,
            O, some.stop - some.start, True,
        )  # fmt: skip


@lru_cache(maxsize=256)
def _phases(
    weight: Sizes, x: Sizes, grad: Sizes, stride: Pair, padding: Pair
) -> tuple[Pair, Pair, list[tuple[Array, Array, Array, Array]]]:
    """The frame of a gradient, its place there, and for each phase the tables of its products.

    Pixel y of x is in the windows h with y + padding = h * stride + a. So the quotient of y +
    padding and the stride, less that of a, is h; and the remainders, the phase, are the same.
    """
    KH, KW, I, O = weight  # noqa: E741
    (_, H, W, _), (_, OH, OW, _) = x, grad
    top, left = (KH - 1) // stride[0], (KW - 1) // stride[1]
    size = (
        top + builtins.max(OH, (H - 1 + padding[0]) // stride[0] + 1),
        left + builtins.max(OW, (W - 1 + padding[1]) // stride[1] + 1),
    )
    tables = []
    for p, q in np.ndindex(stride):
        y, z = np.arange(H), np.arange(W)
        y, z = y[(y + padding[0]) % stride[0] == p], z[(z + padding[1]) % stride[1] == q]
        a, b = np.arange(p, KH, stride[0]), np.arange(q, KW, stride[1])
        h, w = (y + padding[0]) // stride[0] + top, (z + padding[1]) // stride[1] + left
        rows = _full_tiles(_pixels(h, w, O, size[1]))
        steps = _numbers(-_pixels(a // stride[0], b // stride[1], O, size[1]), O)
        lines = _numbers(_pixels(a, b, I * O, KW), O)
        tables.append((rows, steps, lines, _pixels(y, z, I, W)))
    return size, (top, left), tables


def conv2d_grad_x(grad: Array, weight: Array, out: Array, stride: Pair, padding: Pair) -> None:
    _, _, I, O = weight.shape  # noqa: E741
    size, corner, tables = _phases(weight.shape, out.shape, grad.shape, stride, padding)
    for some, frames in _framed(grad, size, corner):
        for rows, steps, lines, pixels in tables:
            products(
                frames, math.prod(size) * O, rows, steps,
                weight.reshape(-1), 0, lines, O,
                out[some].reshape(-1), math.prod(out.shape[1:]), pixels, 1,
                I, some.stop - some.start, False,
            )  # fmt: skip


# Pooling


def argmax_pool2d(x: Array, out: Array, size: Pair, stride: Pair, padding: Pair) -> None:
    _argmax_pool2d(x, out, *size, *stride, *padding)


@kernel("real[:, :, :, ::1], int64[:, :, :, ::1], int64, int64, int64, int64, int64, int64")
def _argmax_pool2d(x, out, KH, KW, down, right, top_pad, left_pad):
    N, H, W, C = x.shape
    _, OH, OW, _ = out.shape
    for n in range(N):
        for h in range(OH):
            top = h * down - top_pad
            for w in range(OW):
                left = w * right - left_pad
                for c in range(C):
                    best_y, best_z = max_of(0, top), max_of(0, left)
                    for y in range(best_y, min_of(H, top + KH)):
                        for z in range(max_of(0, left), min_of(W, left + KW)):
                            best = x[n, best_y, best_z, c]
                            if best == best and not x[n, y, z, c] <= best:
                                best_y, best_z = y, z
                    out[n, h, w, c] = ((n * H + best_y) * W + best_z) * C + c


POOLING = "real[:, :, :, ::1], real[:, :, :, ::1], int64, int64, int64, int64, int64, int64"


def sum_pool2d(x: Array, out: Array, size: Pair, stride: Pair, padding: Pair) -> None:
    _sum_pool2d(x, out, *size, *stride, *padding)


@kernel(POOLING)
def _sum_pool2d(x, out, KH, KW, down, right, top_pad, left_pad):
    N, H, W, C = x.shape
    _, OH, OW, _ = out.shape
    out[:] = 0
    for n in range(N):
        for h in range(OH):
            top = h * down - top_pad
            for w in range(OW):
                left = w * right - left_pad
                for y in range(max_of(0, top), min_of(H, top + KH)):
                    for z in range(max_of(0, left), min_of(W, left + KW)):
                        for c in range(C):
                            out[n, h, w, c] += x[n, y, z, c]


def sum_pool2d_grad_x(grad: Array, out: Array, size: Pair, stride: Pair, padding: Pair) -> None:
    _sum_pool2d_grad_x(grad, out, *size, *stride, *padding)


@kernel(POOLING)
def _sum_pool2d_grad_x(grad, out, KH, KW, down, right, top_pad, left_pad):
    N, H, W, C = out.shape
    _, OH, OW, _ = grad.shape
    out[:] = 0
    for n in range(N):
        for h in range(OH):
            top = h * down - top_pad
            for w in range(OW):
                left = w * right - left_pad
                for y in range(max_of(0, top), min_of(H, top + KH)):
                    for z in range(max_of(0, left), min_of(W, left + KW)):
                        for c in range(C):
                            out[n, y, z, c] += grad[n, h, w, c]


# Classification. A row's largest score is subtracted first: the result is the same, and nothing
# overflows. exp is taken of all short rows at once: one alone doesn't fill a register. Sums are
# kept in float64.

ABREAST = 32  # numbers of a long row that are compared side by side: none waits for another


@part
def _largest(x, r, side):
    C, largest = x.shape[1], x[r, 0]
    whole = C - C % ABREAST
    if whole:
        for s in range(ABREAST):
            side[s] = largest
        for c in range(0, whole, ABREAST):
            for s in range(ABREAST):
                side[s] = x[r, c + s] if x[r, c + s] > side[s] else side[s]
        for s in range(ABREAST):
            largest = side[s] if side[s] > largest else largest
    for c in range(whole, C):
        largest = x[r, c] if x[r, c] > largest else largest
    return largest


@partial(part, fastmath=REASSOCIATE)
def _row_sum(x, r):
    total = 0.0
    for c in range(x.shape[1]):
        total += x[r, c]
    return total


@part
def _exp(flat):
    for i in range(len(flat)):
        flat[i] = exponential(flat[i])


@part
def _over_its_sum(out, r):
    factor = out.dtype.type(1 / _row_sum(out, r))
    for c in range(out.shape[1]):
        out[r, c] *= factor


@part
def _softmax_of(x, out):
    R, C = x.shape
    side = np.empty(ABREAST, x.dtype)
    for r in range(R if C else 0):
        largest = _largest(x, r, side)
        for c in range(C):
            out[r, c] = x[r, c] - largest
        if C >= ABREAST:
            _exp(out[r])
            _over_its_sum(out, r)
    if 0 < C < ABREAST:
        _exp(out.reshape(-1))
        for r in range(R):
            _over_its_sum(out, r)


def softmax(x: Array, out: Array) -> None:
    _softmax(x, out)


@kernel("real[:, ::1], real[:, ::1]")
def _softmax(x, out):
    _softmax_of(x, out)


def softmax_backward(grad: Array, probs: Array, out: Array) -> None:
    _softmax_backward(grad, probs, out)


@kernel("real[:, ::1], real[:, ::1], real[:, ::1]", REASSOCIATE)
def _softmax_backward(grad, probs, out):
    R, C = grad.shape
    for r in range(R):
        dot = 0.0
        for c in range(C):
            dot += grad[r, c] * probs[r, c]
        for c in range(C):
            out[r, c] = probs[r, c] * (grad[r, c] - dot)


def log_softmax(x: Array, out: Array) -> None:
    _log_softmax(x, out)


@kernel("real[:, ::1], real[:, ::1]", REASSOCIATE)
def _log_softmax(x, out):
    R, C = x.shape
    side = np.empty(ABREAST, x.dtype)
    for r in range(R if C else 0):
        largest = _largest(x, r, side)
        total = 0.0
        for c in range(C):
            total += exponential(x[r, c] - largest)
        log_total = math.log(total)
        for c in range(C):
            out[r, c] = x[r, c] - largest - log_total


def log_softmax_backward(grad: Array, log_probs: Array, out: Array) -> None:
    _log_softmax_backward(grad, log_probs, out)


@kernel("real[:, ::1], real[:, ::1], real[:, ::1]")
def _log_softmax_backward(grad, log_probs, out):
    R, C = grad.shape
    for r in range(R):
        total = 0.0
        for c in range(C):
            total += grad[r, c]
        for c in range(C):
            out[r, c] = grad[r, c] - exponential(log_probs[r, c]) * total


def cross_entropy(logits: Array, labels: Array, out: Array) -> None:
    _cross_entropy(logits, labels, out.reshape(-1))


@kernel("real[:, ::1], int64[::1], real[::1]")
def _cross_entropy(logits, labels, out):
    _mean_loss(logits, labels, out)


@part
def _mean_loss(logits, labels, out):
    R, C = logits.shape
    short = C < ABREAST
    exps = np.empty((R if short else 1, C), logits.dtype)
    side = np.empty(ABREAST, logits.dtype)
    loss = 0.0
    for r in range(R):
        largest, row = _largest(logits, r, side), r if short else 0
        for c in range(C):
            exps[row, c] = logits[r, c] - largest
        loss -= exps[row, labels[r]]
        if not short:
            _exp(exps[0])
            loss += math.log(_row_sum(exps, 0))
    if short:
        _exp(exps.reshape(-1))
        for r in range(R):
            loss += math.log(_row_sum(exps, r))
    out[0] = loss / R


def cross_entropy_backward(grad: Array, logits: Array, labels: Array, out: Array) -> None:
    _cross_entropy_backward(logits, labels, grad.reshape(-1), out)


@kernel("real[:, ::1], int64[::1], real[::1], real[:, ::1]")
def _cross_entropy_backward(logits, labels, grad, out):
    _gradient_of_mean_loss(logits, labels, grad, out)


@part
def _gradient_of_mean_loss(logits, labels, grad, out):
    _softmax_of(logits, out)
    for r in range(len(labels)):
        out[r, labels[r]] -= 1
    flat, factor = out.reshape(-1), _like(out, np.float64(grad[0]) / max_of(len(labels), 1))
    for i in range(len(flat)):
        flat[i] *= factor


def cross_entropy_and_grad(
    grad: Array, logits: Array, labels: Array, out: Array, grad_logits: Array
) -> None:
    _cross_entropy_and_grad(logits, labels, grad.reshape(-1), out.reshape(-1), grad_logits)


@kernel("real[:, ::1], int64[::1], real[::1], real[::1], real[:, ::1]")
def _cross_entropy_and_grad(logits, labels, grad, out, grad_logits):
    _mean_loss(logits, labels, out)
    _gradient_of_mean_loss(logits, labels, grad, grad_logits)


def one_hot(labels: Array, out: Array) -> None:
    _one_hot(out, labels)


@kernel("real[:, ::1], int64[::1]")
def _one_hot(out, labels):
    R, C = out.shape
    for r in range(R):
        for c in range(C):
            out[r, c] = c == labels[r]


# Normalisation


def moments(x: Array, mean: Array, var: Array) -> None:
    _moments(x, mean, var)


@kernel("real[:, ::1], real[::1], real[::1]")
def _moments(x, mean, var):
    R, C = x.shape
    exact_mean, squares = np.zeros(C), np.zeros(C)
    for r in range(R):
        for c in range(C):
            exact_mean[c] += x[r, c]
    for c in range(C):
        exact_mean[c] /= R
    for r in range(R):
        for c in range(C):
            distance = x[r, c] - exact_mean[c]
            squares[c] += distance * distance
    for c in range(C):
        mean[c], var[c] = exact_mean[c], squares[c] / R


def normalize(
    x: Array, mean: Array, var: Array, gamma: Array, beta: Array, out: Array, epsilon: float
) -> None:
    _normalize(x, mean, var, gamma, beta, out, epsilon)


@kernel("real[:, ::1], real[::1], real[::1], real[::1], real[::1], real[:, ::1], float64")
def _normalize(x, mean, var, gamma, beta, out, epsilon):
    R, C = x.shape
    scale = np.empty(C, x.dtype)
    for c in range(C):
        scale[c] = gamma[c] / math.sqrt(var[c] + epsilon)
    for r in range(R):
        for c in range(C):
            out[r, c] = (x[r, c] - mean[c]) * scale[c] + beta[c]


def batch_norm_backward(
    grad: Array,
    x: Array,
    mean: Array,
    var: Array,
    gamma: Array,
    grad_x: Array,
    grad_gamma: Array,
    grad_beta: Array,
    epsilon: float,
) -> None:
    _batch_norm_backward(grad, x, mean, var, gamma, grad_x, grad_gamma, grad_beta, epsilon)


@kernel(
    "real[:, ::1], real[:, ::1], real[::1], real[::1], real[::1],"
    "real[:, ::1], real[::1], real[::1], float64"
)
def _batch_norm_backward(grad, x, mean, var, gamma, grad_x, grad_gamma, grad_beta, epsilon):
    R, C = x.shape
    by_gamma, by_beta = np.zeros(C), np.zeros(C)
    for r in range(R):
        for c in range(C):
            by_beta[c] += grad[r, c]
            by_gamma[c] += grad[r, c] * (x[r, c] - mean[c])
    # grad_x = factor * (grad - mean_grad - (x - mean) * slope)
    factor, mean_grad, slope = np.empty(C, x.dtype), np.empty(C, x.dtype), np.empty(C, x.dtype)
    for c in range(C):
        scale = 1 / math.sqrt(var[c] + epsilon)
        grad_gamma[c], grad_beta[c] = by_gamma[c] * scale, by_beta[c]
        factor[c], mean_grad[c] = gamma[c] * scale, by_beta[c] / R
        slope[c] = by_gamma[c] * scale * scale / R
    for r in range(R):
        for c in range(C):
            own = grad[r, c] - mean_grad[c] - (x[r, c] - mean[c]) * slope[c]
            grad_x[r, c] = factor[c] * own


# Random numbers: the i-th is a hash of seed and i; the mixing steps are SplitMix64's


def dropout_mask(state: Array, out: Array, keep_prob: float) -> None:
    _dropout_mask(out.reshape(-1), state, np.uint64(keep_prob * 2**24), 1 / keep_prob)


@kernel("real[::1], uint64[::1], uint64, float64")
def _dropout_mask(out, state, limit, kept):
    for i in range(len(out)):
        z = state[0] + (state[1] + np.uint64(i + 1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
        z = z ^ z >> np.uint64(31)
        out[i] = kept if z >> np.uint64(40) < limit else 0
    state[1] += np.uint64(len(out))


# Data


def load_images(images: Array, index: Array, out: Array) -> None:
    D = math.prod(out.shape[1:])
    _load_images(out.reshape(len(index), D), images.reshape(len(images), D), index)


@kernel("real[:, ::1], Array(uint8, 2, 'C', readonly=True), int64[::1]")
def _load_images(out, images, index):
    for r in range(len(index)):
        image = images[index[r]]
        for d in range(len(image)):
            out[r, d] = image[d] * np.float32(1 / 255)


# Optimisers


def sgd(grad: Array, lr: Array, param: Array, weight_decay: float) -> None:
    _sgd(grad.reshape(-1), param.reshape(-1), lr, weight_decay)


@kernel("real[::1], real[::1], float64[::1], float64")
def _sgd(grad, param, lr, weight_decay):
    rate, weight_decay = _like(param, lr[0]), _like(param, weight_decay)
    for i in range(len(param)):
        param[i] -= rate * (grad[i] + weight_decay * param[i])


def sgd_momentum(
    grad: Array,
    lr: Array,
    velocity: Array,
    param: Array,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
) -> None:
    arrays = grad.reshape(-1), velocity.reshape(-1), param.reshape(-1)
    _sgd_momentum(*arrays, lr, momentum, nesterov, weight_decay)


@kernel("real[::1], real[::1], real[::1], float64[::1], float64, boolean, float64")
def _sgd_momentum(grad, velocity, param, lr, momentum, nesterov, weight_decay):
    rate, weight_decay = _like(param, lr[0]), _like(param, weight_decay)
    momentum = _like(param, momentum)
    for i in range(len(param)):
        g = grad[i] + weight_decay * param[i]
        v = momentum * velocity[i] + g
        velocity[i] = v
        param[i] -= rate * (g + momentum * v if nesterov else v)


def adam(
    grad: Array,
    lr: Array,
    step: Array,
    m: Array,
    v: Array,
    param: Array,
    beta1: float,
    beta2: float,
    epsilon: float,
    weight_decay: float,
) -> None:
    arrays = grad.reshape(-1), m.reshape(-1), v.reshape(-1), param.reshape(-1)
    _adam(*arrays, lr, step, beta1, beta2, epsilon, weight_decay)


@kernel(
    "real[::1], real[::1], real[::1], real[::1],"
    "float64[::1], float64[::1], float64, float64, float64, float64"
)
def _adam(grad, m, v, param, lr, step, beta1, beta2, epsilon, weight_decay):
    m_scale = _like(param, 1 / (1 - beta1 ** step[0]))
    v_scale = _like(param, 1 / (1 - beta2 ** step[0]))
    new1, new2 = _like(param, 1 - beta1), _like(param, 1 - beta2)
    beta1, beta2 = _like(param, beta1), _like(param, beta2)
    rate, epsilon = _like(param, lr[0]), _like(param, epsilon)
    weight_decay = _like(param, weight_decay)
    for i in range(len(param)):
        m_i = beta1 * m[i] + new1 * grad[i]
        v_i = beta2 * v[i] + new2 * grad[i] * grad[i]
        m[i], v[i] = m_i, v_i
        change = m_i * m_scale / (math.sqrt(v_i * v_scale) + epsilon)
        param[i] -= rate * (change + weight_decay * param[i])


def rmsprop(
    grad: Array, lr: Array, square: Array, param: Array, decay: float, epsilon: float
) -> None:
    arrays = grad.reshape(-1), square.reshape(-1), param.reshape(-1)
    _rmsprop(*arrays, lr, decay, epsilon)


@kernel("real[::1], real[::1], real[::1], float64[::1], float64, float64")
def _rmsprop(grad, square, param, lr, decay, epsilon):
    rate, epsilon, new = _like(param, lr[0]), _like(param, epsilon), _like(param, 1 - decay)
    decay = _like(param, decay)
    for i in range(len(param)):
        s = decay * square[i] + new * grad[i] * grad[i]
        square[i] = s
        param[i] -= rate * grad[i] / (math.sqrt(s) + epsilon)


def moving_average(x: Array, decay: Array, average: Array) -> None:
    _moving_average(x.reshape(-1), decay, average.reshape(-1))


@kernel("real[::1], float64[::1], real[::1]")
def _moving_average(x, decay, average):
    old, new = _like(x, decay[0]), _like(x, 1 - decay[0])
    for i in range(len(average)):
        average[i] = old * average[i] + new * x[i]


# Programs: calls of compiled code, bound to their arrays once

# These copy images at each call; all other kernels only look at shapes before one call.
COPYING = ("conv2d", "conv2d_grad_x", "conv2d_grad_weight")


def bind(kernel: str, arguments: tuple[Any, ...]) -> BoundCall:
    """The call with these arguments, to be made later; raises what the kernel would."""
    if kernel in COPYING:
        if arguments[0].dtype not in (np.float32, np.float64):
            raise OnNumPy
        return globals()[kernel], arguments
    with noting() as calls:
        globals()[kernel](*arguments)
    (call,) = calls
    return call


class BoundCalls:
    """Calls that are made one after the other, past the door and what looks at shapes."""

    def __init__(self, calls: Sequence[BoundCall]) -> None:
        self._calls = calls

    def __call__(self) -> None:
        """A step."""
        for function, arguments in self._calls:
            function(*arguments)


# Not kernels: what every backend tells and takes


def num_threads() -> int:
    """One: these kernels are plain loops."""
    return 1


def set_num_threads(n: int) -> None:
    """Nothing to set: these kernels are plain loops."""


def compiling() -> dict[str, float]:
    """How many kernels were compiled and loaded so far, and the seconds that took."""
    return asdict(spent)


def description() -> str:
    """Version."""
    return f"numba {numba.__version__}"
