"""The data set that tt.fit makes of its arguments, after checks."""

from __future__ import annotations

import inspect
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias, TypeGuard

import numpy as np

from tinytensor import random
from tinytensor.arrays import Array, first_false
from tinytensor.autograd import no_grad
from tinytensor.datasets import Dataset, Split, load, names_of_outputs, split, split_rows
from tinytensor.datasets.examples import Examples
from tinytensor.datasets.mapped import is_mapped
from tinytensor.errors import DTypeError, LabelError, NotSupported, SettingError, ShapeError
from tinytensor.evaluation import Loss, as_input, check_pixels, evaluation_mode
from tinytensor.nn import Module
from tinytensor.ops import cross_entropy, mse_loss
from tinytensor.ops.operands import as_array, real
from tinytensor.plural import plural
from tinytensor.tensors import Tensor, from_numpy

Pair: TypeAlias = tuple[Array | Tensor, Array | Tensor]  # examples, and labels or targets
SAMPLE = 2  # examples that the model and the loss are tried on


def is_pair(given: object) -> TypeGuard[Pair]:
    """True for a tuple or list of two."""
    return isinstance(given, tuple | list) and len(given) == 2


def in_words(given: object) -> str:
    """A wrong argument in words, such as "the class Adam", "'mse'" or "a dict"."""
    if isinstance(given, type):
        return f"the class {given.__name__}"
    if inspect.isfunction(given):
        return f"the function {given.__name__}"
    if given is None or isinstance(given, bool | int | float | str):
        return repr(given)
    return f"a {type(given).__name__}"


# The data ---------------------------------------------------------------------------------------


def split_examples(
    data: Dataset | Pair | str | Path, validation: float | Pair, seed: int
) -> Dataset:
    """The data set to train and to test on."""
    if isinstance(data, str | os.PathLike):
        data = load(data)
    if not isinstance(data, Dataset):
        if not is_pair(data) or all(map(_is_tuple_of_arrays, data)):
            raise _no_data(data)
        return _of_arrays(data, validation, seed)
    if is_pair(validation):
        return Split(data.train_images, data.train_labels, *_arrays(validation), data.names)
    if not real("fit", "validation", validation):
        return data
    return split(data, _count(validation, len(data.train_images)), seed)


def _is_tuple_of_arrays(part: object) -> bool:
    """True for a part as in Keras, such as (x_train, y_train)."""
    return isinstance(part, tuple) and all(isinstance(x, np.ndarray | Tensor) for x in part)


def _no_data(data: object) -> NotSupported:
    parts = "train_images, train_labels, test_images, test_labels"
    if isinstance(data, tuple | list) and len(data) == 4:
        parts = "*data"
    got = "two pairs" if is_pair(data) else in_words(data)
    return NotSupported(
        f"fit: got {got} as data; a data set is needed, tt.datasets.Dataset({parts}), or a pair of "
        "arrays (images, labels)"
    )


def _of_arrays(pair: Pair, validation: float | Pair, seed: int) -> Dataset:
    rows, labels = _arrays(pair)
    if is_pair(validation):
        parts = rows, labels, *_arrays(validation, "validation ")
    elif not real("fit", "validation", validation):
        raise SettingError(
            "fit: got a pair of arrays, and nothing to test on; add validation=0.1, which holds "
            "out a tenth of the examples, or validation=(images, labels)"
        )
    else:
        if len(rows) != len(labels):
            raise ShapeError(
                f"fit: got {len(labels)} labels for {len(rows)} examples; one label per example is "
                "needed"
            )
        rest, held = split_rows(rows, labels, _count(validation, len(rows)), seed)
        parts = rows[rest], labels[rest], rows[held], labels[held]
    if rows.dtype == np.uint8 and rows.ndim in (3, 4) and labels.dtype.kind != "f":
        return Dataset(*parts)
    return Examples(*parts)


def _arrays(pair: Pair, part: str = "") -> tuple[Array, Array]:
    """The examples, and their labels or targets, as arrays. part: a word for error messages."""
    rows, labels = pair
    rows = _array(f"{part}examples", rows, "images of different sizes are resized first")
    labels = _array(
        f"{part}labels", labels,
        "names, labels = np.unique(labels, return_inverse=True) gives each name a number",
    )  # fmt: skip
    check_pixels(f"fit: got {part}images", rows)
    return rows, labels


def _array(name: str, given: object, remedy: str) -> Array:
    """An array of numbers with a row for each example; an array is not copied.

    remedy: what to do if the elements are no numbers.
    """
    is_array = isinstance(given, np.ndarray | Tensor) or hasattr(given, "__array__")
    if not is_array and not isinstance(given, list | tuple):
        raise NotSupported(f"fit: got {in_words(given)} as {name}; an array is needed")
    if isinstance(given, np.ndarray | Tensor):
        array = as_array("fit", given)
    else:
        first = next(iter(given), None) if isinstance(given, Sequence) else None
        array = np.asarray(given) if isinstance(first, str) else _converted(name, given)
    if array.dtype.kind not in "fiub":
        raise DTypeError(f"fit: got {name} of dtype {array.dtype}; numbers are needed; {remedy}")
    if not array.ndim:
        raise ShapeError(f"fit: got a number as {name}; an array with a row per example is needed")
    if array.dtype.kind == "f" and not is_mapped(array):
        _check_finite(name, array)
    return array


