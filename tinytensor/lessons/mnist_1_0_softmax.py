"""Lesson 1.0: ten neurons, one for each digit. About 92 %.

    images   (100, 28, 28, 1)
       |     reshape: an image is a row of 784 numbers
    x        (100, 784)
       |     @ weight (784, 10): each of ten neurons takes its own weighted sum of the 784 numbers
       |     + bias (10): broadcast, the same ten for every row
    logits   (100, 10)
       |     softmax: e^logit divided by the sum of its row, ten probabilities that add up to 1
    probs    (100, 10)

One formula: probs = softmax(x @ weight + bias). The softmax itself stands in cross_entropy, which
measures how far the probabilities are from the right answers.
"""

import tinytensor as tt
from tinytensor.lessons import Lesson


class Softmax:
    """784 -> 10. Everything starts at zero: at first all digits are equally likely."""

    def __init__(self) -> None:
        self.weight = tt.zeros(784, 10, requires_grad=True)
        self.bias = tt.zeros(10, requires_grad=True)

    def __call__(self, images: tt.Tensor) -> tt.Tensor:
        """From images (N, 28, 28, 1) to logits (N, 10)."""
        x = images.reshape(-1, 784)
        return x @ self.weight + self.bias

    def parameters(self) -> list[tt.Tensor]:
        """The weighted sums' weights, and the biases."""
        return [self.weight, self.bias]


LESSON = Lesson(
    number="1.0",
    name="softmax",
    title="ten neurons and a softmax",
    model=Softmax,
    # The course adds up the loss over a batch of 100, with rate 0.005; here the loss is their mean.
    optimizer=lambda parameters: tt.optim.SGD(parameters, lr=0.5),
    steps=2000,
    batch=100,
    expected_accuracy=0.92,
)
