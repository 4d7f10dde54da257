"""The matrix product, second rung: the order of the loops.

The innermost loop of the first rung goes down a column of y. The elements of a column are far apart
in memory: for each one the processor loads a cache line, 64 bytes, and uses 4 of them. Each
addition to `total` also waits for the previous addition.

Exchange the loops over k and n. The innermost loop then goes along a row of y and a row of out,
which are contiguous, and its additions do not wait for each other:

    out[m, n] += x[m, k] * y[k, n]   for n = 0, 1, 2, ...

out is not 0 before, so it is set to 0 first.

    x     float32 (M, K)
    y     float32 (K, N)
    out   float32 (M, N)
"""

import numpy as np


def matmul(x, y, out):
    """Write the matrix product of x and y into out, with the innermost loop along rows."""
    # solution
    M, K = x.shape
    N = y.shape[1]
    for m in range(M):
        for n in range(N):
            out[m, n] = 0
        for k in range(K):
            factor = x[m, k]
            for n in range(N):
                out[m, n] += factor * y[k, n]
    # end of solution


if __name__ == "__main__":
    x, y = np.array([[1, 2], [3, 4]], np.float32), np.array([[5], [6]], np.float32)
    out = np.empty((2, 1), np.float32)
    matmul(x, y, out)
    print("expected [[17], [39]], got", out.tolist())
