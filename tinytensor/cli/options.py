"""Options of several commands, and the types of their values."""

from pathlib import Path
from typing import Any

import click

from tinytensor import door, lessons
from tinytensor.errors import UnknownName
from tinytensor.live import HOST_AND_PORT

BACKEND_CHOICES = ["auto", *door.BACKENDS]


class Count(click.IntRange):
    """An integer in a range, with the same error message for every wrong value."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The integer of a text."""
        try:
            return int(super().convert(value, param, ctx))
        except click.BadParameter:
            upper = "up" if self.max is None else f"to {self.max}"
            self.fail(f"got {value!r}; an integer from {self.min} {upper} is needed", param, ctx)


class Several(click.ParamType):  # type: ignore[type-arg] # not generic before click 8.4
    """Different values of one type, separated by commas, as a tuple: c,numba."""

    def __init__(self, each: click.ParamType) -> None:  # type: ignore[type-arg]
        self.each = each
        self.name = each.name

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Any, ...]:
        """The values of a text, in its order."""
        values = tuple(self.each.convert(text.strip(), param, ctx) for text in value.split(","))
        if len(set(values)) < len(values):
            self.fail(f"got {value!r}; give each value once", param, ctx)
        return values


class HostAndPort(click.ParamType):  # type: ignore[type-arg]
    """An address as a browser sends it: localhost:8080."""

    name = "host and port"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The address, in lower case."""
        if not HOST_AND_PORT.fullmatch(value):
            self.fail(f"got {value!r}; HOST:PORT is needed, such as localhost:8080", param, ctx)
        return str(value).lower()


class LessonNumber(click.ParamType):  # type: ignore[type-arg]
    """A lesson by its number or its name."""

    name = "lesson"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The lesson's number."""
        try:
            return lessons.find(value).number
        except UnknownName as error:
            self.fail(str(error).removeprefix("lesson: "), param, ctx)


backends_option = click.option(
    "--backends",
    metavar="NAMES",
    type=Several(click.Choice(door.BACKENDS)),
    help="Backends, such as c,numba [all that work here].",
)

backend_option = click.option(
    "--backend",
    type=click.Choice(BACKEND_CHOICES),
    envvar="TINYTENSOR_BACKEND",
    default="auto",
    show_default=True,
    help="Backend to use; auto is the first that works here.",
)

threads_option = click.option(
    "--threads",
    type=Count(1, door.MOST_THREADS),
    envvar="TINYTENSOR_NUM_THREADS",
    help="Number of threads [one per core].",
)

seed_option = click.option(
    "--seed",
    type=Count(min=0),
    default=0,
    show_default=True,
    help="Seed of all random numbers.",
)

data_option = click.option(
    "--data",
    type=click.Path(path_type=Path),
    envvar="TINYTENSOR_DATA_DIR",
    help="Folder of idx files or of pictures, or an .npz file [MNIST, in the package].",
)

eval_every_option = click.option(
    "--eval-every",
    type=Count(min=1),
    help="Steps between tests on the test images [the lesson's own].",
)

json_option = click.option(
    "--json", "json_file", metavar="FILE", help="Write the results; - for standard output."
)

port_option = click.option(
    "--port", type=Count(1, 65535), help="Port of the live page [a free one]."
)

allow_origin_option = click.option(
    "--allow-origin",
    "allowed",
    metavar="HOST:PORT",
    multiple=True,
    type=HostAndPort(),
    help="Another address of the live page, as through ssh -L; may be repeated.",
)

no_browser_option = click.option(
    "--no-browser", is_flag=True, help="Only print the address of the live page."
)
