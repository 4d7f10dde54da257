"""Kernels that are lowered: to a compiled function and the arguments that it is called with.

Lowering checks the arrays and works out pointers, sizes and strides. A kernel call lowers and then
calls. A recorded program lowers each call once, keeps the result, and calls it at every replay.
"""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, Protocol

_Arguments = ParamSpec("_Arguments")

# A compiled function and its arguments. The function returns 1 if it had no memory, else 0 or None.
Lowered = tuple[Callable[..., int | None], tuple[Any, ...]]


class LoweredKernel(Protocol[_Arguments]):
    """A kernel whose calls can be lowered without being made."""

    lower: Callable[_Arguments, Lowered]

    def __call__(self, *arguments: _Arguments.args, **named: _Arguments.kwargs) -> None:
        """Lower the call and make it."""


def lowered(lower: Callable[_Arguments, Lowered]) -> LoweredKernel[_Arguments]:
    """Returns the kernel that calls what `lower` returns, with `lower` as an attribute."""

    @functools.wraps(lower)
    def kernel(*arguments: Any) -> None:
        function, lowered_arguments = lower(*arguments)  # type: ignore[call-arg]
        if function(*lowered_arguments):
            raise no_memory()

    kernel.lower = lower  # type: ignore[attr-defined]
    return kernel  # type: ignore[return-value]


def no_memory() -> MemoryError:
    """The error of a kernel that had no memory for its temporary values."""
    return MemoryError("a kernel had no memory for its temporary values, so there is no result")
