"""A function that a page submits to a run, which calls it between two training steps."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from tinytensor.live.run import Run
from tinytensor.nn import Module

_Result = TypeVar("_Result")


class PendingCall(Generic[_Result]):
    """A function submitted to a run, at most one at a time, so a slow run is not flooded."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._future: Future[_Result] | None = None

    def submit(self, function: Callable[[Module], _Result]) -> None:
        """Submit function(model), unless an earlier result is still awaited."""
        if self._future is None:
            self._future = self.run.submit(function)

    def result(self) -> _Result | None:
        """The result, returned once when it is ready; otherwise None."""
        if self._future is None or not self._future.done():
            return None
        future, self._future = self._future, None
        return None if future.cancelled() else future.result()
