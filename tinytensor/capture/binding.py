"""A replay's calls: the program's calls, bound to its memory by the backend."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tinytensor import kernels
from tinytensor.capture.calls import Call, Function
from tinytensor.capture.memory import AFTER_THE_STEP, Buffer
from tinytensor.capture.threads import ThreadTrials
from tinytensor.door import CONTRACTS
from tinytensor.forks import computed_once

if TYPE_CHECKING:
    from tinytensor.capture.program import Program

LARGE = 4096  # bytes; a smaller argument is copied, because that is faster than new pointers


class Binding:
    """A program's calls, bound to their memory by the backend.

    before: the functions that may be called before the first kernel. body: all other items.
    runs: callables that compute the body, in order. places: for each argument, the pointers of
    C's calls to it. written: memory that the calls write, by its id, except the temporaries.
    foreign: the part of it that NumPy did not allocate. outside: memory of tensors from outside.
    by_numpy: the calls that NumPy computes for the backend. by_door: all calls that go through the
    door one by one. threads: how many pay; None if the backend does not make all calls at once.
    """

    def __init__(self, program: Program) -> None:
        self.backend = program.key.backend
        self.module: Any = self.backend.module  # with what is optional in BackendModule
        self._items = program.items
        self.before, self.body = program.order
        self._functions: dict[int, Function] = {}  # by the ids of what calls them
        self._calls_before = [(item, _through_the_door(item)) for item in self.before]
        self.by_numpy: set[Call] = set()
        self.by_door: set[Call] = set()
        self.runs = self.runs_of(self.body)
        self._all: list[tuple[Function | None, Callable[[], None]]] = [*self._calls_before]
        self._all += [(self._functions.get(id(run)), run) for run in self.runs]
        self.places = self._find_places(program)
        buffers = {view.buffer for item in self._items for view in item.writes}
        arrays = [b.array for b in buffers if b.kind != "temporary" and b.array is not None]
        self.written = {id(array): array for array in arrays}
        touched = {view.buffer for item in self._items for view in (*item.reads, *item.writes)}
        self.outside = [b.array for b in touched if b.kind == "outside" and b.array is not None]
        self.foreign = [array for array in arrays if array.base is not None]
        self.threads: ThreadTrials | None = None
        if len(self.runs) == 1 and hasattr(self.runs[0], "threads"):
            self.threads = ThreadTrials(self.runs[0], self.backend.num_threads)

    def run(self) -> None:
        """Make all calls. If a function raises, `failed` is that function."""
        if self.threads is not None:
            self.threads.begin()
        self.failed: Function | None
        for failed, call in self._all:
            self.failed = failed
            call()
        if self.threads is not None:
            self.threads.end()

    def catch_up(self) -> None:
        """After an error, make the calls that come before `failed` and have not been made."""
        if self.failed in self.before:
            made = self.before[: self.before.index(self.failed)]
            for item in self._items[: self._items.index(self.failed)]:
                if item not in made:
                    _through_the_door(item)()

    def runs_of(self, items: Sequence[Call | Function]) -> list[Any]:
        """Return callables that make the calls, in order; one may make many calls in a row."""
        runs: list[Any] = []
        pairs = [(item, self._bind(item)) for item in items]
        for is_bound, group in itertools.groupby(pairs, lambda pair: pair[1] is not None):
            if is_bound:
                runs.append(self.module.BoundCalls([call for _, call in group]))
            else:
                for item, _ in group:
                    runs.append(_through_the_door(item))
                    if isinstance(item, Function):
                        self._functions[id(runs[-1])] = item
        return runs

    def _bind(self, item: Call | Function) -> Any:
        """Return the call bound to its arrays by the backend; None if it goes through the door."""
        if isinstance(item, Function) or not hasattr(self.module, "bind"):
            return None
        arguments = item.arguments()
        if self.backend.by_rung(item.kernel):
            self.by_door.add(item)
            return None
        on_numpy = CONTRACTS[item.kernel].is_for_numpy(arguments)
        if on_numpy or item.kernel in self.backend.on_numpy:
            self.by_numpy.add(item)
            self.by_door.add(item)
            return None
        return self.module.bind(item.kernel, arguments)

    def _find_places(self, program: Program) -> list[list[Any]]:
        """Find the pointers of C's calls to each argument, if only C reads it.

        A replay then changes the pointers instead of copying its argument.
        """
        functions = [item for item in self._items if isinstance(item, Function)]
        seen = {view.buffer for item in functions for view in (*item.reads, *item.writes)}
        seen |= {view.buffer for call in self.by_door for view in call.reads}
        seen |= {view.buffer for item in self._items for view in item.writes}
        seen |= {buffer for buffer in program.buffers if buffer.last == AFTER_THE_STEP}
        own = [b.array for b in seen]
        at_once = [run for run in self.runs if hasattr(run, "places_of")]
        return [
            [place for run in at_once for place in run.places_of(array)]
            if array.nbytes >= LARGE and not any(array is other for other in own)
            else []
            for array in program.inputs
        ]

    @computed_once
    def is_one_call(self) -> bool:
        """True if one call of the backend makes all kernel calls."""
        functions = {v.buffer for item in self.before for v in (*item.reads, *item.writes)}
        written = {v.buffer for item in self._items if isinstance(item, Call) for v in item.writes}
        at_once = len(self.runs) == 1 and hasattr(self.runs[0], "run")
        return at_once and not functions & written


def _through_the_door(item: Call | Function) -> Callable[[], None]:
    if isinstance(item, Call):
        return functools.partial(getattr(kernels, item.kernel), *item.arguments())
    return functools.partial(item.function, *(view.array() for view in item.views))


def sorted_out(items: Sequence[Call | Function]) -> tuple[list[Function], list[Call | Function]]:
    """Return the functions that may be called before the first kernel, and all other items.

    Both are in the order of the items, except that checks, which change nothing, come first.
    """
    checks: list[Function] = []
    updates: list[Function] = []
    body: list[Call | Function] = []
    read: set[Buffer] = set()  # by the items in `body`
    written: set[Buffer] = set()
    for item in items:
        reads, writes = ({view.buffer for view in views} for views in (item.reads, item.writes))
        may_move = isinstance(item, Function) and not item.reads_anything
        if not may_move or (reads | writes) & written or writes & read:
            body.append(item)
            read |= reads
            written |= writes
        elif writes or any(reads & {v.buffer for v in update.writes} for update in updates):
            updates.append(item)  # type: ignore[arg-type]
        else:
            checks.append(item)  # type: ignore[arg-type]
    return checks + updates, body
