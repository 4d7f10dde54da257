"""e^x in plain arithmetic, so that the compiler can vectorise a loop over it."""

import math

import numpy as np
from numba import types
from numba.extending import overload

from tinytensor.backends.numba.compiling import subroutine


@subroutine
def power_of_two(n):
    return np.int32((n + np.int32(127)) << np.int32(23)).view(np.float32)  # a float's exponent


# ln 2 in two parts. An integer times the first part is exact.
LN_2, REST_OF_LN_2 = np.float32(0.693145752), np.float32(1.42860677e-6)
LARGE = np.float32(1.5 * 2**23)
LARGE_BITS = LARGE.view(np.int32)


@subroutine
def exp_parts(x, rest):
    """Return q and n, with e^(x - rest) = 2^n (1 + q), for a small rest.

    x = n ln 2 + r with an integer n and |r| <= ln 2 / 2, so e^x = 2^n e^r. For such a small r the
    Taylor series up to r^7 has an error of 5e-9, a tenth of a float's rounding error.
    """
    # A float as large as LARGE has no fraction, so the low bits of the sum are x / ln 2, rounded.
    shifted = np.float32(x * np.float32(1 / math.log(2)) + LARGE)
    n = np.int32(shifted.view(np.int32) - LARGE_BITS)
    whole = shifted - LARGE
    r = (x - whole * LN_2) - whole * REST_OF_LN_2 - rest
    # The sums of even and of odd powers do not wait for each other.
    z = r * r
    even = np.float32(1 / 2) + z * (np.float32(1 / 24) + z * np.float32(1 / 720))
    odd = np.float32(1 / 6) + z * (np.float32(1 / 120) + z * np.float32(1 / 5040))
    return r + z * (even + r * odd), n


@subroutine
def _exp_of_float(x):
    # Beyond these limits the result is infinity and 0. A NaN fails both comparisons.
    x = np.float32(89) if x > np.float32(89) else x
    x = np.float32(-104) if x < np.float32(-104) else x
    q, n = exp_parts(x, np.float32(0))
    power = np.float32(1) + q
    # 2^n can overflow although e^x does not, so it is multiplied in two steps.
    half = n >> np.int32(1)
    return power * power_of_two(half) * power_of_two(n - half)


@subroutine
def times_exp_below_0(factor, x, rest):
    """Return factor * e^(x - rest) for a float32 x from -150 to 0, rounded only once."""
    q, n = exp_parts(x, rest)
    power = factor + factor * q
    return power * power_of_two(n + np.int32(100)) * np.float32(2.0**-100)


def exponential(x):
    """Return e^x; in a kernel, the version for the dtype of x."""
    return math.exp(x)


@overload(exponential)
def _exponential(x):
    if x == types.float32:
        return lambda x: _exp_of_float(x)
    return lambda x: math.exp(x)
