"""Every layer gets its numbers centred and scaled.

    x        (100, 784)
       |     @ (784, 200), batch norm with scale and offset, sigmoid
    hidden   (100, 200)
       |     ... 100, 60, 30 ...
    hidden   (100, 30)
       |     @ (30, 10) + (10)
    logits   (100, 10)

Formula: (z - mean) / sqrt(variance + epsilon) * scale + offset, mean and variance over the batch

The sigmoid is steep only near zero. Batch norm brings the weighted sums there, whatever the layers
before did, and two learned numbers for each neuron, scale and offset, may undo it where that is
better. The offset takes the bias' place. In a test there is no batch: moving averages of mean and
variance stand in.

Formula: rate = 0.0001 + 0.03 e^(-step / 1000), ten times lesson 2.1's at first

Look for: no waiting at the start; the sigmoids of lesson 2.0 now learn almost as fast as ReLUs.

Try: tinytensor try batch-norm
Try: tinytensor train batchnorm-sigmoid --batch 10 --steps 1000
Try: tinytensor train batchnorm-sigmoid --batch 1 --steps 1000    # z = mean
"""

from itertools import pairwise

import tinytensor as tt
from tinytensor import nn
from tinytensor.lessons import Lesson
from tinytensor.lessons.mnist_2_0_five_layers_sigmoid import SIZES

RATE = tt.optim.exponential(floor=0.0001, start=0.03, steps=1000)


def five_layers() -> nn.Module:
    """784 -> 200 -> 100 -> 60 -> 30 -> 10, batch norm before each sigmoid."""
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairwise(SIZES[:-1]):
        layers.append(nn.Linear(inputs, outputs, nn.truncated_normal(0.1), bias=None))
        layers += [nn.BatchNorm(outputs, decay=0.998), nn.Sigmoid()]
    return nn.Sequential(*layers, nn.Linear(30, 10, nn.truncated_normal(0.1)))


LESSON = Lesson(
    number="4.0",
    name="batchnorm-sigmoid",
    title="batch norm before sigmoids",
    chapter=__doc__,
    model=five_layers,
    optimizer=lambda parameters: tt.optim.Adam(parameters, lr=RATE),
    expected_accuracy=0.98,
)
