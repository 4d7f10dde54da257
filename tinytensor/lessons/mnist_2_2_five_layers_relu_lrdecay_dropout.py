"""Lesson 2.2: five layers with dropout. Its chapter is chapters/2.2.md."""

from functools import partial

import tinytensor as tt
from tinytensor.lessons import Lesson
from tinytensor.lessons.mnist_2_1_five_layers_relu_lrdecay import RATE, five_layers

LESSON = Lesson(
    number="2.2",
    name="dropout",
    title="five layers with dropout",
    chapter="2.2.md",
    model=partial(five_layers, keep_prob=0.75),
    optimizer=lambda parameters: tt.optim.Adam(parameters, lr=RATE),
    expected_accuracy=0.9795,
)
