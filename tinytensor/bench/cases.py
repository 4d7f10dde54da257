"""The kernel calls that are timed: those of the lessons' training steps, and larger ones.

The calls of the lessons are read from their captured programs.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

import tinytensor as tt
from tinytensor import door, kernels
from tinytensor.arrays import Array
from tinytensor.bench import own_steps
from tinytensor.bench.task import Task
from tinytensor.capture import listing
from tinytensor.capture.calls import Call
from tinytensor.door import CONTRACTS
from tinytensor.recorder import Place

TOLERANCE = 1e-4  # of a result, relative to its largest absolute value or 1


@dataclass(frozen=True)
class Case:
    """A kernel call: the shapes and dtypes of its arrays, and its scalar arguments."""

    kernel: str
    arrays: tuple[tuple[tuple[int, ...], str], ...]
    scalars: tuple[Any, ...] = ()

    @classmethod
    def of(cls, call: Call) -> Case:
        """The case of a call in a program."""
        count = len(_names(call.kernel))
        arrays = tuple((view.shape, str(view.dtype)) for view in call.views[:count])
        return cls(call.kernel, arrays, call.views[count:])

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Case:
        """The case of the fields that to_json() returned."""
        arrays = tuple((tuple(shape), dtype) for shape, dtype in fields["arrays"])
        scalars = (tuple(x) if isinstance(x, list) else x for x in fields["scalars"])
        return cls(fields["kernel"], arrays, tuple(scalars))

    def to_json(self) -> dict[str, Any]:
        """The fields as plain lists and numbers."""
        return asdict(self)

    @property
    def name(self) -> str:
        """The sizes as text: MxKxN of a matrix product, otherwise the shapes of the arrays.

        xT and yT mark transposed matrices, and /2 marks stride 2. Example: 100x784x10 xT.
        """
        shapes = [shape for shape, _ in self.arrays]
        if self.kernel == "matmul":
            x, _, out = shapes
            transpose_x, transpose_y = self.scalars
            sizes = (*out[:-1], x[-2 if transpose_x else -1], out[-1])
            return "x".join(map(str, sizes)) + " xT" * bool(transpose_x) + " yT" * bool(transpose_y)
        if CONTRACTS[self.kernel].gathers:
            shapes = shapes[-1:]
        texts = ["x".join(map(str, shape)) for shape in shapes if math.prod(shape) > 1]
        strides = [pair[0] for pair in self.scalars if isinstance(pair, tuple)][:1]
        texts += [f"/{stride}" for stride in strides if stride > 1]
        return " ".join(dict.fromkeys(texts)) or "1"

    @property
    def call(self) -> Call:
        """The case as a call of a program, with uninitialised arrays."""
        views = [np.empty(shape, dtype) for shape, dtype in self.arrays]
        return Call(self.kernel, (*views, *self.scalars), "", Place())

    def arguments(self, seed: int = 0) -> tuple[Any, ...]:
        """The arguments of the call: random arrays, and the scalars."""
        rng = np.random.default_rng(seed)
        names = _names(self.kernel)
        pairs = zip(names, self.arrays, strict=True)
        arrays = [_random_array(rng, name, *array, self) for name, array in pairs]
        return (*arrays, *self.scalars)

    def outputs(self, arguments: Sequence[Any]) -> list[Array]:
        """The arguments that the kernel writes."""
        return [arguments[i] for i in CONTRACTS[self.kernel].writes]


@functools.cache
def _names(kernel: str) -> tuple[str, ...]:
    """The names of the kernel's array parameters."""
    parameters = inspect.signature(getattr(kernels, kernel)).parameters.values()
    return tuple(p.name for p in parameters if p.annotation is Array)


def _random_array(
    rng: np.random.Generator, name: str, shape: tuple[int, ...], dtype: str, case: Case
) -> Array:
    """A random array with values that are valid for the argument `name`."""
    (first, *_), *_ = case.arrays
    if name == "state":
        return np.array([1, 0], np.uint64)
    if name == "labels":
        classes = max(array[-1] for array, _ in case.arrays if len(array) > 1)
        return rng.integers(0, classes, shape)
    if name == "weight" and not shape:  # of cross_entropy: its sum is then a mean
        return np.array(1 / next(array[0] for array, _ in case.arrays if len(array) > 1), dtype)
    if name == "index":
        rows = case.arrays[-1][0][0] if case.kernel in ("scatter_add", "put") else first[0]
        return rng.integers(0, rows, shape)
    if name in ("lr", "decay", "step"):
        # A tiny learning rate, so that parameters hardly change in many timed updates.
        return np.full(shape, {"lr": 1e-9, "decay": 0.99, "step": 3.0}[name], dtype)
    if dtype == "uint8":
        return rng.integers(0, 256, shape, np.uint8)
    if dtype == "bool":
        return rng.random(shape) < 0.5
    values = rng.standard_normal(shape)
    if name in ("var", "v", "square") or case.kernel in ("pow", "log", "log1p", "sqrt"):
        values = np.abs(values)
    return values.astype(dtype)


