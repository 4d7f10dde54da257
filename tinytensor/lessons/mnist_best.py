"""Lesson best: augmentation, and averaged weights. Its chapter is chapters/best.md."""

import math

import tinytensor as tt
from tinytensor import nn
from tinytensor.datasets.augment import distort
from tinytensor.lessons import MNIST, Lesson, Shape
from tinytensor.lessons.views import FiveViews


def _convolution(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, 3, stride=stride, bias=None)
    return [conv, nn.BatchNorm(outputs), nn.ReLU()]


def convolutional(classes: int = 10, shape: Shape = MNIST) -> nn.Module:
    """Five convolutions and a dense layer with batch norm."""
    height, width, channels = shape
    pixels = math.ceil(height / 4) * math.ceil(width / 4)  # after two strides of 2
    return FiveViews(
        *_convolution(channels, 16, 1),
        *_convolution(16, 32, 2), *_convolution(32, 32, 1), nn.Dropout(keep_prob=0.8),
        *_convolution(32, 64, 2), *_convolution(64, 64, 1), nn.Dropout(keep_prob=0.7),
        nn.Flatten(),
        nn.Linear(pixels * 64, 128, bias=None), nn.BatchNorm(128), nn.ReLU(),
        nn.Dropout(keep_prob=0.6), nn.Linear(128, classes, nn.glorot),
    )  # fmt: skip


LESSON = Lesson(
    number="best", name="best", title="augmentation, and averaged weights", model=convolutional,
    optimizer=lambda parameters: tt.optim.Adam(parameters),
    rate=lambda steps: tt.optim.warm_up(tt.optim.cosine(0.01, steps), min(200, steps / 4)),
    expected_accuracy=0.996, steps=24_000, evaluate_every=2000, average=0.999,
    chapter="best.md", augment=distort(shift=2.5, rotate=12, scale=0.13, elastic=0.9),
)  # fmt: skip
