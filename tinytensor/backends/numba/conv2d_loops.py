"""Convolution, as products of numbers that stand in frames.

Images are copied into frames of zeros, so that no window reaches outside, and the rest is a matter
of places: in its frame, a number is where its pixel's window begins, and from there on as far as
its weight tells.

                     row                  k                       line of y
    forward          pixel of the result  input of its window     the weights of an input
    gradient of x    pixel of x           result it went to       the weights of a result
    of the weights   input of a window    pixel of the result     the gradients of a pixel
"""

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from tinytensor.arrays import Array
from tinytensor.backends.axes import Pair, Sizes
from tinytensor.backends.numba.matmul_loops import full_tiles, spaced
from tinytensor.backends.numba.tile import products

FRAMES = 1 << 18  # numbers in the frames of as many images as are computed at once


def _pixels(rows: Array, columns: Array, channels: int, width: int) -> Array:
    """Where pixels begin in an image: of every one of `rows` those of `columns`, flat."""
    return ((rows[:, np.newaxis] * width + columns) * channels).reshape(-1)


def _numbers(pixels: Array, channels: int) -> Array:
    """Where the numbers of pixels are, flat."""
    return (pixels[:, np.newaxis] + np.arange(channels)).reshape(-1)


def _framed(x: Array, size: Pair, corner: Pair) -> Iterator[tuple[slice, Array]]:
    """A few images after the other: which ones, and their frames with the images at `corner`.

    What of an image doesn't fit into a frame is cut off.
    """
    N, H, W, C = x.shape
    at_once = max(1, FRAMES // max(1, math.prod(size) * C))
    frames = np.zeros((min(N, at_once), *size, C), x.dtype)
    inside = frames[:, corner[0] : corner[0] + H, corner[1] : corner[1] + W]
    height, width = inside.shape[1:3]
    for first in range(0, N, at_once):
        some = slice(first, min(N, first + at_once))
        inside[: some.stop - first] = x[some, :height, :width]
        yield some, frames.reshape(-1)


@lru_cache(maxsize=256)
def _windows(weight: Sizes, out: Sizes, stride: Pair) -> tuple[Pair, Array, Array]:
    """A frame's size; where its windows begin; and from there on, where its weights find inputs."""
    KH, KW, I, _ = weight  # noqa: E741
    _, OH, OW, _ = out
    size = (OH - 1) * stride[0] + KH, (OW - 1) * stride[1] + KW
    begins = _pixels(np.arange(OH) * stride[0], np.arange(OW) * stride[1], I, size[1])
    return size, begins, _numbers(_pixels(np.arange(KH), np.arange(KW), I, size[1]), I)


def conv2d(x: Array, weight: Array, out: Array, stride: Pair, padding: Pair) -> None:
    O = weight.shape[3]  # noqa: E741
    size, begins, inputs = _windows(weight.shape, out.shape, stride)
    pixels = len(begins)
    for some, frames in _framed(x, size, padding):
        products(
            frames, math.prod(size) * x.shape[3], full_tiles(begins), inputs,
            weight.reshape(-1), 0, spaced(len(inputs), O), 1,
            out[some].reshape(-1), pixels * O, spaced(pixels, O), 1,
            O, some.stop - some.start, False,
        )  # fmt: skip


def conv2d_grad_weight(x: Array, grad: Array, out: Array, stride: Pair, padding: Pair) -> None:
    O = out.shape[3]  # noqa: E741
    size, begins, inputs = _windows(out.shape, grad.shape, stride)
    pixels = len(begins)
    out[...] = 0
    for some, frames in _framed(x, size, padding):
        products(
            frames, math.prod(size) * x.shape[3], full_tiles(inputs), begins,
            grad[some].reshape(-1), pixels * O, spaced(pixels, O), 1,
            out.reshape(-1), 0, spaced(len(inputs), O), 1,
            O, some.stop - some.start, True,
        )  # fmt: skip


@lru_cache(maxsize=256)
def _phases(
    weight: Sizes, x: Sizes, grad: Sizes, stride: Pair, padding: Pair
) -> tuple[Pair, Pair, list[tuple[Array, Array, Array, Array]]]:
    """The frame of a gradient, its place there, and for each phase the tables of its products.

    Pixel y of x is in the windows h with y + padding = h * stride + a. So the quotient of y +
    padding and the stride, less that of a, is h; and the remainders, the phase, are the same.
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
        steps = _numbers(-_pixels(a // stride[0], b // stride[1], O, size[1]), O)
        lines = _numbers(_pixels(a, b, I * O, KW), O)
        tables.append((rows, steps, lines, _pixels(y, z, I, W)))
    return size, (top, left), tables


def conv2d_grad_x(grad: Array, weight: Array, out: Array, stride: Pair, padding: Pair) -> None:
    _, _, I, O = weight.shape  # noqa: E741
    size, corner, tables = _phases(weight.shape, out.shape, grad.shape, stride, padding)
    for some, frames in _framed(grad, size, corner):
        for rows, steps, lines, pixels in tables:
            products(
                frames, math.prod(size) * O, rows, steps,
                weight.reshape(-1), 0, lines, O,
                out[some].reshape(-1), math.prod(out.shape[1:]), pixels, 1,
                I, some.stop - some.start, False,
            )  # fmt: skip
