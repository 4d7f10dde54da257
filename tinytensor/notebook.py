"""A Tensor as HTML for notebooks: its values and, if its shape is that of images, the images."""

from __future__ import annotations

import base64
import html as markup
import io
from typing import TYPE_CHECKING

import numpy as np

from tinytensor.arrays import Array

if TYPE_CHECKING:
    from tinytensor.tensors import Tensor

SIDE = 28  # pixels, of MNIST's images
MAX_IMAGES = 20
ZOOM = 3  # screen pixels per image pixel


def html(x: Tensor) -> str:
    """HTML of a tensor: repr(x), after its first 20 images if it has the shape of images.

    Shapes of images are (..., 28, 28), (..., 28, 28, 1) and (..., 784). Black is the minimum of an
    image, white its maximum.
    """
    pictures = "".join(map(_img, _images(x.array)))
    return f"<div>{pictures}<pre>{markup.escape(repr(x))}</pre></div>"


def _images(array: Array) -> Array:
    """The first images (N, 28, 28) of an array; N = 0 if its shape is not that of images."""
    if array.shape[-1:] == (SIDE * SIDE,) or array.shape[-2:] == (SIDE, SIDE):
        return array.reshape(-1, SIDE, SIDE)[:MAX_IMAGES]
    if array.shape[-3:] == (SIDE, SIDE, 1):
        return array.reshape(-1, SIDE, SIDE)[:MAX_IMAGES]
    return np.empty((0, SIDE, SIDE))


def _img(image: Array) -> str:
    data = base64.b64encode(_png(_grey(image))).decode()
    style = "image-rendering: pixelated; margin: 2px"
    return f'<img alt="" width="{SIDE * ZOOM}" style="{style}" src="data:image/png;base64,{data}">'


def _grey(image: Array) -> Array:
    """Values scaled to uint8, 0 (minimum) to 255 (maximum); NaN and infinities count as 0."""
    finite = np.nan_to_num(image.astype(np.float64), posinf=0, neginf=0)
    low, high = finite.min(), finite.max()
    grey: Array = ((finite - low) * (255 / (high - low) if high > low else 0)).astype(np.uint8)
    return grey


def _png(grey: Array) -> bytes:
    """A PNG file of a grey image (H, W) uint8."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(grey).save(file, "PNG")
    return file.getvalue()
