"""The command line: arguments in, text out.

The course: `tinytensor lessons`, `lesson NAME`, `train LESSON`, `program LESSON`, `try CLAIM`; a
trained network: `predict`; what works here: `info`.
"""

import errno
import json
import math
import os
import platform
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click
import numpy as np

from tinytensor import datasets, interrupt, kernels, lessons, listing_html, random
from tinytensor.errors import BackendUnavailable, SettingError, TinytensorError
from tinytensor.program import capture
from tinytensor.train import StepReport, Training, seconds_a_step, seconds_of_steps

if TYPE_CHECKING:
    from rich.console import Console

BACKEND_CHOICES = ["auto", *kernels.BACKENDS]


def main(arguments: list[str] | None = None) -> None:
    """Run a command; what the user can mend is one line on standard error, and exit code 2."""
    interrupt.is_exception()
    if "_TINYTENSOR_COMPLETE" in os.environ:  # a shell asks what may come next
        program.main(prog_name="tinytensor")
    try:
        # Not program.main(): there a broken pipe would already be exit code 1.
        given = sys.argv[1:] if arguments is None else list(arguments)
        with program.make_context("tinytensor", given or ["--help"]) as context:
            program.invoke(context)
    except click.exceptions.Exit as done:  # after --help, --version
        sys.exit(done.exit_code)
    except click.BadParameter as error:
        _name_source(error, given)
        _fail(error.format_message())
    except click.ClickException as error:
        _fail(error.format_message())
    except TinytensorError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        click.echo("tinytensor: stopped", err=True)
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output has left
        _discard(sys.stdout, sys.stderr)
        sys.exit(141)
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise  # not of our output
        _discard(sys.stdout)
        _fail(f"the output can't be written: {error.strerror}")


def _name_source(error: click.BadParameter, given: Sequence[str]) -> None:
    """Let the message name the environment variable, where the value came from one."""
    option = error.param
    if not isinstance(option, click.Option) or not os.environ.get(str(option.envvar)):
        return
    if not any(word.split("=")[0] in option.opts for word in given):
        error.param_hint = str(option.envvar)


def _discard(*streams: TextIO) -> None:
    """Send what is still to be written, at the exit at the latest, to nowhere."""
    for stream in filter(None, streams):  # Python has None for one that is closed
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _fail(message: str) -> None:
    try:
        click.echo(f"tinytensor: {' '.join(message.split())}", err=True)
    except OSError:  # nobody can be told, but the exit code
        _discard(sys.stderr)
    sys.exit(2)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tinytensor-engine", message="tinytensor %(version)s")
def program() -> None:
    """A small, readable tensor engine that learns to read digits, on C, Numba or NumPy."""


