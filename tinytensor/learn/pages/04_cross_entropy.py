"""Cross-entropy: how far the probabilities are from the right answers; and its gradient.

    out[r] = -log(p[r, labels[r]]),   where p = softmax(x)

The loss of an image is 0 if its right digit has probability 1. It grows if this probability
falls. Written with m, the largest value of the row, the probability is never 0 on the way:

    out[r] = m + log(exp(x[r, 0] - m) + exp(x[r, 1] - m) + ...) - x[r, labels[r]]

The gradient of the sum of all losses is simple: the probabilities, minus 1 at the right digit.

    grad[r, c] = p[r, c] - (1 if c == labels[r] else 0)

    x, grad   float32 (R, C)
    labels    int64 (R,), from 0 to C - 1
    out       float32 (R,)
"""

import math

import numpy as np


def cross_entropy(x, labels, out):
    """Write the loss of each row into out."""
    # solution
    R, C = x.shape
    for r in range(R):
        largest = -math.inf
        for c in range(C):
            if x[r, c] > largest:
                largest = x[r, c]
        total = 0.0
        for c in range(C):
            total += math.exp(x[r, c] - largest)
        out[r] = largest + math.log(total) - x[r, labels[r]]
    # end of solution


def cross_entropy_backward(x, labels, grad):
    """Write the gradient of the sum of all losses by x into grad."""
    # solution
    R, C = x.shape
    for r in range(R):
        largest = -math.inf
        for c in range(C):
            if x[r, c] > largest:
                largest = x[r, c]
        total = 0.0
        for c in range(C):
            grad[r, c] = math.exp(x[r, c] - largest)
            total += grad[r, c]
        for c in range(C):
            grad[r, c] = grad[r, c] / total
        grad[r, labels[r]] -= 1
    # end of solution


if __name__ == "__main__":
    x, labels = np.array([[0, 0], [1000, 0]], np.float32), np.array([0, 1])
    out, grad = np.empty(2, np.float32), np.empty((2, 2), np.float32)
    cross_entropy(x, labels, out)
    print("expected [0.693, 1000], got", out.round(3).tolist())
    cross_entropy_backward(x, labels, grad)
    print("expected [[-0.5, 0.5], [1, -1]], got", grad.tolist())
