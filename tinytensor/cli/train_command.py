"""`tinytensor train`: train a lesson's network."""

import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from tinytensor import checkpoint, datasets, door, lessons, parallel
from tinytensor.arrays import Array
from tinytensor.cli.live_option import check_page, linger, watched
from tinytensor.cli.output import about_seconds, check_writable, plural, same_file, write_json
from tinytensor.cli.signals import stop_on_signals
from tinytensor.datasets.folders import first_picture
from tinytensor.datasets.wrong_labels import WRONG_TEST_LABELS
from tinytensor.errors import BackendUnavailable, SettingError
from tinytensor.evaluation import evaluate
from tinytensor.logs import log_to
from tinytensor.saver import Saver, best_file
from tinytensor.step_report import StepReport, TrainedStep
from tinytensor.train import Training, seconds_a_step

if TYPE_CHECKING:
    from tinytensor.live.run_file import RunWriter


def train_lesson(
    lesson: str,
    backend: str,
    steps: int | None,
    batch: int | None,
    lr: float | None,
    optimizer: str | None,
    keep_prob: float | None,
    seed: int,
    threads: int | None,
    data: Path | None,
    size: tuple[int, int] | None,
    eval_every: int | None,
    eager: bool,
    save_file: str | None,
    save_every: int | None,
    save_best: bool,
    weights_file: str | None,
    resume_file: str | None,
    record_file: str | None,
    log_name: str | None,
    chunks: int | None,
    batch_norm: str,
    timeout: float | None,
    coach: bool,
    json_file: str | None,
    live: str | None,
    port: int | None,
    no_browser: bool,
    speed: float | None,
    present: bool,
    host: str | None,
    allowed: tuple[str, ...],
) -> None:
    """Run `tinytensor train`; tinytensor_command.commands has its options."""
    world = parallel.world()
    if timeout is not None:
        world.timeout = timeout
    if world.rank:  # rank 0 prints and writes
        json_file, record_file, weights_file, log_name, coach = None, None, None, None, False
    echo = click.echo if world.rank == 0 else _no_output
    if record_file is not None:
        from tinytensor.live.run_file import RunWriter
    if live == "terminal":
        from tinytensor.live.terminal import terminal, view

    found = lessons.find_or_read(lesson)
    found = lessons.changed(found, lr=lr, optimizer=optimizer, keep_prob=keep_prob)
    for option, given in (("--save-every", save_every), ("--save-best", save_best)):
        if given and save_file is None:
            raise SettingError(f"{option}: needs a checkpoint; add --save FILE")
    if live == "terminal" and world.is_launched:
        raise SettingError(
            "--live terminal: mpiexec reads what the ranks print, so there is no terminal to draw "
            "on; --live shows the training in a browser"
        )
    check_writable("--json", json_file)
    check_writable("--record", record_file)
    best = str(best_file(save_file)) if save_best and save_file is not None else None
    for option, name in (
        ("--save", save_file), ("--save-weights", weights_file), ("--save-best", best),
    ):  # fmt: skip
        if world.rank == 0:
            check_writable(option, name, is_replaced=True)
    outputs = {
        "--record": record_file, "--save-weights": weights_file, "--save-best": best,
        "--save": save_file, "--log": log_name,
    }  # fmt: skip
    for option, name in outputs.items():
        others = [json_file, *(other for key, other in outputs.items() if key != option)]
        if option in ("--record", "--save-weights", "--log"):
            others.append(resume_file)
        if name == "-" or any(same_file(name, other) for other in others):
            raise SettingError(f"{option}: got {name}; a separate file is needed")
    if same_file(resume_file, json_file):
        raise SettingError(f"--json: got {json_file}, as --resume did; a separate file is needed")
    given_for_page = {
        "--port": port, "--no-browser": no_browser, "--speed": speed, "--present": present,
        "--host": host, "--allow-origin": allowed,
    }  # fmt: skip
    if world.rank == 0:
        check_page(live, given_for_page)
    console = terminal() if live == "terminal" else None
    if threads is None and world.is_launched:
        threads = world.threads_per_rank
    if threads is not None:
        door.set_num_threads(threads)
    start = time.perf_counter()
    if size is not None and data is None:
        raise SettingError("--size: is of the pictures of a folder; add --data FOLDER")
    data_set = datasets.mnist() if data is None else datasets.load(data, size)
    data_seconds = time.perf_counter() - start
    validation = None
    if save_best:
        data_set, validation = _held_out(data_set, seed)

    if world.rank == 0 and backend == "auto":
        if resume_file is not None:
            backend = checkpoint.about(resume_file).get("backend", backend)
        if backend == "auto":
            backend, reason = _backend_for(found, data_set, found.steps if steps is None else steps)
            if reason:
                echo(reason, err=True)
    backend = world.broadcast_text(backend)
    start = time.perf_counter()
    door.set_backend(backend)
    backend_seconds = time.perf_counter() - start
    # Processor time before this module (Python, NumPy), and the time to load the backend.
    import_seconds = _CPU_SECONDS_AT_IMPORT + backend_seconds
    used = door.current_backend()

    training = Training(
        found,
        data_set,
        steps=steps,
        batch=batch,
        seed=seed,
        evaluate_every=eval_every,
        eager=eager,
        world=world,
        chunks=chunks,
        batch_norm=batch_norm,
    )
    if resume_file is not None and world.rank == 0:  # which sends the state to the other ranks
        training.resume(resume_file)
    training.synchronize()
    log = None
    if log_name is not None:
        log = log_to(log_name, after=None if resume_file is None else training.step)
    steps, batch = training.steps, training.batch
    if training.step == steps and (record_file is not None or console is not None):
        raise SettingError(
            "--record, --live: the training has no steps to make; more --steps are needed"
        )
    echo(
        f"lesson {found.number} {found.name}: {found.title}; {plural(steps, 'step')} of "
        f"{plural(batch, 'image')} on {used.name}, "
        f"{'' if door.threads_are_set() else 'up to '}{plural(used.num_threads, 'thread')}",
        err=True,
    )
    if data is not None:
        echo(f"data {data}: {_described(data_set)}", err=True)
    if training.changes:  # before the run was resumed
        echo(f"changed: {', '.join(training.changes)}", err=True)
    if training.parallel is not None:
        echo(_division(training), err=True)
    if threads is not None and used.num_threads != threads:
        echo(
            f"(--threads {threads}: {used.name} uses {plural(used.num_threads, 'thread')})",
            err=True,
        )

    with ExitStack() as page:
        if log is not None:
            page.enter_context(log)
        if coach:
            page.callback(training.watch_mistakes(_print_finding).close)
        saver = None
        if save_file is not None:
            saver = training.after_step = Saver(training, save_file, save_every, validation)
        early = page.enter_context(ExitStack())  # left after the training thread has ended
        if saver is not None and world.rank == 0:
            early.push(partial(_print_saved_early, saver, lesson))
        run = None
        if live == "browser" and world.rank == 0:
            run = page.enter_context(
                watched(training, port, not no_browser, speed, present, host, allowed)
            )
        recorder = None if record_file is None else RunWriter(record_file, training)
        if run is not None:
            run.start(None if recorder is None else recorder.add)
        follower = None
        if live == "browser" and world.rank:
            from tinytensor.live.follower import Follower

            follower = Follower(training)
        reports: list[StepReport] = []
        progress: AbstractContextManager[Any]
        if world.rank:
            progress = nullcontext(_no_output)
        elif console is None:
            progress = _progress(training, by_steps=run is None)
        else:
            progress = view(training, used.name, console)
        with progress as show, _stop_on_signals(training) as received:
            for report in run or follower or training:
                if recorder is not None and run is None:
                    recorder.add(report, used)
                if log is not None:
                    log(report)
                reports.append(report)
                show(report)
        early.pop_all()  # because the summary has the checkpoint
        if run is not None:
            used = run.backend  # a viewer may have changed the backend
        last = reports[-1] if reports else None  # None after a signal before the first test
        result = {
            "lesson": found.name,
            "backend": used.name,
            "threads": min(training.threads, used.num_threads),
            "seed": seed,
            "steps": training.step if last is None else last.step,
            "batch": batch,
            "test_accuracy": None if last is None else last.test_accuracy,
            "test_loss": None if last is None else last.test_loss,
            "seconds": {
                "import": import_seconds,
                "data": data_seconds,
                **asdict(training.seconds if last is None else last.seconds),
            },
            "history": [_metrics(report) for report in reports],
        }
        if data is None and not save_best and training.step == result["steps"] and last is not None:
            with door.computing_with(used):
                result["test_accuracy_of_right_labels"] = _of_right_labels(training, last)
        if training.coach is not None:
            result["coach"] = training.coach.to_json()
        if training.parallel is not None:
            result["ranks"], result["chunks"] = world.size, training.chunks
            result["weights_sha256"] = training.weights_checksum()
        if training.changes:
            result["changes"] = training.changes
        with door.computing_with(used), ExitStack() as ending:
            # From the last callback to the first; an error keeps none of them from running.
            if sys.stderr is not None and sys.stderr.isatty() and not world.rank:
                own = [] if data is None else ["--data", str(data)]
                own += [] if size is None else ["--size", str(size)]
                weights = weights_file or save_file
                first = None if data is None or weights is None else first_picture(data)
                one = [] if first is None else ["--weights", str(weights), str(first)]
                ending.callback(click.echo, _what_next(found, own, one), err=True)
            ending.callback(echo, _summary(result, training), err=json_file == "-")
            ending.callback(write_json, json_file, result)
            if weights_file is not None:
                ending.callback(training.save_weights, weights_file)
            if recorder is not None:
                ending.callback(_finish_recording, recorder)
            if log is not None:
                ending.callback(log.close)
            if saver is not None and world.rank == 0:
                ending.callback(_finish_saving, saver, lesson)
        if received:
            echo("tinytensor: stopped", err=True)
            raise click.exceptions.Exit(128 + received[0])
        if run is not None:
            run.may_restart = True
            linger()
        elif follower is not None:
            follower.follow_to_the_end()


