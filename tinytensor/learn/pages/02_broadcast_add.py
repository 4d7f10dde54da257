"""Broadcasting: add a row to every row of a matrix; and the gradient of this sum.

    out[r, c] = x[r, c] + b[c]

Lesson 1.0 adds 10 biases to the weighted sums of 100 images at once. The biases are used again in
each row: they are broadcast.

The second function goes backwards. `grad` is the derivative of the loss by each element of out. If
b[c] grows by a small h, then the whole column c of out grows by h, and each of its elements changes
the loss. So the derivative by b[c] is a sum:

    grad_b[c] = grad[0, c] + grad[1, c] + ... + grad[R - 1, c]

Forward, a value is copied to many places. Backward, the gradients of these places are added.

    x, out, grad   float32 (R, C)
    b, grad_b      float32 (C,)
"""

import numpy as np


def add(x, b, out):
    """Write x + b into out."""
    # solution
    R, C = x.shape
    for r in range(R):
        for c in range(C):
            out[r, c] = x[r, c] + b[c]
    # end of solution


def add_backward(grad, grad_b):
    """Write the gradient by b into grad_b."""
    # solution
    R, C = grad.shape
    for c in range(C):
        total = 0.0
        for r in range(R):
            total += grad[r, c]
        grad_b[c] = total
    # end of solution


if __name__ == "__main__":
    x, b = np.array([[1, 2], [3, 4]], np.float32), np.array([10, 20], np.float32)
    out, grad_b = np.empty((2, 2), np.float32), np.empty(2, np.float32)
    add(x, b, out)
    print("expected [[11, 22], [13, 24]], got", out.tolist())
    add_backward(x, grad_b)
    print("expected [4, 6], got", grad_b.tolist())
