"""What a captured step returns: the same structure at every replay, with new tensors in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinytensor.buffers import Buffer, View
from tinytensor.errors import CaptureError
from tinytensor.kernels import Array
from tinytensor.recording import Recorder
from tinytensor.tensor import Tensor, wrap


class Result:
    """What a step returns: tensors, alone or in tuples, lists and dicts; or None."""

    def __init__(self, result: Any, notes: Recorder) -> None:
        self._form = self._taken_apart(result, notes)

    def _taken_apart(self, value: Any, notes: Recorder) -> Any:
        if value is None:
            return None
        if isinstance(value, Tensor):
            return Computed(value.array) if notes.owns(value.array) else value
        if type(value) in (tuple, list):
            return type(value)(self._taken_apart(item, notes) for item in value)
        if type(value) is dict:
            return {key: self._taken_apart(item, notes) for key, item in value.items()}
        raise CaptureError(
            f"captured step: it returns a {type(value).__name__}, which would be the same for "
            "ever; tensors are needed, alone or in tuples, lists and dicts, or None"
        )

    def place(self, view: Callable[[Array], View]) -> None:
        """Hold the places of what was computed rather than the arrays."""
        for computed in self._computed(self._form):
            assert computed.array is not None
            computed.view = view(computed.array)
            computed.view.buffer.last = 10**9  # it lives until it is copied
            computed.array = None

    def buffers(self) -> set[Buffer]:
        """Where what is returned lies."""
        views = [computed.view for computed in self._computed(self._form)]
        return {view.buffer for view in views if view is not None}

    def _computed(self, form: Any) -> list[Computed]:
        if isinstance(form, Computed):
            return [form]
        if isinstance(form, dict):
            form = form.values()
        if isinstance(form, Tensor) or form is None:
            return []
        return [computed for item in form for computed in self._computed(item)]

    def make(self) -> Any:
        """A new result, with copies of the numbers as they are now."""
        return _put_together(self._form, lambda computed: wrap(computed.now().copy()))

    def tables(self, steps: int) -> dict[Computed, Array]:
        """For each tensor that is computed a table, with room for a row from each step."""
        return {
            computed: np.empty((steps, *computed.now().shape), computed.now().dtype)
            for computed in self._computed(self._form)
        }

    def make_tables(self, tables: Mapping[Computed, Array]) -> Any:
        """The result of many steps: in place of what was computed its table."""
        return _put_together(self._form, lambda computed: wrap(tables[computed]))

    def join(self, first: Any, tables: Any) -> Any:
        """Tables with the result of one step more in front."""
        return _joined(self._form, first, tables)


@dataclass(eq=False)
class Computed:
    """A tensor of the result that the step computed."""

    array: Array | None  # in the step's own memory, and then in the program's
    view: View | None = None

    def now(self) -> Array:
        """Where it lies."""
        if self.array is None:
            assert self.view is not None
            self.array = self.view.array()
        return self.array


def _put_together(form: Any, tensor_of: Callable[[Computed], Tensor]) -> Any:
    if isinstance(form, Computed):
        return tensor_of(form)
    if isinstance(form, Mapping):
        return {key: _put_together(item, tensor_of) for key, item in form.items()}
    if isinstance(form, tuple | list):
        return type(form)(_put_together(item, tensor_of) for item in form)
    return form


def _joined(form: Any, first: Any, tables: Any) -> Any:
    if isinstance(form, Computed):
        return wrap(np.concatenate([first.array[np.newaxis], tables.array]))
    if isinstance(form, Mapping):
        return {key: _joined(form[key], first[key], tables[key]) for key in form}
    if isinstance(form, tuple | list):
        return type(form)(map(_joined, form, first, tables))
    return form
