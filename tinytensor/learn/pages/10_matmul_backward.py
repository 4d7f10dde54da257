"""The two gradients of the matrix product.

For out = x @ y, `grad` is the derivative of the loss by each element of out. The element x[m, k] is
used in the whole row m of out, where it is multiplied by y[k, n]. So its derivative is a sum along
the row, and y is read along its row k:

    grad_x[m, k] = sum over n of grad[m, n] * y[k, n],   that is grad @ y.T

The element y[k, n] is used in the whole column n of out, where it is multiplied by x[m, k]:

    grad_y[k, n] = sum over m of x[m, k] * grad[m, n],   that is x.T @ grad

The transposes are no trick: they are the two sums above.

    x, grad_x   float32 (M, K)
    y, grad_y   float32 (K, N)
    grad        float32 (M, N)
"""

import numpy as np


def matmul_backward_x(grad, y, grad_x):
    """Write the gradient by x into grad_x."""
    # solution
    M, N = grad.shape
    K = y.shape[0]
    for m in range(M):
        for k in range(K):
            total = 0.0
            for n in range(N):
                total += grad[m, n] * y[k, n]
            grad_x[m, k] = total
    # end of solution


def matmul_backward_y(x, grad, grad_y):
    """Write the gradient by y into grad_y."""
    # solution
    M, K = x.shape
    N = grad.shape[1]
    for k in range(K):
        for n in range(N):
            total = 0.0
            for m in range(M):
                total += x[m, k] * grad[m, n]
            grad_y[k, n] = total
    # end of solution


if __name__ == "__main__":
    x, y = np.array([[1, 2], [3, 4]], np.float32), np.array([[5], [6]], np.float32)
    grad = np.array([[1], [10]], np.float32)
    grad_x, grad_y = np.empty((2, 2), np.float32), np.empty((2, 1), np.float32)
    matmul_backward_x(grad, y, grad_x)
    print("expected [[5, 6], [50, 60]], got", grad_x.tolist())
    matmul_backward_y(x, grad, grad_y)
    print("expected [[31], [42]], got", grad_y.tolist())
