"""Optimisers: how parameters follow their gradients."""

from collections.abc import Iterable

import numpy as np

from tinytensor import kernels
from tinytensor.errors import SettingError
from tinytensor.tensor import Tensor


class SGD:
    """Stochastic gradient descent: param = param - lr * param.grad.

    params: the tensors to update.
    lr: the learning rate, at least 0; may be changed at any time.
    """

    def __init__(self, params: Iterable[Tensor], lr: float) -> None:
        self.params = list(params)
        self._lr = np.empty(1, np.float64)  # an array, because it may change from step to step
        self.lr = lr

    @property
    def lr(self) -> float:
        """The learning rate."""
        return float(self._lr[0])

    @lr.setter
    def lr(self, lr: float) -> None:
        if not lr >= 0:
            raise SettingError(f"SGD: got lr={lr}; a number from 0 up is needed")
        self._lr[0] = lr

    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for param in self.params:
            if param.grad is not None:
                kernels.sgd(param.grad.data, self._lr, param.data)

    def zero_grad(self) -> None:
        """Forget the gradients, before the next backward adds to them."""
        for param in self.params:
            param.grad = None
