"""Optimisers: from gradient descent (SGD) to Adam.

SGD moves each parameter against its gradient. The learning rate is the length of the step:

    p = p - rate * grad

Momentum keeps a velocity, so that steps in the same direction add up, and steps to and fro cancel:

    velocity = 0.9 * velocity + grad
    p = p - rate * velocity

Adam keeps two averages: m of the gradient, and v of its square. The square root of v is the usual
size of the gradient, so m / sqrt(v) is near 1 or -1 for any scale of the loss. Both averages start
at 0, which is too small, so in step 1, 2, 3, ... they are divided by what they lack:

    m = 0.9 * m + 0.1 * grad
    v = 0.999 * v + 0.001 * grad**2
    p = p - rate * (m / (1 - 0.9**step)) / (sqrt(v / (1 - 0.999**step)) + 1e-8)

All arrays are float32 (N,). p, velocity, m and v are changed in place, and grad is only read. rate
is a float, and step is an int from 1.
"""

import math

import numpy as np


def sgd(p, grad, rate):
    """Change p by one step of gradient descent."""
    # solution
    for n in range(len(p)):
        p[n] = p[n] - rate * grad[n]
    # end of solution


def momentum(p, velocity, grad, rate):
    """Change the velocity and p by one step with momentum."""
    # solution
    for n in range(len(p)):
        velocity[n] = 0.9 * velocity[n] + grad[n]
        p[n] = p[n] - rate * velocity[n]
    # end of solution


def adam(p, m, v, grad, rate, step):
    """Change m, v and p by one step of Adam."""
    # solution
    for n in range(len(p)):
        m[n] = 0.9 * m[n] + 0.1 * grad[n]
        v[n] = 0.999 * v[n] + 0.001 * grad[n] * grad[n]
        m_hat = m[n] / (1 - 0.9**step)
        v_hat = v[n] / (1 - 0.999**step)
        p[n] = p[n] - rate * m_hat / (math.sqrt(v_hat) + 1e-8)
    # end of solution


if __name__ == "__main__":
    grad = np.array([1, -2], np.float32)
    p, velocity, m, v = (np.zeros(2, np.float32) for _ in range(4))
    sgd(p, grad, 0.5)
    print("expected [-0.5, 1], got", p.tolist())
    momentum(p, velocity, grad, 0.5)
    print("expected [-1, 2], got", p.tolist())
    adam(p, m, v, grad, 0.5, 1)
    print("expected [-1.5, 2.5], got", p.tolist())
