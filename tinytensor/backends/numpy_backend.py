"""The NumPy backend: what every kernel means, in the fewest words.

This is the living definition: where backends disagree, this one is right. The shapes stand in
tinytensor/kernels.py.
"""

import math

import numpy as np
import threadpoolctl

from tinytensor.kernels import Array

# Broadcasting


def add(x: Array, y: Array, out: Array) -> None:
    np.add(x, y, out)


def sub(x: Array, y: Array, out: Array) -> None:
    np.subtract(x, y, out)


def mul(x: Array, y: Array, out: Array) -> None:
    np.multiply(x, y, out)


def div(x: Array, y: Array, out: Array) -> None:
    np.divide(x, y, out)


# Element by element


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


def sigmoid(x: Array, out: Array) -> None:
    # e^-|x| can't overflow, and 1 / (1 + e^-x) = e^x / (1 + e^x)
    e = np.exp(-np.abs(x))
    np.divide(np.where(x < 0, e, 1), 1 + e, out)


# Reductions and layout


def sum(x: Array, out: Array) -> None:
    front = x.ndim - out.ndim
    axes = [axis for axis in range(x.ndim) if axis < front or out.shape[axis - front] == 1]
    out[...] = np.sum(x, axis=tuple(axes), dtype=np.float64).reshape(out.shape)


def broadcast_to(x: Array, out: Array) -> None:
    np.copyto(out, x)


def argmax(x: Array, out: Array) -> None:
    np.argmax(x, axis=1, out=out)


def transpose(x: Array, out: Array, axes: tuple[int, ...]) -> None:
    np.copyto(out, np.transpose(x, axes))


# Linear algebra


def matmul(x: Array, y: Array, out: Array, transpose_x: bool, transpose_y: bool) -> None:
    np.matmul(x.T if transpose_x else x, y.T if transpose_y else y, out)


# Classification. A row's largest score is subtracted first: the result is the same, and nothing
# overflows. `initial` is for rows without columns, which have no largest.


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


def cross_entropy(logits: Array, labels: Array, out: Array) -> None:
    log_probs = np.empty_like(logits)
    log_softmax(logits, log_probs)
    R = len(labels)
    out[...] = -np.sum(log_probs[np.arange(R), labels], dtype=np.float64) / R if R else math.nan


def cross_entropy_backward(grad: Array, logits: Array, labels: Array, out: Array) -> None:
    softmax(logits, out)
    R = len(labels)
    out[np.arange(R), labels] -= 1
    out *= grad / max(R, 1)


def one_hot(labels: Array, out: Array) -> None:
    np.equal(labels[:, None], np.arange(out.shape[1]), out, casting="unsafe")


# Data


def load_images(images: Array, index: Array, out: Array) -> None:
    np.multiply(images[index], np.float32(1 / 255), out)


# Optimisers


def sgd(grad: Array, lr: Array, param: Array) -> None:
    param -= lr.astype(param.dtype) * grad


# Not kernels: what every backend tells and takes


def num_threads() -> int:
    """The threads of NumPy's matmul: the BLAS library's."""
    counts = [library["num_threads"] for library in threadpoolctl.threadpool_info()]
    return max(counts, default=1)


def set_num_threads(n: int) -> None:
    """Let NumPy's matmul use up to n threads."""
    threadpoolctl.threadpool_limits(n)


def description() -> str:
    """Versions."""
    blas = [library["internal_api"] for library in threadpoolctl.threadpool_info()]
    return f"numpy {np.__version__} with {blas[0] if blas else 'its own matmul'}"
