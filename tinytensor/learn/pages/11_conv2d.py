"""The convolution: one neuron slides over the whole image.

A neuron of lesson 3.0 sees only a window of A x B pixels. It computes its weighted sum at every
place of the image, always with the same weights. There are O such neurons, so the result has O
channels. The image has I channels.

    out[n, p, q, o] = sum over a, b, i of x[n, p + a, q + b, i] * weight[a, b, i, o]

The window starts at (p, q) and stays inside the image, so P = H - A + 1 and Q = W - B + 1.

    x        float32 (N, H, W, I)
    weight   float32 (A, B, I, O)
    out      float32 (N, P, Q, O)
"""

import numpy as np


def conv2d(x, weight, out):
    """Write the convolution of the images x with the weights into out."""
    # solution
    A, B, I, O = weight.shape
    N, P, Q, O = out.shape
    for n in range(N):
        for p in range(P):
            for q in range(Q):
                for o in range(O):
                    total = 0.0
                    for a in range(A):
                        for b in range(B):
                            for i in range(I):
                                total += x[n, p + a, q + b, i] * weight[a, b, i, o]
                    out[n, p, q, o] = total
    # end of solution


if __name__ == "__main__":
    x = np.arange(9, dtype=np.float32).reshape(1, 3, 3, 1)
    weight = np.array([[1, 0], [0, 10]], np.float32).reshape(2, 2, 1, 1)
    out = np.empty((1, 2, 2, 1), np.float32)
    conv2d(x, weight, out)
    print("expected [40, 51, 73, 84], got", out.ravel().tolist())
