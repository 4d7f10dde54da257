"""Lesson 3.0: convolutions. Its chapter is chapters/3.0.md."""

import math

import tinytensor as tt
from tinytensor import nn
from tinytensor.lessons import MNIST, Lesson, Shape
from tinytensor.lessons.mnist_2_1_five_layers_relu_lrdecay import RATE

WEIGHT, BIAS = nn.truncated_normal(0.1), nn.constant(0.1)


def convolutional(classes: int = 10, shape: Shape = MNIST) -> nn.Module:
    """Three convolutions and two dense layers."""
    height, width, channels = shape
    pixels = math.ceil(height / 4) * math.ceil(width / 4)  # after two strides of 2
    return nn.Sequential(
        nn.Conv2d(channels, 4, 5, weight=WEIGHT, bias=BIAS), nn.ReLU(),
        nn.Conv2d(4, 8, 5, stride=2, weight=WEIGHT, bias=BIAS), nn.ReLU(),
        nn.Conv2d(8, 12, 4, stride=2, weight=WEIGHT, bias=BIAS), nn.ReLU(),
        nn.Flatten(), nn.Linear(pixels * 12, 200, WEIGHT, BIAS), nn.ReLU(),
        nn.Linear(200, classes, WEIGHT, BIAS),
    )  # fmt: skip


LESSON = Lesson(
    number="3.0",
    name="conv",
    title="convolutions",
    chapter="3.0.md",
    model=convolutional,
    optimizer=lambda parameters: tt.optim.Adam(parameters, lr=RATE),
    expected_accuracy=0.989,
)
