"""`tinytensor predict`: classify images with a trained network."""

import io
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np

from tinytensor import atomic_file, lessons
from tinytensor.arrays import Array
from tinytensor.cli.output import check_writable
from tinytensor.datasets import MNIST_SHAPE, are_characters, described_shape
from tinytensor.errors import DataError, SettingError
from tinytensor.extras import check_installed
from tinytensor.nn import Module

DIGITS = tuple("0123456789")  # the names of MNIST's classes

DEFAULT_LESSON = "best"
MAX_LISTED = 10  # probabilities in a line
SHADES = " .:-=+*#%@"


class Input(NamedTuple):
    """One image that the network sees."""

    name: str  # the file, with an index if it has several images
    image: Array  # (H, W) or (H, W, C) uint8
    steps: str  # what was done to the picture; empty for an image that was not changed


def predict_images(
    files: tuple[str, ...],
    lesson: str | None,
    weights: str | None,
    many: bool,
    as_is: bool,
    show: bool,
    save_input: str | None,
) -> None:
    """Run `tinytensor predict`; tinytensor_command.commands has its options."""
    from tinytensor.evaluation import probabilities
    from tinytensor.saved_model import class_names, image_shape

    if many and as_is:
        raise SettingError("--many: got --as-is too, which takes pictures unchanged; choose one")
    check_writable("--save-input", save_input)
    file, found, network = chosen_network(lesson, weights)
    names, shape = class_names(file), image_shape(file)
    reads_digits = shape == MNIST_SHAPE and names == DIGITS
    if many and not reads_digits:
        what = described_shape(shape) if names == DIGITS else f"the classes {', '.join(names[:3])}"
        raise SettingError(
            f"--many: finds digits of 28 x 28, and this network reads {what}; leave --many out"
        )
    inputs: list[Input] = []
    unread: list[str] = []
    for name in files:
        try:
            inputs += _inputs(name, many, as_is, shape, names)
        except DataError as error:
            unread.append(str(error))
    if not inputs:
        raise DataError("; ".join(unread))
    click.echo(found.in_words, err=True)
    for each, probs in zip(inputs, probabilities(network, _stack(inputs)), strict=True):
        if each.steps:
            click.echo(f"{each.name}: {each.steps}", err=True)
        if show:
            click.echo(_characters(each.image))
        click.echo(f"{each.name}: {names[probs.argmax()]}   {_listed(names, probs)}")
    if save_input is not None:
        _save(save_input, _stack(inputs))
    if unread:
        raise DataError("; ".join(unread))


def chosen_network(
    lesson: str | None, weights: str | None
) -> tuple[str | Path, lessons.Lesson, Module]:
    """The file of weights, its lesson, and the network in eval mode.

    It is the file of --weights, or the package's weights of --lesson, or of the best lesson. With
    both options the lesson is a Python file, which makes the network.
    """
    from tinytensor.saved_model import load_model

    own = None
    if lesson is not None and lesson.endswith(".py"):
        if weights is None:
            raise SettingError(f"--lesson: got {lesson}, which has no weights; add --weights FILE")
        own = lessons.read_file(lesson)
    elif lesson is not None and weights is not None:
        raise SettingError("--lesson: got --weights too, which has its own lesson; choose one")
    file = weights or lessons.find(lesson or DEFAULT_LESSON).weights_file()
    return file, *load_model(file, own)


def _inputs(
    file: str, many: bool, as_is: bool, shape: tuple[int, int, int], names: tuple[str, ...]
) -> list[Input]:
    """The images of a file. shape, names: of the network's images and classes."""
    check_installed("predict", "images", "PIL")
    from tinytensor.datasets.folders import ENDINGS
    from tinytensor.datasets.images import read_images

    path = Path(file)
    if path.suffix.lower() in ENDINGS and not as_is:
        read = _of_picture(path, many, shape, names)
    else:
        read = [(image, "") for image in read_images(path, shape)]
    several = len(read) > 1
    return [
        Input(f"{file}[{i}]" if several else file, image, steps)
        for i, (image, steps) in enumerate(read)
    ]


def _of_picture(
    path: Path, many: bool, shape: tuple[int, int, int], names: tuple[str, ...]
) -> list[tuple[Array, str]]:
    """The images of a picture, and what was done to it: as `load` reads it.

    For a network of characters of 28 x 28 it is a photo of them. Only for digits, it is one even if
    it has 28 x 28 pixels.
    """
    from tinytensor.datasets.images import read_resized
    from tinytensor.datasets.photo import read_photo

    if names != DIGITS or shape != MNIST_SHAPE:
        image, steps = read_resized(path, shape)
        if not steps or shape != MNIST_SHAPE or not are_characters(names):
            return [(image, steps)]
    return [(each.image, each.steps) for each in read_photo(path, many)]


def _stack(inputs: list[Input]) -> Array:
    return np.stack([each.image for each in inputs])


def _listed(names: tuple[str, ...], probs: Array) -> str:
    """The probabilities of all classes, or of the most probable ones, highest first."""
    order = range(len(names))
    if len(names) > MAX_LISTED:
        order = (-probs).argsort(kind="stable")[:5].tolist()
    return "  ".join(f"{names[i]}: {probs[i]:.3f}" for i in order)


def _characters(image: Array) -> str:
    """An image (H, W) or (H, W, C) uint8 as lines of characters, two per pixel."""
    if image.ndim == 3:
        image = image.mean(axis=2)
    shades = np.array(list(SHADES))[image.astype(int) * len(SHADES) // 256]
    return "\n".join("".join(2 * shade for shade in row).rstrip() for row in shades)


def _save(file: str, images: Array) -> None:
    """Write images (N, H, W) or (N, H, W, C) uint8 side by side to a PNG file."""
    from PIL import Image

    if images.shape[3:] not in ((), (3,)):
        raise DataError(
            f"--save-input: got images with {images.shape[3]} channels; 1 or 3 are needed"
        )
    png = io.BytesIO()
    Image.fromarray(np.concatenate(images, axis=1)).save(png, "PNG")
    try:
        atomic_file.write(file, png.getvalue())
    except OSError as error:
        raise DataError(f"--save-input: {file}: {error.strerror}") from None
