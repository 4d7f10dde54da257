"""The door between tensors and backends: the choice of the backend, and every kernel call.

kernels.py declares a kernel as a stub under `@door()`, which makes a function of it:
`kernels.add(x, y, out)` calls `add` of the backend in use. The door does what all calls have in
common: if a step is being recorded, it notes the call, and it passes integers and booleans to
NumPy. It never hides an error that a kernel raises.
"""

import functools
import importlib
import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, ParamSpec, Protocol, cast, runtime_checkable

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
    """A module of backends/: the functions that it must have in addition to its kernels.

    Its kernels have the names and arguments of the stubs in kernels.py. If the module lacks a
    kernel, NumPy's kernel computes instead, and Backend.on_numpy lists it.

    All else is optional. `bind`, `BoundCalls` and `point` make the calls of a recorded program with
    little Python between them. `compiling()` counts the compiled kernels, and names the one that is
    being compiled. `SIMD` is the instruction set in use. A caller checks with hasattr or getattr
    whether the module has them.
    """

    def num_threads(self) -> int:
        """Return the largest number of threads that a kernel uses."""

    def set_num_threads(self, n: int) -> None:
        """Let kernels use up to n threads; a backend of one thread ignores it."""

    def description(self) -> str:
        """Return the versions and the instruction set that the kernels run on."""


@dataclass(frozen=True)
class Backend:
    """A loaded backend.

    Attributes:
        name: "c", "numba" or "numpy".
        module: the module in backends/.
        kernels: all kernels, by name.
        on_numpy: the names of the kernels that NumPy computes for this backend.
        rungs: the choices of use_kernel, such as "matmul by c.blocked".
    """

    name: str
    module: BackendModule
    kernels: dict[str, Callable[..., None]]
    on_numpy: tuple[str, ...] = ()
    rungs: tuple[str, ...] = ()

    @property
    def num_threads(self) -> int:
        """The largest number of threads that a kernel uses."""
        return self.module.num_threads()

    @property
    def description(self) -> str:
        """The versions and the instruction set that the kernels run on."""
        return self.module.description()

    def by_rung(self, kernel: str) -> bool:
        """True if use_kernel has chosen a rung for this kernel."""
        return any(rung.startswith(f"{kernel} by ") for rung in self.rungs)

    def __repr__(self) -> str:
        borrowed = f", computed by NumPy: {', '.join(self.on_numpy)}" if self.on_numpy else ""
        chosen = "".join(f", {rung}" for rung in self.rungs)
        return f"<{self.name}: {self.description}, {self.num_threads} thread(s){borrowed}{chosen}>"


_loaded: dict[str, Backend] = {}
_everywhere: Backend | None = None  # set_backend's choice
_here: ContextVar[Backend | None] = ContextVar("tinytensor_backend", default=None)
_num_threads: int | None = None


def load_backend(name: str) -> Backend:
    """Return the backend of this name, imported at first use; "auto": the first that works.

    Raises UnknownName, or BackendUnavailable with the reason and the command that repairs it.
    """
    global _num_threads
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
        _num_threads = _num_threads or _threads_of_environment()
        if _num_threads is not None:
            module.set_num_threads(_num_threads)
        _loaded[name] = Backend(name, module, kernels, lacking)
    return _loaded[name]


def current_backend() -> Backend:
    """Return the backend in use in this thread or task.

    Returns:
        Backend, with its name, description and number of threads, and the names of the kernels that
        NumPy computes for it; `print` shows them.

    Raises:
        BackendUnavailable: TINYTENSOR_BACKEND names a backend that does not work here.
        UnknownName: TINYTENSOR_BACKEND names no backend.

    >>> tt.set_backend("numpy")
    >>> tt.current_backend().name
    'numpy'
    """
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
    """Compute with this backend from now on, in all threads.

    Tensors need no conversion, because all backends work on the same NumPy memory.

    Args:
        name: "c", "numba", "numpy", or "auto" for the first of these three that works here.

    Raises:
        UnknownName: there is no backend of this name.
        BackendUnavailable: the backend does not work here; the message gives the repair.
        CaptureError: a captured step calls this while it is recorded.

    >>> tt.set_backend("numpy")
    >>> tt.current_backend().name
    'numpy'
    """
    global _everywhere
    recorder.refuse("set_backend() changes the backend", "call it outside of the step")
    _everywhere = load_backend(name)


