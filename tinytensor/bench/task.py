"""What every contestant is given: a lesson's network, its first values, and the batches."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import tinytensor as tt
from tinytensor import nn
from tinytensor.arrays import Array
from tinytensor.lessons import Lesson, find

BATCH = 100
ROUND = 600  # batches, after which the same come again
MOST_STEPS = 1000  # in a turn

# Makes the steps of these numbers, in order, and gives their losses. Step i trains on batch
# i % ROUND at the rate task.rate(i); the first call begins with step 0, each other where the last
# one ended.
Steps = Callable[[range], Array]


class NotHere(Exception):  # noqa: N818 - not an error
    """A contestant can't train this network, and says why."""


@dataclass(frozen=True)
class Task:
    """One network to train.

    model: with its first values, which a peer copies. optimizer: tinytensor's, for its settings.
    images: (60000, 28, 28) bytes, labels: (60000) int64. chosen: (ROUND, BATCH) int64, the images
    of each batch; to make float32 from 0 to 1 of their bytes is part of a step.
    """

    lesson: Lesson
    model: nn.Module
    optimizer: tt.optim.Optimizer
    images: Array
    labels: Array
    chosen: Array

    @classmethod
    def of(cls, number: str, keep_prob: float | None = None) -> "Task":
        """The task of a lesson; keep_prob, if given, takes the place of that of its dropouts."""
        tt.manual_seed(0)
        lesson = find(number)
        model = lesson.model()
        if keep_prob is not None:
            for layer in dropouts(model):
                layer.keep_prob = keep_prob
        data = _data()
        chosen = np.random.default_rng(0).permutation(ROUND * BATCH).reshape(ROUND, BATCH)
        optimizer = lesson.optimizer(model.parameters())
        return cls(lesson, model, optimizer, data.train_images, data.train_labels, chosen)

    @property
    def rate(self) -> Callable[[int], float]:
        """From the number of steps made so far to the rate of the next."""
        return self.optimizer.schedule

    @property
    def layers(self) -> list[nn.Module]:
        """The layers in order, lesson 1.0's too, which is written without layers."""
        if isinstance(self.model, nn.Sequential):
            return self.model.layers
        dense = nn.Linear(784, 10)
        dense.weight, dense.bias = self.model.parameters()
        return [nn.Flatten(), dense]

    @property
    def is_convolutional(self) -> bool:
        """Whether there are convolutions in it."""
        return any(isinstance(layer, nn.Conv2d) for layer in self.layers)

    def batches(self, steps: range) -> Array:
        """(steps, BATCH) int64: the images of the batches of these steps."""
        return self.chosen[np.arange(steps.start, steps.stop) % ROUND]


@functools.cache
def _data() -> tt.datasets.Dataset:
    return tt.datasets.mnist()


def dropouts(model: nn.Module) -> list[nn.Dropout]:
    """The dropout layers of a lesson's network."""
    return [layer for _, layer in model.children() if isinstance(layer, nn.Dropout)]


def same_padding(size: int, window: int, stride: int) -> tuple[int, int]:
    """Zeros before and after an axis of this size for ceil(size / stride) results."""
    missing = max((-(-size // stride) - 1) * stride + window - size, 0)
    return missing // 2, missing - missing // 2


def stride_of(layer: nn.Conv2d) -> int:
    """The same in both directions, as the lessons have it."""
    assert isinstance(layer.stride, int)
    return layer.stride
