"""Convert a batch of images from bytes to real numbers between 0 and 1.

The images of a batch are scattered over an array that is larger than the caches, so the wait for an
image is longer than its conversion. The loop therefore prefetches the image AHEAD images later.
"""

import math

import numpy as np

from tinytensor.arrays import Array
from tinytensor.backends.lowering import Lowered, lowered
from tinytensor.backends.numba.compiling import kernel
from tinytensor.backends.numba.tile import prefetch

AHEAD = 4  # images
LINE = 64  # bytes in a cache line


@lowered
def load_images(images: Array, index: Array, out: Array) -> Lowered:
    D = math.prod(out.shape[1:])
    rows, examples = (
        out.reshape(len(index), D, copy=False),
        images.reshape(len(images), D, copy=False),
    )
    return _load_images, (rows, examples, index)


@kernel("real[:, ::1], Array(uint8, 2, 'C', readonly=True), int64[::1]")
def _load_images(out, images, index):
    for r in range(len(index)):
        if r + AHEAD < len(index):
            for d in range(0, images.shape[1], LINE):
                prefetch(images[index[r + AHEAD]], d)
        image = images[index[r]]
        for d in range(len(image)):
            out[r, d] = image[d] * np.float32(1 / 255)
