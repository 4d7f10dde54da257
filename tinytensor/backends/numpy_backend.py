"""The NumPy backend: it defines the result of each kernel.

If two backends disagree, this one is right. The shapes are in tinytensor/kernels.py.
"""

import builtins
import math
from typing import Any

import numpy as np
import threadpoolctl

from tinytensor.arrays import Array

Pair = tuple[int, int]
GOLDEN = 0x9E3779B97F4A7C15  # 2^64 / golden ratio; SplitMix64 uses it and the mixing steps below

# Broadcasting


def add(x: Array, y: Array, out: Array) -> None:
    np.add(x, y, out)


def add_relu(x: Array, y: Array, out: Array) -> None:
    np.add(x, y, out)
    out[out < 0] = 0


def sub(x: Array, y: Array, out: Array) -> None:
    np.subtract(x, y, out)


def mul(x: Array, y: Array, out: Array) -> None:
    np.multiply(x, y, out)


def div(x: Array, y: Array, out: Array) -> None:
    np.divide(x, y, out)


def floor_div(x: Array, y: Array, out: Array) -> None:
    np.floor_divide(x, y, out)


def mod(x: Array, y: Array, out: Array) -> None:
    np.mod(x, y, out)


def pow(x: Array, y: Array, out: Array) -> None:
    np.power(x, y, out)


def maximum(x: Array, y: Array, out: Array) -> None:
    np.maximum(x, y, out=out)


def minimum(x: Array, y: Array, out: Array) -> None:
    np.minimum(x, y, out=out)


def equal(x: Array, y: Array, out: Array) -> None:
    np.equal(x, y, out)


def less(x: Array, y: Array, out: Array) -> None:
    np.less(x, y, out)


def less_equal(x: Array, y: Array, out: Array) -> None:
    np.less_equal(x, y, out)


# Elementwise


def neg(x: Array, out: Array) -> None:
    np.negative(x, out)


def exp(x: Array, out: Array) -> None:
    np.exp(x, out)


def log(x: Array, out: Array) -> None:
    np.log(x, out)


def relu(x: Array, out: Array) -> None:
    np.copyto(out, x)
    out[x < 0] = 0


def relu_backward(grad: Array, x: Array, out: Array) -> None:
    out[...] = 0
    np.copyto(out, grad, where=x > 0)


def _logistic(x: Array) -> Array:
    # e^-|x| can't overflow, and 1 / (1 + e^-x) = e^x / (1 + e^x)
    e = np.exp(-np.abs(x))
    result: Array = np.where(x < 0, e, 1) / (1 + e)
    return result


def sigmoid(x: Array, out: Array) -> None:
    out[...] = _logistic(x)


def abs(x: Array, out: Array) -> None:
    np.abs(x, out)


def sign(x: Array, out: Array) -> None:
    np.sign(x, out)


def sqrt(x: Array, out: Array) -> None:
    np.sqrt(x, out)


def expm1(x: Array, out: Array) -> None:
    np.expm1(x, out)


def log1p(x: Array, out: Array) -> None:
    np.log1p(x, out)


def sin(x: Array, out: Array) -> None:
    np.sin(x, out)


def cos(x: Array, out: Array) -> None:
    np.cos(x, out)


def tanh(x: Array, out: Array) -> None:
    np.tanh(x, out)


def erf(x: Array, out: Array) -> None:
    out[...] = np.vectorize(math.erf, otypes=[float])(x)


# x is limited in the following functions, because infinity * 0 is NaN.


def _normal_distribution(x: Array) -> Array:
    result: Array = np.vectorize(math.erfc, otypes=[float])(-x * math.sqrt(0.5)) / 2
    return result


def gelu(x: Array, out: Array) -> None:
    x = np.maximum(x.astype(np.float64), -40)
    out[...] = x * _normal_distribution(x)


def gelu_backward(grad: Array, x: Array, out: Array) -> None:
    x = np.clip(x.astype(np.float64), -40, 40)
    density = np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    out[...] = grad * (_normal_distribution(x) + x * density)


def silu(x: Array, out: Array) -> None:
    x = np.maximum(x.astype(np.float64), -800)
    e = np.exp(-np.abs(x))
    out[...] = np.where(x < 0, x * e, x) / (1 + e)


def silu_backward(grad: Array, x: Array, out: Array) -> None:
    x = np.clip(x, -800, 800)
    s = _logistic(x)
    out[...] = grad * (s + x * s * _logistic(-x))


