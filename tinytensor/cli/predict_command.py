"""`tinytensor predict`: classify images with a trained network."""

import io
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np

from tinytensor import atomic_file
from tinytensor.arrays import Array
from tinytensor.cli.options import LessonNumber
from tinytensor.cli.output import check_writable
from tinytensor.errors import DataError, SettingError

DEFAULT_LESSON = "best"
MAX_LISTED = 10  # probabilities in a line
SHADES = " .:-=+*#%@"


class Input(NamedTuple):
    """One image that the network sees."""

    name: str  # the file, with an index if it has several images
    image: Array  # (28, 28) uint8
    steps: str  # what was done to the picture; empty for an image that was not changed


@click.command("predict")
@click.argument("files", metavar="IMAGE...", nargs=-1, required=True)
@click.option(
    "--lesson", type=LessonNumber(), help=f"Lesson whose weights are used [{DEFAULT_LESSON}]."
)
@click.option(
    "--weights", "--model", "weights", metavar="FILE", help="Weights or checkpoint of train."
)
@click.option("--many", is_flag=True, help="Read every digit of a picture, row by row.")
@click.option("--as-is", is_flag=True, help="Take pictures of 28 x 28 pixels unchanged.")
@click.option("--show", is_flag=True, help="Print each image as the network sees it.")
@click.option("--save-input", metavar="FILE.png", help="Write the images as the network sees them.")
def predict_command(
    files: tuple[str, ...],
    lesson: str | None,
    weights: str | None,
    many: bool,
    as_is: bool,
    show: bool,
    save_input: str | None,
) -> None:
    """Print the digit in each IMAGE, with all probabilities.

    An IMAGE is a photo or a drawing of a digit: .png, .jpg and others, of any size and in any
    colours, dark on light or light on dark. It becomes an image like MNIST's, and a line says what
    was done. A .npy or idx file has images of 28 x 28, light on dark, which are not changed.

    If an image can't be read, all other images are read first. The package has the weights of the
    lessons 1.0, 3.1 and best.
    """
    from tinytensor import lessons
    from tinytensor.train import class_names, load_model, probabilities

    if lesson is not None and weights is not None:
        raise SettingError("--lesson: got --weights too, which has its own lesson; choose one")
    if many and as_is:
        raise SettingError("--many: got --as-is too, which takes pictures unchanged; choose one")
    check_writable("--save-input", save_input)
    if save_input is not None and Path(save_input).suffix.lower() != ".png":
        raise SettingError(f"--save-input: got {save_input}; a name that ends with .png is needed")
    file = weights or lessons.find(lesson or DEFAULT_LESSON).weights_file()
    found, network = load_model(file)
    names = class_names(file)
    inputs: list[Input] = []
    unread: list[str] = []
    for name in files:
        try:
            inputs += _inputs(name, many, as_is)
        except DataError as error:
            unread.append(str(error))
    if not inputs:
        raise DataError("; ".join(unread))
    click.echo(f"lesson {found.number} {found.name}", err=True)
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


def _inputs(file: str, many: bool, as_is: bool) -> list[Input]:
    """The images of a file."""
    from tinytensor.datasets.images import read_images
    from tinytensor.datasets.photo import ENDINGS, read_photo

    path = Path(file)
    if path.suffix.lower() in ENDINGS and not as_is:
        read = [(each.image, each.steps) for each in read_photo(path, many)]
    else:
        read = [(image, "") for image in read_images(path)]
    several = len(read) > 1
    return [
        Input(f"{file}[{i}]" if several else file, image, steps)
        for i, (image, steps) in enumerate(read)
    ]


def _stack(inputs: list[Input]) -> Array:
    return np.stack([each.image for each in inputs])


def _listed(names: tuple[str, ...], probs: Array) -> str:
    """The probabilities of all classes, or of the most probable ones, highest first."""
    order = range(len(names))
    if len(names) > MAX_LISTED:
        order = (-probs).argsort(kind="stable")[:5].tolist()
    return "  ".join(f"{names[i]}: {probs[i]:.3f}" for i in order)


def _characters(image: Array) -> str:
    """An image (28, 28) uint8 as lines of characters, two per pixel."""
    shades = np.array(list(SHADES))[image.astype(int) * len(SHADES) // 256]
    return "\n".join("".join(2 * shade for shade in row).rstrip() for row in shades)


def _save(file: str, images: Array) -> None:
    """Write images (N, 28, 28) uint8 side by side to a PNG file."""
    from PIL import Image

    png = io.BytesIO()
    Image.fromarray(np.concatenate(images, axis=1)).save(png, "PNG")
    try:
        atomic_file.write(file, png.getvalue())
    except OSError as error:
        raise DataError(f"--save-input: {file}: {error.strerror}") from None
