"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable

from tinytensor import kernels
from tinytensor.arrays import Array
from tinytensor.errors import SettingError
from tinytensor.optim.optimizer import Optimizer, by_kernels
from tinytensor.optim.param_group import Group, of_all_groups
from tinytensor.optim.schedules import Schedule
from tinytensor.tensors import Tensor

__all__ = ["SGD"]


class SGD(Optimizer):
    """Stochastic gradient descent, with optional momentum and weight decay.

    Update rule of a step, with g = grad + weight_decay * param:

        without momentum:  param = param - lr * g
        with momentum:     velocity = momentum * velocity + g
                           param = param - lr * velocity
        with nesterov:     param = param - lr * (g + momentum * velocity)

    Args:
        params: a list of leaf Tensors with requires_grad, such as model.parameters(); or a list of
            groups (see tt.optim.Optimizer).
        lr: the learning rate, a number from 0 up, or a schedule (see tt.optim.Optimizer).
        momentum: the decay of the velocity, from 0 up, below 1; 0 is no momentum.
        nesterov: True for Nesterov's momentum; needs momentum above 0.
        weight_decay: the factor of the L2 penalty, from 0 up.

    Raises:
        SettingError: a setting is out of its range.
        NotSupported: `params` is not a list of trainable Tensors.

    Source: torch.optim.SGD with dampening=0.

    >>> w = tt.Tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = tt.optim.SGD([w], lr=0.1)
    >>> (w * w).sum().backward()  # the gradient is 2 * w
    >>> optimizer.step()
    >>> w
    Tensor([0.8, 1.6], dtype=float32, requires_grad=True)
    >>> optimizer.zero_grad()
    """

    own_settings = ("momentum", "nesterov")
    group_settings = ("weight_decay",)
    weight_decay = of_all_groups("weight_decay", "The factor of the L2 penalty.")

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[Group],
        lr: float | Schedule,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr, weight_decay=weight_decay)
        self.momentum = momentum
        self.nesterov = nesterov
        if nesterov and not momentum:
            raise SettingError(
                "SGD: got nesterov=True without momentum; momentum above 0 is needed"
            )

    @property
    def momentum(self) -> float:
        """The decay of the velocity."""
        return self._momentum

    @momentum.setter
    def momentum(self, momentum: float) -> None:
        self._momentum = self._check("momentum", momentum, below=1)
        if momentum and "velocity" not in self._state:
            self._allocate("velocity")

    @by_kernels
    def _update(self, i: int, grad: Array, param: Array) -> None:
        if not self.momentum:
            kernels.sgd(grad, self._lr, param, self.weight_decay)
            return
        settings = self.momentum, self.nesterov, self.weight_decay
        kernels.sgd_momentum(grad, self._lr, self._state["velocity"][i], param, *settings)
