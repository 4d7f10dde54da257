"""Save and load tensors in safetensors files. The format holds arrays and strings, no code."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias

import numpy as np

from tinytensor import atomic_file, json_text, kernels, regular_file
from tinytensor.arrays import Array
from tinytensor.errors import DataError, NotSupported
from tinytensor.tensors import Tensor, from_numpy

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


class HasState(Protocol):
    """A module or an optimiser: its state_dict() returns its tensors by name."""

    def state_dict(self) -> dict[str, Tensor]:
        """Return the tensors by name."""


State: TypeAlias = Mapping[str, Tensor] | HasState
Name: TypeAlias = str | os.PathLike[str]


def save(file: Name | State, tensors: State | Name, about: Mapping[str, str] | None = None) -> None:
    """Write named tensors, a module or an optimiser to a safetensors file.

    The file is replaced only after the new one is stored completely on the disk. An error, a full
    disk or the end of the process at any moment leaves the old file unchanged, or the new one
    complete. A symbolic link is followed, and the permissions stay.

    Args:
        file: the path of the file.
        tensors: the tensors by name, any shape and dtype; or a Module or Optimizer, whose
            state_dict() is saved. `save(tensors, file)`, PyTorch's order, is the same.
        about: strings by name, stored as the file's metadata.

    Raises:
        DataError: the file can't be written, or the path is not a regular file.
        NotSupported: a value in `tensors` is not a Tensor, or the arguments are not a path and
            tensors.

    Source: torch.save, safetensors.numpy.save_file.

    >>> model = nn.Linear(3, 2)
    >>> tt.save("model.safetensors", model)
    >>> list(tt.load("model.safetensors"))
    ['bias', 'weight']
    >>> tt.save({"scale": tt.ones(2)}, "scale.safetensors")
    """
    path, state = _told_apart(file, tensors)
    for name, x in state.items():
        if not isinstance(x, Tensor):
            raise NotSupported(f"save: {name!r} is a {type(x).__name__}; tensors are needed")
    _write(path, {name: x.array for name, x in state.items()}, about or {})


def save_float16(file: Name, tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> None:
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


def _write(path: Name, arrays: Mapping[str, Array], about: Mapping[str, str]) -> None:
    from safetensors import SafetensorError
    from safetensors import numpy as safetensors

    try:
        if regular_file.is_special(path):
            raise DataError(f"save: {path} can't be written: a regular file is needed")
        atomic_file.write(path, safetensors.save(dict(arrays), dict(about)))
    except SafetensorError as error:
        raise DataError(f"save: {path} can't be written: {error}") from None
    except OSError as error:
        raise DataError(
            f"save: {path} can't be written: {error.strerror or error}; choose another file"
        ) from None


def _told_apart(file: Name | State, tensors: State | Name) -> tuple[Name, Mapping[str, Tensor]]:
    """The path and the tensors among save's two arguments, which come in either order."""
    for path, state in ((file, tensors), (tensors, file)):
        if isinstance(path, str | os.PathLike):
            if isinstance(state, Mapping):
                return path, state
            if hasattr(state, "state_dict"):
                return path, state.state_dict()
    raise NotSupported(
        f"save: got a {type(file).__name__} and a {type(tensors).__name__}; a path and a dict of "
        "tensors are needed, or a path and a module or optimiser"
    )


def load(file: Name) -> dict[str, Tensor]:
    """Return the named tensors of a safetensors file. Each tensor has its own memory.

    Args:
        file: the path of the file.

    Returns:
        A dict from name to Tensor, sorted by name, with the shapes and dtypes of the file. bfloat16
        and float16 become float32, which has all their values.

    Raises:
        DataError: the file is missing, is not a safetensors file, or contains another dtype that
            Tensor does not have, such as float8.
        NotSupported: the argument is not a path.

    Source: safetensors.numpy.load_file. It replaces torch.load.

    >>> tt.save("model.safetensors", {"weight": tt.ones(2)})
    >>> list(tt.load("model.safetensors"))
    ['weight']
    """
    return read(file)[0]


def read(file: Name) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the named tensors of a safetensors file, as `load` does, and its metadata.

    Both are of the same file, even if another process replaces it meanwhile.

    Raises:
        DataError, NotSupported: as in `load`.
    """
    from safetensors import SafetensorError, deserialize

    content = _content(file)
    try:
        tensors = deserialize(content)  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise _another_format(file, content, error) from None
    arrays = {name: _array(f"load: {file}: {name!r}", **x) for name, x in sorted(tensors)}
    return {name: from_numpy(array) for name, array in arrays.items()}, _metadata(content)


def _metadata(content: bytes) -> dict[str, str]:
    """The metadata of a safetensors file that was read without an error.

    The file starts with the length of its header, uint64, and the header, which is JSON.
    """
    length = int.from_bytes(content[:8], "little")
    return dict(json_text.parsed(content[8 : 8 + length]).get("__metadata__") or {})


def _content(file: Name) -> bytes:
    if not isinstance(file, str | os.PathLike):
        raise NotSupported(f"load: got a {type(file).__name__}; the path of a file is needed")
    try:
        return regular_file.checked(file).read_bytes()
    except OSError as error:
        raise DataError(f"load: {file} can't be read: {error.strerror}") from None


def _another_format(file: Name, content: bytes, error: Exception) -> DataError:
    """The error about a file that isn't a safetensors file."""
    if content.startswith(b"PK\x03\x04") and b".npy" in content[:4096]:
        return DataError(
            f"load: {file} isn't a safetensors file: it is an .npz file; np.load reads it, and "
            "tt.datasets.load reads images and labels from it"
        )
    if content.startswith((b"PK\x03\x04", b"\x80\x02")):  # a zip file or a pickle
        return DataError(
            f"load: {file} isn't a safetensors file: it looks like a file of torch.save, which can "
            "contain code; write it in PyTorch with "
            "safetensors.torch.save_file(model.state_dict(), file)"
        )
    return DataError(f"load: {file} isn't a safetensors file: {error}")


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
    if not isinstance(given, Mapping):
        raise NotSupported(
            f"{caller}: got a {type(given).__name__}; a dict of tensors is needed, such as that of "
            "tt.load(file)"
        )
    problems = [f"{name} is missing" for name in own if name not in given]
    problems += [f"{name} is unknown" for name in given if name not in own]
    for name in filter(given.__contains__, own):
        x = given[name]
        if not isinstance(x, Tensor):
            kind = f"{type(x).__module__}.{type(x).__name__}"
            problems.append(f"{name} is a {kind}, a tt.Tensor is needed")
        elif x.shape != own[name].shape:
            problems.append(f"{name} has shape {x.shape}, {own[name].shape} is needed")
    if problems:
        raise DataError(f"{caller}: {'; '.join(problems)}")
    for name, x in own.items():
        kernels.cast(given[name].array, x.array)
        x.changed()


def about(file: Name) -> dict[str, str]:
    """Return the metadata of a safetensors file: the strings that `save` stored as `about`.

    Raises:
        DataError, NotSupported: as in `load`.
    """
    return read(file)[1]
