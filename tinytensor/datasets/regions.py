"""Connected regions of a mask: groups of True pixels that touch at an edge or at a corner."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tinytensor.arrays import Array


class Regions(NamedTuple):
    """The R connected regions of a mask, numbered from 1."""

    labels: Array  # (H, W) int64: the number of each pixel's region, 0 outside
    areas: Array  # (R,) int64, pixels
    boxes: Array  # (R, 4) int64: top, left, bottom, right; bottom and right are exclusive


def connected(mask: Array) -> Regions:
    """Find the connected regions of a mask.

    Each row is cut into runs of True pixels. A run belongs to the same region as the runs of the
    row above that it touches.

    Args:
        mask: (H, W) bool.

    Returns:
        the Regions.
    """
    H, W = mask.shape
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(edges == 1)
    _, ends = np.nonzero(edges == -1)
    parent = list(range(len(rows)))

    def root(run: int) -> int:
        while parent[run] != run:
            parent[run] = parent[parent[run]]  # a shorter path for the next call
            run = parent[run]
        return run

    first = np.searchsorted(rows, np.arange(H + 1))  # the first run of each row
    for row in range(1, H):
        above, here = int(first[row - 1]), int(first[row])
        while above < first[row] and here < first[row + 1]:
            if ends[above] >= starts[here] and ends[here] >= starts[above]:
                parent[root(here)] = root(above)
            if ends[above] < ends[here]:  # the run that ends first touches no later run
                above += 1
            else:
                here += 1
    roots = np.array([root(run) for run in range(len(rows))], np.int64)
    _, numbers = np.unique(roots, return_inverse=True)
    R = int(numbers.max(initial=-1)) + 1
    labels = np.zeros((H, W), np.int64)
    for run, number in enumerate(numbers):
        labels[rows[run], starts[run] : ends[run]] = number + 1
    areas = np.zeros(R, np.int64)
    top, left = np.full(R, H), np.full(R, W)
    bottom, right = np.zeros(R, np.int64), np.zeros(R, np.int64)
    np.add.at(areas, numbers, ends - starts)
    np.minimum.at(top, numbers, rows)
    np.minimum.at(left, numbers, starts)
    np.maximum.at(bottom, numbers, rows + 1)
    np.maximum.at(right, numbers, ends)
    return Regions(labels, areas, np.stack([top, left, bottom, right], axis=1))