def _described(data: datasets.Dataset) -> str:
    """The numbers of images, their shape and the classes, in words."""
    size = datasets.described_shape(data.image_shape)
    names = ", ".join(data.names[:6])
    return (
        f"{plural(len(data.train_images), 'training image')} and "
        f"{plural(len(data.test_images), 'test image')} of {size}, "
        f"{len(data.names)} classes: {names}"
        f"{', ...' if len(data.names) > 6 else ''}"
    )


def _no_output(*_: object, **__: object) -> None:
    """Print nothing, on the ranks of MPI after the first."""


def _division(training: Training) -> str:
    """How a batch is divided among the ranks and their threads."""
    assert training.parallel is not None
    team, world = training.parallel.team, training.world
    share = sum(each.count for each in team.shares)
    norm = {True: "the whole batch", False: "each chunk"}[team.synchronizes]
    return (
        f"{plural(world.size, 'rank')}: rank 0 trains on {plural(share, 'image')} of each batch of "
        f"{team.batch}, which is divided into {plural(team.chunks, 'chunk')}; batch norm uses the "
        f"moments of {norm}"
    )


def _print_finding(text: str) -> None:
    """Print a finding of the coach above the bar, which redirects sys.stderr but not click.echo."""
    if sys.stderr is not None:
        print(text, file=sys.stderr, flush=True)


