"""Batch and layer normalisation, forward and backward."""

import math

import numpy as np

from tinytensor.arrays import Array
from tinytensor.backends.lowering import Lowered, lowered
from tinytensor.backends.numba.compiling import REASSOCIATE, kernel, subroutine


@lowered
def moments(x: Array, mean: Array, var: Array) -> Lowered:
    return _moments, (x, mean, var)


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


@lowered
def normalize(
    x: Array, mean: Array, var: Array, gamma: Array, beta: Array, out: Array, epsilon: float
) -> Lowered:
    return _normalize, (x, mean, var, gamma, beta, out, epsilon)


@kernel("real[:, ::1], real[::1], real[::1], real[::1], real[::1], real[:, ::1], float64")
def _normalize(x, mean, var, gamma, beta, out, epsilon):
    R, C = x.shape
    scale = np.empty(C, x.dtype)
    for c in range(C):
        scale[c] = gamma[c] / math.sqrt(var[c] + epsilon)
    for r in range(R):
        for c in range(C):
            out[r, c] = (x[r, c] - mean[c]) * scale[c] + beta[c]


@lowered
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
) -> Lowered:
    return _batch_norm_backward, (grad, x, mean, var, gamma, grad_x, grad_gamma, grad_beta, epsilon)


@kernel(
    "real[:, ::1], real[:, ::1], real[::1], real[::1], real[::1],"
    "real[:, ::1], real[::1], real[::1], float64"
)
def _batch_norm_backward(grad, x, mean, var, gamma, grad_x, grad_gamma, grad_beta, epsilon):
    R, C = x.shape
    if not R:  # mean and var are NaN, and an empty sum is 0
        grad_gamma[:], grad_beta[:] = 0, 0
        return
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


@subroutine
def _row_moments(x, r, epsilon):
    """Return the mean of a row, and 1 / sqrt(variance + epsilon), in float64."""
    C = x.shape[1]
    total, squares = 0.0, 0.0
    for c in range(C):
        total += x[r, c]
    mean = total / C
    for c in range(C):
        squares += (x[r, c] - mean) * (x[r, c] - mean)
    return mean, 1 / math.sqrt(squares / C + epsilon)


@lowered
def layer_norm(x: Array, gamma: Array, beta: Array, out: Array, epsilon: float) -> Lowered:
    return _layer_norm, (x, gamma, beta, out, epsilon)


@kernel("real[:, ::1], real[::1], real[::1], real[:, ::1], float64", REASSOCIATE)
def _layer_norm(x, gamma, beta, out, epsilon):
    R, C = x.shape
    for r in range(R):
        mean, scale = _row_moments(x, r, epsilon)
        for c in range(C):
            out[r, c] = (x[r, c] - mean) * scale * gamma[c] + beta[c]


@lowered
def layer_norm_backward(
    grad: Array,
    x: Array,
    gamma: Array,
    grad_x: Array,
    grad_gamma: Array,
    grad_beta: Array,
    epsilon: float,
) -> Lowered:
    return _layer_norm_backward, (grad, x, gamma, grad_x, grad_gamma, grad_beta, epsilon)


@kernel(
    "real[:, ::1], real[:, ::1], real[::1], real[:, ::1], real[::1], real[::1], float64",
    REASSOCIATE,
)
def _layer_norm_backward(grad, x, gamma, grad_x, grad_gamma, grad_beta, epsilon):
    R, C = x.shape
    by_gamma, by_beta = np.zeros(C), np.zeros(C)
    for r in range(R):
        mean, scale = _row_moments(x, r, epsilon)
        sum_g, sum_gn = 0.0, 0.0
        for c in range(C):
            g, n = grad[r, c] * gamma[c], (x[r, c] - mean) * scale
            sum_g += g
            sum_gn += g * n
        for c in range(C):
            g, n = grad[r, c] * gamma[c], (x[r, c] - mean) * scale
            grad_x[r, c] = scale * (g - sum_g / C - n * (sum_gn / C))
            by_beta[c] += grad[r, c]
            by_gamma[c] += grad[r, c] * n
    for c in range(C):
        grad_gamma[c], grad_beta[c] = by_gamma[c], by_beta[c]
