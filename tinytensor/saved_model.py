"""Reads the network of a checkpoint or of a file of weights."""

from __future__ import annotations

import json
import operator
from collections.abc import Mapping
from pathlib import Path

from tinytensor import checkpoint
from tinytensor.datasets import CLASSES, MNIST_SHAPE
from tinytensor.errors import DataError, UnknownName
from tinytensor.lessons import Lesson, find
from tinytensor.nn import Module

MOST_VALUES = 2**18  # of an image; a damaged file could ask for a network of any size


def load_model(file: str | Path) -> tuple[Lesson, Module]:
    """The lesson and the network, in eval mode, of a checkpoint.

    Args:
        file: a checkpoint that `tinytensor train --save` or Training.save wrote, or weights that
            `--save-weights` or Training.save_weights wrote.

    Raises:
        DataError: the file can't be read, is not such a checkpoint, or doesn't fit the lesson.
    """
    tensors, about = checkpoint.read(file)
    if "lesson" not in about:
        raise DataError(
            f"{file} has no lesson; a checkpoint that tinytensor train --save wrote is needed"
        )
    try:
        lesson = find(about["lesson"])
    except UnknownName:
        raise DataError(
            f"{file} is of lesson {about['lesson']}, which doesn't exist here; a checkpoint of one "
            "of the lessons that tinytensor lessons lists is needed"
        ) from None
    model = lesson.new_model(len(_class_names(file, about)), _image_shape(file, about))
    own = {f"tested.{name}": x for name, x in model.named_tensors()}
    given = {name: x for name, x in tensors.items() if name.startswith("tested.")}
    checkpoint.copy_into(str(file), own, given)
    return lesson, model.eval()


def class_names(file: str | Path) -> tuple[str, ...]:
    """The names of the classes of a checkpoint or of a file of weights: "0" to "9" for MNIST.

    Raises:
        DataError: the file can't be read, or its names are not a list of strings.
    """
    return _class_names(file, checkpoint.about(file))


def image_shape(file: str | Path) -> tuple[int, int, int]:
    """The shape of the images of a checkpoint or of a file of weights: height, width, channels.

    Raises:
        DataError: the file can't be read, or its shape is not three integers from 1 up.
    """
    return _image_shape(file, checkpoint.about(file))


def _image_shape(file: str | Path, about: Mapping[str, str]) -> tuple[int, int, int]:
    text = about.get("image_shape")
    if text is None:  # a checkpoint of an earlier version, which knew one shape only
        return MNIST_SHAPE
    try:
        height, width, channels = (operator.index(size) for size in json.loads(text))
    except (TypeError, ValueError):
        height = width = channels = 0
    if min(height, width, channels) < 1 or height * width * channels > MOST_VALUES:
        raise DataError(
            f"{file}: got image_shape {text[:100]}; a list of height, width and channels is needed"
        )
    return height, width, channels


def _class_names(file: str | Path, about: Mapping[str, str]) -> tuple[str, ...]:
    text = about.get("classes")
    if text is None:  # a checkpoint of an earlier version, which knew ten classes only
        return tuple(map(str, range(CLASSES)))
    try:
        names = json.loads(text)
    except ValueError:
        names = None
    if not isinstance(names, list) or not names or not all(isinstance(x, str) for x in names):
        raise DataError(f"{file}: got classes {text[:100]}; a list of names is needed")
    return tuple(names)
