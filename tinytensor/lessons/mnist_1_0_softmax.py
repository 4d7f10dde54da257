"""Ten neurons, one for each digit.

    images   (100, 28, 28, 1)
       |     reshape: an image is a row of 784 numbers
    x        (100, 784)
       |     @ weight (784, 10): each of ten neurons takes its own weighted sum of the 784 numbers
       |     + bias (10): broadcast, the same ten for every row
    logits   (100, 10)
       |     softmax: e^logit divided by the sum of its row, ten probabilities that add up to 1
    probs    (100, 10)

Formula: probs = softmax(x @ weight + bias)

The distance to the right answers is the cross-entropy: minus the logarithm of the probability that
the right digit got, on average. Its gradient says for each weight which way it makes the error
smaller, and training goes a small step that way, 2,000 times. The softmax itself stands in
cross_entropy, which works on the logits.

Look for: the loss falls fast for some hundred steps and then hardly; about 8 of 100 test digits
stay wrong, for ten weighted sums can tell no more.

Try: tinytensor train softmax --steps 10000
Try: tinytensor try squared-error
Try: tinytensor train softmax --backend numpy
"""

import tinytensor as tt
from tinytensor.lessons import Lesson, scaled
from tinytensor.nn import Module


class Softmax(Module):
    """784 -> 10. Everything starts at zero: at first all digits are equally likely."""

    def __init__(self) -> None:
        self.weight = tt.zeros(784, 10, requires_grad=True)
        self.bias = tt.zeros(10, requires_grad=True)

    def forward(self, images: tt.Tensor) -> tt.Tensor:
        """From images (N, 28, 28, 1) to logits (N, 10)."""
        return images.reshape(-1, 784) @ self.weight + self.bias


LESSON = Lesson(
    number="1.0",
    name="softmax",
    title="ten neurons and a softmax",
    model=Softmax,
    optimizer=lambda parameters: tt.optim.SGD(parameters, lr=scaled(0.005)),
    steps=2000,
    evaluate_every=50,
    expected_accuracy=0.92,
    expected_of="best",
)
