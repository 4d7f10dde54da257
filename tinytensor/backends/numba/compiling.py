"""How the Numba backend's kernels become machine code: once, at their first call, kept on disk.

A kernel has one signature for each kind of float, and nothing else is ever compiled. What has been
compiled is kept where Numba finds a folder that it can write to: NUMBA_CACHE_DIR, this package's
__pycache__, the user's cache folder. Where there is none every process compiles anew, and a file
that can't be read is made anew. What all this costs is counted in `spent`.
"""

import hashlib
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any

import numba
import numpy as np
from numba.core.caching import FunctionCache
from numba.core.errors import TypingError
from numba.core.registry import cpu_target
from numba.core.sigutils import normalize_signature

from tinytensor.backends.lowering import Lowered
from tinytensor.errors import DTypeError

# a * b + c in one instruction; nothing that would lose a NaN or an infinity
CONTRACT = {"contract"}
# and the terms of a sum in any order, so that several can be added up at once
REASSOCIATE = {"contract", "reassoc"}
# Wrappers, by which Python and C call compiled code, take long to compile: only where needed.
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}
SOURCES = sorted(Path(__file__).parent.glob("*.py"))  # all that kernels are compiled from


@dataclass
class Spent:
    """How many kernels this process has compiled and loaded so far, and the seconds it took."""

    compiled: int = 0
    compile_seconds: float = 0.0
    loaded: int = 0
    load_seconds: float = 0.0


spent = Spent()


def part(function: Callable[..., Any], fastmath: set[str] = CONTRACT) -> Any:
    """A function that kernels call: compiled with, and as a part of, each of them."""
    return numba.njit(fastmath=fastmath, no_cpython_wrapper=True, **OPTIONS)(function)


def kernel(signature: str, fastmath: set[str] = CONTRACT) -> Callable[..., Any]:
    """Make a kernel of loops. In its signature `real` stands for float32 and for float64.

    The first argument of a call decides; DTypeError is raised if it is neither.
    """
    return lambda function: Kernel(function, signature, fastmath)


class Kernel:
    """Loops, and what has been compiled of them.

    A call computes in the kind of float of its first argument. Read-only arrays are another type to
    Numba: for them, which are rare, there is code of its own.
    """

    def __init__(self, function: Any, signature: str, fastmath: set[str]) -> None:
        self.function, self.signature, self.fastmath = function, signature, fastmath
        self.compiled: dict[Any, Any] = {}

    def __call__(self, *arguments: Any) -> None:
        """Run the loops, which are compiled at the first call."""
        kind = arguments[0].dtype
        compiled = self.compiled.get(kind) or self._compile(kind, kind)
        try:
            compiled(*arguments)
        except TypeError:
            read_only = tuple(
                i
                for i, argument in enumerate(arguments)
                if isinstance(argument, np.ndarray) and not argument.flags.writeable
            )
            if not read_only:
                raise
            key = kind, read_only
            compiled = self.compiled.get(key) or self._compile(key, kind, read_only)
            compiled(*arguments)

    def bind(self, arguments: tuple[Any, ...]) -> Lowered:
        """The call with these arguments, by the shortest way that leads to the compiled code."""
        kind = arguments[0].dtype
        compiled = self.compiled.get(kind) or self._compile(kind, kind)
        if all(x.flags.writeable for x in arguments if isinstance(x, np.ndarray)):
            (overload,) = compiled.overloads.values()
            return overload.entry_point, arguments  # no more asking which types the arguments have
        return self, arguments

    def _compile(self, key: Any, kind: np.dtype[Any], read_only: tuple[int, ...] = ()) -> Any:
        """Compile for one kind of float, or load what an earlier process compiled."""
        if kind not in (np.float32, np.float64):
            raise DTypeError(f"numba backend: float32 or float64 is needed, got {kind}")
        start = time.perf_counter()
        arguments, _ = normalize_signature(f"({self.signature.replace('real', str(kind))},)")
        own = [
            argument.copy(readonly=True) if i in read_only else argument
            for i, argument in enumerate(arguments)
        ]
        named = self._named(*map(str, (kind, *read_only)))
        compiled: Any = numba.njit(fastmath=self.fastmath, **OPTIONS)(named)
        with suppress(RuntimeError):  # Numba finds no folder that can be written to
            compiled._cache = Cache(named)
        try:
            compiled.compile(tuple(own))
        except TypingError:
            if not read_only:
                raise
            name = self.function.__name__.strip("_")
            raise ValueError(f"{name}: an array that it writes to is read-only") from None
        compiled.disable_compile()
        seconds = time.perf_counter() - start
        if compiled.stats.cache_hits:
            spent.loaded += 1
            spent.load_seconds += seconds
        else:
            spent.compiled += 1
            spent.compile_seconds += seconds
        self.compiled[key] = compiled
        return compiled

    def _named(self, *what: str) -> FunctionType:
        """The function under a name of its own for each signature and kind of processor.

        Files in the cache are named so. Each then has one content only, and two processes that
        write the same file at once do no harm.
        """
        f = self.function
        named = FunctionType(f.__code__, f.__globals__, f.__name__, closure=f.__closure__)
        named.__qualname__ = "_".join((f.__name__, *what, _processor()))
        return named


class Cache(FunctionCache):
    """Numba's cache on disk, where trouble with a file only costs the time to compile again."""

    def __init__(self, function: FunctionType) -> None:
        super().__init__(function)
        # What is compiled into a kernel may stand in another file than the kernel.
        self._cache_file._source_stamp = _sources()

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """What is kept, or None."""
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # of a torn file, the unpickler raises anything
            with suppress(OSError):
                self.flush()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep it, if it can be kept: a disk may be full."""
        with suppress(OSError):
            super().save_overload(sig, data)

    def _index_key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        # Numba would add the values that a function closes over: functions, that have another
        # identity in every process. They come from the sources, and those are in the stamp.
        return sig, codegen.magic_tuple()


@cache
def _sources() -> str:
    """A digest of all the text that kernels are compiled from."""
    return hashlib.sha256(b"".join(file.read_bytes() for file in SOURCES)).hexdigest()


@cache
def _processor() -> str:
    processor = cpu_target.target_context.codegen().magic_tuple()
    return hashlib.sha256(repr(processor).encode()).hexdigest()[:8]
