"""`tinytensor train`: a lesson's network, trained."""

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from tinytensor import datasets, door, lessons
from tinytensor.cli.live_option import check_page, linger, watched
from tinytensor.cli.options import (
    Count,
    backend_option,
    data_option,
    eval_every_option,
    json_option,
    no_browser_option,
    port_option,
    seed_option,
    threads_option,
)
from tinytensor.cli.output import check_writable, plural, same_file, write_json
from tinytensor.errors import SettingError
from tinytensor.train import StepReport, Training


class Screen(click.Choice):  # type: ignore[type-arg] # before click 8.2 it has none
    """Where a training is to be seen."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """One of the choices, from what was typed; that may have been meant as the lesson."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(
                f"got {value!r}; {' or '.join(self.choices)} is needed, or nothing; "
                "the lesson comes first: tinytensor train LESSON --live",
                param, ctx,
            )  # fmt: skip


@click.command("train")
@click.argument("lesson")
@backend_option
@click.option("--steps", type=Count(0, 10**9), help="Batches to train on [the lesson's own].")
@click.option("--batch", type=Count(min=1), help="Images in a batch [the lesson's own].")
@seed_option
@threads_option
@data_option
@eval_every_option
@click.option("--eager", is_flag=True, help="Run each step op by op, not as a captured program.")
@click.option("--save", "save_file", metavar="FILE", help="Keep the trained model there.")
@click.option("--resume", "resume_file", metavar="FILE", help="Go on with a model kept before.")
@click.option(
    "--record", "record_file", metavar="FILE", help="Write all that a picture shows there."
)
@json_option
@click.option(
    "--live",
    type=Screen(["browser", "terminal"]),
    is_flag=False,
    flag_value="browser",
    help="Watch it learn: on a page in the browser, until Ctrl-C; or here.",
)
@port_option
@no_browser_option
def train_command(
    lesson: str,
    backend: str,
    steps: int | None,
    batch: int | None,
    seed: int,
    threads: int | None,
    data: Path | None,
    eval_every: int | None,
    eager: bool,
    save_file: str | None,
    resume_file: str | None,
    record_file: str | None,
    json_file: str | None,
    live: str | None,
    port: int | None,
    no_browser: bool,
) -> None:
    """Train the network of LESSON, a name or a number: softmax, 1.0.

    Ends with the accuracy on the test images and where the time went.
    """
    if record_file is not None:
        from tinytensor.live.run_file import RunWriter
    if live == "terminal":
        from tinytensor.live.terminal import terminal, view

    found = lessons.find(lesson)
    check_writable("--json", json_file)
    check_writable("--save", save_file)
    check_writable("--record", record_file)
    others = (save_file, resume_file, json_file)
    if record_file == "-" or any(same_file(record_file, other) for other in others):
        raise SettingError(f"--record: got {record_file}; a file of its own is needed")
    if save_file == "-" or same_file(save_file, json_file):
        raise SettingError(f"--save: got {save_file}; a file of its own is needed")
    if same_file(resume_file, json_file):
        raise SettingError(f"--json: got {json_file}, which is resumed; another file is needed")
    check_page(live == "browser", port, no_browser)
    console = terminal() if live == "terminal" else None
    if threads is not None:
        door.set_num_threads(threads)
    start = time.perf_counter()
    door.set_backend(backend)
    backend_seconds = time.perf_counter() - start
    # The processor time until here is Python's and NumPy's start; then comes the backend's import.
    import_seconds = _CPU_SECONDS_AT_IMPORT + backend_seconds
    used = door.current_backend()

    start = time.perf_counter()
    data_set = datasets.mnist() if data is None else datasets.load(data)
    data_seconds = time.perf_counter() - start

    training = Training(
        found,
        data_set,
        steps=steps,
        batch=batch,
        seed=seed,
        evaluate_every=eval_every,
        eager=eager,
    )
    if resume_file is not None:
        training.resume(resume_file)
    steps, batch = training.steps, training.batch
    if training.step == steps and (record_file is not None or console is not None):
        raise SettingError(
            "--record, --live: no step is to be made, so there is nothing to be seen"
        )
    click.echo(
        f"lesson {found.number} {found.name}: {found.title}; {plural(steps, 'step')} of "
        f"{plural(batch, 'image')} on {used.name}, {plural(used.num_threads, 'thread')}",
        err=True,
    )
    if threads is not None and used.num_threads != threads:
        click.echo(f"({used.name} computes on {plural(used.num_threads, 'thread')})", err=True)

    with ExitStack() as page:
        run = None
        if live == "browser":
            run = page.enter_context(watched(training, port, not no_browser))
        recorder = None if record_file is None else RunWriter(record_file, training)
        if run is not None:
            run.start(None if recorder is None else recorder.add)
        reports: list[StepReport] = []
        progress = _progress(steps) if console is None else view(training, used.name, console)
        with progress as show, _ends_at(signal.SIGINT, training):
            for report in run or training:
                if recorder is not None and run is None:
                    recorder.add(report, used)
                reports.append(report)
                show(report)
        if run is not None:
            used = run.backend  # a viewer may have chosen another
        last = reports[-1]
        result = {
            "lesson": found.name,
            "backend": used.name,
            "threads": used.num_threads,
            "seed": seed,
            "steps": last.step,
            "batch": batch,
            "test_accuracy": last.test_accuracy,
            "test_loss": last.test_loss,
            "seconds": {"import": import_seconds, "data": data_seconds, **asdict(last.seconds)},
            "history": [_figures_of(report) for report in reports],
        }
        try:
            try:
                if recorder is not None:
                    recorder.close()
                    click.echo(f"recorded: tinytensor replay {record_file}", err=True)
            finally:
                if save_file is not None:
                    training.save(save_file)
        finally:  # what can't be written there is at least seen
            try:
                write_json(json_file, result)
            finally:
                click.echo(_summary(result), err=json_file == "-")
        if training.stop and not (run is not None and run.was_stopped):
            raise KeyboardInterrupt
        if run is not None:
            run.may_begin_again = True
            linger()


