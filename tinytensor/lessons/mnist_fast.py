"""Lesson fast: the fewest seconds to 99 %. Its chapter is chapters/fast.md."""

import functools
import math

import tinytensor as tt
from tinytensor import nn
from tinytensor.lessons import MNIST, Lesson, Shape

STEPS = 550


def _norm(channels: int) -> nn.Module:
    return nn.BatchNorm(channels, scale=False, decay=0.95)


def convolutional(classes: int = 10, shape: Shape = MNIST) -> nn.Module:
    """Two convolutions and a dense layer with batch norm."""
    height, width, channels = shape
    pixels = math.ceil(height / 4) * math.ceil(width / 4)  # after two strides of 2
    return nn.Sequential(
        nn.Conv2d(channels, 16, 6, stride=2, bias=None), _norm(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, bias=None), _norm(32), nn.ReLU(),
        nn.Flatten(), nn.Linear(pixels * 32, 128, bias=None), _norm(128), nn.ReLU(),
        nn.Linear(128, classes),
    )  # fmt: skip


LESSON = Lesson(
    number="fast", name="fast", title="the fewest seconds to 99 %", chapter="fast.md",
    model=convolutional,
    optimizer=lambda parameters: tt.optim.Adam(parameters, betas=(0.85, 0.95)),
    rate=lambda steps: tt.optim.warm_up(tt.optim.cosine(0.025, steps), min(60, steps / 4)),
    loss=functools.partial(tt.cross_entropy, label_smoothing=0.1),
    expected_accuracy=0.99, steps=STEPS, evaluate_every=STEPS,
)  # fmt: skip
