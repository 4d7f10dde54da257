"""Trains lesson 1.0 with the student's matrix product, in a separate process.

    python -P -m tinytensor.learn.own_matmul EXERCISE LANGUAGE FILE

The backend in use computes all other kernels. On a terminal the training is shown live; otherwise a
line is printed at each test.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from tinytensor import datasets, door, lessons
from tinytensor.arrays import Array
from tinytensor.errors import SettingError
from tinytensor.learn import answer, exercises, judge
from tinytensor.step_report import StepReport
from tinytensor.train import Training

SECONDS = 60  # of a training with a slow matmul, about
FEWEST_STEPS, MOST_STEPS = 20, 2000
TEST_IMAGES = 1000  # for a slow matmul
SLOW = 0.001  # seconds of one product of a step

Matmul = Callable[[Array, Array, Array], None]


def as_kernel(matmul: Matmul) -> Callable[[Array, Array, Array, bool, bool], None]:
    """Return a matmul kernel (see kernels.py) that calls the student's function.

    The function gets contiguous float32 matrices. So a transposed matrix is copied, and a stack of
    matrices is one call for each.
    """

    def kernel(x: Array, y: Array, out: Array, transpose_x: bool, transpose_y: bool) -> None:
        x, y = x.mT if transpose_x else x, y.mT if transpose_y else y
        for left, right, result in zip(_stack(x), _stack(y), _stack(out), strict=True):
            product = np.zeros(result.shape, np.float32)
            with np.errstate(all="ignore"):
                matmul(
                    np.ascontiguousarray(left, np.float32),
                    np.ascontiguousarray(right, np.float32),
                    product,
                )
            result[...] = product

    return kernel


def _stack(array: Array) -> Array:
    return array[None] if array.ndim == 2 else array


def backend_with(matmul: Matmul) -> door.Backend:
    """Return the backend in use, with the student's matmul."""
    here = door.current_backend()
    return replace(
        here,
        kernels={**here.kernels, "matmul": as_kernel(matmul)},
        on_numpy=tuple(name for name in here.on_numpy if name != "matmul"),
        rungs=(*here.rungs, "matmul by your own"),
    )


def training_of(matmul: Matmul, steps: int | None = None) -> Training:
    """Return a Training of lesson 1.0; a slow matmul gets fewer steps and test images."""
    x, y, out = (np.ones(shape, np.float32) for shape in ((100, 784), (784, 10), (100, 10)))
    matmul(x[:1], y, out[:1])  # Numba compiles at the first call
    start = time.perf_counter()
    matmul(x, y, out)
    seconds = time.perf_counter() - start
    data = datasets.mnist()
    if seconds > SLOW:
        data = data._replace(
            test_images=data.test_images[:TEST_IMAGES], test_labels=data.test_labels[:TEST_IMAGES]
        )
    # A step has two products, and the ten tests have ten each.
    affordable = int(SECONDS / (2 * seconds) - 100) if seconds > SLOW else MOST_STEPS
    steps = steps or min(max(affordable, FEWEST_STEPS), MOST_STEPS)
    every = max(steps // 10, 1)
    return Training(lessons.find("1.0"), data, steps=steps, evaluate_every=every)


@contextmanager
def _shown(training: Training) -> Iterator[Callable[[StepReport], None]]:
    """Show a training live on a terminal, otherwise as lines."""
    from tinytensor.live import terminal

    try:
        console = terminal.terminal()
    except SettingError:  # no terminal, or a small one
        yield lambda report: print(
            f"step {report.step:5}  test accuracy {report.test_accuracy:.4f}", flush=True
        )
        return
    with terminal.view(training, "your matmul", console) as show:
        yield show


def main(arguments: list[str]) -> None:
    """Run the training; see the module's docstring."""
    name, language, file = arguments
    with tempfile.TemporaryDirectory() as folder:
        functions = answer.load(exercises.find(name), language, Path(file), Path(folder))
        judge.limit_resources()  # not before, because a C compiler may need more
        matmul = functions["matmul"]
        with door.computing_with(backend_with(matmul)):
            training = training_of(matmul)
            print(
                f"lesson 1.0 on your matmul ({language}): {training.steps:,} steps of 100 images, "
                f"{len(training.data.test_images):,} test images"
            )
            start = time.perf_counter()
            with _shown(training) as show:
                for report in training:
                    show(report)
            seconds = time.perf_counter() - start
            print(f"test accuracy {report.test_accuracy:.4f} after {seconds:.1f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
