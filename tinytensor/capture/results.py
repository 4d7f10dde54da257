"""The result of a captured step: the same structure at every replay, with new tensors in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinytensor.arrays import Array
from tinytensor.capture.memory import AFTER_THE_STEP, View
from tinytensor.errors import CaptureError
from tinytensor.recorder import Recorder
from tinytensor.tensors import Tensor, wrap


class Result:
    """The result of a step: tensors, alone or in tuples, lists and dicts; or None.

    gradients: those of the step, which replays restore. Other tensors that the step returns without
    computing them are noted, so that a guard covers them.
    """

    def __init__(self, result: Any, notes: Recorder, gradients: Sequence[Array]) -> None:
        self.parts: list[Part] = []  # its tensors, in order
        self._gradients = {id(grad) for grad in gradients}
        self._form = self._taken_apart(result, notes)

    def _taken_apart(self, value: Any, notes: Recorder) -> Any:
        if value is None:
            return None
        if isinstance(value, Tensor):
            is_computed = notes.owns(value.array)
            if not is_computed and id(value.array) not in self._gradients:
                notes.note_leaf(value)
            self.parts.append(Part(value.array, is_computed))
            return len(self.parts) - 1
        if type(value) in (tuple, list):
            return type(value)(self._taken_apart(item, notes) for item in value)
        if type(value) is dict:
            return {key: self._taken_apart(item, notes) for key, item in value.items()}
        raise CaptureError(
            f"captured step: it returns a {type(value).__name__}, which would be a constant of the "
            "program; tensors are needed, alone or in tuples, lists and dicts, or None"
        )

    @property
    def outside(self) -> list[Array]:
        """The arrays that the step returns without computing them."""
        return [part.now() for part in self.parts if not part.is_computed]

    def described(self, place: Callable[[Array], Any]) -> str:
        """Return the structure in words, and `place(array)` and the origin of each array."""
        origins = [(part.is_computed, place(part.now())) for part in self.parts]
        return f"{self._form!r}: {origins}"

    def place(self, view: Callable[[Array], View]) -> None:
        """Hold views of the program's memory instead of the computed arrays."""
        for part in self.parts:
            if part.is_computed:
                part.view = view(part.now())
                part.view.buffer.last = AFTER_THE_STEP  # it is copied after the step
                part.array = None

    def release(self) -> None:
        """Release all arrays, so that only the structure remains."""
        self.parts.clear()

    def values(self) -> list[Array]:
        """Return copies of the arrays."""
        return [part.now().copy() for part in self.parts]

    def tables(self, steps: int) -> list[Array]:
        """Return a table for each array, which repeats its present values for each step."""
        return [np.repeat(part.now()[np.newaxis], steps, axis=0) for part in self.parts]

    def make(self, values: Sequence[Array]) -> Any:
        """Return the result with tensors of these values."""
        return _put_together(self._form, iter(values))


@dataclass(eq=False)
class Part:
    """A tensor of the result. is_computed: True if the step computed it, or it is an argument."""

    array: Array | None  # in the step's own memory, and then in the program's
    is_computed: bool
    view: View | None = None

    def now(self) -> Array:
        """Return its array; after place(), in the program's memory."""
        if self.array is None:
            assert self.view is not None
            self.array = self.view.array()
        return self.array


def _put_together(form: Any, values: Iterator[Array]) -> Any:
    if isinstance(form, dict):
        return {key: _put_together(item, values) for key, item in form.items()}
    if isinstance(form, tuple | list):
        return type(form)(_put_together(item, values) for item in form)
    return None if form is None else wrap(next(values))
