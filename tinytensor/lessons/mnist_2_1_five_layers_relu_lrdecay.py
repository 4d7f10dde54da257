"""Lesson 2.1: ReLU, and a falling learning rate. Its chapter is chapters/2.1.md."""

import math
from itertools import pairwise

import tinytensor as tt
from tinytensor import nn
from tinytensor.lessons import MNIST, Lesson, Shape
from tinytensor.lessons.mnist_2_0_five_layers_sigmoid import SIZES

WEIGHT = nn.truncated_normal(0.1)
RATE = tt.optim.exponential(floor=0.0001, start=0.003, steps=2000)


def five_layers(classes: int = 10, shape: Shape = MNIST, keep_prob: float = 1.0) -> nn.Module:
    """784 -> 200 -> 100 -> 60 -> 30 -> 10; with dropout after each hidden layer in lesson 2.2."""
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairwise((math.prod(shape), *SIZES[1:-1])):
        layers += [nn.Linear(inputs, outputs, WEIGHT, nn.constant(0.1)), nn.ReLU()]
        if keep_prob < 1:
            layers.append(nn.Dropout(keep_prob=keep_prob))
    return nn.Sequential(*layers, nn.Linear(30, classes, WEIGHT, nn.constant(0.0)))


LESSON = Lesson(
    number="2.1",
    name="relu",
    title="ReLU, and a falling learning rate",
    chapter="2.1.md",
    model=five_layers,
    optimizer=lambda parameters: tt.optim.Adam(parameters, lr=RATE),
    expected_accuracy=0.9805,
)
