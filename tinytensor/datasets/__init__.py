"""Data sets of 28x28 images in ten classes: the MNIST inside, or any folder of idx files."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tinytensor import kernels, recorder
from tinytensor.arrays import Array
from tinytensor.datasets.augment import Augmentation
from tinytensor.datasets.idx import read_idx
from tinytensor.errors import DataError, DTypeError, SettingError, ShapeError
from tinytensor.ops.operands import as_array
from tinytensor.tensor import Tensor

CLASSES = 10
SIDE = 28


class Dataset(NamedTuple):
    """Images (N, 28, 28) uint8, 0 to 255, and their labels (N,) int64, 0 to 9."""

    train_images: Array
    train_labels: Array
    test_images: Array
    test_labels: Array


def mnist() -> Dataset:
    """The MNIST handwritten digits: 60,000 to train on, 10,000 never seen kept for the test.

    By Y. LeCun, C. Cortes and C. Burges; CC BY-SA 3.0 (see mnist/LICENSE.md beside this file).
    """
    return load(Path(__file__).parent / "mnist")


def fetch(name: str) -> Dataset:
    """The data set "fashion-mnist", "kmnist" or "emnist-digits", from its home on the net.

    It is fetched once, and kept in TINYTENSOR_CACHE_DIR or the system's folder for caches.

    Raises UnknownName for another name, DataError where no mirror gives the right file: it says
    what to put where by hand.
    """
    from tinytensor.datasets import remote

    return remote.fetch(name)


def load(folder: str | Path) -> Dataset:
    """The data set in a folder of four files, named as MNIST's, plain or with .gz at the end.

    Raises DataError that names the file and says what was expected.
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
            f"{images_path.name}; one each is needed"
        )
    if labels.max() >= CLASSES:
        raise DataError(f"{labels_path}: got label {labels.max()}; 0 to {CLASSES - 1} is needed")
    return images, labels.astype(np.int64)


def _find(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        try:
            if path.is_file():
                return path
        except OSError as error:  # a folder closed to us, or too long a name
            raise DataError(
                f"{folder}: a folder that can be read is needed ({error.strerror})"
            ) from None
    raise DataError(f"{folder}: {name} or {name}.gz is needed there, and neither is")


def to_float(images: Array | Tensor, chosen: Array | Tensor | None = None) -> Array:
    """Images as networks take them: (R, 28, 28, 1) float32, from 0 to 1.

    images (N, 28, 28) uint8, from 0 to 255.
    chosen (R,): the numbers of those that are wanted, whole and from 0 up; all if left out.

    Raises SettingError for numbers that aren't, DTypeError for images that aren't of bytes, and
    ShapeError for those that aren't three axes.
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
            f"{name}: got images of {images.dtype}; bytes from 0 to 255, uint8, are needed; floats "
            "from 0 to 1 become such by (images * 255).round().astype(np.uint8)"
        )
    if images.ndim != 3:
        raise ShapeError(
            f"{name}: got images of shape {images.shape}; (N, height, width) is needed, and the "
            "channel comes last by itself"
        )


def _to_float(images: Array, chosen: Array) -> Array:
    out = np.empty((len(chosen), *images.shape[1:], 1), np.float32)  # one channel: grey
    kernels.load_images(images, chosen, out)
    return out


def _checked(chosen: Array | Tensor, count: int) -> Array:
    """The numbers of some of `count` images as int64, after a look whether there are such."""
    given = chosen.array if isinstance(chosen, Tensor) else np.asarray(chosen)
    if given.ndim != 1 or (given.dtype.kind not in "iu" and given.size):
        raise SettingError(
            f"to_float: chosen is {given.dtype} of shape {given.shape}; whole numbers, one for "
            "each image that is wanted, are needed"
        )
    numbers = given
    if numbers.dtype != np.int64 or not numbers.flags.c_contiguous:
        numbers = np.empty(given.shape, np.int64)
        kernels.cast(given, numbers)

    def check(given: Array, numbers: Array) -> None:
        # Seen without a sign a negative number is a very large one: one look finds both mistakes.
        if numbers.size and np.maximum.reduce(numbers.view(np.uint64)) >= count:
            (wrong, *_) = given[(given < 0) | (given >= count)]
            raise SettingError(
                f"to_float: image {wrong} is chosen; there are {count}, and their numbers start "
                "at 0"
            )

    recorder.each_step(check, (given, numbers), settings=(count,))
    return numbers


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
    """Batches of (images as to_float makes them, labels) without end, shuffled anew in each round.

    skip: how many batches to pass over at first, as if they had been taken.
    partial: what is left at the end of a round and doesn't fill a batch: a smaller batch if True;
        else dropped, and other images are left the next time.
    augment: changes every batch's images, see augment.py.
    The same seed gives the same batches.

    Raises SettingError, at once, if there are fewer images than a batch has, DTypeError and
    ShapeError for images that to_float doesn't take.
    """
    _check_bytes("batches", images)
    if not 1 <= size <= len(images):
        raise SettingError(
            f"batch: got {size}; from 1 to the number of training images, {len(images)}, is needed"
        )
    if len(labels) != len(images):
        raise SettingError(
            f"batches: got {len(labels)} labels for {len(images)} images; one each is needed"
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
    images = np.ascontiguousarray(images)  # once, and not for each batch
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
    """The training images in two: what is left to train on, and in the test's place a choice.

    What is chosen by trying, such as a learning rate, is tried on those; the test stays unseen.

    Raises SettingError for more images than there are.
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