@mode
def backend(name: str) -> Iterator[Backend]:
    """Compute with this backend inside a `with` block, in this thread or task only.

    As a decorator, `@tt.backend("numpy")` puts the body of a function into such a block.

    Args:
        name: "c", "numba", "numpy", or "auto" for the first of these three that works here.

    Returns:
        Context manager and decorator; `with ... as b` gives the Backend.

    Raises:
        UnknownName: there is no backend of this name.
        BackendUnavailable: the backend does not work here; the message gives the repair.
        CaptureError: a captured step enters the block while it is recorded.

    >>> with tt.backend("numpy") as b:
    ...     b.name
    'numpy'
    """
    recorder.refuse("backend() changes the backend", "put it around the whole step")
    with computing_with(load_backend(name)) as chosen:
        yield chosen


@contextmanager
def computing_with(chosen: Backend) -> Iterator[Backend]:
    """Compute with this Backend in a `with` block, in this thread or task."""
    token = _here.set(chosen)
    try:
        yield chosen
    finally:
        _here.reset(token)


@mode
def use_kernel(kernel: str, rung: str) -> Iterator[Backend]:
    """Compute one kernel with a rung of its ladder, inside a `with` block or a decorated function.

    A ladder is a list of versions of one kernel, from a plain loop to the fastest code; each
    version is a rung. The choice holds in this thread or task only. The backend in use at the start
    of the block computes all other kernels. Blocks for several kernels may be nested.

    Args:
        kernel: the kernel's name, such as "matmul".
        rung: the rung's name, such as "c.blocked"; `tinytensor ladder KERNEL` lists them.

    Returns:
        Context manager and decorator; `with ... as b` gives the Backend with this rung.

    Raises:
        UnknownName: there is no kernel or rung of this name.
        BackendUnavailable: the rung's backend does not work here.
        CaptureError: a captured step enters the block while it is recorded.

    >>> with tt.use_kernel("matmul", "numba.naive"):
    ...     tt.ones(2, 3) @ tt.ones(3, 1)
    Tensor([[3.],
            [3.]], dtype=float32)
    """
    from tinytensor.ladder.ladder import find_rung  # which needs this module

    recorder.refuse("use_kernel() changes a kernel", "put it around the whole step")
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


class Compiling(NamedTuple):
    """A kernel that a backend compiles; number: 1 for the first that this process compiles."""

    backend: str
    kernel: str
    number: int


def compiling() -> Compiling | None:
    """Return what a backend compiles at the moment, in any thread; None if no backend does."""
    for name, loaded in tuple(_loaded.items()):
        state = loaded.module.compiling() if hasattr(loaded.module, "compiling") else {}
        if kernel := state.get("now"):
            return Compiling(name, kernel, state["compiled"] + 1)
    return None


def available_backends() -> dict[str, Backend]:
    """Return the backends that work here; the first one is the default.

    Returns:
        dict from name to Backend. `backend.on_numpy` has the names of the kernels that NumPy
        computes for this backend.

    >>> "numpy" in tt.available_backends()
    True
    """
    return {name: state for name, state in backend_states().items() if isinstance(state, Backend)}


def backend_states() -> dict[str, Backend | BackendUnavailable]:
    """Return all backends: loaded, or the error with the reason and the repair."""
    states: dict[str, Backend | BackendUnavailable] = {}
    for name in BACKENDS:
        try:
            states[name] = load_backend(name)
        except BackendUnavailable as error:
            states[name] = error
    return states


