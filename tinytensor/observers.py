"""Hooks: the events of a training that an observer, such as the coach, receives.

A class that derives from Observer overrides the methods of the events it needs, and `watch` adds an
object of it. An observer only reads: it computes with NumPy, calls no op, and keeps no array of the
step, because a captured step would count it as stored. Without an observer an event costs one
comparison. A replay of a captured step runs no Python and has no events; calls 1, 2, 4, 8, ... of
a captured step run as Python and have them.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from tinytensor.forks import held_during_fork

if TYPE_CHECKING:
    from tinytensor.arrays import Array
    from tinytensor.tensors import Tensor

active: tuple[Observer, ...] = ()  # the observers of all threads
_changing = held_during_fork(threading.Lock())


class Observer:
    """The base class of observers; each method is an event, and does nothing here."""

    def module_called(self, module: Any, arguments: tuple[Any, ...], result: Any) -> None:
        """A module has returned its result; submodules come before the module that calls them.

        arguments: those by position.
        """

    def loss_called(self, op: str, prediction: Tensor, target: Array) -> None:
        """A loss function has checked its arguments, and computes next.

        op: the name of the function. prediction: logits (R, C), or values of any shape. target:
        labels (R,), or values of the prediction's shape.
        """

    def backward_starts(self, output: Tensor) -> None:
        """output.backward() was called; the graph of `output` is complete."""

    def update_starts(self, optimizer: Any) -> None:
        """optimizer.step() was called; no parameter is changed yet."""

    def update_ended(self, optimizer: Any) -> None:
        """optimizer.step() has changed the parameters."""


def watch(observer: Observer) -> None:
    """Send all events to this observer from now on, until `leave`."""
    global active
    with _changing:
        if observer not in active:
            active = (*active, observer)


def leave(observer: Observer) -> None:
    """Send no more events to this observer."""
    global active
    with _changing:
        active = tuple(other for other in active if other is not observer)
