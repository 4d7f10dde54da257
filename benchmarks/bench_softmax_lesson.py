"""Lesson 1.0 on every backend: each of its kernels, then its whole training step.

    python -m pytest benchmarks

A table for each kernel, the fastest backend first; beside each time stands how many times as long
it is as the best. Before a kernel is timed its result is compared with NumPy's.
"""

import numpy as np
import pytest

import tinytensor as tt
from tinytensor import kernels
from tinytensor.datasets import batches
from tinytensor.lessons import find

LESSON = find("softmax")
DATA = tt.datasets.mnist()
RNG = np.random.default_rng(0)
LABELS = DATA.train_labels[:100]


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape, dtype=np.float32)


# The kernels in the order in which a step calls them, on arrays as they are there.
CALLS = {
    "load_images": (DATA.train_images, RNG.permutation(60_000)[:100], floats(100, 28, 28)),
    "matmul 100x784x10": (floats(100, 784), floats(784, 10), floats(100, 10), False, False),
    "add (100, 10) + (10)": (floats(100, 10), floats(10), floats(100, 10)),
    "cross_entropy": (floats(100, 10), LABELS, np.float32([0]).reshape(())),
    "cross_entropy_backward": (
        np.float32([1]).reshape(()),
        floats(100, 10),
        LABELS,
        floats(100, 10),
    ),
    "sum (100, 10) to (10)": (floats(100, 10), floats(10)),
    "matmul x^T 784x100x10": (floats(100, 784), floats(100, 10), floats(784, 10), True, False),
    "sgd (784, 10)": (floats(784, 10), np.array([1e-9]), floats(784, 10), 0.0),
    "argmax": (floats(100, 10), np.zeros(100, np.int64)),
}


@pytest.mark.parametrize("backend", tt.available_backends())
@pytest.mark.parametrize("call", CALLS)
def test_kernel(benchmark, call, backend):
    name, arguments = call.split(" ")[0], CALLS[call]
    compare_with_numpy(name, arguments, backend)
    benchmark.group = call
    with tt.backend(backend):
        benchmark(getattr(kernels, name), *arguments)


def compare_with_numpy(name: str, arguments: tuple, backend: str) -> None:
    results = []
    for which in ("numpy", backend):
        copies = [a.copy() if isinstance(a, np.ndarray) else a for a in arguments]
        kernels.load_backend(which).kernels[name](*copies)
        results.append([a for a in copies if isinstance(a, np.ndarray)][-1])
    np.testing.assert_allclose(results[1], results[0], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("backend", tt.available_backends())
@pytest.mark.benchmark(group="training step, 100 images")
def test_training_step(benchmark, backend):
    with tt.backend("numpy"):
        wanted = losses(training(), 20)
    with tt.backend(backend):
        np.testing.assert_allclose(losses(training(), 20), wanted, rtol=1e-5)
        benchmark(training())


def training():
    """A function that makes one training step after another and returns the loss."""
    model = LESSON.model()
    optimizer = LESSON.optimizer(model.parameters())
    endless_batches = batches(DATA.train_images, DATA.train_labels, LESSON.batch, seed=0)

    def step() -> tt.Tensor:
        images, labels = next(endless_batches)
        loss = tt.cross_entropy(model(tt.from_numpy(images)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step


def losses(step, count: int) -> list[float]:
    return [step().item() for _ in range(count)]
