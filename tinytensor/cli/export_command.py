"""`tinytensor export`: write a trained network as an ONNX file."""

from pathlib import Path

import click

from tinytensor.cli.output import check_writable
from tinytensor.cli.predict_command import chosen_weights
from tinytensor.errors import SettingError
from tinytensor.extras import check_installed


def export_network(file: str, lesson: str | None, weights: str | None) -> None:
    """Run `tinytensor export`; tinytensor_command.commands has its options."""
    from tinytensor.onnx.exporting import export
    from tinytensor.ops.creation import zeros
    from tinytensor.saved_model import class_names, image_shape, load_model

    source = chosen_weights(lesson, weights)
    if Path(file).suffix.lower() != ".onnx":
        raise SettingError(f"export: got {file}; a name that ends with .onnx is needed")
    check_installed("export", "onnx", "onnx")
    check_writable("export", file, is_replaced=True)
    found, network = load_model(source)
    shape = image_shape(source)
    export(network, file, zeros(1, *shape))
    kilobytes = Path(file).stat().st_size / 1000
    click.echo(
        f"{file}: lesson {found.number} {found.name}, images "
        f"(batch, {', '.join(map(str, shape))}) to logits (batch, {len(class_names(source))}), "
        f"{kilobytes:,.0f} kB"
    )
