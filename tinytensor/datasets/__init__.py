"""Data sets of 28 x 28 images in classes: MNIST in the package, folders, and arrays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinytensor import kernels, recorder
from tinytensor.arrays import Array
from tinytensor.datasets.augment import Augmentation
from tinytensor.errors import DTypeError, LabelError, SettingError, ShapeError
from tinytensor.ops.operands import as_array
from tinytensor.tensor import Tensor

CLASSES = 10  # the number of classes, if neither names nor labels need another
MAX_CLASSES = 256  # run files have one byte for a label
SIDE = 28


class _Arrays(NamedTuple):
    train_images: Array
    train_labels: Array
    test_images: Array
    test_labels: Array


class Dataset(_Arrays):
    """Images (N, 28, 28) uint8, 0 to 255, with labels (N,) integers, for training and test.

    A named tuple of train_images, train_labels, test_images and test_labels. A label is the index
    of a class, from 0 up.

    Args:
        train_images: (N, 28, 28) uint8, light on dark as in MNIST.
        train_labels: (N,) integers, which become int64.
        test_images: (M, 28, 28) uint8.
        test_labels: (M,) integers.
        names: the name of each class, such as ("cat", "dog"). By default "0", "1", ...: ten
            classes, or more if the training labels go above 9.

    Raises:
        ShapeError: the images are not 28 x 28, or the number of labels is not the number of images.
        DTypeError: the images are not uint8, or the labels are not integers.
        LabelError: a label is negative, or too large for the number of classes.
        SettingError: there are more than 256 classes, or two have the same name.

    >>> images, labels = np.zeros((3, 28, 28), np.uint8), [0, 1, 1]
    >>> tt.datasets.Dataset(images, labels, images, labels, names=["cat", "dog"]).names
    ('cat', 'dog')
    """

    names: tuple[str, ...]

    def __new__(
        cls,
        train_images: Array,
        train_labels: Array,
        test_images: Array,
        test_labels: Array,
        names: Sequence[str] | None = None,
    ) -> Dataset:
        """Return the Dataset, after a check of the arrays."""
        parts = (("training", train_images, train_labels), ("test", test_images, test_labels))
        arrays = [array for part in parts for array in _checked_part(*part)]
        dataset = super().__new__(cls, *arrays)
        if names is None:
            names = [str(i) for i in range(max(CLASSES, int(arrays[1].max(initial=0)) + 1))]
        dataset.names = tuple(names)
        largest = max(int(labels.max(initial=0)) for labels in arrays[1::2])
        count = len(dataset.names)
        if largest >= count:
            raise LabelError(
                f"Dataset: got label {largest} and {count} classes; labels from 0 to {count - 1} "
                "are needed"
            )
        if not 1 <= count <= MAX_CLASSES or len(set(dataset.names)) < count:
            raise SettingError(
                f"Dataset: got {count} names of classes, {len(set(dataset.names))} of them "
                f"different; 1 to {MAX_CLASSES} different names are needed"
            )
        return dataset

    @classmethod
    def _make(cls, iterable: Iterable[Array]) -> Dataset:  # type: ignore[override]
        # A named tuple's _replace calls this method.
        train_images, train_labels, test_images, test_labels = iterable
        return cls(train_images, train_labels, test_images, test_labels)

    def _replace(self, **changes: Any) -> Dataset:
        """Return a Dataset with some arrays or the names replaced."""
        names = changes.pop("names", self.names)
        return Dataset(*super()._replace(**changes), names=names)


def _checked_part(part: str, images: Array, labels: Array) -> tuple[Array, Array]:
    """Images and int64 labels of one part of a Dataset, after all checks."""
    images, labels = as_array("Dataset", images), as_array("Dataset", labels)
    _check_bytes("Dataset", images)
    if images.shape[1:] != (SIDE, SIDE):
        raise ShapeError(
            f"Dataset: got {part} images of shape {images.shape}; (N, {SIDE}, {SIDE}) is needed"
        )
    if labels.dtype.kind not in "iu":
        raise DTypeError(
            f"Dataset: got {part} labels of dtype {labels.dtype}; integers from 0 up are needed, "
            "such as labels.astype(int)"
        )
    if labels.ndim != 1:
        raise ShapeError(
            f"Dataset: got {part} labels of shape {labels.shape}; (N,) is needed; for one-hot "
            "labels (N, classes) use labels.argmax(axis=1)"
        )
    one_label_each("Dataset", part, images, labels)
    if labels.size and labels.min() < 0:
        raise LabelError(f"Dataset: got {part} label {labels.min()}; labels from 0 up are needed")
    return images, labels.astype(np.int64, copy=False)


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


def load(path: str | Path) -> Dataset:
    """Load a data set from a folder or an .npz file.

    In this order, the path can be:

    - an .npz file with the arrays x_train, y_train, x_test and y_test, as Keras's mnist.npz;
    - a folder of four idx files, named as MNIST's or EMNIST's, plain or .gz. The name
      `train-images.idx3-ubyte` means `train-images-idx3-ubyte`. The files may also be in the
      subfolder `raw` or `MNIST/raw`, where torchvision puts them;
    - a folder with one such .npz file;
    - a folder of pictures with one subfolder per class, or with two subfolders `train` and `test`
      that have one subfolder per class.

    EMNIST's images are transposed and its letters have labels from 1; both are put right. If a
    folder has several data sets of EMNIST, `folder/emnist-letters` is one of them.

    Pictures in subfolders are the training pictures, except every sixth of each class, which is a
    test picture. If all are 28 x 28, they are taken as they are, but inverted if their borders are
    light. Otherwise each becomes an image like MNIST's, as `tinytensor predict` does it.

    Args:
        path: `~` and variables such as `$HOME` are expanded.

    Returns:
        a Dataset. Its names are the names of the subfolders, or EMNIST's letters.

    Raises:
        DataError: there is no data set, a file is missing, damaged, or doesn't fit. The message
            names the file, or what the folder has and what was looked for.
    """
    from tinytensor.datasets import folders

    return folders.load(path)


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
        seed: of the order of the images, and of the augmentation.
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
        seed: of the random choice.

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
        data.names,
    )
