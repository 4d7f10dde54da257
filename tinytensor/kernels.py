"""The contract: every kernel with its shapes, and the one door to the backends.

A kernel is a function that writes into `out`. Each one is declared here once, as a stub: its
arguments, their shapes, one line of mathematics. `numpy_backend.py` is the definition;
`numba_backend.py` and `c_backend.py` compute the same. A call such as `kernels.add(x, y, out)` goes
through `door` to the backend in use, and nothing computes on tensors by any other way.

What holds for all kernels:

- Arrays are C-contiguous, float32 or float64, all of one call alike; labels and argmax's result
  are int64. Strides don't cross the door: matmul has flags for transposition, and what is broadcast
  or summed follows from the shapes.
- Inputs come first, then outputs, then numbers. The caller allocates `out`; the kernel writes all
  of it and reads none of it. The optimisers' kernels, at the end, update a parameter in place.
- What changes from step to step, such as a learning rate, is an array. Numbers are constants.
- Callers check shapes and labels. Kernels trust them.
- Sums over a whole array are kept in float64. NaN, infinities and empty arrays do as in NumPy.
- The same inputs and the same number of threads give the same bits.

Sizes: M K N of a matrix product, R C for rows and columns (C the number of classes).
"""

import functools
import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, ParamSpec

import numpy as np

from tinytensor.errors import BackendUnavailable, SettingError, UnknownName

Array = np.ndarray[tuple[int, ...], np.dtype[Any]]
_Arguments = ParamSpec("_Arguments")

BACKENDS = ("c", "numba", "numpy")  # in the order in which "auto" tries them
KERNELS: list[str] = []  # the names of all kernels, filled by the stubs below


# The backend in use -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Backend:
    """A loaded backend: its name, its kernels, and which of them it borrows from NumPy."""

    name: str
    module: Any
    kernels: dict[str, Callable[..., None]]
    on_numpy: tuple[str, ...] = ()

    @property
    def num_threads(self) -> int:
        """How many threads its kernels may use."""
        return int(self.module.num_threads())

    @property
    def description(self) -> str:
        """What it runs on: versions, instruction set."""
        return str(self.module.description())

    def __repr__(self) -> str:
        borrowed = f", on NumPy: {', '.join(self.on_numpy)}" if self.on_numpy else ""
        return f"<{self.name}: {self.description}, {self.num_threads} thread(s){borrowed}>"


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
        module = importlib.import_module(f"tinytensor.backends.{name}_backend")
        lacking = tuple(kernel for kernel in KERNELS if not hasattr(module, kernel))
        numpy = importlib.import_module("tinytensor.backends.numpy_backend")
        kernels = {kernel: getattr(module, kernel, getattr(numpy, kernel)) for kernel in KERNELS}
        module.set_num_threads(_num_threads or _default_threads())
        _loaded[name] = Backend(name, module, kernels, lacking)
    return _loaded[name]


def current_backend() -> Backend:
    """The backend that computes here and now."""
    return _here.get() or _everywhere or _default_backend()


def _default_backend() -> Backend:
    name = os.environ.get("TINYTENSOR_BACKEND") or "auto"
    try:
        set_backend(name)
    except (UnknownName, BackendUnavailable) as error:
        if name == "auto":
            raise
        raise type(error)(f"TINYTENSOR_BACKEND={name}: {error}") from None
    assert _everywhere is not None
    return _everywhere


def set_backend(name: str) -> None:
    """Compute with this backend from now on: "c", "numba", "numpy", or "auto" for the best of them.

    Tensors need no conversion: all backends work on the same NumPy memory.
    """
    global _everywhere
    _everywhere = load_backend(name)


@contextmanager
def backend(name: str) -> Iterator[Backend]:
    """Compute with this backend inside a `with` block, in this thread or task only."""
    chosen = load_backend(name)
    token = _here.set(chosen)
    try:
        yield chosen
    finally:
        _here.reset(token)


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
    computes on one thread whatever is set.
    """
    global _num_threads
    if n != int(n) or n < 1:
        raise SettingError(f"set_num_threads: got {n}; at least 1 thread is needed")
    _num_threads = int(n)
    for loaded in _loaded.values():
        loaded.module.set_num_threads(_num_threads)


def num_threads() -> int:
    """How many threads the kernels of the backend in use may take."""
    return current_backend().num_threads


def _default_threads() -> int:
    text = os.environ.get("TINYTENSOR_NUM_THREADS", "")
    if not text:
        return (
            len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count() or 1
        )
    if not text.isdecimal() or int(text) < 1:
        raise SettingError(f"TINYTENSOR_NUM_THREADS={text}: a number from 1 up is needed")
    return int(text)


# The door ---------------------------------------------------------------------------------------


def door(stub: Callable[_Arguments, None]) -> Callable[_Arguments, None]:
    """Turn a kernel's stub into a function that calls the kernel of the backend in use."""
    name = stub.__name__
    KERNELS.append(name)

    # No keywords: a call by position costs less, and is what a recorded program holds.
    @functools.wraps(stub)
    def kernel(*arguments: Any) -> None:
        (_here.get() or _everywhere or _default_backend()).kernels[name](*arguments)

    return kernel  # type: ignore[return-value]


