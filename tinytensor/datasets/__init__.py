"""Data sets of 28 x 28 images in ten classes: MNIST in the package, or any idx files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tinytensor import kernels, recorder
from tinytensor.arrays import Array
from tinytensor.datasets.augment import Augmentation
from tinytensor.datasets.idx import read_idx
from tinytensor.errors import DataError, DTypeError, SettingError, ShapeError
from tinytensor.ops.operands import as_array
from tinytensor.tensors import Tensor

__all__ = ["Dataset", "batches", "fetch", "load", "mnist", "split", "to_float"]

CLASSES = 10
SIDE = 28


class _Arrays(NamedTuple):
    train_images: Array
    train_labels: Array
    test_images: Array
    test_labels: Array


class Dataset(_Arrays):
    """Images (N, 28, 28) uint8, 0 to 255, with labels (N,) int64, 0 to 9, for training and test.

    A named tuple of train_images, train_labels, test_images and test_labels.

    Raises:
        ShapeError: the number of labels is not the number of images.
    """

    __slots__ = ()

    def __new__(
        cls, train_images: Array, train_labels: Array, test_images: Array, test_labels: Array
    ) -> Dataset:
        """Return the Dataset, after a check of the number of labels."""
        one_label_each("Dataset", "training", train_images, train_labels)
        one_label_each("Dataset", "test", test_images, test_labels)
        return super().__new__(cls, train_images, train_labels, test_images, test_labels)

    @classmethod
    def _make(cls, iterable: Iterable[Array]) -> Dataset:  # type: ignore[override]
        return cls(*iterable)  # _replace calls this method too


def one_label_each(caller: str, part: str, images: Array, labels: Array) -> None:
    """Raise ShapeError unless there is one label per image."""
    if len(labels) != len(images):
        raise ShapeError(
            f"{caller}: got {len(labels)} {part} labels for {len(images)} images; one label per "
            "image is needed"
        )


def mnist() -> Dataset:
    """Load the MNIST handwritten digits: 60,000 training images and 10,000 test images.

    By Y. LeCun, C. Cortes and C. Burges; CC BY-SA 3.0 (see mnist/LICENSE.md in this folder).

    Returns:
        a Dataset.
    """
    return load(Path(__file__).parent / "mnist")


def fetch(name: str) -> Dataset:
    """Download a data set, or load it from the cache.

    The files are stored in the folder TINYTENSOR_CACHE_DIR, or in the system's cache folder.

    Args:
        name: "fashion-mnist", "kmnist" or "emnist-digits".

    Returns:
        a Dataset.

    Raises:
        UnknownName: there is no data set of this name.
        DataError: no mirror has the right file; the message says which files to put into which
            folder by hand.
    """
    from tinytensor.datasets import remote

    return remote.fetch(name)


def load(folder: str | Path) -> Dataset:
    """Load a data set from four idx files.

    Args:
        folder: has train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and
            t10k-labels-idx1-ubyte, plain or compressed with the ending .gz.

    Returns:
        a Dataset.

    Raises:
        DataError: a file is missing, damaged, or doesn't fit; the message has its name.
    """
    return Dataset(*_load_part(Path(folder), "train"), *_load_part(Path(folder), "t10k"))


def _load_part(folder: Path, part: str) -> tuple[Array, Array]:
    images_path = _find(folder, f"{part}-images-idx3-ubyte")
    labels_path = _find(folder, f"{part}-labels-idx1-ubyte")
    images = read_idx(images_path, axes=3)
    labels = read_idx(labels_path, axes=1)
    if images.shape[1:] != (SIDE, SIDE) or not len(images):
        raise DataError(
            f"{images_path}: got images of shape {images.shape}; (N, {SIDE}, {SIDE}) is needed"
        )
    if len(labels) != len(images):
        raise DataError(
            f"{labels_path}: got {len(labels)} labels for the {len(images)} images of "
            f"{images_path.name}; one label per image is needed"
        )
    if labels.max() >= CLASSES:
        raise DataError(f"{labels_path}: got label {labels.max()}; 0 to {CLASSES - 1} is needed")
    return images, labels.astype(np.int64)


def _find(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        try:
            if path.is_file():
                return path
        except OSError as error:  # no permission, or a name that is too long
            raise DataError(
                f"{folder}: a folder that can be read is needed ({error.strerror})"
            ) from None
    raise DataError(f"{folder}: {name} or {name}.gz is needed there, and neither was found")


def to_float(images: Array | Tensor, chosen: Array | Tensor | None = None) -> Array:
    """Convert images from bytes to float32, for a network.

    Args:
        images: (N, height, width) uint8, from 0 to 255.
        chosen: int64 indices (R,) of the images to convert; all by default.

    Returns:
        (R, height, width, 1) float32, from 0 to 1.

    Raises:
        SettingError: `chosen` is not a vector of integers, or has an index that doesn't exist.
        DTypeError: the images are not uint8.
        ShapeError: the images don't have three axes.
    """
    images = as_array("to_float", images)
    _check_bytes("to_float", images)
    images = np.ascontiguousarray(images)
    if chosen is None:
        return _to_float(images, np.arange(len(images)))
    return _to_float(images, _checked(chosen, len(images)))


def _check_bytes(name: str, images: Array) -> None:
    if images.dtype != np.uint8:
        raise DTypeError(
            f"{name}: got images of dtype {images.dtype}; uint8, from 0 to 255, is needed; to "
            "convert floats from 0 to 1, use (images * 255).round().astype(np.uint8)"
        )
    if images.ndim != 3:
        raise ShapeError(
            f"{name}: got images of shape {images.shape}; (N, height, width) is needed, without an "
            f"axis for channels, because {name} adds it"
        )


def _to_float(images: Array, chosen: Array) -> Array:
    out = np.empty((len(chosen), *images.shape[1:], 1), np.float32)  # one channel: grey
    kernels.load_images(images, chosen, out)
    return out


def _checked(chosen: Array | Tensor, count: int) -> Array:
    """Indices (R,) as contiguous int64, after a check that each is from 0 to count - 1."""
    given = chosen.array if isinstance(chosen, Tensor) else np.asarray(chosen)
    if given.ndim != 1 or (given.dtype.kind not in "iu" and given.size):
        raise SettingError(
            f"to_float: got chosen of dtype {given.dtype} and shape {given.shape}; integers of "
            "shape (R,), the indices of R images, are needed"
        )
    indices = given
    if indices.dtype != np.int64 or not indices.flags.c_contiguous:
        indices = np.empty(given.shape, np.int64)
        kernels.cast(given, indices)

    def check(given: Array, indices: Array) -> None:
        # As uint64 a negative index is a very large one, so one comparison finds both errors.
        if indices.size and np.maximum.reduce(indices.view(np.uint64)) >= count:
            (wrong, *_) = given[(given < 0) | (given >= count)]
            raise SettingError(
                f"to_float: got index {wrong} in chosen; there are {count} images, and indices "
                "start at 0"
            )

    recorder.each_step(check, (given, indices), settings=(count,))
    return indices


def batches(
    images: Array,
    labels: Array,
    size: int,
    seed: int,
    *,
    skip: int = 0,
    partial: bool = False,
    augment: Augmentation | None = None,
) -> Iterator[tuple[Array, Array]]:
    """Yield batches without end, reshuffled in each epoch. The same seed gives the same batches.

    Args:
        images: (N, height, width) uint8, grey images of any size.
        labels: (N,) integers.
        size: number of images per batch.
        seed: seed of the order of the images and of the augmentation.
        skip: number of batches to skip at the start.
        partial: True to yield the images that don't fill a batch at the end of an epoch as a
            smaller batch. By default they are dropped; each epoch drops different images.
        augment: changes the images of each batch, such as tt.datasets.augment.distort().

    Returns:
        an iterator over pairs of images (size, height, width, 1) float32 and labels (size,).

    Raises:
        SettingError: `size` is not from 1 to N, or there are not N labels. It is raised by this
            call, before the first batch.
        DTypeError: the images are not uint8.
        ShapeError: the images don't have three axes.
    """
    _check_bytes("batches", images)
    if not 1 <= size <= len(images):
        raise SettingError(
            f"batch: got {size}; from 1 to the number of training images, {len(images)}, is needed"
        )
    if len(labels) != len(images):
        raise SettingError(
            f"batches: got {len(labels)} labels for {len(images)} images; one label per image is "
            "needed"
        )
    return _endless_batches(images, labels, size, seed, skip, partial, augment)


def _endless_batches(
    images: Array,
    labels: Array,
    size: int,
    seed: int,
    skip: int,
    partial: bool,
    augment: Augmentation | None,
) -> Iterator[tuple[Array, Array]]:
    images = np.ascontiguousarray(images)  # once, not in each batch
    rng = np.random.default_rng(seed)
    last = len(images) if partial else len(images) - size + 1
    count = 0
    while True:
        order = rng.permutation(len(images))
        for start in range(0, last, size):
            count += 1
            if count <= skip:
                continue
            chosen = order[start : start + size]
            batch = _to_float(images, chosen)
            if augment is not None:
                batch = augment(batch, np.random.default_rng((seed, count)))
            yield batch, labels[chosen]


def split(data: Dataset, validation: int = 5000, seed: int = 0) -> Dataset:
    """Split the training images into training images and validation images, at random.

    Use the validation images to choose settings such as a learning rate, so that the test images
    stay unseen.

    Args:
        data: the data set; its test images are not used.
        validation: number of validation images.
        seed: seed of the random choice.

    Returns:
        a Dataset with the validation images in the place of the test images.

    Raises:
        SettingError: `validation` is not from 1 to the number of training images - 1.
    """
    count = len(data.train_images)
    if not 0 < validation < count:
        raise SettingError(f"split: got {validation}; from 1 to {count - 1} is needed")
    order = np.random.default_rng(seed).permutation(count)
    held, rest = np.sort(order[:validation]), np.sort(order[validation:])
    return Dataset(
        data.train_images[rest],
        data.train_labels[rest],
        data.train_images[held],
        data.train_labels[held],
    )
