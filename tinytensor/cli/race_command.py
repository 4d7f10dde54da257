"""`tinytensor race`: backends train the same network in turns, with a table of the standings."""

import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tinytensor import door, lessons, machine
from tinytensor.cli.data_option import given_data
from tinytensor.cli.live_option import check_page, linger, say
from tinytensor.cli.output import check_writable, rendered, write_json
from tinytensor.plural import plural

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from tinytensor.live.race import Contestant, Race

SECONDS = 30.0  # per backend, if neither --seconds nor --steps is given
SECONDS_PER_LINE = 5.0  # between two lines of output without a terminal


def race_backends(
    lesson: str,
    backends: tuple[str, ...] | None,
    seconds: float | None,
    steps: int | None,
    seed: int,
    threads: int | None,
    data: Path | None,
    size: tuple[int, int] | None,
    eval_every: int | None,
    json_file: str | None,
    live: bool,
    port: int | None,
    no_browser: bool,
    allowed: tuple[str, ...],
) -> None:
    """Run `tinytensor race`; tinytensor_command.commands has its options."""
    from tinytensor.live.race import Race

    found = lessons.find_or_read(lesson)
    check_writable("--json", json_file)
    page_options = {"--port": port, "--no-browser": no_browser, "--allow-origin": allowed}
    check_page("browser" if live else None, page_options)
    if threads is not None:
        door.set_num_threads(threads)
    if seconds is None and steps is None:
        seconds = SECONDS
    data_set = given_data(data, size)
    race = Race(
        found,
        data_set,
        backends or tuple(door.available_backends()),
        seconds=seconds,
        steps=steps,
        seed=seed,
        evaluate_every=eval_every,
    )
    limit = "" if seconds is None else f", at most {seconds:g} s per backend"
    click.echo(
        f"{found.in_words}: {found.title}; "
        f"{plural(race.contestants[0].training.steps, 'step')}{limit}",
        err=True,
    )
    with ExitStack() as stack:
        if live:
            from tinytensor.live.race_page import page
            from tinytensor.live.watching import served

            stack.enter_context(served(page(race), port, not no_browser, allowed, say))
        stopped = _run(race)
        try:
            write_json(json_file, _result(race, seed, stopped))
        finally:  # print the table even if the file can't be written
            click.echo(rendered(_table(race, bars=False), _notes()), err=json_file == "-", nl=False)
        if stopped:
            raise KeyboardInterrupt
        if live:
            linger()


def _run(race: "Race") -> bool:
    """Run the race with a display of its standings; True if Ctrl-C stopped it."""
    try:
        with _shown(race) as show:
            for contestant in race:
                show(contestant)
    except KeyboardInterrupt:
        return True
    return False


def _notes() -> str:
    from tinytensor.live.race import NOTES

    width = max(map(len, NOTES)) + 2
    return "\n".join(
        textwrap.fill(f"{heading:{width}}{note}", width=80, subsequent_indent=width * " ")
        for heading, note in NOTES.items()
    )


def _result(race: "Race", seed: int, stopped: bool) -> dict[str, Any]:
    from tinytensor.live.race import GOALS

    return {
        "lesson": race.lesson.name,
        "seed": seed,
        "batch": race.contestants[0].training.batch,
        "cpu": machine.cpu_name(),
        "stopped": stopped,
        "contestants": [
            {
                "backend": each.backend.name,
                "threads": each.backend.num_threads,
                "steps": each.steps,
                "seconds": {
                    "load": each.load_seconds,
                    "compile": each.compile_seconds,
                    "train": each.train_seconds,
                },
                "images_per_second": each.images_per_second,
                "test_accuracy": each.history[-1].test_accuracy if each.history else None,
                "reached": {f"{goal:g}": _when(each, goal) for goal in GOALS},
                "history": [asdict(standing) for standing in each.history],
            }
            for each in race.contestants
        ],
    }


def _when(contestant: "Contestant", goal: float) -> float | None:
    standing = contestant.reached(goal)
    return None if standing is None else standing.seconds


def _table(race: "Race", bars: bool) -> "Table":
    """The standings, one row per contestant. bars: True to add progress bars."""
    from rich import box
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    from tinytensor.live.race import rows

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    found = rows(race)
    name, *headings = found[0]
    table.add_column(name)
    if bars:
        table.add_column("", width=6)
    for heading in headings:
        table.add_column(heading, justify="right")
    for each, row in zip(race.contestants, found, strict=True):
        backend, *cells = (Text(text, "bold" if first else "") for text, first in row.values())
        bar = [ProgressBar(total=1, completed=each.progress, width=6)] if bars else []
        table.add_row(backend, *bar, *cells)
    return table


@contextmanager
def _shown(race: "Race") -> Iterator[Callable[["Contestant"], None]]:
    """A function that shows the standings: a live table on a terminal, lines otherwise."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield _lines(race)
        return

    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    live = Live(console=console, transient=True, get_renderable=lambda: _standings(race))
    with live:
        yield lambda _: live.refresh()


def _standings(race: "Race") -> "Group":
    """The table with bars, and below it the kernel that is being compiled."""
    from rich.console import Group

    from tinytensor.cli.progress import compiling_line

    return Group(_table(race, bars=True), compiling_line())


def _lines(race: "Race") -> Callable[["Contestant"], None]:
    """A function that prints a line per contestant every SECONDS_PER_LINE seconds."""
    then = time.monotonic()

    def show(_: "Contestant") -> None:
        nonlocal then
        if time.monotonic() < then + SECONDS_PER_LINE:
            return
        then = time.monotonic()
        for each in race.contestants:
            seen = f", test accuracy {each.history[-1].test_accuracy:.4f}" if each.history else ""
            click.echo(
                f"{each.backend.name}: {plural(each.steps, 'step')} in {each.seconds:.1f} s{seen}",
                err=True,
            )

    return show
