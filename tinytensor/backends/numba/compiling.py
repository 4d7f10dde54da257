"""Compile the kernels of the Numba backend at their first call, and cache the machine code on disk.

A kernel is compiled for float32 and for float64, each with one signature. Numba writes the cache to
the first folder that is writable: NUMBA_CACHE_DIR, the __pycache__ of this package, the user's
cache folder. If none is writable, each process compiles again. If a file can't be read, it is
written again. `spent` counts the compiled and loaded kernels and the time.
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
import numpy.ma  # else Numba imports it at the first call, and a child forked meanwhile would hang
from numba.core.caching import FunctionCache
from numba.core.compiler_lock import global_compiler_lock
from numba.core.errors import TypingError
from numba.core.registry import cpu_target
from numba.core.sigutils import normalize_signature

from tinytensor.backends.lowering import Lowered
from tinytensor.errors import DTypeError
from tinytensor.forks import held_during_fork

# a * b + c in one instruction. Other fastmath flags could lose NaN and infinity.
CONTRACT = {"contract"}
# Also any order of the terms of a sum, so that the compiler can vectorise it.
REASSOCIATE = {"contract", "reassoc"}
# No wrapper for calls from C, because it takes long to compile.
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}
SOURCES = sorted(Path(__file__).parent.glob("*.py"))  # the sources of all kernels


@dataclass
class Spent:
    """The number of kernels that this process has compiled and loaded, and the time in seconds.

    now: the kernel that is being compiled; "" otherwise.
    """

    compiled: int = 0
    compile_seconds: float = 0.0
    loaded: int = 0
    load_seconds: float = 0.0
    now: str = ""


spent = Spent()


def subroutine(function: Callable[..., Any], fastmath: set[str] = CONTRACT) -> Any:
    """Return a function for use in kernels; it is compiled together with each kernel."""
    return numba.njit(fastmath=fastmath, no_cpython_wrapper=True, **OPTIONS)(function)


def kernel(signature: str, fastmath: set[str] = CONTRACT) -> Callable[..., Any]:
    """Decorate a function with loops as a kernel; `real` in its signature is float32 or float64.

    The dtype of the first argument decides. A call with another dtype raises DTypeError.
    """
    return lambda function: Kernel(function, signature, fastmath)


class Kernel:
    """A function with loops, and its compiled versions.

    The dtype of the first argument of a call decides between float32 and float64. Read-only arrays
    have another type in Numba, so a call with a read-only array needs another version.
    """

    def __init__(self, function: Any, signature: str, fastmath: set[str]) -> None:
        self.function, self.signature, self.fastmath = function, signature, fastmath
        self.compiled: dict[Any, Any] = {}

    def __call__(self, *arguments: Any) -> Any:
        """Run the loops, and compile them first if needed."""
        dtype = arguments[0].dtype
        compiled = self.compiled.get(dtype) or self._compile(dtype, dtype)
        try:
            return compiled(*arguments)
        except TypeError as error:
            read_only = tuple(
                i
                for i, argument in enumerate(arguments)
                if isinstance(argument, np.ndarray) and not argument.flags.writeable
            )
            if not read_only:
                raise self._unfit(error) from None
            key = dtype, read_only
            compiled = self.compiled.get(key) or self._compile(key, dtype, read_only)
            try:
                return compiled(*arguments)
            except TypeError as error:
                raise self._unfit(error) from None

    def _unfit(self, error: TypeError) -> DTypeError:
        """The error for arrays of other types than those that the loops are compiled for."""
        return DTypeError(f"numba backend: {self.name}: {error}; {self.signature} is needed")

    def bind(self, arguments: tuple[Any, ...]) -> Lowered:
        """Return the function and the arguments of the fastest call with these arguments."""
        dtype = arguments[0].dtype
        compiled = self.compiled.get(dtype) or self._compile(dtype, dtype)
        if all(x.flags.writeable for x in arguments if isinstance(x, np.ndarray)):
            (overload,) = compiled.overloads.values()
            return overload.entry_point, arguments  # without Numba's check of the types
        return self, arguments

    def _compile(self, key: Any, dtype: np.dtype[Any], read_only: tuple[int, ...] = ()) -> Any:
        """Return the version for this dtype, which one thread compiles or loads from the cache."""
        with global_compiler_lock:
            return self.compiled.get(key) or self._compiled(key, dtype, read_only)

    def _compiled(self, key: Any, dtype: np.dtype[Any], read_only: tuple[int, ...]) -> Any:
        if "real" in self.signature and dtype not in (np.float32, np.float64):
            raise DTypeError(f"numba backend: got {dtype}; float32 or float64 is needed")
        start = time.perf_counter()
        arguments, _ = normalize_signature(f"({self.signature.replace('real', str(dtype))},)")
        types = tuple(
            argument.copy(readonly=True) if i in read_only else argument
            for i, argument in enumerate(arguments)
        )
        named = self._named(*map(str, (dtype, *read_only)))
        compiled: Any = numba.njit(fastmath=self.fastmath, **OPTIONS)(named)
        try:
            compiled._cache = Cache(named)
        except RuntimeError:  # Numba finds no writable folder
            spent.now = self.name
        try:
            compiled.compile(types)
        except TypingError:
            if not read_only:
                raise
            raise ValueError(
                f"{self.name}: got a read-only output array; a writable one is needed"
            ) from None
        finally:
            spent.now = ""
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

    @property
    def name(self) -> str:
        """The name of the kernel, such as "matmul"."""
        return str(self.function.__name__).strip("_")

    def _named(self, *suffixes: str) -> FunctionType:
        """Return the function with a name that contains the dtype and the type of the processor.

        The name is the name of the file in the cache. So all processes write the same contents to a
        file, and it does no harm if two write it at the same time.
        """
        f = self.function
        named = FunctionType(f.__code__, f.__globals__, f.__name__, closure=f.__closure__)
        named.__qualname__ = "_".join((f.__name__, *suffixes, _processor()))
        return named


class Cache(FunctionCache):
    """Numba's cache on disk; if a file can't be read or written, the kernel is compiled again."""

    def __init__(self, function: FunctionType) -> None:
        super().__init__(function)
        self._name = function.__name__.strip("_")
        # A kernel contains code from other files, so the stamp covers all files.
        self._cache_file._source_stamp = _sources()

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the cached machine code; None if the kernel must be compiled."""
        try:
            found = super().load_overload(sig, target_context)
        except Exception:  # unpickling a damaged file can raise any exception
            found = None
            with suppress(OSError):
                self.flush()
        if found is None:
            spent.now = self._name
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        """Write the machine code to the cache, unless the disk is full or read-only."""
        with suppress(OSError):
            super().save_overload(sig, data)

    def _index_key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        # Numba's key would contain the functions in the closure, whose identity differs between
        # processes. The stamp of the sources already covers them.
        return sig, codegen.magic_tuple()


held_during_fork(global_compiler_lock)


@cache
def _sources() -> str:
    """Return a hash of the sources of all kernels."""
    return hashlib.sha256(b"".join(file.read_bytes() for file in SOURCES)).hexdigest()


@cache
def _processor() -> str:
    processor = cpu_target.target_context.codegen().magic_tuple()
    return hashlib.sha256(repr(processor).encode()).hexdigest()[:8]
