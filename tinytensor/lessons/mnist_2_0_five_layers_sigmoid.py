"""Five layers, each reading the one before.

    x        (100, 784)    an image is a row of 784 numbers
       |     @ (784, 200) + (200), sigmoid
    hidden   (100, 200)
       |     @ (200, 100) + (100), sigmoid
    hidden   (100, 100)
       |     @ (100, 60) + (60), sigmoid
    hidden   (100, 60)
       |     @ (60, 30) + (30), sigmoid
    hidden   (100, 30)
       |     @ (30, 10) + (10)
    logits   (100, 10)     softmax and cross-entropy as before

Formula: hidden = sigmoid(x @ weight + bias), with sigmoid(z) = 1 / (1 + e^-z)

The sigmoid bends what would otherwise be one straight line: five layers of weighted sums alone are
no more than one. Weights start as small random numbers, or all neurons of a layer would learn the
same. Adam takes the place of plain gradient descent: it measures every step by how large the
gradients of that weight have been.

Look for: nothing seems to happen at first, for the sigmoids are flat far from zero and let little
of the gradient through; then the accuracy climbs past 97 %.

Try: tinytensor try zero-weights
Try: tinytensor train sigmoid --steps 1000    # and see how it begins
"""

from itertools import pairwise

import tinytensor as tt
from tinytensor import nn
from tinytensor.lessons import Lesson

SIZES = (784, 200, 100, 60, 30, 10)


def five_layers() -> nn.Module:
    """784 -> 200 -> 100 -> 60 -> 30 -> 10."""
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairwise(SIZES):
        layers += [nn.Linear(inputs, outputs, weight=nn.truncated_normal(0.1)), nn.Sigmoid()]
    return nn.Sequential(*layers[:-1])


LESSON = Lesson(
    number="2.0",
    name="sigmoid",
    title="five layers with sigmoids",
    chapter=__doc__,
    model=five_layers,
    optimizer=lambda parameters: tt.optim.Adam(parameters, lr=0.003),
    expected_accuracy=0.974,
)
