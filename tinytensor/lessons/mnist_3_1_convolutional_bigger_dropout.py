"""A larger net, kept from learning by heart.

    images   (100, 28, 28, 1)
       |     conv 6x6, 1 -> 6 channels, stride 1, relu
    maps     (100, 28, 28, 6)
       |     conv 5x5, 6 -> 12 channels, stride 2, relu
    maps     (100, 14, 14, 12)
       |     conv 4x4, 12 -> 24 channels, stride 2, relu
    maps     (100, 7, 7, 24)
       |     flatten to 1,176 numbers, @ (1176, 200) + (200), relu
       |     dropout keeps 0.75
    hidden   (100, 200)
       |     @ (200, 10) + (10)
    logits   (100, 10)

Formula: as in lesson 3.0, and dropout(h) = h * mask / 0.75 on the dense layer

A net that is a little too small can't see all there is; one that is a little too large learns by
heart what it has seen. So: more channels, and dropout where most of the weights are, in the dense
layer.

Look for: above 99 %: fewer than 100 of the 10,000 test digits are wrong, and some of those nobody
could read.

Try: tinytensor train conv-dropout --steps 2000
Try: tinytensor train conv --steps 2000       # the smaller net, as long
"""

import tinytensor as tt
from tinytensor import nn
from tinytensor.lessons import Lesson
from tinytensor.lessons.mnist_2_1_five_layers_relu_lrdecay import RATE

WEIGHT, BIAS = nn.truncated_normal(0.1), nn.constant(0.1)


def convolutional() -> nn.Module:
    """Three convolutions, and two dense layers with dropout between them."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 6, weight=WEIGHT, bias=BIAS), nn.ReLU(),
        nn.Conv2d(6, 12, 5, stride=2, weight=WEIGHT, bias=BIAS), nn.ReLU(),
        nn.Conv2d(12, 24, 4, stride=2, weight=WEIGHT, bias=BIAS), nn.ReLU(),
        nn.Flatten(), nn.Linear(7 * 7 * 24, 200, WEIGHT, BIAS), nn.ReLU(), nn.Dropout(0.75),
        nn.Linear(200, 10, WEIGHT, BIAS),
    )  # fmt: skip


LESSON = Lesson(
    number="3.1",
    name="conv-dropout",
    title="bigger convolutions, and dropout",
    chapter=__doc__,
    model=convolutional,
    optimizer=lambda parameters: tt.optim.Adam(parameters, lr=RATE),
    expected_accuracy=0.991,
)
