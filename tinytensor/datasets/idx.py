"""The idx file format: a few bytes that give the shape, then the numbers.

A file is, from its first byte:

    byte 0, 1   0
    byte 2      the kind of number: 8 for unsigned bytes, the only one read here
    byte 3      the number of axes
    then        the size of each axis, 4 bytes, the most significant first
    then        the numbers, last axis fastest
"""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from tinytensor.arrays import Array
from tinytensor.errors import DataError

UNSIGNED_BYTE = 8


def read_idx(path: Path, axes: int) -> Array:
    """The array in an idx file of unsigned bytes with that many axes; .gz files are unpacked.

    Raises DataError if the file can't be read, isn't of that kind, or is too short or too long.
    """
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        kind = "a whole gzip file" if path.suffix == ".gz" else "a readable file"
        raise DataError(f"{path}: {kind} is needed ({error})") from None

    magic = bytes((0, 0, UNSIGNED_BYTE, axes))
    if content[:4] != magic:
        raise DataError(
            f"{path}: starts with the bytes {content[:4].hex(' ') or 'none'}; an idx file of "
            f"unsigned bytes with {axes} axes starts with {magic.hex(' ')}"
        )
    start = 4 + 4 * axes
    shape = tuple(int.from_bytes(content[i : i + 4]) for i in range(4, start, 4))
    needed = start + math.prod(shape)
    if len(content) != needed:
        raise DataError(
            f"{path}: has {len(content):,} bytes; its header, shape {shape}, needs {needed:,}"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
