"""Lesson 1.0: ten neurons and a softmax. Its chapter is chapters/1.0.md."""

import math

import tinytensor as tt
from tinytensor.lessons import MNIST, Lesson, Shape, scaled
from tinytensor.nn import Module


class TenNeurons(Module):
    """784 -> 10. Everything starts at zero: at first all digits are equally likely."""

    def __init__(self, classes: int = 10, shape: Shape = MNIST) -> None:
        self.weight = tt.zeros(math.prod(shape), classes, requires_grad=True)
        self.bias = tt.zeros(classes, requires_grad=True)

    def forward(self, images: tt.Tensor) -> tt.Tensor:
        """From images (N, 28, 28, 1) to logits (N, classes)."""
        return images.reshape(-1, len(self.weight)) @ self.weight + self.bias


LESSON = Lesson(
    number="1.0", name="softmax", title="ten neurons and a softmax", chapter="1.0.md",
    model=TenNeurons,
    optimizer=lambda parameters: tt.optim.SGD(parameters, lr=scaled(0.005)),
    steps=2000,
    evaluate_every=50,
    expected_accuracy=0.92,
    expected_of="best",
)  # fmt: skip
