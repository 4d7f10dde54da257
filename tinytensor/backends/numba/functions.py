"""Elementary functions in plain arithmetic, so that the compiler can vectorise a loop over them.

The functions are for float32, and csrc/functions.h explains their formulas. For float64 a kernel
calls the functions of the C library. `log`, `expm1`, `tanh`, `sin`, `cos` and `power` compute in
float64; `erf`, `gelu`, `log1p`, `silu` and `softplus` compute in float32, with exponential.py.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from tinytensor.backends.numba.compiling import subroutine
from tinytensor.backends.numba.exponential import (
    LN_2,
    REST_OF_LN_2,
    exp_parts,
    power_of_two,
    times_exp_below_0,
)

f32 = np.float32


def by_dtype(of_float32: Any, of_float64: Any) -> Callable[[Any], Any]:
    """Return a function for use in kernels: one of the two functions, by the dtype of x."""

    def chosen(x):
        return of_float64(x)

    @overload(chosen)
    def _chosen(x):
        if x == types.float32:
            return lambda x: of_float32(x)
        return lambda x: of_float64(x)

    return chosen


# In float64 -------------------------------------------------------------------------------------

ROUNDER = 1.5 * 2**52  # x + ROUNDER - ROUNDER is x, rounded to an integer
ROUNDER_BITS = np.float64(ROUNDER).view(np.int64)


@subroutine
def _bits_of(x):
    return np.float64(x).view(np.int64)


@subroutine
def _from_bits(bits):
    return np.int64(bits).view(np.float64)


@subroutine
def _exp_parts(x):
    """Return q and 2^n, with e^x = 2^n (1 + q)."""
    shifted = x * 1.4426950408889634 + ROUNDER
    r = x - (shifted - ROUNDER) * 0.6931471805599453
    power = _from_bits((_bits_of(shifted) - ROUNDER_BITS + 1023) << 52)
    z = r * r
    even = 1 / 2 + z * (1 / 24 + z * (1 / 720 + z * (1 / 40320)))
    odd = 1 / 6 + z * (1 / 120 + z * (1 / 5040))
    return r + z * (even + r * odd), power


@subroutine
def _exp(x):
    q, power = _exp_parts(x)
    return power + power * q


@subroutine
def _exp_less_1(x):
    q, power = _exp_parts(x)
    return power * q + (power - 1)


@subroutine
def _between(x, low, high):
    limited = high if x > high else x
    return low if limited < low else limited


SQRT_HALF, MANTISSA = np.int64(0x3FE6A09E667F3BCD), np.int64(0x000FFFFFFFFFFFFF)


@subroutine
def _log(x):
    above = _bits_of(x) - SQRT_HALF
    m = _from_bits((above & MANTISSA) + SQRT_HALF)
    e = np.float64(above >> 52)
    s = (m - 1) / (m + 1)
    z = s * s
    series = 1 / 3 + z * (1 / 5 + z * (1 / 7 + z * (1 / 9 + z * (1 / 11))))
    return e * 0.6931471805599453 + 2 * s * (1 + z * series)


@subroutine
def _log_float(x):
    result = f32(_log(np.float64(x)))
    result = result if x < f32(math.inf) else x
    result = result if x > f32(0) else f32(math.nan)
    return f32(-math.inf) if x == f32(0) else result


@subroutine
def _expm1_float(x):
    return math.copysign(f32(_exp_less_1(_between(np.float64(x), -100.0, 100.0))), x)


@subroutine
def _tanh_float(x):
    t = _exp_less_1(2 * _between(np.float64(np.abs(x)), 0.0, 20.0))
    return math.copysign(f32(t / (t + 2)), x)


FAR = 1e6


@subroutine
def sin_of_quarters(x, quarters):
    """Return sin(x + quarters * pi / 2) of a float32 x with |x| < FAR."""
    shifted = x * 0.6366197723675814 + ROUNDER
    n = shifted - ROUNDER
    r = (x - n * 1.5707963267341256) - n * 6.077100506506192e-11
    z = r * r
    sine = r * (1 + z * (-1 / 6 + z * (1 / 120 + z * (-1 / 5040 + z * (1 / 362880)))))
    tail = 1 / 24 + z * (-1 / 720 + z * (1 / 40320 + z * (-1 / 3628800)))
    cosine = 1 + z * (-1 / 2 + z * tail)
    quarter = _bits_of(shifted) + quarters
    result = cosine if quarter & 1 else sine
    return f32(-result if quarter & 2 else result)


@subroutine
def _power_float(x, y):
    size = np.abs(x)
    log_size = _log(np.float64(size))
    log_size = log_size if size < f32(math.inf) else np.float64(size)
    log_size = -math.inf if size == f32(0) else log_size
    power = f32(_exp(_between(np.float64(y) * log_size, -200.0, 200.0)))
    half = y * f32(0.5)
    fraction, odd = np.rint(y) != y, np.rint(half) != half
    result = math.copysign(power, x) if odd & ~fraction else power
    result = f32(math.nan) if (x < f32(0)) & (size < f32(math.inf)) & fraction else result
    endless = (x == f32(-1)) & (np.abs(y) == f32(math.inf))
    return f32(1) if (y == f32(0)) | (x == f32(1)) | endless else result


# In float32 -------------------------------------------------------------------------------------


@subroutine
def _erf_float(x):
    size = np.abs(x)
    y = _between(size, f32(0), f32(4))
    z = y * y
    small = f32(0.0050510969) - z * f32(0.000631514005)
    small = f32(0.112827174) + z * (f32(-0.0268025491) + z * small)
    small = f32(0.128379166) + z * (f32(-0.376125723) + z * small)
    large = f32(0.0032290481) - y * f32(0.000215708496)
    large = f32(0.105331019) + y * (f32(-0.0229347534) + y * large)
    large = f32(0.128529549) + y * (f32(0.63566637) + y * large)
    result = f32(1) - times_exp_below_0(f32(1), -(y + y * large), f32(0))
    return math.copysign(y + y * small if size < f32(0.85) else result, x)


HIGH_BITS = np.int32(-4096)  # all but the last 12


@subroutine
def _times_bell(factor, x):
    """Return factor * e^(-x^2 / 2)."""
    bits = np.int32(np.float32(x).view(np.int32) & HIGH_BITS)
    part = bits.view(np.float32)
    rest = (x - part) * (x + part) * f32(0.5)
    return times_exp_below_0(factor, part * part * f32(-0.5), rest)


@subroutine
def _normal_tail(x):
    above = f32(0.0408814092) + x * f32(0.00415327367)
    above = f32(0.500000003) + x * (f32(0.439284475) + x * (f32(0.183969946) + x * above))
    below = f32(0.471410836) + x * (f32(0.102480613) + x * f32(0.0104106016))
    return above / (f32(1) + x * (f32(1.67645395) + x * (f32(1.20555156) + x * below)))


@subroutine
def _gelu_float(x):
    y = _between(np.abs(x), f32(0), f32(15))
    positive = x if x > f32(0) else f32(0)
    return math.copysign(positive, x) - _times_bell(y * _normal_tail(y), y)


@subroutine
def _gelu_slope_float(x):
    y = _between(np.abs(x), f32(0), f32(15))
    below_0 = _times_bell(_normal_tail(y) - y * f32(0.398942280), y)
    return f32(1) - below_0 if x > f32(0) else below_0


@subroutine
def _gelu_double(x):
    y = -40.0 if x < -40 else x
    return y * math.erfc(-y * math.sqrt(0.5)) / 2


@subroutine
def _gelu_slope_double(x):
    y = _between(x, -40.0, 40.0)
    return math.erfc(-y * math.sqrt(0.5)) / 2 + y * math.exp(-y * y / 2) / math.sqrt(2 * math.pi)


SQRT_HALF_FLOAT, MANTISSA_FLOAT = np.int32(0x3F3504F3), np.int32(0x007FFFFF)


@subroutine
def _log1p_float(x):
    y = f32(1) + x
    lost = x - (y - f32(1))
    bits = np.int32(f32(y).view(np.int32) - SQRT_HALF_FLOAT)
    e = np.int32(bits >> 23)
    m = np.int32((bits & MANTISSA_FLOAT) + SQRT_HALF_FLOAT).view(np.float32)
    f = (m - f32(1)) + lost * power_of_two(np.int32(-e if e < 64 else -64))
    z = f * f
    even = f32(0.20001227) + z * (f32(0.14201762) + z * f32(0.12761550))
    odd = f32(0.16623357) + z * (f32(0.13160194) + z * f32(0.07634430))
    third = f32(0.33333331) + z * even - f * (f32(0.25000823) + z * odd)
    rest = z * (f * third - f32(0.5)) + f32(e) * REST_OF_LN_2
    exact = f32(e) * LN_2 + (f + rest)
    result = math.copysign(exact, x) if x < f32(math.inf) else x
    result = result if x > f32(-1) else f32(math.nan)
    return f32(-math.inf) if x == f32(-1) else result


@subroutine
def _silu_float(x):
    y = _between(x, f32(-110), f32(20))
    q, n = exp_parts(-y, f32(0))
    denominator = f32(2.0**-40) + (f32(1) + q) * power_of_two(n - np.int32(40))
    quotient = y / denominator * f32(2.0**-40)
    return x if x > f32(20) else quotient


@subroutine
def _silu_double(x):
    y = -800.0 if x < -800 else x
    half = math.exp(-np.abs(y) / 2)
    return (y * half * half if y < 0 else y) / (1 + half * half)


@subroutine
def _softplus_float(x):
    e = times_exp_below_0(f32(1), -_between(np.abs(x), f32(0), f32(150)), f32(0))
    s = e / (f32(2) + e)
    z = s * s
    r = f32(2 / 9) + z * (f32(2 / 11) + z * f32(2 / 13))
    r = z * (f32(2 / 3) + z * (f32(2 / 5) + z * (f32(2 / 7) + z * r)))
    return (x if x > f32(0) else f32(0)) + (e - s * (e - r))


@subroutine
def _softplus_double(x):
    return (x if x > 0 else 0.0) + math.log1p(math.exp(-np.abs(x)))


# The functions for kernels ----------------------------------------------------------------------


@subroutine
def _log_double(x):
    return np.log(x)


@subroutine
def _log1p_double(x):
    return math.log1p(x)


@subroutine
def _expm1_double(x):
    return math.expm1(x)


@subroutine
def _tanh_double(x):
    return math.tanh(x)


@subroutine
def _erf_double(x):
    return math.erf(x)


log = by_dtype(_log_float, _log_double)
log1p = by_dtype(_log1p_float, _log1p_double)
expm1 = by_dtype(_expm1_float, _expm1_double)
tanh = by_dtype(_tanh_float, _tanh_double)
erf = by_dtype(_erf_float, _erf_double)
gelu = by_dtype(_gelu_float, _gelu_double)
gelu_slope = by_dtype(_gelu_slope_float, _gelu_slope_double)
silu = by_dtype(_silu_float, _silu_double)
softplus = by_dtype(_softplus_float, _softplus_double)


def power(x, y):
    """Return x^y; in a kernel, the version for the dtype of x."""
    return x**y


@overload(power)
def _power(x, y):
    if x == types.float32:
        return lambda x, y: _power_float(x, y)
    return lambda x, y: x**y