def _held_out(data: datasets.Dataset, seed: int) -> tuple[datasets.Dataset, tuple[Array, Array]]:
    """The data without some training images, and these images with their labels."""
    parts = datasets.hold_out(data, seed)
    data = data._replace(train_images=parts.train_images, train_labels=parts.train_labels)
    return data, (parts.validation_images, parts.validation_labels)


def _finish_saving(saver: Saver, lesson: str) -> None:
    """Save the last checkpoint, if it is not saved yet, and print what was saved."""
    saver.finish()
    training = saver.training
    if training.best is not None:
        best = training.best
        click.echo(
            f"best validation accuracy: {best.accuracy:.4f} after step {best.step:,}", err=True
        )
    _print_saved(saver, lesson)


def _print_saved(saver: Saver, lesson: str) -> None:
    command = _command_to_resume(saver.training, lesson, str(saver.file))
    click.echo(f"saved after step {saver.step:,}{command}", err=True)


def _print_saved_early(
    saver: Saver, lesson: str, kind: type[BaseException] | None, *_: object
) -> None:
    """Print what was saved if Ctrl-C came during the first step, which the thread finished."""
    if kind is KeyboardInterrupt and saver.step is not None:
        _print_saved(saver, lesson)


# The options that a resumed run must share with the run before, or that it continues.
_SHARED = (
    "backend",
    "batch",
    "chunks",
    "batch_norm",
    "lr",
    "optimizer",
    "keep_prob",
    "seed",
    "threads",
    "data",
    "size",
)
_CONTINUED = ("eval_every", "save_every", "save_best", "log_name")