def softplus(x: Array, out: Array) -> None:
    np.add(np.maximum(x, 0), np.log1p(np.exp(-np.abs(x))), out)


def softplus_backward(grad: Array, x: Array, out: Array) -> None:
    out[...] = grad * _logistic(x)


def floor(x: Array, out: Array) -> None:
    np.floor(x, out)


def ceil(x: Array, out: Array) -> None:
    np.ceil(x, out)


def round(x: Array, out: Array) -> None:
    np.round(x, out=out)


def where(condition: Array, x: Array, y: Array, out: Array) -> None:
    np.copyto(out, y)
    np.copyto(out, x, where=condition)


# Reductions and layout


def _reduced_axes(x: Array, out: Array) -> tuple[int, ...]:
    front = x.ndim - out.ndim
    return tuple(a for a in range(x.ndim) if a < front or out.shape[a - front] == 1)


def sum(x: Array, out: Array) -> None:
    total = np.float64 if x.dtype.kind == "f" else np.int64
    out[...] = np.sum(x, _reduced_axes(x, out), total).reshape(out.shape)


def max(x: Array, out: Array) -> None:
    out[...] = np.max(x, _reduced_axes(x, out)).reshape(out.shape)


def min(x: Array, out: Array) -> None:
    out[...] = np.min(x, _reduced_axes(x, out)).reshape(out.shape)


def cumsum(x: Array, out: Array) -> None:
    out[...] = np.cumsum(x, axis=1, dtype=np.float64 if x.dtype.kind == "f" else np.int64)


def broadcast_to(x: Array, out: Array) -> None:
    np.copyto(out, x)


def argmax(x: Array, out: Array) -> None:
    np.argmax(x, axis=1, out=out)


def argmin(x: Array, out: Array) -> None:
    np.argmin(x, axis=1, out=out)


def transpose(x: Array, out: Array, axes: tuple[int, ...]) -> None:
    np.copyto(out, np.transpose(x, axes))


def take(x: Array, index: Array, out: Array) -> None:
    out[...] = x[index]


def scatter_add(grad: Array, index: Array, out: Array) -> None:
    out[...] = 0
    np.add.at(out, index, grad)


def put(x: Array, index: Array, out: Array) -> None:
    out[index] = x


def concat(x: Array, out: Array, start: int) -> None:
    out[:, start : start + x.shape[1]] = x


def cast(x: Array, out: Array) -> None:
    np.copyto(out, x, casting="unsafe")


# Linear algebra


def matmul(x: Array, y: Array, out: Array, transpose_x: bool, transpose_y: bool) -> None:
    np.matmul(x.mT if transpose_x else x, y.mT if transpose_y else y, out)


def sparse_matmul(x: Array, y: Array, out: Array, transpose_x: bool, transpose_y: bool) -> None:
    matmul(x, y, out, transpose_x, transpose_y)


# Convolution. Each of the KH x KW weights is a matrix (I, O):
# out[n, h, w] += padded[n, h * stride[0] + a, w * stride[1] + b] @ weight[a, b].


def _padded(x: Array, weight: Array, out: Array, stride: Pair, padding: Pair) -> Array:
    """Return x with a border of zeros, so that no window reaches outside of it."""
    N, H, W, channels = x.shape
    KH, KW = weight.shape[:2]
    OH, OW = out.shape[1:3]
    height = builtins.max(H + padding[0], (OH - 1) * stride[0] + KH)
    width = builtins.max(W + padding[1], (OW - 1) * stride[1] + KW)
    padded = np.zeros((N, height, width, channels), x.dtype)
    padded[:, padding[0] : padding[0] + H, padding[1] : padding[1] + W] = x
    return padded


def _part(padded: Array, a: int, b: int, out: Array, stride: Pair) -> Array:
    """Return the pixels that are multiplied with weight[a, b]: (N, OH, OW, I)."""
    OH, OW = out.shape[1:3]
    return padded[:, a :: stride[0], b :: stride[1]][:, :OH, :OW]


def conv2d(x: Array, weight: Array, out: Array, stride: Pair, padding: Pair) -> None:
    padded = _padded(x, weight, out, stride, padding)
    out[...] = 0
    for a, b in np.ndindex(weight.shape[:2]):
        out += _part(padded, a, b, out, stride) @ weight[a, b]


