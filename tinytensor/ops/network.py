"""What networks are made of: layers without memory, and losses.

Batches come first and channels last: rows (N, C), images (N, H, W, C). What is a sum, product or
mean of other ops is written as that formula; where one kernel does a whole backward (softmax,
cross-entropy, convolution), that kernel is an op of its own, so that it too can be differentiated.

Raises, all of them: ShapeError for shapes that don't fit, DTypeError for labels that aren't
integers, LabelError for labels outside the classes, SettingError for numbers that make no sense.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from tinytensor import kernels, random, recorder, tensor
from tinytensor.arrays import Array
from tinytensor.autograd import is_grad_enabled, record
from tinytensor.errors import DTypeError, LabelError, SettingError, ShapeError
from tinytensor.ops.elementwise import abs as absolute
from tinytensor.ops.elementwise import exp, softplus
from tinytensor.ops.index import gather, take
from tinytensor.ops.linalg import matmul
from tinytensor.ops.operands import (
    Axis,
    Operand,
    all_axes,
    as_alike,
    as_array,
    as_float,
    as_rows,
    cast,
    one_axis,
    per_channel,
    same_shape,
    torch_spelling,
    whole,
)
from tinytensor.ops.reduce import max as largest
from tinytensor.ops.reduce import mean, move_axis, norm, sum, var

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from tinytensor.tensor import Tensor

__all__ = [
    "batch_norm",
    "batch_norm_and_moments",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "dropout",
    "embedding",
    "l1_loss",
    "layer_norm",
    "linear",
    "log_softmax",
    "mse_loss",
    "one_hot",
    "softmax",
]

Pair: TypeAlias = tuple[int, int]
Reduction: TypeAlias = Literal["mean", "sum", "none"]


def linear(x: Operand, weight: Operand, bias: Operand | None = None) -> Tensor:
    """x . weight + bias.  dx = grad . weight^T, dweight = x^T . grad, dbias = grad, summed.

    x (..., I), weight (I, O), bias (O); the result (..., O).
    """
    x, weight = as_alike("linear", x, weight)
    if weight.ndim != 2 or not x.ndim or x.shape[-1] != weight.shape[0]:
        inner = x.shape[-1] if x.ndim else "I"
        raise ShapeError.drawn(
            "linear: inner sizes differ",
            {"x": (x.shape, [x.ndim - 1]), "weight": (weight.shape, [0])},
            f"a weight of shape ({inner}, outputs) is needed",
        )
    bias = per_channel("linear", "bias", bias, x, weight.shape[1])
    product = matmul(x, weight)
    return product if bias is None else product + bias


# From scores to probabilities -------------------------------------------------------------------


@torch_spelling
def softmax(x: Operand, axis: int = -1, norm: int = 1) -> Tensor:
    """Probabilities p = e^x / sum of e^x along an axis.  dx = p * (grad - sum of grad * p).

    norm: 2 divides by the Euclidean norm of e^x instead, the root of the sum of its squares; with
        p so made, dx = p * (grad - p * sum of grad * p).
    """
    x = as_float("softmax", x)
    axis = one_axis("softmax", axis, x.ndim)
    if norm != 1:
        return _softmax_of_norm(x, axis, norm)
    if axis != x.ndim - 1:
        return move_axis(softmax(move_axis(x, axis, x.ndim - 1)), x.ndim - 1, axis)
    out = np.empty(x.shape, x.dtype)
    kernels.softmax(as_rows(x.array), as_rows(out))

    def backward(grad: Tensor, probs: Tensor) -> tuple[Tensor | None, ...]:
        return (softmax_backward(grad, probs),)

    return record("softmax", out, (x,), backward, keep_out=True)


def _softmax_of_norm(x: Tensor, axis: int, ord: int) -> Tensor:
    if ord != 2:
        raise SettingError(f"softmax: got norm={ord}; 1 or 2 is needed")
    e = exp(x - largest(x.detach(), axis, keepdims=True)) if x.size else exp(x)
    return e / norm(e, 2, axis, keepdims=True)


def softmax_backward(grad: Operand, probs: Operand) -> Tensor:
    """probs * (grad - sum of grad * probs), along the last axis; both of one shape.

    With its gradient g: dgrad = the same of g, dprobs = g * (grad - sum of grad * probs) -
    grad * sum of g * probs.
    """
    grad, probs = as_alike("softmax_backward", grad, probs)
    same_shape("softmax_backward", grad, probs)
    out = np.empty(grad.shape, grad.dtype)
    kernels.softmax_backward(as_rows(grad.array), as_rows(probs.array), as_rows(out))

    def backward(upstream: Tensor) -> tuple[Tensor | None, ...]:
        dot = sum(grad * probs, axis=-1, keepdims=True)
        upstream_dot = sum(upstream * probs, axis=-1, keepdims=True)
        return softmax_backward(upstream, probs), upstream * (grad - dot) - grad * upstream_dot

    return record("softmax_backward", out, (grad, probs), backward, (grad, probs))


@torch_spelling
def log_softmax(x: Operand, axis: int = -1) -> Tensor:
    """x - log(sum of e^x) along an axis.  dx = grad - softmax(x) * sum of grad."""
    x = as_float("log_softmax", x)
    axis = one_axis("log_softmax", axis, x.ndim)
    if axis != x.ndim - 1:
        return move_axis(log_softmax(move_axis(x, axis, x.ndim - 1)), x.ndim - 1, axis)
    out = np.empty(x.shape, x.dtype)
    kernels.log_softmax(as_rows(x.array), as_rows(out))

    def backward(grad: Tensor, log_probs: Tensor) -> tuple[Tensor | None, ...]:
        return (log_softmax_backward(grad, log_probs),)

    return record("log_softmax", out, (x,), backward, keep_out=True)


def log_softmax_backward(grad: Operand, log_probs: Operand) -> Tensor:
    """grad - e^log_probs * sum of grad, along the last axis; both of one shape.

    With its gradient g and p = e^log_probs: dgrad = g - sum of g * p,
    dlog_probs = -g * p * sum of grad.
    """
    grad, log_probs = as_alike("log_softmax_backward", grad, log_probs)
    same_shape("log_softmax_backward", grad, log_probs)
    out = np.empty(grad.shape, grad.dtype)
    kernels.log_softmax_backward(as_rows(grad.array), as_rows(log_probs.array), as_rows(out))

    def backward(upstream: Tensor) -> tuple[Tensor | None, ...]:
        weighted = upstream * exp(log_probs)
        grad_total = sum(grad, axis=-1, keepdims=True)
        return upstream - sum(weighted, axis=-1, keepdims=True), -weighted * grad_total

    return record("log_softmax_backward", out, (grad, log_probs), backward, (grad, log_probs))


# Losses -----------------------------------------------------------------------------------------


def _reduced(op: str, loss: Tensor, reduction: Reduction) -> Tensor:
    if reduction == "none":
        return loss
    if reduction not in ("mean", "sum"):
        raise SettingError(f"{op}: got reduction={reduction!r}; 'mean', 'sum' or 'none' is needed")
    return mean(loss) if reduction == "mean" else sum(loss)


def cross_entropy(logits: Operand, labels: Operand, reduction: Reduction = "mean") -> Tensor:
    """How far softmax(logits) is from the right answers: -log p(right class), mean over the R rows.

    logits (R, C); labels (R), integers from 0 to C-1, or (R, C), one-hot rows or probabilities.
    reduction: "mean", "sum", or "none" for one loss each, (R).
    dlogits = (softmax(logits) - one_hot(labels)) * grad / R.

    Raises LabelError for an integer outside 0 ... C-1.
    """
    logits = as_float("cross_entropy", logits)
    if logits.ndim != 2 or not logits.shape[1]:
        raise ShapeError(f"cross_entropy: got logits of shape {logits.shape}; (R, C) is needed")
    R, C = logits.shape
    given = as_array("cross_entropy", labels)
    if given.shape == (R, C):
        weights = cast(labels, logits.dtype)
        return _reduced("cross_entropy", -sum(weights * log_softmax(logits), axis=1), reduction)
    if given.shape != (R,):
        raise ShapeError(
            f"cross_entropy: got labels of shape {given.shape} for logits of shape {(R, C)}; "
            f"({R},) class numbers or {(R, C)} probabilities are needed"
        )
    right = _class_numbers("cross_entropy", given, C)
    if reduction != "mean":
        picked = gather(log_softmax(logits), right[:, np.newaxis], axis=1)
        return _reduced("cross_entropy", -picked.reshape(R), reduction)
    out = np.empty((), logits.dtype)
    kernels.cross_entropy(logits.array, right, out)

    def backward(grad: Tensor) -> tuple[Tensor | None, ...]:
        return (cross_entropy_backward(grad, logits, right),)

    return record("cross_entropy", out, (logits,), backward, (logits,))


def cross_entropy_backward(grad: Tensor, logits: Tensor, labels: Array) -> Tensor:
    """(softmax(logits) - one_hot(labels)) * grad / R.

    grad (), logits (R, C) of its dtype, labels (R) int64, as cross_entropy has checked them.

    With its gradient g: dgrad = sum of g * (softmax(logits) - one_hot(labels)) / R, dlogits =
    softmax_backward(g, softmax(logits)) * grad / R.
    """
    R, C = logits.shape
    out = np.empty(logits.shape, logits.dtype)
    kernels.cross_entropy_backward(grad.array, logits.array, labels, out)

    def backward(upstream: Tensor) -> tuple[Tensor | None, ...]:
        probs = softmax(logits)
        error = probs - one_hot(labels, C, probs.dtype)
        return sum(upstream * error) / R, softmax_backward(upstream, probs) * (grad / R)

    return record("cross_entropy_backward", out, (grad, logits), backward, (grad, logits))


def mse_loss(x: Operand, target: Operand, reduction: Reduction = "mean") -> Tensor:
    """The squared distance (x - target)^2.  dx = grad * 2 (x - target), divided if it is a mean."""
    x, target = as_alike("mse_loss", x, target, floats=True)
    same_shape("mse_loss", x, target)
    distance = x - target
    return _reduced("mse_loss", distance * distance, reduction)


def l1_loss(x: Operand, target: Operand, reduction: Reduction = "mean") -> Tensor:
    """The distance |x - target|.  dx = grad * sign(x - target), divided if it is a mean."""
    x, target = as_alike("l1_loss", x, target, floats=True)
    same_shape("l1_loss", x, target)
    return _reduced("l1_loss", absolute(x - target), reduction)


def binary_cross_entropy_with_logits(
    logits: Operand, target: Operand, reduction: Reduction = "mean"
) -> Tensor:
    """-target * log(s) - (1 - target) * log(1 - s), s = sigmoid(logits), without overflow.

    target: 0, 1 or a probability for every logit. dlogits = grad * (s - target).
    """
    logits, target = as_alike("binary_cross_entropy_with_logits", logits, target, floats=True)
    same_shape("binary_cross_entropy_with_logits", logits, target)
    loss = softplus(logits) - logits * target
    return _reduced("binary_cross_entropy_with_logits", loss, reduction)


# Classes and words ------------------------------------------------------------------------------


def _class_numbers(op: str, labels: Array, classes: int) -> Array:
    """Class labels (R) as int64, each from 0 to classes - 1."""
    if labels.dtype.kind not in "iu" and labels.size:
        raise DTypeError(f"{op}: got labels of {labels.dtype}; integers are needed")
    kept = _kept(labels).reshape(-1)
    recorder.each_step(
        lambda labels: _check_labels(op, labels, classes), reads=(kept,), settings=(op, classes)
    )
    return kept


def _kept(labels: Array) -> Array:
    """Labels as int64 in memory that stays as it is, because backward will read them again."""
    if notes := recorder.recorder():
        is_fit = labels.dtype == np.int64 and labels.flags.c_contiguous
        if is_fit and notes.is_argument(labels):
            return labels
        copy = np.empty(labels.shape, np.int64)
        kernels.cast(np.ascontiguousarray(labels), copy)
        return copy
    return np.array(labels, np.int64)


def _check_labels(op: str, labels: Array, classes: int) -> None:
    # Seen as unsigned, a negative label is a huge one: one comparison finds both mistakes.
    if labels.size and np.maximum.reduce(labels.view(np.uint64)) >= classes:
        wrong = labels[(labels < 0) | (labels >= classes)][0]
        raise LabelError(
            f"{op}: got label {wrong}; with {classes} classes, 0 to {classes - 1} is needed"
        )


def one_hot(labels: Operand, classes: int, dtype: DTypeLike = "float32") -> Tensor:
    """A row for each label: 1 in its column, else 0; no gradient.

    labels (...) integers; the result (..., classes).

    Raises LabelError for a label outside 0 ... classes - 1.
    """
    classes = whole("one_hot", "classes", classes)
    given = as_array("one_hot", labels)
    out = np.empty((*given.shape, classes), tensor.checked_dtype("one_hot", dtype))
    kernels.one_hot(_class_numbers("one_hot", given, classes), as_rows(out))
    return tensor.wrap(out)


def embedding(weight: Operand, index: Operand) -> Tensor:
    """The rows of weight (N, C) at these integers (...): (..., C).  dweight as weight[index]."""
    return take(weight, index, axis=0)


# Chance -----------------------------------------------------------------------------------------


def dropout(
    x: Operand, keep_prob: float = 0.5, training: bool = True, channels: bool = False
) -> Tensor:
    """Each number is kept with probability keep_prob and divided by it, else 0: the mean stays.

    keep_prob: above 0, at most 1. torch's p is 1 - keep_prob.
    training: x itself if False.
    channels: keep or drop whole channels of x (N, ..., C) rather than single numbers.
    dx = grad * the same mask. The masks follow manual_seed, bit by bit alike on every backend.

    Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, 2014.
    """
    x = as_float("dropout", x)
    check_keep_prob("dropout", keep_prob)
    if channels and x.ndim < 2:
        raise ShapeError(f"dropout: got shape {x.shape}; channels are the last of 2 axes or more")
    if not training or keep_prob == 1:
        return x
    shape = (x.shape[0], *(1,) * (x.ndim - 2), x.shape[-1]) if channels else x.shape
    mask = np.empty(shape, x.dtype)
    kernels.dropout_mask(random.state(), mask, keep_prob)
    return x * tensor.wrap(mask)


def check_keep_prob(op: str, keep_prob: float) -> None:
    """Raises SettingError for what is no probability, and for 0, which would keep nothing."""
    if not 0 < keep_prob <= 1:
        raise SettingError(f"{op}: got keep_prob={keep_prob}; above 0, at most 1, is needed")


# Normalisation ----------------------------------------------------------------------------------


def batch_norm(
    x: Operand,
    gamma: Operand | None = None,
    beta: Operand | None = None,
    mean_: Operand | None = None,
    var_: Operand | None = None,
    epsilon: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(var + epsilon) * gamma + beta, for each channel.

    x (..., C); gamma and beta (C), or None for 1 and 0.
    mean_, var_ (C): given for a test; where None, x's own over all axes but the last, as in
        training (see batch_norm_and_moments).
    dx = grad * gamma / sqrt(var + epsilon) if mean and var are given.

    Raises ShapeError for what isn't one number for each channel.
    """
    if mean_ is None or var_ is None:
        return batch_norm_and_moments(x, gamma, beta, epsilon)[0]
    x = _with_channels(x)
    each = (("gamma", gamma), ("beta", beta), ("mean_", mean_), ("var_", var_))
    gamma, beta, mean_, var_ = (
        per_channel("batch_norm", name, given, x, x.shape[-1]) for name, given in each
    )
    return _normalize("batch_norm", x, mean_, var_, gamma, beta, epsilon)  # type: ignore[arg-type]


