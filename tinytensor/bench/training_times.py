"""Whole runs, timed from the start of a process to its end: Python, imports, data, training, tests.

Here compiling counts, as it does for whoever waits: it is in the first step.

    python -m tinytensor.bench.training_times LESSON BACKEND THREADS STEPS SEED START

is one run's process; it prints what it measured as JSON. START is perf_counter() of whoever started
it, which is one clock for all processes.
"""

from __future__ import annotations

import json
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
from tinytensor.bench.noise import Watch
from tinytensor.bench.report import TrainResult
from tinytensor.lessons import find
from tinytensor.train import Training


def run(lesson: str, backend: str, threads: int, steps: int | None, seed: int = 0) -> TrainResult:
    """One run, in a process of its own; steps: the lesson's own where None.

    Raises Unfair if it ends with an error.
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
        process_group=0,  # Ctrl-C is for this process, which then ends the other
    )
    try:
        told, errors = process.communicate()
    finally:
        process.kill()
        process.wait()
    seconds = perf_counter() - start
    if process.returncode:
        (*_, reason) = errors.strip().splitlines() or ["no reason is given"]
        raise Unfair(f"bench: lesson {lesson} on {backend}: {reason}")
    result: dict[str, Any] = json.loads(told)
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
    watch: Watch | None = None,
    tell: Callable[[str], None] = lambda what: None,
) -> Iterator[TrainResult]:
    """For each backend one of its runs, that with the median time, as soon as it is known.

    The backends take turns, each round with a seed of its own.
    """
    runs: dict[str, list[TrainResult]] = {backend: [] for backend in backends}
    for seed in range(rounds):
        for backend in backends:
            tell(f"a whole run of lesson {lesson} on {backend}")
            runs[backend].append(run(lesson, backend, threads, steps, seed))
            if watch is not None:
                watch.looks.append(watch.look())
            if seed == rounds - 1:
                yield middle(runs[backend])


def middle(runs: Sequence[TrainResult]) -> TrainResult:
    """The run whose time is the median; the faster of two."""
    wanted = statistics.median_low(run.seconds["process"] for run in runs)
    return next(run for run in runs if run.seconds["process"] == wanted)


def main() -> None:
    """One run, as the module's first lines have it."""
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
