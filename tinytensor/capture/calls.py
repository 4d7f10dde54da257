"""The calls of a recording, and the comparison of two recordings of a step.

A recording is a list of kernel calls and of Python functions, in order. Two recordings are equal if
they have the same kernels with the same settings, and if every array has the same origin:

    argument i       an argument of the step, or a gradient from before, to which the step adds
    own k            the k-th memory that the step wrote without having read it before
    outside j        the j-th memory that the step read first: the same memory, or equal values

Equal recordings compute the same for all values of the arguments, so a replay equals the step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tinytensor.arrays import Array, address, root
from tinytensor.capture.memory import View
from tinytensor.capture.results import Result
from tinytensor.door import CONTRACTS, Backend
from tinytensor.recorder import NotedCall, NotedFunction, Place, Recorder
from tinytensor.tensors import Tensor


class Key(NamedTuple):
    """The properties of a call of the step by which its program is found."""

    backend: Backend
    instructions: str
    grad_enabled: bool
    arguments: tuple[tuple[tuple[int, ...], np.dtype[Any]], ...]
    form: tuple[Any, ...]  # of the arguments: their structure, numbers, strings and None


@dataclass(eq=False)
class Call:
    """A kernel call of a program."""

    kernel: str
    views: tuple[Any, ...]  # its arguments: a View for an array, or a setting
    part: str  # "forward", "backward of ..." or "update"
    place: Place

    @property
    def reads(self) -> list[View]:
        """The arrays that the kernel reads or changes in place."""
        return [self.views[i] for i in CONTRACTS[self.kernel].reads]

    @property
    def writes(self) -> list[View]:
        """The arrays that the kernel writes or changes in place."""
        return [self.views[i] for i in CONTRACTS[self.kernel].writes]

    def arguments(self) -> tuple[Any, ...]:
        """Return the kernel's arguments: arrays and settings."""
        return tuple(x.array() if isinstance(x, View) else x for x in self.views)


@dataclass(eq=False)
class Function:
    """A function that each replay calls, such as a check of labels or a learning rate.

    exchanged_bytes: the size of the array that it exchanges with other ranks; 0 if it does not.
    checks_elements: True if one call may check the arrays of many steps.
    """

    function: Callable[..., None]
    reads: list[View]  # the arrays that it reads or changes in place
    writes: list[View]  # the arrays that it writes or changes in place
    views: tuple[View, ...]  # its arguments
    reads_anything: bool
    exchanged_bytes: int
    checks_elements: bool

    def __call__(self) -> None:
        """Call it with its arrays."""
        self.function(*(view.array() for view in self.views))


def offset_in(array: Array) -> int:
    """Return the bytes from the start of an array's memory to its first element."""
    if not isinstance(array.base, np.ndarray) or not array.size:
        return 0
    return address(array) - address(root(array))


class Difference(NamedTuple):
    """The first difference between two recordings, in words, and the line of the user's code."""

    what: str
    line: str

    def __str__(self) -> str:
        return f"{self.what}, at {self.line}" if self.line else self.what


class Trace:
    """A recording in a form that can be compared with another.

    roots: the memory that the step read before it wrote it, in order of the first reads.
    before: a copy of each root from before the step changed it; None if it didn't.
    """

    def __init__(self, notes: Recorder, result: Result) -> None:
        self._places: dict[int, tuple[str, int]] = {
            key: ("argument", i) for i, key in enumerate(notes.inputs)
        }
        self._described: dict[int, tuple[Any, ...]] = {}  # by id(array), for reused arrays
        self._number = {"own": 0, "outside": 0}
        self._read_first = notes.read_first
        self.items = [self._item(note) for note in notes.items]
        self.lines = [note.place.line for note in notes.items]
        self.result = result.described(lambda x: self._array(x, id(root(x)))), result.outside
        self.gradients = [
            None if x._grad is None else self._array(x._grad.array, id(root(x._grad.array)))
            for x in tensors_with_grad(notes)
        ]
        self.before = [notes.before.get(key) for key in notes.read_first]
        self.roots = list(notes.read_first.values())
        del self._places, self._described, self._read_first

    def _item(self, note: NotedCall | NotedFunction) -> tuple[Any, ...]:
        if isinstance(note, NotedCall):
            n = len(note.memories)
            arrays = map(self._array, note.arguments[:n], note.memories)
            return note.kernel.name, *arrays, *map(repr, note.arguments[n:])
        arrays = map(self._array, (*note.reads, *note.changes, *note.writes), note.memories)
        name = getattr(note.function, "__qualname__", repr(type(note.function)))
        return f"function {name}", *map(repr, note.settings), *arrays

    def _array(self, array: Array, key: int) -> tuple[Any, ...]:
        """Return an array's origin, shape, dtype, offset, strides; key: the id of its memory."""
        if (described := self._described.get(id(array))) is not None:
            return described
        if key not in self._places:
            origin = "outside" if key in self._read_first else "own"
            self._places[key] = origin, self._number[origin]
            self._number[origin] += 1
        offset = offset_in(array)
        place = (*self._places[key], array.shape, array.dtype, offset, array.strides)
        self._described[id(array)] = place
        return place

    def difference(self, other: Trace) -> Difference | None:
        """Returns where another recording differs from this one; None if it is equal."""
        for i, (mine, theirs) in enumerate(zip(self.items, other.items, strict=False)):
            if mine != theirs:
                return Difference(_difference_of_items(i, mine, theirs), self.lines[i])
        if len(self.items) != len(other.items):
            counts = len(self.items), len(other.items)
            return Difference("{} calls were recorded, there are {} now".format(*counts), "")
        if len(self.gradients) != len(other.gradients):
            counts = len(self.gradients), len(other.gradients)
            return Difference("{} gradients were set, there are {} now".format(*counts), "")
        for wanted, found in zip(self.gradients, other.gradients, strict=True):
            if wanted != found:
                both = _origin(wanted), _origin(found)
                return Difference("a gradient was {} when recorded, is {}".format(*both), "")
        if len(self.roots) != len(other.roots):
            counts = len(self.roots), len(other.roots)
            return Difference("{} outside arrays were read, there are {} now".format(*counts), "")
        for j, (was, now) in enumerate(zip(self.roots, other.roots, strict=True)):
            if was is not now and not _are_equal(self._value(j), other._value(j)):
                return self._difference_of_values(j, other)
        if self.result[0] != other.result[0] or any(
            root(x) is not root(y) and not _are_equal(x, y)
            for x, y in zip(self.result[1], other.result[1], strict=True)
        ):
            return Difference("it returns something else than was recorded", "")
        return None

    def replaced(self, other: Trace) -> list[tuple[Array, bool]]:
        """Returns what another, equal recording read or returned in place of our memory.

        Each with True if the step changes it.
        """
        changed = [before is not None for before in self.before]
        pairs = list(zip(self.roots, other.roots, changed, strict=True))
        returned = zip(self.result[1], other.result[1], strict=True)
        pairs += [(root(x), root(y), False) for x, y in returned]
        return [(theirs, is_changed) for mine, theirs, is_changed in pairs if mine is not theirs]

    def _value(self, j: int) -> Array:
        before = self.before[j]
        return self.roots[j] if before is None else before

    def _difference_of_values(self, j: int, other: Trace) -> Difference:
        """Describe outside memory whose values differ: the call that read it, and both values."""
        was, now = self._value(j), other._value(j)
        for item, line in zip(self.items, self.lines, strict=True):
            for position, argument in enumerate(item[1:]):
                if isinstance(argument, tuple) and argument[:2] == ("outside", j):
                    contract = CONTRACTS.get(item[0])
                    name = contract.parameters[position] if contract else "an array"
                    return Difference(f"{item[0]}: {name} {_both(was, now)}", line)
        return Difference(f"an array {_both(was, now)}", "")


