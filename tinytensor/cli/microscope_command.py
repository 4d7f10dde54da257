"""`tinytensor microscope LESSON --weight I,J`: one weight of a training step in numbers."""

from pathlib import Path

import click

from tinytensor import door, lessons
from tinytensor.cli.data_option import given_data
from tinytensor.cli.output import check_writable, write


def show_weight(
    lesson: str,
    weight: tuple[int, ...],
    layer: str | None,
    step: int,
    image: int | None,
    seed: int,
    data: Path | None,
    size: tuple[int, int] | None,
    backend: str,
    html_file: str | None,
) -> None:
    """Run `tinytensor microscope`; tinytensor_command.commands has its options."""
    from tinytensor.microscope.as_html import as_html
    from tinytensor.microscope.as_text import as_text
    from tinytensor.microscope.following import follow

    found = lessons.find_or_read(lesson)
    check_writable("--html", html_file)
    data_set = given_data(data, size)
    door.set_backend(backend)
    followed = follow(found, data_set, weight, layer=layer, step=step, seed=seed, example=image)
    if html_file is None:
        click.echo(as_text(followed))
    else:
        write("--html", html_file, as_html(followed))
