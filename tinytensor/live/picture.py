"""Arrays to pictures: mosaics of digits, tiles of weights and activations.

A mosaic of digits has one byte per pixel, an index into PALETTE, because RGBA colours would be four
times larger to send to a browser. A correctly classified digit is dark on white. A
misclassified digit is light on red, so the two also differ without colour. An image in colour has
the nearest of 6 x 6 x 6 colours, and a red frame if it is misclassified.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np

from tinytensor.arrays import Array
from tinytensor.datasets import SIDE

GREYS = 16  # shades of a digit; more would not be visible, and files would be twice as large
MISCLASSIFIED = GREYS  # the palette index of the first colour of misclassified digits
EMPTY = 2 * GREYS  # the palette index of a transparent pixel
COLOURS = EMPTY + 1  # the palette index of the first of the colours of images in colour
LEVELS = 6  # of red, green and blue; the palette has at most 256 colours
WHITE, BLACK, RED = (255, 255, 255), (0, 0, 0), (178, 24, 43)
CELL = (SIDE, SIDE)
MARK_WIDTH = 20  # pixels; a narrower digit has no room for marks
GAP = 1  # pixels between tiles
# Colours of curves and bands, distinct for colour-blind readers, on white and on black. The test
# curve is also thicker.
TRAIN, TEST = "#2b8cc4", "#d55e00"
ALPHAS = (0.3, 0.45, 0.65, 1.0, 0.65, 0.45, 0.3)  # opacity of the seven bands


def _palette() -> Array:
    recognised, misclassified = np.linspace(WHITE, BLACK, GREYS), np.linspace(RED, WHITE, GREYS)
    colours = np.rint(np.concatenate([recognised, misclassified])).astype(np.uint8)
    cube = np.indices((LEVELS,) * 3).reshape(3, -1).T * (255 // (LEVELS - 1))
    opaque = [np.pad(part, ((0, 0), (0, 1)), constant_values=255) for part in (colours, cube)]
    return np.concatenate([opaque[0], np.zeros((1, 4), int), opaque[1]]).astype(np.uint8)


PALETTE = _palette()  # (249, 4): red, green, blue, alpha


def mosaic(
    images: Array, misclassified: Array, columns: int, cell: tuple[int, int] = CELL
) -> Array:
    """Digits side by side, row by row, as indices into PALETTE (rows * H, columns * W) uint8.

    images: (N, H, W) or (N, H, W, C) uint8. misclassified: (N,) bool. rows = ceil(N / columns).
    cell: the height and the width of a digit in pixels. An image of another shape keeps its shape,
    and is in the middle of its cell.
    """
    return side_by_side(coloured(images, misclassified, cell), columns, EMPTY)


def coloured(images: Array, misclassified: Array, cell: tuple[int, int] = CELL) -> Array:
    """Images (N, H, W) or (N, H, W, C) as indices into PALETTE; see mosaic.

    The first three channels are red, green and blue. Two channels are shown by their mean. An image
    in colour of another shape than the cell is transparent around it.
    """
    if images.ndim == 4 and images.shape[3] < 3:
        images = np.rint(images.mean(axis=3)).astype(np.uint8)
    if images.ndim == 4:
        return _in_colour(images[..., :3], misclassified, cell)
    colours = within(images, cell) // (256 // GREYS)
    colours[misclassified] += MISCLASSIFIED
    if cell[1] >= MARK_WIDTH:  # white lines separate the marks of neighbouring digits
        line = max(1, cell[1] // SIDE)
        colours[misclassified, :, -line:] = colours[misclassified, -line:] = 0
    return colours


def _in_colour(images: Array, misclassified: Array, cell: tuple[int, int]) -> Array:
    """Images (N, H, W, 3) as indices into PALETTE, with a frame around the misclassified ones."""
    rows, columns = _place(images.shape[1:3], cell)
    size = rows.stop - rows.start, columns.stop - columns.start
    channels = np.stack([resized(images[..., i], size) for i in range(3)], axis=-1)
    levels = np.rint(channels * ((LEVELS - 1) / 255)).astype(np.uint8)
    colours = np.full((len(images), *cell), EMPTY, np.uint8)
    colours[:, rows, columns] = COLOURS + levels @ np.array([LEVELS**2, LEVELS, 1], np.uint8)
    line = max(1, cell[1] // 14)
    framed = colours[misclassified]
    framed[:, :line] = framed[:, -line:] = MISCLASSIFIED
    framed[:, :, :line] = framed[:, :, -line:] = MISCLASSIFIED
    colours[misclassified] = framed
    return colours


def square_grid(count: int, width: int, height: int) -> tuple[int, int]:
    """The columns and the side of the largest squares, so that `count` fit into width x height.

    All are in pixels, and the side is at least 1.
    """
    columns = np.arange(1, count + 1)
    sides = np.minimum(width // columns, height // -(-count // columns))
    best = int(sides.argmax())
    return best + 1, max(1, int(sides[best]))


def within(images: Array, cell: tuple[int, int]) -> Array:
    """Images (N, H, W) uint8 at the largest size that fits into a cell, and 0 around them.

    They keep their shape: height and width are multiplied by the same number.
    """
    rows, columns = _place(images.shape[1:], cell)
    found = np.zeros((len(images), *cell), np.uint8)
    size = rows.stop - rows.start, columns.stop - columns.start
    found[:, rows, columns] = resized(images, size)
    return found


def _place(shape: Sequence[int], cell: tuple[int, int]) -> tuple[slice, slice]:
    """The rows and the columns of a cell that an image (H, W) fills, in the middle of the cell."""
    scale = min(room / pixels for room, pixels in zip(cell, shape, strict=True))
    sizes = [max(1, round(scale * pixels)) for pixels in shape]
    starts = [(room - size) // 2 for room, size in zip(cell, sizes, strict=True)]
    rows, columns = (slice(start, start + size) for start, size in zip(starts, sizes, strict=True))
    return rows, columns


def resized(images: Array, size: tuple[int, int]) -> Array:
    """Images (N, H, W) uint8 at another size; each new pixel is the mean of the area it covers."""
    if images.shape[1:] == size:
        return images
    over_rows, over_columns = map(_areas, images.shape[1:], size)
    smooth = over_rows @ images.astype(np.float32) @ over_columns.T
    return np.rint(smooth).astype(np.uint8)  # type: ignore[no-any-return]


@functools.cache
def _areas(pixels: int, wanted: int) -> Array:
    """Weights (wanted, pixels) of the old pixels in each new one, along one axis; rows sum to 1."""
    edges = np.linspace(0, pixels, wanted + 1, dtype=np.float32)
    left, right = edges[:-1, None], edges[1:, None]
    old = np.arange(pixels)
    covered = np.clip(np.minimum(right, old + 1) - np.maximum(left, old), 0, None)
    areas: Array = covered / covered.sum(axis=1, keepdims=True)
    return areas


def rgba(colours: Array) -> Array:
    """The colours (..., 4) uint8 of palette indices (...): red, green, blue, alpha."""
    return PALETTE[colours]


def side_by_side(cells: Array, columns: int, empty: float) -> Array:
    """Cells (N, H, W) as one image (rows * H, columns * W); the rest of the last row is `empty`."""
    N, H, W = cells.shape
    rows = math.ceil(N / columns)
    grid = np.full((rows * columns, H, W), empty, cells.dtype)
    grid[:N] = cells
    return grid.reshape(rows, columns, H, W).transpose(0, 2, 1, 3).reshape(rows * H, columns * W)


def tiles(images: Array, columns: int) -> Array:
    """Images (N, H, W) side by side as one float32 image, with NaN between and after them."""
    N, H, W = images.shape
    cells = np.full((N, H + GAP, W + GAP), np.nan, np.float32)
    cells[:, :H, :W] = images
    return side_by_side(cells, columns, np.nan)[:-GAP, :-GAP]
