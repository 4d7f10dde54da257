"""Tensors in files: the safetensors format, which holds numbers and nothing that could run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from tinytensor import kernels
from tinytensor.errors import DataError, NotSupported
from tinytensor.tensor import DTYPES, Tensor, from_numpy

__all__ = ["load", "save"]


def save(
    file: str | Path, tensors: Mapping[str, Tensor], about: Mapping[str, str] | None = None
) -> None:
    """Write named tensors to a file, and words about them.

    The file is complete or, if something fails, as it was before; a link leads to its file.

    Raises DataError if it can't be written, or isn't a regular file.
    """
    from safetensors import SafetensorError
    from safetensors import numpy as safetensors

    for name, x in tensors.items():
        if not isinstance(x, Tensor):
            raise NotSupported(f"save: {name!r} is a {type(x).__name__}; tensors are needed")
    path = Path(os.path.realpath(file))
    if path.exists() and not path.is_file():
        raise DataError(f"save: {file} can't be written: a regular file is needed")
    part = path.with_name(f"{path.name}.part")
    try:
        arrays = {name: x.array for name, x in tensors.items()}
        part.write_bytes(safetensors.save(arrays, dict(about or {})))
        part.replace(path)
    except (OSError, SafetensorError) as error:
        part.unlink(missing_ok=True)
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


def take_over(who: str, own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    """Copy the numbers of named tensors into one's own tensors of those names.

    Raises DataError, with every name, for tensors that are missing, unknown or of another shape;
    nothing is changed then.
    """
    problems = [f"{name} is missing" for name in own if name not in given]
    problems += [f"{name} is unknown" for name in given if name not in own]
    for name in filter(given.__contains__, own):
        x = given[name]
        if not isinstance(x, Tensor):
            problems.append(f"{name} is a {type(x).__name__}, a tensor is needed")
        elif x.shape != own[name].shape:
            problems.append(f"{name} has shape {x.shape}, {own[name].shape} is needed")
    if problems:
        raise DataError(f"{who}: {'; '.join(problems)}")
    for name, x in own.items():
        kernels.cast(given[name].array, x.array)
        x.changed()


def about(file: str | Path) -> dict[str, str]:
    """The words that save wrote about a file's tensors.  Raises DataError as load."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "numpy") as opened:
            return dict(opened.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise DataError(f"load: {file} isn't a safetensors file: {error}") from None
