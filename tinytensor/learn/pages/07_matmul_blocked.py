"""The matrix product, third rung: blocks.

The second rung loads and stores an element of out for each multiplication. That takes longer than
the multiplication. A block uses each loaded element several times: take 4 rows of x and 4 rows of y
together. For each n, load 4 elements of y once, and do 16 multiplications with them. out is loaded
and stored a quarter as often.

    for m = 0, 4, 8, ...   for k = 0, 4, 8, ...   for n = 0, 1, 2, ...
        out[m + i, n] += x[m + i, k] * y[k, n] + ... + x[m + i, k + 3] * y[k + 3, n],   i = 0 ... 3

If M or K is no multiple of 4, some rows are left over. Plain loops compute them.

    x     float32 (M, K)
    y     float32 (K, N)
    out   float32 (M, N)
"""

import numpy as np


def matmul(x, y, out):
    """Write the matrix product of x and y into out, in blocks of 4 x 4."""
    # solution
    M, K = x.shape
    N = y.shape[1]
    for m in range(M):
        for n in range(N):
            out[m, n] = 0
    rows, depth = M // 4 * 4, K // 4 * 4
    for m in range(0, rows, 4):
        for k in range(0, depth, 4):
            a, b = x[m, k : k + 4], x[m + 1, k : k + 4]
            c, d = x[m + 2, k : k + 4], x[m + 3, k : k + 4]
            for n in range(N):
                p, q, r, s = y[k, n], y[k + 1, n], y[k + 2, n], y[k + 3, n]
                out[m, n] += a[0] * p + a[1] * q + a[2] * r + a[3] * s
                out[m + 1, n] += b[0] * p + b[1] * q + b[2] * r + b[3] * s
                out[m + 2, n] += c[0] * p + c[1] * q + c[2] * r + c[3] * s
                out[m + 3, n] += d[0] * p + d[1] * q + d[2] * r + d[3] * s
    for m in range(M):
        for k in range(depth if m < rows else 0, K):
            for n in range(N):
                out[m, n] += x[m, k] * y[k, n]
    # end of solution


if __name__ == "__main__":
    x, y = np.array([[1, 2], [3, 4]], np.float32), np.array([[5], [6]], np.float32)
    out = np.empty((2, 1), np.float32)
    matmul(x, y, out)
    print("expected [[17], [39]], got", out.tolist())