def conv2d_grad_x(grad: Array, weight: Array, out: Array, stride: Pair, padding: Pair) -> None:
    padded = _padded(np.zeros_like(out), weight, grad, stride, padding)
    for a, b in np.ndindex(weight.shape[:2]):
        _part(padded, a, b, grad, stride)[...] += grad @ weight[a, b].T
    H, W = out.shape[1:3]
    out[...] = padded[:, padding[0] : padding[0] + H, padding[1] : padding[1] + W]


def conv2d_grad_weight(x: Array, grad: Array, out: Array, stride: Pair, padding: Pair) -> None:
    padded = _padded(x, out, grad, stride, padding)
    for a, b in np.ndindex(out.shape[:2]):
        out[a, b] = np.tensordot(
            _part(padded, a, b, grad, stride), grad, axes=((0, 1, 2), (0, 1, 2))
        )


# Pooling


def _windows(x: Array, fill: float, out: Array, size: Pair, stride: Pair, padding: Pair) -> Array:
    """Return all windows, (KH * KW, N, OH, OW, C); elements outside of x are `fill`."""
    N, H, W, C = x.shape
    OH, OW = out.shape[1:3]
    height = builtins.max(H + padding[0], (OH - 1) * stride[0] + size[0])
    width = builtins.max(W + padding[1], (OW - 1) * stride[1] + size[1])
    padded = np.full((N, height, width, C), fill, x.dtype)
    padded[:, padding[0] : padding[0] + H, padding[1] : padding[1] + W] = x
    return np.stack([_part(padded, a, b, out, stride) for a, b in np.ndindex(size)])


def argmax_pool2d(x: Array, out: Array, size: Pair, stride: Pair, padding: Pair) -> None:
    flat_index = np.arange(x.size).reshape(x.shape)
    indices = _windows(flat_index, -1, out, size, stride, padding)
    values = np.where(indices < 0, -math.inf, _windows(x, 0, out, size, stride, padding))
    # If all elements of a window are -inf, the result is the first element inside of x.
    first = np.argmax(indices >= 0, axis=0)[np.newaxis]
    best = np.argmax(values, axis=0)[np.newaxis]
    only = np.take_along_axis(values, best, axis=0) == -math.inf
    out[...] = np.take_along_axis(indices, np.where(only, first, best), axis=0)[0]


def sum_pool2d(x: Array, out: Array, size: Pair, stride: Pair, padding: Pair) -> None:
    np.sum(_windows(x, 0, out, size, stride, padding), axis=0, out=out)


def sum_pool2d_grad_x(grad: Array, out: Array, size: Pair, stride: Pair, padding: Pair) -> None:
    flat_index = np.arange(out.size).reshape(out.shape)
    indices = _windows(flat_index, out.size, grad, size, stride, padding)
    total = np.zeros(out.size + 1, out.dtype)  # the last element collects the padding's gradient
    np.add.at(total, indices, grad)
    out[...] = total[:-1].reshape(out.shape)


# Classification. The largest score of a row is subtracted first, because exp could overflow; the
# result is the same. `initial` is the result for rows without columns.


def _shifted(x: Array) -> Array:
    largest: Array = np.max(x, axis=1, keepdims=True, initial=-math.inf)
    return x - largest


def softmax(x: Array, out: Array) -> None:
    np.exp(_shifted(x), out)
    np.divide(out, np.sum(out, axis=1, keepdims=True), out)


def softmax_backward(grad: Array, probs: Array, out: Array) -> None:
    np.multiply(probs, grad - np.sum(grad * probs, axis=1, keepdims=True), out)


def log_softmax(x: Array, out: Array) -> None:
    shifted = _shifted(x)
    np.subtract(shifted, np.log(np.sum(np.exp(shifted), axis=1, keepdims=True)), out)


def log_softmax_backward(grad: Array, log_probs: Array, out: Array) -> None:
    np.subtract(grad, np.exp(log_probs) * np.sum(grad, axis=1, keepdims=True), out)


def _of_labels(weight: Array, labels: Array) -> Array:
    # A label of -1 picks the last class; its row is not counted.
    return weight if weight.ndim == 0 else weight[labels]


def _by_row(factor: Array) -> Array:
    return factor if factor.ndim == 0 else factor[:, np.newaxis]


