"""Checks of the names of files to write, so that record="mine.py" replaces no program."""

import os
from pathlib import Path

from tinytensor import regular_file
from tinytensor.errors import SettingError

CHECKPOINT = (".safetensors", "")
RUN_FILE = (".tt", "")


def check(caller: str, file: str | os.PathLike[str], endings: tuple[str, ...]) -> None:
    """Raise SettingError unless the name ends with one of `endings`; "" is for no ending.

    A pipe or a device has any name.
    """
    if Path(file).suffix.lower() not in endings and not regular_file.is_special(file):
        raise SettingError(
            f"{caller}: got {file}; a file name that ends with "
            f"{' or '.join(filter(None, endings))} is needed"
        )


def check_new(caller: str, record: str | os.PathLike[str]) -> None:
    """Raise SettingError if a resumed run would replace a run file, such as that of its start."""
    if Path(record).is_file():
        raise SettingError(
            f"{caller}: {record} exists, and may have the first part of the resumed run; another "
            "name is needed"
        )
