"""A better bend, and smaller steps towards the end.

    x        (100, 784)
       |     @ (784, 200) + (200), relu
    hidden   (100, 200)
       |     ... 100, 60, 30 ...
    hidden   (100, 30)
       |     @ (30, 10) + (10)
    logits   (100, 10)

Formula: relu(z) = z where z > 0, else 0

A ReLU lets the whole gradient through wherever it is open, however many layers there are. Its
biases start at 0.1, so that most are open at first.

Formula: rate = 0.0001 + 0.003 e^(-step / 2000)

With large steps the weights jump about the valley they have found; a rate that decays lets them
settle in it.

Look for: 95 % after some 400 steps, where the sigmoids needed nearly twice as many; and curves that
get quiet as the rate falls. The training accuracy reaches 100 %, yet the test loss begins to grow:
the network now learns its 60,000 images by heart.

Try: tinytensor try relu
Try: tinytensor try rate-decay
Try: tinytensor train relu --batch 1 --steps 2000
"""

from itertools import pairwise

import tinytensor as tt
from tinytensor import nn
from tinytensor.lessons import Lesson
from tinytensor.lessons.mnist_2_0_five_layers_sigmoid import SIZES

RATE = tt.optim.exponential(floor=0.0001, start=0.003, steps=2000)


def five_layers(keep_prob: float = 1.0) -> nn.Module:
    """784 -> 200 -> 100 -> 60 -> 30 -> 10; with dropout after each hidden layer in lesson 2.2."""
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairwise(SIZES):
        bias = nn.constant(0.0 if outputs == 10 else 0.1)
        layers.append(nn.Linear(inputs, outputs, nn.truncated_normal(0.1), bias))
        if outputs != 10:
            layers += [nn.ReLU(), *([nn.Dropout(keep_prob)] if keep_prob < 1 else [])]
    return nn.Sequential(*layers)


LESSON = Lesson(
    number="2.1",
    name="relu",
    title="ReLU, and a rate that decays",
    chapter=__doc__,
    model=five_layers,
    optimizer=lambda parameters: tt.optim.Adam(parameters, lr=RATE),
    expected_accuracy=0.9805,
)
