"""Locks that os.fork() leaves usable in the child process.

A child has only the thread that called fork(). A lock that another thread held at that moment would
stay locked in the child, so that its next use would never end.
"""

import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar


class Lock(Protocol):
    """A lock of threading, or one like it."""

    def acquire(self) -> object:
        """Wait until the lock is free, and hold it."""

    def release(self) -> None:
        """Make the lock free."""


_Lock = TypeVar("_Lock", bound=Lock)
_Value = TypeVar("_Value")


def held_during_fork(lock: _Lock) -> _Lock:
    """Let each fork wait until no other thread holds this lock; return the lock.

    It suits the locks of a module, which are held for a short time and not inside of each other.
    """
    _at_fork(before=lock.acquire, in_parent=lock.release, in_child=lock.release)
    return lock


def in_each_child(reset: Callable[[], object]) -> None:
    """Call reset() in each forked child process."""
    _at_fork(in_child=reset)


class Turns:
    """A lock whose holder may compute for long, so that no fork waits for it.

    lock: free in each child. is_cut_off: True if another thread held the lock when this process
    was forked. What that thread was changing may be half changed here.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()  # the same thread may take several turns, one in another
        self.is_cut_off = False
        _turns.add(self)

    def free(self) -> None:
        """In a child: replace the lock if a thread that doesn't exist here holds it."""
        if self.lock.acquire(blocking=False):
            self.lock.release()
        else:
            self.lock = threading.RLock()
            self.is_cut_off = True


class computed_once(Generic[_Value]):  # noqa: N801, a decorator
    """A property that is computed at its first use and then stored in the object.

    functools.cached_property is the same, but in Python 3.11 it holds a lock while it computes.
    """

    def __init__(self, compute: Callable[[Any], _Value]) -> None:
        self.compute, self.__doc__ = compute, compute.__doc__

    def __get__(self, owner: Any, kind: type) -> _Value:
        if owner is None:
            return self  # type: ignore[return-value] # the class shows the property
        value = owner.__dict__[self.compute.__name__] = self.compute(owner)
        return value


_turns: "weakref.WeakSet[Turns]" = weakref.WeakSet()


def _free_all() -> None:
    for turns in list(_turns):
        turns.free()


def _at_fork(
    before: Callable[[], object] = lambda: None,
    in_parent: Callable[[], object] = lambda: None,
    in_child: Callable[[], object] = lambda: None,
) -> None:
    if hasattr(os, "register_at_fork"):  # Windows has no fork
        os.register_at_fork(before=before, after_in_parent=in_parent, after_in_child=in_child)


_at_fork(in_child=_free_all)
