"""Elementary functions in float32: the distance of each result to the exact one, in its last place.

The arguments are floats of all sizes and signs, and NumPy's own sets where NumPy is installed with
its tests. The exact result is that of float64.
"""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tinytensor import door


def normal_distribution(x: np.ndarray) -> np.ndarray:
    return np.vectorize(math.erfc, otypes=[np.float64])(-x * math.sqrt(0.5)) / 2


def to_the_limit(function: Callable) -> Callable:
    """x * function(x), with its limit 0 at -inf."""
    return lambda x: np.maximum(x, -1e300) * function(x)


EXACT = {
    "exp": np.exp,
    "log": np.log,
    "log1p": np.log1p,
    "expm1": np.expm1,
    "tanh": np.tanh,
    "sin": np.sin,
    "cos": np.cos,
    "erf": np.vectorize(math.erf, otypes=[np.float64]),
    "gelu": to_the_limit(normal_distribution),
    "sigmoid": lambda x: np.exp(-np.logaddexp(0, -x)),
    "silu": to_the_limit(lambda x: np.exp(-np.logaddexp(0, -x))),
    "softplus": lambda x: np.logaddexp(0, x),
}
SETS = Path(np.__file__).parent / "_core" / "tests" / "data"
MOST = {"c": 1.1, "numba": 2.0, "numpy": 4.0}  # units in the last place
# In all backends:
MOST_OF = {"log1p": 2.0, "gelu": 7.0, "sigmoid": 3.0, "silu": 3.0, "softplus": 4.0}


def floats(step: int) -> np.ndarray:
    """Every `step`-th float32, from 0 to NaN, and the negative ones."""
    return np.arange(0, 1 << 32, step, dtype=np.uint64).astype(np.uint32).view(np.float32)


def errors(backend: str, name: str, x: np.ndarray) -> np.ndarray:
    """The errors in units in the last place; NaN, infinities and signs must be exact."""
    result = np.empty_like(x)
    with np.errstate(all="ignore"):
        door.load_backend(backend).kernels[name](x, result)
        exact = EXACT[name](x.astype(np.float64))
        rounded = exact.astype(np.float32)
    np.testing.assert_array_equal(np.isnan(result), np.isnan(rounded))
    finite, number = np.isfinite(rounded), ~np.isnan(rounded)
    np.testing.assert_array_equal(result[number & ~finite], rounded[number & ~finite])
    np.testing.assert_array_equal(np.signbit(result[number]), np.signbit(rounded[number]))
    last_place = np.spacing(np.abs(rounded[finite])).astype(np.float64)
    return np.abs(result[finite] - exact[finite]) / last_place


@pytest.mark.parametrize("name", EXACT)
def test_floats_of_all_sizes(backend, name):
    assert errors(backend, name, floats(100_003)).max() <= MOST_OF.get(name, MOST[backend])


@pytest.mark.full
@pytest.mark.parametrize("name", EXACT)
def test_many_floats_of_all_sizes(name):
    if "c" not in door.available_backends():
        pytest.skip("the C backend does not work here")
    step = 10_007 if name in ("erf", "gelu") else 1009
    assert errors("c", name, floats(step)).max() <= MOST_OF.get(name, MOST["c"])


@pytest.mark.parametrize("name", EXACT)
def test_the_sets_of_numpy(backend, name):
    file = SETS / f"umath-validation-set-{name}.csv"
    if not file.exists():
        pytest.skip("NumPy has no such set, or is installed without its tests")
    rows = np.genfromtxt(file, dtype=str, delimiter=",", skip_header=5, comments="#")
    bits = [int(word, 16) for kind, word, *_ in rows if kind == "np.float32"]
    assert errors(backend, name, np.array(bits, np.uint32).view(np.float32)).max() <= MOST[backend]


@pytest.mark.parametrize(
    "exponent", [1, 2, 3, -1, -2, 0.5, -0.5, 4, 1.7, -3, 0, 1e10, np.inf, np.nan]
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_constant_exponents(backend, exponent, dtype):
    if (backend, exponent) == ("numpy", 0.5):
        pytest.skip("NumPy computes sqrt, which differs from pow for -0 and -infinity")
    numbers = [0.0, -0.0, 1, -1, 0.1, -2.5, 1e-40, 3e38, -3e38, np.inf, -np.inf, np.nan]
    x = np.array(numbers, dtype)
    y, result = np.array([exponent], dtype), np.empty_like(x)
    with np.errstate(all="ignore"):
        door.load_backend(backend).kernels["pow"](x, y, result)
        exact = np.power(x, np.full_like(x, exponent))
    np.testing.assert_allclose(result, exact, rtol=4 * np.finfo(dtype).eps)
    number = ~np.isnan(exact)
    np.testing.assert_array_equal(np.signbit(result[number]), np.signbit(exact[number]))


def test_powers_of_all_pairs(backend):
    """Signs, zeros, infinities, NaN, odd, even and fractional exponents: as in float64."""
    bases = [0.0, -0.0, 1, -1, 2, -2, 0.5, -0.5, 3, -7, 1e-40, 3e38, -3e38, np.inf, -np.inf, np.nan]
    exponents = [
        0.0,
        -0.0,
        1,
        -1,
        2,
        -2,
        3,
        -3,
        0.5,
        -0.5,
        1.7,
        1e10,
        3e38,
        np.inf,
        -np.inf,
        np.nan,
    ]
    pairs = np.meshgrid(np.array(bases, np.float32), np.array(exponents, np.float32))
    x, y = (np.ascontiguousarray(numbers.reshape(-1)) for numbers in pairs)
    result = np.empty_like(x)
    with np.errstate(all="ignore"):
        door.load_backend(backend).kernels["pow"](x, y, result)
        exact = np.power(x.astype(np.float64), y.astype(np.float64)).astype(np.float32)
    np.testing.assert_allclose(result, exact, rtol=4e-7, atol=2e-45)
    number = ~np.isnan(exact)
    np.testing.assert_array_equal(np.signbit(result[number]), np.signbit(exact[number]))
