"""The one door between tensors and backends: which backend computes, and each kernel call.

A kernel is declared in kernels.py as a stub under `@door()`, which makes a function of it:
`kernels.add(x, y, out)` calls `add` of the backend in use. What every call has in common happens
here: a step that is being recorded notes it, and integers and booleans go to NumPy. An error that a
kernel raises is never hidden.
"""

import functools
import importlib
import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, ParamSpec, Protocol, cast, runtime_checkable

from tinytensor import recorder
from tinytensor.arrays import Array
from tinytensor.errors import BackendUnavailable, DTypeError, SettingError, UnknownName
from tinytensor.modes import mode

__all__ = [
    "available_backends",
    "backend",
    "current_backend",
    "num_threads",
    "set_backend",
    "set_num_threads",
    "use_kernel",
]

_Arguments = ParamSpec("_Arguments")

BACKENDS = ("c", "numba", "numpy")  # in the order in which "auto" tries them
MOST_THREADS = 64
CONTRACTS: "dict[str, Contract]" = {}  # of all kernels, by name: filled by the stubs of kernels.py


# The backend in use -----------------------------------------------------------------------------


@runtime_checkable
class BackendModule(Protocol):
    """What a module of backends/ must have, besides its kernels.

    Its kernels are functions with the names and arguments of the stubs in kernels.py. A kernel that
    the module lacks is computed by NumPy's, and Backend.on_numpy lists it.

    All else is optional: `bind` and `BoundCalls` (and `point`) make the calls of a captured step's
    program with little Python between them, `compiling()` counts what was compiled, and `SIMD` is
    the instruction set in use. A caller checks with hasattr or getattr that it is there.
    """

    def num_threads(self) -> int:
        """Return the largest number of threads that a kernel uses."""

    def set_num_threads(self, n: int) -> None:
        """Let kernels use up to n threads; a backend of one thread ignores it."""

    def description(self) -> str:
        """Return what the kernels run on: versions, instruction set."""


@dataclass(frozen=True)
class Backend:
    """A loaded backend: its name, its kernels, and which of them it borrows from NumPy."""

    name: str
    module: BackendModule
    kernels: dict[str, Callable[..., None]]
    on_numpy: tuple[str, ...] = ()
    rungs: tuple[str, ...] = ()  # use_kernel's choices, such as "matmul by c.blocked"

    @property
    def num_threads(self) -> int:
        """How many threads its kernels may use."""
        return self.module.num_threads()

    @property
    def description(self) -> str:
        """What it runs on: versions, instruction set."""
        return self.module.description()

    def by_rung(self, kernel: str) -> bool:
        """Has use_kernel chosen how this kernel is computed?"""
        return any(rung.startswith(f"{kernel} by ") for rung in self.rungs)

    def __repr__(self) -> str:
        borrowed = f", on NumPy: {', '.join(self.on_numpy)}" if self.on_numpy else ""
        chosen = "".join(f", {rung}" for rung in self.rungs)
        return f"<{self.name}: {self.description}, {self.num_threads} thread(s){borrowed}{chosen}>"


_loaded: dict[str, Backend] = {}
_everywhere: Backend | None = None  # set_backend's choice
_here: ContextVar[Backend | None] = ContextVar("tinytensor_backend", default=None)
_num_threads: int | None = None


def load_backend(name: str) -> Backend:
    """The backend of that name, imported at its first use; "auto" takes the first that works.

    Raises UnknownName, or BackendUnavailable with the reason and the command that mends it.
    """
    if name == "auto":
        for candidate in BACKENDS[:-1]:
            try:
                return load_backend(candidate)
            except BackendUnavailable:
                continue
        return load_backend("numpy")
    if name not in BACKENDS:
        known = ", ".join(("auto", *BACKENDS))
        raise UnknownName(f"backend: there is none named {name!r}; choose from {known}")
    if name not in _loaded:
        imported = importlib.import_module(f"tinytensor.backends.{name}_backend")
        module = cast(BackendModule, imported)  # backends/__init__.py has mypy compare them
        lacking = tuple(kernel for kernel in CONTRACTS if not hasattr(module, kernel))
        numpy = importlib.import_module("tinytensor.backends.numpy_backend")
        kernels = {kernel: getattr(module, kernel, getattr(numpy, kernel)) for kernel in CONTRACTS}
        if threads := _num_threads or _threads_of_environment():
            module.set_num_threads(threads)
        _loaded[name] = Backend(name, module, kernels, lacking)
    return _loaded[name]


