"""The training steps of tinytensor: eager, captured, and many captured steps in one call."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import tinytensor as tt
from tinytensor.arrays import Array
from tinytensor.bench.task import Steps, Task
from tinytensor.capture.captured import Captured
from tinytensor.capture.rewrites import REWRITES
from tinytensor.datasets import to_float

StepFunction = Callable[[Array, Array], tt.Tensor]


def step_of(task: Task) -> StepFunction:
    """The training step in plain tinytensor code."""
    model, optimizer, images = task.model, task.optimizer, task.images

    def step(chosen: Array, labels: Array) -> tt.Tensor:
        loss = tt.cross_entropy(model(tt.from_numpy(to_float(images, chosen))), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step


@dataclass
class OneByOne:
    """Steps that are called one by one from Python."""

    task: Task
    step: StepFunction | Captured

    def __call__(self, steps: range) -> Array:
        """Make the steps with these numbers; return their losses."""
        chosen = self.task.batches(steps)
        return np.array([self.step(one, self.task.labels[one]).item() for one in chosen])


@dataclass
class AtOnce:
    """All steps in one call of Captured.run."""

    task: Task
    step: Captured

    def __call__(self, steps: range) -> Array:
        """Make the steps with these numbers; return their losses."""
        chosen = self.task.batches(steps)
        losses: Array = self.step.run(chosen, self.task.labels[chosen]).numpy()
        return losses


def eager(task: Task) -> Steps:
    """Steps run op by op."""
    return OneByOne(task, step_of(task))


def captured(task: Task) -> Steps:
    """Steps recorded once and replayed one by one."""
    return OneByOne(task, tt.capture(step_of(task)))


def dense(task: Task) -> Steps:
    """Captured steps that also compute the products with the zeros of the images."""
    rewrites = [name for name in REWRITES if name != "skip_zeros"]
    return OneByOne(task, tt.capture(step_of(task), rewrites))


def run(task: Task) -> Steps:
    """Steps recorded once and replayed many times in one call."""
    return AtOnce(task, tt.capture(step_of(task)))


MODES = {"eager": eager, "captured": captured, "dense": dense, "run": run}