def _origin(described: tuple[Any, ...] | None) -> str:
    return "None" if described is None else f"{described[0]} {described[1]}"


def _both(was: Array, now: Array) -> str:
    if was.size == now.size == 1:
        return f"was {was.item()!r} when recorded, is {now.item()!r}"
    return f"of shape {now.shape} has other values than when it was recorded"


def _are_equal(x: Array, y: Array) -> bool:
    return x.shape == y.shape and x.dtype == y.dtype and x.tobytes() == y.tobytes()


def _difference_of_items(i: int, mine: tuple[Any, ...], theirs: tuple[Any, ...]) -> str:
    if mine[0] != theirs[0] or len(mine) != len(theirs):
        return f"call {i + 1} was {mine[0]} when recorded, is {theirs[0]}"
    contract = CONTRACTS.get(mine[0])
    for position, (was, now) in enumerate(zip(mine[1:], theirs[1:], strict=True)):
        if was != now:
            name = contract.parameters[position] if contract else f"setting {position + 1}"
            if isinstance(was, tuple) and isinstance(now, tuple) and was[2:4] != now[2:4]:
                was, now = (f"{x[3]} {x[2]}" for x in (was, now))
            elif isinstance(was, tuple) and isinstance(now, tuple):
                was, now = f"{was[0]} {was[1]}", f"{now[0]} {now[1]}"
            return f"call {i + 1}, {mine[0]}: {name} was {was} when recorded, is {now}"
    return f"call {i + 1} differs"


def views_of(
    note: NotedCall | NotedFunction, view: Callable[[Array, int], View]
) -> Call | Function:
    """Returns a noted item whose arrays are views of buffers."""
    if isinstance(note, NotedCall):
        n = len(note.memories)
        views = *map(view, note.arguments[:n], note.memories), *note.arguments[n:]
        return Call(note.kernel.name, views, note.part, note.place)
    n, m = len(note.reads), len(note.reads) + len(note.changes)
    arrays = (*note.reads, *note.changes, *note.writes)
    own = tuple(map(view, arrays, note.memories))
    return Function(
        note.function, [*own[:m]], [*own[n:]], own, note.reads_anything, note.exchanged_bytes,
        note.checks_elements,
    )  # fmt: skip


def tensors_with_grad(notes: Recorder) -> list[Tensor]:
    """Return the tensors whose gradient the step has set."""
    untouched = {id(c.x) for c in notes.carried if c.x._grad is c.own or c.x._grad is c.before}
    return [x for key, x in notes.set_grads.items() if key not in untouched]


def gradients(notes: Recorder) -> list[Array]:
    """Return the gradients of these tensors that are not None."""
    return [x._grad.array for x in tensors_with_grad(notes) if x._grad is not None]


def lives(items: Sequence[Call | Function]) -> set[Any]:
    """Note the first and last item that touches each buffer; returns the touched buffers."""
    touched = set()
    for i, item in enumerate(items):
        for view in (*item.reads, *item.writes):
            if view.buffer not in touched:
                view.buffer.first = i
                touched.add(view.buffer)
            view.buffer.last = max(view.buffer.last, i)
    return touched
