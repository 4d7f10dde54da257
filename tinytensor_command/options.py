"""Options of several commands, and the types of their values.

This file doesn't import NumPy, so it has its own list of the backends, and of the optimisers. A
type that needs tinytensor imports it when it converts a value.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import click
from click.shell_completion import CompletionItem

from tinytensor_command import known_names

BACKENDS = ("c", "numba", "numpy")
MOST_THREADS = 64
MOST_PIXELS = 1024  # along an axis of an image
OPTIMIZERS = ("sgd", "adam", "adamw", "rmsprop")
RATE_RULES = ("linear", "sqrt")
KERNELS = ("matmul", "sparse_matmul", "softmax", "conv2d")  # those that have a ladder


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


class ChoiceOrNothing(click.Choice):  # type: ignore[type-arg] # not generic before click 8.2
    """The value of an option that may stand without one, such as --live: browser or terminal."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The choice of a text; the error message covers a lesson given after the option."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(
                f"got {value!r}; {' or '.join(self.choices)} is needed, or nothing; "
                f"the lesson comes first: tinytensor train LESSON {param.opts[0] if param else ''}",
                param, ctx,
            )  # fmt: skip


class StepsPerSecond(click.ParamType):  # type: ignore[type-arg]
    """A number of steps per second; "max" is infinity."""

    name = "steps per second"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The number of a text."""
        if value == "max":
            return math.inf
        try:
            if 0 < (speed := float(value)) < math.inf:
                return speed
        except ValueError:
            pass
        self.fail(f"got {value!r}; steps per second, above 0, or max is needed", param, ctx)


class NumberRange(click.ParamType):  # type: ignore[type-arg]
    """Two numbers, LOW..HIGH, as a tuple: 1e-4..1e-2."""

    name = "range"

    def __init__(self, most: float = math.inf) -> None:
        self.most = most

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float]:
        """The two numbers of a text."""
        low, dots, high = value.partition("..")
        try:
            if dots and 0 < float(low) < float(high) <= self.most and float(high) < math.inf:
                return float(low), float(high)
        except ValueError:
            pass
        upper = "" if math.isinf(self.most) else f" and up to {self.most:g}"
        self.fail(
            f"got {value!r}; LOW..HIGH is needed, two numbers above 0{upper} with LOW below HIGH",
            param, ctx,
        )  # fmt: skip


class Size(NamedTuple):
    """The size of images in pixels."""

    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.height}x{self.width}"  # as the option takes it


class ImageSize(click.ParamType):  # type: ignore[type-arg]
    """The size of images, HEIGHTxWIDTH, or one number for both: 24x32."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Size:
        """The size of a text."""
        height, _, width = str(value).partition("x")
        try:
            size = Size(int(height), int(width or height))
        except ValueError:
            size = Size(0, 0)
        if not 1 <= min(size) <= max(size) <= MOST_PIXELS:
            self.fail(
                f"got {value!r}; HEIGHTxWIDTH is needed, two integers from 1 to {MOST_PIXELS}, "
                "such as 32x32",
                param, ctx,
            )  # fmt: skip
        return size


class HostAndPort(click.ParamType):  # type: ignore[type-arg]
    """An address as a browser sends it: localhost:8080."""

    name = "host and port"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The address, in lower case."""
        if ctx is not None and ctx.resilient_parsing:  # a shell completes the next word
            return str(value)
        from tinytensor.live import HOST_AND_PORT

        if not HOST_AND_PORT.fullmatch(value):
            self.fail(f"got {value!r}; HOST:PORT is needed, such as localhost:8080", param, ctx)
        return str(value).lower()


class LessonNumber(click.ParamType):  # type: ignore[type-arg]
    """A lesson by its number or its name.

    files: True if the name of a Python file with a lesson is accepted, too.
    """

    name = "lesson"

    def __init__(self, files: bool = False) -> None:
        self.files = files

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The lesson's number, or the name of a file."""
        if ctx is not None and ctx.resilient_parsing:  # a shell completes the next word
            return str(value)
        if self.files and str(value).endswith(".py"):
            return str(value)
        from tinytensor import lessons
        from tinytensor.errors import UnknownName

        try:
            return lessons.find(value).number
        except UnknownName as error:
            self.fail(str(error).removeprefix("lesson: "), param, ctx)