# Threads ----------------------------------------------------------------------------------------


def set_num_threads(n: int) -> None:
    """Let kernels use up to n threads.

    Small arrays are computed on one thread, because waking a second one costs more than it saves.
    Before the first call the C backend uses a thread for each core, and each captured step tries
    in its first replays whether fewer are as fast; afterwards it uses n.
    The C and Numba backends give the same bits for every n.

    Args:
        n: int from 1 to 64, the number of threads.

    Raises:
        SettingError: n is not an int from 1 to 64.

    >>> tt.set_num_threads(1)
    """
    global _num_threads
    if not isinstance(n, int) or isinstance(n, bool) or not 1 <= n <= MOST_THREADS:
        raise SettingError(f"set_num_threads: got {n!r}; an int from 1 to {MOST_THREADS} is needed")
    _num_threads = n
    for loaded in _loaded.values():
        loaded.module.set_num_threads(_num_threads)


def threads_are_set() -> bool:
    """True if set_num_threads() or TINYTENSOR_NUM_THREADS has set the number of threads."""
    return _num_threads is not None


def num_threads() -> int:
    """Return the largest number of threads that the backend in use may use.

    Returns:
        int from 1 to 64.

    >>> tt.set_num_threads(1)
    >>> tt.num_threads()
    1
    """
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
    """The declaration of a kernel by its stub.

    Attributes:
        name: the kernel's name.
        arrays: the names of its array arguments, which are the first arguments.
        parameters: the names of all arguments.
        reads, writes: the positions of the arrays that it reads and writes. An array that it
            changes in place is in both.
        data: the position of the array whose dtype decides where the kernel computes: the backend
            computes floats, and NumPy computes integers and booleans.
        operations: arithmetic operations for each element of the largest array, or a function from
            the shapes of all arrays to their number.
        gathers: True if the kernel reads only chosen rows of the first array.
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

    Args:
        writes: the names of the arrays that the kernel writes without reading them.
        changes: the names of the arrays that it changes in place.
        data: the name of the array whose dtype decides whether NumPy computes; the first array by
            default.
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

        # No keywords, because a call by position costs less and is what a program repeats.
        @functools.wraps(stub)
        def kernel(*arguments: Any) -> None:
            if recorder.recordings and (notes := recorder.recorder()):
                notes.note_call(contract, arguments)
            try:
                if arguments[decides].dtype.kind == "f":
                    (_here.get() or _everywhere or _default_backend()).kernels[name](*arguments)
                else:
                    _on_numpy(name, arguments)
            except (TypeError, ValueError) as error:
                _name_the_array(contract, arguments, error)
                raise

        return kernel  # type: ignore[return-value]

    return declare


def _name_the_array(contract: Contract, arguments: tuple[Any, ...], error: Exception) -> None:
    """Raise SettingError if the kernel raised because of the memory of one of its arrays."""
    for i, name in enumerate(contract.arrays):
        flags = arguments[i].flags
        if not flags.c_contiguous:
            found, needed = "is not C-contiguous", "np.ascontiguousarray(x) copies it"
        elif not flags.aligned:
            found, needed = "is not aligned", "x.copy() copies it"
        elif i in contract.writes and not flags.writeable:
            found, needed = "is read-only", "a writable array is needed"
        else:
            continue
        raise SettingError(f"{contract.name}: {name} {found}; {needed}") from error


def _on_numpy(name: str, arguments: tuple[Any, ...]) -> None:
    """Compute integers or booleans with NumPy's kernel, for every backend."""
    try:
        load_backend("numpy").kernels[name](*arguments)
    except (TypeError, ValueError) as error:  # such as bool - bool, or 2 ** -1 in integers
        dtype = arguments[CONTRACTS[name].data].dtype
        raise DTypeError(f"{name}: of {dtype}: {error}; astype converts") from None
