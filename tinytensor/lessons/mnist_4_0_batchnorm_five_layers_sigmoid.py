"""Lesson 4.0: batch norm before sigmoids. Its chapter is chapters/4.0.md."""

import math
from itertools import pairwise

import tinytensor as tt
from tinytensor import nn
from tinytensor.lessons import MNIST, Lesson, Shape
from tinytensor.lessons.mnist_2_0_five_layers_sigmoid import SIZES

RATE = tt.optim.exponential(floor=0.0001, start=0.03, steps=1000)


def five_layers(classes: int = 10, shape: Shape = MNIST) -> nn.Module:
    """784 -> 200 -> 100 -> 60 -> 30 -> 10, batch norm before each sigmoid."""
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairwise((math.prod(shape), *SIZES[1:-1])):
        layers.append(nn.Linear(inputs, outputs, nn.truncated_normal(0.1), bias=None))
        layers += [nn.BatchNorm(outputs, decay=0.998), nn.Sigmoid()]
    return nn.Sequential(*layers, nn.Linear(30, classes, nn.truncated_normal(0.1)))


LESSON = Lesson(
    number="4.0",
    name="batchnorm-sigmoid",
    title="batch norm before sigmoids",
    chapter="4.0.md",
    model=five_layers,
    optimizer=lambda parameters: tt.optim.Adam(parameters, lr=RATE),
    expected_accuracy=0.98,
)
