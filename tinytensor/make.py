"""Tensors made from nothing but a shape. The sizes may come one by one or as a tuple."""

import numpy as np

from tinytensor import random
from tinytensor.tensor import Tensor, from_numpy

Sizes = int | tuple[int, ...]


def zeros(*shape: Sizes, dtype: str = "float32", requires_grad: bool = False) -> Tensor:
    """A tensor full of zeros."""
    return from_numpy(np.zeros(_sizes(shape), dtype)).requires_grad_(requires_grad)


def ones(*shape: Sizes, dtype: str = "float32", requires_grad: bool = False) -> Tensor:
    """A tensor full of ones."""
    return from_numpy(np.ones(_sizes(shape), dtype)).requires_grad_(requires_grad)


def rand(*shape: Sizes, dtype: str = "float32", requires_grad: bool = False) -> Tensor:
    """Uniform random numbers in [0, 1); float32 or float64."""
    numbers = random.generator().random(_sizes(shape), np.dtype(dtype).type)
    return from_numpy(np.asarray(numbers)).requires_grad_(requires_grad)


def randn(*shape: Sizes, dtype: str = "float32", requires_grad: bool = False) -> Tensor:
    """Normally distributed random numbers, mean 0 and standard deviation 1; float32 or float64."""
    numbers = random.generator().standard_normal(_sizes(shape), np.dtype(dtype).type)
    return from_numpy(np.asarray(numbers)).requires_grad_(requires_grad)


def _sizes(shape: tuple[Sizes, ...]) -> tuple[int, ...]:
    return shape[0] if shape and isinstance(shape[0], tuple) else shape  # type: ignore[return-value]