# Lists of cases------------------------------------------------------------------------------------


def course_cases(lessons: Sequence[str]) -> list[Case]:
    """All different kernel calls of the training steps of `lessons`."""
    return list(dict.fromkeys(Case.of(call) for number in lessons for call in step_calls(number)))


@functools.cache
def step_calls(lesson: str) -> list[Call]:
    """The kernel calls of a lesson's captured step, in order, on the best backend here."""
    task = Task.of(lesson)
    step = tt.capture(own_steps.step_of(task))
    with tt.backend("auto"):
        step(task.chosen[0], task.labels[task.chosen[0]])
    assert step.program is not None
    return step.program.calls


def larger_cases() -> list[Case]:
    """Calls with larger arrays than the course's, limited by arithmetic or memory bandwidth."""

    def case(kernel: str, *shapes: tuple[int, ...], scalars: tuple[Any, ...] = ()) -> Case:
        return Case(kernel, tuple((shape, "float32") for shape in shapes), scalars)

    matrices = (512, 512), (1024, 1024), (2048, 2048)
    return [
        *(case("matmul", n, n, n, scalars=(False, False)) for n in matrices),
        case("add", (10_000, 200), (200,), (10_000, 200)),
        case("sum", (10_000, 200), (200,)),
        case("softmax", (10_000, 10), (10_000, 10)),
        case("softmax", (1024, 1024), (1024, 1024)),
    ]


def selection(cases: Sequence[Case]) -> list[Case]:
    """For each kernel, the case with the most work; for matmul, also the one with the least."""
    largest: dict[str, Case] = {}
    for case in cases:
        if case.kernel not in largest or work(case) > work(largest[case.kernel]):
            largest[case.kernel] = case
    products = [case for case in cases if case.kernel == "matmul"]
    chosen = {*largest.values(), *sorted(products, key=work)[:1]}
    return [case for case in cases if case in chosen]


def work(case: Case) -> int:
    """The number of floating-point operations plus the number of bytes moved."""
    return listing.flops(case.call) + listing.bytes_moved(case.call)


# Timed calls ------------------------------------------------------------------------


@dataclass(frozen=True)
class TimedCall:
    """A call that is ready to be timed: run() makes it, and outputs() returns its results."""

    run: Callable[[], object]
    outputs: Callable[[], Sequence[Array]]
    on_numpy: bool = False


def own_call(backend: str, case: Case) -> TimedCall:
    """The case on a backend, or on NumPy if the backend falls back to NumPy for this kernel."""
    loaded = door.load_backend(backend)
    arguments = case.arguments()
    function, on_numpy = loaded.kernels[case.kernel], case.kernel in loaded.on_numpy
    run = functools.partial(function, *arguments)
    return TimedCall(run, lambda: case.outputs(arguments), on_numpy)


def differs_from_numpy(case: Case, timed: TimedCall) -> str:
    """The difference between the results of one run and NumPy's, as text; "" if they agree."""
    timed.run()
    for wanted, found in zip(_numpy_outputs(case), timed.outputs(), strict=True):
        if found.shape != wanted.shape:
            return f"the result has shape {found.shape} instead of {wanted.shape}"
        if wanted.size == 0:
            continue
        scale = max(float(np.abs(wanted.astype(float)).max()), 1.0)
        error = float(np.abs(found.astype(float) - wanted.astype(float)).max()) / scale
        if not error <= TOLERANCE:
            return f"the result has a relative error of {error:.2g}"
    return ""


@functools.lru_cache(maxsize=1)
def _numpy_outputs(case: Case) -> list[Array]:
    """The results of the NumPy backend."""
    arguments = case.arguments()
    door.load_backend("numpy").kernels[case.kernel](*arguments)
    return case.outputs(arguments)