def _command_to_resume(training: Training, lesson: str, file: str) -> str:
    """The end of a line that gives the command to resume the run, or an empty text if it is over.

    A run that has made all its steps can only make more if its learning rate doesn't depend on
    their number.
    """
    is_over = training.step == training.steps
    if is_over and training.depends_on_steps:
        return ""
    context = click.get_current_context()
    world = training.world
    start = ["launch", "-n", str(world.size)] if world.is_launched else []
    words = ["tinytensor", *start, "train", lesson]
    for option in context.command.params:
        name = str(option.name)
        is_kept = name in (*_SHARED, *_CONTINUED) or (name == "steps" and not is_over)
        if name in training.changed:  # by a viewer of the live page
            words += [option.opts[0], str(training.changed[name])]
        elif is_kept and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            value = context.params[name]
            words += [option.opts[0]] if value is True else [option.opts[0], str(value)]
    if is_over:
        words += ["--steps", str(2 * training.steps)]
    return f"; to continue: {shlex.join([*words, '--resume', file, '--save', file])}"


def _finish_recording(recorder: "RunWriter") -> None:
    recorder.close()
    click.echo(f"recorded; to see it: tinytensor replay {recorder.file}", err=True)


def _backend_for(lesson: lessons.Lesson, data: datasets.Dataset, steps: int) -> tuple[str, str]:
    """The backend that finishes first: C if it works here; otherwise NumPy for a short training.

    Numba is faster than NumPy, but first it compiles its kernels. Returns the name, and a sentence
    with the reason if it is not C.
    """
    try:
        return door.load_backend("c").name, ""
    except BackendUnavailable:
        pass
    with door.backend("numpy"):
        seconds = steps * seconds_a_step(lesson, data, steps=3)
    name = "numpy" if seconds < 2 * _NUMBA_COMPILES else door.load_backend("auto").name
    return name, (
        f"backend {name}: C is not compiled here (tinytensor info prints why); NumPy needs about "
        f"{about_seconds(seconds)} for these steps, and Numba is faster, but first it may compile "
        f"its kernels for {_NUMBA_COMPILES} s"
    )


_NUMBA_COMPILES = 10  # seconds on one core, for the kernels of a lesson


def _metrics(report: StepReport) -> dict[str, float | None]:
    return {
        "step": report.step,
        "train_accuracy": report.train_accuracy,
        "train_loss": report.train_loss,
        "test_accuracy": report.test_accuracy,
        "test_loss": report.test_loss,
    }


_TEST_SECONDS = 0.5  # that a test may still take after a signal


