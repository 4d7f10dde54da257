"""Guards: the conditions under which a program may be replayed.

All of them come from objects that the engine itself met while it recorded:

- leaf tensors that ops read: the same array, requires_grad and hooks;
- modules that were called and optimisers that made a step: the same version number, which grows
  when an attribute is set;
- `training` flags that were read: the same value;
- tensors that get a gradient: still with, or still without, one before the step;
- tensors that the step computed and that user code still holds: not freed since, because user code
  would hold a new one.

No guard covers what Python computes. captured.py runs the function again at calls 2, 4, 8, ... and
compares instead.
"""

from __future__ import annotations

import weakref
from typing import Any

from tinytensor.arrays import Array
from tinytensor.recorder import Recorder
from tinytensor.tensors import Tensor


class Guards:
    """The guards of one recording.

    kept: tensors that the step computed and that user code holds after it.
    """

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
        self.kept: list[weakref.ref[Tensor]] = []
        grads = notes.grads.values()
        self._without_grad = [weakref.ref(x) for x, before in grads if before == "none"]
        self._with_grad = [weakref.ref(x) for x, before in grads if before == "carried"]

    def drop_the_dead(self) -> None:
        """Drop the tensors that the step made and nobody holds any more."""
        for ref, array_of, flag, hooks in self._read:
            if ref() is not None and (array := array_of()) is not None:
                self._leaves.append((ref, array, flag, hooks))
        self._read = []

    def leaves(self) -> list[Tensor]:
        """Return the tensors that the step read and that still exist."""
        return [x for ref, *_ in self._leaves if (x := ref()) is not None]

    @property
    def outlast_a_step(self) -> bool:
        """True if the guards are fulfilled after a step whenever they are before it."""
        return all(ref() is None for ref in self._without_grad)

    def change(self) -> str:
        """Return the first guard that is broken, in words; "" if none is."""
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
            if (x := ref()) is not None and x._grad is not None:
                return f"a tensor of shape {x.shape} has a gradient from before the step"
        for ref in self._with_grad:
            if (x := ref()) is None or x._grad is None:
                return "a tensor has no gradient from before the step"
        for ref in self.kept:
            if ref() is None:
                return "a tensor that the step kept is gone"
        return ""
