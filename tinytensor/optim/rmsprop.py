"""RMSprop."""

from __future__ import annotations

from collections.abc import Iterable

from tinytensor import kernels
from tinytensor.arrays import Array
from tinytensor.optim.optimizer import Optimizer, by_kernels
from tinytensor.optim.param_group import Group
from tinytensor.optim.schedules import Schedule
from tinytensor.tensors import Tensor

__all__ = ["RMSprop"]


class RMSprop(Optimizer):
    """RMSprop: the gradient divided by the root of a moving average of its square.

    Update rule of a step:

        square = decay * square + (1 - decay) * grad^2
        param = param - lr * grad / (sqrt(square) + epsilon)

    Args:
        params: a list of leaf Tensors with requires_grad, such as model.parameters(); or a list of
            groups (see tt.optim.Optimizer).
        lr: the learning rate, a number from 0 up, or a schedule (see tt.optim.Optimizer).
        decay: the decay of the moving average, from 0 up, below 1.
        epsilon: is added to the denominator, from 0 up.

    Raises:
        SettingError: a setting is out of its range.
        NotSupported: `params` is not a list of trainable Tensors.

    Source: Tieleman and Hinton, "Neural Networks for Machine Learning", lecture 6.5, 2012;
    torch.optim.RMSprop, whose alpha is the decay and has the default 0.99.

    >>> w = tt.Tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = tt.optim.RMSprop([w], lr=0.1, decay=0.75)
    >>> w.grad = tt.Tensor([3.0, 0.5])
    >>> optimizer.step()  # square = 0.25 * grad^2, so each element moves by 2 * lr
    >>> w
    Tensor([0.8, 1.8], dtype=float32, requires_grad=True)
    """

    own_settings = ("decay", "epsilon")

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[Group],
        lr: float | Schedule = 0.001,
        decay: float = 0.9,
        epsilon: float = 1e-8,
    ) -> None:
        super().__init__(params, lr)
        self.decay = self._check("decay", decay, below=1)
        self.epsilon = self._check("epsilon", epsilon)
        self._square = self._allocate("square")

    @by_kernels
    def _update(self, i: int, grad: Array, param: Array) -> None:
        kernels.rmsprop(grad, self._lr, self._square[i], param, self.decay, self.epsilon)
