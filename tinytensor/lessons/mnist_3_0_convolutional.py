"""The same small weights for every place of the image.

    images   (100, 28, 28, 1)
       |     conv 5x5, 1 -> 4 channels, stride 1, relu
    maps     (100, 28, 28, 4)
       |     conv 5x5, 4 -> 8 channels, stride 2, relu
    maps     (100, 14, 14, 8)
       |     conv 4x4, 8 -> 12 channels, stride 2, relu
    maps     (100, 7, 7, 12)
       |     flatten to 588 numbers, @ (588, 200) + (200), relu
    hidden   (100, 200)
       |     @ (200, 10) + (10)
    logits   (100, 10)

Formula: map_hwo = bias_o + sum over a, b, i of image_(h+a)(w+b)i weight_abio

A row of 784 numbers has forgotten which of them were neighbours. A convolution looks at one patch
of the image after the other, always with the same few weights: what it learns to see, it sees
everywhere. A stride of 2 halves the image, while the channels, kinds of things seen, become more.

Look for: 98 % after about a thousand steps, with fewer weights in all three convolutions together
(2,436) than ten plain neurons have (7,840).

Try: tinytensor try convolution
Try: tinytensor train conv --steps 1000 --save conv.safetensors
Try: tinytensor predict --model conv.safetensors digit.png    # one of yours
"""

import tinytensor as tt
from tinytensor import nn
from tinytensor.lessons import Lesson
from tinytensor.lessons.mnist_2_1_five_layers_relu_lrdecay import RATE

WEIGHT, BIAS = nn.truncated_normal(0.1), nn.constant(0.1)


def convolutional() -> nn.Module:
    """Three convolutions and two dense layers."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 5, weight=WEIGHT, bias=BIAS), nn.ReLU(),
        nn.Conv2d(4, 8, 5, stride=2, weight=WEIGHT, bias=BIAS), nn.ReLU(),
        nn.Conv2d(8, 12, 4, stride=2, weight=WEIGHT, bias=BIAS), nn.ReLU(),
        nn.Flatten(), nn.Linear(7 * 7 * 12, 200, WEIGHT, BIAS), nn.ReLU(),
        nn.Linear(200, 10, WEIGHT, BIAS),
    )  # fmt: skip


LESSON = Lesson(
    number="3.0",
    name="conv",
    title="convolutions",
    chapter=__doc__,
    model=convolutional,
    optimizer=lambda parameters: tt.optim.Adam(parameters, lr=RATE),
    expected_accuracy=0.989,
)
