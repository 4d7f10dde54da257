"""`step = capture(function)`: a step that is recorded, verified and replayed.

recorder.py notes the kernel calls, program.py replays them, and guards.py decides whether a program
fits a call. This file decides whether a call records, verifies or replays. At calls 2, 4, 8, ...
the function runs again as Python, and calls.py compares its calls with the program.
"""

from __future__ import annotations

import copy
import functools
import inspect
import itertools
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from tinytensor import autograd, door, recorder
from tinytensor.arrays import Array, root
from tinytensor.capture.arguments import Arguments, call_with_tensors
from tinytensor.capture.calls import Difference, Key, Trace, gradients
from tinytensor.capture.guards import Guards
from tinytensor.capture.program import Program
from tinytensor.capture.results import Result
from tinytensor.capture.rewrites import names_of
from tinytensor.errors import CaptureError, NotSupported, SettingError
from tinytensor.forks import Turns
from tinytensor.nn import Module
from tinytensor.plural import plural
from tinytensor.recorder import Recorder
from tinytensor.tensors import wrap

__all__ = ["capture"]

Verify = Literal["doubling", "always", "never"]
MOST_SHAPES = 64  # sets of shapes for which a captured function keeps programs
MOST_PROGRAMS = 8  # kept for each set; the oldest is dropped
MOST_IN_A_ROW = 8  # recordings without a replay between them; then a warning follows
REPLACED = "a tensor was replaced by another one with equal values"
STORES = "it stores a tensor outside of the function, which a replay can't"
_numbers = itertools.count()  # of captured functions


