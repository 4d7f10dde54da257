"""Optimisers: how parameters follow their gradients."""

from collections.abc import Iterable

import numpy as np

from tinytensor import kernels
from tinytensor.errors import DTypeError, NotSupported, SettingError, ShapeError
from tinytensor.tensor import Tensor


class SGD:
    """Stochastic gradient descent: param = param - lr * param.grad.

    params: the tensors to update.
    lr: the learning rate, at least 0; may be changed at any time.
    """

    def __init__(self, params: Iterable[Tensor], lr: float) -> None:
        if isinstance(params, Tensor):
            raise NotSupported("SGD: got a tensor; a list of tensors is needed")
        self.params = list(params)
        for param in self.params:
            if not isinstance(param, Tensor):
                raise NotSupported(f"SGD: got a {type(param).__name__}; tensors are needed")
        self._lr = np.empty(1, np.float64)  # an array, because it may change from step to step
        self.lr = lr

    @property
    def lr(self) -> float:
        """The learning rate."""
        return float(self._lr[0])

    @lr.setter
    def lr(self, lr: float) -> None:
        if not isinstance(lr, int | float) or not lr >= 0:
            raise SettingError(f"SGD: got lr={lr!r}; a number from 0 up is needed")
        self._lr[0] = lr

    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for param in self.params:
            if param.grad is not None:
                _check_fits(param, param.grad)
                kernels.sgd(param.grad.data, self._lr, param.data)
                param.changed()

    def zero_grad(self) -> None:
        """Forget the gradients, before the next backward adds to them."""
        for param in self.params:
            param.grad = None


def _check_fits(param: Tensor, grad: Tensor) -> None:
    """A gradient that somebody else has put there may not be of the parameter's kind."""
    if grad.data.shape != param.data.shape:
        raise ShapeError(f"SGD: got grad of shape {grad.shape}; {param.shape} is needed")
    if grad.data.dtype != param.data.dtype:
        raise DTypeError(f"SGD: got grad of {grad.dtype}; {param.dtype} is needed")
    if not param.data.flags.writeable:
        raise NotSupported("SGD: a parameter lies in read-only memory; Tensor(x) makes a copy")
