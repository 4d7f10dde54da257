"""Lesson 4.2: batch norm and convolutions. Its chapter is chapters/4.2.md."""

import math

import tinytensor as tt
from tinytensor import nn
from tinytensor.lessons import MNIST, Lesson, Shape

WEIGHT = nn.truncated_normal(0.1)
RATE = tt.optim.exponential(floor=0.0001, start=0.02, steps=1600)


def _norm(channels: int) -> nn.Module:
    return nn.BatchNorm(channels, scale=False, decay=0.999, offset_start=0.1)


def convolutional(classes: int = 10, shape: Shape = MNIST) -> nn.Module:
    """Three convolutions and a dense layer with batch norm."""
    height, width, channels = shape
    pixels = math.ceil(height / 4) * math.ceil(width / 4)  # after two strides of 2
    return nn.Sequential(
        nn.Conv2d(channels, 24, 6, weight=WEIGHT, bias=None), _norm(24), nn.ReLU(),
        nn.Conv2d(24, 48, 5, stride=2, weight=WEIGHT, bias=None), _norm(48), nn.ReLU(),
        nn.Conv2d(48, 64, 4, stride=2, weight=WEIGHT, bias=None), _norm(64), nn.ReLU(),
        nn.Flatten(), nn.Linear(pixels * 64, 200, WEIGHT, bias=None), _norm(200), nn.ReLU(),
        nn.Dropout(keep_prob=0.75), nn.Linear(200, classes, WEIGHT, nn.constant(0.1)),
    )  # fmt: skip


LESSON = Lesson(
    number="4.2",
    name="batchnorm-conv",
    title="batch norm and convolutions",
    chapter="4.2.md",
    model=convolutional,
    optimizer=lambda parameters: tt.optim.Adam(parameters, lr=RATE),
    expected_accuracy=0.994,
)
