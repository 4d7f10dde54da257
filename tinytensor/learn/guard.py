"""Memory that ends at pages without access: a read or write past an array ends the process."""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from typing import Any

import numpy as np
from cffi import FFI

from tinytensor.arrays import Array

PAGE = mmap.PAGESIZE
GUARD = 256 * PAGE  # bytes without access on each side: so a large wrong index ends there, too
NO_ACCESS = 0  # PROT_NONE


def apart(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Return copies with GUARD bytes of unused memory before and after each of them.

    A write past the end of such a copy changes nothing else.
    """
    rooms = [-(-array.nbytes // PAGE) * PAGE + GUARD for array in arrays.values()]
    memory = np.frombuffer(mmap.mmap(-1, GUARD + sum(rooms)), np.uint8)
    copies, start = {}, GUARD
    for (name, array), room in zip(arrays.items(), rooms, strict=True):
        copies[name] = _placed(memory[start:], array)
        start += room
    return copies


class GuardedMemory:
    """Memory for one array, between pages without access.

    nbytes: the size of the largest array.
    """

    def __init__(self, nbytes: int) -> None:
        pages = -(-nbytes // PAGE) + 1
        self._memory = mmap.mmap(-1, pages * PAGE + 2 * GUARD)
        whole = np.frombuffer(self._memory, np.uint8)
        self._bytes = whole[GUARD:-GUARD]
        ffi = FFI()
        ffi.cdef("int mprotect(void *address, size_t size, int access);")
        c: Any = ffi.dlopen(None)
        for guard in (whole[:GUARD], whole[-GUARD:]):
            if c.mprotect(ffi.cast("void *", guard.ctypes.data), GUARD, NO_ACCESS) != 0:
                raise OSError(ffi.errno, "mprotect")

    def ending(self, array: Array) -> Array:
        """Return a copy of an array whose last byte is the last one before the guard page."""
        return _placed(self._bytes[len(self._bytes) - array.nbytes :], array)

    def starting(self, array: Array) -> Array:
        """Return a copy of an array whose first byte is the first one after the guard page."""
        return _placed(self._bytes, array)


def _placed(memory: Array, array: Array) -> Array:
    """Return a copy of an array in the first bytes of this memory."""
    room = memory[: array.nbytes]
    copy: Array = np.frombuffer(room.data, array.dtype, array.size).reshape(array.shape)
    copy[...] = array
    return copy
