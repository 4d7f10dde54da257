"""Reads images of 28 x 28 pixels from idx and .npy files and from pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tinytensor import regular_file
from tinytensor.arrays import Array
from tinytensor.datasets.drawn import SHAPE
from tinytensor.datasets.idx import read_idx
from tinytensor.datasets.photo import ENDINGS, read_grey
from tinytensor.errors import DataError


def read_images(path: Path) -> Array:
    """Read the images of a file.

    Args:
        path: a picture, such as .png; a .npy file with an array (28, 28) or (N, 28, 28), uint8 or
            float from 0 to 1; any other name is read as an idx file, plain or .gz.

    Returns:
        (N, 28, 28) uint8, from 0 (background) to 255.

    Raises:
        DataError: the file can't be read, or its images have another size or format.
    """
    if path.suffix.lower() == ".npy":
        images = _read_npy(path)
    elif path.suffix.lower() in ENDINGS:
        images = _read_picture(path)
    else:
        images = _read_idx(path)
    if images.shape[-2:] != SHAPE or images.ndim not in (2, 3):
        raise DataError(
            f"{path}: got shape {images.shape}; images of 28 x 28 are needed: (28, 28) for one, "
            "(N, 28, 28) for several"
        )
    if not images.size:
        raise DataError(f"{path}: has no images; at least one is needed")
    return images.reshape(-1, *SHAPE)


def _read_idx(path: Path) -> Array:
    try:
        return read_idx(path, axes=3)
    except DataError as error:
        if not path.is_file():
            raise
        raise DataError(
            f"{error}; files of other formats need a name that ends with .npy or "
            f"{', '.join(ENDINGS)}"
        ) from None


def _read_npy(path: Path) -> Array:
    regular_file.checked(path)
    try:
        array: Array = np.load(path, allow_pickle=False)
    except Exception as error:  # many types of error, because the bytes can be anything
        raise DataError.unread(path, error, "a .npy file is needed") from None
    if isinstance(array, np.ndarray) and array.dtype.kind == "f":
        if not ((array >= 0) & (array <= 1)).all():
            raise DataError(f"{path}: got floats outside 0 to 1; floats from 0 to 1 are needed")
        array = np.rint(array * 255).astype(np.uint8)
    if not isinstance(array, np.ndarray) or array.dtype != np.uint8:
        dtype = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise DataError(f"{path}: got {dtype}; uint8, or floats from 0 to 1, are needed")
    return array


def _read_picture(path: Path) -> Array:
    levels = read_grey(path)
    if levels.shape != SHAPE:
        H, W = levels.shape
        raise DataError(f"{path}: got a picture of {W} x {H} pixels; 28 x 28 is needed")
    return np.rint(levels).astype(np.uint8)
