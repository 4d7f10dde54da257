"""Clipping of gradients."""

from __future__ import annotations

from collections.abc import Iterable

from tinytensor import ops
from tinytensor.optim.optimizer import as_list
from tinytensor.optim.schedules import check_above_0
from tinytensor.tensors import Tensor, wrap

__all__ = ["clip_grad_norm", "clip_grad_value"]


def clip_grad_norm(params: Iterable[Tensor], most: float) -> Tensor:
    """Scale all gradients by one factor, so that their common norm is at most `most`.

    norm = sqrt(sum over all elements of all gradients of grad^2); if norm > most, then each
    param.grad = param.grad * most / norm. If the norm is not finite, the gradients stay as they
    are.

    Args:
        params: Tensors; those without a gradient are skipped.
        most: the largest norm allowed, above 0.

    Returns:
        The norm before the scaling, a float64 Tensor of shape ().

    Raises:
        SettingError: `most` is not a number above 0.
        NotSupported: `params` is not a list.

    Source: Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks",
    2013; torch.nn.utils.clip_grad_norm_.

    >>> w = tt.zeros(2, requires_grad=True)
    >>> w.grad = tt.Tensor([3.0, 4.0])
    >>> tt.optim.clip_grad_norm([w], most=1.0)
    Tensor(5., dtype=float64)
    >>> w.grad
    Tensor([0.6, 0.8], dtype=float32)
    """
    check_above_0("clip_grad_norm", "most", most)
    params = as_list("clip_grad_norm", params)
    with_grad = [(param, wrap(param.grad.array)) for param in params if param.grad is not None]
    total = Tensor(0.0, "float64")  # because float32 squares could overflow or underflow
    for _, grad in with_grad:
        total = total + ops.square(ops.cast(grad, "float64")).sum()
    norm = total.sqrt()
    too_large = ops.logical_and(norm > most, ops.isfinite(norm))
    factor = ops.where(too_large, most / ops.maximum(norm, most), 1.0)
    for param, grad in with_grad:
        param.grad = grad * ops.cast(factor, grad.dtype)
    return norm


def clip_grad_value(params: Iterable[Tensor], most: float) -> None:
    """Clip every element of the gradients: grad = min(max(grad, -most), most).

    Args:
        params: Tensors; those without a gradient are skipped.
        most: the largest absolute value allowed, above 0.

    Raises:
        SettingError: `most` is not a number above 0.
        NotSupported: `params` is not a list.

    Source: torch.nn.utils.clip_grad_value_.

    >>> w = tt.zeros(2, requires_grad=True)
    >>> w.grad = tt.Tensor([3.0, -0.5])
    >>> tt.optim.clip_grad_value([w], most=1.0)
    >>> w.grad
    Tensor([ 1. , -0.5], dtype=float32)
    """
    check_above_0("clip_grad_value", "most", most)
    for param in as_list("clip_grad_value", params):
        if param.grad is not None:
            param.grad = wrap(param.grad.array).clip(-most, most)
