"""Data sets in folders: idx files by any of their usual names, .npz files, and pictures."""

from __future__ import annotations

import math
import os
import re
import string
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tinytensor import regular_file
from tinytensor.arrays import Array
from tinytensor.datasets import SIDE, Dataset
from tinytensor.datasets.idx import MAX_BYTES, read_idx
from tinytensor.datasets.photo import ENDINGS, read_grey, read_photo
from tinytensor.errors import DataError, LabelError, TinytensorError

# Where the files may be: the folder itself, and below it the folders that torchvision makes.
BELOW = (".", "raw", *(f"{name}/raw" for name in ("MNIST", "FashionMNIST", "KMNIST", "EMNIST")))
IDX_NAME = re.compile(
    r"(?P<set>emnist-[a-z]+-|)(?P<part>train|t10k|test)-(?P<what>images|labels)"
    r"[-.]idx[13]-ubyte(\.gz)?"
)
NPZ_NAMES = ("x_train", "y_train", "x_test", "y_test")
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


def load(path: str | Path) -> Dataset:
    """Load a data set from a folder or an .npz file; see tinytensor.datasets.load."""
    given, path = path, Path(path)
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
    if any(entry.is_dir() and _pictures(entry) for entry in entries) or _parts(path):
        return _load_pictures(path)
    raise DataError(
        f"{path}: there is no data set; the folder has {_listing(path)}; looked for idx files such "
        "as train-images-idx3-ubyte or its .gz, for one .npz file with "
        f"{', '.join(NPZ_NAMES)}, and for one subfolder of pictures per class"
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
    try:
        return Dataset(*parts[0], *parts[1], EMNIST_NAMES.get(name))
    except LabelError as error:
        labels = _find(folder, f"{name}{test}-labels-idx1-ubyte")
        raise DataError(f"{labels}: {error}") from None


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
            x_train, y_train, x_test, y_test = (file[name] for name in NPZ_NAMES)
    except DataError:
        raise
    except Exception as error:  # many types of error, because the bytes can be anything
        raise DataError(f"{path}: an .npz file of arrays is needed ({error})") from None
    try:
        return Dataset(x_train, y_train, x_test, y_test)
    except TinytensorError as error:
        raise DataError(f"{path}: {error}") from None


# Pictures, one subfolder per class


def _pictures(folder: Path) -> list[Path]:
    """The pictures of a folder, sorted by name."""
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in ENDINGS)


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
    found = {each.name: _pictures(each) for each in folder.iterdir() if each.is_dir()}
    names = sorted((name for name in found if found[name]), key=_natural)
    if not names:
        raise DataError(
            f"{folder}: has no subfolder with pictures; the folder has {_listing(folder)}; one "
            f"subfolder per class, with files that end in {', '.join(ENDINGS)}, is needed"
        )
    return {name: found[name] for name in names}


def _natural(name: str) -> tuple[float, str]:
    return (int(name), "") if name.isdecimal() else (math.inf, name)


def _load_pictures(folder: Path) -> Dataset:
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
    images = _read_pictures([*files[0], *files[1]])
    count = len(files[0])
    try:
        return Dataset(images[:count], labels[0], images[count:], labels[1], names)
    except TinytensorError as error:
        raise DataError(f"{folder}: {error}") from None


def _read_pictures(files: Sequence[Path]) -> Array:
    """The pictures as images (N, 28, 28) uint8, light on dark."""
    levels = []
    for file in files:
        levels.append(read_grey(file))
        if levels[-1].shape != (SIDE, SIDE):
            return np.stack([read_photo(file)[0].image for file in files])
    images: Array = np.rint(np.stack(levels)).astype(np.uint8)
    border = np.ones((SIDE, SIDE), bool)
    border[1:-1, 1:-1] = False
    if np.median(images[:, border]) > 127:
        images = 255 - images
    return images
