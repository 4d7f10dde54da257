"""The ops of neural networks: layers whose parameters are arguments, and losses.

The first axis is the batch and the last axis is the channels: rows (N, C), images (N, H, W, C). An
op that can be written as a formula of other ops is defined by this formula. If one kernel computes
a whole backward pass (softmax, cross-entropy), this kernel is an op too, so it can be
differentiated.
"""

from __future__ import annotations

import math
from numbers import Real
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from tinytensor import kernels, observers, random, recorder, tensors
from tinytensor.arrays import Array
from tinytensor.autograd import is_grad_enabled, record
from tinytensor.errors import DTypeError, LabelError, NotSupported, SettingError, ShapeError
from tinytensor.ops.elementwise import abs as absolute
from tinytensor.ops.elementwise import exp, greater_equal, softplus
from tinytensor.ops.index import entries, gather
from tinytensor.ops.linalg import matmul
from tinytensor.ops.operands import (
    Axis,
    Operand,
    Shape,
    all_axes,
    as_alike,
    as_array,
    as_float,
    as_rows,
    as_tensor,
    cast,
    kept_integers,
    one_axis,
    per_channel,
    real,
    refuse_to_lose_gradient,
    same_shape,
    torch_spelling,
    whole,
)
from tinytensor.ops.reduce import max as largest
from tinytensor.ops.reduce import mean, move_axis, norm, sum, var
from tinytensor.ops.shape import reshape
from tinytensor.ranks import current_share

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import DTypeLike

    from tinytensor.tensors import Tensor

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
    "nll_loss",
    "one_hot",
    "softmax",
]

Pair: TypeAlias = tuple[int, int]
Reduction: TypeAlias = Literal["mean", "sum", "none"]


