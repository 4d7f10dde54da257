"""Options that several commands have, and kinds of values."""

from pathlib import Path
from typing import Any

import click

from tinytensor import door, lessons
from tinytensor.errors import UnknownName

BACKEND_CHOICES = ["auto", *door.BACKENDS]


class Count(click.IntRange):
    """A whole number in a range; what is wrong with one takes one sentence, whatever it is."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number, from what was typed."""
        try:
            return int(super().convert(value, param, ctx))
        except click.BadParameter:
            upper = "up" if self.max is None else f"to {self.max}"
            self.fail(
                f"got {value!r}; a whole number from {self.min} {upper} is needed", param, ctx
            )


class Several(click.ParamType):  # type: ignore[type-arg] # before click 8.4 it has none
    """Values of one kind with commas between, none of them twice, as a tuple: c,numba."""

    def __init__(self, each: click.ParamType) -> None:  # type: ignore[type-arg]
        self.each = each
        self.name = each.name

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Any, ...]:
        """The values, in the order in which they were typed."""
        values = tuple(self.each.convert(text.strip(), param, ctx) for text in value.split(","))
        if len(set(values)) < len(values):
            self.fail(f"got {value!r}; each is needed once", param, ctx)
        return values


class LessonNumber(click.ParamType):  # type: ignore[type-arg]
    """A lesson by its number or its name."""

    name = "lesson"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Its number."""
        try:
            return lessons.find(value).number
        except UnknownName as error:
            self.fail(str(error).removeprefix("lesson: "), param, ctx)


backends_option = click.option(
    "--backends",
    metavar="NAMES",
    type=Several(click.Choice(door.BACKENDS)),
    help="Such as c,numba,numpy [all that work here].",
)

backend_option = click.option(
    "--backend",
    type=click.Choice(BACKEND_CHOICES),
    envvar="TINYTENSOR_BACKEND",
    default="auto",
    show_default=True,
    help="What computes; auto takes the first that works here.",
)

threads_option = click.option(
    "--threads",
    type=Count(1, door.MOST_THREADS),
    envvar="TINYTENSOR_NUM_THREADS",
    help="The most threads to use [one for each core].",
)

seed_option = click.option(
    "--seed", type=Count(min=0), default=0, show_default=True, help="Of all chance."
)

data_option = click.option(
    "--data",
    type=click.Path(path_type=Path),
    envvar="TINYTENSOR_DATA_DIR",
    help="A folder of four idx files, plain or .gz [the MNIST digits inside].",
)

eval_every_option = click.option(
    "--eval-every",
    type=Count(min=1),
    help="Steps from one look at the test images to the next [the lesson's own].",
)

json_option = click.option(
    "--json", "json_file", metavar="FILE", help="Write the results there; - for standard output."
)

port_option = click.option(
    "--port", type=Count(1, 65535), help="Of the live page [the next free one]."
)

no_browser_option = click.option(
    "--no-browser", is_flag=True, help="Only tell the live page's address."
)
