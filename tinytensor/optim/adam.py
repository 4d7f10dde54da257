"""Adam and AdamW."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tinytensor import kernels
from tinytensor.arrays import Array
from tinytensor.errors import SettingError
from tinytensor.optim.optimizer import Optimizer, by_kernels
from tinytensor.optim.param_group import Group, of_all_groups
from tinytensor.optim.schedules import Schedule
from tinytensor.tensors import Tensor

__all__ = ["Adam", "AdamW"]


class AdamW(Optimizer):
    """Adam with decoupled weight decay: the decay is not part of the gradient.

    Update rule of step t = 1, 2, ...:

        m = beta1 * m + (1 - beta1) * grad
        v = beta2 * v + (1 - beta2) * grad^2
        m_hat = m / (1 - beta1^t)
        v_hat = v / (1 - beta2^t)
        param = param - lr * (m_hat / (sqrt(v_hat) + epsilon) + weight_decay * param)

    Args:
        params: a list of leaf Tensors with requires_grad, such as model.parameters(); or a list of
            groups (see tt.optim.Optimizer).
        lr: the learning rate, a number from 0 up, or a schedule (see tt.optim.Optimizer).
        beta1: the decay of m, the moving average of the gradient; from 0 up, below 1.
        beta2: the decay of v, the moving average of the squared gradient; from 0 up, below 1.
        epsilon: is added to the denominator, from 0 up.
        weight_decay: the decay of the parameters, from 0 up.
        betas: (beta1, beta2), in place of the two.

    Raises:
        SettingError: a setting is out of its range.
        NotSupported: `params` is not a list of trainable Tensors.

    Source: Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019; torch.optim.AdamW.

    >>> w = tt.Tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = tt.optim.AdamW([w], lr=0.1, weight_decay=0.5)
    >>> w.grad = tt.Tensor([0.0, 0.0])
    >>> optimizer.step()  # only the decay: w - 0.1 * 0.5 * w
    >>> w
    Tensor([0.95, 1.9 ], dtype=float32, requires_grad=True)
    """

    own_settings = ("beta1", "beta2", "epsilon")
    group_settings: tuple[str, ...] = ("weight_decay",)
    weight_decay = of_all_groups("weight_decay", "The decay of the parameters.")

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[Group],
        lr: float | Schedule = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.01,
        *,
        betas: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(params, lr, **dict.fromkeys(self.group_settings, weight_decay))
        if betas is not None:
            beta1, beta2 = self._pair(betas, beta1, beta2)
        self.beta1 = self._check("beta1", beta1, below=1)
        self.beta2 = self._check("beta2", beta2, below=1)
        self.epsilon = self._check("epsilon", epsilon)
        self._m, self._v = self._allocate("m"), self._allocate("v")

    def _pair(self, betas: Any, beta1: float, beta2: float) -> tuple[float, float]:
        if (beta1, beta2) != (0.9, 0.999):
            raise SettingError(
                f"{self._name}: got betas={betas} and beta1={beta1}, beta2={beta2}; betas, or "
                "beta1 and beta2, are needed"
            )
        if not isinstance(betas, tuple | list) or len(betas) != 2:
            raise SettingError(f"{self._name}: got betas={betas}; (beta1, beta2) is needed")
        return betas[0], betas[1]

    @by_kernels
    def _update(self, i: int, grad: Array, param: Array) -> None:
        settings = self.beta1, self.beta2, self.epsilon, self.weight_decay
        kernels.adam(grad, self._lr, self._step, self._m[i], self._v[i], param, *settings)


class Adam(AdamW):
    """Adam: each step is scaled by moving averages of the gradient and of its square.

    Update rule of step t = 1, 2, ...:

        m = beta1 * m + (1 - beta1) * grad
        v = beta2 * v + (1 - beta2) * grad^2
        m_hat = m / (1 - beta1^t)
        v_hat = v / (1 - beta2^t)
        param = param - lr * m_hat / (sqrt(v_hat) + epsilon)

    Args:
        params: a list of leaf Tensors with requires_grad, such as model.parameters(); or a list of
            groups (see tt.optim.Optimizer).
        lr: the learning rate, a number from 0 up, or a schedule (see tt.optim.Optimizer).
        beta1: the decay of m, the moving average of the gradient; from 0 up, below 1.
        beta2: the decay of v, the moving average of the squared gradient; from 0 up, below 1.
        epsilon: is added to the denominator, from 0 up.
        betas: (beta1, beta2), in place of the two.

    Raises:
        SettingError: a setting is out of its range.
        NotSupported: `params` is not a list of trainable Tensors.

    Source: Kingma and Ba, "Adam: A Method for Stochastic Optimization", 2015, algorithm 1;
    torch.optim.Adam. TensorFlow adds epsilon to sqrt(v) instead of sqrt(v_hat), so its epsilon has
    1 / sqrt(1 - beta2^t) times the effect.

    >>> w = tt.Tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = tt.optim.Adam([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()  # the first step of each element is about lr
    >>> w
    Tensor([0.9, 1.9], dtype=float32, requires_grad=True)
    """

    group_settings = ()
    weight_decay = 0.0

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[Group],
        lr: float | Schedule = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        *,
        betas: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(params, lr, beta1, beta2, epsilon, betas=betas)
