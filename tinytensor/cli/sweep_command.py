"""`tinytensor sweep`: try settings of a lesson."""

import shlex
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import click

from tinytensor import door, lessons
from tinytensor.cli.data_option import given_data
from tinytensor.cli.output import (
    check_writable,
    given_options,
    rendered,
    write,
    write_json,
)
from tinytensor.cli.signals import stop_on_signals
from tinytensor.errors import DataError, SettingError
from tinytensor.extras import check_installed
from tinytensor.plural import plural
from tinytensor.ranks import launched_rank
from tinytensor.regular_file import same_file
from tinytensor.sweep.sweeping import Sweep, Trial


def sweep_lesson(
    lesson: str,
    rate: tuple[float, float] | None,
    keep: tuple[float, float] | None,
    batch: tuple[int, ...] | None,
    optimizer: tuple[str, ...] | None,
    trials: int,
    storage: str | None,
    steps: int | None,
    seed: int,
    backend: str,
    threads: int | None,
    data: Path | None,
    size: tuple[int, int] | None,
    html_file: str | None,
    png_file: str | None,
    json_file: str | None,
) -> None:
    """Run `tinytensor sweep`; tinytensor_command.commands has its options."""
    found = lessons.find_or_read(lesson)
    is_first = not launched_rank()  # only this process prints the table and writes files
    files = {"--storage": storage, "--html": html_file, "--png": png_file, "--json": json_file}
    _check_files(files)
    if html_file is not None:
        check_installed("sweep --html", "live", "bokeh")
    if png_file is not None:
        check_installed("sweep --png", "live", "matplotlib")
    if threads is not None:
        door.set_num_threads(threads)
    data_set = given_data(data, size)
    door.set_backend(backend)
    with Sweep(
        found, data_set, rate=rate, keep=keep, batch=batch, optimizer=optimizer, trials=trials,
        steps=steps, seed=seed, storage=storage,
    ) as running:  # fmt: skip
        used = door.current_backend()
        if is_first:
            click.echo(
                f"{found.in_words}: {plural(trials, 'trial')} of "
                f"{plural(running.steps, 'step')} on {used.name}; accuracy on "
                f"{plural(len(running.data.validation_images), 'validation image')}, which are "
                "part of the training images",
                err=True,
            )

        def stop(_: int) -> bool:
            running.stop()
            return True

        failure: DataError | None = None
        with stop_on_signals(stop) as received:
            try:
                for trial in running:
                    click.echo(_line(trial, trials), err=True)
            except DataError as error:  # a full disk; the table has the trials so far
                failure = error
        done = running.trials
    title = (
        f"lesson {found.number}: {plural(len(done), 'trial')} of {plural(running.steps, 'step')}"
    )
    result = {
        "lesson": found.name, "steps": running.steps, "seed": seed, "backend": used.name,
        "trials": [asdict(trial) for trial in done],
    }  # fmt: skip
    with ExitStack() as ending:  # from the last callback to the first; all run after an error, too
        if failure is not None:
            ending.callback(_raise, failure)
        if is_first:
            ending.callback(write_json, json_file, result)
        if is_first and done:
            ending.callback(_write_png, title, done, png_file)
            ending.callback(_write_html, title, done, html_file)
            if done[0].accuracy is not None:
                ending.callback(click.echo, _command(lesson, done[0]), err=True)
            to_stderr = json_file == "-" or html_file == "-"
            ending.callback(click.echo, _table(done), nl=False, err=to_stderr)
    if received and not is_first:
        raise click.exceptions.Exit(128 + received[0])
    if received:
        kept = f"{len(done)} of {plural(trials, 'trial')} have finished"
        more = "the same command continues" if storage else "--storage FILE would keep them"
        click.echo(f"tinytensor: stopped; {kept}; {more}", err=True)
        raise click.exceptions.Exit(128 + received[0])


def _check_files(files: dict[str, str | None]) -> None:
    """Raise SettingError if a file can't be written, or is given twice."""
    for option, name in files.items():
        if option == "--storage" and name == "-":
            raise SettingError("--storage: got -; a file is needed")
        check_writable(option, name, is_replaced=option == "--storage")
        if option == "--png" and name == "-":
            raise SettingError("--png: got -; a file is needed")
        others = [other for key, other in files.items() if key != option]
        if name is not None and any(name == other or same_file(name, other) for other in others):
            raise SettingError(f"{option}: got {name}; a separate file is needed")


def _line(trial: Trial, trials: int) -> str:
    """The line of a trial that has finished."""
    settings = "  ".join(f"{name} {_short(value)}" for name, value in trial.settings.items())
    return (
        f"trial {trial.number:>{len(str(trials - 1))}}  {settings}  {_accuracy(trial)}  "
        f"{trial.seconds:.1f} s"
    )


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _accuracy(trial: Trial) -> str:
    if trial.accuracy is None:
        return "diverged: the loss is not finite"
    return f"validation accuracy {trial.accuracy:.4f}"


def _table(trials: Sequence[Trial]) -> str:
    """The trials as a table, in their order."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for name in ("trial", *trials[0].settings, "accuracy", "loss", "seconds"):
        table.add_column(name, justify="right")
    for trial in trials:
        table.add_row(
            str(trial.number),
            *map(_short, trial.settings.values()),
            "diverged" if trial.accuracy is None else f"{trial.accuracy:.4f}",
            "" if trial.loss is None else f"{trial.loss:.4g}",
            f"{trial.seconds:.1f}",
        )
    return rendered(table)


def _command(lesson: str, best: Trial) -> str:
    """The command that trains with the settings of the best trial, and tests on the test images."""
    words = ["tinytensor", "train", lesson]
    for name, value in best.settings.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    words += given_options(_SHARED)
    return f"to train with the best settings: {shlex.join(words)}"


_SHARED = ("steps", "seed", "backend", "threads", "data", "size")  # options of train, too


def _write_html(title: str, trials: Sequence[Trial], file: str | None) -> None:
    if file is not None:
        from tinytensor.sweep.scatter import as_html

        write("--html", file, as_html(title, trials))


def _write_png(title: str, trials: Sequence[Trial], file: str | None) -> None:
    if file is not None:
        from tinytensor.sweep.scatter import as_png

        write("--png", file, as_png(title, trials))


def _raise(error: DataError) -> None:
    raise error
