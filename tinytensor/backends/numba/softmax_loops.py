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
from tinytensor.backends.numba.strides import flat, like

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


# cross_entropy: the kernels get weight, out and grad as vectors, and read them at `index * stride`,
# where the stride of a scalar is 0.


@lowered
def cross_entropy(
    logits: Array, labels: Array, weight: Array, out: Array, smoothing: float
) -> Lowered:
    given = logits, labels, flat(weight), weight.ndim, float(smoothing)
    return _cross_entropy, (*given, flat(out), out.ndim)


@kernel("real[:, ::1], int64[::1], real[::1], int64, float64, real[::1], int64")
def _cross_entropy(logits, labels, weight, weight_stride, smoothing, out, out_stride):
    _losses(logits, labels, weight, weight_stride, smoothing, out, out_stride)


@subroutine
def _losses(logits, labels, weight, weight_stride, smoothing, out, out_stride):
    R, C = logits.shape
    short = C < ABREAST
    exps = np.empty((R if short else 1, C), logits.dtype)
    side, peaks = np.empty(ABREAST, logits.dtype), np.empty(R, logits.dtype)
    for r in range(R):
        peaks[r] = _largest(logits, r, side)
        for c in range(C if short else 0):
            exps[r, c] = logits[r, c] - peaks[r]
    if short:
        _exp(exps.reshape(-1))
    total = 0.0
    for r in range(R):
        loss, label, largest = 0.0, labels[r], peaks[r]
        if label >= 0:
            for c in range(0 if short else C):
                exps[0, c] = logits[r, c] - largest
            if not short:
                _exp(exps[0])
            log_total = math.log(_row_sum(exps, r if short else 0))
            loss = log_total + (largest - logits[r, label])
            loss *= (1 - smoothing) * weight[label * weight_stride]
            if smoothing > 0:
                spread = 0.0
                for c in range(C):
                    spread += weight[c * weight_stride] * (log_total + (largest - logits[r, c]))
                loss += smoothing / C * spread
        total += loss
        if out_stride:
            out[r] = loss
    if not out_stride:
        out[0] = total


@lowered
def cross_entropy_backward(
    grad: Array, logits: Array, labels: Array, weight: Array, out: Array, smoothing: float
) -> Lowered:
    given = logits, labels, flat(weight), weight.ndim, float(smoothing)
    return _cross_entropy_backward, (*given, flat(grad), grad.ndim, out)


@kernel("real[:, ::1], int64[::1], real[::1], int64, float64, real[::1], int64, real[:, ::1]")
def _cross_entropy_backward(
    logits, labels, weight, weight_stride, smoothing, grad, grad_stride, out
):
    _gradients(logits, labels, weight, weight_stride, smoothing, grad, grad_stride, out)


@subroutine
def _gradients(logits, labels, weight, weight_stride, smoothing, grad, grad_stride, out):
    R, C = logits.shape
    _softmax_rows(logits, out)
    weights = 0.0
    for c in range(C):
        weights += weight[c * weight_stride]
    for r in range(R):
        label = labels[r]
        if label < 0:
            out[r] = 0
            continue
        hit = (1 - smoothing) * weight[label * weight_stride]
        factor = np.float64(grad[r * grad_stride])
        if smoothing > 0:
            spread = smoothing / C
            total = hit + spread * weights
            for c in range(C):
                out[r, c] = out[r, c] * total - spread * weight[c * weight_stride]
            out[r, label] -= hit
        else:
            out[r, label] -= 1
            factor *= hit
        row, scale = out[r], like(out, factor)
        for c in range(C):
            row[c] *= scale


@lowered
def cross_entropy_and_grad(
    grad: Array,
    logits: Array,
    labels: Array,
    weight: Array,
    out: Array,
    grad_logits: Array,
    smoothing: float,
) -> Lowered:
    given = logits, labels, flat(weight), weight.ndim, float(smoothing)
    arrays = flat(grad), flat(out), out.ndim, grad_logits
    return _cross_entropy_and_grad, (*given, *arrays)


@kernel(
    "real[:, ::1], int64[::1], real[::1], int64, float64, real[::1], real[::1], int64, real[:, ::1]"
)
def _cross_entropy_and_grad(
    logits, labels, weight, weight_stride, smoothing, grad, out, stride, grad_logits
):
    _losses(logits, labels, weight, weight_stride, smoothing, out, stride)
    _gradients(logits, labels, weight, weight_stride, smoothing, grad, stride, grad_logits)


@lowered
def one_hot(labels: Array, out: Array) -> Lowered:
    return _one_hot, (out, labels)


@kernel("real[:, ::1], int64[::1]")
def _one_hot(out, labels):
    R, C = out.shape
    for r in range(R):
        for c in range(C):
            out[r, c] = c == labels[r]
