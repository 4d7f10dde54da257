"""Sizes and strides of merged axes as arrays, and offsets in them."""

from functools import lru_cache

import numpy as np

from tinytensor.arrays import Array
from tinytensor.backends.axes import Sizes, broadcast, reduction
from tinytensor.backends.numba.compiling import subroutine


@lru_cache(maxsize=1024)
def as_array(sizes: Sizes) -> Array:
    """Return the sizes as an int64 array, for compiled code."""
    return np.array(sizes, np.int64)


def flat(x: Array) -> Array:
    """Return a view of x with one axis.  Raises ValueError if x is not C-contiguous."""
    return x.reshape(-1, copy=False)


@subroutine
def offset(index, axes, shape, strides):
    """Return the offset of the element with the flat index `index` in the first `axes` axes."""
    total = 0
    for axis in range(axes - 1, 0, -1):
        total += index % shape[axis] * strides[axis]
        index //= shape[axis]
    return total + index * strides[0] if axes else total


@subroutine
def like(x, value):
    """Return the value in x's dtype, because Numba computes float32 with float64 in float64."""
    return x.dtype.type(value)


@lru_cache(maxsize=1024)
def broadcast_strides(x: Sizes, y: Sizes, out: Sizes) -> tuple[Array, ...]:
    """Return the results of axes.broadcast as arrays."""
    return tuple(map(as_array, broadcast(x, y, out)))


@lru_cache(maxsize=1024)
def reduction_strides(x: Sizes, out: Sizes) -> tuple[Array, ...]:
    """Return the results of axes.reduction as arrays."""
    return tuple(map(as_array, reduction(x, out)))


@subroutine
def product_of(sizes):
    """Return the product of the sizes."""
    result = 1
    for size in sizes:
        result *= size
    return result
