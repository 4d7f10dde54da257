"""Data sets in folders: idx files by any of their usual names, .npz, .npy files, pictures."""

from __future__ import annotations

import math
import os
import re
import string
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from tinytensor import regular_file
from tinytensor.arrays import Array
from tinytensor.datasets import (
    MAX_CLASSES,
    SIDE,
    Dataset,
    are_characters,
    described_shape,
    names_up_to,
)
from tinytensor.datasets.idx import MAX_BYTES, read_idx
from tinytensor.errors import DataError, LabelError, SettingError, TinytensorError
from tinytensor.extras import check_installed
from tinytensor.ops.operands import as_sizes

# Where the files may be: the folder itself, and below it the folders that torchvision makes.
BELOW = (".", "raw", *(f"{name}/raw" for name in ("MNIST", "FashionMNIST", "KMNIST", "EMNIST")))
IDX_NAME = re.compile(
    r"(?P<set>emnist-[a-z]+-|)(?P<part>train|t10k|test)-(?P<what>images|labels)"
    r"[-.]idx[13]-ubyte(\.gz)?"
)
# The endings of pictures. Other files are read without Pillow.
ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
NPZ_NAMES = ("x_train", "y_train", "x_test", "y_test")
CLASS_NAMES = "class_names"  # an array in an .npz file, or a .npy file next to x_train.npy
LARGEST = 256  # pixels along an axis of a picture that is not taken for a photo of a digit
TRAIN_FOLDERS, TEST_FOLDERS = ("train", "training"), ("test", "testing")
ONE_IN = 6  # pictures: this share is for the test, if there is no folder for it
LISTED = 6  # names of files in an error message

_DIGITS, _CAPITALS = string.digits, string.ascii_uppercase
# The classes of EMNIST's data sets. Small letters that look like capitals share their class, except
# in byclass.
EMNIST_NAMES = {
    "emnist-letters-": _CAPITALS,
    "emnist-balanced-": f"{_DIGITS}{_CAPITALS}abdefghnqrt",
    "emnist-bymerge-": f"{_DIGITS}{_CAPITALS}abdefghnqrt",
    "emnist-byclass-": f"{_DIGITS}{_CAPITALS}{string.ascii_lowercase}",
}


def load(path: str | Path, size: tuple[int, int] | None = None) -> Dataset:
    """Load a data set from a folder or an .npz file; see tinytensor.datasets.load."""
    if size is not None:
        height_and_width = as_sizes("load", (size,), "size")
        if len(height_and_width) != 2 or min(height_and_width) < 1:
            raise SettingError(
                f"load: got size={size}; (height, width) is needed, two integers from 1 up"
            )
        size = height_and_width[0], height_and_width[1]
    data = _load(path, size)
    if size is not None and data.image_shape[:2] != size:
        raise SettingError(
            f"load: {path} has images of {described_shape(data.image_shape)}, and only pictures in "
            f"folders are resized to {described_shape(size)}; leave the size out"
        )
    return data


def _load(path: str | Path, size: tuple[int, int] | None) -> Dataset:
    given, path = path, Path(path)
    if not str(given):
        raise DataError("load: the path of the data set is empty; a folder or file is needed")
    try:
        if not path.exists():
            path = Path(os.path.expandvars(path)).expanduser()
        if path.is_file():
            return _load_npz(path)
        if not path.is_dir():
            return _load_named(path)
        for folder in (path / below for below in BELOW):
            if folder.is_dir() and (sets := _idx_sets(folder)):
                return _load_idx(folder, _only_one(folder, sets))
        entries = sorted(path.iterdir())
    except OSError as error:  # no permission, or a name that is too long
        raise DataError(
            f"{given}: a folder that can be read is needed ({error.strerror})"
        ) from None
    archives = [entry for entry in entries if entry.suffix == ".npz"]
    if len(archives) == 1:
        return _load_npz(archives[0])
    if all((path / f"{name}.npy").is_file() for name in NPZ_NAMES):
        return _load_npy(path)
    if any(entry.is_dir() and _pictures(entry) for entry in entries) or _parts(path):
        return _load_pictures(path, size)
    raise DataError(
        f"{path}: there is no data set; the folder has {_listing(path)}; looked for idx files such "
        "as train-images-idx3-ubyte or its .gz, for one .npz file with "
        f"{', '.join(NPZ_NAMES)}, for .npy files of these names, and for one subfolder of pictures "
        "per class"
    )


def _listing(folder: Path) -> str:
    names = sorted(f"{entry.name}{'/' if entry.is_dir() else ''}" for entry in folder.iterdir())
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"{', '.join(names[:LISTED])}{more}" if names else "no files"


