"""The idx file format: a header with the shape, then the elements.

byte 0, 1   0
byte 2      the dtype: 8 for uint8, the only dtype supported here
byte 3      the number of axes
then        the size of each axis, 4 bytes, big-endian
then        the elements in C order
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
    """Read an idx file of uint8.

    Args:
        path: the file; it is decompressed if its name ends with .gz.
        axes: the number of axes that the array must have.

    Returns:
        the array, uint8.

    Raises:
        DataError: the file can't be read, has another dtype or number of axes, or has the wrong
            length.
    """
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        needed_file = "a complete gzip file" if path.suffix == ".gz" else "a readable file"
        raise DataError(f"{path}: {needed_file} is needed ({error})") from None

    magic = bytes((0, 0, UNSIGNED_BYTE, axes))
    if content[:4] != magic:
        raise DataError(
            f"{path}: starts with the bytes {content[:4].hex(' ') or 'none'}; an idx file of uint8 "
            f"with {axes} axes, which is needed, starts with {magic.hex(' ')}"
        )
    start = 4 + 4 * axes
    shape = tuple(int.from_bytes(content[i : i + 4]) for i in range(4, start, 4))
    needed = start + math.prod(shape)
    if len(content) != needed:
        raise DataError(
            f"{path}: has {len(content):,} bytes; the shape {shape} in its header needs {needed:,}"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
