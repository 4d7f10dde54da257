"""The matrix product, fifth rung: threads.

Each processor core can compute another part of out at the same time. The rows of out do not depend
on each other, so each thread computes its own rows.

In Numba, `numba.prange` is a range whose steps run on several threads. The decorator needs
`parallel=True`. Two threads must never write to the same element.

    x     float32 (M, K)
    y     float32 (K, N)
    out   float32 (M, N)
"""

import numba
import numpy as np


@numba.njit(parallel=True)
def matmul(x, y, out):
    """Write the matrix product of x and y into out, with the rows divided among threads."""
    # solution
    M, K = x.shape
    N = y.shape[1]
    for m in numba.prange(M):
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
