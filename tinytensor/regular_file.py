"""Checks of files: that one can be read to its end, and that two names are of the same one."""

import os
from pathlib import Path

from tinytensor.errors import DataError


def is_special(file: str | os.PathLike[str]) -> bool:
    """True for a pipe, a device or a folder; False for a regular file, or if there is none."""
    return os.path.exists(file) and not os.path.isfile(file)


def same_file(one: str | os.PathLike[str] | None, other: str | os.PathLike[str] | None) -> bool:
    """True if both names are given and are names of the same file."""
    if one is None or other is None:
        return False
    return os.path.realpath(one) == os.path.realpath(other)


def checked(file: str | os.PathLike[str]) -> Path:
    """Return the path, unless it names a pipe, a device or a folder.

    Nothing is checked if there is no such file, because opening it gives the better error.

    Raises:
        DataError: it isn't a regular file.
    """
    path = Path(file)
    if is_special(path):
        kind = "folder" if path.is_dir() else "pipe or device"
        raise DataError(f"{file}: is a {kind}; a regular file is needed")
    return path
