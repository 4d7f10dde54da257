"""The training task of a benchmark: a lesson's network with its first weights, and the batches."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import tinytensor as tt
from tinytensor import nn
from tinytensor.arrays import Array
from tinytensor.lessons import find

BATCH = 100
MAX_STEPS = 1000  # per turn

# Makes the steps with the given numbers, in order, and returns their losses. Step i trains on batch
# i of its epoch with the learning rate task.rate(i). The first call starts at step 0, each later
# call where the last one ended.
Steps = Callable[[range], Array]


class Unsupported(Exception):  # noqa: N818 - not an error
    """A contestant can't train this network, or has no such kernel; the message is the reason."""


@dataclass(frozen=True)
class Task:
    """One network to train. Converting bytes to float32 from 0 to 1 is part of a step."""

    model: nn.Module  # with its first weights, which other libraries copy
    optimizer: tt.optim.Optimizer  # tinytensor's; other libraries use its settings
    images: Array  # (N, H, W) or (N, H, W, C) uint8
    labels: Array  # (N,) int64
    chosen: Array  # (batches, batch) int64, the indices of the images of each batch of every epoch

    @classmethod
    def of(cls, number: str, keep_prob: float | None = None, batch: int = BATCH) -> "Task":
        """The task of a lesson.

        number: the lesson's number or name. keep_prob: replaces that of the dropout layers, if
        given. batch: images in a batch.
        """
        tt.manual_seed(0)
        lesson = find(number)
        model = lesson.model()
        if keep_prob is not None:
            for layer in dropouts(model):
                layer.keep_prob = keep_prob
        data = _data()
        chosen = np.random.default_rng(0).permutation(len(data.train_images)).reshape(-1, batch)
        optimizer = lesson.optimizer(model.parameters())
        return cls(model, optimizer, data.train_images, data.train_labels, chosen)

    @property
    def batch(self) -> int:
        """The number of images in a batch."""
        return self.chosen.shape[1]

    @property
    def rate(self) -> Callable[[int], float]:
        """The learning-rate schedule: maps a step's number to its learning rate."""
        return self.optimizer.schedule

    @property
    def layers(self) -> list[nn.Module]:
        """The layers in order; lesson 1.0, which has no layers, as Flatten and Linear."""
        if isinstance(self.model, nn.Sequential):
            return list(self.model)
        dense = nn.Linear(784, 10)
        dense.weight, dense.bias = self.model.parameters()
        return [nn.Flatten(), dense]

    @property
    def is_convolutional(self) -> bool:
        """True if the network has convolutions."""
        return any(isinstance(layer, nn.Conv2d) for layer in self.layers)

    def batches(self, steps: range) -> Array:
        """The indices (len(steps), batch) int64 of the images of the steps."""
        return self.chosen[np.arange(steps.start, steps.stop) % len(self.chosen)]


@functools.cache
def _data() -> tt.datasets.Dataset:
    return tt.datasets.mnist()


def dropouts(model: nn.Module) -> list[nn.Dropout]:
    """The dropout layers of a lesson's network."""
    return [layer for layer in model.children() if isinstance(layer, nn.Dropout)]


def same_padding(size: int, window: int, stride: int) -> tuple[int, int]:
    """The padding (before, after) of an axis, so that it has ceil(size / stride) results."""
    missing = max((-(-size // stride) - 1) * stride + window - size, 0)
    return missing // 2, missing - missing // 2


def stride_of(layer: nn.Conv2d) -> int:
    """The stride of a layer, which is the same in both directions in all lessons."""
    assert isinstance(layer.stride, int)
    return layer.stride
