"""How a notebook displays a Tensor: its values and, if its shape is that of small images, these."""

from __future__ import annotations

import base64
import html as markup
import io
from typing import TYPE_CHECKING

import numpy as np

from tinytensor.arrays import Array

if TYPE_CHECKING:
    from tinytensor.tensor import Tensor

SIDE = 28  # height and width of MNIST's images, in pixels
MOST_IMAGES = 20
ZOOM = 3  # screen pixels per image pixel


def html(x: Tensor) -> str:
    """Return repr(x) as HTML, after the images in x if there are any.

    The last axes of a tensor of images are (28, 28), (28, 28, 1) or (784,). The first 20 images are
    drawn. In each image black is the smallest value and white the largest.
    """
    pictures = "".join(map(_img, _images(x.array)))
    return f"<div>{pictures}<pre>{markup.escape(repr(x))}</pre></div>"


def _images(array: Array) -> Array:
    """Return the first images in an array, (N, 28, 28); N = 0 if its shape isn't that of images."""
    if array.shape[-1:] == (SIDE * SIDE,) or array.shape[-2:] == (SIDE, SIDE):
        return array.reshape(-1, SIDE, SIDE)[:MOST_IMAGES]
    if array.shape[-3:] == (SIDE, SIDE, 1):
        return array.reshape(-1, SIDE, SIDE)[:MOST_IMAGES]
    return np.empty((0, SIDE, SIDE))


def _img(image: Array) -> str:
    data = base64.b64encode(_png(_grey(image))).decode()
    style = "image-rendering: pixelated; margin: 2px"
    return f'<img alt="" width="{SIDE * ZOOM}" style="{style}" src="data:image/png;base64,{data}">'


def _grey(image: Array) -> Array:
    """Return the values scaled to uint8 from 0 to 255; NaN and infinities count as 0."""
    finite = np.nan_to_num(image.astype(np.float64), posinf=0, neginf=0)
    low, high = finite.min(), finite.max()
    grey: Array = ((finite - low) * (255 / (high - low) if high > low else 0)).astype(np.uint8)
    return grey


def _png(grey: Array) -> bytes:
    """Return a PNG file of a grey image, uint8 (H, W)."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(grey).save(file, "PNG")
    return file.getvalue()
