"""The Numba backend: every kernel as plain loops, compiled at its first call.

What Python loops over number by number is slow; compiled by Numba, the same text runs at the
machine's speed. Compiled code is kept on disk where Numba finds a place for it, so only the first
process waits. The shapes stand in tinytensor/kernels.py.

A kernel whose arrays may have any number of axes gets flat views and, from axes.py, the sizes and
strides of the few axes it has to walk.
"""

import math
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Any

import numpy as np

from tinytensor.backends.axes import Sizes, broadcast, permutation, reduction
from tinytensor.errors import BackendUnavailable
from tinytensor.kernels import Array

try:
    import numba
except ImportError as error:
    raise BackendUnavailable(
        f"numba: the backend can't be used: {error}; mend it with: pip install --upgrade numba"
    ) from None

# a * b + c in one instruction; nothing that would lose a NaN or an infinity
FASTMATH = {"contract"}


def jit(function: Callable[..., Any]) -> Any:
    """Compile at the first call, and keep the result on disk if there is a place for it."""
    compiled = numba.njit(nogil=True, fastmath=FASTMATH, error_model="numpy")(function)
    with suppress(RuntimeError):  # neither this folder nor the user's cache folder is writable
        compiled.enable_caching()
    return compiled


@lru_cache(maxsize=1024)
def _sizes(sizes: Sizes) -> Array:
    return np.array(sizes, np.int64)


@jit
def _offset(index, shape, strides):  # type: ignore[no-untyped-def]
    """Counting through the axes of `shape`, last axis fastest: where does count `index` stand?"""
    place = 0
    for axis in range(len(shape) - 1, -1, -1):
        place += index % shape[axis] * strides[axis]
        index //= shape[axis]
    return place


# Broadcasting: a row is the last axis; an operand's stride there is 1, or 0 if it is repeated


def _pairs(kernel: Any, x: Array, y: Array, out: Array) -> None:
    shape, x_strides, y_strides = map(_sizes, broadcast(x.shape, y.shape, out.shape))
    kernel(x.reshape(-1), y.reshape(-1), out.reshape(-1), shape, x_strides, y_strides)


def add(x: Array, y: Array, out: Array) -> None:
    _pairs(_add, x, y, out)