def cross_entropy(
    logits: Array, labels: Array, weight: Array, out: Array, smoothing: float
) -> None:
    log_probs = np.empty_like(logits)
    log_softmax(logits, log_probs)
    R, C = logits.shape
    losses = -_of_labels(weight, labels) * log_probs[np.arange(R), labels].astype(np.float64)
    if smoothing:
        losses *= 1 - smoothing
        losses -= smoothing / C * np.sum(weight * log_probs.astype(np.float64), axis=1)
    losses[labels < 0] = 0
    out[...] = losses if out.ndim else np.sum(losses, dtype=np.float64)


def cross_entropy_backward(
    grad: Array, logits: Array, labels: Array, weight: Array, out: Array, smoothing: float
) -> None:
    softmax(logits, out)
    R, C = logits.shape
    hits = (1 - smoothing) * _of_labels(weight, labels)
    if smoothing:
        spread = smoothing / C * weight
        total = np.sum(spread) if weight.ndim else C * spread
        out *= _by_row(hits + total)
        out -= spread
        out[np.arange(R), labels] -= hits
        out *= _by_row(grad)
    else:
        out[np.arange(R), labels] -= 1
        out *= _by_row(hits * grad)
    out[labels < 0] = 0


def cross_entropy_and_grad(
    grad: Array,
    logits: Array,
    labels: Array,
    weight: Array,
    out: Array,
    grad_logits: Array,
    smoothing: float,
) -> None:
    cross_entropy(logits, labels, weight, out, smoothing)
    cross_entropy_backward(grad, logits, labels, weight, grad_logits, smoothing)


def one_hot(labels: Array, out: Array) -> None:
    np.equal(labels[:, None], np.arange(out.shape[1]), out, casting="unsafe")


# Normalisation


def moments(x: Array, mean: Array, var: Array) -> None:
    mean[...] = np.mean(x, axis=0, dtype=np.float64)
    var[...] = np.mean((x - np.mean(x, axis=0, dtype=np.float64)) ** 2, axis=0)


def normalize(
    x: Array, mean: Array, var: Array, gamma: Array, beta: Array, out: Array, epsilon: float
) -> None:
    out[...] = (x - mean) / np.sqrt(var + epsilon) * gamma + beta


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
    R = builtins.max(len(x), 1)
    scale = 1 / np.sqrt(var + epsilon)
    normalized = (x - mean) * scale
    grad_beta[...] = np.sum(grad, axis=0, dtype=np.float64)
    grad_gamma[...] = np.sum(grad * normalized, axis=0, dtype=np.float64)
    grad_x[...] = gamma * scale * (grad - grad_beta / R - normalized * grad_gamma / R)


def _normalized_rows(x: Array, epsilon: float) -> tuple[Array, Array]:
    """(x - mean) / sqrt(var + epsilon) of each row, and 1 / sqrt(var + epsilon), in float64."""
    C = builtins.max(x.shape[1], 1)
    distance = x - np.sum(x, axis=1, keepdims=True, dtype=np.float64) / C
    scale = 1 / np.sqrt(np.sum(distance * distance, axis=1, keepdims=True) / C + epsilon)
    return distance * scale, scale


def layer_norm(x: Array, gamma: Array, beta: Array, out: Array, epsilon: float) -> None:
    normalized, _ = _normalized_rows(x, epsilon)
    out[...] = normalized * gamma + beta


def layer_norm_backward(
    grad: Array,
    x: Array,
    gamma: Array,
    grad_x: Array,
    grad_gamma: Array,
    grad_beta: Array,
    epsilon: float,
) -> None:
    C = builtins.max(x.shape[1], 1)
    n, scale = _normalized_rows(x, epsilon)
    g = grad * gamma
    mean_g = np.sum(g, axis=1, keepdims=True, dtype=np.float64) / C
    mean_gn = np.sum(g * n, axis=1, keepdims=True) / C
    grad_x[...] = scale * (g - mean_g - n * mean_gn)
    grad_gamma[...] = np.sum(grad * n, axis=0)
    grad_beta[...] = np.sum(grad, axis=0, dtype=np.float64)


# Random numbers


def dropout_mask(state: Array, out: Array, keep_prob: float) -> None:
    seed, count = state
    numbers = seed + (count + np.arange(1, out.size + 1, dtype=np.uint64)) * np.uint64(GOLDEN)
    numbers = (numbers ^ numbers >> 30) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ numbers >> 27) * np.uint64(0x94D049BB133111EB)
    kept = (numbers ^ numbers >> 31) >> 40 < int(keep_prob * 2**24)
    out[...] = kept.reshape(out.shape) * out.dtype.type(1 / keep_prob)
    state[1] += np.uint64(out.size)


