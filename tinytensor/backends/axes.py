"""Merge axes, so that compiled loops have as few axes as possible.

Broadcasting, and the sum over broadcast axes, follow from the shapes. Neighbouring axes that are
broadcast (or summed) in the same way are merged into one: (100, 28, 28) + (28, 28) has two axes,
100 and 784.
"""

from functools import lru_cache
from math import prod

Sizes = tuple[int, ...]
Pair = tuple[int, int]  # (vertical, horizontal)


def _merge(shape: Sizes, *operands: Sizes) -> list[tuple[int, tuple[bool, ...]]]:
    """Return the merged axes as (size, (True if the operand has this axis) for each operand)."""
    merged: list[tuple[int, tuple[bool, ...]]] = []
    for axis, size in enumerate(shape):
        if size == 1:
            continue
        present = []
        for operand in operands:
            own_axis = axis - (len(shape) - len(operand))
            present.append(own_axis >= 0 and operand[own_axis] != 1)
        if merged and merged[-1][1] == tuple(present):
            size *= merged.pop()[0]
        merged.append((size, tuple(present)))
    return merged


def _strides(sizes: list[int]) -> list[int]:
    """Return the stride of each axis, in elements; a size of 0 stands for an absent axis."""
    return [
        prod(size for size in sizes[i + 1 :] if size) if sizes[i] else 0 for i in range(len(sizes))
    ]


@lru_cache(maxsize=1024)
def broadcast(x_shape: Sizes, y_shape: Sizes, shape: Sizes) -> tuple[Sizes, Sizes, Sizes]:
    """Return (sizes, strides of x, strides of y) of the merged axes; stride 0 repeats an operand.

    >>> broadcast((100, 28, 28), (28, 28), (100, 28, 28))
    ((100, 784), (784, 1), (0, 1))
    """
    if prod(shape) == 0:
        return (0,), (1,), (1,)
    axes = _merge(shape, x_shape, y_shape) or [(1, (True, True))]
    sizes = [size for size, _ in axes]
    x_strides = _strides([size if present[0] else 0 for size, present in axes])
    y_strides = _strides([size if present[1] else 0 for size, present in axes])
    return tuple(sizes), tuple(x_strides), tuple(y_strides)


@lru_cache(maxsize=1024)
def reduction(x_shape: Sizes, out_shape: Sizes) -> tuple[Sizes, Sizes, Sizes, Sizes]:
    """Return (sizes, strides of x) of the kept axes and (sizes, strides of x) of the reduced axes.

    >>> reduction((100, 28, 28), (28, 28))
    ((784,), (1,), (100,), (784,))
    """
    if prod(x_shape) == 0:
        return (prod(out_shape),), (0,), (0,), (1,)
    axes = _merge(x_shape, out_shape)
    strides = _strides([size for size, _ in axes])
    kept = [(size, stride) for (size, (keep,)), stride in zip(axes, strides, strict=True) if keep]
    reduced = [
        (size, stride) for (size, (keep,)), stride in zip(axes, strides, strict=True) if not keep
    ]
    kept_sizes, kept_strides = zip(*kept, strict=True) if kept else ((1,), (0,))
    reduced_sizes, reduced_strides = zip(*reduced, strict=True) if reduced else ((1,), (1,))
    return kept_sizes, kept_strides, reduced_sizes, reduced_strides


@lru_cache(maxsize=1024)
def permutation(shape: Sizes, axes: Sizes) -> tuple[Sizes, Sizes]:
    """Return (sizes, strides of x) in the order of the axes of the transposed array.

    >>> permutation((2, 3, 4), (2, 0, 1))
    ((4, 2, 3), (1, 12, 4))
    """
    if not shape or prod(shape) == 0:
        return (prod(shape),), (1,)
    strides = _strides(list(shape))
    return tuple(shape[axis] for axis in axes), tuple(strides[axis] for axis in axes)
