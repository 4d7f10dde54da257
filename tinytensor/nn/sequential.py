"""Sequential: a chain of layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, overload

from tinytensor.errors import IndexingError, NotSupported
from tinytensor.nn.module import Module

__all__ = ["Sequential"]

Layer = Module | Callable[..., Any]


class Sequential(Module):
    """A chain of layers: each layer gets the result of the previous one.

    `len(model)` is the number of layers, `model[0]` is the first layer, and `model[:3]` is a
    Sequential of the first three, which shares their parameters.

    Args:
        layers: modules, or functions from a Tensor to a Tensor such as tt.relu.

    Attributes:
        layers: the tuple of the layers.

    Call with the arguments of the first layer; every other layer gets one argument.

    Raises:
        NotSupported: an argument is not callable (a list of modules, for example), or is a class
            instead of a module.
        IndexingError: from `model[i]`, if there is no such layer.

    Source: torch.nn.Sequential.

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(784, 50), nn.ReLU(), nn.Linear(50, 10))
    >>> model(tt.zeros(5, 28, 28)).shape
    (5, 10)
    >>> len(model), model[1].weight.shape, model[:2](tt.zeros(5, 28, 28)).shape
    (4, (784, 50), (5, 50))
    """

    def __init__(self, *layers: Layer) -> None:
        # A tuple, because a captured step does not see a change inside of a list.
        self.layers = tuple(map(_as_layer, layers))

    def forward(self, *arguments: Any, **named: Any) -> Any:
        """Return layers[-1](... layers[1](layers[0](x)))."""
        first, *rest = self.layers or (_same,)
        x = first(*arguments, **named)
        for layer in rest:
            x = layer(x)
        return x

    def append(self, layer: Layer) -> Sequential:
        """Add a layer behind the last one; returns the model.

        Args:
            layer: a module, or a function from a Tensor to a Tensor.

        Source: torch.nn.Sequential.append.
        """
        self.layers = (*self.layers, _as_layer(layer))
        return self

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.layers)

    @overload
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> Sequential: ...

    def __getitem__(self, index: int | slice) -> Any:
        found = self._at(index)
        return Sequential(*found) if isinstance(index, slice) else found

    def __setitem__(self, index: int, layer: Layer) -> None:
        if isinstance(index, slice):
            raise IndexingError(
                "Sequential: got a slice; one layer is set at a time: model[i] = ..."
            )
        self._at(index)
        layers = list(self.layers)
        layers[index] = _as_layer(layer)
        self.layers = tuple(layers)

    def _at(self, index: int | slice) -> Any:
        try:
            return self.layers[index]
        except (IndexError, TypeError):
            raise IndexingError(
                f"Sequential: got the index {index!r}; it has {len(self)} layers, and a whole "
                f"number from {-len(self)} to {len(self) - 1} or a slice is needed"
            ) from None


def _same(x: Any) -> Any:
    return x


def _as_layer(layer: Layer) -> Layer:
    """Return a layer; raise NotSupported if it can't be one."""
    if isinstance(layer, type):
        raise NotSupported(
            f"Sequential: got the class {layer.__name__}; {layer.__name__}(...) makes a layer of it"
        )
    if not callable(layer):
        values = "*layers.values()" if isinstance(layer, Mapping) else "*layers"
        raise NotSupported(
            f"Sequential: got a {type(layer).__name__}; modules are needed, one by one: "
            f"Sequential({values}) for those in a {'dict' if 'v' in values else 'list'}"
        )
    return layer
