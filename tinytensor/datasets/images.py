"""Single images from files: idx, .npy, or .png."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tinytensor.arrays import Array
from tinytensor.datasets.idx import read_idx
from tinytensor.errors import DataError

SHAPE = (28, 28)


def read_images(path: Path) -> Array:
    """The images (N, 28, 28) in a file, as bytes from 0 (background) to 255.

    A .npy array may be one image or several, of bytes, or of floats from 0 to 1. A .png is one,
    grey. Anything else is read as idx, .gz or not.

    Raises DataError for files that can't be read, and images of another size or colour depth.
    """
    if path.suffix.lower() == ".npy":
        images = _read_npy(path)
    elif path.suffix.lower() == ".png":
        images = _read_png(path)
    else:
        images = _read_idx(path)
    if images.shape[-2:] != SHAPE or images.ndim not in (2, 3):
        raise DataError(
            f"{path}: got shape {images.shape}; images of 28 x 28 are needed: (28, 28) for one, "
            "(N, 28, 28) for several"
        )
    if not images.size:
        raise DataError(f"{path}: there is no image in it")
    return images.reshape(-1, *SHAPE)


def _read_idx(path: Path) -> Array:
    try:
        return read_idx(path, axes=3)
    except DataError as error:
        if not path.is_file():
            raise
        raise DataError(
            f"{error}; other kinds that are read are .png and .npy, by the end of their names"
        ) from None


def _read_npy(path: Path) -> Array:
    try:
        array: Array = np.load(path, allow_pickle=False)
    except Exception as error:  # of many kinds, for a file may hold anything
        raise DataError(f"{path}: a .npy file is needed ({error})") from None
    if isinstance(array, np.ndarray) and array.dtype.kind == "f":
        if not ((array >= 0) & (array <= 1)).all():
            raise DataError(f"{path}: floats from 0 to 1 are needed for an image; some are not")
        array = np.rint(array * 255).astype(np.uint8)
    if not isinstance(array, np.ndarray) or array.dtype != np.uint8:
        kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise DataError(
            f"{path}: got {kind}; bytes, or floats from 0 to 1, are needed for an image"
        )
    return array


def _read_png(path: Path) -> Array:
    try:
        from PIL import Image
    except ImportError:
        raise DataError(f"{path}: reading PNG needs Pillow: pip install pillow") from None
    try:
        with Image.open(path, formats=["PNG"]) as image:
            mode, size = image.mode, image.size
            if mode in ("L", "1") and size == SHAPE:
                return np.asarray(image.convert("L"))
    except Exception as error:  # of many kinds, for a file may hold anything
        raise DataError(f"{path}: a PNG file is needed ({error})") from None
    raise DataError(
        f"{path}: got an image of {size[0]} x {size[1]} in the colours of {mode}; a grey one of 8 "
        "bits, 28 x 28, is needed"
    )
