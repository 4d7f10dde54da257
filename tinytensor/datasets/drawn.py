"""A drawn digit as MNIST has it: what its makers did with the scanned ones, done with strokes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from tinytensor.arrays import Array
from tinytensor.datasets.images import SHAPE
from tinytensor.errors import DataError

Stroke = Sequence[tuple[float, float]]  # its points (x, y), from (0, 0) at the top left to (1, 1)
CANVAS = 560  # pixels, fine enough for what becomes 28 of them
PEN = 0.1  # of the canvas: as wide, in the end, as the strokes in MNIST
BOX = 20  # pixels that a digit fills


def drawn(strokes: Sequence[Stroke]) -> Array:
    """The image (28, 28) of bytes, light on dark, that MNIST would have of a drawn digit.

    Its larger side fills 20 pixels, and its centre of mass is in the middle of the 28.

    Raises DataError where nothing is drawn.
    """
    return centred(_inked(strokes))


def _inked(strokes: Sequence[Stroke]) -> Array:
    canvas = Image.new("L", (CANVAS, CANVAS))
    draw = ImageDraw.Draw(canvas)
    width = round(PEN * CANVAS)
    for stroke in strokes:
        points = [(x * CANVAS, y * CANVAS) for x, y in stroke]
        if not points:
            continue
        draw.line(points, fill=255, width=width, joint="curve")
        for x, y in (points[0], points[-1]):  # a round pen
            draw.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=255)
    return np.asarray(canvas)


def centred(ink: Array) -> Array:
    """An image (H, W) of bytes, light on dark, in MNIST's size and place: (28, 28).

    Raises DataError for one that is all dark.
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
    """Where to begin along an axis, so that the centre of mass comes into the middle pixel."""
    middle = (weights * (np.arange(len(weights)) + 0.5)).sum() / max(weights.sum(), 1)
    return int(np.clip(round(side // 2 + 0.5 - middle), 0, side - len(weights)))
