"""Module: the base class of layers and networks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from tinytensor import checkpoint, devices, hints, observers, ops, recorder
from tinytensor.errors import DTypeError, SettingError
from tinytensor.tensors import Tensor

if TYPE_CHECKING:
    from typing import Self

    from numpy.typing import ArrayLike

__all__ = ["Module"]


class Module:
    """The base class of layers and networks: a function of tensors, with parameters.

    A subclass sets its tensors and submodules as attributes in `__init__` and defines `forward`,
    with any arguments. No registration and no `super().__init__()` is needed.

    A call with x, ... returns `forward(x, ...)`. An array of numbers becomes a Tensor; all
    other arguments, such as None and lists of tensors, stay as they are.

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

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        if vars(cls).get("__slots__"):
            raise SettingError(
                f"{cls.__name__}: got __slots__, whose tensors would be no part of the module; "
                "attributes without __slots__ are needed"
            )
        for name, value in vars(cls).items():
            for path, x in _tensors_and_modules(name, value):
                if isinstance(x, Module) or x.requires_grad:
                    raise SettingError(
                        f"{cls.__name__}: {path} is an attribute of the class, so it is no part of "
                        f"its modules; set self.{name} in __init__"
                    )

    def __setattr__(self, name: str, value: object) -> None:
        own = vars(self)
        if name != "training" and (name not in own or own[name] is not value):
            _refuse_to_lose_parameter(type(self).__name__, name, own.get(name), value)
            own["_version"] = self.version + 1
        super().__setattr__(name, value)

    if not TYPE_CHECKING:  # for mypy, a name that is missing is an error

        def __getattr__(self, name: str) -> NoReturn:
            return hints.no_attribute(self, "Module", name)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Return self.forward(*arguments, **named)."""
        if named:
            named = {name: _as_tensor(value) for name, value in named.items()}
        if recorder.recordings and (notes := recorder.recorder()):
            notes.modules.setdefault(id(self), (self, self.version))
            with notes.in_module(self):
                result = self.forward(*map(_as_tensor, arguments), **named)
        else:
            result = self.forward(*map(_as_tensor, arguments), **named)
        for observer in observers.active:
            observer.module_called(self, arguments, result)
        return result

    def forward(self, *arguments: Any, **named: Any) -> Any:
        """Return the result of the module; every subclass defines this method.

        Args:
            arguments, named: the inputs, of any number; their shapes and dtypes depend on the
                module. A method such as `forward(self, query, key, mask=None)` names them.

        Returns:
            A Tensor, or tensors in tuples, lists and dicts.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no forward; a method forward(self, x) is needed"
        )

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yield (path, module) for each direct submodule: "head", "blocks.0", "heads.left".

        A module with two paths is yielded once, with the first path.

        Source: torch.nn.Module.named_children.
        """
        seen: set[int] = set()
        for name, x in self._members():
            if isinstance(x, Module) and id(x) not in seen:
                seen.add(id(x))
                yield name, x

    def children(self) -> Iterator[Module]:
        """Yield each direct submodule once.

        Source: torch.nn.Module.children.
        """
        return (child for _, child in self.named_children())

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """Yield (path, module) for this module, whose path is `prefix`, and for all submodules.

        A module comes before its submodules. A module with two paths is yielded once, with the
        first path.

        Args:
            prefix: the path of this module.

        Source: torch.nn.Module.named_modules.

        >>> [name for name, _ in nn.Sequential(nn.Linear(2, 3), nn.ReLU()).named_modules()]
        ['', 'layers.0', 'layers.1']
        """
        seen: set[int] = set()
        waiting: list[tuple[str, Module]] = [(prefix, self)]
        while waiting:
            path, module = waiting.pop()
            if id(module) not in seen:
                seen.add(id(module))
                yield path, module
                start = f"{path}." if path else ""
                below = [(start + name, child) for name, child in module.named_children()]
                waiting += reversed(below)

    def modules(self) -> Iterator[Module]:
        """Yield this module and all submodules, each once.

        Source: torch.nn.Module.modules.

        >>> model = nn.Sequential(nn.Linear(2, 3), nn.Dropout(p=0.5))
        >>> [layer for layer in model.modules() if isinstance(layer, nn.Dropout)]
        [Dropout(keep_prob=0.5)]
        """
        return (module for _, module in self.named_modules())

    def apply(self, function: Callable[[Module], object]) -> Self:
        """Call `function(module)` for every submodule and then for this module; returns the module.

        Args:
            function: a function of a module, such as one that sets weights. Its result is not used.

        Raises:
            SettingError: a module contains itself, as after `child.parent = self`.

        Source: torch.nn.Module.apply.

        >>> def halve(module):
        ...     if isinstance(module, nn.Linear):
        ...         module.weight.data *= 0.5
        >>> nn.Sequential(nn.Linear(1, 1, nn.constant(4.0))).apply(halve)[0].weight
        Tensor([[2.]], dtype=float32, requires_grad=True)
        """
        _refuse_cycle(self)
        for child in self.children():
            child.apply(function)
        function(self)
        return self

    def named_tensors(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """Yield (path, tensor) for each tensor of this module and its submodules.

        A path looks like "layers.0.weight".

        Args:
            prefix: the beginning of each path.

        Raises:
            SettingError: a module contains itself, as after `child.parent = self`.
        """
        _refuse_cycle(self)
        yield from self._named_tensors(prefix)

    def _named_tensors(self, prefix: str) -> Iterator[tuple[str, Tensor]]:
        for name, x in self._members():
            if isinstance(x, Tensor):
                yield prefix + name, x
        for name, x in self._members():
            if isinstance(x, Module):
                yield from x._named_tensors(f"{prefix}{name}.")

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

    def register_buffer(self, name: str, value: ArrayLike | Tensor | None) -> None:
        """Set the attribute `name` to a tensor that is saved with the model and not trained.

        `self.name = tensor` does the same for a tensor without requires_grad.

        Args:
            name: the name of the attribute, without a dot.
            value: array-like, or None.

        Raises:
            SettingError: the name can't name an attribute, or the tensor has requires_grad.

        Source: torch.nn.Module.register_buffer.

        >>> module = nn.Module()
        >>> module.register_buffer("mask", [[True, False]])
        >>> module.state_dict()
        {'mask': Tensor([[ True, False]], dtype=bool)}
        """
        if not isinstance(name, str) or not name.isidentifier() or hasattr(type(self), name):
            raise SettingError(
                f"register_buffer: got the name {name!r}; a name for an attribute that "
                f"{type(self).__name__} does not define is needed"
            )
        if isinstance(value, Tensor) and value.requires_grad:
            raise SettingError(
                f"register_buffer: {name} has requires_grad=True, so it is a parameter; set it "
                f"with self.{name} = ..., or pass {name}.detach()"
            )
        is_tensor = value is None or isinstance(value, Tensor)
        setattr(self, name, value if is_tensor else Tensor(value))  # type: ignore[arg-type]

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Freeze all parameters, or make the frozen ones parameters again; returns the module.

        `model.body.requires_grad_(False)` freezes a part of a network: its tensors get no gradient
        and are buffers, not parameters. `model.body.requires_grad_()` undoes it. It does not change
        tensors that were frozen one by one: set `x.requires_grad = True` for each of them.

        Args:
            requires_grad: False freezes the parameters.

        Source: torch.nn.Module.requires_grad_.

        >>> layer = nn.Linear(3, 2)
        >>> len(layer.requires_grad_(False).parameters())
        0
        >>> len(layer.requires_grad_().parameters())
        2
        """
        for module in list(self.modules()):
            frozen: set[str] = vars(module).setdefault("_frozen", set())
            for name, x in module._members():
                if isinstance(x, Tensor) and (name in frozen if requires_grad else x.requires_grad):
                    x.requires_grad_(requires_grad)
                    (frozen.discard if requires_grad else frozen.add)(name)
        return self

    def zero_grad(self) -> None:
        """Set the gradients of all tensors to None, frozen ones included.

        Source: torch.nn.Module.zero_grad.
        """
        for _, x in self.named_tensors():
            x.grad = None

    def parameters(self) -> list[Tensor]:
        """Return the list of all tensors with requires_grad, for an optimiser.

        Source: torch.nn.Module.parameters, which is an iterator.

        >>> [x.shape for x in nn.Linear(784, 10).parameters()]
        [(784, 10), (10,)]
        """
        return [x for _, x in self.named_parameters()]

    def train(self, training: bool = True) -> Self:
        """Set training mode for this module and its submodules; returns the module.

        Args:
            training: False sets evaluation mode, like `eval()`.

        Raises:
            SettingError: a module contains itself, as after `child.parent = self`.
        """
        _refuse_cycle(self)
        self.training = training
        for child in self.children():
            child.train(training)
        return self

    def eval(self) -> Self:
        """Set evaluation mode for this module and its submodules; returns the module.

        In evaluation mode Dropout returns its input and BatchNorm uses its moving averages.
        """
        return self.train(False)

    def to(self, device: str) -> Self:
        """Return the module itself, because "cpu" is the only device.

        Args:
            device: "cpu".

        Raises:
            NotSupported: another device or a dtype is given.

        Source: torch.nn.Module.to.
        """
        devices.device(device)
        return self

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
            NotSupported: `state` is not a dict.

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
            for name, x in self._members()
            if isinstance(x, Module)
            for i, line in enumerate(repr(x).splitlines())
        ]
        return "\n".join([head, *lines])


