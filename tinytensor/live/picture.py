"""Arrays to pictures, without a screen: mosaics of digits, tiles of weights and activations.

A mosaic of digits is of bytes, each the number of a colour in PALETTE: a quarter of what its
colours would take on their way to a browser. A digit that is recognised is dark on white. One that
is missed is light on red: without colours, too, the two differ, as a photograph and its negative.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from tinytensor.datasets import SIDE
from tinytensor.kernels import Array

MISSED = 128  # from here up a colour is one of a missed digit
NOTHING = 255  # no digit is there
WHITE, BLACK, RED = (np.array(colour) for colour in ((255, 255, 255), (0, 0, 0), (200, 30, 30)))
CELL = (SIDE, SIDE)
MARKED = 20  # pixels that a missed digit's marks need across
GAP = 1  # pixels between tiles


def _palette() -> Array:
    shades = np.linspace(0, 1, MISSED)[:, None]
    recognised = WHITE + shades * (BLACK - WHITE)
    missed = RED + shades * (WHITE - RED)
    colours = np.rint(np.concatenate([recognised, missed])).astype(np.uint8)
    opaque = np.full((len(colours), 1), 255, np.uint8)
    opaque[NOTHING] = 0
    return np.concatenate([colours, opaque], axis=1)


PALETTE = _palette()  # (256, 4): red, green, blue, alpha


def mosaic(images: Array, missed: Array, columns: int, cell: tuple[int, int] = CELL) -> Array:
    """Digits side by side, row by row: (rows * H, columns * W) numbers of colours.

    images (N, 28, 28) uint8, missed (N) bool; rows = N / columns, rounded up. cell: H and W, the
    size at which each is shown.
    """
    colours = resized(images, cell) >> 1
    colours = np.where(missed[:, None, None], MISSED + np.minimum(colours, 126), colours)
    if cell[1] >= MARKED:
        colours[missed, :, -1] = 0  # a white line between them: the marks on each are its own
    rows = math.ceil(len(images) / columns)
    cells = np.full((rows * columns, *cell), NOTHING, np.uint8)
    cells[: len(images)] = colours
    return side_by_side(cells, columns)


def resized(images: Array, size: tuple[int, int]) -> Array:
    """Images (N, H, W) uint8 in another size: each pixel is the mean of the area that it covers."""
    if images.shape[1:] == size:
        return images
    over_rows, over_columns = map(_areas, images.shape[1:], size)
    smooth = over_rows @ images.astype(np.float32) @ over_columns.T
    return np.rint(smooth).astype(np.uint8)  # type: ignore[no-any-return]


@functools.cache
def _areas(pixels: int, wanted: int) -> Array:
    """(wanted, pixels): what share each old pixel has in each new one, along one axis."""
    edges = np.linspace(0, pixels, wanted + 1, dtype=np.float32)
    left, right = edges[:-1, None], edges[1:, None]
    old = np.arange(pixels)
    covered = np.clip(np.minimum(right, old + 1) - np.maximum(left, old), 0, None)
    areas: Array = covered / covered.sum(axis=1, keepdims=True)
    return areas


def rgba(colours: Array) -> Array:
    """The colours (..., 4) uint8 of a mosaic: red, green, blue, alpha."""
    return PALETTE[colours]


def side_by_side(cells: Array, columns: int) -> Array:
    """(rows * H, columns * W) of cells (rows * columns, H, W)."""
    H, W = cells.shape[1:]
    grid = cells.reshape(-1, columns, H, W)
    return grid.transpose(0, 2, 1, 3).reshape(-1, columns * W)


def tiles(images: Array, columns: int) -> Array:
    """Images (N, H, W) of any numbers side by side, with NaN between and after them."""
    N, H, W = images.shape
    rows = math.ceil(N / columns)
    cells = np.full((rows * columns, H + GAP, W + GAP), np.nan, np.float32)
    cells[:N, :H, :W] = images
    return side_by_side(cells, columns)[:-GAP, :-GAP]
