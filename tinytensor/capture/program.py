"""A training step as a program: recorded once, printed for learning, replayed in one go.

`step = capture(function)`: the first call runs as ever, and what passes the door of kernels.py is
noted: a list of kernel calls, forward, backward and update one after the other. Later calls with
arguments of the same shapes replay the list: the same kernels on the same memory, without the
Python between. Backpropagation is the second half of the list; print(step.program) shows it.

Memory, from notes to program: an array is known by the memory it lies in.

    argument    what the step is given; a replay copies its own arguments there, or reads them
                where they lie
    outside     parameters, an optimiser's memory: read or changed where it lies
    constant    made of Python's numbers; stays what it is
    kept        computed in the step and still held by somebody after it, such as a gradient
    temporary   computed in the step and gone after it; such share memory as their lives allow

Before it is replayed the list is rewritten: see rewrites.py. A replay gives the same bits as the
step itself. What would make it another step is looked for before each: parameters with
requires_grad, modules in training or not, what an optimiser updates, attributes of modules and
optimisers, the variables and attributes that the function uses (see variables.py), the backend. If
something changed the step is recorded anew, which is one ordinary step.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tinytensor import kernels, recorder
from tinytensor.capture import listing, listing_html
from tinytensor.capture.guards import Guards
from tinytensor.capture.memory import FOR_EVER, Buffer, View, address, plan, whole_lines
from tinytensor.capture.results import Result
from tinytensor.capture.rewrites import rewritten
from tinytensor.errors import BackendUnavailable, CaptureError, SettingError
from tinytensor.kernels import Array, Backend
from tinytensor.recorder import NotedCall, NotedFunction, Recorder
from tinytensor.tensor import Tensor

LARGE = 4096  # bytes: a smaller argument is copied, a larger one is pointed to where C can
MOST_AT_ONCE = 50  # steps, between which Ctrl-C is heard


# Which arguments a kernel writes ----------------------------------------------------------------

# Written without being read: `out`, where nothing else is said.
WRITTEN = {
    "moments": ("mean", "var"),
    "cross_entropy_and_grad": ("out", "grad_logits"),
    "batch_norm_backward": ("grad_x", "grad_gamma", "grad_beta"),
}
# Changed in place: read and written.
CHANGED = {
    "put": ("out",),
    "dropout_mask": ("state",),
    "sgd": ("param",),
    "sgd_momentum": ("velocity", "param"),
    "adam": ("m", "v", "param"),
    "rmsprop": ("square", "param"),
    "moving_average": ("average",),
}


class Roles(NamedTuple):
    """What a kernel does with its arrays: the places of its arguments that it reads and writes."""

    reads: tuple[int, ...]
    writes: tuple[int, ...]


@functools.cache
def roles(kernel: str) -> Roles:
    """What a kernel reads and what it writes; what it changes in place is both."""
    parameters = inspect.signature(getattr(kernels, kernel)).parameters.values()
    arrays = [p.name for p in parameters if p.annotation is Array]  # they come first
    changed = CHANGED.get(kernel, ())
    written = WRITTEN.get(kernel, () if "out" in changed else ("out",))
    return Roles(
        tuple(i for i, name in enumerate(arrays) if name not in written),
        tuple(i for i, name in enumerate(arrays) if name in (*written, *changed)),
    )


# The program ------------------------------------------------------------------------------------


class Key(NamedTuple):
    """What a program was recorded for."""

    backend: Backend
    instructions: str
    grad_enabled: bool
    arguments: tuple[tuple[type, tuple[int, ...], np.dtype[Any]], ...]


@dataclass(eq=False)
class Call:
    """A kernel call of a program."""

    kernel: str
    views: tuple[Any, ...]  # its arguments: a View for an array, or a number
    part: str  # "forward", "backward of ..." or "update"
    line: str  # of the user's code

    @property
    def reads(self) -> list[View]:
        """What it reads; what it changes in place too."""
        return [self.views[i] for i in roles(self.kernel).reads]

    @property
    def writes(self) -> list[View]:
        """What it writes."""
        return [self.views[i] for i in roles(self.kernel).writes]

    def arguments(self) -> tuple[Any, ...]:
        """The arrays and numbers that the kernel takes."""
        return tuple(x.array() if isinstance(x, View) else x for x in self.views)


@dataclass(eq=False)
class Function:
    """What Python does at each replay, such as a check of labels, or working out a rate."""

    function: Callable[[], None]
    reads: list[View]
    writes: list[View]


class Program:
    """A recorded step: what it does, in order, and what must hold for it to be the step.

    calls: its kernel calls; calls_before: the same before they were rewritten, and rewrites: the
    names of how. buffers: all memory that they touch. inputs: the arguments' memory.
    peak: bytes of the temporaries' memory; unplanned: of the same if each had its own.
    """

    def __init__(
        self,
        key: Key,
        notes: Recorder,
        guards: Guards,
        result: Result,
        lock: threading.RLock,
        rewrites: Sequence[str] = (),
    ) -> None:
        self._lock = lock
        self.key = key
        self._guards = guards
        self._result = result
        self.name = ""
        self.optimizers = [optimizer for optimizer, _ in notes.params.values()]
        # Held weakly: what nobody else holds is no parameter, and has no gradient to be seen.
        self._changed = [weakref.ref(x) for x in notes.changed.values()]
        with_grad = {id(x): weakref.ref(x) for x in notes.tensors_with_grad()}

        all_buffers, items = self._take_over(notes)
        self.calls_before = [item for item in items if isinstance(item, Call)]
        items, self.rewrites = rewritten(items, rewrites)
        self.calls = [item for item in items if isinstance(item, Call)]
        touched = _find_lives(items)
        self.buffers = [b for b in all_buffers if b in touched or b.kind != "temporary"]
        alive = [(ref, ref()) for ref in with_grad.values()]
        self._grads = [(ref, x.grad) for ref, x in alive if x is not None]

        temporaries = [buffer for buffer in self.buffers if buffer.kind == "temporary"]
        self.unplanned = sum(map(whole_lines, temporaries))
        self.peak = plan(temporaries)
        self._before, self._body = _sorted_out(items)
        self.by_numpy: set[Call] = set()  # calls that the backend leaves to it
        self.by_door: set[Call] = set()  # and all that Python makes one by one on C
        self._runs = self._bound(self._body)
        self._places = self._find_places()
        self._written = {id(view.buffer.array) for item in items for view in item.writes}

    # From the notes

    def _take_over(self, notes: Recorder) -> tuple[list[Buffer], list[Call | Function]]:
        """The notes as items whose arrays are told by their places; the notes are empty then.

        So nothing holds the step's memory any more, and it is seen who else does.
        """
        buffers, roots = self._find_buffers(notes)

        def view(array: Array) -> View:
            root = recorder.memory(array)
            offset = address(array) - address(root) if array.size else 0
            return View(buffers[id(root)], offset, array.shape, array.strides, array.dtype)

        items = [_item(note, view) for note in notes.notes]
        self._result.place(view)
        inputs = [buffers[key] for key in notes.inputs]
        notes.forget()
        _see_who_is_alive(buffers, roots)
        self._guards.see_who_is_alive()
        self.inputs = [buffer.array for buffer in inputs if buffer.array is not None]
        return list(buffers.values()), items

    def _find_buffers(
        self, notes: Recorder
    ) -> tuple[dict[int, Buffer], dict[int, weakref.ref[Array]]]:
        """A buffer for each memory, of the kind that is known so far."""
        buffers = {
            key: Buffer("argument", notes.held[key].shape, notes.held[key].dtype, None)
            for key in notes.inputs
        }
        for note in notes.notes:
            if isinstance(note, NotedCall):
                reads, writes = roles(note.kernel).reads, roles(note.kernel).writes
                arrays = [note.arguments[k] for k in (*reads, *writes)]
                read = {id(recorder.memory(note.arguments[k])) for k in reads}
            else:
                arrays = [*note.reads, *note.writes]
                read = {id(recorder.memory(array)) for array in note.reads}
            for array in arrays:
                root = recorder.memory(array)
                if id(root) not in buffers:
                    kind = "outside" if id(root) in read else "temporary"
                    kind = "constant" if id(root) in notes.constants else kind
                    buffers[id(root)] = Buffer(kind, root.shape, root.dtype, None)
            if isinstance(note, NotedFunction):  # it has these arrays and no others
                for array in arrays:
                    buffer = buffers[id(recorder.memory(array))]
                    buffer.array = recorder.memory(array)
                    buffer.kind = "outside" if buffer.kind == "temporary" else buffer.kind
        for key in notes.constants:
            if key in buffers:
                buffers[key].array = notes.held[key]
        return buffers, {key: weakref.ref(notes.held[key]) for key in buffers}

    # To be read

    def __str__(self) -> str:
        return listing.listed(self).text()

    def to_html(self) -> str:
        """What print shows as a table in HTML, a fragment of a page that needs no other files."""
        return listing_html.fragment(listing.listed(self))

    def _repr_html_(self) -> str:
        return self.to_html()

    @property
    def functions(self) -> list[Function]:
        """What Python does at each replay."""
        return [item for item in (*self._before, *self._body) if isinstance(item, Function)]

    def gradients(self) -> list[tuple[Tensor, Tensor | None]]:
        """The tensors that the step leaves a gradient on, or none, with it."""
        return [(x, grad) for ref, grad in self._grads if (x := ref()) is not None]

    def profile(self, repeats: int = 20) -> listing.Profile:
        """Time each call, the median of so many replays; parameters are afterwards as before.

        Beside it stands its share: the least time that this machine can take for its arithmetic or
        its bytes, by that time. The machine is measured for it, once in a process; was it busy just
        then, a share may come out above 100 %.

        Raises SettingError for less than one replay.
        """
        if repeats < 1:
            raise SettingError(f"profile: got repeats={repeats}; at least 1 is needed")
        with self._lock:
            changed = {view.buffer for call in self.calls for view in call.writes}
            arrays = [b.array for b in changed if b.kind != "temporary" and b.array is not None]
            before = [array.copy() for array in arrays]
            runs = [(isinstance(x, Call), run) for x in self._body for run in self._bound([x])]
            try:
                microseconds = listing.measure(runs, repeats)
            finally:
                for array, copy in zip(arrays, before, strict=True):
                    np.copyto(array, copy)
        from tinytensor.machine import roofline  # who only trains needs no measuring

        roof = roofline(self.key.backend.num_threads)
        try:
            bounds = tuple(roof.bound(call) * 1e6 for call in self.calls)
        except BackendUnavailable as error:
            return listing.Profile(self, microseconds, (), unknown=str(error))
        return listing.Profile(self, microseconds, bounds)

    # Replay

    def holds(self) -> bool:
        """Would the step do now what was recorded?"""
        return self._guards.hold()

    @property
    def outlasts_a_step(self) -> bool:
        """Does it still hold when the step has been made?"""
        return self._guards.outlast_a_step

    def is_of_today(self) -> bool:
        """May it hold again, if not now?"""
        return self._guards.structure == recorder.structure

    def leaves_with_grad(self) -> list[Tensor]:
        """Those of the tensors that the step gives a gradient which have one now."""
        leaves = [ref() for ref, _ in self._grads]
        return [x for x in leaves if x is not None and x.grad is not None]

    def _bound(self, items: Sequence[Call | Function]) -> list[Callable[[], None]]:
        """What makes the calls, in order: where the backend can, it makes many in a row."""
        module = self.key.backend.module
        runs: list[Callable[[], None]] = []
        pairs = [(item, self._bind(item)) for item in items]
        for is_bound, group in itertools.groupby(pairs, lambda pair: pair[1] is not None):
            if is_bound:
                runs.append(module.BoundCalls([call for _, call in group]))
            else:
                runs += [_bound_to_door(item) for item, _ in group]
        return runs

    def _bind(self, item: Call | Function) -> Any:
        """The call as the backend binds it to its arrays; None if it goes through the door."""
        backend = self.key.backend
        if isinstance(item, Function) or not hasattr(backend.module, "bind"):
            return None
        if backend.by_rung(item.kernel):
            self.by_door.add(item)
            return None
        call = _bound_by(backend, item)
        if call is None:
            self.by_numpy.add(item)
            self.by_door.add(item)
        return call

    def replay(self, given: Sequence[Array]) -> Any:
        """The step on these arguments, and what it returns."""
        for own, array, places in zip(self.inputs, given, self._places, strict=True):
            if places and self._may_be_read_in_place(array):
                self.key.backend.module.point(places, array)
            else:
                self._copy_argument(own, array, places)
        for item in self._before:
            item.function()
        for run in self._runs:
            run()
        self._tell_the_tensors()
        return self._result.make(self._result.values())

    def _find_places(self) -> list[list[Any]]:
        """For each argument where the calls point to it, if none but C looks at its numbers.

        Then they can be pointed to what a replay is given. A small one is copied faster.
        """
        seen = {view.buffer for item in self.functions for view in (*item.reads, *item.writes)}
        seen |= {view.buffer for call in self.by_door for view in call.reads}
        seen |= {buffer for buffer in self.buffers if buffer.last == FOR_EVER}
        own = [b.array for b in seen]
        at_once = [run for run in self._runs if hasattr(run, "places_of")]
        return [
            [place for run in at_once for place in run.places_of(array)]
            if array.nbytes >= LARGE and not any(array is other for other in own)
            else []
            for array in self.inputs
        ]

    def _may_be_read_in_place(self, array: Array) -> bool:
        """Is it as C needs it, and not memory that this very replay writes?"""
        flags, memory = array.flags, recorder.memory(array)
        return flags.c_contiguous and flags.aligned and id(memory) not in self._written

    def _copy_argument(self, own: Array, array: Array, places: Sequence[Any]) -> None:
        if places:
            self.key.backend.module.point(places, own)
        np.copyto(own, array)

    def make(self, values: Sequence[Array]) -> Any:
        """What the step returns, with these values in place of what it computed."""
        return self._result.make(values)

    def _tell_the_tensors(self) -> None:
        """Leave gradients where the step does, and tell who was changed."""
        for ref, grad in self._grads:
            if (leaf := ref()) is not None:
                leaf.grad = grad
                if grad is not None:
                    grad.changed()
        for changed in self._changed:
            if (x := changed()) is not None:
                x.changed()

    # Many steps

    @functools.cached_property
    def is_one_call(self) -> bool:
        """Does the backend make all calls at once, with no Python among them?"""
        functions = {v.buffer for item in self._before for v in (*item.reads, *item.writes)}
        kernels_write = {view.buffer for call in self.calls for view in call.writes}
        at_once = len(self._runs) == 1 and hasattr(self._runs[0], "run")
        return at_once and not functions & kernels_write

    def run(self, tables: Sequence[Array], steps: int) -> list[Array]:
        """Steps on the rows of tables, one for each argument; what is computed, as tables too.

        An error at some step leaves everything as after the steps before it.
        """
        tables_of_results = self._result.tables(steps)
        results = [computed.now() for computed in self._result.computed]
        some = MOST_AT_ONCE if self.is_one_call else 1
        for start in range(0, steps, some):
            rows = slice(start, min(start + some, steps))
            given = [np.ascontiguousarray(table[rows]) for table in tables]
            taken = [(t[rows], array) for t, array in zip(tables_of_results, results, strict=True)]
            if self.is_one_call:
                self._run_at_once(given, taken, rows.stop - start)
            else:
                self.replay([table[0] for table in given])
                _note_row(0, [table for table, _ in taken], [array for _, array in taken])
        return tables_of_results

    def _run_at_once(
        self, tables: Sequence[Array], results: Sequence[tuple[Array, Array]], steps: int
    ) -> None:
        """Steps without Python between: what its functions would write is found out before."""
        for own, places in zip(self.inputs, self._places, strict=True):
            if places:
                self.key.backend.module.point(places, own)
        (calls,) = self._runs
        views = [view for item in self._before for view in (*item.reads, *item.writes)]
        looked_at = [
            (own, table)
            for own, table in zip(self.inputs, tables, strict=True)
            if any(view.buffer.array is own for view in views)
        ]
        written = {id(v.buffer): v.buffer.array for item in self._before for v in item.writes}
        places = [array for array in written.values() if array is not None]
        found = [np.empty((steps + 1, *array.shape), array.dtype) for array in places]
        done = 0
        try:
            _note_row(0, found, places)
            for row in range(steps):
                for own, table in looked_at:
                    np.copyto(own, table[row])
                for item in self._before:
                    item.function()
                _note_row(row + 1, found, places)
                done += 1
        finally:  # after an error, too, as many steps are made as would have been
            for array, rows in zip(places, found, strict=True):
                np.copyto(array, rows[done])
            inputs = [(table[:done], own) for own, table in zip(self.inputs, tables, strict=True)]
            taken = [(table[:done], array) for table, array in results]
            values = [(rows[1:], array) for array, rows in zip(places, found, strict=True)]
            calls.run(done, [*inputs, *values], taken)  # type: ignore[attr-defined]
            self._tell_the_tensors()


def _note_row(row: int, tables: Sequence[Array], arrays: Sequence[Array]) -> None:
    for table, array in zip(tables, arrays, strict=True):
        table[row] = array


def _bound_by(backend: Backend, call: Call) -> Any:
    """The call as the backend binds it; None if NumPy computes it."""
    if call.kernel in backend.on_numpy:
        return None
    arguments = call.arguments()
    try:
        return backend.module.bind(call.kernel, arguments)
    except (kernels.OnNumPy, TypeError, ValueError) as error:
        if not kernels.is_for_numpy(error, arguments):
            raise
        return None


def _bound_to_door(item: Call | Function) -> Callable[[], None]:
    if isinstance(item, Call):
        return functools.partial(getattr(kernels, item.kernel), *item.arguments())
    return item.function


def _item(note: NotedCall | NotedFunction, view: Callable[[Array], View]) -> Call | Function:
    if isinstance(note, NotedCall):
        views = tuple(view(x) if isinstance(x, np.ndarray) else x for x in note.arguments)
        return Call(note.kernel, views, note.part, note.line)
    reads, writes = ([view(x) for x in arrays] for arrays in (note.reads, note.writes))
    return Function(note.function, reads, writes)


def _see_who_is_alive(buffers: dict[int, Buffer], roots: dict[int, weakref.ref[Array]]) -> None:
    for key, buffer in buffers.items():
        if buffer.array is None:
            buffer.array = roots[key]()
        if buffer.array is None and buffer.kind == "outside":
            raise CaptureError(
                f"captured step: a tensor of shape {buffer.shape} that it reads is gone after it: "
                "the step puts another in its place, which a program can't; change it in place, "
                "under no_grad(): w[...] = w - rate * grad, or with an optimiser"
            )
        if buffer.array is not None and buffer.kind == "temporary":
            buffer.kind = "kept"
        if buffer.kind == "argument" and buffer.array is not None:
            buffer.last = FOR_EVER  # somebody reads it after the step
        elif buffer.kind == "argument":
            buffer.array = np.empty(buffer.shape, buffer.dtype)


def _find_lives(items: Sequence[Call | Function]) -> set[Buffer]:
    """Note when each buffer is touched first, and last; returns all that are touched."""
    touched: set[Buffer] = set()
    for i, item in enumerate(items):
        for view in (*item.reads, *item.writes):
            if view.buffer not in touched:
                view.buffer.first = i
                touched.add(view.buffer)
            view.buffer.last = max(view.buffer.last, i)
    return touched


def _sorted_out(items: Sequence[Call | Function]) -> tuple[list[Function], list[Call | Function]]:
    """The functions that may be called before the first kernel, and all else in its order.

    Checks come first of all, so that one that fails leaves everything as it was.
    """
    checks: list[Function] = []
    updates: list[Function] = []
    body: list[Call | Function] = []
    read: set[Buffer] = set()  # by the body so far
    written: set[Buffer] = set()
    for item in items:
        reads, writes = ({view.buffer for view in views} for views in (item.reads, item.writes))
        if isinstance(item, Call) or (reads | writes) & written or writes & read:
            body.append(item)
            read |= reads
            written |= writes
        elif writes or any(reads & {v.buffer for v in update.writes} for update in updates):
            updates.append(item)
        else:
            checks.append(item)
    return checks + updates, body
