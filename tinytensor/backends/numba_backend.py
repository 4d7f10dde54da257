"""The Numba backend: every kernel as plain loops, compiled at its first call.

What Python loops over number by number is slow; compiled by Numba, the same text runs at the
machine's speed. Compiled code is kept on disk where Numba finds a place for it, so only the first
process waits. The shapes stand in tinytensor/kernels.py.

A kernel whose arrays may have any number of axes gets flat views and, from axes.py, the sizes and
strides of the few axes it has to walk.
"""

import builtins
import math
import os
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Any

import numpy as np

from tinytensor.backends.axes import Sizes, broadcast, permutation, reduction
from tinytensor.errors import BackendUnavailable
from tinytensor.kernels import Array, OnNumPy

try:
    import numba
except Exception as error:  # also of the LLVM library that it loads
    raise BackendUnavailable(
        f"numba: the backend can't be used: {error}; mend it with: pip install --upgrade numba"
    ) from None
if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
    raise BackendUnavailable(
        "numba: the backend can't be used: NUMBA_DISABLE_JIT is set; mend it with: "
        "unset NUMBA_DISABLE_JIT"
    )

# a * b + c in one instruction; nothing that would lose a NaN or an infinity
FASTMATH = {"contract"}

Pair = tuple[int, int]


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
def _offset(index, shape, strides):
    """Counting through the axes of `shape`, last axis fastest: where does count `index` stand?"""
    place = 0
    for axis in range(len(shape) - 1, -1, -1):
        place += index % shape[axis] * strides[axis]
        index //= shape[axis]
    return place


# Broadcasting, and element by element. Numba makes a NumPy ufunc of a function of numbers: the
# loops over the arrays, the repeating of short ones, are the ufunc's. Whole numbers in them are
# made x's kind: Numba computes in float64 what joins float32 with int64.


def _ufunc(function: Callable[..., Any]) -> Any:
    try:
        return numba.vectorize(nopython=True, fastmath=FASTMATH, cache=True)(function)
    except RuntimeError:  # nowhere to keep the compiled code, as in jit
        return numba.vectorize(nopython=True, fastmath=FASTMATH)(function)


def _ufuncs(function: Callable[..., Any]) -> dict[Any, Any]:
    """One for each kind of float: a ufunc that has float64 takes float32 too, and copies it."""
    return {np.dtype(kind): _ufunc(function) for kind in (np.float32, np.float64)}


def pairs(function: Callable[[Any, Any], Any]) -> Callable[[Array, Array, Array], None]:
    """A kernel that computes one number from two, broadcast."""
    compiled = _ufuncs(function)

    def kernel(x: Array, y: Array, out: Array) -> None:
        _floats(x)
        compiled[x.dtype](x, y, out)

    return kernel


def each(function: Callable[[Any], Any]) -> Callable[[Array, Array], None]:
    """A kernel that computes one number from one."""
    compiled = _ufuncs(function)

    def kernel(x: Array, out: Array) -> None:
        _floats(x)
        compiled[x.dtype](x, out)

    return kernel


def _floats(x: Array) -> None:
    if x.dtype.kind != "f":
        raise OnNumPy


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


@pairs
def equal(x, y):
    return x == y


@pairs
def less(x, y):
    return x < y


@pairs
def less_equal(x, y):
    return x <= y


@each
def neg(x):
    return -x


@each
def exp(x):
    return math.exp(x)


@each
def log(x):
    return np.log(x)


@each
def relu(x):
    return type(x)(0) if x < 0 else x


@each
def sigmoid(x):
    e = math.exp(-np.abs(x))  # never e of a positive number: that would overflow
    one = type(x)(1)
    return e / (one + e) if x < 0 else one / (one + e)


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


@jit
def _relu_backward(grad, x, out):
    for i in range(len(x)):
        out[i] = grad[i] if x[i] > 0 else 0


def where(condition: Array, x: Array, y: Array, out: Array) -> None:
    _floats(x)
    _where(condition.reshape(-1), x.reshape(-1), y.reshape(-1), out.reshape(-1))


@jit
def _where(condition, x, y, out):
    for i in range(len(out)):
        out[i] = x[i] if condition[i] else y[i]


# Reductions and layout


def sum(x: Array, out: Array) -> None:
    _floats(x)
    _sum(x.reshape(-1), out.reshape(-1), *map(_sizes, reduction(x.shape, out.shape)))


