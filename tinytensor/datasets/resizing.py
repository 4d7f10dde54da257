"""Resizes pictures: cropped in the middle, so that nothing is stretched."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps

from tinytensor.arrays import Array


def resized(pixels: Array, height: int, width: int) -> tuple[Array, str]:
    """A picture (H, W) or (H, W, 3) uint8 in another size, and in words what was done to it.

    The words are empty if the picture has this size.
    """
    down, across = pixels.shape[:2]
    if (down, across) == (height, width):
        return pixels, ""
    scale = min(across / width, down / height)
    method = Image.Resampling.BOX if scale > 1 else Image.Resampling.BICUBIC
    cropped = round(scale * width), round(scale * height)
    crop = "" if cropped == (across, down) else f", cropped to {cropped[1]} x {cropped[0]}"
    steps = f"{down} x {across} (height x width){crop}, resized to {height} x {width}"
    return np.asarray(ImageOps.fit(Image.fromarray(pixels), (width, height), method)), steps
