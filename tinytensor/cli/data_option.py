"""The data set of the options --data and --size."""

from pathlib import Path

from tinytensor import datasets
from tinytensor.errors import SettingError


def given_data(data: Path | None, size: tuple[int, int] | None) -> datasets.Dataset:
    """The data set of --data, with pictures of --size; MNIST without --data."""
    if data is not None:
        return datasets.load(data, size)
    if size is not None:
        raise SettingError("--size: is of the pictures of a folder; add --data FOLDER")
    return datasets.mnist()
