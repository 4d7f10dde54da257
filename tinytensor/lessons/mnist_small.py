"""Lesson small: fewer than 8,000 weights. Its chapter is chapters/small.md."""

import math

import tinytensor as tt
from tinytensor import nn
from tinytensor.datasets.augment import distort
from tinytensor.lessons import MNIST, Lesson, Shape


def _convolution(inputs: int, outputs: int, size: int, stride: int) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, size, stride=stride, bias=None)
    return [conv, nn.BatchNorm(outputs), nn.ReLU()]


def convolutional(classes: int = 10, shape: Shape = MNIST) -> nn.Module:
    """Five narrow convolutions with batch norm, the mean of each map, and a small dense layer."""
    height, width, channels = shape
    maps = math.ceil(height / 4), math.ceil(width / 4)  # after two strides of 2
    return nn.Sequential(
        *_convolution(channels, 8, 5, 2), *_convolution(8, 12, 3, 1), *_convolution(12, 14, 3, 2),
        *_convolution(14, 16, 3, 1), *_convolution(16, 20, 3, 1),
        nn.AvgPool2d(maps), nn.Flatten(), nn.Linear(20, classes),
    )  # fmt: skip


LESSON = Lesson(
    number="small", name="small", title="fewer than 8,000 weights", model=convolutional,
    optimizer=lambda parameters: tt.optim.Adam(parameters),
    rate=lambda steps: tt.optim.warm_up(tt.optim.cosine(0.01, steps), min(200, steps / 4)),
    expected_accuracy=0.994, steps=16_000, evaluate_every=1000, average=0.999,
    chapter="small.md", augment=distort(shift=1, rotate=8, scale=0.08, elastic=0.5),
)  # fmt: skip
