"""Matrix products: which lines go through the tile's registers, and where their numbers stand."""

import math
from functools import lru_cache

import numpy as np

from tinytensor.arrays import Array
from tinytensor.backends.lowering import Lowered, lowered
from tinytensor.backends.numba.tile import LANES, ROWS, products, products_of_few_columns

LONG_SUMS = 128  # terms; fewer don't repay adding up a register's numbers in the end


@lowered
def matmul(x: Array, y: Array, out: Array, transpose_x: bool, transpose_y: bool) -> Lowered:
    B, (M, N) = math.prod(out.shape[:-2]), out.shape[-2:]
    K = x.shape[-2 if transpose_x else -1]
    x_row, x_column = (1, M) if transpose_x else (K, 1)
    y_row, y_column = (1, K) if transpose_y else (N, 1)
    flat_x, flat_y, flat_out = x.reshape(-1), y.reshape(-1), out.reshape(-1)
    if N < LANES and K >= LONG_SUMS and not transpose_x:
        return products_of_few_columns, (flat_x, flat_y, y_row, y_column, flat_out, B, M, K, N)
    elif transpose_x and N < LANES < M:
        # Lines of N numbers would leave a part of each register idle. The transpose of the result,
        # y^T . x, has long lines.
        return products, (
            flat_y, K * N, _rows(N, y_column), spaced(K, y_row),
            flat_x, M * K, spaced(K, x_column), x_row,
            flat_out, M * N, spaced(N, 1), N, M, B, False,
        )  # fmt: skip
    else:
        return products, (
            flat_x, M * K, _rows(M, x_row), spaced(K, x_column),
            flat_y, K * N, spaced(K, y_row), y_column,
            flat_out, M * N, spaced(M, N), 1, N, B, False,
        )  # fmt: skip


@lru_cache(maxsize=1024)
def spaced(count: int, apart: int) -> Array:
    """So many places, each so many numbers after the last."""
    return np.arange(count) * apart


@lru_cache(maxsize=1024)
def _rows(count: int, apart: int) -> Array:
    return full_tiles(spaced(count, apart))


def full_tiles(places: Array) -> Array:
    """The last place is repeated until there are full tiles of them."""
    return np.pad(places, (0, -len(places) % ROWS), "edge") if len(places) else places
