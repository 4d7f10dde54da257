"""`tinytensor race`: backends train the same network, by turns, in front of everybody."""

import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tinytensor import datasets, door, lessons, machine
from tinytensor.cli.live_option import check_page, linger, served
from tinytensor.cli.options import (
    Count,
    backends_option,
    data_option,
    eval_every_option,
    json_option,
    no_browser_option,
    port_option,
    seed_option,
    threads_option,
)
from tinytensor.cli.output import check_writable, plural, rendered, write_json

if TYPE_CHECKING:
    from rich.table import Table

    from tinytensor.live.race import Contestant, Race

SECONDS = 30.0  # for each, if nothing is said
A_LINE = 5.0  # seconds from one line to the next, where there is no terminal


@click.command("race")
@click.argument("lesson")
@backends_option
@click.option(
    "--seconds", type=click.FloatRange(0.1, 1e6), help="For each, and not more [30, or no limit]."
)
@click.option("--steps", type=Count(1, 10**9), help="For each, and not more [the lesson's own].")
@seed_option
@threads_option
@data_option
@eval_every_option
@json_option
@click.option("--live", is_flag=True, help="Watch it on a page in the browser, until Ctrl-C.")
@port_option
@no_browser_option
def race_command(
    lesson: str,
    backends: tuple[str, ...] | None,
    seconds: float | None,
    steps: int | None,
    seed: int,
    threads: int | None,
    data: Path | None,
    eval_every: int | None,
    json_file: str | None,
    live: bool,
    port: int | None,
    no_browser: bool,
) -> None:
    """Let backends train LESSON side by side, and show who is ahead.

    They take turns, so that each has had as many seconds as the others. Its seconds are those of
    loading the backend, of compiling, and of training; looks at the test images aren't among them.
    Ends with who reached which accuracy when.
    """
    from tinytensor.live.race import Race

    found = lessons.find(lesson)
    check_writable("--json", json_file)
    check_page(live, port, no_browser)
    if threads is not None:
        door.set_num_threads(threads)
    if seconds is None and steps is None:
        seconds = SECONDS
    data_set = datasets.mnist() if data is None else datasets.load(data)
    race = Race(
        found,
        data_set,
        backends or tuple(door.available_backends()),
        seconds=seconds,
        steps=steps,
        seed=seed,
        evaluate_every=eval_every,
    )
    limit = "" if seconds is None else f", {seconds:g} s for each at the most"
    click.echo(
        f"lesson {found.number} {found.name}: {found.title}; "
        f"{plural(race.contestants[0].training.steps, 'step')}{limit}",
        err=True,
    )
    with ExitStack() as stack:
        if live:
            from tinytensor.live.race_page import page

            stack.enter_context(served(page(race), port, not no_browser))
        stopped = _is_stopped(race)
        try:
            write_json(json_file, _result(race, seed, stopped))
        finally:  # what can't be written there is at least seen
            click.echo(rendered(_table(race, bars=False), _notes()), err=json_file == "-", nl=False)
        if stopped:
            raise KeyboardInterrupt
        if live:
            linger()


def _is_stopped(race: "Race") -> bool:
    """Let it go on to its end, in front of everybody; or was it stopped before?"""
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
    """A row for each contestant, and with bars how much of the race is behind it."""
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
        bar = [ProgressBar(total=1, completed=each.done, width=6)] if bars else []
        table.add_row(backend, *bar, *cells)
    return table


@contextmanager
def _shown(race: "Race") -> Iterator[Callable[["Contestant"], None]]:
    """What shows how things stand: a table that moves on a terminal, else lines now and then."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield _lines(race)
        return

    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    with Live(console=console, auto_refresh=False, transient=True) as live:
        live.update(_table(race, bars=True), refresh=True)
        yield lambda _: live.update(_table(race, bars=True), refresh=True)


def _lines(race: "Race") -> Callable[["Contestant"], None]:
    """What writes a line for each contestant every few seconds."""
    then = time.monotonic()

    def show(_: "Contestant") -> None:
        nonlocal then
        if time.monotonic() < then + A_LINE:
            return
        then = time.monotonic()
        for each in race.contestants:
            seen = f", test accuracy {each.history[-1].test_accuracy:.4f}" if each.history else ""
            click.echo(
                f"{each.backend.name}: {plural(each.steps, 'step')} in {each.seconds:.1f} s{seen}",
                err=True,
            )

    return show
