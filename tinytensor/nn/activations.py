"""Activation layers, which apply one function to each element, and Softmax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinytensor import ops
from tinytensor.nn.module import Module
from tinytensor.ops.operands import real, torch_spelling
from tinytensor.tensors import Tensor

__all__ = ["GELU", "Activation", "LeakyReLU", "ReLU", "SiLU", "Sigmoid", "Softmax", "Tanh"]


class Activation(Module):
    """The base class of activation layers, which apply one function to each element.

    Activation layers have no parameters.
    """

    op: Callable[[Any], Tensor]

    def forward(self, x: Tensor) -> Tensor:
        """Return op(x)."""
        return type(self).op(x)


class ReLU(Activation):
    """Rectified linear unit: out = max(x, 0).

    Call with x, float of any shape.

    Gradient: dx = grad where x > 0, else 0.

    Source: torch.nn.ReLU.

    >>> nn.ReLU()(tt.Tensor([-1.0, 2.0]))
    Tensor([0., 2.], dtype=float32)
    """

    op = staticmethod(ops.relu)


class Sigmoid(Activation):
    """Sigmoid: out = 1 / (1 + e^-x), between 0 and 1.

    Call with x, float of any shape.

    Gradient: dx = grad * out * (1 - out).

    Source: torch.nn.Sigmoid.

    >>> nn.Sigmoid()(tt.Tensor([0.0]))
    Tensor([0.5], dtype=float32)
    """

    op = staticmethod(ops.sigmoid)


class Tanh(Activation):
    """Hyperbolic tangent: out = (e^x - e^-x) / (e^x + e^-x), between -1 and 1.

    Call with x, float of any shape.

    Gradient: dx = grad * (1 - out^2).

    Source: torch.nn.Tanh.

    >>> nn.Tanh()(tt.Tensor([0.0]))
    Tensor([0.], dtype=float32)
    """

    op = staticmethod(ops.tanh)


class GELU(Activation):
    """Gaussian error linear unit: out = x * P with P = (1 + erf(x / sqrt(2))) / 2.

    P is the probability that a standard normal value is below x.

    Call with x, float of any shape.

    Gradient: dx = grad * (P + x * e^(-x^2 / 2) / sqrt(2 * pi)).

    Source: Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016, the exact form, not the
    approximation with tanh; torch.nn.GELU.

    >>> print(f"{nn.GELU()(tt.Tensor(1.0)).item():.4f}")
    0.8413
    """

    op = staticmethod(ops.gelu)


class SiLU(Activation):
    """Sigmoid-weighted linear unit, also called swish: out = x * sigmoid(x).

    Call with x, float of any shape.

    Gradient: dx = grad * s * (1 + x * (1 - s)), with s = sigmoid(x).

    Source: Elfwing, Uchibe and Doya, "Sigmoid-weighted linear units", 2017; torch.nn.SiLU.

    >>> nn.SiLU()(tt.Tensor([-100.0, 0.0, 100.0])).round()
    Tensor([ -0.,   0., 100.], dtype=float32)
    """

    op = staticmethod(ops.silu)


class LeakyReLU(Activation):
    """A ReLU with a small slope below 0: out = x where x > 0, else slope * x.

    Args:
        slope: the factor where x <= 0.

    Call with x, float of any shape.

    Gradient: dx = grad where x > 0, else grad * slope.

    Raises:
        SettingError: slope is not a number.

    Source: Maas, Hannun and Ng, "Rectifier nonlinearities improve neural network acoustic models",
    2013; torch.nn.LeakyReLU, whose negative_slope is the slope.

    >>> nn.LeakyReLU(0.5)(tt.Tensor([-1.0, 2.0]))
    Tensor([-0.5,  2. ], dtype=float32)
    """

    def __init__(self, slope: float = 0.01) -> None:
        self.slope = real("LeakyReLU", "slope", slope)

    def forward(self, x: Tensor) -> Tensor:
        """Return tt.leaky_relu(x, slope)."""
        return ops.leaky_relu(x, self.slope)

    def describe(self) -> str:
        """Return the slope."""
        return f"slope={self.slope}"


class Softmax(Module):
    """Probabilities along an axis: out = e^x / sum of e^x.

    A network that is trained with tt.cross_entropy needs no Softmax at its end, because
    cross_entropy takes logits.

    Args:
        axis (or dim): the axis of the sum; the last one by default.

    Call with x, float, at least 1-D.

    Gradient: dx = out * (grad - sum of grad * out along the axis).

    Raises:
        ShapeError: from the call, if the axis does not exist.

    Source: torch.nn.Softmax.

    >>> nn.Softmax()(tt.zeros(1, 4))
    Tensor([[0.25, 0.25, 0.25, 0.25]], dtype=float32)
    """

    @torch_spelling
    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        """Return tt.softmax(x, axis)."""
        return ops.softmax(x, self.axis)

    def describe(self) -> str:
        """Return the axis."""
        return f"axis={self.axis}"