def _refuse_to_lose_parameter(module: str, name: str, old: object, new: object) -> None:
    """Raise SettingError if a value that is not trained takes the place of a parameter."""
    if not (isinstance(old, Tensor) and old.requires_grad and old.node is None) or new is None:
        return
    if not any(isinstance(x, Module) or x.requires_grad for _, x in _tensors_and_modules("", new)):
        raise SettingError(
            f"{module}: got a {type(new).__name__} without requires_grad as {name}, which is a "
            f"parameter and would not be trained any more; {name}.data = x copies the values, "
            f"x.requires_grad_() makes a parameter of a tensor, and {name} = None removes it"
        )


def _refuse_cycle(module: Module) -> None:
    """Raise SettingError if a module contains itself, directly or through other modules."""
    done: set[int] = set()
    above: dict[int, str] = {}  # the modules that contain the current one, with their paths
    waiting: list[tuple[str, Module] | Module] = [("", module)]
    while waiting:
        entry = waiting.pop()
        if isinstance(entry, Module):  # all modules below this one are done
            del above[id(entry)]
            done.add(id(entry))
            continue
        path, x = entry
        if id(x) in above:
            raise SettingError(
                f"{type(module).__name__}: {path} is {above[id(x)] or 'this module'}, and a module "
                f"can't contain itself; let {path} be weakref.ref(module), a call of which returns "
                "the module"
            )
        if id(x) not in done:
            above[id(x)] = path
            waiting.append(x)
            start = f"{path}." if path else ""
            waiting += [(start + name, child) for name, child in x.named_children()]


