"""What a recorded step hangs on: its program is replayed only while all of it is as it was.

Python's objects can be changed from anywhere, and a replay runs no Python that would see it. So
what the step was made from is looked at before each replay, by identity, which is cheap: tensors,
modules, optimisers, the variables around the function. What has no identity to look at (an
attribute of a module set anew) is counted in recording.structure.
"""

from __future__ import annotations

import dis
import weakref
from collections.abc import Callable, Iterable, Iterator
from operator import is_
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

from tinytensor import recording
from tinytensor.kernels import Array
from tinytensor.nn import Module
from tinytensor.recording import Recorder
from tinytensor.tensor import Tensor

Container = list[Any] | dict[Any, Any]


class Guards:
    """All that must be as it was when a step was recorded.

    notes: of the recording. function: the step.
    """

    def __init__(self, notes: Recorder, function: Callable[..., Any]) -> None:
        self.structure = recording.structure
        self._globals, self._cells = variables_of(function)
        around = [value for *_, value in (*self._globals, *self._cells)]
        around += vars(getattr(function, "__self__", Guards)).values()
        modules = {id(m): m for x in (*notes.modules.values(), *around) for m in _modules_in(x)}
        containers = [x for module in modules.values() for x in vars(module).values()]
        containers += [x for x in around if isinstance(x, list | dict) and _holds_tensors(x)]
        self._containers = [(x, _contents(x)) for x in containers if isinstance(x, list | dict)]
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
            self.structure == recording.structure
            and all(namespace.get(name) is value for namespace, name, value in self._globals)
            and all(cell.cell_contents is value for cell, value in self._cells)
            and all(_are_the_same(_contents(x), contents) for x, contents in self._containers)
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


def _contents(container: Container) -> list[Any]:
    """Everything in a list or dict, and in those in it."""
    items: Iterable[Any] = container
    if isinstance(container, dict):
        items = [x for pair in container.items() for x in pair]
    contents: list[Any] = []
    for item in items:
        contents += _contents(item) if isinstance(item, list | dict) else (item,)
    return contents


def _holds_tensors(container: Container) -> bool:
    return any(isinstance(x, Tensor | Module) for x in _contents(container))


def _modules_in(value: Any) -> Iterator[Module]:
    """The module, or those in the container, with all that are in them."""
    if isinstance(value, Module):
        yield value
        for _, child in value.children():
            yield from _modules_in(child)
    elif isinstance(value, list | dict):
        for item in _contents(value):
            if isinstance(item, Module):
                yield from _modules_in(item)


# Variables around a function --------------------------------------------------------------------

OURS = "tinytensor."
Globals = list[tuple[dict[str, Any], str, Any]]
Cells = list[tuple[CellType, Any]]


def variables_of(function: Callable[..., Any]) -> tuple[Globals, Cells]:
    """The variables that a function uses of its module and of functions around it, with values.

    Those of user's functions among them count too.
    """
    found: tuple[Globals, Cells] = [], []
    seen: set[int] = set()
    waiting = [getattr(function, "__func__", function)]
    while waiting:
        function = waiting.pop()
        if not isinstance(function, FunctionType) or id(function) in seen:
            continue
        seen.add(id(function))
        used = [
            (function.__globals__, name, function.__globals__[name])
            for name in sorted(set(_global_names(function.__code__)))
            if name in function.__globals__
        ]
        around = [(c, c.cell_contents) for c in function.__closure__ or () if _is_filled(c)]
        found[0].extend(use for use in used if not isinstance(use[2], ModuleType))
        found[1].extend(around)
        values = [value for *_, value in (*used, *around)]
        waiting += [f for f in values if not (getattr(f, "__module__", "") or "").startswith(OURS)]
    return found


def _is_filled(cell: CellType) -> bool:
    return cell != CellType()


def _global_names(code: CodeType) -> Iterator[str]:
    for instruction in dis.get_instructions(code):
        if instruction.opname == "LOAD_GLOBAL":
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, CodeType):  # a lambda or a comprehension in it
            yield from _global_names(constant)
