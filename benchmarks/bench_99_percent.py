"""The lesson `fast`, from the start of a process to 99 % of the test images.

    python -m pytest benchmarks/bench_99_percent.py

A round is all of `python -m tinytensor train fast`: Python's start, the imports, the data, the
training, and the look at the 10,000 test images at its end. Each has a seed of its own, and fails
if it ends below 99 %.
"""

import itertools
import json
import subprocess
import sys

import pytest

SEEDS = itertools.count()


@pytest.mark.benchmark(group="process start to 99 %")
def test_99_percent(benchmark):
    accuracies = benchmark.extra_info["accuracies"] = []

    def train(seed: int) -> None:
        command = [sys.executable, "-m", "tinytensor", "train", "fast", "--json", "-"]
        done = subprocess.run([*command, "--seed", str(seed)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        accuracies.append(json.loads(done.stdout)["test_accuracy"])

    benchmark.pedantic(train, setup=lambda: ((next(SEEDS),), {}), rounds=5)
    assert min(accuracies) >= 0.99, accuracies