@jit
def _add(x, y, out, shape, x_strides, y_strides):  # type: ignore[no-untyped-def]
    C = shape[-1]
    for row in range(len(out) // max(C, 1)):
        i = _offset(row, shape[:-1], x_strides[:-1])
        j = _offset(row, shape[:-1], y_strides[:-1])
        for c in range(C):
            out[row * C + c] = x[i + c * x_strides[-1]] + y[j + c * y_strides[-1]]


def sub(x: Array, y: Array, out: Array) -> None:
    _pairs(_sub, x, y, out)


@jit
def _sub(x, y, out, shape, x_strides, y_strides):  # type: ignore[no-untyped-def]
    C = shape[-1]
    for row in range(len(out) // max(C, 1)):
        i = _offset(row, shape[:-1], x_strides[:-1])
        j = _offset(row, shape[:-1], y_strides[:-1])
        for c in range(C):
            out[row * C + c] = x[i + c * x_strides[-1]] - y[j + c * y_strides[-1]]


def mul(x: Array, y: Array, out: Array) -> None:
    _pairs(_mul, x, y, out)


@jit
def _mul(x, y, out, shape, x_strides, y_strides):  # type: ignore[no-untyped-def]
    C = shape[-1]
    for row in range(len(out) // max(C, 1)):
        i = _offset(row, shape[:-1], x_strides[:-1])
        j = _offset(row, shape[:-1], y_strides[:-1])
        for c in range(C):
            out[row * C + c] = x[i + c * x_strides[-1]] * y[j + c * y_strides[-1]]


def div(x: Array, y: Array, out: Array) -> None:
    _pairs(_div, x, y, out)


@jit
def _div(x, y, out, shape, x_strides, y_strides):  # type: ignore[no-untyped-def]
    C = shape[-1]
    for row in range(len(out) // max(C, 1)):
        i = _offset(row, shape[:-1], x_strides[:-1])
        j = _offset(row, shape[:-1], y_strides[:-1])
        for c in range(C):
            out[row * C + c] = x[i + c * x_strides[-1]] / y[j + c * y_strides[-1]]


# Element by element


def neg(x: Array, out: Array) -> None:
    _neg(x.reshape(-1), out.reshape(-1))


@jit
def _neg(x, out):  # type: ignore[no-untyped-def]
    for i in range(len(x)):
        out[i] = -x[i]


def exp(x: Array, out: Array) -> None:
    _exp(x.reshape(-1), out.reshape(-1))


@jit
def _exp(x, out):  # type: ignore[no-untyped-def]
    for i in range(len(x)):
        out[i] = math.exp(x[i])


def log(x: Array, out: Array) -> None:
    _log(x.reshape(-1), out.reshape(-1))


@jit
def _log(x, out):  # type: ignore[no-untyped-def]
    for i in range(len(x)):
        out[i] = np.log(x[i])


def relu(x: Array, out: Array) -> None:
    _relu(x.reshape(-1), out.reshape(-1))


@jit
def _relu(x, out):  # type: ignore[no-untyped-def]
    for i in range(len(x)):
        out[i] = 0 if x[i] < 0 else x[i]


def relu_backward(grad: Array, x: Array, out: Array) -> None:
    _relu_backward(grad.reshape(-1), x.reshape(-1), out.reshape(-1))


@jit
def _relu_backward(grad, x, out):  # type: ignore[no-untyped-def]
    for i in range(len(x)):
        out[i] = grad[i] if x[i] > 0 else 0


def sigmoid(x: Array, out: Array) -> None:
    _sigmoid(x.reshape(-1), out.reshape(-1))


@jit
def _sigmoid(x, out):  # type: ignore[no-untyped-def]
    for i in range(len(x)):
        e = math.exp(-abs(x[i]))  # never e of a positive number: that would overflow
        out[i] = e / (1 + e) if x[i] < 0 else 1 / (1 + e)


# Reductions and layout


def sum(x: Array, out: Array) -> None:
    _sum(x.reshape(-1), out.reshape(-1), *map(_sizes, reduction(x.shape, out.shape)))


@jit
def _sum(x, out, kept, kept_strides, gone, gone_strides):  # type: ignore[no-untyped-def]
    terms = 1
    for size in gone:
        terms *= size
    if kept_strides[-1] == 1:  # columns side by side: read row after row
        C = kept[-1]
        total = np.empty(C, np.float64)
        for first in range(0, len(out), max(C, 1)):
            base = _offset(first // C, kept[:-1], kept_strides[:-1])
            total[:] = 0
            for term in range(terms):
                row = base + _offset(term, gone, gone_strides)
                for c in range(C):
                    total[c] += x[row + c]
            for c in range(C):
                out[first + c] = total[c]
    else:  # each result comes of rows that lie in one piece
        C = gone[-1]
        for i in range(len(out)):
            base = _offset(i, kept, kept_strides)
            one_total = 0.0
            for r in range(terms // max(C, 1)):
                row = base + _offset(r, gone[:-1], gone_strides[:-1])
                for c in range(C):
                    one_total += x[row + c]
            out[i] = one_total


def broadcast_to(x: Array, out: Array) -> None:
    shape, strides, _ = map(_sizes, broadcast(x.shape, out.shape, out.shape))
    _gather(x.reshape(-1), out.reshape(-1), shape, strides)


@jit
def argmax(x: Array, out: Array) -> None:
    R, C = x.shape
    for r in range(R):
        best = 0
        for c in range(1, C):
            if math.isnan(x[r, best]):
                break
            if not x[r, c] <= x[r, best]:
                best = c
        out[r] = best


def transpose(x: Array, out: Array, axes: tuple[int, ...]) -> None:
    _gather(x.reshape(-1), out.reshape(-1), *map(_sizes, permutation(x.shape, axes)))


@jit
def _gather(x, out, shape, strides):  # type: ignore[no-untyped-def]
    C = shape[-1]
    for r in range(len(out) // max(C, 1)):
        row = _offset(r, shape[:-1], strides[:-1])
        for c in range(C):
            out[r * C + c] = x[row + c * strides[-1]]


# Linear algebra


def matmul(x: Array, y: Array, out: Array, transpose_x: bool, transpose_y: bool) -> None:
    # The innermost loop goes along a row of y: that must lie in one piece.
    _matmul(x.T if transpose_x else x, np.ascontiguousarray(y.T) if transpose_y else y, out)


@jit
def _matmul(x, y, out):  # type: ignore[no-untyped-def]
    M, K = x.shape
    N = y.shape[1]
    for m in range(M):
        for n in range(N):
            out[m, n] = 0
        for k in range(K):
            factor = x[m, k]
            for n in range(N):
                out[m, n] += factor * y[k, n]


# Classification. A row's largest score is subtracted first: the result is the same, and nothing
# overflows.


@jit
def _largest(row):  # type: ignore[no-untyped-def]
    largest = row[0]
    for c in range(1, len(row)):
        largest = max(largest, row[c])
    return largest


@jit
def softmax(x: Array, out: Array) -> None:
    R, C = x.shape
    for r in range(R if C else 0):
        largest = _largest(x[r])
        total = 0.0
        for c in range(C):
            out[r, c] = math.exp(x[r, c] - largest)
            total += out[r, c]
        for c in range(C):
            out[r, c] /= total


@jit
def softmax_backward(grad: Array, probs: Array, out: Array) -> None:
    R, C = grad.shape
    for r in range(R):
        dot = 0.0
        for c in range(C):
            dot += grad[r, c] * probs[r, c]
        for c in range(C):
            out[r, c] = probs[r, c] * (grad[r, c] - dot)


@jit
def log_softmax(x: Array, out: Array) -> None:
    R, C = x.shape
    for r in range(R if C else 0):
        largest = _largest(x[r])
        total = 0.0
        for c in range(C):
            total += math.exp(x[r, c] - largest)
        log_total = math.log(total)
        for c in range(C):
            out[r, c] = x[r, c] - largest - log_total


@jit
def log_softmax_backward(grad: Array, log_probs: Array, out: Array) -> None:
    R, C = grad.shape
    for r in range(R):
        total = 0.0
        for c in range(C):
            total += grad[r, c]
        for c in range(C):
            out[r, c] = grad[r, c] - math.exp(log_probs[r, c]) * total


def cross_entropy(logits: Array, labels: Array, out: Array) -> None:
    out[...] = _cross_entropy(logits, labels)


@jit
def _cross_entropy(logits, labels):  # type: ignore[no-untyped-def]
    R, C = logits.shape
    loss = 0.0
    for r in range(R):
        largest = _largest(logits[r])
        total = 0.0
        for c in range(C):
            total += math.exp(logits[r, c] - largest)
        loss += math.log(total) + (largest - logits[r, labels[r]])
    return loss / R


def cross_entropy_backward(grad: Array, logits: Array, labels: Array, out: Array) -> None:
    softmax(logits, out)
    _cross_entropy_backward(grad.reshape(-1), labels, out)


@jit
def _cross_entropy_backward(grad, labels, out):  # type: ignore[no-untyped-def]
    R, C = out.shape
    for r in range(R):
        out[r, labels[r]] -= 1
        for c in range(C):
            out[r, c] *= grad[0] / R


@jit
def one_hot(labels: Array, out: Array) -> None:
    R, C = out.shape
    for r in range(R):
        for c in range(C):
            out[r, c] = c == labels[r]


# Data


def load_images(images: Array, index: Array, out: Array) -> None:
    D = math.prod(out.shape[1:])
    _load_images(images.reshape(len(images), D), index, out.reshape(len(index), D))


@jit
def _load_images(images, index, out):  # type: ignore[no-untyped-def]
    for r in range(len(index)):
        image = images[index[r]]
        for d in range(len(image)):
            out[r, d] = image[d] * np.float32(1 / 255)


# Optimisers


def sgd(grad: Array, lr: Array, param: Array) -> None:
    _sgd(grad.reshape(-1), lr.astype(param.dtype), param.reshape(-1))


@jit
def _sgd(grad, lr, param):  # type: ignore[no-untyped-def]
    for i in range(len(param)):
        param[i] -= lr[0] * grad[i]


# Not kernels: what every backend tells and takes


def num_threads() -> int:
    """One: these kernels are plain loops."""
    return 1


def set_num_threads(n: int) -> None:
    """Nothing to set: these kernels are plain loops."""


def description() -> str:
    """Version."""
    return f"numba {numba.__version__}"
