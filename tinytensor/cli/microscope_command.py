"""`tinytensor microscope LESSON --weight I,J`: one weight of a training step in numbers."""

from pathlib import Path
from typing import Any

import click

from tinytensor import datasets, door, lessons
from tinytensor.cli.options import (
    FILE,
    LESSON_OR_FILE,
    Count,
    Several,
    backend_option,
    data_option,
    seed_option,
)
from tinytensor.cli.output import check_writable, write


class Index(Several):
    """Integers separated by commas, which may be equal: 2,2,0,1."""

    def __init__(self) -> None:
        super().__init__(Count(min=0))

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Any, ...]:
        """The integers of a text."""
        return tuple(self.each.convert(text.strip(), param, ctx) for text in value.split(","))


@click.command("microscope")
@click.argument("lesson", type=LESSON_OR_FILE)
@click.option(
    "--weight",
    metavar="I,J",
    type=Index(),
    required=True,
    help="Index of the weight: input,neuron; or row,column,input,output of a convolution.",
)
@click.option("--layer", metavar="PATH", help="Layer, such as layers.4 [the first that fits].")
@click.option("--step", type=Count(1, 10**6), default=1, show_default=True, help="Step to show.")
@click.option("--image", type=Count(min=0), help="Image of the batch [the largest product].")
@seed_option
@data_option
@backend_option
@click.option(
    "--html",
    "html_file",
    metavar="FILE",
    type=FILE,
    help="Write a page with pictures; - for standard output.",
)
def microscope_command(
    lesson: str,
    weight: tuple[int, ...],
    layer: str | None,
    step: int,
    image: int | None,
    seed: int,
    data: Path | None,
    backend: str,
    html_file: str | None,
) -> None:
    """Follow one weight through a training step of LESSON.

    Forward: what it multiplies, and the result. Backward: the factors of the chain rule. Then the
    sum over the batch, which is its gradient, and the update. The gradient is checked by nudging
    the weight. In lesson 1.0, --weight 406,3 connects pixel 406 with the neuron of digit 3.
    """
    from tinytensor.microscope.as_html import as_html
    from tinytensor.microscope.as_text import as_text
    from tinytensor.microscope.following import follow

    found = lessons.find_or_read(lesson)
    check_writable("--html", html_file)
    data_set = datasets.mnist() if data is None else datasets.load(data)
    door.set_backend(backend)
    followed = follow(found, data_set, weight, layer=layer, step=step, seed=seed, example=image)
    if html_file is None:
        click.echo(as_text(followed))
    else:
        write("--html", html_file, as_html(followed))