@jit
def _sum(x, out, kept, kept_strides, gone, gone_strides):
    terms = 1
    for size in gone:
        terms *= size
    if kept_strides[-1] == 1:  # columns side by side: read row after row
        C = kept[-1]
        total = np.empty(C, np.float64)
        for first in range(0, len(out), C or 1):
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
            for r in range(terms // (C or 1)):
                row = base + _offset(r, gone[:-1], gone_strides[:-1])
                for c in range(C):
                    one_total += x[row + c]
            out[i] = one_total


def max(x: Array, out: Array) -> None:
    _floats(x)
    _choose(_larger, x.reshape(-1), out.reshape(-1), *map(_sizes, reduction(x.shape, out.shape)))


def min(x: Array, out: Array) -> None:
    _floats(x)
    _choose(_smaller, x.reshape(-1), out.reshape(-1), *map(_sizes, reduction(x.shape, out.shape)))


@jit
def _larger(x, y):
    return x if x > y or x != x else y


@jit
def _smaller(x, y):
    return x if x < y or x != x else y


@jit
def _choose(better, x, out, kept, kept_strides, gone, gone_strides):
    terms = 1
    for size in gone:
        terms *= size
    for i in range(len(out)):
        base = _offset(i, kept, kept_strides)
        best = x[base]
        for term in range(1, terms):
            best = better(best, x[base + _offset(term, gone, gone_strides)])
        out[i] = best


def cumsum(x: Array, out: Array) -> None:
    _floats(x)
    _cumsum(x, out)


@jit
def _cumsum(x, out):
    R, C = x.shape
    for r in range(R):
        total = -0.0  # -0 + x is x, also where x is -0
        for c in range(C):
            total += x[r, c]
            out[r, c] = total


def broadcast_to(x: Array, out: Array) -> None:
    _floats(x)
    shape, strides, _ = map(_sizes, broadcast(x.shape, out.shape, out.shape))
    _gather(x.reshape(-1), out.reshape(-1), shape, strides)


@jit
def argmax(x: Array, out: Array) -> None:
    R, C = x.shape
    for r in range(R):
        best = 0
        for c in range(1, C):
            if x[r, best] != x[r, best]:  # a NaN
                break
            if not x[r, c] <= x[r, best]:
                best = c
        out[r] = best


@jit
def argmin(x: Array, out: Array) -> None:
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
    _floats(x)
    _gather(x.reshape(-1), out.reshape(-1), *map(_sizes, permutation(x.shape, axes)))


@jit
def _gather(x, out, shape, strides):
    C = shape[-1]
    for r in range(len(out) // (C or 1)):
        row = _offset(r, shape[:-1], strides[:-1])
        for c in range(C):
            out[r * C + c] = x[row + c * strides[-1]]


def take(x: Array, index: Array, out: Array) -> None:
    _floats(x)
    _take(x, index, out)


@jit
def _take(x, index, out):
    R, C = out.shape
    for r in range(R):
        for c in range(C):
            out[r, c] = x[index[r], c]


def scatter_add(grad: Array, index: Array, out: Array) -> None:
    _floats(grad)
    _scatter_add(grad, index, out)


@jit
def _scatter_add(grad, index, out):
    out[:] = 0
    R, C = grad.shape
    for r in range(R):
        for c in range(C):
            out[index[r], c] += grad[r, c]


def put(x: Array, index: Array, out: Array) -> None:
    _floats(x)
    _put(x, index, out)


@jit
def _put(x, index, out):
    R, C = x.shape
    for r in range(R):
        for c in range(C):
            out[index[r], c] = x[r, c]


def concat(x: Array, out: Array, start: int) -> None:
    _floats(x)
    _concat(x, out, start)


@jit
def _concat(x, out, start):
    A, n, B = x.shape
    for a in range(A):
        for i in range(n):
            for b in range(B):
                out[a, start + i, b] = x[a, i, b]


# Linear algebra


def matmul(x: Array, y: Array, out: Array, transpose_x: bool, transpose_y: bool) -> None:
    _floats(x)
    # The innermost loop goes along a row of y: that must lie in one piece.
    x, y = x.mT if transpose_x else x, np.ascontiguousarray(y.mT) if transpose_y else y
    if out.ndim == 2:
        _matmul(x, y, out)
    else:
        for b in range(len(out)):
            _matmul(x[b], y[b], out[b])


@jit
def _matmul(x, y, out):
    M, K = x.shape
    N = y.shape[1]
    for m in range(M):
        for n in range(N):
            out[m, n] = 0
        for k in range(K):
            factor = x[m, k]
            for n in range(N):
                out[m, n] += factor * y[k, n]


# Convolution: for every place (h, w) of the result and every weight (a, b) that meets a pixel
# (y, z) of x there, a product of I channels with a matrix I x O.


@jit
def conv2d(x: Array, weight: Array, out: Array, stride: Pair, padding: Pair) -> None:
    N, H, W, channels = x.shape
    _, OH, OW, O = out.shape  # noqa: E741
    for n in range(N):
        for h in range(OH):
            for w in range(OW):
                pixel = out[n, h, w]
                pixel[:] = 0
                for a in range(weight.shape[0]):
                    y = h * stride[0] - padding[0] + a
                    for b in range(weight.shape[1]):
                        z = w * stride[1] - padding[1] + b
                        if 0 <= y < H and 0 <= z < W:
                            for i in range(channels):
                                factor = x[n, y, z, i]
                                for o in range(O):
                                    pixel[o] += factor * weight[a, b, i, o]


@jit
def conv2d_grad_x(grad: Array, weight: Array, out: Array, stride: Pair, padding: Pair) -> None:
    N, H, W, channels = out.shape
    _, OH, OW, O = grad.shape  # noqa: E741
    out[:] = 0
    for n in range(N):
        for h in range(OH):
            for w in range(OW):
                for a in range(weight.shape[0]):
                    y = h * stride[0] - padding[0] + a
                    for b in range(weight.shape[1]):
                        z = w * stride[1] - padding[1] + b
                        if 0 <= y < H and 0 <= z < W:
                            for i in range(channels):
                                total = 0.0
                                for o in range(O):
                                    total += grad[n, h, w, o] * weight[a, b, i, o]
                                out[n, y, z, i] += total


@jit
def conv2d_grad_weight(x: Array, grad: Array, out: Array, stride: Pair, padding: Pair) -> None:
    N, H, W, channels = x.shape
    _, OH, OW, O = grad.shape  # noqa: E741
    out[:] = 0
    for n in range(N):
        for h in range(OH):
            for w in range(OW):
                for a in range(out.shape[0]):
                    y = h * stride[0] - padding[0] + a
                    for b in range(out.shape[1]):
                        z = w * stride[1] - padding[1] + b
                        if 0 <= y < H and 0 <= z < W:
                            for i in range(channels):
                                factor = x[n, y, z, i]
                                for o in range(O):
                                    out[a, b, i, o] += factor * grad[n, h, w, o]


# Pooling


@jit
def argmax_pool2d(x: Array, out: Array, size: Pair, stride: Pair, padding: Pair) -> None:
    N, H, W, C = x.shape
    _, OH, OW, _ = out.shape
    for n in range(N):
        for h in range(OH):
            top = h * stride[0] - padding[0]
            for w in range(OW):
                left = w * stride[1] - padding[1]
                for c in range(C):
                    best_y, best_z = builtins.max(0, top), builtins.max(0, left)
                    for y in range(best_y, builtins.min(H, top + size[0])):
                        for z in range(builtins.max(0, left), builtins.min(W, left + size[1])):
                            best = x[n, best_y, best_z, c]
                            if best == best and not x[n, y, z, c] <= best:
                                best_y, best_z = y, z
                    out[n, h, w, c] = ((n * H + best_y) * W + best_z) * C + c


@jit
def sum_pool2d(x: Array, out: Array, size: Pair, stride: Pair, padding: Pair) -> None:
    N, H, W, C = x.shape
    _, OH, OW, _ = out.shape
    out[:] = 0
    for n in range(N):
        for h in range(OH):
            top = h * stride[0] - padding[0]
            for w in range(OW):
                left = w * stride[1] - padding[1]
                for y in range(builtins.max(0, top), builtins.min(H, top + size[0])):
                    for z in range(builtins.max(0, left), builtins.min(W, left + size[1])):
                        for c in range(C):
                            out[n, h, w, c] += x[n, y, z, c]


@jit
def sum_pool2d_grad_x(grad: Array, out: Array, size: Pair, stride: Pair, padding: Pair) -> None:
    N, H, W, C = out.shape
    _, OH, OW, _ = grad.shape
    out[:] = 0
    for n in range(N):
        for h in range(OH):
            top = h * stride[0] - padding[0]
            for w in range(OW):
                left = w * stride[1] - padding[1]
                for y in range(builtins.max(0, top), builtins.min(H, top + size[0])):
                    for z in range(builtins.max(0, left), builtins.min(W, left + size[1])):
                        for c in range(C):
                            out[n, y, z, c] += grad[n, h, w, c]


# Classification. A row's largest score is subtracted first: the result is the same, and nothing
# overflows.


@jit
def _largest(row):
    largest = row[0]
    for c in range(1, len(row)):
        if row[c] > largest:
            largest = row[c]
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
def _cross_entropy(logits, labels):
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
def _cross_entropy_backward(grad, labels, out):
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


# Normalisation


@jit
def moments(x: Array, mean: Array, var: Array) -> None:
    R, C = x.shape
    total = np.zeros(C)
    squares = np.zeros(C)
    for r in range(R):
        for c in range(C):
            total[c] += x[r, c]
    total /= R
    for r in range(R):
        for c in range(C):
            squares[c] += (x[r, c] - total[c]) ** 2
    mean[:] = total
    var[:] = squares / R


@jit
def normalize(
    x: Array, mean: Array, var: Array, gamma: Array, beta: Array, out: Array, epsilon: float
) -> None:
    R, C = x.shape
    scale = gamma / np.sqrt(var + epsilon)
    for r in range(R):
        for c in range(C):
            out[r, c] = (x[r, c] - mean[c]) * scale[c] + beta[c]


@jit
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
    R, C = x.shape
    scale = 1 / np.sqrt(var + epsilon)
    by_gamma = np.zeros(C)
    by_beta = np.zeros(C)
    for r in range(R):
        for c in range(C):
            by_beta[c] += grad[r, c]
            by_gamma[c] += grad[r, c] * (x[r, c] - mean[c]) * scale[c]
    for r in range(R):
        for c in range(C):
            n = (x[r, c] - mean[c]) * scale[c]
            own = grad[r, c] - by_beta[c] / R - n * by_gamma[c] / R
            grad_x[r, c] = gamma[c] * scale[c] * own
    grad_gamma[:] = by_gamma
    grad_beta[:] = by_beta


# Random numbers: the i-th is a hash of seed and i; the mixing steps are SplitMix64's


def dropout_mask(state: Array, out: Array, keep_prob: float) -> None:
    _dropout_mask(state, out.reshape(-1), np.uint64(keep_prob * 2**24), 1 / keep_prob)
    state[1] += np.uint64(out.size)


@jit
def _dropout_mask(state, out, limit, kept):
    for i in range(len(out)):
        z = state[0] + (state[1] + np.uint64(i + 1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
        z = z ^ z >> np.uint64(31)
        out[i] = kept if z >> np.uint64(40) < limit else 0


# Data


def load_images(images: Array, index: Array, out: Array) -> None:
    D = math.prod(out.shape[1:])
    _load_images(images.reshape(len(images), D), index, out.reshape(len(index), D))


@jit
def _load_images(images, index, out):
    for r in range(len(index)):
        image = images[index[r]]
        for d in range(len(image)):
            out[r, d] = image[d] * np.float32(1 / 255)


# Optimisers


def sgd(grad: Array, lr: Array, param: Array, weight_decay: float) -> None:
    _sgd(grad.reshape(-1), lr.astype(param.dtype), param.reshape(-1), weight_decay)


@jit
def _sgd(grad, lr, param, weight_decay):
    for i in range(len(param)):
        param[i] -= lr[0] * (grad[i] + weight_decay * param[i])


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
    _sgd_momentum(*arrays, lr.item(), momentum, nesterov, weight_decay)


@jit
def _sgd_momentum(grad, velocity, param, lr, momentum, nesterov, weight_decay):
    for i in range(len(param)):
        g = grad[i] + weight_decay * param[i]
        velocity[i] = momentum * velocity[i] + g
        param[i] -= lr * (g + momentum * velocity[i] if nesterov else velocity[i])


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
    _adam(*arrays, lr.item(), step.item(), beta1, beta2, epsilon, weight_decay)


@jit
def _adam(grad, m, v, param, lr, step, beta1, beta2, epsilon, weight_decay):
    m_scale = 1 / (1 - beta1**step)
    v_scale = 1 / (1 - beta2**step)
    for i in range(len(param)):
        m[i] = beta1 * m[i] + (1 - beta1) * grad[i]
        v[i] = beta2 * v[i] + (1 - beta2) * grad[i] * grad[i]
        change = m[i] * m_scale / (math.sqrt(v[i] * v_scale) + epsilon)
        param[i] -= lr * (change + weight_decay * param[i])


def rmsprop(
    grad: Array, lr: Array, square: Array, param: Array, decay: float, epsilon: float
) -> None:
    arrays = grad.reshape(-1), square.reshape(-1), param.reshape(-1)
    _rmsprop(*arrays, lr.item(), decay, epsilon)


@jit
def _rmsprop(grad, square, param, lr, decay, epsilon):
    for i in range(len(param)):
        square[i] = decay * square[i] + (1 - decay) * grad[i] * grad[i]
        param[i] -= lr * grad[i] / (math.sqrt(square[i]) + epsilon)


def moving_average(x: Array, decay: Array, average: Array) -> None:
    _moving_average(x.reshape(-1), decay.item(), average.reshape(-1))


@jit
def _moving_average(x, decay, average):
    for i in range(len(average)):
        average[i] = decay * average[i] + (1 - decay) * x[i]


# Not kernels: what every backend tells and takes


def num_threads() -> int:
    """One: these kernels are plain loops."""
    return 1


def set_num_threads(n: int) -> None:
    """Nothing to set: these kernels are plain loops."""


def description() -> str:
    """Version."""
    return f"numba {numba.__version__}"
