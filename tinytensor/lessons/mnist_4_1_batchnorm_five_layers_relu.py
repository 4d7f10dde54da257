"""What batch norm is to ReLUs.

    x        (100, 784)
       |     @ (784, 200), batch norm with offset, relu
    hidden   (100, 200)
       |     ... 100, 60, 30 ...
    hidden   (100, 30)
       |     @ (30, 10) + (10)
    logits   (100, 10)

Formula: relu((z - mean) / sqrt(variance + epsilon) + offset)

No scale this time: a ReLU of twice as much is twice as much, and the next layer's weights can have
that themselves.

Look for: the best of the dense networks, above 98 %, with the training loss near zero. What these
layers can learn, they have learned; what is missing is that they know nothing of neighbours.

Try: tinytensor try batch-norm-relu
Try: tinytensor train batchnorm-relu --steps 1000
Try: tinytensor train batchnorm-relu --batch 10 --steps 1000
"""

from itertools import pairwise

import tinytensor as tt
from tinytensor import nn
from tinytensor.lessons import Lesson
from tinytensor.lessons.mnist_2_0_five_layers_sigmoid import SIZES
from tinytensor.lessons.mnist_4_0_batchnorm_five_layers_sigmoid import RATE

WEIGHT = nn.truncated_normal(0.1)


def five_layers() -> nn.Module:
    """784 -> 200 -> 100 -> 60 -> 30 -> 10, batch norm before each ReLU."""
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairwise(SIZES[:-1]):
        norm = nn.BatchNorm(outputs, scale=False, decay=0.999, offset_start=0.1)
        layers += [nn.Linear(inputs, outputs, WEIGHT, bias=None), norm, nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(30, 10, WEIGHT, nn.constant(0.1)))


LESSON = Lesson(
    number="4.1",
    name="batchnorm-relu",
    title="batch norm before ReLUs",
    chapter=__doc__,
    model=five_layers,
    optimizer=lambda parameters: tt.optim.Adam(parameters, lr=RATE),
    expected_accuracy=0.983,
)
