"""Shift, rotate, scale and distort images, for data augmentation.

No product and sum become one instruction, because each must be rounded as in NumPy. `real` converts
ints to the arrays' dtype, because in Numba an int64 times a float32 is a float64.
"""

import numpy as np

from tinytensor.arrays import Array
from tinytensor.backends.lowering import Lowered, lowered
from tinytensor.backends.numba.compiling import kernel, subroutine


@lowered
def warp(images: Array, affine: Array, shifts: Array, out: Array) -> Lowered:
    return _warp, (images, affine, shifts, out)


@kernel("real[:,:,:,::1], real[:,:,::1], real[:,:,:,::1], real[:,:,:,::1]", fastmath=set())
def _warp(images, affine, shifts, out):
    N, H, W, C = images.shape
    one = images.dtype.type(1)
    columns = np.empty((2, shifts.shape[2], W), images.dtype)
    for n in range(N):
        _interpolate_columns(shifts[n], columns)
        for h in range(H):
            for w in range(W):
                top, down = _point(affine[n, 0], columns[0], h, w, H, H)
                left, right = _point(affine[n, 1], columns[1], h, w, H, W)
                for c in range(C):
                    upper = _pixel(images, n, top, left, c) * (one - right)
                    upper += _pixel(images, n, top, left + 1, c) * right
                    lower = _pixel(images, n, top + 1, left, c) * (one - right)
                    lower += _pixel(images, n, top + 1, left + 1, c) * right
                    out[n, h, w, c] = upper * (one - down) + lower * down


def _exact(function):
    """A function for use in this kernel, with each operation rounded."""
    return subroutine(function, fastmath=set())


@_exact
def _between(i, size, G, real):
    """Element i of an axis lies between two of G points on it: the first one, and the distance."""
    place = real(i) * (real(G - 1) / real(max(size - 1, 1)))
    before = min(int(place), G - 2)
    return before, place - real(before)


@_exact
def _interpolate_columns(shifts, columns):
    """columns (2, G, W) = shifts (2, G, G), interpolated along the last axis."""
    _, G, W = columns.shape
    real = columns.dtype.type
    for w in range(W):
        j, share = _between(w, W, G, real)
        for i in range(2):
            for g in range(G):
                s = shifts[i, g]
                columns[i, g, w] = s[j] * (real(1) - share) + s[j + 1] * share


@_exact
def _point(affine, columns, h, w, H, size):
    """A coordinate of the point that pixel (h, w) shows: in whole pixels, and the rest."""
    G, W = columns.shape
    real = columns.dtype.type
    i, share = _between(h, H, G, real)
    shift = columns[i, w] * (real(1) - share) + columns[i + 1, w] * share
    y, x = real(h) - real(H - 1) / real(2), real(w) - real(W - 1) / real(2)
    point = affine[0] * y + affine[1] * x + affine[2] + shift
    point = point if point > real(-2) else real(-2)  # NaN too
    point = (point if point < real(size) else real(size)) + real(2)
    whole = int(point)
    return whole - 2, point - real(whole)


@_exact
def _pixel(images, n, h, w, c):
    """The value of a pixel; 0 outside the image."""
    _, H, W, _ = images.shape
    return images[n, h, w, c] if 0 <= h < H and 0 <= w < W else images.dtype.type(0)
