"""A program's memory: its pieces, the arrays that lie in them, and a plan for the temporaries."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tinytensor.kernels import Array

LINE = 64  # bytes of a cache line: where temporaries begin
PAGE = 4096  # bytes
STEP = 5 * LINE  # from where an array begins in its page to where the next one does
FOR_EVER = 10**9  # the last call that touches what is needed after all calls

_steps = itertools.count()


@dataclass(eq=False)
class Buffer:
    """A piece of memory that the calls of a program read and write."""

    kind: str  # "argument", "outside", "constant", "kept" or "temporary": see program.py
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    array: Array | None  # where it lies; None for a temporary that has no place yet
    first: int = 0  # the first call that touches it, and the last
    last: int = 0
    name: str = ""

    @property
    def size(self) -> int:
        """The number of its elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""
        return self.size * self.dtype.itemsize


class View(NamedTuple):
    """An array argument, told by where it lies in its buffer."""

    buffer: Buffer
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype[Any]

    def array(self) -> Array:
        """The array there."""
        memory = self.buffer.array
        assert memory is not None
        if memory.shape == self.shape and memory.dtype == self.dtype and not self.offset:
            return memory
        flat = memory.reshape(-1, order="A", copy=False)
        return np.ndarray(self.shape, self.dtype, flat, self.offset, self.strides)


def address(array: Array) -> int:
    """Where its numbers begin."""
    begin: int = array.__array_interface__["data"][0]
    return begin


def zeros(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """An array for numbers that many steps read and write: from the start of a cache line on.

    Where malloc puts an array, each vector's store may meet two lines. And where several arrays
    begin at the same place of a page, what is loaded from one waits for what is stored to another,
    for a CPU compares addresses by their last bits first: so each begins some lines further on.
    """
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes < PAGE:
        return np.zeros(shape, dtype)
    memory = np.zeros(nbytes + 2 * PAGE, np.uint8)
    start = -address(memory) % PAGE + next(_steps) * STEP % PAGE
    return memory[start : start + nbytes].view(dtype).reshape(shape)


def plan(temporaries: Sequence[Buffer]) -> int:
    """Give temporaries their places in one piece of memory; returns its size in bytes.

    Two whose lives have a call in common don't overlap. The largest choose first, each the lowest
    place that is free during its life.
    """
    placed: list[tuple[int, Buffer]] = []
    for buffer in sorted(temporaries, key=lambda b: -b.nbytes):
        start = 0
        for begin, other in sorted(placed, key=lambda p: p[0]):
            together = other.first <= buffer.last and buffer.first <= other.last
            if together and begin < start + whole_lines(buffer) and start < begin + other.nbytes:
                start = begin + whole_lines(other)
        placed.append((start, buffer))
    size = max((start + whole_lines(buffer) for start, buffer in placed), default=0)
    memory = np.empty(size + LINE, np.uint8)
    memory = memory[-address(memory) % LINE :]
    for start, buffer in placed:
        piece = memory[start : start + buffer.nbytes]
        buffer.array = piece.view(buffer.dtype).reshape(buffer.shape)
    return size


def whole_lines(buffer: Buffer) -> int:
    """Its size in bytes, rounded up to whole cache lines."""
    return -(-buffer.nbytes // LINE) * LINE
