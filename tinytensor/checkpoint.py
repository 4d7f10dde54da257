"""Tensors in files: the safetensors format, which holds numbers and nothing that could run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tinytensor import kernels
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
