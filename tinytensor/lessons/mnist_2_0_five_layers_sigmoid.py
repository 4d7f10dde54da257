"""Lesson 2.0: five layers with sigmoids. Its chapter is chapters/2.0.md."""

import math
from itertools import pairwise

import tinytensor as tt
from tinytensor import nn
from tinytensor.lessons import MNIST, Lesson, Shape

SIZES = (784, 200, 100, 60, 30, 10)


def five_layers(classes: int = 10, shape: Shape = MNIST) -> nn.Module:
    """784 -> 200 -> 100 -> 60 -> 30 -> 10."""
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairwise((math.prod(shape), *SIZES[1:-1], classes)):
        layers += [nn.Linear(inputs, outputs, weight=nn.truncated_normal(0.1)), nn.Sigmoid()]
    return nn.Sequential(*layers[:-1])


LESSON = Lesson(
    number="2.0",
    name="sigmoid",
    title="five layers with sigmoids",
    chapter="2.0.md",
    model=five_layers,
    optimizer=lambda parameters: tt.optim.Adam(parameters, lr=0.003),
    expected_accuracy=0.974,
)
