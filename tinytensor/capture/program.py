"""A program: a recorded step that can be printed and replayed.

A program is the list of kernel calls that went through door.py: the forward pass, the backward
pass (backpropagation), the update. print(step.program) shows it. A replay makes the same calls on
the same memory, without the Python between them.

The kinds of memory, and what a replay does with them:

    argument    the step's arguments. A replay copies the new ones there, or reads them in place. A
                gradient from before the step, to which the step adds, is an argument too
    outside     parameters and an optimiser's memory: read and changed in place
    constant    made from Python's numbers; only the program holds it
    restored    a constant that the step changes: each replay starts from its first values
    kept        computed in the step and held after it, as a tensor's gradient
    temporary   computed in the step and not held after it; temporaries share memory

Before the first replay the list is rewritten (rewrites.py), memory is planned (memory.py), and the
backend binds the calls. A replay gives the same bits as the step itself.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinytensor.arrays import Array, root
from tinytensor.capture import listing, listing_html
from tinytensor.capture.binding import Binding, sorted_out
from tinytensor.capture.calls import (
    Call,
    Function,
    Key,
    Trace,
    gradients,
    lives,
    offset_in,
    tensors_with_grad,
    views_of,
)
from tinytensor.capture.guards import Guards
from tinytensor.capture.memory import Buffer, View, plan, whole_lines
from tinytensor.capture.results import Result
from tinytensor.capture.rewrites import rewritten
from tinytensor.capture.threads import ThreadTrials
from tinytensor.errors import BackendUnavailable, SettingError, TinytensorError
from tinytensor.forks import Turns, computed_once
from tinytensor.recorder import Recorder
from tinytensor.tensors import Tensor

MOST_AT_ONCE = 50  # steps, between which Ctrl-C is heard


class Program:
    """A recorded step: its calls in order, its memory, and the guards of its replays.

    collect: True to collect garbage before a tensor counts as stored by the step.
    inputs: the arguments' memory. trace: the recording in the form in which it is compared.
    calls_made: the number of calls of the step since the recording, including that one.
    is_verified: True if a second recording was equal.
    """

    def __init__(
        self,
        key: Key,
        notes: Recorder,
        result: Result,
        trace: Trace,
        turns: Turns,
        function: Callable[..., Any],
        rewrites: Sequence[str] = (),
        collect: bool = True,
    ) -> None:
        self._turns = turns
        self._function = function
        self._names_of_rewrites = rewrites
        self.key = key
        self.guards = Guards(notes)
        self.trace = trace
        self.result = result
        self.name = getattr(function, "__name__", "step")
        self.optimizers = [optimizer for optimizer, *_ in notes.optimizers.values()]
        self.modules = [module for module, _ in notes.modules.values()]
        # Weak references: a tensor that only the program holds is no parameter.
        self._changed = [weakref.ref(x) for x in notes.changed.values()]
        with_grad = {id(x): weakref.ref(x) for x in tensors_with_grad(notes)}
        # Tensors with a gradient from before; True if the step replaces that gradient.
        self._carried = [(weakref.ref(c.x), id(c.x) in with_grad) for c in notes.carried]
        self._changes_of_grad = [
            (with_grad[x], forgotten, functions)
            for x, forgotten, functions in notes.changes_of_grad
            if x in with_grad
        ]
        self._all_buffers, self._recorded = self._take_over(notes, collect)
        self._grads = [(ref, x._grad) for ref in with_grad.values() if (x := ref()) is not None]
        self._restored = [b for b in self._all_buffers if b.first_values is not None]
        self.calls_made = 1
        self.replays = 0  # since the last recording or verification
        self.is_verified = False

    # Computed at first use, because many recordings are only compared

    @computed_once
    def _rewritten(self) -> tuple[list[Call | Function], tuple[str, ...]]:
        return rewritten(self._recorded, self._names_of_rewrites, self.key.backend)

    @property
    def items(self) -> list[Call | Function]:
        """The kernel calls, and the Python functions that each replay calls, in order."""
        return self._rewritten[0]

    @property
    def rewrites(self) -> tuple[str, ...]:
        """The names of the rewrites that changed the program."""
        return self._rewritten[1]

    @property
    def calls(self) -> list[Call]:
        """The kernel calls."""
        return [item for item in self.items if isinstance(item, Call)]

    @property
    def calls_before(self) -> list[Call]:
        """The kernel calls before they were rewritten."""
        return [item for item in self._recorded if isinstance(item, Call)]

    @computed_once
    def order(self) -> tuple[list[Function], list[Call | Function]]:
        """The functions that a replay calls before the first kernel, and all else in its order."""
        return sorted_out(self.items)

    @computed_once
    def buffers(self) -> list[Buffer]:
        """All memory that the calls touch, with names to be shown."""
        before, body = self.order
        touched = lives([*before, *body])
        found = [b for b in self._all_buffers if b in touched or b.kind != "temporary"]
        listing.name_buffers(self, found, self._function)
        return found

    @property
    def _temporaries(self) -> list[Buffer]:
        return [buffer for buffer in self.buffers if buffer.kind == "temporary"]

    @property
    def unplanned(self) -> int:
        """The bytes that the temporaries would need if each had its own memory."""
        return sum(map(whole_lines, self._temporaries))

    @computed_once
    def peak(self) -> int:
        """The bytes of the temporaries' memory, which is planned at first use."""
        return plan(self._temporaries)

    @computed_once
    def _binding(self) -> Binding:
        """The bound calls, made for the first replay."""
        _ = self.peak  # plans the temporaries' memory
        return Binding(self)

    @property
    def by_numpy(self) -> set[Call]:
        """The calls that NumPy computes for the backend."""
        return self._binding.by_numpy

    @property
    def threads(self) -> ThreadTrials | None:
        """The trials of how many threads pay; None if C does not make all calls at once."""
        return self._binding.threads

    # From the notes

    def _take_over(
        self, notes: Recorder, collect: bool
    ) -> tuple[list[Buffer], list[Call | Function]]:
        """Turn the notes into buffers, and items whose arrays are views of them; empty the notes.

        After that the program holds none of the step's memory, so a weak reference shows which
        arrays user code still holds.
        """
        buffers = self._find_buffers(notes)
        values = {key: notes.held[key].copy() for key in notes.inputs}
        roots = {key: weakref.ref(notes.held[key]) for key in buffers}
        before, read_first = dict(notes.before), list(notes.read_first)
        only_read = {k: v for k, v in notes.read_first.items() if k not in notes.written}
        grads = {id(root(grad)) for grad in gradients(notes)}
        carried = {id(root(c.before.array)) for c in notes.carried}

        views: dict[int, View] = {}  # by the array's id, because many are used again

        def view(array: Array, key: int) -> View:
            if (seen := views.get(id(array))) is not None:
                return seen
            buffer, offset = buffers[key], offset_in(array)
            views[id(array)] = View(buffer, offset, array.shape, array.strides, array.dtype)
            return views[id(array)]

        items = [views_of(note, view) for note in notes.items]
        self.result.place(lambda array: view(array, id(root(array))))
        self.inputs = [values[key] for key in notes.inputs]
        self.changed_inputs = [i for i, key in enumerate(notes.inputs) if key in notes.written]
        self.trace.roots = []
        notes.forget()
        self.guards.drop_the_dead(collect)
        held = {id(root(x.array)) for x in self.guards.leaves()}
        for key, buffer in buffers.items():
            array = roots[key]()
            if buffer.kind == "argument":
                buffer.array = values[key]
            elif buffer.kind == "temporary":
                buffer.array = array
                buffer.kind = "temporary" if array is None else "kept"
            elif key in only_read:
                buffer.array = only_read[key]
                buffer.kind = "outside" if key in held else "constant"
                if key in grads - carried:
                    buffer.first_values = only_read[key].copy()
            elif key in before and (array is None or key in grads - carried):
                buffer.kind, buffer.first_values = "restored", before[key]
                buffer.array = before[key].copy() if array is None else array
            else:
                buffer.array = array
        self.trace.roots = [b.array for k in read_first if (b := buffers[k]).array is not None]
        # NumPy doesn't resize an array that has a weak reference, so the memory stays where it is.
        self._pins = [weakref.ref(b.array) for b in buffers.values() if b.array is not None]
        return list(buffers.values()), items

    def _find_buffers(self, notes: Recorder) -> dict[int, Buffer]:
        """Return a buffer for each memory, with its kind as far as it is known."""
        buffers: dict[int, Buffer] = {}
        for key, memory in notes.held.items():
            kind = "temporary"
            if key in notes.inputs:
                kind = "argument"
            elif key in notes.read_first:
                kind = "outside"
            buffers[key] = Buffer(kind, memory.shape, memory.dtype, None)
        return buffers

    # To be printed

    def __repr__(self) -> str:
        return (
            f"<program of {self.name}: kernel calls {len(self.calls)}, "
            f"backend {self.key.backend.name}; print() shows its table>"
        )

    def __str__(self) -> str:
        return listing.listed(self).text()

    def to_html(self) -> str:
        """Return the printed table in HTML: a fragment of a page that needs no other files."""
        return listing_html.fragment(listing.listed(self))

    def _repr_html_(self) -> str:
        return self.to_html()

    @property
    def functions(self) -> list[Function]:
        """The Python functions that each replay calls."""
        return [item for item in self.items if isinstance(item, Function)]

    def gradients(self) -> list[tuple[Tensor, Tensor | None]]:
        """Return the tensors whose gradient the step sets, each with the gradient or None."""
        return [(x, grad) for ref, grad in self._grads if (x := ref()) is not None]

    def profile(self, repeats: int = 20) -> listing.Profile:
        """Time each call: the median of `repeats` replays. All values are restored afterwards.

        The share of a call is the least time that this machine needs for its arithmetic or its
        bytes, divided by the measured time. The machine is measured once in a process. If other
        programs were running at that time, a share may be above 100 %.

        Args:
            repeats: the number of replays, 1 or more.

        Returns:
            Profile; print shows the program with the times.

        Raises:
            SettingError: repeats is below 1.
        """
        if repeats < 1:
            raise SettingError(f"profile: got repeats={repeats}; at least 1 is needed")
        with self._turns.lock:
            bound = self._binding
            changed = {view.buffer for item in self.items for view in item.writes}
            arrays = [b.array for b in changed if b.kind != "temporary" and b.array is not None]
            before = [array.copy() for array in arrays]
            runs = [(isinstance(x, Call), run) for x in bound.body for run in bound.runs_of([x])]
            self._point_to_own_arguments()  # not to those of the last replay, which may be freed
            try:
                bound.run()  # so that all memory has valid values
                microseconds = listing.measure(runs, repeats)
            finally:
                for array, copy in zip(arrays, before, strict=True):
                    np.copyto(array, copy)
        from tinytensor.machine import roofline  # a training needs no measurement of the machine

        roof = roofline(self.key.backend.num_threads)
        try:
            bounds = tuple(roof.bound(call) * 1e6 for call in self.calls)
        except BackendUnavailable as error:
            return listing.Profile(self, microseconds, (), unknown=str(error))
        return listing.Profile(self, microseconds, bounds)

    # Replay

    def replay(self, given: Sequence[Array]) -> Any:
        """Run the step on these arguments, which share no memory with what it writes.

        Returns the step's result.
        """
        self._replay(given)
        return self.result.make(self.result.values())

    def _replay(self, given: Sequence[Array]) -> None:
        bound = self._binding
        self.replays += 1
        for own, array, places in zip(self.inputs, given, bound.places, strict=False):
            if places:
                flags = array.flags
                if flags.c_contiguous and flags.aligned:
                    bound.module.point(places, array)
                    continue
                bound.module.point(places, own)
            np.copyto(own, array)
        carried = self._take_carried(self.inputs[len(given) :]) if self._carried else []
        for buffer in self._restored:
            np.copyto(buffer.array, buffer.first_values)  # type: ignore[arg-type]
        try:
            bound.run()
        except BaseException:
            for own, array, places in zip(self.inputs, given, bound.places, strict=False):
                if places:  # catch_up() reads the program's memory
                    np.copyto(own, array)
            bound.catch_up()
            self._leave_as_far_as(bound.failed)
            raise
        finally:
            for i in self.changed_inputs:
                if i < len(given):
                    np.copyto(given[i], self.inputs[i])
                elif (grad := carried[i - len(given)]) is not None:
                    np.copyto(grad, self.inputs[i])
        self._update_tensors()

    def _take_carried(self, inputs: Sequence[Array]) -> list[Array | None]:
        """Copy the gradients from before the step; return those that the step changes in place."""
        carried = []
        for (ref, is_replaced), own in zip(self._carried, inputs, strict=True):
            x = ref()
            assert x is not None  # a guard checked it
            assert x._grad is not None
            carried.append(None if is_replaced else x._grad.array)
            np.copyto(own, x._grad.array)
        return carried

    def _point_to_own_arguments(self) -> None:
        """Let the calls read the program's copies of the arguments."""
        bound = self._binding
        for own, places in zip(self.inputs, bound.places, strict=True):
            if places:
                bound.module.point(places, own)

    def writes_to(self, arrays: Sequence[Array]) -> bool:
        """True if a replay on these arguments writes to read-only memory or to shared memory.

        Shared memory belongs to an argument and to what the program writes, or to two arguments of
        which the program changes one.
        """
        written, foreign = self._binding.written, self._binding.foreign
        pairs: list[tuple[Array, Array]] = []
        for array in arrays:
            memory = root(array)
            if id(memory) in written:
                return True
            if foreign or memory.base is not None:  # it may be shared without a common base
                others = foreign if memory.base is None else written.values()
                pairs += [(memory, other) for other in others]
        for i in self.changed_inputs:
            if i < len(arrays):
                if not arrays[i].flags.writeable:  # the step raises an error
                    return True
                pairs += [(arrays[i], other) for j, other in enumerate(arrays) if i != j]
                pairs += [(arrays[i], other) for other in self._binding.outside]
        return bool(pairs) and any(np.may_share_memory(x, y) for x, y in pairs)

    def _leave_as_far_as(self, failed: Function | None) -> None:
        """After `failed` raised an error: set the gradients that the step had set by then."""
        if failed is None:
            return
        done = self.functions.index(failed)
        grads = {id(x): grad for x, grad in self.gradients()}
        for ref, forgotten, functions in self._changes_of_grad:
            if functions <= done and (x := ref()) is not None:
                x._grad = None if forgotten else grads[id(x)]
        self._count_changes()

    def _update_tensors(self) -> None:
        """Set the gradients that the step sets, and count the changes of the written tensors."""
        for ref, grad in self._grads:
            if (leaf := ref()) is not None:
                leaf._grad = grad
                if grad is not None and grad.version is not None:
                    grad.version[0] += 1
        self._count_changes()

    def _count_changes(self) -> None:
        for ref in self._changed:
            if (x := ref()) is not None and x.version is not None:
                x.version[0] += 1

    # Many steps

    @property
    def is_one_call(self) -> bool:
        """True if the backend makes all calls at once, with no Python between them."""
        alone = not (self._carried or self._restored or self.changed_inputs)
        return alone and self._binding.is_one_call

    def run(self, tables: Sequence[Array], steps: int) -> list[Array]:
        """Make steps on the rows of tables, one for each argument; returns tables of results.

        An error at some step leaves all tensors as that step leaves them.
        """
        assert self._binding is not None  # makes the memory of the results
        tables_of_results = self.result.tables(steps)
        some = MOST_AT_ONCE if self.is_one_call else 1
        for start in range(0, steps, some):
            rows = slice(start, min(start + some, steps))
            taken = [
                (table[rows], part.now())
                for table, part in zip(tables_of_results, self.result.parts, strict=True)
                if part.is_computed
            ]
            if self.is_one_call:
                given = [np.ascontiguousarray(table[rows]) for table in tables]
                self._run_at_once(given, taken, rows.stop - start)
            else:
                self._replay([table[start, ...] for table in tables])
                _note_row(0, [table for table, _ in taken], [array for _, array in taken])
        return tables_of_results

    def _run_at_once(
        self, tables: Sequence[Array], results: Sequence[tuple[Array, Array]], steps: int
    ) -> None:
        """Make steps without Python between them: its functions are called for all steps before."""
        bound = self._binding
        self.replays += steps
        self._point_to_own_arguments()
        (calls,) = bound.runs
        # Functions check copies of their tables, which no other thread can change before the calls.
        seen = self._seen_by(bound.before)
        given = [
            (own, np.array(table) if is_seen else table)
            for own, table, is_seen in zip(self.inputs, tables, seen, strict=True)
        ]
        of_each_step = [item for item in bound.before if not _passes(item, given)]
        seen = self._seen_by(of_each_step)
        written = {id(v.buffer): v.buffer.array for item in bound.before for v in item.writes}
        places = [array for array in written.values() if array is not None]
        found = [np.empty((steps + 1, *array.shape), array.dtype) for array in places]
        done = 0
        failed = True
        try:
            _note_row(0, found, places)
            for row in range(steps):
                for (own, table), is_seen in zip(given, seen, strict=True):
                    if is_seen:
                        np.copyto(own, table[row])
                for item in of_each_step:
                    item()
                _note_row(row + 1, found, places)
                done += 1
            failed = False
        finally:  # after an error, too, the steps before the error are made
            for array, rows in zip(places, found, strict=True):
                np.copyto(array, rows[done])
            in_place, inputs = [], []
            for (own, table), pointers in zip(given, bound.places, strict=True):
                if pointers and table.flags.aligned:
                    in_place.append((table, pointers))
                else:
                    inputs.append((table[:done], own))
            taken = [(table[:done], array) for table, array in results]
            values = [(rows[1:], array) for array, rows in zip(places, found, strict=True)]
            if bound.threads is not None:
                bound.threads.begin()
            calls.run(done, in_place, [*inputs, *values], taken)
            if bound.threads is not None:
                bound.threads.end(done)
            self._update_tensors()
            if failed and done < steps:  # the step that raised, up to the error
                self._replay([table[done, ...] for _, table in given])

    def _seen_by(self, items: Sequence[Function]) -> list[bool]:
        """Return for each argument whether one of these functions reads or changes it."""
        views = [view for item in items for view in (*item.reads, *item.writes)]
        return [any(view.buffer.array is own for view in views) for own in self.inputs]


def _passes(item: Function, given: Sequence[tuple[Array, Array]]) -> bool:
    """True if this is a check of arguments that one call can make for all steps, and it passes.

    If it does not pass, it is called at each step, so that the error comes from the right one.
    """
    found = [table for view in item.views for own, table in given if view.array() is own]
    if not item.checks_elements or len(found) != len(item.views):
        return False
    try:
        item.function(*found)
    except TinytensorError:
        return False
    return True


def _note_row(row: int, tables: Sequence[Array], arrays: Sequence[Array]) -> None:
    for table, array in zip(tables, arrays, strict=True):
        table[row] = array
