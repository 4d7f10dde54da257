"""Lesson 3.1: bigger convolutions, and dropout. Its chapter is chapters/3.1.md."""

import math

import tinytensor as tt
from tinytensor import nn
from tinytensor.lessons import MNIST, Lesson, Shape
from tinytensor.lessons.mnist_2_1_five_layers_relu_lrdecay import RATE

WEIGHT, BIAS = nn.truncated_normal(0.1), nn.constant(0.1)


def convolutional(classes: int = 10, shape: Shape = MNIST) -> nn.Module:
    """Three convolutions, and two dense layers with dropout between them."""
    height, width, channels = shape
    pixels = math.ceil(height / 4) * math.ceil(width / 4)  # after two strides of 2
    return nn.Sequential(
        nn.Conv2d(channels, 6, 6, weight=WEIGHT, bias=BIAS), nn.ReLU(),
        nn.Conv2d(6, 12, 5, stride=2, weight=WEIGHT, bias=BIAS), nn.ReLU(),
        nn.Conv2d(12, 24, 4, stride=2, weight=WEIGHT, bias=BIAS), nn.ReLU(),
        nn.Flatten(), nn.Linear(pixels * 24, 200, WEIGHT, BIAS), nn.ReLU(),
        nn.Dropout(keep_prob=0.75), nn.Linear(200, classes, WEIGHT, BIAS),
    )  # fmt: skip


LESSON = Lesson(
    number="3.1",
    name="conv-dropout",
    title="bigger convolutions, and dropout",
    chapter="3.1.md",
    model=convolutional,
    optimizer=lambda parameters: tt.optim.Adam(parameters, lr=RATE),
    expected_accuracy=0.991,
)
