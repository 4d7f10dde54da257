"""Whole runs, each in a process of its own, from its start to the evaluation on the test images."""

import itertools

import pytest

from tinytensor.bench import training_times

SEEDS = itertools.count()


@pytest.mark.parametrize("lesson", ["1.0", "2.1"])
def test_200_steps(benchmark, lesson, backend, threads):
    """The first steps of a run, most of whose time is start-up; Numba's cache is warm."""
    training_times.run(lesson, backend, threads, steps=1)
    benchmark.group = f"process start to step 200 of lesson {lesson}, {threads} thread(s)"
    runs = []
    benchmark.pedantic(
        lambda: runs.append(training_times.run(lesson, backend, threads, steps=200)), rounds=5
    )
    benchmark.extra_info["seconds"] = training_times.middle(runs).seconds
    assert min(run.test_accuracy for run in runs) > 0.88


@pytest.mark.benchmark(group="process start to 99 %")
def test_99_percent(benchmark):
    """Lesson `fast` on the best backend; each run has another seed."""
    accuracies = benchmark.extra_info["accuracies"] = []

    def run(seed: int) -> None:
        accuracies.append(
            training_times.run("fast", "auto", 2, steps=None, seed=seed).test_accuracy
        )

    benchmark.pedantic(run, setup=lambda: ((next(SEEDS),), {}), rounds=5)
    assert min(accuracies) >= 0.99, accuracies
