"""Arrays to pictures, without a screen: mosaics of digits, tiles of weights and activations.

A mosaic of digits is of bytes, each the number of a colour in PALETTE: a quarter of what its
colours would take on their way to a browser. A digit that is recognised is dark on white. One that
is missed is light on red: without colours, too, the two differ, as a photograph and its negative.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from tinytensor.arrays import Array
from tinytensor.datasets import SIDE

GREYS = 16  # shades of a digit: no eye sees more in one so small, and files are half as large
MISSED = GREYS  # from here up a colour is one of a missed digit
NOTHING = 2 * GREYS  # no digit is there
WHITE, BLACK, RED = (255, 255, 255), (0, 0, 0), (178, 24, 43)
CELL = (SIDE, SIDE)
MARKED = 20  # pixels that a missed digit's marks need across
GAP = 1  # pixels between tiles
# Of curves and bands. Two colours that everybody can tell apart, on white and on black; the test's
# line is thicker, too.
TRAIN, TEST = "#2b8cc4", "#d55e00"
ALPHAS = (0.15, 0.3, 0.5, 0.85, 0.5, 0.3, 0.15)  # of the seven bands, the middle one strongest


def _palette() -> Array:
    recognised, missed = np.linspace(WHITE, BLACK, GREYS), np.linspace(RED, WHITE, GREYS)
    colours = np.rint(np.concatenate([recognised, missed])).astype(np.uint8)
    opaque = np.full((len(colours), 1), 255, np.uint8)
    return np.concatenate([np.concatenate([colours, opaque], axis=1), np.zeros((1, 4), np.uint8)])


PALETTE = _palette()  # (33, 4): red, green, blue, alpha


def mosaic(images: Array, missed: Array, columns: int, cell: tuple[int, int] = CELL) -> Array:
    """Digits side by side, row by row: (rows * H, columns * W) numbers of colours.

    images (N, 28, 28) uint8, missed (N) bool; rows = N / columns, rounded up. cell: H and W, the
    size at which each is shown.
    """
    return side_by_side(coloured(images, missed, cell), columns, NOTHING)


def coloured(images: Array, missed: Array, cell: tuple[int, int] = CELL) -> Array:
    """Digits (N, H, W) as numbers of colours; see mosaic."""
    colours = resized(images, cell) // (256 // GREYS)
    colours[missed] += MISSED
    if cell[1] >= MARKED:  # white lines between them: the marks on each are its own
        line = max(1, cell[1] // SIDE)
        colours[missed, :, -line:] = colours[missed, -line:] = 0
    return colours


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


def side_by_side(cells: Array, columns: int, nothing: float) -> Array:
    """(rows * H, columns * W) of cells (N, H, W); where none are left is `nothing`."""
    N, H, W = cells.shape
    rows = math.ceil(N / columns)
    grid = np.full((rows * columns, H, W), nothing, cells.dtype)
    grid[:N] = cells
    return grid.reshape(rows, columns, H, W).transpose(0, 2, 1, 3).reshape(rows * H, columns * W)


def tiles(images: Array, columns: int) -> Array:
    """Images (N, H, W) of any numbers side by side, with NaN between and after them."""
    N, H, W = images.shape
    cells = np.full((N, H + GAP, W + GAP), np.nan, np.float32)
    cells[:, :H, :W] = images
    return side_by_side(cells, columns, np.nan)[:-GAP, :-GAP]
