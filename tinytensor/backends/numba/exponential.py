"""e^x in plain arithmetic, for loops that are to be vectorised."""

import math

import numpy as np
from numba import types
from numba.extending import overload

from tinytensor.backends.numba.compiling import part


@part
def _power_of_two(n):
    return np.int32((n + np.int32(127)) << np.int32(23)).view(np.float32)  # a float's exponent


LARGE = np.float32(1.5 * 2**23)
LARGE_BITS = LARGE.view(np.int32)


@part
def _exp_of_float(x):
    """e^x in plain arithmetic, so that a loop over it is vectorised.

    x = n ln 2 + r with a whole n and |r| <= ln 2 / 2, so e^x = 2^n e^r. For so small an r the
    Taylor series up to r^7 leaves an error of 5e-9, a tenth of what float can tell.
    """
    # Beyond these the result is infinity and 0 anyway. A NaN fails both comparisons, and stays.
    x = np.float32(89) if x > np.float32(89) else x
    x = np.float32(-104) if x < np.float32(-104) else x
    # Adding LARGE leaves no room for a fraction: the last bits are x / ln 2, rounded.
    shifted = np.float32(x * np.float32(1 / math.log(2)) + LARGE)
    n = np.int32(shifted.view(np.int32) - LARGE_BITS)
    whole = shifted - LARGE
    # ln 2 in two parts: n times the first is exact.
    r = (x - whole * np.float32(0.693145752)) - whole * np.float32(1.42860677e-6)
    tail = np.float32(1 / 5040)
    tail = tail * r + np.float32(1 / 720)
    tail = tail * r + np.float32(1 / 120)
    tail = tail * r + np.float32(1 / 24)
    tail = tail * r + np.float32(1 / 6)
    tail = tail * r + np.float32(1 / 2)
    power = np.float32(1) + (r + r * r * tail)
    # 2^n may be beyond float where e^x is not: multiply in two steps.
    half = n >> np.int32(1)
    return power * _power_of_two(half) * _power_of_two(n - half)


def exponential(x):
    """e^x, of a number in a kernel"""
    return math.exp(x)


@overload(exponential)
def _exponential(x):
    if x == types.float32:
        return lambda x: _exp_of_float(x)
    return lambda x: math.exp(x)