def _stop_on_signals(training: Training) -> AbstractContextManager[list[int]]:
    """Inside a `with` block, Ctrl-C and SIGTERM stop the training after its current step.

    The last test is given up if it takes too long. A signal before the first step, and a second
    signal, have their usual effect; see stop_on_signals.
    """
    first = training.step

    def stop(number: int) -> bool:
        if training.step == first:
            signal.raise_signal(number)
            return False
        training.deadline = time.monotonic() + _TEST_SECONDS
        training.stop = True
        return True

    return stop_on_signals(stop)


_CPU_SECONDS_AT_IMPORT = time.process_time()  # since the start of the process


def _what_next(lesson: lessons.Lesson, data: list[str], picture: list[str]) -> str:
    """Commands to try after a training, one on each line.

    data: the options with the data set. picture: those of predict for a picture, if there is one.
    """
    course = lessons.lessons()
    numbers = [each.number for each in course]
    commands = {}
    if lesson.number in numbers:
        commands["watch it learn"] = ["train", lesson.name, *data, "--live"]
        commands["why it works"] = ["lesson", lesson.number]
        if after := course[numbers.index(lesson.number) + 1 :]:
            commands["the next network"] = ["train", after[0].name, *data]
    if not data:
        commands["your own digit"] = ["predict", "photo.png"]
    elif picture:
        commands["a picture"] = ["predict", *picture]
    lines = [f"  {what:17} tinytensor {shlex.join(words)}" for what, words in commands.items()]
    return "\n".join(["\nNext:", *lines])


def _of_right_labels(training: Training, last: StepReport) -> float:
    """The accuracy without the test images of MNIST whose label is wrong."""
    images, labels = training.data.test_images, training.data.test_labels
    wrong = list(WRONG_TEST_LABELS)
    recognised = evaluate(training.tested, images[wrong], labels[wrong])[0] * len(wrong)
    return (last.test_accuracy * len(labels) - recognised) / (len(labels) - len(wrong))


def _summary(result: dict[str, Any], training: Training) -> str:
    seconds = {name.replace("_", " "): value for name, value in result["seconds"].items()}
    times = ", ".join(f"{name} {value:.3f}" for name, value in seconds.items())
    after = f"after {plural(result['steps'], 'step')}"
    if training.step != result["steps"]:
        after += f", the last test; stopped after step {training.step:,}"
    is_tested = result["test_accuracy"] is not None
    tested = (
        f"test accuracy  {result['test_accuracy']:.4f} {after}",
        f"test loss      {result['test_loss']:.4f}",
    ) if is_tested else (f"test accuracy  not measured; stopped {after}",)  # fmt: skip
    right: tuple[str, ...] = ()
    if "test_accuracy_of_right_labels" in result:
        accuracy, count = result["test_accuracy_of_right_labels"], len(WRONG_TEST_LABELS)
        right = (f"               {accuracy:.4f} without the {count} images with a wrong label",)
    ranks: tuple[str, ...] = ()
    if training.parallel is not None:
        count = result["ranks"]
        equal = f", equal on {count} ranks" if count > 1 else ""
        ranks = (f"weights        SHA-256 {result['weights_sha256'][:16]}{equal}",)
    most = door.load_backend(result["backend"]).num_threads
    as_fast = f" ({most} are not faster here)" if result["threads"] < most else ""
    coached: tuple[str, ...] = ()
    if training.coach is not None:
        count = len(training.coach.findings)
        coached = (f"coach          found {plural(count, 'mistake') if count else 'no mistake'}",)
    changed = [f"changed        {change}" for change in training.changes]
    return "\n".join(
        (
            tested[0],
            *right,
            *tested[1:],
            *changed,
            f"seconds        {times}",
            f"backend        {result['backend']}, {plural(result['threads'], 'thread')}{as_fast}",
            *ranks,
            *coached,
        )
    )


_FIRST_TESTS = (1, 10, 50, 100, 200, 500)  # steps with a test, if the lesson tests rarely


@contextmanager
def _progress(training: Training, by_steps: bool) -> Iterator[Any]:
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
