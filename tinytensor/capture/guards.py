"""What a recorded step hangs on: its program is replayed only while all of it is as it was.

Python's objects can be changed from anywhere, and a replay runs no Python that would see it. So
what the step was made from is looked at before each replay, by identity, which is cheap: tensors,
modules, optimisers, the variables that the function uses. What has no identity to look at (an
attribute of a module set anew) is counted in recorder.structure.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from operator import is_
from typing import Any

from tinytensor import recorder
from tinytensor.capture.variables import Variables, contents, may_change
from tinytensor.kernels import Array
from tinytensor.nn import Module
from tinytensor.recorder import Recorder
from tinytensor.tensor import Tensor


class Guards:
    """All that must be as it was when a step was recorded.

    notes: of the recording. function: the step.
    """

    def __init__(self, notes: Recorder, function: Callable[..., Any]) -> None:
        self.structure = recorder.structure
        hooks = [hook for x, *_ in notes.leaves.values() for hook in (x.hooks or {}).values()]
        used = Variables([function, *notes.modules.values(), *hooks])
        self._named = list(
            {(id(space), name): (space, name, x) for space, name, x in used.named}.values()
        )
        self._cells = used.cells
        called = (*notes.modules.values(), *used.values)
        modules = {id(m): m for x in called if isinstance(x, Module) for m in _all_in(x)}
        values = [*used.values, *(x for module in modules.values() for x in vars(module).values())]
        containers = {id(x): x for x in values if may_change(x)}
        self._containers = [(x, contents(x)) for x in containers.values()]
        self._updated = [(o, list(params)) for o, params in notes.params.values()]
        self._flags = [(weakref.ref(module), flag) for module, flag in notes.flags.values()]
        # Held weakly, for it is to be seen which are gone after the step.
        self._read = [(weakref.ref(x), flag) for x, _, flag in notes.leaves.values()]
        self._leaves: list[tuple[weakref.ref[Tensor], Array, bool]] = []
        # Had no gradient before the step, which doesn't forget what it has.
        self._without_grad = [weakref.ref(x) for x, known in notes.grads.values() if not known]

    def see_who_is_alive(self) -> None:
        """Forget the tensors that were gone with the step; one that goes later is replaced."""
        alive = [(ref, ref(), flag) for ref, flag in self._read]
        self._leaves = [(ref, x.array, flag) for ref, x, flag in alive if x is not None]

    @property
    def outlast_a_step(self) -> bool:
        """Do they hold after a step if they do before?"""
        return all(ref() is None for ref in self._without_grad)

    def hold(self) -> bool:
        """Is all as it was?"""
        return (
            self.structure == recorder.structure
            and all(namespace.get(name) is value for namespace, name, value in self._named)
            and all(cell.cell_contents is value for cell, value in self._cells)
            and all(_are_the_same(contents(x), before) for x, before in self._containers)
            and all(
                (x := ref()) is not None and x.array is array and x.requires_grad is flag
                for ref, array, flag in self._leaves
            )
            and all((x := ref()) is None or x.grad is None for ref in self._without_grad)
            and all((m := ref()) is None or m.training is flag for ref, flag in self._flags)
            and all(_are_the_same(o.params, params) for o, params in self._updated)
        )


def _are_the_same(objects: list[Any], others: list[Any]) -> bool:
    return len(objects) == len(others) and all(map(is_, objects, others))


def _all_in(module: Module) -> Iterator[Module]:
    """The module, with all that are in it."""
    yield module
    for _, child in module.children():
        yield from _all_in(child)