class Captured:
    """A function whose calls are recorded as a program and then replayed; see capture().

    program: the last that was recorded or replayed; None before the first call.
    recordings: the number of times that the function was run because no program fitted.
    verifications: the number of times that it was run to check a program.
    why: what caused the last recording, in words.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        rewrites: Sequence[str] | None = None,
        verify: Verify = "doubling",
    ) -> None:
        if verify not in ("doubling", "always", "never"):
            raise SettingError(
                f'capture: got verify={verify!r}; "doubling", "always" or "never" is needed'
            )
        if not callable(function):
            raise SettingError(f"capture: got {function!r}; a function is needed")
        functools.update_wrapper(self, function)
        self._number = next(_numbers)
        self.function = function
        self.rewrites = names_of(rewrites)
        self.verify = verify
        self._turns = Turns()  # one call at a time, because a program has one memory
        self.forget()

    def forget(self) -> None:
        """Drop all programs, so that the next call records."""
        self.program: Program | None = None
        self.recordings = self.verifications = 0
        self.why = ""
        self._programs: OrderedDict[Any, list[Program]] = OrderedDict()
        self._in_a_row = 0
        self._turns.is_cut_off = False

    @property
    def _name(self) -> str:
        return getattr(self.function, "__name__", "step")

    def __get__(self, owner: Any, kind: type | None = None) -> Captured:
        """As a method: return this object's captured step, which is stored in the object."""
        if owner is None:
            return self
        if not hasattr(owner, "__dict__") or isinstance(owner, type):
            raise CaptureError(
                f"captured step: {self._name} is a method of {owner!r}, which has no place for its "
                "programs: it is a class, or its class has slots; capture a function instead"
            )
        place = f"_captured_{self._name}_{self._number}"  # no other method is stored there
        bound = owner.__dict__.get(place)
        if bound is None or bound.function.__self__ is not owner:  # copy.copy() copies it, too
            bound = Captured(self.function.__get__(owner, kind), self.rewrites, self.verify)
            owner.__dict__[place] = bound
        captured: Captured = bound
        return captured

    def __deepcopy__(self, memo: dict[int, Any]) -> Captured:
        memo[id(self)] = same = Captured(
            copy.deepcopy(self.function, memo), self.rewrites, self.verify
        )
        return same

    def __reduce__(self) -> Any:
        raise NotSupported(
            "pickle: a captured step can't be pickled; pickle its function, and capture that again"
        )

    def __repr__(self) -> str:
        backend = f", backend {self.program.key.backend.name}" if self.program else ""
        return (
            f"<captured step {self._name}: recordings {self.recordings}, "
            f"verifications {self.verifications}{backend}>"
        )

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Run the step on arrays or tensors; each set of shapes has its own program."""
        if named:
            arguments, named = self._in_order(arguments, named)
        if recorder.recorder() or autograd.is_watching():
            return call_with_tensors(self.function, arguments, named)
        given = Arguments(arguments, named)
        arrays = given.arrays
        with self._turns.lock:
            self._check_turns()
            key = self._key(arrays, given)
            program = self._find(key)
            if program is None or self._is_due(program) or program.writes_to(arrays):
                result, values = self._record(key, given, arrays, program)
                return result.make(values)
            self._in_a_row = 0
            self.program = program
            return program.replay(arrays)

    def run(self, *tables: Any, steps: int | None = None, **named: Any) -> Any:
        """Run n steps. On the C backend no Python runs between them.

        Steps count as calls, so they are verified at steps 2, 4, 8, ... If a step raises an error,
        all changes made until then remain.

        Args:
            *tables: the arguments of the step, where each array or tensor has one more axis, the
                first: row i belongs to step i. All other values are the same for all steps.
            **named: the arguments that are given by name.
            steps: int, the number of steps n; by default the number of rows.

        Returns:
            The step's result with one more axis in each tensor: row i is the result of step i.

        Raises:
            SettingError: steps is below 1, or a table has fewer rows.
            CaptureError: as a call of the step.
        """
        if named:
            tables, named = self._in_order(tables, named)
        given = Arguments(tables, named)
        arrays = given.arrays
        lengths = {len(array) if array.ndim else 0 for array in arrays}
        if steps is None and len(lengths) == 1:
            (steps,) = lengths
        if steps is None or not 1 <= steps <= min(lengths, default=steps):
            rows = " and ".join(map(str, sorted(lengths)))
            found = f"tables of {rows} rows" if lengths else "no table"
            if steps is None:
                raise SettingError(f"run: got {found}; the number of steps is needed: steps=n")
            raise SettingError(
                f"run: got {found} for {plural(steps, 'step')}; a row for each step, and at least "
                "one step, are needed"
            )
        if recorder.recorder() or autograd.is_watching():
            raise CaptureError(
                "run: within a recorded step or under detect_anomaly() each step is run "
                "separately; call the step instead"
            )
        with self._turns.lock:
            self._check_turns()
            key = self._key([array[0, ...] for array in arrays], given)
            parts: list[list[Array]] = []
            done = 0
            while done < steps:
                program = self._find(key)
                if program is None or self._is_due(program) or program.writes_to(arrays):
                    row = [array[done, ...] for array in arrays]
                    result, values = self._record(key, given, row, program)
                    parts.append([value[np.newaxis] for value in values])
                    done += 1
                    continue
                end = done + 1
                if program.guards.outlast_a_step:
                    end = min(steps, done + 1 + self._calls_to_next(program))
                parts.append(program.run([array[done:end] for array in arrays], end - done))
                program.calls_made += end - done - 1
                self._in_a_row = 0
                self.program, result = program, program.result
                done = end
            return result.make([np.concatenate(part) for part in zip(*parts, strict=True)])

    def _check_turns(self) -> None:
        if self._turns.is_cut_off:
            raise CaptureError(
                f"captured step: this process was forked while another thread computed "
                f"{self._name}, so the tensors it changes may be half changed here; set them "
                "again, such as from a checkpoint, and call step.forget(), or fork between two "
                "steps"
            )

    def _in_order(
        self, arguments: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments by position as far as possible, and the rest by name."""
        try:
            signature = inspect.signature(self.function)
        except ValueError:  # a function written in C
            return arguments, named
        bound = signature.bind(*arguments, **named)
        return bound.args, bound.kwargs

    def _key(self, arrays: Sequence[Array], given: Arguments) -> Key:
        backend = door.current_backend()
        instructions = getattr(backend.module, "SIMD", "")
        shapes = tuple([(array.shape, array.dtype) for array in arrays])
        return Key(backend, instructions, autograd.is_grad_enabled(), shapes, given.form)

    # The program for a call, and whether to verify it

    def _find(self, key: Key) -> Program | None:
        programs = self._programs.get(key.arguments, ())
        for program in reversed(programs):
            if program.key == key and not program.guards.change():
                return program
        return None

    def _is_due(self, program: Program) -> bool:
        """Count a call; True if the function must run, to verify the program."""
        program.calls_made += 1
        if self.verify == "doubling":
            return not program.is_verified or program.calls_made.bit_count() == 1
        return self.verify == "always"

    def _calls_to_next(self, program: Program) -> int:
        """Return the number of calls after this one before the next verification."""
        if self.verify == "never":
            return 2**62
        n: int = program.calls_made
        return (1 << n.bit_length()) - n - 1

    def _cause(self, key: Key) -> str:
        """Return in words why no program fits."""
        programs = self._programs.get(key.arguments, [])
        if not programs:
            return "there is no program for arguments of these shapes and dtypes"
        for program in reversed(programs):
            if program.key == key:
                return program.guards.change()
        if any(_differs_in_form_only(program.key, key) for program in programs):
            return (
                "there is no program for these numbers, strings and structure of the arguments, "
                "which are constants of a program; a value that changes is needed as an array"
            )
        return "there is no program for this backend and gradient mode"

    # Recording

    def _record(
        self, key: Key, given: Arguments, arrays: Sequence[Array], program: Program | None
    ) -> tuple[Result, list[Array]]:
        """Run the function on the arrays and note its calls; returns its result and the values.

        The notes become a program, or are compared with `program`.
        """
        inputs = [_input(array) for array in arrays]
        notes = Recorder(inputs, finds_places=program is None or not program.is_verified)
        if program is not None:
            notes.known = {id(array) for array in program.trace.roots}
        module = getattr(self.function, "__self__", None)
        if isinstance(module, Module):
            notes.modules[id(module)] = module, module.version
        try:
            result = _run_function(self.function, given, inputs, notes)
        except BaseException as error:
            # A replay raises the errors of each_step, too. Any other error is a difference.
            if program is not None and not notes.function_raised:
                self._drop(program)
                if program.replays:
                    error.add_note(
                        f"captured step: replays before this call that may be wrong: "
                        f"{program.replays}"
                    )
            raise
        finally:
            _copy_back(inputs, arrays, notes)
            del inputs  # an array that still exists after the step counts as stored
        notes.note_constant_gradients(gradients(notes))
        values = result.values()
        shared = _shared_memory(notes, arrays)
        if shared:  # the next call runs the function, too
            self.why = shared
            self._count_in_a_row()
            return result, values
        if program is None:
            others = self._programs.get(key.arguments, ())
            is_first = not any(
                other.key == key or _differs_in_form_only(other.key, key) for other in others
            )
            self._adopt(key, notes, result, Trace(notes, result), self._cause(key))
            self._count_in_a_row(is_first and self.why != STORES)
        else:
            self.verifications += 1
            if self._compare(key, notes, result, program):
                self._count_in_a_row()
        return result, values

    def _compare(self, key: Key, notes: Recorder, result: Result, program: Program) -> bool:
        """Compare the notes with the program; True if they differ, and the program is dropped."""
        trace = Trace(notes, result)
        difference = program.trace.difference(trace)
        if difference is not None:
            self._drop(program)
            if program.is_verified and self.verify != "never" and program.replays:
                notes.forget()
                raise CaptureError(_stale(self._name, difference, program))
            self._adopt(key, notes, result, trace, str(difference))
            return True
        # A constant gradient is held by its tensor, and replays restore it.
        grads = {id(root(grad)) for grad in gradients(notes)}
        replaced = [
            (weakref.ref(array), is_changed)
            for array, is_changed in program.trace.replaced(trace)
            if id(array) not in grads
        ]
        del trace
        program.guards = guards = Guards(notes)
        result.release()
        notes.forget()
        guards.drop_the_dead(self._collects or program.replays > 0)
        program.is_verified = True
        self.program = program
        alive = [is_changed for ref, is_changed in replaced if ref() is not None]
        why = STORES if guards.stores else REPLACED if alive else ""
        if why:
            self.why = why
            self._drop(program)
        if (guards.stores or any(alive)) and program.replays:
            raise CaptureError(_stale(self._name, Difference(why, ""), program))
        program.replays = 0
        return guards.stores

    def _adopt(
        self,
        key: Key,
        notes: Recorder,
        result: Result,
        trace: Trace,
        why: str,
    ) -> None:
        """Make a program of the notes, and keep it for replays if the step stores nothing."""
        self.program = program = Program(
            key, notes, result, trace, self._turns, self.function, self.rewrites, self._collects
        )
        self.recordings += 1
        self.why = STORES if program.guards.stores else why
        if program.guards.stores:
            return
        program.is_verified = self.verify == "never"
        programs = self._programs.setdefault(key.arguments, [])
        self._programs.move_to_end(key.arguments)
        programs.append(program)
        del programs[:-MOST_PROGRAMS]
        while len(self._programs) > MOST_SHAPES:
            self._programs.popitem(last=False)

    def _drop(self, program: Program) -> None:
        for programs in self._programs.values():
            programs[:] = [other for other in programs if other is not program]

    @property
    def _collects(self) -> bool:
        """True if this recording collects garbage before a tensor counts as stored.

        That takes milliseconds, so a step that is recorded again and again does it seldom.
        """
        return self._in_a_row.bit_count() < 2

    def _count_in_a_row(self, is_first: bool = False) -> None:
        """Count recordings in a row, without a replay between them, and warn at the 8th.

        is_first: True if there was no program for these shapes; the count starts again at 0.
        """
        self._in_a_row = 0 if is_first else self._in_a_row + 1
        if self._in_a_row == MOST_IN_A_ROW:
            warnings.warn(
                f"captured step: {self._name} was recorded "
                f"{MOST_IN_A_ROW} times in a row, which is slower than calling the function; the "
                f"last time because {self.why}",
                RuntimeWarning,
                stacklevel=4,
            )


