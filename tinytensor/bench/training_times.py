"""Times of whole runs: a process from start to end, with imports, data, training and tests.

Compilation is included; it is part of the first step.

    python -m tinytensor.bench.training_times LESSON BACKEND THREADS STEPS SEED START

runs the process of one run, and prints its times as JSON. START is the value of perf_counter() just
before the process was started; all processes share this clock.
"""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from time import perf_counter
from typing import Any

import tinytensor as tt
from tinytensor import door
from tinytensor.bench.contest import Unfair, bind
from tinytensor.bench.environment import environment
from tinytensor.bench.noise import NoiseMonitor
from tinytensor.bench.report import TrainResult
from tinytensor.lessons import find
from tinytensor.train import Training


def run(lesson: str, backend: str, threads: int, steps: int | None, seed: int = 0) -> TrainResult:
    """Make one run in a separate process.

    Args:
        lesson: number or name of the lesson.
        backend: name of the backend.
        threads: number of threads, and of cores.
        steps: number of training steps; None for the lesson's own.
        seed: seed of the run.

    Raises:
        Unfair: the process fails.
    """
    steps = find(lesson).steps if steps is None else steps
    start = perf_counter()
    arguments = [lesson, backend, *map(str, (threads, steps, seed, start))]
    process = subprocess.Popen(
        [sys.executable, "-m", "tinytensor.bench.training_times", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment() | {"OMP_NUM_THREADS": str(threads)},
        preexec_fn=lambda: bind(threads),
        process_group=0,  # so that Ctrl-C reaches only this process, which ends the other one
    )
    try:
        output, errors = process.communicate()
    finally:
        process.kill()
        process.wait()
    seconds = perf_counter() - start
    if process.returncode:
        (*_, reason) = errors.strip().splitlines() or ["no error message"]
        raise Unfair(f"bench: lesson {lesson} on {backend}: {reason}")
    result: dict[str, Any] = json.loads(output)
    return TrainResult(
        lesson=lesson,
        backend=backend,
        threads=threads,
        seconds={"process": seconds, **result["seconds"]},
        test_accuracy=result["test_accuracy"],
        steps=steps,
    )


def measure(
    lesson: str,
    backends: Sequence[str],
    threads: int,
    rounds: int,
    steps: int | None = None,
    monitor: NoiseMonitor | None = None,
    show: Callable[[str], None] = lambda name: None,
    until: float = math.inf,
) -> Iterator[TrainResult]:
    """Make `rounds` runs on each backend; yield the run with the median time of each.

    The backends take turns. All runs of a round have the same seed.

    Args:
        lesson: number or name of the lesson.
        backends: names of the backends.
        threads: number of threads.
        rounds: number of runs per backend.
        steps: number of training steps; None for the lesson's own.
        monitor: probes the machine after each run.
        show: called with the name of each run before it starts.
        until: no round starts after this time, by time.perf_counter(), except the first.

    Raises:
        Unfair: a process fails.
    """
    runs: dict[str, list[TrainResult]] = {backend: [] for backend in backends}
    for seed in range(rounds):
        for backend in backends:
            show(f"a whole run of lesson {lesson} on {backend}")
            runs[backend].append(run(lesson, backend, threads, steps, seed))
            if monitor is not None:
                monitor.count_probe()
        if perf_counter() > until:
            break
    for made in runs.values():
        yield middle(made)


def middle(runs: Sequence[TrainResult]) -> TrainResult:
    """The run with the median time; with an even number of runs, the faster of the middle two."""
    wanted = statistics.median_low(run.seconds["process"] for run in runs)
    return next(run for run in runs if run.seconds["process"] == wanted)


def main() -> None:
    """Make the run of the command line, see the module's docstring."""
    lesson, backend, threads, steps, seed, start = sys.argv[1:]
    tt.set_num_threads(int(threads))
    door.set_backend(backend)
    loaded = perf_counter()
    data = tt.datasets.mnist()
    read = perf_counter()
    (*_, last) = Training(find(lesson), data, steps=int(steps), seed=int(seed))
    seconds = {"import": loaded - float(start), "data": read - loaded, **asdict(last.seconds)}
    print(json.dumps({"seconds": seconds, "test_accuracy": last.test_accuracy}))


if __name__ == "__main__":
    main()
