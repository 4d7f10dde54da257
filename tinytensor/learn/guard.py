"""Memory that ends at a page without access: a read or write past an array ends the process."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
from cffi import FFI

from tinytensor.arrays import Array

PAGE = mmap.PAGESIZE
NO_ACCESS = 0  # PROT_NONE


class GuardedMemory:
    """Memory for one array, between two pages without access.

    nbytes: the size of the largest array.
    """

    def __init__(self, nbytes: int) -> None:
        pages = -(-nbytes // PAGE) + 1
        self._memory = mmap.mmap(-1, (pages + 2) * PAGE)
        whole = np.frombuffer(self._memory, np.uint8)
        self._bytes = whole[PAGE:-PAGE]
        ffi = FFI()
        ffi.cdef("int mprotect(void *address, size_t size, int access);")
        c: Any = ffi.dlopen(None)
        for guard in (whole[:PAGE], whole[-PAGE:]):
            if c.mprotect(ffi.cast("void *", guard.ctypes.data), PAGE, NO_ACCESS) != 0:
                raise OSError(ffi.errno, "mprotect")

    def ending(self, array: Array) -> Array:
        """Return a copy of an array whose last byte is the last one before the guard page."""
        return self._placed(array, len(self._bytes) - array.nbytes)

    def starting(self, array: Array) -> Array:
        """Return a copy of an array whose first byte is the first one after the guard page."""
        return self._placed(array, 0)

    def _placed(self, array: Array, offset: int) -> Array:
        room = self._bytes[offset : offset + array.nbytes]
        copy: Array = np.frombuffer(room.data, array.dtype, array.size).reshape(array.shape)
        copy[...] = array
        return copy
