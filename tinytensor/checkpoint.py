"""Save and load tensors in safetensors files. The format holds arrays and strings, no code."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tinytensor import kernels
from tinytensor.arrays import Array
from tinytensor.errors import DataError, NotSupported
from tinytensor.tensor import Tensor, from_numpy

__all__ = ["load", "save"]

# The dtypes of safetensors that can be read, with the NumPy dtype of their bytes.
FORMATS = {
    "F32": "<f4",
    "F64": "<f8",
    "F16": "<f2",
    "BF16": "<u2",
    "I32": "<i4",
    "I64": "<i8",
    "U8": "u1",
    "BOOL": "?",
}


def save(
    file: str | Path, tensors: Mapping[str, Tensor], about: Mapping[str, str] | None = None
) -> None:
    """Write named tensors to a safetensors file.

    The file is replaced only after the new one is written completely, so an error leaves the old
    file unchanged. A symbolic link is followed.

    Args:
        file: the path of the file.
        tensors: the tensors by name, such as model.state_dict(); any shape and dtype.
        about: strings by name, stored as the file's metadata.

    Raises:
        DataError: the file can't be written, or the path is not a regular file.
        NotSupported: a value in `tensors` is not a Tensor.

    Source: safetensors.numpy.save_file. It replaces torch.save, whose second argument is the file.

    >>> tt.save("model.safetensors", {"weight": tt.ones(2)})
    >>> tt.load("model.safetensors")["weight"]
    Tensor([1., 1.], dtype=float32)
    """
    for name, x in tensors.items():
        if not isinstance(x, Tensor):
            raise NotSupported(f"save: {name!r} is a {type(x).__name__}; tensors are needed")
    _write(file, {name: x.array for name, x in tensors.items()}, about or {})


def save_float16(file: str | Path, tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> None:
    """Write named tensors as `save` does, but floats as float16, in half of the bytes.

    `load` returns them as float32. Integers are written unchanged.

    Raises:
        DataError: the file can't be written, or a value is too large for float16.
    """
    arrays = {name: x.array for name, x in tensors.items()}
    for name, array in arrays.items():
        if array.dtype.kind != "f":
            continue
        with np.errstate(over="ignore"):
            arrays[name] = array.astype(np.float16)
        if not np.isfinite(arrays[name]).all():
            raise DataError(f"save: {name!r} has values that float16 can't hold")
    _write(file, arrays, about)


def _write(file: str | Path, arrays: Mapping[str, Array], about: Mapping[str, str]) -> None:
    from safetensors import SafetensorError
    from safetensors import numpy as safetensors

    path = Path(os.path.realpath(file))
    if path.exists() and not path.is_file():
        raise DataError(f"save: {file} can't be written: a regular file is needed")
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_bytes(safetensors.save(dict(arrays), dict(about)))
        part.replace(path)
    except (OSError, SafetensorError) as error:
        part.unlink(missing_ok=True)
        raise DataError(f"save: {file} can't be written: {error}") from None


def load(file: str | Path) -> dict[str, Tensor]:
    """Return the named tensors of a safetensors file. Each tensor has its own memory.

    Args:
        file: the path of the file.

    Returns:
        A dict from name to Tensor, with the shapes and dtypes of the file. bfloat16 and float16
        become float32, which has all their values.

    Raises:
        DataError: the file is missing, is not a safetensors file, or contains another dtype that
            Tensor does not have, such as float8.

    Source: safetensors.numpy.load_file. It replaces torch.load.

    >>> tt.save("model.safetensors", {"weight": tt.ones(2)})
    >>> list(tt.load("model.safetensors"))
    ['weight']
    """
    from safetensors import SafetensorError, deserialize

    try:
        tensors = deserialize(Path(file).read_bytes())  # type: ignore[no-untyped-call]
    except (OSError, SafetensorError) as error:
        raise DataError(f"load: {file} isn't a safetensors file: {error}") from None
    return {name: from_numpy(_array(f"load: {file}: {name!r}", **x)) for name, x in tensors}


def _array(name: str, dtype: str, shape: Sequence[int], data: bytes) -> Array:
    """The array of a tensor in a file; dtype and data are in the format of safetensors."""
    if dtype not in FORMATS:
        raise DataError(f"{name} is {dtype}; one of {', '.join(FORMATS)} is needed")
    flat = np.frombuffer(data, FORMATS[dtype])
    if dtype == "BF16":  # the first 16 bits of a float32
        flat = (flat.astype(np.uint32) << 16).view(np.float32)
    elif dtype == "F16":
        flat = flat.astype(np.float32)
    try:
        return flat.reshape(shape).copy()
    except ValueError as error:  # a shape that is too large for NumPy, with a size of 0 in it
        raise DataError(f"{name} has shape {tuple(shape)}: {error}") from None


def copy_into(caller: str, own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    """Copy the values of `given` into the tensors of `own` that have the same names.

    Raises DataError if a tensor is missing, has no counterpart in `own` or has another shape. The
    message starts with `caller` and lists every such name, and no tensor has been changed.
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
        raise DataError(f"{caller}: {'; '.join(problems)}")
    for name, x in own.items():
        kernels.cast(given[name].array, x.array)
        x.changed()


def about(file: str | Path) -> dict[str, str]:
    """Return the metadata of a safetensors file: the strings that `save` stored as `about`.

    Raises:
        DataError: the file is missing or is not a safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "numpy") as opened:
            return dict(opened.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise DataError(f"load: {file} isn't a safetensors file: {error}") from None