# idx files


def _idx_sets(folder: Path) -> list[str]:
    """The data sets that a folder has files of: "" for MNIST's names, or such as emnist-letters-"""
    matches = (IDX_NAME.fullmatch(entry.name) for entry in folder.iterdir())
    return sorted({match["set"] for match in matches if match})


def _only_one(folder: Path, sets: Sequence[str]) -> str:
    if len(sets) == 1:
        return sets[0]
    names = [folder / name.rstrip("-") for name in sets if name]
    raise DataError(
        f"{folder}: has {len(sets)} data sets; one is needed, such as "
        f"{' or '.join(map(str, names))}"
    )


def _load_named(path: Path) -> Dataset:
    """Load the data set emnist-letters of the path folder/emnist-letters."""
    name = f"{path.name}-"
    for folder in (path.parent / below for below in BELOW):
        if folder.is_dir() and name in _idx_sets(folder):
            return _load_idx(folder, name)
    there = f"; {path.parent} has {_listing(path.parent)}" if path.parent.is_dir() else ""
    raise DataError(
        f"{path}: there is no such folder or file; a folder of idx files or of pictures is needed, "
        f"or an .npz file{there}"
    )


def _load_idx(folder: Path, name: str) -> Dataset:
    """Load the four idx files of a folder whose names start with `name`."""
    test = "test" if name else "t10k"
    parts = [_load_part(folder, f"{name}train"), _load_part(folder, f"{name}{test}")]
    if name:  # EMNIST's images are transposed: rows and columns are exchanged
        parts = [(images.swapaxes(1, 2).copy(), labels) for images, labels in parts]
    if name == "emnist-letters-":
        if min(labels.min() for _, labels in parts) < 1:
            raise DataError(f"{folder}: got label 0; the labels of EMNIST's letters start at 1")
        parts = [(images, labels - 1) for images, labels in parts]
    (train_images, train_labels), (test_images, test_labels) = parts
    if train_images.shape[1:] != test_images.shape[1:]:
        images = [_find(folder, f"{name}{part}-images-idx3-ubyte") for part in ("train", test)]
        raise DataError(
            f"{images[0]} has images of shape {train_images.shape}, and {images[1].name} of shape "
            f"{test_images.shape}; the same height and width are needed"
        )
    names: Sequence[str] | None = EMNIST_NAMES.get(name)
    if names is None:
        train_labels, test_labels, names = _from_0(train_labels, test_labels)
    try:
        return Dataset(train_images, train_labels, test_images, test_labels, names)
    except LabelError as error:
        labels = _find(folder, f"{name}{test}-labels-idx1-ubyte")
        raise DataError(f"{labels}: {error}") from None


def _from_0(train: Array, test: Array) -> tuple[Array, Array, Sequence[str] | None]:
    """Labels from 0 up, and the names of their classes, which are those of the training labels.

    The labels of a file start at 1 if each of 1 to n occurs in the training labels, and 0 in
    neither part. The names are then "1" to n, so a class keeps the number that it has in the file.
    The names are None for labels that are too large for a Dataset.
    """
    classes = np.unique(train)
    starts_at_1 = classes.size > 0 and classes[0] == 1 and classes[-1] == classes.size
    if not starts_at_1 or (test == 0).any():
        return train, test, names_up_to(train) if train.max(initial=0) < MAX_CLASSES else None
    return train - 1, test - 1, [str(i) for i in classes]


def _load_part(folder: Path, part: str) -> tuple[Array, Array]:
    images_path = _find(folder, f"{part}-images-idx3-ubyte")
    labels_path = _find(folder, f"{part}-labels-idx1-ubyte")
    images = read_idx(images_path, axes=3)
    labels = read_idx(labels_path, axes=1)
    if not images.size:
        raise DataError(
            f"{images_path}: got images of shape {images.shape}; at least one image is needed"
        )
    if len(labels) != len(images):
        raise DataError(
            f"{labels_path}: got {len(labels)} labels for the {len(images)} images of "
            f"{images_path.name}; one label per image is needed"
        )
    return images, labels


def _find(folder: Path, name: str) -> Path:
    dotted = name.replace("-idx", ".idx")
    for path in (folder / f"{base}{end}" for base in (name, dotted) for end in ("", ".gz")):
        if path.is_file():
            return path
    raise DataError(
        f"{folder}: {name} or {name}.gz is needed there, or {dotted}; the folder has "
        f"{_listing(folder)}"
    )


# .npz files


