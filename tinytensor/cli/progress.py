"""What a command does at the moment, on standard error: a bar on a terminal, lines otherwise."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TimeElapsedColumn,
)
from rich.text import Text

from tinytensor import door


class Doing(ProgressColumn):
    """The description of a task; while a backend compiles kernels, which kernel that is."""

    max_refresh = 0.2

    def render(self, task: Task) -> Text:
        """The text of the column."""
        return Text(compiling_line() or task.description, no_wrap=True, overflow="ellipsis")


def compiling_line() -> str:
    """The kernel that is being compiled, and how many this process has compiled, or no text."""
    now = door.compiling()
    return f"compiling once: {now.kernel} ({now.number})" if now else ""


@contextmanager
def progress(pieces: int, seconds_per_line: float = 1.0) -> Iterator[Callable[[str], None]]:
    """A function to call with the name of each piece of work when it starts.

    On a terminal it advances a bar, which has the name and the elapsed time. Otherwise it prints
    the name, if the last line was at least `seconds_per_line` ago.

    pieces: how many there are.
    """
    if sys.stderr is None or not sys.stderr.isatty():
        yield _lines(seconds_per_line)
        return

    columns = BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), Doing()
    bar = Progress(
        *columns,
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),
    )
    with bar:
        task, started = bar.add_task("starting", total=pieces), 0

        def show(name: str) -> None:
            nonlocal started
            bar.update(task, completed=started, description=name)
            started += 1

        yield show


def _lines(seconds_per_line: float) -> Callable[[str], None]:
    """A function that prints a name, if the last line was at least this number of seconds ago."""
    last = time.monotonic()

    def show(name: str) -> None:
        nonlocal last
        if time.monotonic() >= last + seconds_per_line:
            last = time.monotonic()
            click.echo(name, err=True)

    return show