# Broadcasting: x and y have any shapes that broadcast to out's


@door
def add(x: Array, y: Array, out: Array) -> None:
    """out = x + y"""


@door
def sub(x: Array, y: Array, out: Array) -> None:
    """out = x - y"""


@door
def mul(x: Array, y: Array, out: Array) -> None:
    """out = x * y"""


@door
def div(x: Array, y: Array, out: Array) -> None:
    """out = x / y"""


# Element by element: all arrays have the same shape, of any number of axes


@door
def neg(x: Array, out: Array) -> None:
    """out = -x"""


@door
def exp(x: Array, out: Array) -> None:
    """out = e^x"""


@door
def log(x: Array, out: Array) -> None:
    """out = log x, the natural logarithm"""


@door
def relu(x: Array, out: Array) -> None:
    """out = x where x >= 0, else 0; a NaN stays"""


@door
def relu_backward(grad: Array, x: Array, out: Array) -> None:
    """out = grad where x > 0, else 0"""


@door
def sigmoid(x: Array, out: Array) -> None:
    """out = 1 / (1 + e^-x)"""


# Reductions and layout


@door
def sum(x: Array, out: Array) -> None:
    """out = x summed over every axis that is 1 in out's shape or missing at its front.

    x any shape; out any that broadcasts to x's.
    """


@door
def broadcast_to(x: Array, out: Array) -> None:
    """out = x, repeated along every axis that is 1 in x's shape or missing at its front.

    x any shape that broadcasts to out's. The mirror image of sum.
    """


@door
def argmax(x: Array, out: Array) -> None:
    """out_r = the column of row r's largest; the first of equals, a NaN before all.

    x (R, C) with C >= 1, out (R) int64
    """


@door
def transpose(x: Array, out: Array, axes: tuple[int, ...]) -> None:
    """out = x with its axes in another order: out's axis i is x's axis axes[i].

    x any shape; axes a permutation of its axes, none negative
    """


# Linear algebra


@door
def matmul(x: Array, y: Array, out: Array, transpose_x: bool, transpose_y: bool) -> None:
    """out_mn = sum over k of x_mk * y_kn

    x (M, K), or (K, M) if transpose_x; y (K, N), or (N, K) if transpose_y; out (M, N)
    """


# Classification: every row is one example


@door
def softmax(x: Array, out: Array) -> None:
    """out_rc = e^(x_rc) / sum over c of e^(x_rc).  x, out (R, C)"""


@door
def softmax_backward(grad: Array, probs: Array, out: Array) -> None:
    """out_rc = probs_rc * (grad_rc - sum over c of grad_rc * probs_rc).  All (R, C)"""


@door
def log_softmax(x: Array, out: Array) -> None:
    """out_rc = x_rc - log(sum over c of e^(x_rc)).  x, out (R, C)"""


@door
def log_softmax_backward(grad: Array, log_probs: Array, out: Array) -> None:
    """out_rc = grad_rc - e^(log_probs_rc) * sum over c of grad_rc.  All (R, C)"""


@door
def cross_entropy(logits: Array, labels: Array, out: Array) -> None:
    """out = mean over r of -log_softmax(logits)[r, labels_r]; NaN if R is 0

    logits (R, C), labels (R) int64 from 0 to C-1, out ()
    """


@door
def cross_entropy_backward(grad: Array, logits: Array, labels: Array, out: Array) -> None:
    """out = (softmax(logits) - one_hot(labels)) * grad / R

    grad (), logits and out (R, C), labels (R) int64 from 0 to C-1
    """


@door
def one_hot(labels: Array, out: Array) -> None:
    """out_rc = 1 where c is labels_r, else 0.  labels (R) int64, out (R, C)"""


# Data


@door
def load_images(images: Array, index: Array, out: Array) -> None:
    """out_r = images[index_r] / 255, one batch from a data set.

    images (N, ...) uint8, index (R) int64 from 0 to N-1, out (R, ...) float32, axes as images
    """


# Optimisers: param is updated in place


@door
def sgd(grad: Array, lr: Array, param: Array) -> None:
    """param = param - lr * grad.  grad and param any one shape, lr (1) float64"""
