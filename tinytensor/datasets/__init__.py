"""Data sets of images in classes: MNIST in the package, folders, arrays and memory maps."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinytensor import kernels, random, recorder
from tinytensor.arrays import Array
from tinytensor.datasets.augment import Augmentation
from tinytensor.datasets.mapped import FileRows, is_mapped, streamed, windows
from tinytensor.errors import DTypeError, GradientError, LabelError, SettingError, ShapeError
from tinytensor.ops.operands import as_array, kept_integers, whole
from tinytensor.tensors import Tensor, from_numpy

__all__ = ["Dataset", "Epochs", "Split", "batches", "fetch", "load", "mnist", "split", "to_float"]

CLASSES = 10  # of MNIST
CONVERSIONS = {  # to uint8
    "f": "floats from 0 to 1, use (images * 255).round().astype(np.uint8)",
    "i": "integers from 0 to 255, use images.astype(np.uint8)",
}
MAX_CLASSES = 256  # run files have one byte for a label
SIDE = 28
MNIST_SHAPE = (SIDE, SIDE, 1)  # of an image: height, width, channels
MOST_LAST = 4  # channels of an image whose height is 1 or 3; with more, the axes are exchanged


class _Arrays(NamedTuple):
    train_images: Array
    train_labels: Array
    test_images: Array
    test_labels: Array


class Dataset(_Arrays):
    """Images uint8, 0 to 255, with labels (N,) integers, for training and test.

    A named tuple of train_images, train_labels, test_images and test_labels. A label is the index
    of a class, from 0 up. An array of images can be a memory map that is larger than the memory;
    batches and tests read its rows from the file.

    Args:
        train_images: (N, H, W) uint8, grey, light on dark as in MNIST; or (N, H, W, C) with C
            channels, such as red, green and blue. (N, H, W, 1) becomes (N, H, W).
        train_labels: (N,) integers, which become int64.
        test_images: (M, H, W) or (M, H, W, C) uint8.
        test_labels: (M,) integers.
        names: the name of each class, such as ("cat", "dog"). By default "0", "1", ... up to the
            largest label.

    Raises:
        ShapeError: the images have other axes, or their channels come first, which means that the
            second of four axes is 1 or 3, and the last is above 4. The test images have another
            shape than the training images, or the number of labels is not the number of images.
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
        arrays = [
            *_checked_part("training", train_images, train_labels),
            *_checked_part("test", test_images, test_labels),
        ]
        same_shape(*arrays[::2])
        dataset = cls._unchecked(arrays)
        dataset.names = names_up_to(*arrays[1::2]) if names is None else tuple(names)
        check_names(dataset.names, *arrays[1::2])
        return dataset

    @classmethod
    def _unchecked(cls, arrays: Iterable[Array]) -> typing.Self:
        return super().__new__(cls, *arrays)

    @classmethod
    def _make(cls, iterable: Iterable[Array]) -> Dataset:  # type: ignore[override]
        # A named tuple's own _make would skip the checks.
        train_images, train_labels, test_images, test_labels = iterable
        return cls(train_images, train_labels, test_images, test_labels)

    def _replace(self, **changes: Any) -> Dataset:
        """Return a Dataset with some arrays or the names replaced."""
        return type(self)(**{**self._asdict(), "names": self.names, **changes})

    @property
    def has_images(self) -> bool:
        """True if the examples are images, which pages and pictures can show."""
        return True

    @property
    def has_labels(self) -> bool:
        """True if the examples have labels, and False if they have targets of a regression."""
        return self.train_labels.dtype.kind in "iu"

    @property
    def outputs(self) -> int:
        """The number of outputs of a network for these data: of classes, or of targets."""
        return len(self.names) if self.has_labels else self.train_labels.shape[1]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape of an image as networks get it: height, width, channels."""
        shape = self.train_images.shape[1:]
        return shape[0], shape[1], 1 if len(shape) == 2 else shape[2]

    @property
    def train(self) -> tuple[Tensor, Tensor]:
        """The training images and labels as Tensors, for `batches(*data.train, size=64)`."""
        return _as_tensor(self.train_images), _as_tensor(self.train_labels)

    @property
    def test(self) -> tuple[Tensor, Tensor]:
        """The test images and labels as Tensors."""
        return _as_tensor(self.test_images), _as_tensor(self.test_labels)

    def __repr__(self) -> str:
        return self._described("test")

    def _described(self, second: str) -> str:
        size = " x ".join(map(str, self.train_images.shape[1:]))
        return (
            f"{type(self).__name__}({len(self.train_images):,} training images and "
            f"{len(self.test_images):,} {second} images of {size})"
        )


def _checked_part(part: str, images: Array, labels: Array) -> tuple[Array, Array]:
    """Images and int64 labels of one part of a Dataset, after all checks.

    No check reads the images, because that takes minutes if they are larger than the memory.
    """
    images, labels = as_array("Dataset", images), as_array("Dataset", labels)
    check_bytes("Dataset", images)
    if 0 in images.shape[1:]:
        raise ShapeError(f"Dataset: got {part} images of shape {images.shape}, without pixels")
    if images.ndim == 4 and images.shape[1] in (1, 3) and images.shape[3] > MOST_LAST:
        raise ShapeError(
            f"Dataset: got {part} images of shape {images.shape}, and (N, height, width, channels) "
            f"is needed. A second axis of {images.shape[1]} and a last axis above {MOST_LAST} mean "
            "that the channels come first: images.transpose(0, 2, 3, 1) puts them last"
        )
    if images.ndim == 4 and images.shape[3] == 1:
        images = images[..., 0]
    return images, checked_labels(part, images, labels)


def checked_labels(part: str, images: Array, labels: Array) -> Array:
    """The labels of one part as int64.

    Raises:
        DTypeError, ShapeError, LabelError: see Dataset.
    """
    if labels.dtype.kind not in "iu":
        raise DTypeError(
            f"Dataset: got {part} labels of dtype {labels.dtype}; integers from 0 up are needed, "
            "such as labels.astype(int)"
        )
    if labels.ndim != 1:
        raise ShapeError(
            f"Dataset: got {part} labels of shape {labels.shape}; (N,) is needed: "
            "labels.reshape(-1) for (N, 1), labels.argmax(axis=1) for one-hot rows (N, classes)"
        )
    one_label_each("Dataset", part, images, labels)
    if labels.size and labels.max() >= MAX_CLASSES:
        raise LabelError(
            f"Dataset: got {part} label {labels.max()}; labels from 0 to {MAX_CLASSES - 1} are "
            "needed"
        )
    if labels.size and labels.min() < 0:
        raise LabelError(f"Dataset: got {part} label {labels.min()}; labels from 0 up are needed")
    return np.asarray(labels).astype(np.int64, copy=False)


def same_shape(train: Array, test: Array) -> None:
    """Raise ShapeError unless training and test examples have the same shape."""
    if train.shape[1:] != test.shape[1:]:
        raise ShapeError(
            f"Dataset: got training images of shape {train.shape} and test images of shape "
            f"{test.shape}; the same shape after the first axis is needed"
        )


def names_up_to(*labels: Array) -> tuple[str, ...]:
    """The names "0", "1", ... of the classes up to the largest label; at least of two classes."""
    largest = max(int(each.max(initial=1)) for each in labels)
    return tuple(str(i) for i in range(largest + 1))


def names_of_outputs(names: Sequence[str], outputs: int) -> tuple[str, ...]:
    """The names of the classes, and for further outputs of a model their numbers."""
    more = range(len(names), outputs)
    others = [f"output {i}" if str(i) in names else str(i) for i in more]
    return (*names, *others)[:outputs]


def check_names(names: tuple[str, ...], *labels: Array) -> None:
    """Raise LabelError or SettingError unless the names are different, and each label has one."""
    largest, count = max(int(each.max(initial=0)) for each in labels), len(names)
    if largest >= count:
        raise LabelError(
            f"Dataset: got label {largest} and {count} classes; labels from 0 to {count - 1} "
            "are needed"
        )
    if not 1 <= count <= MAX_CLASSES or len(set(names)) < count:
        raise SettingError(
            f"Dataset: got {count} names of classes, {len(set(names))} of them different; 1 to "
            f"{MAX_CLASSES} different names are needed"
        )


def described_shape(shape: Sequence[int]) -> str:
    """The shape of an image in words: "28 x 28", or "32 x 32 x 3" with three channels."""
    return " x ".join(map(str, shape[:2] if shape[2:] == (1,) else shape))


def are_characters(names: Sequence[str]) -> bool:
    """True if each class is a digit, a letter or another character, by its name."""
    return all(len(name) == 1 for name in names)


def _as_tensor(array: Array) -> Tensor:
    """A Tensor that shares the array's memory, or a copy if it isn't contiguous."""
    return from_numpy(np.ascontiguousarray(array))


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


def load(path: str | Path, size: tuple[int, int] | None = None) -> Dataset:
    """Load a data set from a folder or an .npz file.

    In this order, the path can be:

    - an .npz file with the arrays x_train, y_train, x_test and y_test, as Keras's mnist.npz, and
      the names of the classes in class_names, if they have names;
    - a folder of four idx files, named as MNIST's or EMNIST's, plain or .gz. The name
      `train-images.idx3-ubyte` means `train-images-idx3-ubyte`. The files may also be in the
      subfolder `raw` or `MNIST/raw`, where torchvision puts them;
    - a folder with one such .npz file;
    - a folder with the files x_train.npy, y_train.npy, x_test.npy and y_test.npy, and
      class_names.npy if the classes have names. The images are not loaded into memory;
    - a folder of pictures with one subfolder per class, or with two subfolders `train` and `test`
      that have one subfolder per class.

    Images have any height and width, the same for all. EMNIST's images are transposed and its
    letters have labels from 1; both are corrected. Labels of other files that are 1 to n become 0
    to n - 1, and the names of the classes are "1" to n. If a folder has several data sets of
    EMNIST, `folder/emnist-letters` is one of them.

    Pictures in subfolders are the training pictures, except every sixth of each class, which is a
    test picture. They become images in colour (H, W, 3) if at least one of them has colours, else
    grey. Grey images of 28 x 28 are inverted if their borders are light. Without `size`, pictures
    that all have the same size, at most 256 x 256 pixels, stay as they are. Others are photos of
    characters if the name of each class has one character, such as 7 or A: each becomes a grey
    image like MNIST's, as with `tinytensor predict`.

    Args:
        path: `~` and variables such as `$HOME` are expanded.
        size: (height, width) of the images. Each picture is cropped in the middle and resized.

    Returns:
        a Dataset. Its names are the names of the subfolders, or EMNIST's letters.

    Raises:
        DataError: there is no data set, a file is missing, damaged, or doesn't fit. The message
            names the file, or what the folder has and what was looked for. Or pictures of other
            classes than characters have different sizes, and `size` is not given.
        SettingError: `size` is not two integers from 1 up, or the path has no pictures in folders
            and its images have another size.
    """
    from tinytensor.datasets import folders

    return folders.load(path, size)


def to_float(images: Array | Tensor, chosen: Array | Tensor | None = None) -> Array:
    """Convert images from bytes to float32, for a network.

    Args:
        images: (N, height, width) or (N, height, width, channels) uint8, from 0 to 255.
        chosen: int64 indices (R,) of the images to convert; all by default.

    Returns:
        (R, height, width, channels) float32, from 0 to 1. Grey images get one channel.

    Raises:
        SettingError: `chosen` is not a vector of integers, or has an index that doesn't exist.
        DTypeError: the images are not uint8.
        ShapeError: the images don't have three or four axes.
    """
    images = as_array("to_float", images)
    check_bytes("to_float", images)
    images = np.ascontiguousarray(images)
    if chosen is None:
        return _to_float(images, np.arange(len(images)))
    return _to_float(images, _checked(chosen, len(images)))


def check_bytes(name: str, images: Array) -> None:
    """Raise DTypeError or ShapeError unless the images are uint8 with three or four axes."""
    if images.dtype != np.uint8:
        conversion = CONVERSIONS["i" if images.dtype.kind in "iu" else "f"]
        raise DTypeError(
            f"{name}: got images of dtype {images.dtype}; uint8, from 0 to 255, is needed; to "
            f"convert {conversion}"
        )
    if images.ndim not in (3, 4):
        raise ShapeError(
            f"{name}: got images of shape {images.shape}; (N, height, width) is needed, or (N, "
            "height, width, channels)"
        )


def _to_float(images: Array, chosen: Array) -> Array:
    channel = (1,) if images.ndim == 3 else ()  # grey images have one channel
    out = np.empty((len(chosen), *images.shape[1:], *channel), np.float32)
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
    indices = kept_integers(given)
    is_unsigned = given.dtype.kind == "u"

    def check(indices: Array) -> None:
        # As uint64 a negative index is a very large one, so one comparison finds both errors.
        if indices.size and np.maximum.reduce(indices.view(np.uint64), axis=None) >= count:
            (wrong, *_) = indices[(indices < 0) | (indices >= count)].tolist()
            if is_unsigned:
                wrong %= 2**64
            raise SettingError(
                f"to_float: got index {wrong} in chosen; there are {count} images, and indices "
                "start at 0"
            )

    settings = count, is_unsigned
    recorder.each_step(check, (indices,), settings=settings, checks_elements=True)
    return indices


@typing.overload
def batches(
    *arrays: Array | Tensor,
    size: int,
    epochs: None = None,
    seed: int | None = None,
    shuffle: bool = True,
    partial: bool | None = None,
    skip: int = 0,
    augment: Augmentation | None = None,
) -> Iterator[Any]: ...
@typing.overload
def batches(
    *arrays: Array | Tensor,
    size: int,
    epochs: int,
    seed: int | None = None,
    shuffle: bool = True,
    partial: bool | None = None,
    skip: int = 0,
    augment: Augmentation | None = None,
) -> Epochs: ...
def batches(
    *arrays: Array | Tensor,
    size: int,
    epochs: int | None = None,
    seed: int | None = None,
    shuffle: bool = True,
    partial: bool | None = None,
    skip: int = 0,
    augment: Augmentation | None = None,
) -> Iterator[Any] | Epochs:
    """Yield batches of one array, or of several arrays with the same number of rows.

    Each epoch has the rows in a new random order. uint8 images in the first array become float32
    from 0 to 1, and grey images (N, H, W) get an axis for the channel. All other arrays stay as
    they are.

    If the first array is a memory map, a thread reads its file, one window of 32 MiB ahead. The
    window consists of 32 blocks of rows at random places, and its rows are shuffled. All rows of
    the other arrays are read, so they should fit into memory.

    Args:
        arrays: arrays or Tensors (N, ...) of any dtype, such as images and labels. Row i of each
            array belongs to example i.
        size: number of rows per batch.
        epochs: number of epochs of a `for` loop over the result; endless by default.
        seed: the seed of the order and of the augmentation; by default it follows tt.manual_seed.
        shuffle: False yields the rows in their own order.
        partial: True yields the rows that don't fill a batch at the end of an epoch as a smaller
            batch, and False drops them. By default they are dropped if `epochs` is not given; each
            epoch drops different rows, because its order is new.
        skip: number of batches to skip at the start.
        augment: changes the images of each batch, such as tt.datasets.augment.distort().

    Returns:
        Without `epochs` an iterator, with `epochs` an Epochs, which starts again in each `for`
        loop. Both yield tuples with one array (size, ...) for each given array. If only one array
        is given, they yield arrays, not tuples. A Tensor gives Tensors.

    Raises:
        SettingError: there is no array, or `size`, `epochs` or `skip` is out of its range.
        ShapeError: the arrays have different numbers of rows.
        GradientError: a tensor requires a gradient, which would be lost.

    Source: torch.utils.data.DataLoader, whose default is shuffle=False.

    >>> x, y = np.arange(6.0), np.arange(6)
    >>> for rows, labels in tt.datasets.batches(x, y, size=4, epochs=1, shuffle=False):
    ...     print(rows, labels)
    [0. 1. 2. 3.] [0 1 2 3]
    [4. 5.] [4 5]
    """
    if epochs is not None:
        whole("batches", "epochs", epochs, 1)
    made = Epochs(
        arrays,
        size=size,
        epochs=epochs or 1,
        seed=int(random.generator().integers(2**63)) if seed is None else seed,
        shuffle=shuffle,
        partial=epochs is not None if partial is None else partial,
        skip=whole("batches", "skip", skip, 0),
        augment=augment,
    )
    return made if epochs is not None else made.endless()


class Epochs:
    """The batches that `batches` makes; a `for` loop over them runs through `epochs` epochs.

    `len(epochs)` is the number of batches of one loop.

    Attributes:
        arrays: the arrays that the batches are rows of.
        dataset: the first of the arrays; `len(epochs.dataset)` is the number of examples.
    """

    def __init__(
        self,
        arrays: Sequence[Array | Tensor],
        *,
        size: int,
        epochs: int,
        seed: int,
        shuffle: bool,
        partial: bool,
        skip: int,
        augment: Augmentation | None,
    ) -> None:
        self.arrays = [_as_rows(array) for array in arrays]
        if not self.arrays:
            raise SettingError("batches: got no array; at least one is needed")
        lengths = [len(array) for array in self.arrays]
        if len(set(lengths)) > 1:
            raise ShapeError(
                f"batches: got arrays of {_listed(lengths)} rows; the same number is needed, one "
                "row per example"
            )
        whole("batches", "size", size, None)
        if size < 1 or (size > lengths[0] and not partial):
            raise SettingError(
                f"batch: got {size}; from 1 to the number of examples, {lengths[0]}, is needed"
            )
        self.dataset = self.arrays[0]
        self.size, self.epochs, self.partial = size, epochs, partial
        self._seed, self._shuffle, self._skip, self._augment = seed, shuffle, skip, augment
        self._rng = np.random.default_rng(seed)
        self._count = 0  # of all batches, for the seed of each one's augmentation

    def __len__(self) -> int:
        return self.epochs * len(range(0, self._end, self.size))

    def __iter__(self) -> Iterator[Any]:
        for _ in range(self.epochs):
            yield from self._epoch()

    def __repr__(self) -> str:
        return f"Epochs({len(self.dataset)} examples, size={self.size}, epochs={self.epochs})"

    def endless(self) -> Iterator[Any]:
        """Yield the batches of one epoch after the other, without end."""
        while True:
            yield from self._epoch()

    @property
    def _end(self) -> int:
        """The number of a row; no batch starts at it or after it."""
        return len(self.dataset) if self.partial else len(self.dataset) - self.size + 1

    def _epoch(self) -> Iterator[Any]:
        starts = range(0, self._end, self.size)
        skipped = min(max(self._skip - self._count, 0), len(starts))
        self._count += skipped
        first, *others = self.arrays
        for chosen, examples in self._examples(first, starts[skipped:]):
            self._count += 1
            if self._augment is not None:
                rng = np.random.default_rng((self._seed, self._count))
                examples = np.ascontiguousarray(self._augment(examples, rng))
            changed = from_numpy(examples) if isinstance(first, Tensor) else examples
            rows = [changed, *(_rows(array, chosen) for array in others)]
            yield tuple(rows) if others else rows[0]

    def _examples(
        self, array: Array | Tensor, starts: Sequence[int]
    ) -> Iterator[tuple[Array, Array]]:
        """The indices and the rows of each batch of an epoch; images become floats.

        starts: for each batch, its first place in the order of the epoch.
        """
        given = array.array if isinstance(array, Tensor) else array
        is_images = given.dtype == np.uint8 and given.ndim in (3, 4)
        count = len(given)
        if is_mapped(given):
            source = FileRows(given)
            orders = windows(self._rng, count, source.row_bytes, self._shuffle)
            skip = starts[0] if starts else count
            for chosen, rows, places in streamed(source, orders, self.size, skip, self.partial):
                yield chosen, _to_float(rows, places) if is_images else rows[places]
            return
        order = self._rng.permutation(count) if self._shuffle else np.arange(count)
        for start in starts:
            chosen = order[start : start + self.size]
            yield chosen, _to_float(given, chosen) if is_images else given[chosen]


def _as_rows(array: Array | Tensor) -> Array | Tensor:
    """An argument of batches as a contiguous array or a Tensor, after checks."""
    if isinstance(array, Tensor):
        if array.requires_grad:
            raise GradientError(
                "batches: a tensor requires a gradient, which rows of it would lose; pass "
                "x.detach(), or index x itself"
            )
    else:
        try:
            if not is_mapped(array):
                array = np.asarray(array, order="C")  # once, not in each batch
        except ValueError:
            raise ShapeError(
                f"batches: got a {type(array).__name__} whose parts have different shapes; arrays "
                "are given one by one: batches(images, labels, size=64)"
            ) from None
    if not array.ndim:
        raise ShapeError("batches: got a scalar; arrays with a row for each example are needed")
    return array


def _rows(array: Array | Tensor, chosen: Array) -> Array | Tensor:
    return from_numpy(array.array[chosen]) if isinstance(array, Tensor) else array[chosen]


def _listed(numbers: Sequence[int]) -> str:
    *most, last = map(str, numbers)
    return f"{', '.join(most)} and {last}"


class Split(Dataset):
    """A Dataset from `split`: its test part is the validation part.

    A named tuple as Dataset is: `validation_images` and `validation_labels` are its test_images and
    test_labels, so `Training` measures the accuracy on them.
    """

    __slots__ = ()

    @property
    def validation(self) -> tuple[Tensor, Tensor]:
        """The validation images and labels as Tensors."""
        return self.test

    @property
    def validation_images(self) -> Array:
        """The validation images (V, H, W) or (V, H, W, C) uint8."""
        return self.test_images

    @property
    def validation_labels(self) -> Array:
        """The validation labels (V,) int64."""
        return self.test_labels

    def __repr__(self) -> str:
        return self._described("validation")


def split(data: Dataset, validation: int = 5000, seed: int = 0) -> Split:
    """Split the training images into training images and validation images, at random.

    Use the validation images to choose settings such as a learning rate, so that the test images
    stay unseen.

    The validation images of a memory map are its last images, because a random choice would be
    copied into memory. So shuffle the images when you write the file.

    Args:
        data: the data set; its test images are not used.
        validation: number of validation images.
        seed: seed of the random choice.

    Returns:
        a Dataset with train_images, train_labels, validation_images and validation_labels. Its
        test part is the validation part.

    Raises:
        SettingError: `validation` is not from 1 to the number of training images - 1, or the last
            images of a memory map lack a class, as in a file that is sorted by class.
    """
    rest, held = split_rows(data.train_images, data.train_labels, validation, seed)
    return Split(
        data.train_images[rest],
        data.train_labels[rest],
        data.train_images[held],
        data.train_labels[held],
        data.names,
    )


def split_rows(
    rows: Array, labels: Array, validation: int, seed: int
) -> tuple[Array | slice, Array | slice]:
    """The indices of the training rows and of the validation rows; see split."""
    count = len(rows)
    if not 0 < whole("split", "validation", validation, None) < count:
        raise SettingError(f"split: got {validation}; from 1 to {count - 1} is needed")
    if is_mapped(rows):
        rest, held = slice(None, count - validation), slice(count - validation, None)
        missing = np.setdiff1d(labels, labels[held]).tolist()
        if labels.dtype.kind in "iu" and missing:
            raise SettingError(
                f"split: the last {validation:,} rows of the memory map, which would be the "
                f"validation part, have no label {missing[0]}; shuffle the rows when you write "
                "the file"
            )
        return rest, held
    order = np.random.default_rng(seed).permutation(count)
    return np.sort(order[validation:]), np.sort(order[:validation])


def hold_out(data: Dataset, seed: int) -> Split:
    """Split off a twelfth of the training images, as validation images: 5,000 of MNIST's 60,000."""
    return split(data, max(len(data.train_images) // 12, 1), seed)
