"""What `tinytensor train` prints while it trains: a bar, or a line every tenth of the steps."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from tinytensor.step_report import StepReport, TrainedStep
from tinytensor.train import Training


def print_finding(text: str) -> None:
    """Print a finding of the coach above the bar, which redirects sys.stderr but not click.echo."""
    if sys.stderr is not None:
        print(text, file=sys.stderr, flush=True)


_FIRST_TESTS = (1, 10, 50, 100, 200, 500)  # steps with a test, if the lesson tests rarely


@contextmanager
def progress_of(training: Training, by_steps: bool) -> Iterator[Any]:
    """A function that shows a report: a bar on a terminal, a line every tenth otherwise.

    by_steps: True moves the bar between the reports too, and tests early if the lesson tests
    rarely. A page in the browser does both itself.
    """
    steps = training.steps
    if sys.stderr is None or not sys.stderr.isatty():
        tenths = 0

        def show_line(report: StepReport) -> None:
            nonlocal tenths
            if report.step * 10 >= tenths * max(steps, 1) or report.step == steps:
                tenths = report.step * 10 // max(steps, 1) + 1
                click.echo(
                    f"step {report.step:>{len(str(steps))}}/{steps}  {_status(report)}", err=True
                )

        yield show_line
        return

    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from tinytensor.cli.progress import Doing

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        Doing(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("first step", total=steps, completed=training.step)
        accuracy, next_time = "", 0.0

        def show_report(report: StepReport) -> None:
            nonlocal accuracy
            accuracy = f"test accuracy {report.test_accuracy:.4f}"
            bar.update(task, completed=report.step, description=_status(report))

        def show_step(result: TrainedStep) -> None:
            nonlocal next_time
            if tests_rarely and training.step + 1 in _FIRST_TESTS:
                training.report_next = True
            if time.monotonic() >= next_time:
                next_time = time.monotonic() + 0.2
                text = f"train loss {result.loss:.4f}  {accuracy}"
                bar.update(task, completed=training.step, description=text)

        tests_rarely = training.evaluate_every > 100
        if by_steps:
            training.report_next = tests_rarely
            training.between_steps = show_step
        yield show_report


def _status(report: StepReport) -> str:
    loss = "" if report.train_loss is None else f"train loss {report.train_loss:.4f}  "
    return f"{loss}test accuracy {report.test_accuracy:.4f}"
