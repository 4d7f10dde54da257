"""Data augmentation: images that are randomly shifted, rotated, scaled and distorted.

A change gives, for each pixel of the new image, the point of the old image from which its value is
read. Between pixels, the value is a weighted mean of the four neighbours (bilinear interpolation).
Several changes are combined into one such rule, so they need only one pass over the images.

NumPy's generator draws the random numbers: 5 for each image, and 50 more for an elastic distortion.
`batches` makes a generator for each batch, from the seed and the number of the batch. The kernel
`warp` computes the images. All backends compute the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real

import numpy as np

from tinytensor import kernels
from tinytensor.arrays import Array
from tinytensor.errors import DTypeError, SettingError, ShapeError

GRID = 5  # the number of points with a random shift, along each axis
MOST = 2**24  # of the height, the width and the settings; a float32 has every integer below

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
        a function of images (N, H, W, C) float32 or float64 and a generator, which returns changed
        images of the same shape and dtype. It raises DTypeError or ShapeError for other arrays.

    Raises:
        SettingError: an argument is not a number, is negative or above 2**24, or `scale` is 1 or
            more.
    """
    given: dict[str, float] = locals().copy()
    for name, number in given.items():
        if not isinstance(number, Real) or not 0 <= number <= MOST:
            raise SettingError(
                f"distort: got {name}={number!r}; a number from 0 to {MOST:,} is needed"
            )

    if scale >= 1:
        raise SettingError(f"distort: got scale={scale}; less than 1 is needed")

    def augment(images: Array, rng: np.random.Generator) -> Array:
        images = _checked(images)
        N, H, W, _ = images.shape
        angle = np.radians(rng.uniform(-rotate, rotate, N))
        size = rng.uniform(1 - scale, 1 + scale, (2, N))
        moved = rng.uniform(-shift, shift, (2, N))
        cos, sin = np.cos(angle), np.sin(angle)
        affine = np.empty((N, 2, 3), images.dtype)
        affine[:, 0] = np.stack([cos / size[0], sin / size[0], moved[0] + (H - 1) / 2], axis=1)
        affine[:, 1] = np.stack([-sin / size[1], cos / size[1], moved[1] + (W - 1) / 2], axis=1)
        shifts = np.zeros((N, 2, GRID, GRID), images.dtype)
        if elastic:
            drawn = rng.standard_normal((2, N, GRID, GRID), np.float32)
            shifts[...] = elastic * drawn.swapaxes(0, 1)
        out = np.empty_like(images)
        kernels.warp(images, affine, shifts, out)
        return out

    return augment


def _checked(images: Array) -> Array:
    """The images as a contiguous array."""
    if images.ndim != 4 or max(images.shape[1:3]) >= MOST:
        raise ShapeError(
            f"distort: got images {images.shape}; (N, H, W, C) is needed, H and W below {MOST:,}"
        )
    if images.dtype not in (np.float32, np.float64):
        raise DTypeError(
            f"distort: got images of {images.dtype}; float32 or float64 is needed, and "
            "tt.datasets.to_float(images) converts bytes"
        )
    return np.ascontiguousarray(images)
