"""NumPy arrays: type, address, the first False, and zeros well aligned for the C kernels."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

Array = np.ndarray[tuple[int, ...], np.dtype[Any]]

CACHE_LINE = 64  # bytes
PAGE = 4096  # bytes
OFFSET_STEP = 5 * CACHE_LINE  # bytes between the page offsets of two arrays made one after another

_counter = itertools.count()


def root(array: Array) -> Array:
    """Return the array that owns the memory of `array`: itself, or the base of a view.

    >>> array = np.zeros((2, 3))
    >>> root(array[0]) is array
    True
    """
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def address(array: Array) -> int:
    """Return the memory address of the first element, in bytes."""
    begin: int = array.__array_interface__["data"][0]
    return begin


def first_false(checked: Array) -> tuple[int, ...]:
    """Return the place of the first False in the result of a check.

    >>> first_false(np.array([[True, True], [False, True]]))
    (1, 0)
    """
    return tuple(map(int, np.unravel_index(checked.argmin(), checked.shape)))


def zeros(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return zeros of `shape` and `dtype`, aligned to a cache line, for long-lived arrays.

    Parameters and the state of optimisers are allocated here, because every step reads and writes
    them:

    - An unaligned vector store can touch two cache lines, so arrays of a page or more start at a
      multiple of 64 bytes.
    - A load from one array waits for a store to another array if both have the same offset within
      a page, because the CPU compares the low bits of the addresses first. So the offsets differ.
    """
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes < PAGE:
        return np.zeros(shape, dtype)
    memory = np.zeros(nbytes + 2 * PAGE, np.uint8)
    start = -address(memory) % PAGE + next(_counter) * OFFSET_STEP % PAGE
    return memory[start : start + nbytes].view(dtype).reshape(shape)
