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
    """The result of a step: tensors, alone or in tuples, lists and dicts; or None."""

    def __init__(self, result: Any, notes: Recorder) -> None:
        self.computed: list[Computed] = []  # the tensors that the step computed
        self.outside: list[Tensor] = []
        self._form = self._taken_apart(result, notes)

    def _taken_apart(self, value: Any, notes: Recorder) -> Any:
        if value is None:
            return None
        if isinstance(value, Tensor):
            if not notes.owns(value.array):
                self.outside.append(value)
                return value
            self.computed.append(Computed(value.array))
            return self.computed[-1]
        if type(value) in (tuple, list):
            return type(value)(self._taken_apart(item, notes) for item in value)
        if type(value) is dict:
            return {key: self._taken_apart(item, notes) for key, item in value.items()}
        raise CaptureError(
            f"captured step: it returns a {type(value).__name__}, which would be a constant of the "
            "program; tensors are needed, alone or in tuples, lists and dicts, or None"
        )

    def form_of(self, place: Callable[[Array], Any]) -> str:
        """Return the structure in words, with `place(array)` for each computed array."""
        return _in_words(self._form, place)

    def place(self, view: Callable[[Array], View]) -> None:
        """Hold views of the program's memory instead of the computed arrays."""
        for computed in self.computed:
            assert computed.array is not None
            computed.view = view(computed.array)
            computed.view.buffer.last = AFTER_THE_STEP  # it is copied after the step
            computed.array = None

    def values(self) -> list[Array]:
        """Return copies of the computed arrays with their present values."""
        return [computed.now().copy() for computed in self.computed]

    def tables(self, steps: int) -> list[Array]:
        """Return a table for each computed tensor, with one row for each step."""
        arrays = [computed.now() for computed in self.computed]
        return [np.empty((steps, *array.shape), array.dtype) for array in arrays]

    def make(self, values: Sequence[Array]) -> Any:
        """Return the result, with these values instead of the computed ones."""
        return _put_together(self._form, iter(values))

    def make_tables(self, tables: Sequence[Array], steps: int) -> Any:
        """Return the result of `steps` steps; a tensor from outside is repeated."""
        return _put_together(self._form, iter(tables), steps)


@dataclass(eq=False)
class Computed:
    """A tensor of the result that the step computed."""

    array: Array | None  # in the step's own memory, and then in the program's
    view: View | None = None

    def now(self) -> Array:
        """Return its array in the program's memory."""
        if self.array is None:
            assert self.view is not None
            self.array = self.view.array()
        return self.array


def _put_together(form: Any, values: Iterator[Array], steps: int | None = None) -> Any:
    if isinstance(form, Computed):
        return wrap(next(values))
    if isinstance(form, Tensor) and steps is not None:
        return wrap(np.repeat(form.array[np.newaxis], steps, axis=0))
    if isinstance(form, dict):
        return {key: _put_together(item, values, steps) for key, item in form.items()}
    if isinstance(form, tuple | list):
        return type(form)(_put_together(item, values, steps) for item in form)
    return form


def _in_words(form: Any, place: Callable[[Array], Any]) -> str:
    if isinstance(form, Computed):
        assert form.array is not None
        return f"computed {place(form.array)}"
    if isinstance(form, Tensor):
        return "outside"
    if isinstance(form, dict):
        items = [f"{key!r}: {_in_words(value, place)}" for key, value in form.items()]
        return "{" + ", ".join(items) + "}"
    if isinstance(form, tuple | list):
        return f"{type(form).__name__}({', '.join(_in_words(x, place) for x in form)})"
    return repr(form)