def current_backend() -> Backend:
    """The backend that computes here and now."""
    return _here.get() or _everywhere or _default_backend()


def _default_backend() -> Backend:
    name = os.environ.get("TINYTENSOR_BACKEND") or "auto"
    global _everywhere
    try:
        loaded = load_backend(name)
    except (UnknownName, BackendUnavailable) as error:
        if name == "auto":
            raise
        raise type(error)(f"TINYTENSOR_BACKEND={name}: {error}") from None
    if _everywhere is None:  # another thread may have chosen meanwhile
        _everywhere = loaded
    return _everywhere


def set_backend(name: str) -> None:
    """Compute with this backend from now on: "c", "numba", "numpy", or "auto" for the best of them.

    Tensors need no conversion: all backends work on the same NumPy memory.
    """
    global _everywhere
    recorder.refuse("set_backend() changes what computes", "call it outside of the step")
    _everywhere = load_backend(name)


@mode
def backend(name: str) -> Iterator[Backend]:
    """Compute with this backend in a `with` block or a function, in this thread or task only.

        with tt.backend("numpy"):
            y = x @ w

    `@tt.backend("numpy")` above a function is a `with` block around its body.
    """
    recorder.refuse("backend() changes what computes", "put it round the whole step")
    with computing_with(load_backend(name)) as chosen:
        yield chosen


@contextmanager
def computing_with(chosen: Backend) -> Iterator[Backend]:
    """Inside a `with` block, in this thread or task, compute with a Backend that is at hand."""
    token = _here.set(chosen)
    try:
        yield chosen
    finally:
        _here.reset(token)


@mode
def use_kernel(kernel: str, rung: str) -> Iterator[Backend]:
    """Compute one kernel by a rung of its ladder in a `with` block or a function below it.

        with tt.use_kernel("matmul", "c.blocked"):
            y = x @ w

    It holds in this thread or task. All other kernels stay those of the backend in use where the
    block begins; a backend chosen inside, by `tt.backend`, has its own again. Blocks for several
    kernels may be nested. `tinytensor ladder KERNEL` lists the rungs.

    Raises UnknownName for a kernel or rung that isn't there, and BackendUnavailable where the
    rung's backend can't work.
    """
    from tinytensor.ladder.ladder import find_rung  # which needs this module

    recorder.refuse("use_kernel() changes what computes", "put it round the whole step")
    function, here = find_rung(kernel, rung).function(), current_backend()
    others = tuple(name for name in here.rungs if not name.startswith(f"{kernel} by "))
    chosen = replace(
        here,
        kernels={**here.kernels, kernel: function},
        on_numpy=tuple(name for name in here.on_numpy if name != kernel),
        rungs=(*others, f"{kernel} by {rung}"),
    )
    with computing_with(chosen):
        yield chosen


def available_backends() -> dict[str, Backend]:
    """The backends that work here, best first; each tells what it borrows from NumPy."""
    return {name: state for name, state in backend_states().items() if isinstance(state, Backend)}


def backend_states() -> dict[str, Backend | BackendUnavailable]:
    """All backends: loaded, or the error that says why not and how to mend it."""
    states: dict[str, Backend | BackendUnavailable] = {}
    for name in BACKENDS:
        try:
            states[name] = load_backend(name)
        except BackendUnavailable as error:
            states[name] = error
    return states


# Threads ----------------------------------------------------------------------------------------