def capture(
    function: Callable[..., Any],
    rewrites: Sequence[str] | None = None,
    verify: Verify = "doubling",
) -> Captured:
    """Return the function as a captured step: recorded as a program when called, then replayed.

    A captured step takes arrays or tensors, by position or by name, alone or in tuples, lists and
    dicts, and returns tensors. A number, a NumPy scalar, a string or None among the arguments is a
    constant: each value has its own recording. If the function uses a tensor that is not an
    argument, such as a weight, each replay reads its values at that time, and writes changes into
    its memory. A replay repeats the kernel calls and runs no Python: numbers, branches and settings
    keep the values of the recording, and side effects such as print() do not happen.
    `step.forget()` drops the recording.

    A replay gives the same bits as the function, if the function would make the same kernel calls.
    `step.why` gives the cause of the last recording. The step is re-recorded

    - if an argument has a new shape or dtype,
    - if the backend or the gradient mode changes,
    - if a tensor that an op read gets another array, requires_grad or hooks,
    - if you set an attribute of a module that was called as model(x) (not model.forward(x)), of a
      module whose method is captured, or of an optimiser that made a step, and after train() or
      eval(); each replay reads the current learning rate, so a new one needs no recording,
    - if a tensor has a gradient at the start of the call and had none when recorded, or the other
      way round.

    The function runs again at calls 2, 4, 8, ..., and its calls are compared with the program. If
    they differ at call 2, the second recording becomes the program, because a step may create its
    state at its first call. If a value of Python changes after one verification and changes back
    before the next one, no verification finds it.

    These steps are recorded at every call, with a RuntimeWarning at the 8th or 9th call:

    - a step that differs at every call,
    - a step that stores a tensor outside of the function: one that it computed, an argument, or
      `w.grad`. Return the tensor instead, or write its values with `x[...] = values` into a tensor
      that exists before the step,
    - a step that changes a tensor or an argument which shares memory with another argument.

    Every replay overwrites the gradients that it sets. To keep one, store `w.grad.clone()`. For
    each set of shapes there are at most 8 programs, so a step with 16 numbers in turn is recorded
    at every call. Threads that the step starts are not recorded, and neither are writes to
    `x.array` or to an array that `x.numpy()` returned before. Under detect_anomaly() the function
    runs at every call.

    Args:
        function: a training step, or any function that computes with tensors. It receives its
            arguments as tensors, and returns tensors, alone or in tuples, lists and dicts, or None.
            The results are copies and have no graph, so backward() must be called inside the step.
            Above a method, `@tt.capture` gives every object its own captured step, which is called
            on the object: `x.step(y)`.
        rewrites: names of capture/rewrites.py that make the program faster; () for none, None for
            all.
        verify: "doubling" verifies at calls 2, 4, 8, ...; "always" at every call, so that nothing
            is replayed; "never" trusts the first recording.

    Returns:
        Captured, which is called as the function is.

    Raises:
        CaptureError: while recording, the step does something that a program can't do, such as
            reading a value in Python; or at a verification, the function differs from the replays
            since the last one.
        UnknownName: there is no rewrite of this name.
        SettingError: verify is none of the three.

    >>> weight = tt.ones(3)
    >>> @tt.capture
    ... def step(x):
    ...     weight[...] = weight - 0.5 * x
    ...     return (weight * x).sum()
    >>> [step(tt.ones(3)).item() for _ in range(4)]
    [1.5, 0.0, -1.5, -3.0]
    >>> step.recordings, step.verifications
    (1, 2)
    """
    return Captured(function, rewrites, verify)