def _figures_of(report: StepReport) -> dict[str, float | None]:
    return {
        "step": report.step,
        "train_accuracy": report.train_accuracy,
        "train_loss": report.train_loss,
        "test_accuracy": report.test_accuracy,
        "test_loss": report.test_loss,
    }


@contextmanager
def _ends_at(number: int, training: Training) -> Iterator[None]:
    """Let a signal end the training after the step at hand, which is kept; a second, at once."""

    def stop(*_: object) -> None:
        training.stop = True
        signal.signal(number, before)

    before = signal.signal(number, stop)
    try:
        yield
    finally:
        signal.signal(number, before)


_CPU_SECONDS_AT_IMPORT = time.process_time()  # of this whole process, so far


def _summary(result: dict[str, Any]) -> str:
    seconds = {name.replace("_", " "): value for name, value in result["seconds"].items()}
    times = ", ".join(f"{name} {value:.3f}" for name, value in seconds.items())
    return "\n".join(
        (
            f"test accuracy  {result['test_accuracy']:.4f} after {plural(result['steps'], 'step')}",
            f"test loss      {result['test_loss']:.4f}",
            f"seconds        {times}",
            f"backend        {result['backend']}, {plural(result['threads'], 'thread')}",
        )
    )


@contextmanager
def _progress(steps: int) -> Iterator[Any]:
    """What shows a report: a bar on a terminal, else a plain line now and then."""
    if sys.stderr is None or not sys.stderr.isatty():
        tenths = 0

        def show_line(report: StepReport) -> None:
            nonlocal tenths
            if report.step * 10 >= tenths * max(steps, 1) or report.step == steps:
                tenths = report.step * 10 // max(steps, 1) + 1
                click.echo(
                    f"step {report.step:>{len(str(steps))}}/{steps}  {_figures(report)}", err=True
                )

        yield show_line
        return

    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("starting", total=steps)

        def show_bar(report: StepReport) -> None:
            bar.update(task, completed=report.step, description=_figures(report))

        yield show_bar


def _figures(report: StepReport) -> str:
    loss = "" if report.train_loss is None else f"train loss {report.train_loss:.4f}  "
    return f"{loss}test accuracy {report.test_accuracy:.4f}"