def linear(x: Operand, weight: Operand, bias: Operand | None = None) -> Tensor:
    """x @ weight + bias: a fully connected layer.

    Args:
        x: array-like (..., I), numeric.
        weight: array-like (I, O).
        bias: array-like (O,), or None.

    Returns:
        Tensor (..., O) of dtype np.result_type(x, weight).

    Gradient: dx = grad @ weight.T, dweight = x.T @ grad, dbias = grad summed over all axes but the
    last.

    Raises:
        ShapeError: the inner sizes I differ, or bias is not of shape (O,).
        DTypeError: an operand does not hold real numbers.
        NotSupported: x or weight is None.

    Source: torch.nn.functional.linear, whose weight is (O, I).

    >>> tt.linear([[1.0, 2.0]], [[1.0], [10.0]], [0.5])
    Tensor([[21.5]], dtype=float32)
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


# Probabilities ----------------------------------------------------------------------------------


@torch_spelling
def softmax(x: Operand, axis: int = -1, norm: int = 1) -> Tensor:
    """Probabilities along an axis: e^x / sum of e^x, without overflow.

    Args:
        x: array-like, at least 1-D; integers become floats.
        axis (or dim): int; negative axes count from the end.
        norm: 1 divides by the sum of e^x; 2 divides by its Euclidean norm, sqrt(sum of e^(2 * x)).

    Returns:
        Tensor of x's shape, float.

    Gradient: dx = p * (grad - sum of grad * p), with p the result, for norm 1; dx = p * (grad - p *
    sum of grad * p) for norm 2.

    Raises:
        ShapeError: the axis does not exist.
        SettingError: norm is not 1 or 2.
        DTypeError: x does not hold real numbers.
        NotSupported: x is None or a string.

    Source: torch.softmax, scipy.special.softmax.

    >>> tt.softmax([[0.0, 0.0], [0.0, 1000.0]])
    Tensor([[0.5, 0.5],
            [0. , 1. ]], dtype=float32)
    """
    x = as_float("softmax", x)
    axis = one_axis("softmax", axis, x.ndim)
    if not isinstance(norm, Real) or norm not in (1, 2):
        raise SettingError(f"softmax: got norm={norm!r}; 1 or 2 is needed")
    if norm == 2:
        return _softmax_of_norm_2(x, axis)
    if axis != x.ndim - 1:
        return move_axis(softmax(move_axis(x, axis, x.ndim - 1)), x.ndim - 1, axis)
    out = np.empty(x.shape, x.dtype)
    kernels.softmax(as_rows(x.array), as_rows(out))

    def backward(grad: Tensor, probs: Tensor) -> tuple[Tensor | None, ...]:
        return (softmax_backward(grad, probs),)

    return record("softmax", out, (x,), backward, keep_out=True)


def _softmax_of_norm_2(x: Tensor, axis: int) -> Tensor:
    e = exp(x - largest(x.detach(), axis, keepdims=True)) if x.size else exp(x)
    return e / norm(e, 2, axis, keepdims=True)


def softmax_backward(grad: Operand, probs: Operand) -> Tensor:
    """probs * (grad - sum of grad * probs) along the last axis: the gradient of softmax.

    Args:
        grad, probs: array-like, the same shape, float.

    Returns:
        Tensor of that shape and dtype.

    Gradient: with g the gradient of the result, dgrad = softmax_backward(g, probs) and dprobs = g *
    (grad - sum of grad * probs) - grad * sum of g * probs.

    Raises:
        ShapeError: the shapes differ.
        NotSupported: an operand is None.

    Source: torch.ops.aten._softmax_backward_data.
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
    """log(softmax(x)) along an axis: x - log(sum of e^x), without overflow.

    Args:
        x: array-like, at least 1-D; integers become floats.
        axis (or dim): int; negative axes count from the end.

    Returns:
        Tensor of x's shape, float.

    Gradient: dx = grad - softmax(x) * sum of grad along the axis.

    Raises:
        ShapeError: the axis does not exist.
        DTypeError: x does not hold real numbers.
        NotSupported: x is None or a string.

    Source: torch.log_softmax, scipy.special.log_softmax.

    >>> tt.log_softmax([0.0, 1000.0])
    Tensor([-1000.,     0.], dtype=float32)
    """
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
    """grad - e^log_probs * sum of grad along the last axis: the gradient of log_softmax.

    Args:
        grad, log_probs: array-like, the same shape, float.

    Returns:
        Tensor of that shape and dtype.

    Gradient: with g the gradient of the result and p = e^log_probs, dgrad = g - sum of g * p and
    dlog_probs = -g * p * sum of grad.

    Raises:
        ShapeError: the shapes differ.
        NotSupported: an operand is None.

    Source: torch.ops.aten._log_softmax_backward_data.
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


def _check_reduction(op: str, reduction: Reduction) -> None:
    if not isinstance(reduction, str) or reduction not in ("mean", "sum", "none"):
        raise SettingError(f"{op}: got reduction={reduction!r}; 'mean', 'sum' or 'none' is needed")


def _reduced(op: str, loss: Tensor, reduction: Reduction) -> Tensor:
    _check_reduction(op, reduction)
    return loss if reduction == "none" else mean(loss) if reduction == "mean" else sum(loss)


def cross_entropy(
    logits: Operand,
    labels: Operand,
    reduction: Reduction = "mean",
    *,
    weight: Operand | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
) -> Tensor:
    """The cross-entropy of softmax(logits) and labels: -log(probability of the right class).

    Args:
        logits: array-like (R, C), R examples and C classes; scores, not probabilities.
        labels: array-like of integers (R,) from 0 to C - 1; or (R, C), one-hot rows or
            probabilities.
        reduction: "mean" or "sum" over the examples, or "none" for one loss per example.
        weight: array-like (C,), a factor for each class; None for 1.
        label_smoothing: number s from 0 to 1. The right class counts with 1 - s + s / C, and each
            other class with s / C.
        ignore_index: int, the label of examples that do not count; None if all of them count.
            PyTorch's default is -100.

    Returns:
        Tensor (), or (R,) for "none"; float. With labels (R,), the mean is the sum divided by the
        sum of weight[label] over the examples that count. It is NaN if no example counts. With
        probabilities (R, C), the mean is the sum divided by R.

    Gradient: dlogits = grad * (softmax(logits) - one_hot(labels, C)), divided by R for "mean". In
    general each loss is the sum over c of `target[c] * -log_softmax(logits)[c]` with `target =
    weight * ((1 - s) * one_hot(label, C) + s / C)`, and dlogits = grad * (softmax(logits) * sum of
    target - target). It is 0 for an example that does not count. No gradient flows to the weight.

    Raises:
        LabelError: a label is not in 0 to C - 1.
        ShapeError: logits are not (R, C), labels neither (R,) nor (R, C), or weight is not (C,).
        DTypeError: labels (R,) are not integers.
        SettingError: the reduction is none of the three, label_smoothing is not from 0 to 1,
            ignore_index is not an int, or it is given for probabilities.
        GradientError: weight or label_smoothing is a tensor that requires a gradient.
        NotSupported: an operand is None.

    Source: torch.nn.functional.cross_entropy; label smoothing: Szegedy, Vanhoucke, Ioffe, Shlens
    and Wojna, "Rethinking the Inception architecture", 2016.

    >>> logits = tt.zeros(5, 10, requires_grad=True)
    >>> loss = tt.cross_entropy(logits, [3, 1, 4, 1, 5])
    >>> print(f"{loss.item():.4f}")
    2.3026
    >>> tt.cross_entropy([[0.0, 0.0], [9.0, 0.0]], [1, -100], ignore_index=-100)
    Tensor(0.6931472, dtype=float32)
    """
    logits = as_float("cross_entropy", logits)
    if logits.ndim != 2 or not logits.shape[1]:
        raise ShapeError(f"cross_entropy: got logits of shape {logits.shape}; (R, C) is needed")
    _check_reduction("cross_entropy", reduction)
    smoothing = real("cross_entropy", "label_smoothing", label_smoothing)
    if not 0 <= smoothing <= 1:
        raise SettingError(
            f"cross_entropy: got label_smoothing={smoothing}; a number from 0 to 1 is needed"
        )
    R, C = logits.shape
    weight = per_channel("cross_entropy", "weight", weight, logits, C)
    refuse_to_lose_gradient("cross_entropy", "weight", weight, "")
    given = as_array("cross_entropy", labels)
    for observer in observers.active:
        observer.loss_called("cross_entropy", logits, given)
    if given.shape == (R, C):
        if ignore_index is not None:
            raise SettingError(
                f"cross_entropy: got ignore_index={ignore_index} and probabilities {(R, C)}; "
                f"labels ({R},) are needed"
            )
        target = cast(labels, logits.dtype)
        target = target * (1 - smoothing) + smoothing / C if smoothing else target
        target = target if weight is None else target * weight
        return _reduced("cross_entropy", -sum(target * log_softmax(logits), axis=1), reduction)
    if given.shape != (R,):
        raise ShapeError(
            f"cross_entropy: got labels of shape {given.shape} for logits of shape {(R, C)}; "
            f"({R},) classes or {(R, C)} probabilities are needed"
        )
    right = _class_numbers("cross_entropy", given, C, ignore_index)
    if reduction == "mean" and R and weight is None and ignore_index is None:
        return _cross_entropy(logits, right, _scalar(1 / R, logits), smoothing, ())
    weight = _scalar(1, logits) if weight is None else weight
    loss = _cross_entropy(logits, right, weight, smoothing, (R,) if reduction == "none" else ())
    return loss / _total_weight(right, weight, C) if reduction == "mean" else loss


def _scalar(number: float, x: Tensor) -> Tensor:
    return tensors.wrap(np.array(number, x.dtype))


def _total_weight(labels: Array, weight: Tensor, classes: int) -> Tensor:
    """The sum of weight[label] over the labels that are not -1."""
    total = np.empty((), weight.dtype)

    def add_up(labels: Array, weight: Array, total: Array) -> None:
        counted = np.broadcast_to(weight, classes)[labels[labels >= 0]]
        total[...] = np.sum(counted, dtype=np.float64)

    recorder.each_step(
        add_up, reads=(labels, weight.array), writes=(total,), settings=("total weight", classes)
    )
    return tensors.wrap(total)


def _cross_entropy(
    logits: Tensor, labels: Array, weight: Tensor, smoothing: float, shape: Shape
) -> Tensor:
    """The losses of all rows for shape (R,), or their sum for shape ()."""
    out = np.empty(shape, logits.dtype)
    kernels.cross_entropy(logits.array, labels, weight.array, out, smoothing)

    def backward(grad: Tensor) -> tuple[Tensor | None, ...]:
        return cross_entropy_backward(grad, logits, labels, weight, smoothing), None

    return record("cross_entropy", out, (logits, weight), backward, (logits, weight))


def cross_entropy_backward(
    grad: Tensor, logits: Tensor, labels: Array, weight: Tensor, smoothing: float
) -> Tensor:
    """(softmax(logits) * sum of target - target) * grad: the gradient of cross_entropy.

    Args:
        grad: Tensor () or (R,) of logits' dtype.
        logits: Tensor (R, C).
        labels: int64 array (R,) from -1 to C - 1, checked by cross_entropy; -1 counts nothing.
        weight: Tensor () or (C,) of logits' dtype.
        smoothing: float from 0 to 1.

    Returns:
        Tensor (R, C).

    Gradient: with g the gradient of the result, p = softmax(logits) and t the sum of target over
    the classes, dgrad = sum of g * (p * t - target), dlogits = softmax_backward(g * grad * t, p).

    Source: torch.nn.functional.cross_entropy, its backward pass.
    """
    _, C = logits.shape
    out = np.empty(logits.shape, logits.dtype)
    kernels.cross_entropy_backward(grad.array, logits.array, labels, weight.array, out, smoothing)

    def backward(upstream: Tensor) -> tuple[Tensor | None, ...]:
        probs = softmax(logits)
        target = _target(labels, weight, smoothing, C)
        total = sum(target, axis=1, keepdims=True)
        each_grad = reshape(grad, (-1, 1))
        grads = sum(upstream * (probs * total - target), axis=1)
        return (
            grads if grad.ndim else sum(grads),
            softmax_backward(upstream * (each_grad * total), probs),
            None,
        )

    operands = grad, logits, weight
    return record("cross_entropy_backward", out, operands, backward, operands)


def _target(labels: Array, weight: Tensor, smoothing: float, classes: int) -> Tensor:
    """weight * ((1 - smoothing) * one_hot(labels) + smoothing / classes); 0 for labels of -1."""
    hits = np.empty((len(labels), classes), weight.dtype)
    kernels.one_hot(labels, hits)
    counted = cast(greater_equal(tensors.wrap(labels), 0), weight.dtype)
    spread = reshape(counted, (-1, 1)) * (smoothing / classes)
    return weight * ((1 - smoothing) * tensors.wrap(hits) + spread)


def nll_loss(log_probs: Operand, labels: Operand, reduction: Reduction = "mean") -> Tensor:
    """The negative log-likelihood: minus the log-probability of the right class.

    `cross_entropy(logits, labels)` is `nll_loss(log_softmax(logits), labels)` in one kernel.

    Args:
        log_probs: array-like (R, C), R examples and C classes, such as the result of log_softmax.
        labels: array-like of integers (R,) from 0 to C - 1.
        reduction: "mean" or "sum" over the examples, or "none" for one loss per example.

    Returns:
        Tensor (), or (R,) for "none"; float.

    Gradient: dlog_probs = -grad * one_hot(labels, C), divided by R for "mean".

    Raises:
        LabelError: a label is not in 0 to C - 1.
        ShapeError: log_probs are not (R, C), or labels are not (R,).
        DTypeError: the labels are not integers.
        SettingError: reduction is none of the three.
        NotSupported: an operand is None.

    Source: torch.nn.functional.nll_loss.

    >>> tt.nll_loss([[-0.5, -1.0], [-2.0, -0.25]], [0, 1])  # (0.5 + 0.25) / 2
    Tensor(0.375, dtype=float32)
    """
    log_probs, given = as_float("nll_loss", log_probs), as_array("nll_loss", labels)
    if log_probs.ndim != 2 or given.shape != log_probs.shape[:1]:
        raise ShapeError(
            f"nll_loss: got log_probs of shape {log_probs.shape} and labels of shape "
            f"{given.shape}; (R, C) and (R,) are needed"
        )
    right = _class_numbers("nll_loss", given, log_probs.shape[1])
    picked = gather(log_probs, right[:, np.newaxis], axis=1)
    return _reduced("nll_loss", -picked.reshape(-1), reduction)


def mse_loss(x: Operand, target: Operand, reduction: Reduction = "mean") -> Tensor:
    """The squared error (x - target)^2.

    Args:
        x, target: array-like, the same shape; integers become floats.
        reduction: "mean" or "sum" over all elements, or "none" for one loss per element.

    Returns:
        Tensor (), or x's shape for "none"; float.

    Gradient: dx = grad * 2 * (x - target), divided by x.size for "mean"; dtarget = -dx.

    Raises:
        ShapeError: the shapes differ.
        SettingError: reduction is none of the three.
        DTypeError: an operand does not hold real numbers.
        NotSupported: an operand is None or a string.

    Source: torch.nn.functional.mse_loss.

    >>> tt.mse_loss([1.0, 2.0], [1.0, 4.0])
    Tensor(2., dtype=float32)
    """
    x, target = as_alike("mse_loss", x, target, floats=True)
    same_shape("mse_loss", x, target)
    for observer in observers.active:
        observer.loss_called("mse_loss", x, target.array)
    distance = x - target
    return _reduced("mse_loss", distance * distance, reduction)


def l1_loss(x: Operand, target: Operand, reduction: Reduction = "mean") -> Tensor:
    """The absolute error `|x - target|`.

    Args:
        x, target: array-like, the same shape; integers become floats.
        reduction: "mean" or "sum" over all elements, or "none" for one loss per element.

    Returns:
        Tensor (), or x's shape for "none"; float.

    Gradient: dx = grad * sign(x - target), divided by x.size for "mean"; dtarget = -dx.

    Raises:
        ShapeError: the shapes differ.
        SettingError: reduction is none of the three.
        DTypeError: an operand does not hold real numbers.
        NotSupported: an operand is None or a string.

    Source: torch.nn.functional.l1_loss.

    >>> tt.l1_loss([1.0, 5.0], [2.0, 2.0])  # (1 + 3) / 2
    Tensor(2., dtype=float32)
    """
    x, target = as_alike("l1_loss", x, target, floats=True)
    same_shape("l1_loss", x, target)
    return _reduced("l1_loss", absolute(x - target), reduction)


def binary_cross_entropy_with_logits(
    logits: Operand, target: Operand, reduction: Reduction = "mean"
) -> Tensor:
    """-target * log(s) - (1 - target) * log(1 - s), with s = sigmoid(logits), without overflow.

    Args:
        logits, target: array-like, the same shape; target holds probabilities from 0 to 1.
        reduction: "mean" or "sum" over all elements, or "none" for one loss per element.

    Returns:
        Tensor (), or the shape of logits for "none"; float.

    Gradient: dlogits = grad * (s - target), dtarget = -grad * logits; divided by logits.size for
    "mean".

    Raises:
        ShapeError: the shapes differ.
        SettingError: reduction is none of the three.
        DTypeError: an operand does not hold real numbers.
        NotSupported: an operand is None or a string.

    Source: torch.nn.functional.binary_cross_entropy_with_logits.

    >>> tt.binary_cross_entropy_with_logits([100.0, -100.0], [0.0, 0.0])
    Tensor(50., dtype=float32)
    """
    logits, target = as_alike("binary_cross_entropy_with_logits", logits, target, floats=True)
    same_shape("binary_cross_entropy_with_logits", logits, target)
    for observer in observers.active:
        observer.loss_called("binary_cross_entropy_with_logits", logits, target.array)
    loss = softplus(logits) - logits * target
    return _reduced("binary_cross_entropy_with_logits", loss, reduction)


# Classes and words ------------------------------------------------------------------------------


def _class_numbers(op: str, labels: Array, classes: int, ignore_index: int | None = None) -> Array:
    """Class labels (R,) as int64, each from 0 to classes - 1, or -1 for ignore_index."""
    if labels.dtype.kind not in "iu" and labels.size:
        raise DTypeError(f"{op}: got labels of {labels.dtype}; integers are needed")
    kept = kept_integers(labels).reshape(-1)
    if ignore_index is not None:
        given, kept = kept, np.empty_like(kept)
        ignored = whole(op, "ignore_index", ignore_index, None)

        def replace(given: Array, kept: Array) -> None:
            np.copyto(kept, np.where(given == ignored, 0, given))
            _check_labels(op, kept, classes)
            kept[given == ignored] = -1

        settings = op, classes, ignored
        recorder.each_step(replace, reads=(given,), writes=(kept,), settings=settings)
        return kept
    recorder.each_step(
        lambda labels: _check_labels(op, labels, classes),
        reads=(kept,),
        settings=(op, classes),
        checks_elements=True,
    )
    return kept


def _check_labels(op: str, labels: Array, classes: int) -> None:
    # As an unsigned number a negative label is huge, so one comparison finds both mistakes.
    if labels.size and np.maximum.reduce(labels.view(np.uint64), axis=None) >= classes:
        wrong = labels[(labels < 0) | (labels >= classes)][0]
        hint = f"; ignore_index={wrong} leaves out its rows" if op == "cross_entropy" else ""
        raise LabelError(
            f"{op}: got label {wrong}; with {classes} classes, 0 to {classes - 1} is needed{hint}"
        )


def one_hot(labels: Operand, classes: int, dtype: DTypeLike = "float32") -> Tensor:
    """A row for each label, with 1 in the label's column and 0 elsewhere.

    Args:
        labels: array-like of integers, any shape, from 0 to classes - 1.
        classes: int, the number of columns.
        dtype: the dtype of the result, float32 by default.

    Returns:
        Tensor of shape `(*labels.shape, classes)`.

    Gradient: none.

    Raises:
        LabelError: a label is not in 0 to classes - 1.
        DTypeError: labels are not integers or the dtype is not supported.
        SettingError: classes is not an int from 0 up.
        NotSupported: labels is None.

    Source: torch.nn.functional.one_hot.

    >>> tt.one_hot([2, 0], 3)
    Tensor([[0., 0., 1.],
            [1., 0., 0.]], dtype=float32)
    """
    classes = whole("one_hot", "classes", classes)
    given = as_array("one_hot", labels)
    out = np.empty((*given.shape, classes), tensors.checked_dtype("one_hot", dtype))
    kernels.one_hot(_class_numbers("one_hot", given, classes), as_rows(out))
    return tensors.wrap(out)


def embedding(weight: Operand, index: Operand) -> Tensor:
    """The rows of weight at the given indices: weight[index].

    Args:
        weight: array-like (N, C), one row of C features for each of N words.
        index: array-like of integers, any shape; negative ones count from the end. PyTorch's order,
            embedding(index, weight), is the same if weight holds floats.

    Returns:
        Tensor of shape `(*index.shape, C)` and of weight's dtype.

    Gradient: dweight[index] += grad, with dweight = 0 at first.

    Raises:
        IndexingError: an index is outside weight.
        DTypeError: the index is not of integers.
        ShapeError: weight is not a matrix.
        NotSupported: an operand is None.

    Source: torch.nn.functional.embedding, whose first argument is the index.

    >>> tt.embedding([[1, 2], [3, 4]], [1, 0, 1])
    Tensor([[3, 4],
            [1, 2],
            [3, 4]], dtype=int64)
    """
    first, second = as_array("embedding", weight), as_array("embedding", index)
    if first.dtype.kind in "iu" and second.dtype.kind == "f" and second.size:  # PyTorch's order
        weight, index = index, weight
    weight = as_tensor("embedding", weight)
    if weight.ndim != 2:
        raise ShapeError(f"embedding: got weight of shape {weight.shape}; (N, C) is needed")
    return entries("embedding", weight, index, axis=0)


# Dropout ----------------------------------------------------------------------------------------


def dropout(
    x: Operand,
    *unnamed: float,
    keep_prob: float | None = None,
    p: float | None = None,
    training: bool = True,
    channels: bool = False,
) -> Tensor:
    """x with random elements set to 0; each is kept with probability keep_prob.

    The elements that are kept are divided by keep_prob, so the expected value of each element stays
    the same. tt.manual_seed sets the seed of the masks, which have the same bits on every backend.

    Args:
        x: array-like, any shape; integers become floats.
        unnamed: nothing; a number without a name raises an error, because the same number means
            the opposite in PyTorch.
        keep_prob: float above 0, at most 1, the probability that an element is kept; 0.5 by
            default.
        p: 1 - keep_prob, the probability that an element is set to 0, in place of keep_prob.
        training: False returns x unchanged.
        channels: True keeps or drops whole channels of x (N, ..., C).

    Returns:
        Tensor of x's shape, float.

    Gradient: dx = grad * mask, with the mask of the forward pass: 1 / keep_prob or 0.

    Raises:
        SettingError: keep_prob is not a number above 0 and at most 1, keep_prob and p are both
            given, or a number has no name.
        GradientError: keep_prob or p is a tensor that requires a gradient.
        ShapeError: channels is True and x has fewer than two axes.
        DTypeError: x does not hold real numbers.
        NotSupported: x is None or a string.

    Source: torch.nn.functional.dropout; Srivastava, Hinton, Krizhevsky, Sutskever and
    Salakhutdinov, "Dropout", 2014.

    >>> tt.manual_seed(0)
    >>> tt.dropout(tt.ones(8), keep_prob=0.5)
    Tensor([0., 2., 0., 2., 2., 2., 2., 2.], dtype=float32)
    """
    x = as_float("dropout", x)
    keep_prob = probability_to_keep("dropout", unnamed, keep_prob, p)
    if channels and x.ndim < 2:
        raise ShapeError(f"dropout: got shape {x.shape}; channels are the last of 2 axes or more")
    if not training or keep_prob == 1:
        return x
    shape = (x.shape[0], *(1,) * (x.ndim - 2), x.shape[-1]) if channels else x.shape
    mask = np.empty(shape, x.dtype)
    if share := current_share():
        share.draw_mask(mask, keep_prob)
    else:
        kernels.dropout_mask(random.state(), mask, keep_prob)
    return x * tensors.wrap(mask)


def probability_to_keep(
    op: str, unnamed: Sequence[float], keep_prob: float | None, p: float | None
) -> float:
    """Return keep_prob, or 1 - p, or 0.5; raise SettingError unless it is above 0 and at most 1."""
    if unnamed or (keep_prob is not None and p is not None):
        both = f"keep_prob={keep_prob!r} and p={p!r}"
        got = f"{unnamed[0]!r} without a name" if unnamed else both
        raise SettingError(
            f"{op}: got {got}; keep_prob=..., the probability that an element is kept, or p=..., "
            "the probability that it is set to 0, is needed"
        )
    if p is not None:
        p = real(op, "p", p)
        if not 0 <= p < 1:
            raise SettingError(f"{op}: got p={p}; a number from 0 up, below 1, is needed")
        return 1 - p
    keep_prob = 0.5 if keep_prob is None else real(op, "keep_prob", keep_prob)
    if not 0 < keep_prob <= 1:
        raise SettingError(f"{op}: got keep_prob={keep_prob}; above 0, at most 1, is needed")
    return keep_prob


# Normalisation ----------------------------------------------------------------------------------


def batch_norm(
    x: Operand,
    gamma: Operand | None = None,
    beta: Operand | None = None,
    *,
    mean_: Operand | None = None,
    var_: Operand | None = None,
    epsilon: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(var + epsilon) * gamma + beta, for each channel.

    Args:
        x: array-like (..., C), integers become floats.
        gamma, beta: array-like (C,), or None for 1 and 0.
        mean_, var_: array-like (C,), the moving averages to use in a test. If both are None, as in
            training, the mean and the variance of x over all axes but the last are used;
            batch_norm_and_moments returns these too.
        epsilon: float from 0 up, keeps the square root above 0.

    Returns:
        Tensor of x's shape, float.

    Gradient: with given moments, dx = grad * gamma / sqrt(`var_` + epsilon); with x's own moments
    see batch_norm_and_moments. With n the normalised x, dgamma = sum of grad * n and
    dbeta = sum of grad.

    Raises:
        ShapeError: x is a scalar, an argument is not of shape (C,), or x has one value per channel
            and its own moments are used.
        SettingError: only one of mean_ and var_ is given, or epsilon is not a number from 0 up.
        GradientError: epsilon is a tensor that requires a gradient.
        DTypeError: x does not hold real numbers.
        NotSupported: x is None or a string.

    Source: torch.nn.functional.batch_norm, which has the channels second, and the moving averages
    as its second and third argument; Ioffe and Szegedy, "Batch normalization", 2015.

    >>> tt.batch_norm([[1.0, 10.0], [3.0, 30.0]], epsilon=0)
    Tensor([[-1., -1.],
            [ 1.,  1.]], dtype=float32)
    """
    if (mean_ is None) != (var_ is None):
        given = "mean_" if var_ is None else "var_"
        raise SettingError(f"batch_norm: got {given} alone; mean_ and var_, or neither, are needed")
    if mean_ is None:
        return _own_batch_norm("batch_norm", x, gamma, beta, epsilon)[0]
    x = _with_channels("batch_norm", x)
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
    """The batch norm of x in training, and the mean and variance that it used.

    Args:
        x: array-like (..., C), integers become floats.
        gamma, beta: array-like (C,), or None for 1 and 0.
        epsilon: float from 0 up, keeps the square root above 0.

    Returns:
        (result, mean, var): Tensors of shapes x.shape, (C,) and (C,), float. Mean and variance are
        over all axes of x but the last, and carry no gradient.

    Gradient: with R examples of each channel and n the normalised x, dbeta = sum of grad, dgamma =
    sum of grad * n, dx = gamma / sqrt(var + epsilon) * (grad - dbeta / R - n * dgamma / R).

    Raises:
        ShapeError: x is a scalar or has one value per channel, or gamma or beta is not of shape
            (C,).
        SettingError: epsilon is not a number from 0 up.
        GradientError: epsilon is a tensor that requires a gradient.
        DTypeError: x does not hold real numbers.
        NotSupported: x is None or a string.

    Source: Ioffe and Szegedy, "Batch normalization", 2015.

    >>> result, mean, var = tt.batch_norm_and_moments([[1.0, 10.0], [3.0, 30.0]])
    >>> mean, var
    (Tensor([ 2., 20.], dtype=float32), Tensor([  1., 100.], dtype=float32))
    """
    return _own_batch_norm("batch_norm_and_moments", x, gamma, beta, epsilon)