class Index(Several):
    """Integers separated by commas, which may be equal: 2,2,0,1."""

    def __init__(self) -> None:
        super().__init__(Count(min=0))

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Any, ...]:
        """The integers of a text."""
        return tuple(self.each.convert(text.strip(), param, ctx) for text in value.split(","))


class Name(click.ParamType):  # type: ignore[type-arg]
    """A name of a table. Shells complete it, and the message of a missing one lists the table.

    The command itself looks the name up, and raises UnknownName with the nearest names.

    known: a function from the command's other arguments to the names, with their descriptions.
    files: True if a file is accepted too.
    """

    def __init__(
        self,
        name: str,
        known: Callable[[dict[str, Any]], dict[str, str]],
        files: bool = False,
    ) -> None:
        self.name, self.known, self.files = name, known, files

    def get_missing_message(self, param: click.Parameter, ctx: click.Context | None) -> str:
        """The names to choose from."""
        given = {} if ctx is None else ctx.params
        return f"Choose from {', '.join(name for name in self.known(given))}."

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The names that start with the typed text, and files."""
        found = [
            CompletionItem(name, help=description)
            for name, description in self.known(ctx.params).items()
            if name.startswith(incomplete)
        ]
        return [*found, CompletionItem(incomplete, type="file")] if self.files else found


LESSON = Name("lesson", lambda _: known_names.lessons())
EXERCISE_OR_FILE = Name("exercise", lambda _: known_names.exercises(), files=True)
LESSON_OR_FILE = Name("lesson", lambda _: known_names.lessons(), files=True)
CLAIM = Name("claim", lambda _: known_names.claims())
KERNEL = Name("kernel", lambda _: dict.fromkeys(KERNELS, ""))
RUNG = Name("rung", lambda given: known_names.rungs(given.get("kernel")))
FILE = click.Path()  # any name; shells complete the files that exist

backends_option = click.option(
    "--backends",
    metavar="NAMES",
    type=Several(click.Choice(BACKENDS)),
    help="Backends, such as c,numba [all that work here].",
)

backend_option = click.option(
    "--backend",
    type=click.Choice(["auto", *BACKENDS]),
    envvar="TINYTENSOR_BACKEND",
    default="auto",
    show_default=True,
    help="Backend to use; auto is C if it works here, otherwise Numba or NumPy.",
)

threads_option = click.option(
    "--threads",
    type=Count(1, MOST_THREADS),
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

lesson_of_weights_option = click.option(
    "--lesson",
    type=LessonNumber(files=True),
    help="Lesson whose weights are used [best]; or the Python file of the lesson of --weights.",
)

data_option = click.option(
    "--data",
    type=click.Path(path_type=Path),
    envvar="TINYTENSOR_DATA_DIR",
    help="Folder of idx files, .npy files or pictures, or an .npz file [MNIST, in the package].",
)

size_option = click.option(
    "--size",
    metavar="HxW",
    type=ImageSize(),
    help="Crop and resize the pictures of --data to this height and width, such as 32x32.",
)

eval_every_option = click.option(
    "--eval-every",
    type=Count(min=1),
    help="Steps between tests on the test images [the lesson's own].",
)

json_option = click.option(
    "--json",
    "json_file",
    metavar="FILE",
    type=FILE,
    help="Write the results; - for standard output.",
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

host_option = click.option(
    "--host",
    metavar="ADDRESS",
    help="IPv4 address of this machine, where other machines of its network may watch the page.",
)

present_option = click.option(
    "--present", is_flag=True, help="Show one panel of the live page with large letters."
)

speed_option = click.option(
    "--speed",
    metavar="N|max",
    type=StepsPerSecond(),
    help="Steps per second on the live page [all in about 25 s]; max starts without a viewer.",
)


def page_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of the page of one training, in the order in which --help lists them."""
    options = (
        port_option,
        no_browser_option,
        speed_option,
        present_option,
        host_option,
        allow_origin_option,
    )
    for option in reversed(options):
        command = option(command)
    return command
