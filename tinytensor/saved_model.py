"""Reads the network of a checkpoint or of a file of weights."""

from __future__ import annotations

import json
import operator
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from tinytensor import checkpoint, json_text, saved_layers
from tinytensor.autograd import no_grad
from tinytensor.datasets import CLASSES, MNIST_SHAPE, described_shape
from tinytensor.errors import DataError, TinytensorError, UnknownName
from tinytensor.lessons import OWN_MODEL, Lesson, find, of_model
from tinytensor.nn import Module
from tinytensor.run_state import described_layers
from tinytensor.tensors import Tensor, from_numpy

MOST_VALUES = 2**18  # of an image; a damaged file could ask for a network of any size


def load_model(file: str | Path, lesson: Lesson | None = None) -> tuple[Lesson, Module]:
    """The lesson and the network, in eval mode, of a checkpoint.

    Args:
        file: a checkpoint that `tinytensor train --save`, tt.fit or Training.save wrote, or weights
            that `--save-weights` or Training.save_weights wrote.
        lesson: makes the network; by default the lesson of the file.

    Raises:
        DataError: the file can't be read, is not such a checkpoint, or doesn't fit the lesson.
            Or it is of a model of your own that is not a Sequential of layers of tt.nn, and then
            load_weights reads it.
    """
    tensors, about = checkpoint.read(file)
    if "lesson" not in about:
        raise DataError(
            f"{file} has no lesson; a checkpoint that tinytensor train --save wrote is needed"
        )
    own = lesson
    lesson = own or _lesson(file, about, tensors)
    model = lesson.new_model(len(_class_names(file, about)), _image_shape(file, about))
    try:
        return lesson, _with_weights(str(file), model, tensors)
    except DataError:
        if own is None or about["lesson"] in (OWN_MODEL, own.number):
            raise
        raise DataError(
            f"{file} is of lesson {about['lesson']}; weights of lesson {own.number} are needed"
        ) from None


def _lesson(file: str | Path, about: Mapping[str, str], tensors: Mapping[str, Tensor]) -> Lesson:
    """The lesson of a file; if the package has no such lesson, one with the network of the file."""
    name = about["lesson"]
    try:
        return find(name)
    except UnknownName:
        made = of_model(_network(file, about, tensors))
        return replace(made, number=name, name=Path(name).stem)


def load_weights(model: Module, file: str | Path) -> Module:
    """Copy the weights of a checkpoint into a model with the same layers.

    With early stopping they are those of the best test so far.

    Args:
        model: a network of your own, such as the one that tt.fit has trained.
        file: a checkpoint that tt.fit, `tinytensor train --save` or Training.save wrote, or weights
            that `--save-weights` wrote.

    Returns:
        the model, in eval mode.

    Raises:
        DataError: the file can't be read, or has other tensors than the model; the message lists
            them, and the model is unchanged.
    """
    return _with_weights(f"load_weights: {file}", model, checkpoint.load(file))


def _with_weights(caller: str, model: Module, tensors: Mapping[str, Tensor]) -> Module:
    """The model in eval mode, with the weights among the tensors of a checkpoint."""
    start = _start(tensors)
    own = {f"{start}{name}": x for name, x in model.named_tensors()}
    given = {name: x for name, x in tensors.items() if name.startswith(start)}
    checkpoint.copy_into(caller, own, given)
    return model.eval()


def _start(tensors: Mapping[str, Tensor]) -> str:
    """What the names of the weights start with: those of the best test, or of the last one."""
    return "best." if any(name.startswith("best.") for name in tensors) else "tested."


def _network(file: str | Path, about: Mapping[str, str], tensors: Mapping[str, Tensor]) -> Module:
    """The network of a lesson or model that is not in the package, made by its description."""
    shape, classes = _image_shape(file, about), len(_class_names(file, about))
    start = _start(tensors)
    shapes = {x.removeprefix(start): y.shape for x, y in tensors.items() if x.startswith(start)}
    try:
        try:
            layers = json_text.parsed(about.get("network", ""))
        except ValueError:
            raise DataError("it has no description of its layers") from None
        model = saved_layers.network(layers, shapes)
        made = json.loads(json.dumps(described_layers(model)))
        if about.get("own_layers") != "[]":
            raise DataError("a layer is of a class of your own")
        if any(made.get(path) != layer for path, layer in layers.items()):
            raise DataError("its layers have other settings than those of tt.nn")
        _check_outputs(model.eval(), shape, classes)
    except DataError as error:
        lesson = about["lesson"]
        if lesson.endswith(".py") and Path(lesson).is_file():
            raise DataError(
                f"{file} is of lesson {lesson}, which makes its network; add --lesson {lesson}"
            ) from None
        is_of = "" if lesson == OWN_MODEL else f" is of lesson {lesson}, which doesn't exist here"
        raise DataError(
            f"{file}{is_of}: its network can't be made from the file, because {error}; write a "
            "Python file with its LESSON and add --lesson FILE.py, or call "
            "tt.train.load_weights(model, file) in Python"
        ) from None
    return model


def _check_outputs(model: Module, shape: tuple[int, int, int], classes: int) -> None:
    """Raise DataError unless the model has one output per class for an image of this shape."""
    try:
        with no_grad():
            outputs = model(from_numpy(np.zeros((1, *shape), np.float32)))
    except TinytensorError as error:
        raise DataError(f"it can't read images of {described_shape(shape)} ({error})") from None
    if outputs.shape != (1, classes):
        raise DataError(
            f"it returns shape {outputs.shape} for one image, and (1, {classes}) is needed"
        )


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
    if text == "null":
        raise DataError(
            f"{file}: it is trained on arrays of your own, and images of bytes are needed; in "
            "Python, make the model and call tt.train.load_weights(model, file)"
        )
    try:
        height, width, channels = (operator.index(size) for size in json_text.parsed(text))
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
        names = json_text.parsed(text)
    except ValueError:
        names = None
    if not isinstance(names, list) or not names or not all(isinstance(x, str) for x in names):
        raise DataError(f"{file}: got classes {text[:100]}; a list of names is needed")
    return tuple(names)
