"""softmax, log_softmax and cross_entropy of rows of scores, and their gradients.

The largest score of a row is subtracted first. The result is the same, and exp does not overflow.
One loop computes exp for all short rows together, because a short row does not fill a register.
Sums are computed in float64.
"""

import math
from functools import partial

import numpy as np

from tinytensor.arrays import Array
from tinytensor.backends.lowering import Lowered, lowered
from tinytensor.backends.numba.compiling import REASSOCIATE, kernel, subroutine
from tinytensor.backends.numba.exponential import exponential
from tinytensor.backends.numba.strides import like

ABREAST = 32  # independent comparisons in a long row


@subroutine
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


@partial(subroutine, fastmath=REASSOCIATE)
def _row_sum(x, r):
    total = 0.0
    for c in range(x.shape[1]):
        total += x[r, c]
    return total


@subroutine
def _exp(flat):
    for i in range(len(flat)):
        flat[i] = exponential(flat[i])


@subroutine
def _divide_by_sum(out, r):
    factor = out.dtype.type(1 / _row_sum(out, r))
    for c in range(out.shape[1]):
        out[r, c] *= factor


@subroutine
def _softmax_rows(x, out):
    R, C = x.shape
    side = np.empty(ABREAST, x.dtype)
    for r in range(R if C else 0):
        largest = _largest(x, r, side)
        for c in range(C):
            out[r, c] = x[r, c] - largest
        if C >= ABREAST:
            _exp(out[r])
            _divide_by_sum(out, r)
    if 0 < C < ABREAST:
        _exp(out.reshape(-1))
        for r in range(R):
            _divide_by_sum(out, r)


@lowered
def softmax(x: Array, out: Array) -> Lowered:
    return _softmax, (x, out)


@kernel("real[:, ::1], real[:, ::1]")
def _softmax(x, out):
    _softmax_rows(x, out)


@lowered
def softmax_backward(grad: Array, probs: Array, out: Array) -> Lowered:
    return _softmax_backward, (grad, probs, out)


@kernel("real[:, ::1], real[:, ::1], real[:, ::1]", REASSOCIATE)
def _softmax_backward(grad, probs, out):
    R, C = grad.shape
    for r in range(R):
        dot = 0.0
        for c in range(C):
            dot += grad[r, c] * probs[r, c]
        for c in range(C):
            out[r, c] = probs[r, c] * (grad[r, c] - dot)


@lowered
def log_softmax(x: Array, out: Array) -> Lowered:
    return _log_softmax, (x, out)


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


@lowered
def log_softmax_backward(grad: Array, log_probs: Array, out: Array) -> Lowered:
    return _log_softmax_backward, (grad, log_probs, out)


@kernel("real[:, ::1], real[:, ::1], real[:, ::1]")
def _log_softmax_backward(grad, log_probs, out):
    R, C = grad.shape
    for r in range(R):
        total = 0.0
        for c in range(C):
            total += grad[r, c]
        for c in range(C):
            out[r, c] = grad[r, c] - exponential(log_probs[r, c]) * total


@lowered
def cross_entropy(logits: Array, labels: Array, out: Array) -> Lowered:
    return _cross_entropy, (logits, labels, out.reshape(-1))


@kernel("real[:, ::1], int64[::1], real[::1]")
def _cross_entropy(logits, labels, out):
    _mean_loss(logits, labels, out)


@subroutine
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


@lowered
def cross_entropy_backward(grad: Array, logits: Array, labels: Array, out: Array) -> Lowered:
    return _cross_entropy_backward, (logits, labels, grad.reshape(-1), out)


@kernel("real[:, ::1], int64[::1], real[::1], real[:, ::1]")
def _cross_entropy_backward(logits, labels, grad, out):
    _gradient_of_mean_loss(logits, labels, grad, out)


@subroutine
def _gradient_of_mean_loss(logits, labels, grad, out):
    _softmax_rows(logits, out)
    for r in range(len(labels)):
        out[r, labels[r]] -= 1
    flat, factor = out.reshape(-1), like(out, np.float64(grad[0]) / max(len(labels), 1))
    for i in range(len(flat)):
        flat[i] *= factor


@lowered
def cross_entropy_and_grad(
    grad: Array, logits: Array, labels: Array, out: Array, grad_logits: Array
) -> Lowered:
    return _cross_entropy_and_grad, (logits, labels, grad.reshape(-1), out.reshape(-1), grad_logits)


@kernel("real[:, ::1], int64[::1], real[::1], real[::1], real[:, ::1]")
def _cross_entropy_and_grad(logits, labels, grad, out, grad_logits):
    _mean_loss(logits, labels, out)
    _gradient_of_mean_loss(logits, labels, grad, grad_logits)


@lowered
def one_hot(labels: Array, out: Array) -> Lowered:
    return _one_hot, (out, labels)


@kernel("real[:, ::1], int64[::1]")
def _one_hot(out, labels):
    R, C = out.shape
    for r in range(R):
        for c in range(C):
            out[r, c] = c == labels[r]
