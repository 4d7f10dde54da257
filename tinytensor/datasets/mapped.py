"""Rows of a memory map that is larger than the memory, read from its file with one window ahead.

A memory map (np.load with mmap_mode="r", or np.memmap) looks like an array, and each row that is
read stays in the memory of the process. So these functions read the file instead. Reading single
rows in random order is slow on disks, so a window of blocks is read at once:

1. The file is divided into blocks of consecutive rows, about 1 MiB each.
2. At each epoch the order of the blocks is random, and a window consists of the next 32 blocks.
3. The rows of a window are shuffled, and batches are made from them. Meanwhile a thread reads the
   next window.

A batch thus has rows of 32 random places of the file. In a file that is sorted by class, these are
fewer different rows than in an order that is entirely random.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from typing import TypeGuard

import numpy as np

from tinytensor.arrays import Array
from tinytensor.errors import DataError

BLOCK = 2**20  # bytes
WINDOW = 32  # blocks


def is_mapped(array: object) -> TypeGuard[np.memmap]:
    """True if the rows of an array can be read from the file that it is a map of.

    A map with mode "c" is not: its changes are not in the file.
    """
    return (
        isinstance(array, np.memmap)
        and isinstance(_map_of(array), mmap.mmap)
        and array.filename is not None
        and array.mode != "c"
        and array.flags.c_contiguous
        and array.ndim > 0
    )


def _map_of(array: Array) -> object:
    """The object whose memory an array shares: for a memory map and parts of it, a mmap."""
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    return base


class FileRows:
    """Reads rows of a memory map from its file.

    Args:
        array: a memory map (N, ...), or a part of one, for which is_mapped is True.
    """

    def __init__(self, array: np.memmap) -> None:
        self.array = array
        self.file = str(array.filename)
        self.row_bytes = array.itemsize * int(np.prod(array.shape[1:]))
        map_start = np.frombuffer(_map_of(array), np.uint8).ctypes.data  # type: ignore[call-overload]
        in_file = array.offset - array.offset % mmap.ALLOCATIONGRANULARITY
        self.start = array.ctypes.data - map_start + in_file  # of row 0 in the file, in bytes

    def read(self, rows: Array) -> Array:
        """Read rows.

        Args:
            rows: int64 indices (R,), ascending. Neighbours are read at once.

        Returns:
            (R, ...) of the array's dtype.

        Raises:
            DataError: the file can't be read any more, or has become shorter.
        """
        ends = np.flatnonzero(np.diff(rows) != 1) + 1
        found = np.empty((len(rows), *self.array.shape[1:]), self.array.dtype)
        bytes_of_rows = found.reshape(-1).view(np.uint8).data
        try:
            with open(self.file, "rb", buffering=0) as file:
                for start, end in zip([0, *ends], [*ends, len(rows)], strict=True):
                    if start < end:
                        file.seek(self.start + int(rows[start]) * self.row_bytes)
                        part = bytes_of_rows[start * self.row_bytes : end * self.row_bytes]
                        self._fill(file, part)
        except OSError as error:
            raise DataError(f"{self.file} can't be read ({error.strerror})") from None
        return found

    def _fill(self, file: FileIO, part: memoryview) -> None:
        while part:
            count = file.readinto(part)
            if not count:
                raise DataError(
                    f"{self.file} has become shorter while it was read; the file of a "
                    "memory map must stay as it is"
                )
            part = part[count:]


def row_in_words(array: Array, row: int) -> str:
    """A row of an array in words: "row 5", or of all rows of a file, "row 5 of x.npy"."""
    if not is_mapped(array):
        return f"row {row}"
    source = FileRows(array)
    before = (source.start - array.offset) // source.row_bytes
    return f"row {row + int(before)} of {source.file}"


def windows(rng: np.random.Generator, count: int, row_bytes: int, shuffle: bool) -> Iterator[Array]:
    """Yield the indices of all rows of an epoch, window by window.

    Args:
        rng: draws the order.
        count: the number of rows.
        row_bytes: the size of a row.
        shuffle: False yields the rows in their own order.
    """
    rows_per_block = max(1, BLOCK // max(row_bytes, 1))
    starts = np.arange(0, count, rows_per_block)
    if shuffle:
        starts = rng.permutation(starts)
    for i in range(0, len(starts), WINDOW):
        blocks = [np.arange(s, min(s + rows_per_block, count)) for s in starts[i : i + WINDOW]]
        rows = np.concatenate(blocks)
        yield rng.permutation(rows) if shuffle else rows


def streamed(
    source: FileRows, orders: Iterable[Array], size: int, skip: int, partial: bool
) -> Iterator[tuple[Array, Array, Array]]:
    """Yield batches of rows, while a thread reads the next window.

    Args:
        source: the rows.
        orders: the indices of the rows of each window, as `windows` yields them.
        size: number of rows per batch.
        skip: number of rows to leave out at the start; they are not read.
        partial: True yields the rows at the end that don't fill a batch.

    Returns:
        for each batch: the indices (size,) of its rows, an array of rows (R, ...), and the places
        (size,) of the batch in this array.
    """
    rest = np.empty(0, np.int64), np.empty((0, *source.array.shape[1:]), source.array.dtype)
    for order, rows in _read_ahead(source, _skipped(orders, skip)):
        places = np.argsort(np.argsort(order))
        start = 0
        if len(rest[0]):
            start = min(size - len(rest[0]), len(order))
            indices = np.concatenate([rest[0], order[:start]])
            rest = indices, np.concatenate([rest[1], rows[places[:start]]])
            if len(indices) < size:
                continue
            yield *rest, np.arange(size)
        end = start + (len(order) - start) // size * size
        for i in range(start, end, size):
            yield order[i : i + size], rows, places[i : i + size]
        rest = order[end:], rows[places[end:]]
    if partial and len(rest[0]):
        yield *rest, np.arange(len(rest[0]))


def _skipped(orders: Iterable[Array], skip: int) -> Iterator[Array]:
    for order in orders:
        if skip < len(order):
            yield order[skip:]
        skip = max(skip - len(order), 0)


def _read_ahead(source: FileRows, orders: Iterable[Array]) -> Iterator[tuple[Array, Array]]:
    """Yield the indices of each window, and its rows in ascending order of their indices."""
    thread = ThreadPoolExecutor(1, "tinytensor-reader")
    try:
        ahead = None
        for order in orders:
            waiting, ahead = ahead, (order, thread.submit(source.read, np.sort(order)))
            if waiting is not None:
                yield waiting[0], waiting[1].result()
        if ahead is not None:
            yield ahead[0], ahead[1].result()
    finally:
        # Not `with`, which would wait for the thread. The garbage collector may close a generator
        # that was left, while another thread starts and holds a lock of the module threading.
        thread.shutdown(wait=False, cancel_futures=True)
