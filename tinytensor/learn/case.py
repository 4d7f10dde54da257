"""A case of a check."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tinytensor.arrays import Array


class JudgedCase(NamedTuple):
    """A case of a check.

    Attributes:
        title: the call, as text.
        counted: True if a right answer gives a point.
        run: returns None if the answer is right; otherwise a text with the problem.
        compiles: True if Numba compiles the function in this case, which takes seconds.
    """

    title: str
    counted: bool
    run: Callable[[], str | None]
    compiles: bool = False


def differs(got: Array, expected: Array, scale: Array | float, tolerance: float) -> Array:
    """Return where a result is wrong, as an array of bool.

    NaN and infinities must be the same. Finite elements may differ by tolerance * scale.
    """
    finite = np.isfinite(expected)
    same = np.where(np.isnan(expected), np.isnan(got), got == expected)
    with np.errstate(all="ignore"):
        allowed = tolerance * np.nan_to_num(scale, posinf=1e30) + 1e-7
        near = np.abs(got.astype(np.float64) - expected) <= allowed
    wrong: Array = ~np.where(finite, near, same)
    return wrong


def shown(name: str, array: Array, unwritten: Array | None = None) -> str:
    """Return an array as text, below its name and shape.

    Args:
        name: its name.
        array: its values.
        unwritten: True for elements without a value, an array of bool; None if all have one.
    """
    rounded = array.astype(np.float32) if array.dtype == np.float64 else array
    legend = ""
    if unwritten is not None:
        legend = ', "-" is not written'
        pairs = zip(rounded.ravel(), unwritten.ravel(), strict=True)
        words = ["-" if is_empty else f"{value:.5g}" for value, is_empty in pairs]
        width = max(map(len, words))
        rounded = np.array([word.rjust(width) for word in words]).reshape(array.shape)
    text = np.array2string(
        rounded,
        max_line_width=78,
        precision=5,
        suppress_small=True,
        threshold=60,
        formatter={"numpystr": str} if unwritten is not None else None,
    )
    return f"\n{name} {array.shape}{legend} =\n{text}"