# Data


def load_images(images: Array, index: Array, out: Array) -> None:
    np.multiply(images[index].reshape(out.shape), np.float32(1 / 255), out)


def warp(images: Array, affine: Array, shifts: Array, out: Array) -> None:
    N, H, W, C = images.shape
    if not out.size:
        return
    real = images.dtype.type
    h = (np.arange(H).astype(real) - real((H - 1) / 2))[:, np.newaxis]
    w = np.arange(W).astype(real) - real((W - 1) / 2)
    y, x = (
        affine[:, i, :1, np.newaxis] * h
        + affine[:, i, 1:2, np.newaxis] * w
        + affine[:, i, 2:, np.newaxis]
        + _between(_between(shifts[:, i], W, 2), H, 1)
        for i in (0, 1)
    )
    # A frame of zeros, two pixels wide, so that a point outside the image has four neighbours too.
    pixels = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0))).reshape(-1, C)
    y, x = np.where(y > -2, y, real(-2)), np.where(x > -2, x, real(-2))  # NaN becomes -2, too
    y, x = np.where(y < H, y, real(H)) + 2, np.where(x < W, x, real(W)) + 2
    top, left = y.astype(np.int64), x.astype(np.int64)
    below, right = (y - top.astype(real))[..., np.newaxis], (x - left.astype(real))[..., np.newaxis]
    first = (np.arange(N)[:, np.newaxis, np.newaxis] * (H + 4) + top) * (W + 4) + left
    upper = pixels[first] * (1 - right) + pixels[first + 1] * right
    lower = pixels[first + W + 4] * (1 - right) + pixels[first + W + 5] * right
    out[...] = upper * (1 - below) + lower * below


def _between(x: Array, size: int, axis: int) -> Array:
    """Return x with `size` elements along an axis, by linear interpolation; the ends stay."""
    real, G = x.dtype.type, x.shape[axis]
    place = np.arange(size).astype(real) * (real(G - 1) / real(builtins.max(size - 1, 1)))
    index = np.minimum(place.astype(np.int64), G - 2)
    share = (place - index.astype(real)).reshape(-1, *[1] * (x.ndim - 1 - axis))
    between: Array = x.take(index, axis) * (1 - share) + x.take(index + 1, axis) * share
    return between


# Optimisers


def sgd(grad: Array, lr: Array, param: Array, weight_decay: float) -> None:
    param -= lr.item() * (grad + weight_decay * param if weight_decay else grad)


def sgd_momentum(
    grad: Array,
    lr: Array,
    velocity: Array,
    param: Array,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
) -> None:
    g = grad + weight_decay * param
    velocity *= momentum
    velocity += g
    param -= lr.item() * (g + momentum * velocity if nesterov else velocity)


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
    m *= beta1
    m += (1 - beta1) * grad
    v *= beta2
    v += (1 - beta2) * grad * grad
    m_hat = m / (1 - beta1 ** step.item())
    v_hat = v / (1 - beta2 ** step.item())
    param -= lr.item() * (m_hat / (np.sqrt(v_hat) + epsilon) + weight_decay * param)


def rmsprop(
    grad: Array, lr: Array, square: Array, param: Array, decay: float, epsilon: float
) -> None:
    square *= decay
    square += (1 - decay) * grad * grad
    param -= lr.item() * grad / (np.sqrt(square) + epsilon)


def moving_average(x: Array, decay: Array, average: Array) -> None:
    average *= decay.item()
    average += (1 - decay.item()) * x


# The functions besides kernels that each backend has


def _blas() -> list[dict[str, Any]]:
    """The BLAS libraries of this process. Other packages may have loaded an OpenMP library, too."""
    libraries: list[dict[str, Any]] = threadpoolctl.threadpool_info()
    return [library for library in libraries if library["user_api"] == "blas"]


def num_threads() -> int:
    """Return the number of threads of NumPy's matmul, which are those of the BLAS library."""
    return builtins.max((library["num_threads"] for library in _blas()), default=1)


def set_num_threads(n: int) -> None:
    """Set the number of threads of NumPy's matmul."""
    threadpoolctl.threadpool_limits(n, user_api="blas")


def description() -> str:
    """Return the versions of NumPy and of its BLAS library."""
    blas = _blas()
    library = blas[0]["internal_api"] if blas else "its own matmul"
    return f"numpy {np.__version__} with {library}"
