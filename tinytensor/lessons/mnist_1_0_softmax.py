"""Ten neurons, one for each digit.

    images   (100, 28, 28, 1)  a batch of the 60,000 training images
       |     reshape: an image is a row of 784 numbers
    x        (100, 784)
       |     @ weight (784, 10): ten neurons, each with its own weighted sum
       |     + bias (10): broadcast, the same ten for every row
    logits   (100, 10)
       |     softmax: e^logit divided by the sum of its row
    probs    (100, 10)         ten probabilities that add up to 1

Formula: probs = softmax(x @ weight + bias)

Formula: cross-entropy = -sum(y * log(probs)), its mean over the batch

The right answer y is one-hot: ten numbers, 1 for the digit and 0 for the others, so the sum is the
logarithm of one probability, the right digit's. tt.cross_entropy takes it, softmax included, from
the logits. The squared distance to y would do too, but it hardly corrects a network that is sure
and wrong, which the cross-entropy corrects most.

Its gradient says for each weight which way it makes the error smaller, and training goes a small
step that way, 2,000 times. A batch of 100 images points the way better than one, and its product of
matrices costs far less than 100 of vectors. The test is 10,000 other images, never trained on.

Look for: the loss falls fast for some hundred steps and then hardly; about 8 of 100 test digits
stay wrong, for ten weighted sums can tell no more.

Try: tinytensor try squared-error
Try: tinytensor try l2-norm
Try: tinytensor try batch-size
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
    number="1.0", name="softmax", title="ten neurons and a softmax", chapter=__doc__,
    model=Softmax,
    optimizer=lambda parameters: tt.optim.SGD(parameters, lr=scaled(0.005)),
    steps=2000,
    evaluate_every=50,
    expected_accuracy=0.92,
    expected_of="best",
)  # fmt: skip
