"""What must be unchanged for a program to be replayed: only what passed the engine's own doors.

Leaf tensors that ops read (the same array, the same requires_grad, the same hooks), modules that
were called and optimisers that made a step (each has a version number, raised when an attribute is
set), `training` flags that were read, and whether tensors have a gradient before the step. What
Python computed is not looked at: captured.py records again from time to time and compares.
"""

from __future__ import annotations

import weakref
from typing import Any

from tinytensor.arrays import Array
from tinytensor.recorder import Recorder
from tinytensor.tensor import Tensor


class Guards:
    """All that must be as it was when a step was recorded."""

    def __init__(self, notes: Recorder) -> None:
        self._modules = [(weakref.ref(m), version) for m, version in notes.modules.values()]
        self._flags = [(weakref.ref(m), flag) for m, flag in notes.flags.values()]
        self._optimizers = [
            (weakref.ref(o), version, list(map(id, params)))
            for o, version, params in notes.optimizers.values()
        ]
        self._read = [
            (weakref.ref(x), weakref.ref(array), flag, x.hooks)
            for x, array, flag in notes.leaves.values()
        ]
        self._leaves: list[tuple[weakref.ref[Tensor], Array, bool, Any]] = []
        grads = notes.grads.values()
        self._without_grad = [weakref.ref(x) for x, before in grads if before == "none"]
        self._with_grad = [weakref.ref(x) for x, before in grads if before == "carried"]

    def see_who_is_alive(self) -> None:
        """Forget the tensors that the step made itself, which are gone."""
        for ref, array_of, flag, hooks in self._read:
            if ref() is not None and (array := array_of()) is not None:
                self._leaves.append((ref, array, flag, hooks))
        self._read = []

    def leaves(self) -> list[Tensor]:
        """The tensors that the step read and that still exist."""
        return [x for ref, *_ in self._leaves if (x := ref()) is not None]

    @property
    def outlast_a_step(self) -> bool:
        """True if they hold after a step whenever they hold before it."""
        return all(ref() is None for ref in self._without_grad)

    def change(self) -> str:
        """Returns in words what has changed; "" if nothing has."""
        for ref, array, flag, hooks in self._leaves:
            x = ref()
            if x is None:
                return f"a tensor of shape {array.shape} that the step read is gone"
            if x.array is not array:
                return f"a tensor of shape {array.shape} has another array"
            if x.requires_grad is not flag:
                return f"a tensor of shape {array.shape} has requires_grad={x.requires_grad}"
            if x.hooks is not hooks:
                return f"a tensor of shape {array.shape} has other hooks"
        for module_of, count in self._modules:
            if (module := module_of()) is None or module.version != count:
                name = "a module" if module is None else f"a {type(module).__name__}"
                return f"an attribute of {name} was set"
        for module_of, flag in self._flags:
            if (module := module_of()) is not None and module.training is not flag:
                return f"a {type(module).__name__} has training={module.training}"
        for optimizer_of, count, params in self._optimizers:
            optimizer = optimizer_of()
            if optimizer is None or optimizer.version != count:
                return "an attribute of an optimiser was set"
            if list(map(id, optimizer.params)) != params:
                return "an optimiser has other parameters"
        for ref in self._without_grad:
            if (x := ref()) is not None and x.grad is not None:
                return f"a tensor of shape {x.shape} has a gradient from before the step"
        for ref in self._with_grad:
            if (x := ref()) is None or x.grad is None:
                return "a tensor has no gradient from before the step"
        return ""