def _load_npz(path: Path) -> Dataset:
    """Load the four arrays of an .npz file."""
    if path.suffix != ".npz":
        raise DataError(f"{path}: got a file; a folder or an .npz file is needed")
    regular_file.checked(path)
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(info.file_size for info in archive.infolist())
        if size > MAX_BYTES:
            raise DataError(
                f"{path}: has {size:,} bytes after decompression; at most {MAX_BYTES:,} are read"
            )
        with np.load(path, allow_pickle=False) as file:
            if missing := [name for name in NPZ_NAMES if name not in file]:
                raise DataError(
                    f"{path}: {', '.join(missing)} is missing; the file has {', '.join(file)}; "
                    f"{', '.join(NPZ_NAMES)} are needed"
                )
            arrays = [file[name] for name in NPZ_NAMES]
            names = file.get(CLASS_NAMES)
    except DataError:
        raise
    except Exception as error:  # many types of error, because the bytes can be anything
        raise DataError(f"{path}: an .npz file of arrays is needed ({error})") from None
    return _of_arrays(path, arrays, names)


def _load_npy(folder: Path) -> Dataset:
    """Load the four .npy files of a folder; the images stay in their files, as memory maps."""
    arrays = []
    for name in NPZ_NAMES:
        file = folder / f"{name}.npy"
        regular_file.checked(file)
        try:
            mode: Literal["r"] | None = "r" if name.startswith("x") else None
            arrays.append(np.load(file, mmap_mode=mode, allow_pickle=False))
        except Exception as error:  # many types of error, because the bytes can be anything
            raise DataError.unread(file, error, "a .npy file of an array is needed") from None
    names = folder / f"{CLASS_NAMES}.npy"
    try:
        found = np.load(names, allow_pickle=False) if names.is_file() else None
    except Exception as error:  # as above
        raise DataError.unread(names, error, "a .npy file of an array is needed") from None
    return _of_arrays(folder, arrays, found)


def _of_arrays(path: Path, arrays: Sequence[Array], names: Array | None) -> Dataset:
    """The data set of x_train, y_train, x_test and y_test. Labels may be (N, 1), as Keras's are."""
    x_train, y_train, x_test, y_test = arrays
    y_train, y_test = (y.reshape(-1) if y.shape[1:] == (1,) else y for y in (y_train, y_test))
    own: Sequence[str] | None = None
    if names is not None:
        own = [str(name) for name in names.reshape(-1)]
    elif y_train.dtype.kind in "iu" and y_train.ndim == 1 and y_test.dtype.kind in "iu":
        y_train, y_test, own = _from_0(y_train, y_test)
    try:
        return Dataset(x_train, y_train, x_test, y_test, own)
    except TinytensorError as error:
        raise DataError(f"{path}: {error}") from None


# Pictures, one subfolder per class


def _pictures(folder: Path) -> list[Path]:
    """The pictures of a folder, sorted by name. Hidden files, such as a Mac's ._1.png, are none."""
    return sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in ENDINGS and not file.name.startswith(".")
    )


def _subfolders(folder: Path) -> list[Path]:
    """The folders in a folder that are not hidden."""
    with os.scandir(folder) as entries:  # an entry has its type
        return [Path(each.path) for each in entries if each.name[0] != "." and each.is_dir()]


def first_picture(folder: Path) -> Path | None:
    """The first test picture of a folder that `load` reads; None if it has no pictures."""
    folder = Path(os.path.expandvars(folder)).expanduser()
    if not folder.is_dir():
        return None
    *_, classes = folder, *_parts(folder)
    files = (
        file for each in sorted(classes.iterdir()) if each.is_dir() for file in _pictures(each)
    )
    return next(files, None)


def _parts(folder: Path) -> list[Path]:
    """The folders of training and test pictures, if there are both."""
    parts = [
        folder / name
        for names in (TRAIN_FOLDERS, TEST_FOLDERS)
        for name in names
        if (folder / name).is_dir()
    ]
    return parts if len(parts) == 2 else []


def _classes(folder: Path) -> dict[str, list[Path]]:
    """The pictures of each class by the name of its subfolder; 10 comes after 9."""
    folders = _subfolders(folder)
    for below in (each for of_class in folders for each in _subfolders(of_class)):
        if _pictures(below):
            raise DataError(
                f"{below}: has pictures, and no folder of a class may have folders of pictures; "
                f"move them to {below.parent}"
            )
    found = {each.name: _pictures(each) for each in folders}
    names = sorted((name for name in found if found[name]), key=_natural)
    if not names:
        raise DataError(
            f"{folder}: has no subfolder with pictures; the folder has {_listing(folder)}; one "
            f"subfolder per class, with files that end in {', '.join(ENDINGS)}, is needed"
        )
    return {name: found[name] for name in names}


