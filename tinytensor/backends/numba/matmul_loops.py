"""Matrix products by the tile of tile.py: tables with the indices of the rows of x, y and out."""

import math
from functools import lru_cache

import numpy as np

from tinytensor.arrays import Array
from tinytensor.backends.lowering import Lowered, lowered
from tinytensor.backends.numba.strides import flat
from tinytensor.backends.numba.thread_pool import by_rows
from tinytensor.backends.numba.tile import (
    LANES,
    ROWS,
    products,
    products_of_few_columns,
    sparse_products,
)

LONG_SUMS = 128  # K; in shorter sums, adding up the lanes at the end takes too long


@lowered
def matmul(x: Array, y: Array, out: Array, transpose_x: bool, transpose_y: bool) -> Lowered:
    B, (M, N) = math.prod(out.shape[:-2]), out.shape[-2:]
    K = x.shape[-2 if transpose_x else -1]
    x_row, x_column = (1, M) if transpose_x else (K, 1)
    y_row, y_column = (1, K) if transpose_y else (N, 1)
    flat_x, flat_y, flat_out = flat(x), flat(y), flat(out)
    if N < LANES and K >= LONG_SUMS and not transpose_x:
        return products_of_few_columns, (flat_x, flat_y, y_row, y_column, flat_out, B, M, K, N)
    elif transpose_x and N < LANES < M:
        # Rows of N elements would not fill a register. The transpose of the result, y^T . x, has
        # long rows.
        return products, (
            flat_y, K * N, _rows(N, y_column), strided(K, y_row),
            flat_x, M * K, strided(K, x_column), x_row,
            flat_out, M * N, strided(N, 1), N, M, B, False,
        )  # fmt: skip
    else:
        loops = by_rows(products, B * M * K * N, M, ROWS, {2: 1, 10: 1})
        return loops, (
            flat_x, M * K, _rows(M, x_row), strided(K, x_column),
            flat_y, K * N, strided(K, y_row), y_column,
            flat_out, M * N, strided(M, N), 1, N, B, False,
        )  # fmt: skip


@lowered
def sparse_matmul(x: Array, y: Array, out: Array, transpose_x: bool, transpose_y: bool) -> Lowered:
    if out.shape[1] <= LANES or 0 in x.shape:
        return matmul.lower(x, y, out, transpose_x, transpose_y)
    (M, N), K = out.shape, x.shape[0 if transpose_x else 1]
    x_row, x_column = (1, M) if transpose_x else (K, 1)
    y_row, y_column = (1, K) if transpose_y else (N, 1)
    loops = by_rows(sparse_products, M * K * N, M, ROWS, {1: 1, 7: 1})
    return loops, (
        flat(x), _rows(M, x_row), strided(K, x_column),
        flat(y), strided(K, y_row), y_column,
        flat(out), strided(M, N), N,
    )  # fmt: skip


@lru_cache(maxsize=1024)
def strided(count: int, stride: int) -> Array:
    """Return the indices 0, stride, ..., (count - 1) * stride."""
    return np.arange(count) * stride


@lru_cache(maxsize=1024)
def _rows(count: int, stride: int) -> Array:
    return full_tiles(strided(count, stride))


def full_tiles(indices: Array) -> Array:
    """Return the indices with the last one repeated, so that their number is a multiple of ROWS."""
    return np.pad(indices, (0, -len(indices) % ROWS), "edge") if len(indices) else indices