def batch_norm_and_moments(
    x: Operand,
    gamma: Operand | None = None,
    beta: Operand | None = None,
    epsilon: float = 1e-5,
) -> tuple[Tensor, Tensor, Tensor]:
    """Batch norm by x's own moments, and these: (result, mean (C), var (C)).

    The moments carry no gradient of their own. With R examples of each channel and n the normalised
    x: dbeta = sum of grad, dgamma = sum of grad * n,
    dx = gamma / sqrt(var + epsilon) * (grad - dbeta / R - n * dgamma / R).

    Ioffe and Szegedy, 2015.
    """
    x = _with_channels(x)
    if epsilon < 0:
        raise SettingError(f"batch_norm: got epsilon={epsilon}; a number from 0 up is needed")
    C = x.shape[-1]
    gamma = per_channel("batch_norm", "gamma", gamma, x, C)
    beta = per_channel("batch_norm", "beta", beta, x, C)
    gamma = tensor.wrap(np.ones(C, x.dtype)) if gamma is None else gamma
    beta = tensor.wrap(np.zeros(C, x.dtype)) if beta is None else beta
    mean_, var_ = np.empty(C, x.dtype), np.empty(C, x.dtype)
    out = np.empty(x.shape, x.dtype)
    kernels.moments(as_rows(x.array), mean_, var_)
    kernels.normalize(as_rows(x.array), mean_, var_, gamma.array, beta.array, as_rows(out), epsilon)

    def backward(grad: Tensor) -> tuple[Tensor | None, ...]:
        if is_grad_enabled():  # a second derivative is wanted: the same, made of ops
            axes = tuple(range(x.ndim - 1))
            scale = (var(x, axes) + epsilon).rsqrt()
            n = (x - mean(x, axes)) * scale
            centred = grad - mean(grad, axes) - n * mean(grad * n, axes)
            return gamma * scale * centred, sum(grad * n, axes), sum(grad, axes)
        dx, dgamma, dbeta = (np.empty(a.shape, x.dtype) for a in (x, gamma, beta))
        arrays = as_rows(grad.array), as_rows(x.array), mean_, var_, gamma.array
        kernels.batch_norm_backward(*arrays, as_rows(dx), dgamma, dbeta, epsilon)
        return tensor.wrap(dx), tensor.wrap(dgamma), tensor.wrap(dbeta)

    result = record("batch_norm", out, (x, gamma, beta), backward, (x, gamma))
    return result, tensor.wrap(mean_), tensor.wrap(var_)


