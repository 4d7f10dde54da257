"""All of it together.

    images   (100, 28, 28, 1)
       |     conv 6x6, 1 -> 24 channels, stride 1, batch norm, relu
    maps     (100, 28, 28, 24)
       |     conv 5x5, 24 -> 48 channels, stride 2, batch norm, relu
    maps     (100, 14, 14, 48)
       |     conv 4x4, 48 -> 64 channels, stride 2, batch norm, relu
    maps     (100, 7, 7, 64)
       |     flatten to 3,136 numbers, @ (3136, 200), batch norm, relu
       |     dropout keeps 0.75
    hidden   (100, 200)
       |     @ (200, 10) + (10)
    logits   (100, 10)

Formula: batch norm as in lesson 4.1, a channel's mean and variance over all images and places

Formula: rate = 0.0001 + 0.02 e^(-step / 1600)

From ten neurons to this: layers, ReLU, a decaying rate, dropout, convolutions and batch norm, each
measured on the way.

Look for: 99 % within the first few hundred steps, about 99.5 % at the end: some 50 wrong of 10,000.

Try: tinytensor train batchnorm-conv --steps 500
Try: tinytensor train best --steps 1000       # what else helps
"""

import tinytensor as tt
from tinytensor import nn
from tinytensor.lessons import Lesson

WEIGHT = nn.truncated_normal(0.1)
RATE = tt.optim.exponential(floor=0.0001, start=0.02, steps=1600)


def _norm(channels: int) -> nn.Module:
    return nn.BatchNorm(channels, scale=False, decay=0.999, offset_start=0.1)


def convolutional() -> nn.Module:
    """Three convolutions and a dense layer with batch norm; ten outputs."""
    return nn.Sequential(
        nn.Conv2d(1, 24, 6, weight=WEIGHT, bias=None), _norm(24), nn.ReLU(),
        nn.Conv2d(24, 48, 5, stride=2, weight=WEIGHT, bias=None), _norm(48), nn.ReLU(),
        nn.Conv2d(48, 64, 4, stride=2, weight=WEIGHT, bias=None), _norm(64), nn.ReLU(),
        nn.Flatten(), nn.Linear(7 * 7 * 64, 200, WEIGHT, bias=None), _norm(200), nn.ReLU(),
        nn.Dropout(0.75), nn.Linear(200, 10, WEIGHT, nn.constant(0.1)),
    )  # fmt: skip


LESSON = Lesson(
    number="4.2",
    name="batchnorm-conv",
    title="batch norm and convolutions",
    chapter=__doc__,
    model=convolutional,
    optimizer=lambda parameters: tt.optim.Adam(parameters, lr=RATE),
    expected_accuracy=0.994,
)
