"""The two gradients of the convolution.

`grad` is the derivative of the loss by each element of out, see the previous exercise. The pixel
x[n, h, w, i] is in several windows. In the window at (p, q) it stands at (a, b) = (h - p, w - q)
and is multiplied by weight[a, b, i, o]. Each window adds to its gradient:

    grad_x[n, p + a, q + b, i] += grad[n, p, q, o] * weight[a, b, i, o]

A weight is used at every place of every image, and each use adds to its gradient:

    grad_weight[a, b, i, o] += grad[n, p, q, o] * x[n, p + a, q + b, i]

Both results start at 0. The loops are those of the convolution itself.

    x, grad_x             float32 (N, H, W, I)
    weight, grad_weight   float32 (A, B, I, O)
    grad                  float32 (N, P, Q, O)
"""

import numpy as np


def conv2d_backward_x(grad, weight, grad_x):
    """Write the gradient by the images into grad_x."""
    # solution
    N, P, Q, O = grad.shape
    A, B, I, O = weight.shape
    grad_x[:] = 0
    for n in range(N):
        for p in range(P):
            for q in range(Q):
                for o in range(O):
                    for a in range(A):
                        for b in range(B):
                            for i in range(I):
                                grad_x[n, p + a, q + b, i] += grad[n, p, q, o] * weight[a, b, i, o]
    # end of solution


def conv2d_backward_weight(x, grad, grad_weight):
    """Write the gradient by the weights into grad_weight."""
    # solution
    N, P, Q, O = grad.shape
    A, B, I, O = grad_weight.shape
    grad_weight[:] = 0
    for n in range(N):
        for p in range(P):
            for q in range(Q):
                for o in range(O):
                    for a in range(A):
                        for b in range(B):
                            for i in range(I):
                                grad_weight[a, b, i, o] += grad[n, p, q, o] * x[n, p + a, q + b, i]
    # end of solution


if __name__ == "__main__":
    x = np.arange(4, dtype=np.float32).reshape(1, 1, 4, 1)
    weight = np.array([1, 10], np.float32).reshape(1, 2, 1, 1)
    grad = np.array([1, 0, 2], np.float32).reshape(1, 1, 3, 1)
    grad_x, grad_weight = np.empty_like(x), np.empty_like(weight)
    conv2d_backward_x(grad, weight, grad_x)
    print("expected [1, 10, 2, 20], got", grad_x.ravel().tolist())
    conv2d_backward_weight(x, grad, grad_weight)
    print("expected [4, 7], got", grad_weight.ravel().tolist())