def _with_channels(x: Operand) -> Tensor:
    x = as_float("batch_norm", x)
    if not x.ndim:
        raise ShapeError("batch_norm: got a single number; (..., C) is needed")
    return x


def layer_norm(
    x: Operand,
    gamma: Operand | None = None,
    beta: Operand | None = None,
    axis: Axis = -1,
    epsilon: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(var + epsilon) * gamma + beta, for each example over its last axis (axes).

    Ba, Kiros and Hinton, 2016. x (..., C); gamma and beta of the shape of the axes, or None for 1
    and 0.
    With n the normalised x and g = grad * gamma: dgamma = sum of grad * n, dbeta = sum of grad,
    dx = (g - mean of g - n * mean of (g * n)) / sqrt(var + epsilon), means over the axes.
    """
    x = as_float("layer_norm", x)
    all_axes("layer_norm", axis, x.ndim)
    averages = mean(x, axis, keepdims=True), var(x, axis, keepdims=True)
    return _normalize("layer_norm", x, *averages, gamma, beta, epsilon)


def _normalize(
    op: str,
    x: Tensor,
    mean_: Operand,
    var_: Operand,
    gamma: Operand | None,
    beta: Operand | None,
    epsilon: float,
) -> Tensor:
    if epsilon < 0:
        raise SettingError(f"{op}: got epsilon={epsilon}; a number from 0 up is needed")
    scale = (as_float(op, var_) + epsilon).rsqrt()
    if gamma is not None:
        scale = scale * gamma
    out = (x - mean_) * scale
    return out if beta is None else out + beta
