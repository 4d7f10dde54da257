"""Module: the base class of layers and networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tinytensor import checkpoint, recorder
from tinytensor.errors import SettingError
from tinytensor.tensor import Tensor

__all__ = ["Module"]


class Module:
    """The base class of layers and networks: a function of a tensor, with parameters.

    A subclass sets its tensors and submodules as attributes in `__init__` and defines `forward`.
    No registration and no `super().__init__()` is needed.

    Source: torch.nn.Module.

    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         self.hidden = nn.Linear(784, 30)
    ...         self.head = nn.Linear(30, 10)
    ...
    ...     def forward(self, x):
    ...         return self.head(tt.relu(self.hidden(x)))
    >>> net = Net()
    >>> net(tt.zeros(5, 784)).shape
    (5, 10)
    >>> [name for name, _ in net.named_parameters()]
    ['hidden.weight', 'hidden.bias', 'head.weight', 'head.bias']
    """

    @property
    def version(self) -> int:
        """The number of attribute changes; a captured step compares it to detect a change."""
        version: int = vars(self).get("_version", 0)
        return version

    @property
    def training(self) -> bool:
        """True in training mode, False in evaluation mode; Dropout and BatchNorm depend on it."""
        training: bool = vars(self).get("_training", True)
        if notes := recorder.recorder():
            notes.flags[id(self)] = self, training
        return training

    @training.setter
    def training(self, training: bool) -> None:
        vars(self)["_training"] = training

    def __setattr__(self, name: str, value: object) -> None:
        if name != "training" and getattr(self, name, None) is not value:
            vars(self)["_version"] = self.version + 1
        super().__setattr__(name, value)

    def __call__(self, x: Tensor) -> Tensor:
        """Return self.forward(x)."""
        if recorder.recordings and (notes := recorder.recorder()):
            notes.modules.setdefault(id(self), (self, self.version))
        return self.forward(x)

    def forward(self, x: Tensor) -> Tensor:
        """Return the result of the module; every subclass defines this method.

        Args:
            x: the input Tensor; its shape and dtype depend on the module.

        Returns:
            A Tensor.
        """
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def children(self) -> Iterator[tuple[str, Module]]:
        """Yield (path, module) for each direct submodule: "head", "blocks.0", "heads.left"."""
        for name, x in self._members():
            if isinstance(x, Module):
                yield name, x

    def named_tensors(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """Yield (path, tensor) for each tensor of this module and its submodules.

        A path looks like "layers.0.weight".

        Args:
            prefix: the beginning of each path.
        """
        for name, x in self._members():
            if isinstance(x, Tensor):
                yield prefix + name, x
        for name, child in self.children():
            yield from child.named_tensors(f"{prefix}{name}.")

    def _members(self) -> Iterator[tuple[str, Tensor | Module]]:
        for name, value in vars(self).items():
            yield from _tensors_and_modules(name, value)

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Yield (path, tensor) for each tensor with requires_grad, of submodules too.

        A tensor with two paths is yielded once, with the first path.

        Source: torch.nn.Module.named_parameters.
        """
        seen: set[int] = set()
        for name, x in self.named_tensors():
            if x.requires_grad and id(x) not in seen:
                seen.add(id(x))
                yield name, x

    def parameters(self) -> list[Tensor]:
        """Return the list of all tensors with requires_grad, for an optimiser.

        Source: torch.nn.Module.parameters, which is an iterator.

        >>> [x.shape for x in nn.Linear(784, 10).parameters()]
        [(784, 10), (10,)]
        """
        return [x for _, x in self.named_parameters()]

    def train(self, training: bool = True) -> Module:
        """Set training mode for this module and its submodules; returns the module.

        Args:
            training: False sets evaluation mode, like `eval()`.
        """
        self.training = training
        for _, child in self.children():
            child.train(training)
        return self

    def eval(self) -> Module:
        """Set evaluation mode for this module and its submodules; returns the module.

        In evaluation mode Dropout returns its input and BatchNorm uses its moving averages.
        """
        return self.train(False)

    def state_dict(self) -> dict[str, Tensor]:
        """Return a dict from path to tensor, for tt.save; the tensors share the module's memory.

        Raises:
            SettingError: two tensors have the same path, as in {"a.b": x, "a": {"b": y}}.

        Source: torch.nn.Module.state_dict.

        >>> list(nn.Linear(784, 10).state_dict())
        ['weight', 'bias']
        """
        state: dict[str, Tensor] = {}
        for name, x in self.named_tensors():
            if name in state:
                raise SettingError(
                    f"{type(self).__name__}: two tensors are named {name!r}; a name each is needed"
                )
            state[name] = x.detach()
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Copy the values of a state_dict into this module's tensors.

        Args:
            state: a tensor for each path of `state_dict()`, of the same shape; other dtypes are
                converted.

        Raises:
            DataError: a tensor is missing, unknown or of another shape. The message lists every
                such path, and no tensor has been changed.

        Source: torch.nn.Module.load_state_dict.
        """
        checkpoint.copy_into("load_state_dict", dict(self.named_tensors()), state)

    def describe(self) -> str:
        """Return the settings that repr() prints in brackets."""
        return ""

    def __repr__(self) -> str:
        count = sum(x.size for x in self.parameters())
        tensors = [f"{n} {x.shape}" for n, x in self._members() if isinstance(x, Tensor)]
        settings = ", ".join(filter(None, [self.describe(), *tensors]))
        head = f"{type(self).__name__}({settings})" + (f"  # {count:,} parameters" if count else "")
        lines = [
            f"  {name}: {line}" if i == 0 else f"  {line}"
            for name, child in self.children()
            for i, line in enumerate(repr(child).splitlines())
        ]
        return "\n".join([head, *lines])


def _tensors_and_modules(path: str, value: Any) -> Iterator[tuple[str, Tensor | Module]]:
    """Yield (path, x) for each Tensor or Module x in `value`, also in lists, tuples and dicts."""
    if isinstance(value, Tensor | Module):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _tensors_and_modules(f"{path}.{key}", item)
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from _tensors_and_modules(f"{path}.{i}", item)
