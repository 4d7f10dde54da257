"""A drawn digit as an image like MNIST's, normalised as MNIST's authors did with scanned digits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from tinytensor.arrays import Array
from tinytensor.datasets import SIDE
from tinytensor.errors import DataError

Stroke = Sequence[tuple[float, float]]  # points (x, y), from (0, 0) at the top left to (1, 1)
MAX_POINTS = 20_000  # of a drawn digit; a mouse sends about 100 a second
CANVAS = 560  # pixels, a multiple of 28
PEN = 0.1  # width of the pen as a part of the canvas; strokes become as wide as MNIST's
SHAPE = (SIDE, SIDE)
BOX = 20  # pixels, the larger side of a digit


def render_strokes(strokes: Sequence[Stroke]) -> Array:
    """The image of a drawn digit, with the size and position of MNIST's digits.

    The larger side of the digit is 20 pixels, and its centre of mass is in the middle of the image.

    Args:
        strokes: each a sequence of points (x, y) from 0 to 1.

    Returns:
        (28, 28) uint8, light on dark.

    Raises:
        DataError: the strokes have no points, more than MAX_POINTS, or one far outside.
    """
    if sum(map(len, strokes)) > MAX_POINTS:
        raise DataError(f"strokes: got more than {MAX_POINTS:,} points; draw a shorter line")
    if not all(-1 <= x <= 2 and -1 <= y <= 2 for stroke in strokes for x, y in stroke):
        raise DataError("strokes: got a point far outside; numbers from 0 to 1 are needed")
    return centred(_rasterize(strokes))


def _rasterize(strokes: Sequence[Stroke]) -> Array:
    """The strokes on a canvas (CANVAS, CANVAS) uint8, light on dark."""
    canvas = Image.new("L", (CANVAS, CANVAS))
    draw = ImageDraw.Draw(canvas)
    width = round(PEN * CANVAS)
    for stroke in strokes:
        points = [(x * CANVAS, y * CANVAS) for x, y in stroke]
        if not points:
            continue
        draw.line(points, fill=255, width=width, joint="curve")
        for x, y in (points[0], points[-1]):  # round ends
            draw.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=255)
    return np.asarray(canvas)


def centred(ink: Array) -> Array:
    """A digit scaled and centred as MNIST's digits.

    Args:
        ink: (H, W) uint8, light on dark.

    Returns:
        (28, 28) uint8.

    Raises:
        DataError: all pixels are 0.
    """
    rows, columns = (np.flatnonzero(ink.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        raise DataError("drawn: got an empty image; a digit is needed")
    digit = Image.fromarray(ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    scale = BOX / max(digit.size)
    width, height = (max(1, round(side * scale)) for side in digit.size)
    small = np.asarray(digit.resize((width, height), Image.Resampling.BOX), np.float64)
    image = np.zeros(SHAPE, np.uint8)
    top = _start(small.sum(axis=1), SHAPE[0])
    left = _start(small.sum(axis=0), SHAPE[1])
    image[top : top + height, left : left + width] = np.rint(small)
    return image


def _start(weights: Array, side: int) -> int:
    """The first index along an axis, so that the centre of mass is in the middle pixel."""
    middle = (weights * (np.arange(len(weights)) + 0.5)).sum() / max(weights.sum(), 1)
    return int(np.clip(round(side // 2 + 0.5 - middle), 0, side - len(weights)))