def _converted(name: str, given: object) -> Array:
    """A list, or an array of another library, as a NumPy array."""
    if isinstance(given, list | tuple):
        return as_array("fit", given)
    try:
        return np.asarray(given)
    except (RuntimeError, TypeError, ValueError) as error:  # such as a tensor of a GPU
        raise NotSupported(
            f"fit: got {in_words(given)} as {name}, which is no NumPy array ({error})"
        ) from None


def _check_finite(name: str, array: Array) -> None:
    """Raise DTypeError if there is NaN or infinity, which names the first."""
    is_finite = np.isfinite(array)
    if not is_finite.all():
        example, *place = first_false(is_finite)
        where = f" at {place}" if place else ""
        raise DTypeError(
            f"fit: got {array[(example, *place)]} in the {name}, first in row {example}{where}; "
            "finite numbers are needed"
        )


def _count(validation: float | Pair, examples: int) -> int:
    """The number of validation examples: `validation` itself, or this fraction of the examples."""
    count = real("fit", "validation", validation)
    if examples < 2:
        raise SettingError(
            f"fit: got {plural(examples, 'example')} and "
            f"validation={validation}; 2 examples or more are needed"
        )
    is_fraction = isinstance(validation, float | np.floating)
    if is_fraction and 0 < count < 1 and round(count * examples):
        return round(count * examples)
    if is_fraction or isinstance(validation, bool) or not 1 <= count < examples:
        raise SettingError(
            f"fit: got validation={validation} for {examples} examples; a fraction between 0 and "
            f"1, or a number from 1 to {examples - 1}, is needed"
        )
    return int(count)


# The data and the model -------------------------------------------------------------------------


def for_model(model: Module, data: Dataset, loss: Loss | None) -> tuple[Dataset, Loss]:
    """The data with a name for each output of the model, and the loss, after checks of both."""
    outputs = _outputs(model, data)
    width = outputs.shape[1]
    if data.has_labels:
        largest = max(int(each.max(initial=0)) for each in (data.train_labels, data.test_labels))
        if largest >= width:
            raise LabelError(
                f"fit: got label {largest}, and the model has "
                f"{plural(width, 'output')}; one output for each of the labels 0 to {largest} is "
                "needed"
            )
        names = names_of_outputs(data.names, width)
        data = data if names == data.names else data._replace(names=names)
    else:
        _check_targets(data.train_labels, width, loss)
    if loss is None:
        loss = cross_entropy if data.has_labels else mse_loss
    _check_loss(loss, outputs, data.train_labels[:SAMPLE])
    return data, loss


def _outputs(model: Module, data: Dataset) -> Tensor:
    """The outputs (R, outputs) for the first examples."""
    rows = as_input(data.train_images[:SAMPLE])
    with random.fork(), evaluation_mode(model), no_grad():
        outputs = model(from_numpy(rows))
    if not isinstance(outputs, Tensor):
        raise NotSupported(f"fit: the model returns {in_words(outputs)}; a Tensor is needed")
    if outputs.ndim != 2 or len(outputs) != len(rows):
        raise ShapeError(
            f"fit: the model returns shape {outputs.shape} for {len(rows)} examples; "
            f"({len(rows)}, outputs) is needed"
        )
    return outputs


def _check_targets(targets: Array, width: int, loss: Loss | None) -> None:
    count = targets.shape[1]
    are_bits = bool(((targets == 0) | (targets == 1)).all())
    if loss is None and count > 1 and are_bits and (targets.sum(axis=1) == 1).all():
        raise SettingError(
            "fit: got one-hot rows of floats as targets; labels.argmax(axis=1) gives labels of "
            "classes, and loss=tt.mse_loss trains a regression on these rows"
        )
    if count != width:
        classes = "; for labels of classes, labels.astype(int)" if count == 1 else ""
        raise ShapeError(
            f"fit: the model has {plural(width, 'output')} for "
            f"{plural(count, 'target')} per example; the same number is needed{classes}"
        )


def _check_loss(loss: Loss, outputs: Tensor, labels: Array) -> None:
    """Raise an error unless the loss of some examples is a scalar Tensor."""
    found = loss(outputs, labels)
    if not isinstance(found, Tensor):
        raise NotSupported(
            f"fit: the loss returns {in_words(found)}; a Tensor, computed by operators and "
            "functions of tinytensor, is needed"
        )
    if found.size != 1:
        raise ShapeError(
            f"fit: the loss returns shape {found.shape}; a scalar is needed, such as loss.mean()"
        )
