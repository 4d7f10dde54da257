"""Softmax: from the outputs of ten neurons to ten probabilities.

    out[r, c] = exp(x[r, c]) / (exp(x[r, 0]) + exp(x[r, 1]) + ... + exp(x[r, C - 1]))

Each row is an image, and each column is a digit. The exponential makes every value positive. The
division by the sum of the row makes the row's sum 1.

The formula alone is not enough: exp(100) is too large for a float32, and the result is infinite.
The largest value of the row can be subtracted from the whole row first, because it cancels in the
division. Then the largest exponential is exp(0) = 1.

    x, out   float32 (R, C)
"""

import math

import numpy as np


def softmax(x, out):
    """Write the softmax of each row of x into out."""
    # solution
    R, C = x.shape
    for r in range(R):
        largest = -math.inf
        for c in range(C):
            if x[r, c] > largest:
                largest = x[r, c]
        total = 0.0
        for c in range(C):
            out[r, c] = math.exp(x[r, c] - largest)
            total += out[r, c]
        for c in range(C):
            out[r, c] = out[r, c] / total
    # end of solution


if __name__ == "__main__":
    x = np.array([[0, 0], [1000, 1000 + math.log(3)]], np.float32)
    out = np.empty((2, 2), np.float32)
    softmax(x, out)
    print("expected [[0.5, 0.5], [0.25, 0.75]], got", out.round(3).tolist())
