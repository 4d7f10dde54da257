"""Reads images for a trained network from idx and .npy files and from pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from tinytensor import regular_file
from tinytensor.arrays import Array, first_false
from tinytensor.datasets import MNIST_SHAPE, SIDE, described_shape
from tinytensor.datasets.folders import ENDINGS, light_on_dark
from tinytensor.datasets.idx import read_idx
from tinytensor.datasets.photo import read_colours, read_grey
from tinytensor.datasets.resizing import resized
from tinytensor.errors import DataError


def read_images(path: Path, shape: tuple[int, int, int] = MNIST_SHAPE) -> Array:
    """Read the images of a file.

    Args:
        path: a picture, such as .png; a .npy file with one image or with (N, ...) images, uint8 or
            float from 0 to 1; any other name is read as an idx file, plain or .gz.
        shape: of an image: height H, width W, channels C.

    Returns:
        (N, H, W) uint8, from 0 (background) to 255; (N, H, W, C) if there are several channels.

    Raises:
        DataError: the file can't be read, or its images have another size or format.
    """
    H, W, C = shape
    image = (H, W) if C == 1 else shape
    if path.suffix.lower() == ".npy":
        images = _read_npy(path)
        if C == 1 and images.shape[-1:] == (1,) and images.ndim > 2:
            images = images[..., 0]
    elif path.suffix.lower() in ENDINGS:
        images = _read_picture(path, shape)
    else:
        images = _read_idx(path)
    if images.shape[-len(image) :] != image or images.ndim > len(image) + 1:
        one, size = ", ".join(map(str, image)), described_shape(shape)
        raise DataError(
            f"{path}: got shape {images.shape}; images of {size} are needed: ({one}) for one, "
            f"(N, {one}) for several"
        )
    if not images.size:
        raise DataError(f"{path}: has no images; at least one is needed")
    return images.reshape(-1, *image)


def read_resized(path: Path, shape: tuple[int, int, int]) -> tuple[Array, str]:
    """Read a picture of any size, cropped in the middle and resized.

    Args:
        path: a picture, such as .png.
        shape: of the image: height H, width W, channels C, which is 1 or 3.

    Returns:
        the image (H, W) or (H, W, 3) uint8, and in words what was done to the picture.

    Raises:
        DataError: the file can't be read.
    """
    H, W, C = shape
    _check_channels(path, C)
    pixels = read_colours(path)
    if C == 1:
        pixels = np.asarray(Image.fromarray(pixels).convert("L"))
    image, steps = resized(pixels, H, W)
    return _inverted_as_by_load(image), steps


def _inverted_as_by_load(image: Array) -> Array:
    return light_on_dark(image[np.newaxis])[0] if image.shape == (SIDE, SIDE) else image


def _check_channels(path: Path, channels: int) -> None:
    if channels not in (1, 3):
        raise DataError(
            f"{path}: got a picture, and the network's images have {channels} channels; a .npy "
            "file with such images is needed"
        )


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
        is_right = (array >= 0) & (array <= 1)
        if not is_right.all():
            place = first_false(is_right)
            raise DataError(
                f"{path}: got {array[place]} at {list(place)}; floats from 0 to 1 are needed"
            )
        array = np.rint(array * 255).astype(np.uint8)
    if not isinstance(array, np.ndarray) or array.dtype != np.uint8:
        dtype = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise DataError(f"{path}: got {dtype}; uint8, or floats from 0 to 1, are needed")
    return array


def _read_picture(path: Path, shape: tuple[int, int, int]) -> Array:
    _check_channels(path, shape[2])
    levels = read_grey(path) if shape[2] == 1 else read_colours(path)
    if levels.shape[:2] != shape[:2]:
        (H, W), needed = levels.shape[:2], described_shape((*shape[:2], 1))
        raise DataError(
            f"{path}: got a picture of {H} x {W} pixels (height x width); {needed} is needed"
        )
    return np.rint(levels).astype(np.uint8)
