"""Sequential: a chain of layers."""

from __future__ import annotations

from tinytensor.errors import NotSupported
from tinytensor.nn.module import Module
from tinytensor.tensor import Tensor

__all__ = ["Sequential"]


class Sequential(Module):
    """A chain of layers: each layer gets the result of the previous one.

    Args:
        layers: modules, or functions from a Tensor to a Tensor such as tt.relu.

    Raises:
        NotSupported: an argument is not callable (a list of modules, for example), or is a class
            instead of a module.

    Source: torch.nn.Sequential.

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(784, 50), nn.ReLU(), nn.Linear(50, 10))
    >>> model(tt.zeros(5, 28, 28)).shape
    (5, 10)
    """

    def __init__(self, *layers: Module) -> None:
        for layer in layers:
            if isinstance(layer, type):
                raise NotSupported(
                    f"Sequential: got the class {layer.__name__}; {layer.__name__}(...) makes a "
                    "layer of it"
                )
            if not callable(layer):
                raise NotSupported(
                    f"Sequential: got a {type(layer).__name__}; modules are needed, one by one: "
                    "Sequential(*layers) for those in a list"
                )
        self.layers = list(layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return layers[-1](... layers[1](layers[0](x)))."""
        for layer in self.layers:
            x = layer(x)
        return x