def _own_batch_norm(
    op: str, x: Operand, gamma: Operand | None, beta: Operand | None, epsilon: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The batch norm of x by its own moments, and these moments."""
    x = _with_channels(op, x)
    epsilon = _check_epsilon(op, epsilon)
    C = x.shape[-1]
    if x.size == C > 0:
        raise ShapeError(
            f"{op}: got shape {x.shape}, one value per channel; at least two are needed, "
            "because one value minus its own mean is 0: use a larger batch, or pass mean_ and var_"
        )
    gamma = per_channel(op, "gamma", gamma, x, C)
    beta = per_channel(op, "beta", beta, x, C)
    gamma = tensors.wrap(np.ones(C, x.dtype)) if gamma is None else gamma
    beta = tensors.wrap(np.zeros(C, x.dtype)) if beta is None else beta
    mean_, var_ = np.empty(C, x.dtype), np.empty(C, x.dtype)
    out = np.empty(x.shape, x.dtype)
    kernels.moments(as_rows(x.array), mean_, var_)
    share = current_share()
    if share is not None and share.team.synchronizes:
        share.combine_moments(mean_, var_, x.size // C)
    else:
        share = None
    kernels.normalize(as_rows(x.array), mean_, var_, gamma.array, beta.array, as_rows(out), epsilon)

    def backward(grad: Tensor) -> tuple[Tensor | None, ...]:
        if is_grad_enabled():  # for a second derivative: the same formula, made of ops
            if share is not None:
                raise NotSupported(
                    f"{op}: its second derivative needs the other chunks of the batch; set "
                    "batch_norm='local', or train on one rank"
                )
            axes = tuple(range(x.ndim - 1))
            scale = (var(x, axes) + epsilon).rsqrt()
            n = (x - mean(x, axes)) * scale
            centred = grad - mean(grad, axes) - n * mean(grad * n, axes)
            return gamma * scale * centred, sum(grad * n, axes), sum(grad, axes)
        dx, dgamma, dbeta = (np.empty(a.shape, x.dtype) for a in (x, gamma, beta))
        arrays = as_rows(grad.array), as_rows(x.array), mean_, var_, gamma.array
        kernels.batch_norm_backward(*arrays, as_rows(dx), dgamma, dbeta, epsilon)
        if share is not None:
            share.correct_grad(as_rows(dx), *arrays[1:], dgamma, dbeta, epsilon)
        return tensors.wrap(dx), tensors.wrap(dgamma), tensors.wrap(dbeta)

    result = record("batch_norm", out, (x, gamma, beta), backward, (x, gamma))
    return result, tensors.wrap(mean_), tensors.wrap(var_)


def _check_epsilon(op: str, epsilon: float) -> float:
    epsilon = real(op, "epsilon", epsilon)
    if not epsilon >= 0:
        raise SettingError(f"{op}: got epsilon={epsilon}; a number from 0 up is needed")
    return epsilon


def _with_channels(op: str, x: Operand) -> Tensor:
    x = as_float(op, x)
    if not x.ndim:
        raise ShapeError(f"{op}: got a scalar; (..., C) is needed")
    return x


def layer_norm(
    x: Operand,
    gamma: Operand | None = None,
    beta: Operand | None = None,
    axis: Axis = -1,
    epsilon: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(var + epsilon) * gamma + beta, for each example over the last axis or axes.

    Args:
        x: array-like (..., C); integers become floats.
        gamma, beta: array-like of the shape of the axes, (C,) for the last axis; None for 1 and 0.
        axis: int or tuple of ints, the axes of mean and variance; negative axes count from the end.
        epsilon: float from 0 up, keeps the square root above 0.

    Returns:
        Tensor of x's shape, float.

    Gradient: with n the normalised x and g = grad * gamma, dgamma = sum of grad * n, dbeta = sum of
    grad, dx = (g - mean of g - n * mean of (g * n)) / sqrt(var + epsilon), with means over the
    axes.

    Raises:
        ShapeError: an axis does not exist, or gamma or beta has another shape than the axes.
        SettingError: epsilon is not a number from 0 up, or gamma is a list of ints.
        GradientError: epsilon is a tensor that requires a gradient.
        DTypeError: x does not hold real numbers.
        NotSupported: x is None or a string.

    Source: torch.nn.functional.layer_norm, whose second argument is the shape of the axes; Ba,
    Kiros and Hinton, "Layer normalization", 2016.

    >>> tt.layer_norm([[1.0, 3.0], [10.0, 30.0]], epsilon=0)
    Tensor([[-1.,  1.],
            [-1.,  1.]], dtype=float32)
    """
    x = as_float("layer_norm", x)
    if isinstance(gamma, tuple | list) and gamma and all(type(n) is int for n in gamma):
        raise SettingError(
            f"layer_norm: got gamma={gamma}; PyTorch's second argument is a shape, which is "
            f"axis={tuple(range(-len(gamma), 0))} here; floats are needed for a gamma"
        )
    epsilon = _check_epsilon("layer_norm", epsilon)
    axes = all_axes("layer_norm", axis, x.ndim)
    gamma = _over_axes("layer_norm", "gamma", gamma, x, axes)
    beta = _over_axes("layer_norm", "beta", beta, x, axes)
    first = x.ndim - len(axes)
    if axes == tuple(range(first, x.ndim)):
        return _layer_norm_of_rows(x, gamma, beta, first, epsilon)
    averages = mean(x, axis, keepdims=True), var(x, axis, keepdims=True)
    shape = tuple(n if a in axes else 1 for a, n in enumerate(x.shape))
    gamma, beta = (None if a is None else a.reshape(shape) for a in (gamma, beta))
    return _normalize("layer_norm", x, *averages, gamma, beta, epsilon)


def _layer_norm_of_rows(
    x: Tensor, gamma: Tensor | None, beta: Tensor | None, first: int, epsilon: float
) -> Tensor:
    """The layer norm over the axes from `first` on, whose elements are contiguous rows."""
    sizes = x.shape[first:]
    R, C = math.prod(x.shape[:first]), math.prod(sizes)
    gamma = tensors.wrap(np.ones(sizes, x.dtype)) if gamma is None else gamma
    beta = tensors.wrap(np.zeros(sizes, x.dtype)) if beta is None else beta
    rows, scale = x.array.reshape(R, C), gamma.array.reshape(C)
    out = np.empty(x.shape, x.dtype)
    kernels.layer_norm(rows, scale, beta.array.reshape(C), out.reshape(R, C), epsilon)

    def backward(grad: Tensor) -> tuple[Tensor | None, ...]:
        if is_grad_enabled():  # for a second derivative: the same formula, made of ops
            others, axes = tuple(range(first)), tuple(range(first, x.ndim))
            deviation = (var(x, axes, keepdims=True) + epsilon).rsqrt()
            n, g = (x - mean(x, axes, keepdims=True)) * deviation, grad * gamma
            centred = g - mean(g, axes, keepdims=True) - n * mean(g * n, axes, keepdims=True)
            return deviation * centred, sum(grad * n, others), sum(grad, others)
        dx, dgamma, dbeta = (np.empty(a.shape, x.dtype) for a in (x, gamma, beta))
        results = dx.reshape(R, C), dgamma.reshape(C), dbeta.reshape(C)
        kernels.layer_norm_backward(grad.array.reshape(R, C), rows, scale, *results, epsilon)
        return tensors.wrap(dx), tensors.wrap(dgamma), tensors.wrap(dbeta)

    return record("layer_norm", out, (x, gamma, beta), backward, (x, gamma))


def _over_axes(op: str, name: str, given: Operand | None, x: Tensor, axes: Shape) -> Tensor | None:
    """An operand of the shape of these axes of x, in x's dtype."""
    if given is None:
        return None
    values, sizes = as_tensor(op, given, x.dtype), tuple(x.shape[a] for a in axes)
    if values.shape != sizes:
        raise ShapeError.drawn(
            f"{op}: {name} doesn't fit",
            {"x": (x.shape, axes), name: (values.shape, range(values.ndim))},
            f"one value for each element of the normalised axes, {sizes}, is needed",
        )
    return values


def _normalize(
    op: str,
    x: Tensor,
    mean_: Operand,
    var_: Operand,
    gamma: Operand | None,
    beta: Operand | None,
    epsilon: float,
) -> Tensor:
    epsilon = _check_epsilon(op, epsilon)
    scale = (as_float(op, var_) + epsilon).rsqrt()
    if gamma is not None:
        scale = scale * gamma
    out = (x - mean_) * scale
    return out if beta is None else out + beta
