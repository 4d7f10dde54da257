"""What a command does at the moment, on standard error: a bar on a terminal, lines otherwise."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

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


class Pieces:
    """Work in pieces, as it is shown: on a terminal with a bar, otherwise with lines.

    pieces: how many there are. seconds_per_line: the least time between two lines.
    """

    def __init__(self, pieces: int, seconds_per_line: float) -> None:
        self.bar: Progress | None = None
        self._started, self._seconds, self._last = 0, seconds_per_line, time.monotonic()
        if sys.stderr is not None and sys.stderr.isatty():
            columns = BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), Doing()
            console = Console(stderr=True)
            self.bar = Progress(*columns, console=console, transient=True, redirect_stdout=False)
            self._task = self.bar.add_task("starting", total=pieces)

    def show(self, name: str) -> None:
        """Show that the next piece of work, with this name, starts now."""
        if self.bar is not None:
            self.bar.update(self._task, completed=self._started, description=name)
            self._started += 1
        elif time.monotonic() >= self._last + self._seconds:
            self._last = time.monotonic()
            click.echo(name, err=True)

    def echo(self, line: str) -> None:
        """Print a line on standard output, above the bar."""
        if self.bar is not None:
            self.bar.stop()
        click.echo(line)
        if self.bar is not None:
            self.bar.start()


@contextmanager
def progress(pieces: int, seconds_per_line: float = 1.0) -> Iterator[Pieces]:
    """The Pieces of a `with` block; see there."""
    work = Pieces(pieces, seconds_per_line)
    with work.bar or nullcontext():
        yield work
