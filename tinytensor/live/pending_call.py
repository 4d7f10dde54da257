"""A function that a page submits to a run, which calls it between two training steps."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

from tinytensor.live.run import Run
from tinytensor.nn import Module

_Result = TypeVar("_Result")


class PendingCall(Generic[_Result]):
    """A function submitted to a run, at most one at a time, so a slow run is not flooded.

    ready: called when a result is ready, in the training thread.
    """

    def __init__(self, run: Run, ready: Callable[[], None] | None = None) -> None:
        self.run = run
        self._ready = ready
        self._future: Future[_Result] | None = None
        self._submitted: Hashable = None
        self._answered: Hashable = None  # the key of the last result

    def update(self, key: Hashable, function: Callable[[Module], _Result]) -> _Result | None:
        """The result, returned once when it is ready; otherwise None.

        key: what the result depends on. function(model) is submitted if no result is awaited and
        the key is not that of the last result, so a call that the run cancelled is repeated.
        """
        result = None
        if self._future is not None and self._future.done():
            future, self._future = self._future, None
            if not future.cancelled():
                self._answered = self._submitted
                result = future.result()
        if self._future is None and key != self._answered:
            self._submitted = key
            self._future = self.run.submit(function)
            if self._ready is not None:
                self._future.add_done_callback(self._call_ready)
        return result

    def _call_ready(self, future: Future[_Result]) -> None:
        if not future.cancelled() and self._ready is not None:
            self._ready()
