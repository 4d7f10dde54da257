"""`tinytensor train`: train a lesson's network."""

import signal
import sys
import time
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tinytensor import checkpoint, datasets, door, endings, lessons, parallel
from tinytensor.arrays import Array
from tinytensor.cli.data_option import given_data
from tinytensor.cli.live_option import check_page, linger, watched
from tinytensor.cli.output import about_seconds, check_writable, write_json
from tinytensor.cli.signals import stop_on_signals
from tinytensor.cli.train_progress import print_finding, progress_of
from tinytensor.cli.train_saving import finish_saving, print_saved_early
from tinytensor.cli.train_summary import (
    accuracy_of_right_labels,
    described,
    division,
    metrics,
    scaled_rate,
    summary,
    what_next,
)
from tinytensor.datasets.folders import first_picture
from tinytensor.errors import BackendUnavailable, SettingError
from tinytensor.logs import log_to
from tinytensor.plural import plural
from tinytensor.regular_file import same_file
from tinytensor.saver import Saver, best_file
from tinytensor.step_report import StepReport
from tinytensor.train import Training, seconds_a_step

if TYPE_CHECKING:
    from tinytensor.live.run_file import RunWriter


def train_lesson(
    lesson: str,
    backend: str,
    steps: int | None,
    batch: int | None,
    lr: float | None,
    scale_rate: str | None,
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
    if scale_rate is not None:
        used_batch = found.batch if batch is None else batch
        found = lessons.with_scaled_rate(found, used_batch, scale_rate)
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
    if resume_file is not None and record_file is not None:
        endings.check_new("--record", record_file)
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
    data_set = given_data(data, size)
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
        f"{found.in_words}: {found.title}; {plural(steps, 'step')} of "
        f"{plural(batch, 'image')} on {used.name}, "
        f"{'' if door.threads_are_set() else 'up to '}{plural(used.num_threads, 'thread')}",
        err=True,
    )
    if data is not None:
        echo(f"data {data}: {described(data_set)}", err=True)
    if scale_rate is not None:
        echo(scaled_rate(training), err=True)
    if training.changes:  # before the run was resumed
        echo(f"changed: {', '.join(training.changes)}", err=True)
    if training.parallel is not None:
        echo(division(training), err=True)
    if threads is not None and used.num_threads != threads:
        echo(
            f"(--threads {threads}: {used.name} uses {plural(used.num_threads, 'thread')})",
            err=True,
        )

    with ExitStack() as page:
        if log is not None:
            page.enter_context(log)
        if coach:
            page.callback(training.watch_mistakes(print_finding).close)
        saver = None
        if save_file is not None:
            saver = training.after_step = Saver(training, save_file, save_every, validation)
        early = page.enter_context(ExitStack())  # left after the training thread has ended
        if saver is not None and world.rank == 0:
            early.push(partial(print_saved_early, saver, lesson))
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
            progress = progress_of(training, by_steps=run is None)
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
            "history": [metrics(report) for report in reports],
        }
        if data is None and not save_best and training.step == result["steps"] and last is not None:
            with door.computing_with(used):
                result["test_accuracy_of_right_labels"] = accuracy_of_right_labels(training, last)
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
                ending.callback(click.echo, what_next(found, own, one), err=True)
            ending.callback(echo, summary(result, training), err=json_file == "-")
            ending.callback(write_json, json_file, result)
            if weights_file is not None:
                ending.callback(training.save_weights, weights_file)
            if recorder is not None:
                ending.callback(_finish_recording, recorder)
            if log is not None:
                ending.callback(log.close)
            if saver is not None and world.rank == 0:
                ending.callback(finish_saving, saver, lesson)
        if received:
            echo("tinytensor: stopped", err=True)
            raise click.exceptions.Exit(128 + received[0])
        if run is not None:
            run.may_restart = True
            linger()
        elif follower is not None:
            follower.follow_to_the_end()


def _no_output(*_: object, **__: object) -> None:
    """Print nothing, on the ranks of MPI after the first."""


def _held_out(data: datasets.Dataset, seed: int) -> tuple[datasets.Dataset, tuple[Array, Array]]:
    """The data without some training images, and these images with their labels."""
    parts = datasets.hold_out(data, seed)
    data = data._replace(train_images=parts.train_images, train_labels=parts.train_labels)
    return data, (parts.validation_images, parts.validation_labels)


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
