"""Lesson 4.1: batch norm before ReLUs. Its chapter is chapters/4.1.md."""

import math
from itertools import pairwise

import tinytensor as tt
from tinytensor import nn
from tinytensor.lessons import MNIST, Lesson, Shape
from tinytensor.lessons.mnist_2_0_five_layers_sigmoid import SIZES
from tinytensor.lessons.mnist_4_0_batchnorm_five_layers_sigmoid import RATE

WEIGHT = nn.truncated_normal(0.1)


def five_layers(classes: int = 10, shape: Shape = MNIST) -> nn.Module:
    """784 -> 200 -> 100 -> 60 -> 30 -> 10, batch norm before each ReLU."""
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairwise((math.prod(shape), *SIZES[1:-1])):
        norm = nn.BatchNorm(outputs, scale=False, decay=0.999, offset_start=0.1)
        layers += [nn.Linear(inputs, outputs, WEIGHT, bias=None), norm, nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(30, classes, WEIGHT, nn.constant(0.1)))


LESSON = Lesson(
    number="4.1",
    name="batchnorm-relu",
    title="batch norm before ReLUs",
    chapter="4.1.md",
    model=five_layers,
    optimizer=lambda parameters: tt.optim.Adam(parameters, lr=RATE),
    expected_accuracy=0.983,
)
