"""tinytensor's own ways to train: op by op, captured, and many captured steps in one call."""

import numpy as np

import tinytensor as tt
from peers.task import Steps, Task
from tinytensor import kernels
from tinytensor.datasets import to_float
from tinytensor.kernels import Array


def step_of(task: Task):
    """The training step as a learner writes it."""
    model, optimizer, images = task.model, task.optimizer, task.images

    def step(chosen: Array, labels: Array) -> tt.Tensor:
        loss = tt.cross_entropy(model(tt.from_numpy(to_float(images, chosen))), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step


def one_by_one(task: Task, step) -> Steps:
    def run(steps: range) -> Array:
        chosen = task.batches(steps)
        return np.array([step(one, task.labels[one]).item() for one in chosen])

    return run


def eager(task: Task) -> Steps:
    return one_by_one(task, step_of(task))


def captured(task: Task) -> Steps:
    return one_by_one(task, tt.capture(step_of(task)))


def run(task: Task) -> Steps:
    step = tt.capture(step_of(task))

    def run(steps: range) -> Array:
        chosen = task.batches(steps)
        return step.run(chosen, task.labels[chosen]).numpy()

    return run


def on_c(threads: int) -> int:
    return compute_on("c", threads)


def on_numba(threads: int) -> int:
    """Numba's kernels compute on one thread, however many there may be."""
    return compute_on("numba", 1)


def compute_on(backend: str, threads: int) -> int:
    tt.set_backend(backend)
    tt.set_num_threads(threads)
    return kernels.num_threads()
