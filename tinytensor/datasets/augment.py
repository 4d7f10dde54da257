"""More images from those there are: shifted, turned, and bent a little, each time anew.

Every change is a map of places: for each pixel of the new image, where in the old one it is read,
between four pixels as their weighted mean. So any number of changes costs one reading.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tinytensor.arrays import Array
from tinytensor.errors import SettingError

# From images (N, H, W, C) of floats and a generator to changed ones.
Augmentation = Callable[[Array, np.random.Generator], Array]


def distort(
    shift: float = 0.0, rotate: float = 0.0, scale: float = 0.0, elastic: float = 0.0
) -> Augmentation:
    """Images moved, turned, sized and bent by chance.

    shift: at most so many pixels along each axis.
    rotate: at most so many degrees.
    scale: at most this share larger or smaller.
    elastic: bent as rubber bends (Simard, Steinkraus and Platt, 2003), by shifts drawn at 5 x 5
        places, with this standard deviation in pixels. Between the places stand weighted means,
        which vary less: over the whole image by 0.68 of it.

    Raises SettingError for numbers below 0, and for a scale of 1 or more.
    """
    for name, number in locals().copy().items():
        if not number >= 0:
            raise SettingError(f"distort: got {name}={number}; a number from 0 up is needed")

    if scale >= 1:
        raise SettingError(f"distort: got scale={scale}; a number below 1 is needed")

    def augment(images: Array, rng: np.random.Generator) -> Array:
        N, H, W, _ = images.shape
        y, x = np.mgrid[:H, :W].astype(np.float32)
        y, x = y - (H - 1) / 2, x - (W - 1) / 2
        angle = np.radians(rng.uniform(-rotate, rotate, (N, 1, 1))).astype(np.float32)
        size = rng.uniform(1 - scale, 1 + scale, (2, N, 1, 1)).astype(np.float32)
        moved = rng.uniform(-shift, shift, (2, N, 1, 1)).astype(np.float32)
        cos, sin = np.cos(angle), np.sin(angle)
        from_y = (cos * y + sin * x) / size[0] + moved[0] + (H - 1) / 2
        from_x = (cos * x - sin * y) / size[1] + moved[1] + (W - 1) / 2
        if elastic:
            from_y = from_y + elastic * _smooth_noise(rng, N, H, W)
            from_x = from_x + elastic * _smooth_noise(rng, N, H, W)
        return _read(images, from_y, from_x)

    return augment


def _smooth_noise(rng: np.random.Generator, N: int, H: int, W: int, coarse: int = 5) -> Array:
    """(N, H, W): a few random numbers, with straight lines between them."""
    grid = rng.standard_normal((N, coarse, coarse, 1), np.float32)
    y, x = np.mgrid[0 : coarse - 1 : H * 1j, 0 : coarse - 1 : W * 1j].astype(np.float32)
    shape = (N, H, W)
    return _read(grid, np.broadcast_to(y, shape), np.broadcast_to(x, shape))[..., 0]


def _read(images: Array, y: Array, x: Array) -> Array:
    """Images (N, H, W, C) read at places (N, h, w) between their pixels; 0 outside."""
    N, H, W, C = images.shape
    pixels = np.pad(images, ((0, 0), (1, 2), (1, 2), (0, 0))).reshape(-1, C)
    y, x = np.clip(y, -1, H) + 1, np.clip(x, -1, W) + 1
    top, left = y.astype(np.int64), x.astype(np.int64)
    below, right = (y - top)[..., np.newaxis], (x - left)[..., np.newaxis]
    place = (np.arange(N)[:, np.newaxis, np.newaxis] * (H + 3) + top) * (W + 3) + left
    upper = pixels[place] * (1 - right) + pixels[place + 1] * right
    lower = pixels[place + W + 3] * (1 - right) + pixels[place + W + 4] * right
    out: Array = upper * (1 - below) + lower * below
    return np.ascontiguousarray(out, images.dtype)
