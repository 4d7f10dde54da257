"""Sum, max and min over axes; argmax, argmin and cumsum along rows."""

from builtins import max as max_of
from collections.abc import Callable
from typing import Any

from tinytensor.arrays import Array
from tinytensor.backends.lowering import Lowered, LoweredKernel, lowered
from tinytensor.backends.numba.compiling import REASSOCIATE, kernel, subroutine
from tinytensor.backends.numba.strides import flat, offset, product_of, reduction_strides
from tinytensor.backends.numba.tile import (
    LANES,
    item,
    load_part,
    narrowed,
    plus,
    set_item,
    store_part,
    widened,
    zeros,
)


@lowered
def sum(x: Array, out: Array) -> Lowered:
    return _sum, (flat(x), flat(out), *reduction_strides(x.shape, out.shape))


REDUCTION = "real[::1], real[::1], int64[::1], int64[::1], int64[::1], int64[::1]"


@kernel(REDUCTION, REASSOCIATE)
def _sum(x, out, kept, kept_strides, reduced, reduced_strides):
    terms, last = product_of(reduced), len(reduced) - 1
    inner, step = reduced[last], reduced_strides[last]
    outer = terms // max_of(inner, 1)
    if kept_strides[-1] == 1:  # the last axis is kept: its columns are the lanes of a register
        C = kept[-1]
        for first in range(0, len(out), max_of(C, 1)):
            base = offset(first // C, len(kept) - 1, kept, kept_strides)
            for c in range(0, C, LANES):
                total = widened(zeros(x))
                for r in range(outer):
                    row = base + c + offset(r, last, reduced, reduced_strides)
                    for i in range(inner):
                        total = plus(total, widened(load_part(x, row + i * step, C - c)))
                store_part(narrowed(total, out), out, first + c, C - c)
    else:  # the last axis is reduced: its elements are contiguous
        for i in range(len(out)):
            base = offset(i, len(kept), kept, kept_strides)
            one_total = 0.0
            for r in range(outer):
                row = base + offset(r, last, reduced, reduced_strides)
                for c in range(inner):
                    one_total += item(x, row + c)
            out[i] = one_total


def choose(better: Callable[[Any, Any], Any]) -> LoweredKernel[[Array, Array]]:
    """Return a kernel that reduces x with better(x, y), which returns one of two elements."""
    one = subroutine(better)

    def loops(x, out, kept, kept_strides, reduced, reduced_strides):
        last = len(kept) - 1
        C, step = kept[last], kept_strides[last]
        for first in range(0, len(out), max_of(C, 1)):
            row = offset(first // C, last, kept, kept_strides)
            for c in range(C):
                set_item(out, first + c, item(x, row + c * step))
            for term in range(1, product_of(reduced)):
                i = row + offset(term, len(reduced), reduced, reduced_strides)
                for c in range(C):
                    best = one(item(out, first + c), item(x, i + c * step))
                    set_item(out, first + c, best)

    loops.__name__ = better.__name__
    compiled = kernel(REDUCTION)(loops)

    @lowered
    def call(x: Array, out: Array) -> Lowered:
        return compiled, (flat(x), flat(out), *reduction_strides(x.shape, out.shape))

    return call


@choose
def max(x, y):
    return x if x > y or x != x else y


@choose
def min(x, y):
    return x if x < y or x != x else y


@lowered
def cumsum(x: Array, out: Array) -> Lowered:
    return _cumsum, (x, out)


@kernel("real[:, ::1], real[:, ::1]")
def _cumsum(x, out):
    R, C = x.shape
    for r in range(R):
        total = -0.0  # because -0.0 + x is x for all x, while 0.0 + -0.0 is 0.0
        for c in range(C):
            total += x[r, c]
            out[r, c] = total


@lowered
def argmax(x: Array, out: Array) -> Lowered:
    return _argmax, (x, out)


@kernel("real[:, ::1], int64[::1]")
def _argmax(x, out):
    R, C = x.shape
    for r in range(R):
        best = 0
        for c in range(1, C):
            if x[r, best] != x[r, best]:  # a NaN
                break
            if not x[r, c] <= x[r, best]:
                best = c
        out[r] = best


@lowered
def argmin(x: Array, out: Array) -> Lowered:
    return _argmin, (x, out)


@kernel("real[:, ::1], int64[::1]")
def _argmin(x, out):
    R, C = x.shape
    for r in range(R):
        best = 0
        for c in range(1, C):
            if x[r, best] != x[r, best]:
                break
            if not x[r, c] >= x[r, best]:
                best = c
        out[r] = best
