"""Data augmentation: images that are randomly shifted, rotated, scaled and distorted.

A change gives, for each pixel of the new image, the point of the old image from which its value is
read. Between pixels, the value is a weighted mean of the four neighbours (bilinear interpolation).
Several changes are combined into one such rule, so they need only one pass over the images.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tinytensor.arrays import Array
from tinytensor.errors import SettingError

# Maps images (N, H, W, C) float and a generator to changed images.
Augmentation = Callable[[Array, np.random.Generator], Array]


def distort(
    shift: float = 0.0, rotate: float = 0.0, scale: float = 0.0, elastic: float = 0.0
) -> Augmentation:
    """An augmentation that shifts, rotates, scales and elastically distorts each image at random.

    Args:
        shift: largest shift along each axis, in pixels.
        rotate: largest rotation, in degrees.
        scale: largest relative change of height and width, below 1.
        elastic: standard deviation, in pixels, of random shifts at 5 x 5 points of the image
            (Simard, Steinkraus and Platt, 2003). Between the points, the shifts are interpolated;
            their standard deviation over the whole image is 0.68 * elastic.

    Returns:
        a function of images (N, H, W, C) float and a generator, which returns changed images of the
        same shape and dtype.

    Raises:
        SettingError: an argument is negative, or `scale` is 1 or more.
    """
    for name, number in locals().copy().items():
        if not number >= 0:
            raise SettingError(f"distort: got {name}={number}; 0 or more is needed")

    if scale >= 1:
        raise SettingError(f"distort: got scale={scale}; less than 1 is needed")

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
    """(N, H, W) float32: coarse x coarse random values per image, interpolated linearly."""
    grid = rng.standard_normal((N, coarse, coarse, 1), np.float32)
    y, x = np.mgrid[0 : coarse - 1 : H * 1j, 0 : coarse - 1 : W * 1j].astype(np.float32)
    shape = (N, H, W)
    return _read(grid, np.broadcast_to(y, shape), np.broadcast_to(x, shape))[..., 0]


def _read(images: Array, y: Array, x: Array) -> Array:
    """Bilinear interpolation of images (N, H, W, C) at points y, x (N, h, w); 0 outside."""
    N, H, W, C = images.shape
    pixels = np.pad(images, ((0, 0), (1, 2), (1, 2), (0, 0))).reshape(-1, C)
    y, x = np.clip(y, -1, H) + 1, np.clip(x, -1, W) + 1
    top, left = y.astype(np.int64), x.astype(np.int64)
    below, right = (y - top)[..., np.newaxis], (x - left)[..., np.newaxis]
    index = (np.arange(N)[:, np.newaxis, np.newaxis] * (H + 3) + top) * (W + 3) + left
    upper = pixels[index] * (1 - right) + pixels[index + 1] * right
    lower = pixels[index + W + 3] * (1 - right) + pixels[index + W + 4] * right
    out: Array = upper * (1 - below) + lower * below
    return np.ascontiguousarray(out, images.dtype)
