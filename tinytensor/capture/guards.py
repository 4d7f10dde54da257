"""Guards: the conditions under which a program may be replayed.

All of them come from objects that the engine itself met while it recorded:

- leaf tensors that ops read or the step returns: the same array, requires_grad and hooks;
- modules that were called or whose method is captured, and optimisers that made a step: the same
  version number, which grows when an attribute is set;
- `training` flags that were read: the same value;
- tensors that get a gradient: still with, or still without, one before the step.

A step that stores tensors outside of the function has no program, because a replay stores nothing.

No guard covers what Python computes. captured.py runs the function again at calls 2, 4, 8, ... and
compares instead.
"""

from __future__ import annotations

import gc
import weakref
from typing import Any

from tinytensor.arrays import Array, root
from tinytensor.capture.calls import gradients, tensors_with_grad
from tinytensor.recorder import Recorder
from tinytensor.tensors import Tensor, wrap


class Guards:
    """The guards of one recording.

    stores: True if user code holds a tensor after the step that the step made, or an argument. The
    gradient that x.grad returns does not count.
    """

    def __init__(self, notes: Recorder) -> None:
        self.stores = False
        memory = (notes.written - notes.read_first.keys()).union(notes.inputs)
        memory -= {id(root(grad)) for grad in gradients(notes)} - {*notes.inputs}
        self._made: list[weakref.ref[Any]] = [weakref.ref(notes.held[key]) for key in memory]
        self._grads = _replace_gradients(notes)
        self._made += [weakref.ref(x) for x in (*notes.results, *notes.views)]
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

    def drop_the_dead(self, collect: bool) -> None:
        """Drop the tensors that do not exist after the step, and find out whether it stores any.

        collect: True to collect garbage before a tensor counts as stored.
        """
        made = self._made + [was for _, was in self._grads]
        self.stores = any(ref() is not None for ref in made)
        if self.stores and collect:
            gc.collect()
            self.stores = any(ref() is not None for ref in made)
        _restore_gradients(self._grads)
        self._made, self._grads = [], []
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
        return ""


_Gradients = list[tuple[weakref.ref[Tensor], weakref.ref[Tensor]]]


def _replace_gradients(notes: Recorder) -> _Gradients:
    """Replace each gradient that the step computed by another tensor of the same memory.

    Returns the tensors and their gradients from before. Such a gradient exists after the step only
    if user code has stored it.
    """
    replaced = []
    copies: dict[int, Tensor] = {}  # by the gradient's id, because two tensors may share it
    for x in tensors_with_grad(notes):
        grad = x._grad
        if grad is not None and grad.node is None and notes.owns(grad.array):
            replaced.append((weakref.ref(x), weakref.ref(grad)))
            x._grad = copies.setdefault(id(grad), wrap(grad.array))
            x._grad.version, x._grad._requires_grad = grad.version, grad.requires_grad
    return replaced


def _restore_gradients(replaced: _Gradients) -> None:
    """Set the gradients that user code has stored again."""
    for ref, was in replaced:
        if (x := ref()) is not None and (grad := was()) is not None:
            x._grad = grad
