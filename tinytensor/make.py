"""Tensors made from nothing but a shape."""

import numpy as np

from tinytensor.tensor import Tensor, from_numpy


def zeros(*shape: int, dtype: str = "float32", requires_grad: bool = False) -> Tensor:
    """A tensor full of zeros."""
    return from_numpy(np.zeros(shape, dtype)).requires_grad_(requires_grad)


def ones(*shape: int, dtype: str = "float32", requires_grad: bool = False) -> Tensor:
    """A tensor full of ones."""
    return from_numpy(np.ones(shape, dtype)).requires_grad_(requires_grad)
