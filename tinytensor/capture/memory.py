"""A program's memory: its buffers, the arrays in them, and a plan for the temporaries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tinytensor.arrays import CACHE_LINE, Array, address

AFTER_THE_STEP = 10**9  # `last` of a buffer that is needed after all calls


@dataclass(eq=False)
class Buffer:
    """Memory that the calls of a program read and write."""

    kind: str  # "argument", "outside", "constant", "restored", "kept", "temporary": see program.py
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    array: Array | None  # None for a temporary whose memory is not planned yet
    first: int = 0  # the positions of the first and the last call that touch it
    last: int = 0
    name: str = ""
    first_values: Array | None = None  # every replay starts from them

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The size in bytes."""
        return self.size * self.dtype.itemsize


class View(NamedTuple):
    """An array argument of a call: a part of a buffer. `offset` is in bytes."""

    buffer: Buffer
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype[Any]

    def array(self) -> Array:
        """Return it as an array."""
        memory = self.buffer.array
        assert memory is not None
        if memory.shape == self.shape and memory.dtype == self.dtype and not self.offset:
            return memory
        if memory.flags.forc:
            flat = memory.reshape(-1, order="A", copy=False)
            return np.ndarray(self.shape, self.dtype, flat, self.offset, self.strides)
        return np.asarray(_Window(memory, self))


class _Window:
    """A view of memory with gaps, such as a part of another library's tensor, for np.asarray."""

    def __init__(self, memory: Array, view: View) -> None:
        own = memory.__array_interface__
        self.__array_interface__ = {
            "version": 3,
            "data": (address(memory) + view.offset, own["data"][1]),
            "shape": view.shape,
            "strides": view.strides,
            "typestr": view.dtype.str,
        }
        self.memory = memory  # a reference keeps it alive


def plan(temporaries: Sequence[Buffer]) -> int:
    """Place the temporaries in one block of memory; returns its size in bytes.

    Two temporaries share memory only if no call lies between the first and last calls of both. The
    largest is placed first. Each gets the lowest offset that is free from its first to its last
    call.
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
    memory = np.empty(size + CACHE_LINE, np.uint8)
    memory = memory[-address(memory) % CACHE_LINE :]
    for start, buffer in placed:
        piece = memory[start : start + buffer.nbytes]
        buffer.array = piece.view(buffer.dtype).reshape(buffer.shape)
    return size


def whole_lines(buffer: Buffer) -> int:
    """Return its size in bytes, rounded up to whole cache lines."""
    return -(-buffer.nbytes // CACHE_LINE) * CACHE_LINE
