"""The lower rungs of the ladders in Numba: plain loops, compiled at the first call in a process.

Each rung has the arguments and the result of its kernel (see tinytensor/kernels.py). The top rung
is the kernel of the Numba backend.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import numba

from tinytensor.arrays import Array
from tinytensor.backends.axes import Pair

# "contract" allows a * b + c in one instruction. Other fastmath flags could lose NaN and infinity.
jit = numba.njit(nogil=True, fastmath={"contract"}, error_model="numpy")


def _of_floats(function: Callable[..., None]) -> Callable[..., None]:
    """Return a kernel that calls the compiled function."""
    compiled = jit(function)

    @functools.wraps(function)
    def kernel(x: Array, *arguments: Any) -> None:
        compiled(x, *arguments)

    return kernel


def _product(function: Callable[[Any, Any, Any], None]) -> Callable[..., None]:
    """Return a matmul kernel that calls a function of two matrices; transposed ones are views."""
    compiled = _of_floats(function)

    @functools.wraps(function)
    def kernel(x: Array, y: Array, out: Array, transpose_x: bool, transpose_y: bool) -> None:
        x, y = x.mT if transpose_x else x, y.mT if transpose_y else y
        if out.ndim == 2:
            compiled(x, y, out)
        else:
            for b in range(len(out)):
                compiled(x[b], y[b], out[b])

    return kernel


@_product
def matmul_naive(x: Array, y: Array, out: Array) -> None:
    """Three loops, as in the formula.

    The elements of a column of y are far apart in memory, and each addition waits for the previous
    one.
    """
    M, K = x.shape
    N = y.shape[1]
    for m in range(M):
        for n in range(N):
            total = x.dtype.type(0)
            for k in range(K):
                total += x[m, k] * y[k, n]
            out[m, n] = total


@_product
def matmul_loop_order(x: Array, y: Array, out: Array) -> None:
    """The loops over k and n are swapped.

    The innermost loop goes along rows of y and out, and its additions don't wait for each other, so
    Numba's compiler vectorises it.
    """
    M, K = x.shape
    N = y.shape[1]
    for m in range(M):
        for n in range(N):
            out[m, n] = 0
        for k in range(K):
            factor = x[m, k]
            for n in range(N):
                out[m, n] += factor * y[k, n]


@_product
def matmul_blocked(x: Array, y: Array, out: Array) -> None:
    """Blocks of 4 rows of x and 4 rows of y.

    For 16 multiplications, 4 elements of y are loaded and 4 elements of out are loaded and stored.
    Without blocks it is 16 elements of y and 16 of out.
    """
    M, K = x.shape
    N = y.shape[1]
    for m in range(M):
        for n in range(N):
            out[m, n] = 0
    rows, depth = M // 4 * 4, K // 4 * 4
    for m in range(0, rows, 4):
        for k in range(0, depth, 4):
            a, b, c, d = (
                x[m, k : k + 4],
                x[m + 1, k : k + 4],
                x[m + 2, k : k + 4],
                x[m + 3, k : k + 4],
            )
            for n in range(N):
                p, q, r, s = y[k, n], y[k + 1, n], y[k + 2, n], y[k + 3, n]
                out[m, n] += a[0] * p + a[1] * q + a[2] * r + a[3] * s
                out[m + 1, n] += b[0] * p + b[1] * q + b[2] * r + b[3] * s
                out[m + 2, n] += c[0] * p + c[1] * q + c[2] * r + c[3] * s
                out[m + 3, n] += d[0] * p + d[1] * q + d[2] * r + d[3] * s
    for m in range(M):
        for k in range(depth if m < rows else 0, K):
            for n in range(N):
                out[m, n] += x[m, k] * y[k, n]


@_of_floats
def softmax_naive(x: Array, out: Array) -> None:
    """Three steps, each for the whole matrix, with an exp of one element at a time."""
    R, C = x.shape
    for r in range(R):
        largest = -math.inf
        for c in range(C):
            largest = x[r, c] if x[r, c] > largest else largest
        for c in range(C):
            out[r, c] = x[r, c] - largest
    for r in range(R):
        for c in range(C):
            out[r, c] = math.exp(out[r, c])
    for r in range(R):
        total = 0.0
        for c in range(C):
            total += out[r, c]
        for c in range(C):
            out[r, c] /= total


@_of_floats
def conv2d_naive(x: Array, weight: Array, out: Array, stride: Pair, padding: Pair) -> None:
    """Seven loops, as in the formula: each element of out is a sum over its window."""
    N, H, W, channels = x.shape
    KH, KW, _, O = weight.shape  # noqa: E741
    for n in range(N):
        for h in range(out.shape[1]):
            for w in range(out.shape[2]):
                for o in range(O):
                    total = x.dtype.type(0)
                    for a in range(KH):
                        for b in range(KW):
                            y = h * stride[0] - padding[0] + a
                            z = w * stride[1] - padding[1] + b
                            if 0 <= y < H and 0 <= z < W:
                                for i in range(channels):
                                    total += x[n, y, z, i] * weight[a, b, i, o]
                    out[n, h, w, o] = total
