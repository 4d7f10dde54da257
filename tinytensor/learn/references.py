"""What the functions of the exercises must compute: NumPy, in float64.

A reference has the arguments of its function, without the arrays that the function only writes. It
returns the arrays that the function changes or writes, in the order of the arguments.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinytensor.arrays import Array


def neuron(x: Array, weight: Array, bias: Array) -> Any:
    """The weighted sum, plus the bias, as an array (1,)."""
    return (x * weight).sum() + bias


def add(x: Array, b: Array) -> Any:
    """The sum, with b added to each row."""
    return x + b


def add_backward(grad: Array) -> Any:
    """The sum over the rows."""
    return grad.sum(axis=0)


def softmax(x: Array) -> Any:
    """The softmax of each row."""
    powers = np.exp(x - x.max(axis=1, keepdims=True, initial=-np.inf))
    return powers / powers.sum(axis=1, keepdims=True)


def cross_entropy(x: Array, labels: Array) -> Any:
    """The cross-entropy of each row."""
    largest = x.max(axis=1)
    total = np.exp(x - largest[:, None]).sum(axis=1)
    return largest + np.log(total) - x[np.arange(len(x)), labels]


def cross_entropy_backward(x: Array, labels: Array) -> Any:
    """The gradient of the sum of the losses."""
    return softmax(x) - np.eye(x.shape[1])[labels]


def matmul(x: Array, y: Array) -> Any:
    """The matrix product."""
    return x @ y


def matmul_backward_x(grad: Array, y: Array) -> Any:
    """The gradient of the matrix product by its left matrix."""
    return grad @ y.T


def matmul_backward_y(x: Array, grad: Array) -> Any:
    """The gradient of the matrix product by its right matrix."""
    return x.T @ grad


def conv2d(x: Array, weight: Array) -> Any:
    """The convolution with stride 1 and without padding."""
    windows = np.lib.stride_tricks.sliding_window_view(x, weight.shape[:2], axis=(1, 2))
    return np.einsum("npqiab,abio->npqo", windows, weight)


def conv2d_backward_x(grad: Array, weight: Array) -> Any:
    """The gradient of the convolution by the images."""
    A, B = weight.shape[:2]
    N, P, Q, _ = grad.shape
    grad_x = np.zeros((N, P + A - 1, Q + B - 1, weight.shape[2]))
    for a in range(A):
        for b in range(B):
            grad_x[:, a : a + P, b : b + Q] += grad @ weight[a, b].T
    return grad_x


def conv2d_backward_weight(x: Array, grad: Array) -> Any:
    """The gradient of the convolution by the weights."""
    windows = np.lib.stride_tricks.sliding_window_view(x, grad.shape[1:3], axis=(1, 2))
    return np.einsum("nabipq,npqo->abio", windows, grad)


def sgd(p: Array, grad: Array, rate: float) -> Any:
    """One step of SGD: p."""
    return p - rate * grad


def momentum(p: Array, velocity: Array, grad: Array, rate: float) -> Any:
    """One step with momentum: p, velocity."""
    velocity = 0.9 * velocity + grad
    return p - rate * velocity, velocity


def adam(p: Array, m: Array, v: Array, grad: Array, rate: float, step: int) -> Any:
    """One step of Adam: p, m, v."""
    m, v = 0.9 * m + 0.1 * grad, 0.999 * v + 0.001 * grad**2
    change = m / (1 - 0.9**step) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
    return p - rate * change, m, v
