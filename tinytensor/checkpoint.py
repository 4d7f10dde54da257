"""Tensors in files: the safetensors format, which holds numbers and nothing that could run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tinytensor.errors import DataError, NotSupported
from tinytensor.tensor import DTYPES, Tensor, from_numpy


def save(
    file: str | Path, tensors: Mapping[str, Tensor], about: Mapping[str, str] | None = None
) -> None:
    """Write named tensors to a file, and words about them.  Raises DataError if that fails."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    for name, x in tensors.items():
        if not isinstance(x, Tensor):
            raise NotSupported(f"save: {name!r} is a {type(x).__name__}; tensors are needed")
    try:
        save_file({name: x.array for name, x in tensors.items()}, file, dict(about or {}))
    except (OSError, SafetensorError) as error:
        raise DataError(f"save: {file} can't be written: {error}") from None


def load(file: str | Path) -> dict[str, Tensor]:
    """The named tensors in a file that save wrote.  Raises DataError if it isn't such a file."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = load_file(file)
    except (OSError, SafetensorError) as error:
        raise DataError(f"load: {file} isn't a safetensors file: {error}") from None
    for name, array in arrays.items():
        if array.dtype not in DTYPES:
            raise DataError(f"load: {file}: {name!r} is {array.dtype}; tinytensor has no such kind")
    return {name: from_numpy(array.copy()) for name, array in arrays.items()}


def about(file: str | Path) -> dict[str, str]:
    """The words that save wrote about a file's tensors.  Raises DataError as load."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "numpy") as opened:
            return dict(opened.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise DataError(f"load: {file} isn't a safetensors file: {error}") from None
