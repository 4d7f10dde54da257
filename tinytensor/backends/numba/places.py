"""Where numbers stand: sizes and strides of a few axes, and how compiled loops walk them."""

from functools import lru_cache

import numpy as np

from tinytensor.arrays import Array
from tinytensor.backends.axes import Sizes, broadcast, reduction
from tinytensor.backends.numba.compiling import part


@lru_cache(maxsize=1024)
def as_array(sizes: Sizes) -> Array:
    """As compiled code takes them."""
    return np.array(sizes, np.int64)


@part
def offset(index, axes, shape, strides):
    """Counting through the first `axes` axes, last fastest: where does count `index` stand?"""
    place = 0
    for axis in range(axes - 1, 0, -1):
        place += index % shape[axis] * strides[axis]
        index //= shape[axis]
    return place + index * strides[0] if axes else place


@part
def like(x, value):
    """A number of x's kind: with float64 among them, Numba computes in float64."""
    return x.dtype.type(value)


@lru_cache(maxsize=1024)
def broadcast_places(x: Sizes, y: Sizes, out: Sizes) -> tuple[Array, ...]:
    """What axes.broadcast tells, as arrays."""
    return tuple(map(as_array, broadcast(x, y, out)))


@lru_cache(maxsize=1024)
def reduction_places(x: Sizes, out: Sizes) -> tuple[Array, ...]:
    """What axes.reduction tells, as arrays."""
    return tuple(map(as_array, reduction(x, out)))


@part
def product_of(sizes):
    """All of them multiplied."""
    result = 1
    for size in sizes:
        result *= size
    return result
