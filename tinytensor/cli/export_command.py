"""`tinytensor export`: write a trained network as an ONNX file, or a lesson as an HTML page."""

from pathlib import Path

import click

from tinytensor.cli.output import check_writable
from tinytensor.cli.predict_command import chosen_network
from tinytensor.errors import SettingError
from tinytensor.extras import check_installed

MNIST = "The images are from MNIST, by Y. LeCun, C. Cortes and C. Burges, CC BY-SA 3.0."


def export_network(
    name: str,
    html_file: str | None,
    lesson: str | None,
    weights: str | None,
    images: int | None,
    steps: int | None,
    batch: int | None,
    seed: int | None,
    data: Path | None,
    size: tuple[int, int] | None,
) -> None:
    """Run `tinytensor export`; tinytensor_command.commands has its options."""
    if html_file is None:
        of_pages = {
            "--images": images, "--steps": steps, "--batch": batch,
            "--seed": seed, "--data": data, "--size": size,
        }  # fmt: skip
        if given := [option for option, value in of_pages.items() if value is not None]:
            raise SettingError(f"{given[0]}: it is for pages; give --html FILE, too")
        _export_onnx(name, lesson, weights)
    elif lesson is not None:
        raise SettingError("--lesson: a page takes its lesson first: export LESSON --html FILE")
    else:
        _export_page(name, html_file, weights, images, steps, batch, seed, data, size)


def _export_onnx(file: str, lesson: str | None, weights: str | None) -> None:
    from tinytensor.onnx.exporting import export
    from tinytensor.ops.creation import zeros
    from tinytensor.saved_model import class_names, image_shape

    if Path(file).suffix.lower() != ".onnx":
        raise SettingError(
            f"export: got {file}; a name that ends with .onnx is needed, or LESSON --html FILE"
        )
    check_installed("export", "onnx", "onnx")
    check_writable("export", file, is_replaced=True)
    source, found, network = chosen_network(lesson, weights)
    shape = image_shape(source)
    export(network, file, zeros(1, *shape))
    kilobytes = Path(file).stat().st_size / 1000
    click.echo(
        f"{file}: {found.in_words}, images "
        f"(batch, {', '.join(map(str, shape))}) to logits (batch, {len(class_names(source))}), "
        f"{kilobytes:,.0f} kB"
    )


def _export_page(
    name: str,
    file: str,
    weights: str | None,
    images: int | None,
    steps: int | None,
    batch: int | None,
    seed: int | None,
    data: Path | None,
    size: tuple[int, int] | None,
) -> None:
    from tinytensor import lessons
    from tinytensor.cli.data_option import given_data
    from tinytensor.datasets import described_shape
    from tinytensor.saved_model import class_names, image_shape, load_model
    from tinytensor.web.html_file import STEPS, export_lesson

    found = lessons.find_or_read(name)
    if file == "-":
        raise SettingError("--html: got -; a file is needed")
    check_writable("--html", file, is_replaced=True)
    dataset, network = given_data(data, size), None
    if weights is not None:
        lesson, network = load_model(weights, found if found.number.endswith(".py") else None)
        if lesson.number != found.number:
            raise SettingError(
                f"--weights: {weights} is of lesson {lesson.number}; weights of lesson "
                f"{found.number} are needed"
            )
        shape, classes = image_shape(weights), len(class_names(weights))
        if (shape, classes) != (dataset.image_shape, len(dataset.names)):
            raise SettingError(
                f"--weights: {weights} is for images of {described_shape(shape)} and "
                f"{classes} classes; give their --data"
            )
    written = export_lesson(
        found, dataset, file, weights=network,
        steps=STEPS if steps is None else steps, batch=batch, seed=seed or 0, images=images,
        note=MNIST if data is None else "",
    )  # fmt: skip
    click.echo(
        f"{file}: {found.in_words}, {written.train_images:,} training images, "
        f"{written.test_images:,} test images, {written.bytes / 1e6:.1f} MB"
    )