def set_num_threads(n: int) -> None:
    """Let kernels use up to n threads, in every backend that has more than one.

    Small work stays on one thread: waking another costs more than it saves. The numba backend
    computes on one thread whatever is set. In C results are the same, bit by bit, for every n.
    """
    global _num_threads
    if not isinstance(n, int) or not 1 <= n <= MOST_THREADS:
        raise SettingError(
            f"set_num_threads: got {n}; at least 1 thread is needed, at most {MOST_THREADS}"
        )
    _num_threads = n
    for loaded in _loaded.values():
        loaded.module.set_num_threads(_num_threads)


def num_threads() -> int:
    """How many threads the kernels of the backend in use may take."""
    return current_backend().num_threads


def _threads_of_environment() -> int | None:
    text = os.environ.get("TINYTENSOR_NUM_THREADS", "")
    if not text:
        return None
    if not text.isdecimal() or not 1 <= int(text) <= MOST_THREADS:
        raise SettingError(
            f"TINYTENSOR_NUM_THREADS={text}: a number from 1 to {MOST_THREADS} is needed"
        )
    return int(text)


# The door ---------------------------------------------------------------------------------------


Shapes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, eq=False)
class Contract:
    """What a stub declares of its kernel.

    arrays: the names of its array arguments, which come first. reads, writes: the positions of
    those it reads and writes; what it changes in place is both. data: the position of the one whose
    dtype decides: floats are computed by the backend, integers and booleans by NumPy.
    operations: for each element of the largest array, or a function of all arrays' shapes.
    gathers: of the first array only the chosen rows are read.
    """

    name: str
    arrays: tuple[str, ...]
    parameters: tuple[str, ...]
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    data: int
    operations: int | Callable[[Shapes], int]
    gathers: bool

    def is_for_numpy(self, arguments: tuple[Any, ...]) -> bool:
        """True if NumPy computes a call with these arguments on every backend."""
        return bool(arguments[self.data].dtype.kind != "f")


def door(
    writes: str = "out",
    changes: str = "",
    data: str = "",
    operations: int | Callable[[Shapes], int] = 1,
    gathers: bool = False,
) -> Callable[[Callable[_Arguments, None]], Callable[_Arguments, None]]:
    """Turn a kernel's stub into a function that calls the kernel of the backend in use.

    writes: the names of the arrays that the kernel writes without reading them.
    changes: those that it reads and writes: changes in place.
    data: the one whose dtype decides whether NumPy computes; the first by default.
    operations, gathers: the work of a call, see Contract.
    """

    def declare(stub: Callable[_Arguments, None]) -> Callable[_Arguments, None]:
        name = stub.__name__
        parameters = inspect.signature(stub).parameters.values()
        arrays = tuple(p.name for p in parameters if p.annotation is Array)
        written, changed = writes.split(), changes.split()
        contract = CONTRACTS[name] = Contract(
            name,
            arrays,
            tuple(p.name for p in parameters),
            tuple(i for i, array in enumerate(arrays) if array not in written),
            tuple(i for i, array in enumerate(arrays) if array in written + changed),
            arrays.index(data) if data else 0,
            operations,
            gathers,
        )
        decides = contract.data

        # No keywords: a call by position costs less, and is what a recorded program holds.
        @functools.wraps(stub)
        def kernel(*arguments: Any) -> None:
            if recorder.recordings and (notes := recorder.recorder()):
                notes.note_call(contract, arguments)
            if arguments[decides].dtype.kind == "f":
                (_here.get() or _everywhere or _default_backend()).kernels[name](*arguments)
            else:
                _on_numpy(name, arguments)

        return kernel  # type: ignore[return-value]

    return declare


def _on_numpy(name: str, arguments: tuple[Any, ...]) -> None:
    """Compute on integers and booleans, which NumPy does for every backend."""
    try:
        load_backend("numpy").kernels[name](*arguments)
    except (TypeError, ValueError) as error:  # such as bool - bool, or 2 ** -1 in integers
        dtype = arguments[CONTRACTS[name].data].dtype
        raise DTypeError(f"{name}: of {dtype}: {error}") from None