def _natural(name: str) -> tuple[float, str]:
    return (int(name), "") if name.isdecimal() else (math.inf, name)


def _load_pictures(folder: Path, size: tuple[int, int] | None) -> Dataset:
    if parts := _parts(folder):
        train, test = map(_classes, parts)
        if new := [name for name in test if name not in train]:
            raise DataError(
                f"{parts[1]}: the class {new[0]} has no pictures in {parts[0]}; the same "
                "subfolders are needed"
            )
    else:
        every = _classes(folder)
        test = {name: files[ONE_IN - 1 :: ONE_IN] for name, files in every.items()}
        train = {
            name: [file for i, file in enumerate(files) if i % ONE_IN != ONE_IN - 1]
            for name, files in every.items()
        }
    names = list(train)
    if len(names) == 1:
        raise DataError(
            f"{folder}: the only subfolder with pictures is {names[0]}; one subfolder per class is "
            "needed, and two classes or more"
        )
    files = [[f for name in part for f in part[name]] for part in (train, test)]
    labels = [
        np.array([names.index(name) for name in part for _ in part[name]], np.int64)
        for part in (train, test)
    ]
    if not files[1]:
        raise DataError(
            f"{folder}: has no test pictures; {ONE_IN} or more pictures of a class are needed, or "
            "subfolders train and test"
        )
    every_file = [*files[0], *files[1]]
    images = _read_pictures(every_file, size, are_characters(names))
    count = len(files[0])
    try:
        return Dataset(images[:count], labels[0], images[count:], labels[1], names)
    except TinytensorError as error:
        raise DataError(f"{folder}: {error}") from None


def _read_pictures(
    files: Sequence[Path], size: tuple[int, int] | None, are_characters: bool
) -> Array:
    """The pictures as images (N, H, W) uint8, or (N, H, W, 3) if one of them has colours.

    Without a size, pictures of different sizes, or larger than LARGEST, are photos of characters:
    they become 28 x 28.

    Raises:
        DataError: they are of other classes, can't be read, or are too large for the memory.
    """
    check_installed("load", "images", "PIL")
    from tinytensor.datasets.photo import read_colours, read_photo
    from tinytensor.datasets.resizing import resized

    pictures: list[Array] = []
    for file in files:
        picture, steps = read_colours(file), ""
        if size is not None:
            picture, steps = resized(picture, *size)
        if steps and are_characters and size == (SIDE, SIDE):
            raise SettingError(
                f"load: got size={size} for classes of one character; leave it out, and the "
                "pictures are read as photos of characters, or give another size, because predict "
                "reads pictures as such photos for a network of this size"
            )
        pictures.append(picture)
        shape = pictures[-1].shape
        if size is None and (shape != pictures[0].shape or max(shape[:2]) > LARGEST):
            if not are_characters:
                raise _wrong_size(file, shape, files[0], pictures[0].shape)
            return np.stack([read_photo(file)[0].image for file in files])
        if shape[0] * shape[1] * 3 * len(files) > MAX_BYTES:
            raise DataError(
                f"{file}: {len(files):,} pictures of {shape[0]} x {shape[1]} pixels need more "
                f"than {MAX_BYTES:,} bytes; write them into .npy files, which are not loaded into "
                "memory"
            )
    images = np.stack(pictures)
    if (images == images[..., :1]).all():
        images = np.ascontiguousarray(images[..., 0])
    return light_on_dark(images) if images.shape[1:] == (SIDE, SIDE) else images


def light_on_dark(images: Array) -> Array:
    """Images (N, 28, 28) uint8, inverted if their borders are light: as in MNIST."""
    border = np.ones(images.shape[1:], bool)
    border[1:-1, 1:-1] = False
    return 255 - images if np.median(images[:, border]) > 127 else images


def _wrong_size(
    file: Path, shape: Sequence[int], first: Path, of_first: Sequence[int]
) -> DataError:
    """The error for a picture that differs in size from the first one, or is too large."""
    pixels, others = (f"{each[0]} x {each[1]}" for each in (shape, of_first))
    if shape == of_first:
        needed = f"and pictures of at most {LARGEST} x {LARGEST} stay as they are"
    else:
        needed = f"and {first} has {others}; one size is needed"
    return DataError(
        f"{file}: has {pixels} pixels (height x width), {needed}; --size 32x32, or in Python "
        "load(folder, size=(32, 32)), crops and resizes all pictures"
    )
