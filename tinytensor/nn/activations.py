"""Activation layers: one function, applied to each element."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinytensor import ops
from tinytensor.nn.module import Module
from tinytensor.tensor import Tensor

__all__ = ["GELU", "Activation", "ReLU", "Sigmoid", "Tanh"]


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

    >>> nn.GELU()(tt.Tensor([0.0, 1.0]))
    Tensor([0.       , 0.8413447], dtype=float32)
    """

    op = staticmethod(ops.gelu)
