"""The calls that a function is checked with: drawn sizes and values, zeros, NaN, infinities."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinytensor.arrays import Array
from tinytensor.learn.case import differs
from tinytensor.learn.exercises import READ, WRITTEN, Argument, Signature, Sizes

SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 17, 31, 33)  # around the widths of blocks and vectors
LARGER_SIZES = (31, 40, 64, 65, 100, 130)  # for compiled languages
LARGEST = (2, 3, 5, 9, 17, 33)  # in turn: the largest size of a call
VALUES = ("normal", "normal", "NaN", "normal", "infinite", "normal", "large", "zero")  # in turn
DRAWN = 66  # calls of each function, without those with a size of 0
LARGER = 6
MOST_OPERATIONS = 20_000  # of a drawn call: a loop in Python takes some milliseconds
MOST_LARGER_OPERATIONS = 2_000_000
GARBAGE = 1e4  # the size of the values in an array before it is written


@dataclass(frozen=True)
class DrawnCall:
    """A call of a function.

    Attributes:
        function: the function.
        arrays: from the name of an array to its values before the call.
        scalars: the arguments after the arrays.
    """

    function: Signature
    sizes: Sizes
    arrays: dict[str, Array]
    scalars: tuple[Any, ...]

    def __str__(self) -> str:
        shapes = (f"{name} {array.shape}" for name, array in self.arrays.items())
        numbers = zip(self.function.scalars, self.scalars, strict=True)
        scalars = (f"{name} {value}" for name, value in numbers)
        return f"{self.function.name}: {', '.join([*shapes, *scalars])}"

    @property
    def elements(self) -> int:
        """The number of elements of all arrays."""
        return sum(array.size for array in self.arrays.values())

    def expected(self) -> dict[str, tuple[Array, Array]]:
        """Return, for each array of the result, its values and the scale of its errors."""
        with np.errstate(all="ignore"):
            result = self._reference(lambda values: values)
            if self.function.scale == "terms":
                scale = self._reference(np.abs)
            elif self.function.scale == "inputs":
                given = (np.abs(array[np.isfinite(array)]) for array in self._inputs())
                largest = max((float(array.max(initial=0)) for array in given), default=0.0)
                scale = {name: np.abs(values) + largest + 1 for name, values in result.items()}
            else:
                scale = {name: np.ones(values.shape) for name, values in result.items()}
        return {name: (values, scale[name]) for name, values in result.items()}

    def wrong(self, results: Mapping[str, Array]) -> dict[str, Array]:
        """Return where the arrays are wrong after the call, as arrays of bool."""
        tolerance = self.function.tolerance
        return {
            name: differs(results[name], values, scale, tolerance)
            for name, (values, scale) in self.expected().items()
        }

    @property
    def counted(self) -> bool:
        """True if a function that does nothing is wrong; otherwise the call gives no point."""
        return any(wrong.any() for wrong in self.wrong(self.arrays).values())

    def _inputs(self) -> list[Array]:
        given = [self.arrays[each.name] for each in self.function.arrays if each.use != WRITTEN]
        return [array if array.dtype.kind == "i" else array.astype(np.float64) for array in given]

    def _reference(self, change: Callable[[Array], Array]) -> dict[str, Array]:
        given = [array if array.dtype.kind == "i" else change(array) for array in self._inputs()]
        found = self.function.reference(*given, *self.scalars)
        outputs = [each for each in self.function.arrays if each.use != READ]
        found = found if isinstance(found, tuple) else (found,)
        return {
            each.name: np.asarray(values, np.float64).reshape(each.shape_of(self.sizes))
            for each, values in zip(outputs, found, strict=True)
        }


def calls(function: Signature, larger: bool = False, seed: int = 0) -> list[DrawnCall]:
    """Return the calls of a check, the smallest first; those with a size of 0 at the end.

    Args:
        function: the function.
        larger: True for some calls with larger arrays, which a loop in Python is too slow for.
        seed: the seed of all random numbers.
    """
    rng = np.random.default_rng(seed)
    ones = dict.fromkeys(_free(function), 1)
    found = [_call(function, _all_sizes(function, ones), "normal", rng)]
    for i in range(DRAWN - 1):
        allowed = [size for size in SIZES if size <= LARGEST[i % len(LARGEST)]]
        sizes = _drawn_sizes(function, allowed, MOST_OPERATIONS, rng)
        found.append(_call(function, sizes, VALUES[i % len(VALUES)], rng))
    for sizes in _with_zero(function):
        found.append(_call(function, sizes, "normal", rng))
    for _ in range(LARGER if larger else 0):
        sizes = _drawn_sizes(function, LARGER_SIZES, MOST_LARGER_OPERATIONS, rng)
        found.append(_call(function, sizes, "normal", rng))
    return sorted(found, key=lambda call: (0 in call.sizes.values(), call.elements))


def filled(function: Signature, sizes: Sizes, seed: int = 0) -> DrawnCall:
    """Return a call with these sizes and normal values."""
    return _call(function, _all_sizes(function, sizes), "normal", np.random.default_rng(seed))


def _free(function: Signature) -> list[str]:
    """Return the names of the sizes that don't follow from others."""
    return [name for name in function.size_names if name not in function.derived]


def _all_sizes(function: Signature, sizes: Sizes) -> Sizes:
    """Return all sizes, in the order of the function's arguments."""
    derived = {name: rule(sizes) for name, rule in function.derived.items()}
    return {name: {**sizes, **derived}[name] for name in function.size_names}


def _drawn_sizes(
    function: Signature, allowed: Sequence[int], most: int, rng: np.random.Generator
) -> Sizes:
    """Return drawn sizes of a call with at most `most` operations."""
    names = _free(function)
    sizes = {name: int(rng.choice(allowed)) for name in names}
    while function.operations(sizes) > most:
        name = names[rng.integers(len(names))]
        sizes[name] = int(rng.choice(SIZES[:5]))
    return _all_sizes(function, sizes)


def _with_zero(function: Signature) -> Iterator[Sizes]:
    """Yield sizes with one zero, for each size that may be 0."""
    for zero in _free(function):
        if zero not in function.never_zero:
            yield _all_sizes(function, {name: 2 for name in _free(function)} | {zero: 0})


def _call(function: Signature, sizes: Sizes, values: str, rng: np.random.Generator) -> DrawnCall:
    arrays = {each.name: _array(each, function, sizes, values, rng) for each in function.arrays}
    scalars = {"rate": 0.25, "step": int(rng.integers(1, 100))}
    return DrawnCall(function, sizes, arrays, tuple(scalars[name] for name in function.scalars))


def _array(
    argument: Argument,
    function: Signature,
    sizes: Sizes,
    values: str,
    rng: np.random.Generator,
) -> Array:
    """Return drawn values of an array."""
    shape = argument.shape_of(sizes)
    if argument.dtype == "int64":
        return rng.integers(0, max(sizes["C"], 1), shape)
    array = rng.standard_normal(shape)
    if argument.use == WRITTEN:
        return (GARBAGE * array).astype(np.float32)
    if values == "large":
        array *= 1000
    if values == "zero":
        array *= 0
    if values == "infinite":
        _put(array, (0, np.inf, -np.inf), rng)
    if values == "NaN":
        _put(array, (0, 0, np.nan), rng)
    if argument.name in function.positive:
        array = np.abs(array)
    return array.astype(np.float32)


def _put(array: Array, special: tuple[float, ...], rng: np.random.Generator) -> None:
    """Replace about a sixth of the elements by each of three special values."""
    chosen = rng.integers(0, 6, array.shape)
    for i, value in enumerate(special):
        array[chosen == i] = value
