"""A neuron: the weighted sum of its inputs, plus a bias.

    out[0] = x[0] * weight[0] + x[1] * weight[1] + ... + bias[0]

A neuron of lesson 1.0 has 784 inputs, the pixels of an image. Each input has a weight. The sum is
large if bright pixels meet large weights. A weighted sum is also called a dot product. Matrix
products and convolutions are made of dot products.

    x, weight   float32 (K,)
    bias        float32 (1,)
    out         float32 (1,), to be written; it is not 0 before
"""

import numpy as np


def neuron(x, weight, bias, out):
    """Write the weighted sum of x, plus the bias, into out[0]."""
    # solution
    total = bias[0]
    for k in range(len(x)):
        total += x[k] * weight[k]
    out[0] = total
    # end of solution


if __name__ == "__main__":
    out = np.empty(1, np.float32)
    x, weight = np.array([1, 2, 3], np.float32), np.array([10, 20, 30], np.float32)
    neuron(x, weight, np.array([5], np.float32), out)
    print("expected [145.], got", out)