def _stale(name: str, difference: Difference, program: Program) -> str:
    n = program.calls_made
    return (
        f"captured step: {name} differs from its program: {difference}. Replays before "
        f"this call that may be wrong: {program.replays}. This call, number {n} since the "
        "recording, is right. Values that Python computes are constants of a recording: pass a "
        "value that changes as an argument, change a tensor in place, or call step.forget() after "
        "the change. The same is true if an argument's values or an earlier result decide what the "
        "step does"
    )


def _differs_in_form_only(one: Key, other: Key) -> bool:
    return one.form != other.form and one._replace(form=other.form) == other


def _run_function(
    function: Callable[..., Any], given: Arguments, inputs: Sequence[Array], notes: Recorder
) -> Result:
    with recorder.recording(notes):
        try:
            positional, named = given.with_tensors([wrap(array) for array in inputs])
            returned = function(*positional, **named)
        finally:
            for carried in notes.carried:
                if carried.x._grad is carried.own:  # the step read it, or changed it in place
                    carried.x._grad = carried.before
                    np.copyto(carried.before.array, carried.own.array)
        if notes.refusal is not None:  # the step has caught the error
            raise notes.refusal
        return Result(returned, notes, gradients(notes))


def _input(array: Array) -> Array:
    """Return the array that the function gets: the same memory, as another array.

    It is a copy if C can't read the array, or if it may hold indices, which another thread must not
    change between the check and the use.
    """
    flags = array.flags
    if array.dtype == np.int64 or not (flags.c_contiguous and flags.aligned):
        own = np.array(array, order="C")
        own.flags.writeable = flags.writeable
        return own
    # Its base is no array, so arrays.root() ends there.
    return np.asarray(memoryview(array))  # type: ignore[arg-type]


def _copy_back(inputs: Sequence[Array], arrays: Sequence[Array], notes: Recorder) -> None:
    """Write the arguments that are copies and that the step has changed to the caller's arrays."""
    for own, array in zip(inputs, arrays, strict=True):
        if own.base is None and id(own) in notes.written:
            np.copyto(array, own)


def _shared_memory(notes: Recorder, arrays: Sequence[Array]) -> str:
    """Name an argument that shares memory with a tensor that the step changed; "" if none does."""
    changed = [key for key in notes.before if key not in notes.inputs]
    for i, array in enumerate(arrays):
        is_changed = notes.inputs[i] in notes.written
        others = [notes.held[key] for key in (notes.read_first if is_changed else changed)]
        others += [
            other
            for j, other in enumerate(arrays)
            if j != i and {notes.inputs[i], notes.inputs[j]} & notes.written
        ]
        if any(np.may_share_memory(array, other) for other in others):
            return f"argument {i} shares memory with another one or a tensor, and is changed"
    return ""
