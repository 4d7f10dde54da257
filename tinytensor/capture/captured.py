"""`step = capture(function)`: a step that records itself when it is called, and is replayed after.

What is recorded, and how it is replayed, stands in program.py; what makes a program another step
than the function would now make, in guards.py. Then the step is recorded anew, which is one
ordinary step. A program of every set of shapes, and of the last few settings, is kept.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tinytensor import autograd, kernels, recorder
from tinytensor.capture import listing
from tinytensor.capture.guards import Guards
from tinytensor.capture.program import Key, Program, roles
from tinytensor.capture.results import Result
from tinytensor.capture.rewrites import names_of
from tinytensor.errors import CaptureError, SettingError
from tinytensor.kernels import Array, Backend
from tinytensor.recorder import Recorder
from tinytensor.tensor import Tensor, wrap

MOST_PROGRAMS = 8  # of one captured function; the oldest goes


class Captured:
    """A function that is recorded as a program when it is first called, and replayed afterwards.

    program: the last that was recorded or replayed; None before the first call.
    recordings: how many times the function itself was run to record it.
    """

    def __init__(self, function: Callable[..., Any], rewrites: Sequence[str] | None = None) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.rewrites = names_of(rewrites)
        self.program: Program | None = None
        self.recordings = 0
        self._programs: list[Program] = []
        self._lock = threading.RLock()  # one at a time: the programs have one memory each

    def __call__(self, *arguments: Array | Tensor, **named: Array | Tensor) -> Any:
        """The step on arrays or tensors, of which a program is recorded for each set of shapes."""
        if named:
            arguments = self._in_order(arguments, named)
        if recorder.recorder() or autograd.is_watching():
            return self.function(*arguments)
        arrays = [_array_of(x) for x in arguments]
        with self._lock:
            key = self._key(arguments, arrays)
            program = self._find(key)
            if program is None:
                program, values = self.record(key, arrays)
                return program.make(values)
            self.program = program
            return program.replay(arrays)

    def run(self, *tables: Array | Tensor, steps: int | None = None) -> Any:
        """Many steps, in C without coming back to Python between them.

        tables: for each of the step's arguments an array with one axis more, in front: row i is
            the argument of step i. steps: how many; all rows if None.

        What a step returns comes back as tables of that kind: row i is of step i. An error at some
        step leaves everything as after the steps before it.
        """
        arrays = [_array_of(x) for x in tables]
        lengths = {len(array) if array.ndim else 0 for array in arrays}
        if steps is None and len(lengths) == 1:
            (steps,) = lengths
        if steps is None or not 1 <= steps <= min(lengths, default=steps):
            raise SettingError(
                f"run: got tables of {sorted(lengths)} rows for {steps} steps; a row for each "
                "step, and at least one step, are needed"
            )
        if recorder.recorder() or autograd.is_watching():
            raise CaptureError(
                "run: here each step is run by itself, within another that is recorded or under "
                "detect_anomaly(); call the step instead"
            )
        with self._lock:
            key = self._key(tables, [np.asarray(array[0]) for array in arrays])
            parts: list[list[Array]] = []
            done = 0
            while done < steps:
                program = self._find(key)
                end = steps if program is not None and program.outlasts_a_step else done + 1
                rows = [array[done:end] for array in arrays]
                if program is None:
                    program, values = self.record(key, [np.asarray(row[0]) for row in rows])
                    parts.append([value[np.newaxis] for value in values])
                else:
                    parts.append(program.run(rows, end - done))
                done = end
            assert program is not None
            self.program = program
            return program.make([np.concatenate(part) for part in zip(*parts, strict=True)])

    def _in_order(
        self, arguments: Sequence[Array | Tensor], named: Mapping[str, Array | Tensor]
    ) -> tuple[Array | Tensor, ...]:
        bound = inspect.signature(self.function).bind(*arguments, **named)
        if bound.kwargs:
            raise CaptureError(
                f"captured step: got {', '.join(bound.kwargs)} by name; arguments that have a "
                "place among the function's, with all those before them, are needed"
            )
        return bound.args

    def _key(self, arguments: Sequence[Array | Tensor], arrays: Sequence[Array]) -> Key:
        backend = kernels.current_backend()
        kinds = ((type(x), a.shape, a.dtype) for x, a in zip(arguments, arrays, strict=True))
        instructions = getattr(backend.module, "SIMD", "")
        return Key(backend, instructions, autograd.is_grad_enabled(), tuple(kinds))

    def _find(self, key: Key) -> Program | None:
        for program in reversed(self._programs):
            if program.key == key and program.holds():
                return program
        return None

    def record(self, key: Key, arrays: Sequence[Array]) -> tuple[Program, list[Array]]:
        """Run the function on copies of the arrays: the program of what it did, and results."""
        inputs = [np.array(array, order="C") for array in arrays]
        known = [x for program in self._programs for x in program.leaves_with_grad()]
        notes = Recorder(inputs, known)
        given = [
            wrap(own) if kind is Tensor else own.view(recorder.Argument)
            for own, (kind, *_) in zip(inputs, key.arguments, strict=True)
        ]
        with recorder.recording(notes), kernels.computing_with(_noting(key.backend, notes)):
            before = _tensors_outside(self.function)
            result = Result(self.function(*given), notes)
            _check_are_the_same(before, _tensors_outside(self.function))
        values = result.values()
        self.recordings += 1
        guards = Guards(notes, self.function)
        del inputs, given  # so that it is seen who else holds them
        program = Program(key, notes, guards, result, self._lock, self.rewrites)
        program.name = getattr(self.function, "__name__", "step")
        listing.name_buffers(program, self.function)
        self._programs = [p for p in self._programs if p.is_of_today()]
        self._programs = [*self._programs, program][-MOST_PROGRAMS:]
        self.program = program
        return program, values


def capture(function: Callable[..., Any], rewrites: Sequence[str] | None = None) -> Captured:
    """The function as a program: recorded at its first call, replayed at all others.

    function: a training step, or anything that computes with tensors. Its arguments are arrays and
        tensors; what changes from step to step must come through them, for Python's own numbers
        are constants of the program. It returns tensors, alone or in tuples, lists and dicts, or
        None; they have no history, so backward() belongs into the step.
    rewrites: names of rewrites.py that the program is made faster by; () for none, None for all.

    The results are the same, bit by bit. Python's own doings, such as counting or printing, happen
    only while the step is recorded; gradients, and tensors that the function keeps somewhere,
    are written in place by every replay. Where a program is no longer the step (another shape,
    another backend, a parameter replaced, train() or eval() called) the step is recorded anew.
    Under detect_anomaly() it isn't replayed but run.

    Raises CaptureError, while recording, for what a program can't do, such as reading a number, and
    UnknownName for a rewrite that doesn't exist.
    """
    return Captured(function, rewrites)


def _array_of(x: Array | Tensor) -> Array:
    if isinstance(x, Tensor):
        if x.requires_grad:
            raise CaptureError(
                "captured step: an argument has requires_grad, and its gradient would be left on "
                "the program's copy; give it as x.detach(), or let the step find it by itself"
            )
        return x.array
    if isinstance(x, np.ndarray):
        return x
    raise CaptureError(
        f"captured step: an argument is a {type(x).__name__}; arrays and tensors are needed, for "
        "Python's own numbers would stay in the program for ever"
    )


def _tensors_outside(function: Callable[..., Any]) -> dict[str, Tensor]:
    """The tensors among the variables of others that a function uses, by their names."""
    return {name: x for name, x in listing.variables(function).items() if isinstance(x, Tensor)}


def _check_are_the_same(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> None:
    for name, x in before.items():
        if after.get(name) is not x:
            raise CaptureError(
                f"captured step: it gives the variable {name} another tensor, which a program "
                f"can't; change it in place, under no_grad(): {name}[...] = ..."
            )


def _noting(backend: Backend, notes: Recorder) -> Backend:
    """The backend, with kernels that are noted when they have computed."""

    def noted(name: str) -> Callable[..., None]:
        kernel, writes = getattr(kernels, name), roles(name).writes

        def call(*arguments: Any) -> None:
            plain = tuple(recorder.plain(x) if isinstance(x, np.ndarray) else x for x in arguments)
            with kernels.computing_with(backend):
                kernel(*plain)
            notes.note_call(name, plain, [plain[i] for i in writes])

        return call

    return replace(backend, kernels={name: noted(name) for name in backend.kernels})