def as_input(layer: str, x: Tensor, *tensors: Tensor | None) -> Tensor:
    """Return a layer's input in the dtype of the layer's own tensors; bytes raise DTypeError."""
    x = refuse_bytes(layer, x)
    dtypes = {own.array.dtype for own in tensors if own is not None}
    return x if dtypes == {x.array.dtype} else ops.cast(x, np.result_type(*dtypes))


def refuse_bytes(layer: str, x: Tensor) -> Tensor:
    """Return a layer's input as a Tensor.

    Raises DTypeError for bytes, because a network that computes with values up to 255 learns badly.
    """
    x = ops.as_tensor(layer, x)
    if x.dtype == np.uint8:
        raise DTypeError(
            f"{layer}: got x of uint8, such as pixels from 0 to 255; floats are needed: "
            'tt.datasets.to_float(images) or x / 255 for pixels, x.astype("float32") for counts'
        )
    return x


def _as_tensor(value: Any) -> Any:
    """Return a NumPy array of numbers as a Tensor, and any other value as it is."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        return Tensor(value)
    return value


def _tensors_and_modules(path: str, value: Any) -> Iterator[tuple[str, Tensor | Module]]:
    """Yield (path, x) for each Tensor or Module x in `value`, also in lists, tuples and dicts.

    Raises SettingError for a set of them, because a set has no order.
    """
    if isinstance(value, Tensor | Module):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _tensors_and_modules(f"{path}.{key}", item)
    elif isinstance(value, list | tuple | deque):
        for i, item in enumerate(value):
            yield from _tensors_and_modules(f"{path}.{i}", item)
    elif isinstance(value, set | frozenset) and any(
        isinstance(item, Tensor | Module) for item in value
    ):
        raise SettingError(
            f"{path}: got a set of tensors or modules; a list, with an order, is needed"
        )