class _Count(click.IntRange):
    """A whole number in a range; what is wrong with one takes one sentence, whatever it is."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return int(super().convert(value, param, ctx))
        except click.BadParameter:
            upper = "up" if self.max is None else f"to {self.max}"
            self.fail(
                f"got {value!r}; a whole number from {self.min} {upper} is needed", param, ctx
            )


_backend_option = click.option(
    "--backend",
    type=click.Choice(BACKEND_CHOICES),
    envvar="TINYTENSOR_BACKEND",
    default="auto",
    show_default=True,
    help="What computes; auto takes the first that works here.",
)

_threads_option = click.option(
    "--threads",
    type=_Count(1, kernels.MOST_THREADS),
    envvar="TINYTENSOR_NUM_THREADS",
    help="The most threads to use [one for each core].",
)


# train ------------------------------------------------------------------------------------------


@program.command("train")
@click.argument("lesson")
@_backend_option
@click.option("--steps", type=_Count(0, 10**9), help="Batches to train on [the lesson's own].")
@click.option("--batch", type=_Count(min=1), help="Images in a batch [the lesson's own].")
@click.option("--seed", type=_Count(min=0), default=0, show_default=True, help="Of all chance.")
@_threads_option
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    envvar="TINYTENSOR_DATA_DIR",
    help="A folder of four idx files, plain or .gz [the MNIST digits inside].",
)
@click.option(
    "--eval-every",
    type=_Count(min=1),
    help="Steps from one look at the test images to the next [the lesson's own].",
)
@click.option("--eager", is_flag=True, help="Run each step op by op, not as a captured program.")
@click.option("--save", "save_file", metavar="FILE", help="Keep the trained model there.")
@click.option("--resume", "resume_file", metavar="FILE", help="Go on with a model kept before.")
@click.option(
    "--json", "json_file", metavar="FILE", help="Write the results there; - for standard output."
)
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
    json_file: str | None,
) -> None:
    """Train the network of LESSON, a name or a number: softmax, 1.0.

    Ends with the accuracy on the test images and where the time went.
    """
    found = lessons.find(lesson)
    _check_writable("--json", json_file)
    _check_writable("--save", save_file)
    if save_file == "-" or _same_file(save_file, json_file):
        raise SettingError(f"--save: got {save_file}; a file of its own is needed")
    if _same_file(resume_file, json_file):
        raise SettingError(f"--json: got {json_file}, which is resumed; another file is needed")
    if threads is not None:
        kernels.set_num_threads(threads)
    start = time.perf_counter()
    kernels.set_backend(backend)
    backend_seconds = time.perf_counter() - start
    # The processor time until here is Python's and NumPy's start; then comes the backend's import.
    import_seconds = _CPU_SECONDS_AT_IMPORT + backend_seconds
    used = kernels.current_backend()

    start = time.perf_counter()
    data_set = datasets.mnist() if data is None else datasets.load(data)
    data_seconds = time.perf_counter() - start

    settings = {"steps": steps, "batch": batch, "seed": seed, "evaluate_every": eval_every}
    training = Training(found, data_set, eager=eager, **settings)  # type: ignore[arg-type]
    if resume_file is not None:
        training.resume(resume_file)
    steps, batch = training.steps, training.batch
    click.echo(
        f"lesson {found.number} {found.name}: {found.title}; {_plural(steps, 'step')} of "
        f"{_plural(batch, 'image')} on {used.name}, {_plural(used.num_threads, 'thread')}",
        err=True,
    )
    if threads is not None and used.num_threads != threads:
        click.echo(f"({used.name} computes on {_plural(used.num_threads, 'thread')})", err=True)

    reports: list[StepReport] = []
    with _progress(steps) as show, _ends_at(signal.SIGINT, training):
        for report in training:
            reports.append(report)
            show(report)

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
        "history": [
            {
                "step": report.step,
                "train_accuracy": report.train_accuracy,
                "train_loss": report.train_loss,
                "test_accuracy": report.test_accuracy,
                "test_loss": report.test_loss,
            }
            for report in reports
        ],
    }
    try:
        if save_file is not None:
            training.save(save_file)
    finally:  # what can't be written there is at least seen
        if used.name == "numba" and not training.stop:
            result["compiling"] = _compiling(training, backend_seconds)
        try:
            _write_json(json_file, result)
        finally:
            click.echo(_summary(result), err=json_file == "-")
    if training.stop:
        raise KeyboardInterrupt


def _compiling(training: Training, import_seconds: float) -> dict[str, float | None]:
    """What a backend that compiles cost before its first result, and when it has earned that back.

    Steps of both backends are timed here, after the training, on as many threads; the fastest
    counts.
    """
    used = kernels.current_backend()
    spent = used.module.compiling()
    masks = random.state().copy()
    step = _fastest_step(training)
    with kernels.backend("numpy") as numpy:
        threads = numpy.num_threads
        numpy.module.set_num_threads(used.num_threads)
        numpy_step = _fastest_step(training)
        numpy.module.set_num_threads(threads)
    random.state()[:] = masks
    cost = import_seconds + spent["compile_seconds"] + spent["load_seconds"]
    gain = numpy_step - step
    return {
        "import_seconds": import_seconds,
        **spent,
        "step_seconds": step,
        "numpy_step_seconds": numpy_step,
        "overtakes_numpy_after": math.ceil(cost / gain) if gain > 0 else None,
    }


def _fastest_step(training: Training) -> float:
    times = seconds_of_steps(
        training.lesson, training.data, steps=50, batch=training.batch, at_most=0.5
    )
    return float(times.min())


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


def _plural(count: int, thing: str) -> str:
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def _summary(result: dict[str, Any]) -> str:
    seconds = {name.replace("_", " "): value for name, value in result["seconds"].items()}
    times = ", ".join(f"{name} {value:.3f}" for name, value in seconds.items())
    lines = [
        f"test accuracy  {result['test_accuracy']:.4f} after {_plural(result['steps'], 'step')}",
        f"test loss      {result['test_loss']:.4f}",
        f"seconds        {times}",
        f"backend        {result['backend']}, {_plural(result['threads'], 'thread')}",
    ]
    if "compiling" in result:
        lines += _ledger(result["compiling"], result["backend"])
    return "\n".join(lines)


def _ledger(cost: dict[str, Any], backend: str) -> Iterator[str]:
    """What compiling took, and whether it was worth it."""
    yield (
        f"before that    importing {backend} {cost['import_seconds']:.1f} s, "
        f"compiling {_plural(cost['compiled'], 'kernel')} {cost['compile_seconds']:.1f} s, "
        f"loading {cost['loaded']} from disk {cost['load_seconds']:.1f} s"
    )
    steps = cost["overtakes_numpy_after"]
    steps_say = (
        "never overtakes it" if steps is None else f"overtakes it after {_plural(steps, 'step')}"
    )
    yield (
        f"a step         {1000 * cost['step_seconds']:.2f} ms, "
        f"on numpy {1000 * cost['numpy_step_seconds']:.2f} ms: {steps_say}"
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


def _check_writable(option: str, name: str | None) -> None:
    """Say that a result can't be written before the work is done, not after."""
    if name is None or name == "-":
        return
    if not name:
        raise SettingError(f"{option}: got an empty name; a file is needed")
    path = Path(name)
    try:
        if path.is_dir():
            raise SettingError(f"{option}: {path} is a folder; a file is needed")
        if not path.parent.is_dir():
            raise SettingError(f"{option}: there is no folder {path.parent}; make it first")
        if path.is_file():
            path.open("a").close()
        elif path.exists():  # not opened: the reader of a pipe would see its end
            if not os.access(path, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        else:
            file = Path(os.path.realpath(path))  # where a link leads
            file.open("x").close()
            file.unlink()  # until there is a result
    except OSError as error:
        raise SettingError(
            f"{option}: {name} can't be written to ({error.strerror}); choose another file"
        ) from None


def _same_file(one: str | None, other: str | None) -> bool:
    if one is None or other is None:
        return False
    return os.path.realpath(one) == os.path.realpath(other)


def _write_json(json_file: str | None, result: dict[str, Any]) -> None:
    if json_file is None:
        return
    _write("--json", json_file, json.dumps(_without_nan(result), indent=2) + "\n")


def _write(option: str, file: str, text: str) -> None:
    if file == "-":
        click.echo(text, nl=False)
        return
    try:
        Path(file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise SettingError(f"{option}: {file}: {error.strerror}") from None


def _without_nan(value: Any) -> Any:
    """JSON has no NaN and no infinity: null stands for them."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# The course --------------------------------------------------------------------------------------


@program.command("lessons")
def lessons_command() -> None:
    """List the lessons, what each adds and reaches, and in what time."""
    data = datasets.mnist()
    click.echo(f"{'':5}{'name':18}{'reaches':>7}{'steps':>7}{'here':>7}  what it adds")
    for lesson in lessons.lessons():
        click.echo(
            f"{lesson.number:5}{lesson.name:18}{lesson.expected_accuracy:>7.4g}"
            f"{lesson.steps:>7,}{_about(lesson.steps * seconds_a_step(lesson, data)):>7}"
            f"  {lesson.title}"
        )
    click.echo("\ntinytensor lesson NAME tells the chapter, tinytensor train NAME trains it.")


def _about(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


@program.command("lesson")
@click.argument("name")
def lesson_command(name: str) -> None:
    """Tell the chapter of lesson NAME.

    It has a drawing of the network, its formulas, what to look for and what to try.
    """
    from rich.console import Console

    lesson = lessons.find(name)
    console = Console(highlight=False)
    with console.capture() as text:  # what goes wrong with the output is main's to handle
        _tell(lesson, console)
    click.echo(text.get(), nl=False)


def _tell(lesson: lessons.Lesson, console: "Console") -> None:
    from rich.panel import Panel
    from rich.text import Text

    console.print(Panel(f"[bold]{lesson.number}  {lesson.title}[/bold]", expand=False))
    for paragraph in lesson.chapter.strip().split("\n\n"):
        head, colon, rest = paragraph.partition(": ")
        if paragraph.startswith("    "):
            console.print(Text(paragraph, "cyan"), soft_wrap=True)
        elif colon and head in ("Formula", "Look for"):
            text = " ".join(rest.split())
            console.print(Text.assemble((f"{head}: ", "bold yellow"), text))
        elif head == "Try":
            for line in paragraph.splitlines():
                console.print(Text.assemble(("Try: ", "bold green"), line.removeprefix("Try: ")))
        else:
            console.print(Text(" ".join(paragraph.split())))
        console.print()
    when = "at its best in" if lesson.expected_of == "best" else "at the end of"
    expected = f"{lesson.expected_accuracy:.4g} of the test images, {when} {lesson.steps:,} steps"
    console.print(Text.assemble(("Expected: ", "bold yellow"), expected))
    console.print(Text.assemble(("Train it: ", "bold green"), f"tinytensor train {lesson.name}"))


@program.command("program")
@click.argument("lesson")
@_backend_option
@click.option("--batch", type=_Count(min=1), help="Images in a batch [the lesson's own].")
@click.option(
    "--profile", is_flag=True, help="Measure each call, and what this machine could do at most."
)
@click.option(
    "--html", "html_file", metavar="FILE", help="Write it there as a page; - for standard output."
)
@click.option("--as-recorded", is_flag=True, help="Leave out the rewrites that make it faster.")
def program_command(
    lesson: str,
    backend: str,
    batch: int | None,
    profile: bool,
    html_file: str | None,
    as_recorded: bool,
) -> None:
    """Show LESSON's training step as a list of kernel calls.

    First the forward part, then the backward one, which is the gradient, then the update.
    """
    found = lessons.find(lesson)
    _check_writable("--html", html_file)
    kernels.set_backend(backend)
    data = datasets.mnist()
    training = Training(found, data, batch=batch)
    step = capture(training.train_step, rewrites=() if as_recorded else None)
    step(*next(datasets.batches(data.train_images, data.train_labels, training.batch, seed=0)))
    if step.program is None:
        return
    shown = step.program.profile() if profile else step.program
    if html_file is None:
        click.echo(shown)
    else:
        title = f"Lesson {found.number}, {found.title}: a training step"
        _write("--html", html_file, listing_html.page(title, shown.to_html()))


@program.command("try")
@click.argument("name", required=False)
@click.option("--seeds", type=_Count(min=1), default=3, show_default=True, help="Runs of each.")
@_backend_option
def try_command(name: str | None, seeds: int, backend: str) -> None:
    """Check a sentence of the course by measuring what it compares.

    Without NAME, list the sentences.
    """
    from tinytensor.lessons import claims

    if name is None:
        for claim in claims.CLAIMS:
            click.echo(f"{claim.name:17}{claim.sentence}")
        return
    claim = claims.find_claim(name)
    kernels.set_backend(backend)
    click.echo(f"{claim.sentence}\n")
    click.echo("On the test images; the loss is the cross-entropy, whatever the training's was.\n")
    click.echo(
        f"{'':26}{'accuracy':>9}{'of the seeds':>18}{'loss':>8}{'its lowest':>11}{'seconds':>8}"
    )
    measured = []
    for result in claims.measure(claim, datasets.mnist(), seeds):
        measured.append(result)
        spread = f"{min(result.accuracies):.4f} to {max(result.accuracies):.4f}"
        click.echo(
            f"{result.variant:26}{result.accuracy:>9.4f}{spread:>18}{result.loss:>8.4f}"
            f"{result.lowest_loss:>11.4f}{result.seconds:>8.2f}"
        )
    best, worst = (f(measured, key=lambda m: m.accuracy) for f in (max, min))
    points = (best.accuracy - worst.accuracy) * 100
    click.echo(
        f"\nMeasured: {best.variant!r} is ahead of {worst.variant!r}\n"
        f"by {points:.2f} points of accuracy, on the mean of {_plural(seeds, 'seed')}."
    )


@program.command("predict")
@click.option("--model", required=True, metavar="FILE", help="What tinytensor train --save wrote.")
@click.argument("files", metavar="IMAGE...", nargs=-1, required=True)
def predict_command(model: str, files: tuple[str, ...]) -> None:
    """Tell the digit in each IMAGE, and how likely each of the ten is.

    An IMAGE is an idx, .npy or .png file; the first two may hold several. They are 28 x 28, and as
    in MNIST: light on a dark ground.
    """
    from tinytensor.datasets.images import read_images
    from tinytensor.train import load_model, probabilities

    lesson, network = load_model(model)
    read = [(file, read_images(Path(file))) for file in files]
    click.echo(f"lesson {lesson.number} {lesson.name}", err=True)
    for file, images in read:
        for i, probs in enumerate(probabilities(network, images)):
            where = file if len(images) == 1 else f"{file}[{i}]"
            each = "  ".join(f"{digit}: {p:.3f}" for digit, p in enumerate(probs))
            click.echo(f"{where}: {int(probs.argmax())}   {each}")


# The ladder --------------------------------------------------------------------------------------


@program.command("ladder")
@click.argument("kernel")
@click.option("--size", type=_Count(1, 10_000), help="Of the work [512; 4000; 100 images].")
@_threads_option
@click.option(
    "--seconds",
    type=click.FloatRange(0.01, 1000),
    default=1,
    show_default=True,
    help="How long to measure each rung.",
)
@click.option(
    "--json", "json_file", metavar="FILE", help="Write the results there; - for standard output."
)
def ladder_command(
    kernel: str, size: int | None, threads: int | None, seconds: float, json_file: str | None
) -> None:
    """Time KERNEL from its naive loop to the fast version.

    KERNEL is matmul, softmax or conv2d.

    Each rung does what the one before does, with one idea more; a backend's last is its own kernel.
    Their speed is told beside the most that this machine can do on all threads, measured as well.
    """
    from tinytensor import ladder, machine

    rungs = ladder.rungs(kernel)
    _check_writable("--json", json_file)
    if threads is not None:
        kernels.set_num_threads(threads)
    states = kernels.backend_states()
    for state in states.values():
        if isinstance(state, TinytensorError):
            click.echo(f"left out: {state}", err=True)
    c = states["c"]
    used = c.num_threads if isinstance(c, kernels.Backend) else threads or os.cpu_count() or 1
    click.echo(f"measuring {len(rungs)} rungs, {seconds:g} s each", err=True)
    size = size or ladder.SIZES[kernel]
    work = ladder.work(kernel, size)
    results, peak = ladder.measure(kernel, size, seconds)
    result = {
        "kernel": kernel,
        "work": work.title,
        "cpu": machine.cpu_name(),
        "threads": used,
        "unit": work.unit,
        "peak": peak and peak / 1e9,
        "rungs": [
            {
                "name": each.rung.name,
                "why": each.rung.why,
                "seconds": each.seconds,
                "speed": each.seconds and work.amount / each.seconds / 1e9,
            }
            for each in results
        ],
    }
    try:
        _write_json(json_file, result)
    finally:  # what can't be written there is at least seen
        click.echo(_ladder(result), err=json_file == "-", nl=False)


def _rounded(number: float, figures: int) -> str:
    """The number to so many figures, its whole part in full: 0.0026, 7.5, 1,408."""
    return f"{number:.{figures}g}" if number < 10**figures - 0.5 else f"{number:,.0f}"


def _ladder(result: dict[str, Any]) -> str:
    """A table of the rungs' speeds, and below it what makes each of them fast."""
    from rich import box
    from rich.table import Table

    speeds = {rung["name"]: rung["speed"] for rung in result["rungs"]}
    peak = result["peak"]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("rung")
    for heading in ("ms", result["unit"], "of peak", "speed-up", "x NumPy"):
        table.add_column(heading, justify="right")
    reasons = Table.grid(padding=(0, 2))
    before, backend = None, ""
    for rung in result["rungs"]:
        name, speed = rung["name"], rung["speed"]
        if name.partition(".")[0] != backend:
            if backend:
                table.add_section()
            before, backend = None, name.partition(".")[0]
        if speed is None:
            table.add_row(name, "too long")
        else:
            table.add_row(
                name,
                _rounded(rung["seconds"] * 1e3, 3),
                _rounded(speed, 3),
                f"{speed / peak:.1%}" if peak else "-",
                f"{speed / before:.1f}" if before else "",
                _rounded(speed / speeds["numpy"], 2) if speeds["numpy"] else "-",
            )
        reasons.add_row(name, rung["why"])
        before = speed
    title = (
        f"{result['kernel']} {result['work']}, float32, on {_plural(result['threads'], 'thread')} "
        f"of {result['cpu']}"
    )
    if peak:
        what = "copying so much memory" if result["unit"] == "GB/s" else "arithmetic in registers"
        title += f"\npeak: {_rounded(peak, 3)} {result['unit']}, measured by {what} alone"
        if max(filter(None, speeds.values()), default=0) > peak:
            title += " (on a busy machine: try again)"
    title += "\nspeed-up: over the rung before"
    return _rendered(title, table, reasons)


@program.command("explain")
@click.argument("kernel")
@click.argument("rung", required=False)
def explain_command(kernel: str, rung: str | None) -> None:
    """Show the source of KERNEL's rungs, or of one RUNG, with comments.

    KERNEL is matmul, softmax or conv2d; RUNG a name such as c.blocked.
    """
    from rich.syntax import Syntax
    from rich.text import Text

    from tinytensor import ladder

    for each in [ladder.find_rung(kernel, rung)] if rung else ladder.rungs(kernel):
        click.echo(_rendered(Text(f"{kernel} by {each.name}: {each.why}", "bold")), nl=False)
        try:
            language, text = each.source()
        except BackendUnavailable as error:
            if rung:
                raise
            click.echo(f"not usable: {error}\n")
            continue
        click.echo(_rendered("", Syntax("", language).highlight(text)), nl=False)


def _rendered(*parts: Any) -> str:
    """What rich makes of it, with colours for a terminal, without blanks at the ends of lines.

    A Text, such as code, keeps its lines.
    """
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    with console.capture() as captured:
        for part in parts:
            console.print(part, soft_wrap=isinstance(part, Text), markup=False)
    return "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines())


# info -------------------------------------------------------------------------------------------


@program.command("info")
@click.option("--measure", is_flag=True, help="Also the most that this machine can do, measured.")
def info_command(measure: bool) -> None:
    """Tell the version, which backends work here, and what they run on.

    Exit code 2 if the one that TINYTENSOR_BACKEND asks for doesn't.
    """
    states = kernels.backend_states()
    lines = [("tinytensor", _version("tinytensor-engine"))]
    lines += [
        ("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    ]
    lines += [(name, _version(name)) for name in ("numpy", "numba", "cffi")]
    lines += [("cores", str(os.cpu_count()))]
    lines += [("compiler", _compiler(states["c"])), ("cpu features", _cpu_features(states["c"]))]
    for name, state in states.items():
        if isinstance(state, kernels.Backend):
            text = f"ready: {state.description}; {_plural(state.num_threads, 'thread')}"
            if state.on_numpy:
                text += f"; on NumPy: {', '.join(state.on_numpy)}"
        else:
            text = f"not usable: {str(state).removeprefix(f'{name}: ')}"
        lines.append((f"backend {name}", text))
    wrong = None
    try:
        lines.append(("in use", kernels.current_backend().name))
    except TinytensorError as error:
        wrong = error
        lines.append(("in use", f"none: {error}"))
    if measure:
        lines += _peaks()
    for name, text in lines:
        click.echo(f"{name:15}{text}")
    if wrong:
        raise wrong


def _peaks() -> list[tuple[str, str]]:
    """The most that one thread and all of them do: arithmetic, and traffic by working set."""
    from tinytensor import machine

    most = kernels.load_backend("c").num_threads
    lines = [("processor", machine.cpu_name())]
    for threads in dict.fromkeys((1, most)):
        on = f"on {_plural(threads, 'thread')}"
        peak = machine.peak_flops(threads, seconds=0.3) / 1e9
        lines.append(("peak", f"{peak:.0f} GFLOP/s in float32 {on}"))
        for kib in (16, 256, 4096, 262_144):
            speeds = ", ".join(
                f"{machine.memory_bandwidth(kib << 10, threads, traffic) / 1e9:.0f} GB/s {traffic}"
                for traffic in machine.ARRAYS
            )
            size = f"{kib} KiB" if kib < 1024 else f"{kib >> 10} MiB"
            lines.append((f"memory {size}", f"{speeds} {on}"))
    return lines


def _compiler(c: kernels.Backend | TinytensorError) -> str:
    """What compiled the C backend, or would."""
    if isinstance(c, kernels.Backend):
        return c.description.partition(",")[0]
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        if name and (path := shutil.which(name)):
            return f"none yet; {path} would compile the C backend"
    return "none: no cc, gcc or clang was found"


def _cpu_features(c: kernels.Backend | TinytensorError) -> str:
    """The instruction sets in C, with the one in use, and beyond the baseline in NumPy."""
    in_c = ""
    if isinstance(c, kernels.Backend):
        in_c = f"{c.module.SIMD} in C (there are {', '.join(c.module.AVAILABLE)}); "
    found = np.show_config(mode="dicts").get("SIMD Extensions", {}).get("found", [])
    return f"{in_c}{' '.join(found) or 'baseline'} in NumPy"


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"
