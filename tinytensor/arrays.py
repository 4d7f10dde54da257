"""The arrays that everything computes on: NumPy's, and where in memory they are."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

Array = np.ndarray[tuple[int, ...], np.dtype[Any]]

CACHE_LINE = 64  # bytes
PAGE = 4096  # bytes
STEP = 5 * CACHE_LINE  # between the offsets, within a page, of one array and the next

_steps = itertools.count()


def root(array: Array) -> Array:
    """Returns the array that owns the memory of this one, which may be a view."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def address(array: Array) -> int:
    """Returns the address of the first element."""
    begin: int = array.__array_interface__["data"][0]
    return begin


def zeros(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Returns zeros for memory that many steps use, such as a parameter: it starts a cache line.

    Each vector stored to an array that malloc placed may touch two cache lines. And if several
    arrays start at the same offset of a page, a load from one waits for a store to another, because
    a CPU compares the last bits of addresses first. So the offsets differ.
    """
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes < PAGE:
        return np.zeros(shape, dtype)
    memory = np.zeros(nbytes + 2 * PAGE, np.uint8)
    start = -address(memory) % PAGE + next(_steps) * STEP % PAGE
    return memory[start : start + nbytes].view(dtype).reshape(shape)
