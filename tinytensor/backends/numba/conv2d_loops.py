"""Convolution as products of matrices whose elements are in the padded images.

Images are copied into frames of zeros, so that no window reaches outside. Then the index of an
element of a window is the index of the window's first element plus an offset:

                         row of the product    summed over            row of y
    forward              pixel of out          element of the window  weights of this element
    gradient of x        pixel of x            element of out         weights of this element
    gradient of weight   element of a window   pixel of out           gradients of this pixel
"""

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from tinytensor.arrays import Array
from tinytensor.backends.axes import Pair, Sizes
from tinytensor.backends.numba.matmul_loops import full_tiles, strided
from tinytensor.backends.numba.strides import flat
from tinytensor.backends.numba.thread_pool import by_rows
from tinytensor.backends.numba.tile import ROWS, products

FRAMES = 1 << 18  # elements of the frames that are computed together


def _pixels(rows: Array, columns: Array, channels: int, width: int) -> Array:
    """Return the flat indices of the first channel of the pixels in these rows and columns."""
    return ((rows[:, np.newaxis] * width + columns) * channels).reshape(-1)


def _elements(pixels: Array, channels: int) -> Array:
    """Return the flat indices of all channels of the pixels."""
    return (pixels[:, np.newaxis] + np.arange(channels)).reshape(-1)


def _frames(x: Array, size: Pair, corner: Pair) -> Iterator[tuple[slice, Array]]:
    """Yield a slice of the images, and frames of zeros with these images at `corner`.

    The part of an image that does not fit into its frame is cut off.
    """
    N, H, W, C = x.shape
    count = max(1, FRAMES // max(1, math.prod(size) * C))
    frames = np.zeros((min(N, count), *size, C), x.dtype)
    inside = frames[:, corner[0] : corner[0] + H, corner[1] : corner[1] + W]
    height, width = inside.shape[1:3]
    for first in range(0, N, count):
        batch = slice(first, min(N, first + count))
        inside[: batch.stop - first] = x[batch, :height, :width]
        yield batch, frames.reshape(-1)


@lru_cache(maxsize=256)
def _windows(weight: Sizes, out: Sizes, stride: Pair) -> tuple[Pair, Array, Array]:
    """Return the frame's size, the first index of each window, and the offsets of its elements."""
    KH, KW, I, _ = weight  # noqa: E741
    _, OH, OW, _ = out
    size = (OH - 1) * stride[0] + KH, (OW - 1) * stride[1] + KW
    begins = _pixels(np.arange(OH) * stride[0], np.arange(OW) * stride[1], I, size[1])
    return size, begins, _elements(_pixels(np.arange(KH), np.arange(KW), I, size[1]), I)


def conv2d(x: Array, weight: Array, out: Array, stride: Pair, padding: Pair) -> None:
    O = weight.shape[3]  # noqa: E741
    size, begins, inputs = _windows(weight.shape, out.shape, stride)
    pixels = len(begins)
    for batch, frames in _frames(x, size, padding):
        images = batch.stop - batch.start
        work, per_image = images * pixels * len(inputs) * O, math.prod(size) * x.shape[3]
        by_rows(products, work, images, 1, {0: per_image, 8: pixels * O}, 13)(
            frames, per_image, full_tiles(begins), inputs,
            flat(weight), 0, strided(len(inputs), O), 1,
            flat(out[batch]), pixels * O, strided(pixels, O), 1,
            O, images, False,
        )  # fmt: skip


def conv2d_grad_weight(x: Array, grad: Array, out: Array, stride: Pair, padding: Pair) -> None:
    O = out.shape[3]  # noqa: E741
    size, begins, inputs = _windows(out.shape, grad.shape, stride)
    pixels = len(begins)
    out[...] = 0
    for batch, frames in _frames(x, size, padding):
        images = batch.stop - batch.start
        work = images * pixels * len(inputs) * O
        by_rows(products, work, len(inputs), ROWS, {2: 1, 10: 1})(
            frames, math.prod(size) * x.shape[3], full_tiles(inputs), begins,
            flat(grad[batch]), pixels * O, strided(pixels, O), 1,
            flat(out), 0, strided(len(inputs), O), 1,
            O, images, True,
        )  # fmt: skip


@lru_cache(maxsize=256)
def _phases(
    weight: Sizes, x: Sizes, grad: Sizes, stride: Pair, padding: Pair
) -> tuple[Pair, Pair, list[tuple[Array, Array, Array, Array]]]:
    """Return the size of the frame of grad, the corner of grad in it, and the tables of each phase.

    Pixel y of x is in the windows h with y + padding = h * stride + a. The remainder of
    (y + padding) / stride is the phase. It is also the remainder of a / stride, and
    h = (y + padding) // stride - a // stride.
    """
    KH, KW, I, O = weight  # noqa: E741
    (_, H, W, _), (_, OH, OW, _) = x, grad
    top, left = (KH - 1) // stride[0], (KW - 1) // stride[1]
    size = (
        top + max(OH, (H - 1 + padding[0]) // stride[0] + 1),
        left + max(OW, (W - 1 + padding[1]) // stride[1] + 1),
    )
    tables = []
    for p, q in np.ndindex(stride):
        y, z = np.arange(H), np.arange(W)
        y, z = y[(y + padding[0]) % stride[0] == p], z[(z + padding[1]) % stride[1] == q]
        a, b = np.arange(p, KH, stride[0]), np.arange(q, KW, stride[1])
        h, w = (y + padding[0]) // stride[0] + top, (z + padding[1]) // stride[1] + left
        rows = full_tiles(_pixels(h, w, O, size[1]))
        steps = _elements(-_pixels(a // stride[0], b // stride[1], O, size[1]), O)
        weights = _elements(_pixels(a, b, I * O, KW), O)
        tables.append((rows, steps, weights, _pixels(y, z, I, W)))
    return size, (top, left), tables


def conv2d_grad_x(grad: Array, weight: Array, out: Array, stride: Pair, padding: Pair) -> None:
    _, _, I, O = weight.shape  # noqa: E741
    size, corner, tables = _phases(weight.shape, out.shape, grad.shape, stride, padding)
    for batch, frames in _frames(grad, size, corner):
        images = batch.stop - batch.start
        for rows, steps, weights, pixels in tables:
            work = images * len(pixels) * len(steps) * I
            per_image = {0: math.prod(size) * O, 8: math.prod(out.shape[1:])}
            by_rows(products, work, images, 1, per_image, 13)(
                frames, math.prod(size) * O, rows, steps,
                flat(weight), 0, weights, O,
                flat(out[batch]), math.prod(out.shape[1:]), pixels, 1,
                I, images, False,
            )  # fmt: skip
