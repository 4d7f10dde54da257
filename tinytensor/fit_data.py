"""The data set that tt.fit makes of its arguments, after checks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeAlias

import numpy as np

from tinytensor import random
from tinytensor.arrays import Array
from tinytensor.autograd import no_grad
from tinytensor.datasets import Dataset, Split, load, names_up_to, split, split_rows
from tinytensor.datasets.examples import Examples
from tinytensor.errors import NotSupported, SettingError, ShapeError
from tinytensor.evaluation import as_input, evaluation_mode
from tinytensor.nn import Module
from tinytensor.ops.operands import as_array, real
from tinytensor.tensors import Tensor, from_numpy

Pair: TypeAlias = tuple[Array | Tensor, Array | Tensor]  # examples, and labels or targets


def split_examples(
    data: Dataset | Pair | str | Path, validation: float | Pair, seed: int
) -> Dataset:
    """The data set to train and to test on."""
    if isinstance(data, str | os.PathLike):
        data = load(data)
    if not isinstance(data, Dataset):
        if not isinstance(data, tuple | list) or len(data) != 2:
            raise NotSupported(
                f"fit: got a {type(data).__name__} as data; a data set is needed, "
                "tt.datasets.Dataset(train_images, train_labels, test_images, test_labels), or a "
                "pair of arrays (images, labels)"
            )
        return _of_arrays(*data, validation, seed)
    if isinstance(validation, tuple):
        return Split(data.train_images, data.train_labels, *_arrays(validation), data.names)
    if not validation:
        return data
    return split(data, _count(validation, len(data.train_images)), seed)


def _of_arrays(
    rows: Array | Tensor, labels: Array | Tensor, validation: float | Pair, seed: int
) -> Dataset:
    rows, labels = _arrays((rows, labels))
    if isinstance(validation, tuple):
        parts = rows, labels, *_arrays(validation)
    elif not validation:
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


def _arrays(pair: Pair) -> tuple[Array, Array]:
    rows, labels = pair
    return as_array("fit", rows), as_array("fit", labels)


def _count(validation: float, examples: int) -> int:
    """The number of validation examples: `validation` itself, or this fraction of the examples."""
    count = real("fit", "validation", validation)
    is_fraction = isinstance(validation, float | np.floating)
    if is_fraction and 0 < count < 1 and round(count * examples):
        return round(count * examples)
    if is_fraction or isinstance(validation, bool) or not 1 <= count < examples:
        raise SettingError(
            f"fit: got validation={validation} for {examples} examples; a fraction between 0 and "
            f"1, or a number from 1 to {examples - 1}, is needed"
        )
    return int(count)


def for_model(model: Module, data: Dataset) -> Dataset:
    """The data with a name for each output of the model, after a check of its outputs."""
    with random.fork(), evaluation_mode(model), no_grad():
        shape = model(from_numpy(as_input(data.train_images[:1]))).shape
    if len(shape) != 2:
        raise ShapeError(
            f"fit: the model returns shape {shape} for one example; (1, outputs) is needed"
        )
    if not data.has_labels:
        if shape[1] != data.outputs:
            raise ShapeError(
                f"fit: the model has {shape[1]} outputs for {data.outputs} targets per example; "
                "the same number is needed"
            )
        return data
    names = (*data.names, *names_up_to(np.array([shape[1]]))[len(data.names) :])[: shape[1]]
    return data if names == data.names else data._replace(names=names)
