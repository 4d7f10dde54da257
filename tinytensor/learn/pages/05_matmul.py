"""The matrix product: a layer of neurons, for a batch of images.

    out[m, n] = x[m, 0] * y[0, n] + x[m, 1] * y[1, n] + ... + x[m, K - 1] * y[K - 1, n]

A row of x is an image, and a column of y has the weights of a neuron. So an element of out is the
dot product of a row and a column. Three loops compute all of them. This is the first rung of the
ladder; the next exercises make it faster.

    x     float32 (M, K)
    y     float32 (K, N)
    out   float32 (M, N); all 0 if K is 0
"""

import numpy as np


def matmul(x, y, out):
    """Write the matrix product of x and y into out."""
    # solution
    M, K = x.shape
    N = y.shape[1]
    for m in range(M):
        for n in range(N):
            total = 0.0
            for k in range(K):
                total += x[m, k] * y[k, n]
            out[m, n] = total
    # end of solution


if __name__ == "__main__":
    x, y = np.array([[1, 2], [3, 4]], np.float32), np.array([[5], [6]], np.float32)
    out = np.empty((2, 1), np.float32)
    matmul(x, y, out)
    print("expected [[17], [39]], got", out.tolist())
