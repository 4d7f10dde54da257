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
from contextlib import closing
from pathlib import Path

import numpy as np

from tinytensor import regular_file
from tinytensor.arrays import Array
from tinytensor.errors import DataError

UNSIGNED_BYTE = 8
PIECE = 2**20  # bytes that are read at once, because a header may promise more than there is
MAX_BYTES = 2**31  # of a file, after decompression; 60,000 images of MNIST take 2**25.5


def read_idx(path: Path, axes: int) -> Array:
    """Read an idx file of uint8.

    Args:
        path: the file; it is decompressed if its name ends with .gz.
        axes: the number of axes that the array must have.

    Returns:
        the array, uint8.

    Raises:
        DataError: the file can't be read, has another dtype or number of axes, has the wrong
            length, or has more than MAX_BYTES bytes.
    """
    start = 4 + 4 * axes
    content = bytearray()
    regular_file.checked(path)
    try:
        with closing(gzip.open(path) if path.suffix == ".gz" else path.open("rb")) as file:
            header = file.read(start)
            magic = bytes((0, 0, UNSIGNED_BYTE, axes))
            if header[:4] != magic:
                raise DataError(
                    f"{path}: starts with the bytes {header[:4].hex(' ') or 'none'}; an idx file "
                    f"of uint8 with {axes} axes, which is needed, starts with {magic.hex(' ')}"
                )
            shape = tuple(int.from_bytes(header[i : i + 4]) for i in range(4, start, 4))
            size = math.prod(shape)
            if start + size > MAX_BYTES:
                raise DataError(
                    f"{path}: the shape {shape} in its header needs {start + size:,} bytes; at "
                    f"most {MAX_BYTES:,} bytes are read"
                )
            # One byte more, to see if the file is too long.
            while piece := file.read(min(PIECE, size + 1 - len(content))):
                content += piece
    except (OSError, EOFError, zlib.error) as error:
        raise DataError.unread(path, error, "a complete gzip file is needed") from None

    if len(header) < start or len(content) != size:
        more = " or more" if len(content) > size else ""
        raise DataError(
            f"{path}: has {len(header) + len(content):,} bytes{more}; the shape {shape} in its "
            f"header needs {start + size:,}"
        )
    return np.frombuffer(content, np.uint8).reshape(shape)
