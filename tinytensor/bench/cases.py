"""The kernel calls that are timed: those of the course's training steps, and a few larger ones.

They are read from the lessons' own programs, so they are what a training really calls.
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

TOLERANCE = 1e-4  # of a result, relative to the largest number in it, or to 1


@dataclass(frozen=True)
class Case:
    """A kernel's call: the shapes and types of its arrays, and its numbers."""

    kernel: str
    arrays: tuple[tuple[tuple[int, ...], str], ...]
    numbers: tuple[Any, ...] = ()

    @classmethod
    def of(cls, call: Call) -> Case:
        """The case of a program's call."""
        count = len(_names(call.kernel))
        arrays = tuple((view.shape, str(view.dtype)) for view in call.views[:count])
        return cls(call.kernel, arrays, call.views[count:])

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Case:
        """The case that asdict() made these fields of."""
        arrays = tuple((tuple(shape), dtype) for shape, dtype in fields["arrays"])
        numbers = (tuple(x) if isinstance(x, list) else x for x in fields["numbers"])
        return cls(fields["kernel"], arrays, tuple(numbers))

    def to_json(self) -> dict[str, Any]:
        """Plain lists and numbers."""
        return asdict(self)

    @property
    def name(self) -> str:
        """Its sizes: 100x784x10 of a product M K N, else the shapes of what it reads and writes.

        xT, yT: stored transposed; /2: with stride 2.
        """
        shapes = [shape for shape, _ in self.arrays]
        if self.kernel == "matmul":
            x, _, out = shapes
            transpose_x, transpose_y = self.numbers
            sizes = (*out[:-1], x[-2 if transpose_x else -1], out[-1])
            return "x".join(map(str, sizes)) + " xT" * bool(transpose_x) + " yT" * bool(transpose_y)
        if CONTRACTS[self.kernel].gathers:
            shapes = shapes[-1:]
        texts = ["x".join(map(str, shape)) for shape in shapes if math.prod(shape) > 1]
        strides = [numbers[0] for numbers in self.numbers if isinstance(numbers, tuple)][:1]
        texts += [f"/{stride}" for stride in strides if stride > 1]
        return " ".join(dict.fromkeys(texts)) or "1"

    @property
    def call(self) -> Call:
        """The same as a call of a program, on memory that nobody fills."""
        views = [np.empty(shape, dtype) for shape, dtype in self.arrays]
        return Call(self.kernel, (*views, *self.numbers), "", "")

    def arguments(self, seed: int = 0) -> tuple[Any, ...]:
        """Arrays as such a call gets them, drawn at random, and the numbers."""
        rng = np.random.default_rng(seed)
        names = _names(self.kernel)
        pairs = zip(names, self.arrays, strict=True)
        arrays = [_drawn(rng, name, *array, self) for name, array in pairs]
        return (*arrays, *self.numbers)

    def outputs(self, arguments: Sequence[Any]) -> list[Array]:
        """Those of the arguments that it writes."""
        return [arguments[i] for i in CONTRACTS[self.kernel].writes]


@functools.cache
def _names(kernel: str) -> tuple[str, ...]:
    """What the kernel calls its arrays."""
    parameters = inspect.signature(getattr(kernels, kernel)).parameters.values()
    return tuple(p.name for p in parameters if p.annotation is Array)


def _drawn(
    rng: np.random.Generator, name: str, shape: tuple[int, ...], dtype: str, case: Case
) -> Array:
    """Numbers such as an argument of that name has."""
    (first, *_), *_ = case.arrays
    if name == "state":
        return np.array([1, 0], np.uint64)
    if name == "labels":
        classes = max(array[-1] for array, _ in case.arrays if len(array) > 1)
        return rng.integers(0, classes, shape)
    if name == "index":
        rows = case.arrays[-1][0][0] if case.kernel in ("scatter_add", "put") else first[0]
        return rng.integers(0, rows, shape)
    if name in ("lr", "decay", "step"):
        # So small a rate that a parameter stays what it is, however often it is updated.
        return np.full(shape, {"lr": 1e-9, "decay": 0.99, "step": 3.0}[name], dtype)
    if dtype == "uint8":
        return rng.integers(0, 256, shape, np.uint8)
    if dtype == "bool":
        return rng.random(shape) < 0.5
    numbers = rng.standard_normal(shape)
    if name in ("var", "v", "square") or case.kernel in ("pow", "log", "log1p", "sqrt"):
        numbers = np.abs(numbers)
    return numbers.astype(dtype)


# Which ------------------------------------------------------------------------------------------


def course_cases(lessons: Sequence[str]) -> list[Case]:
    """Every different call of these lessons' training steps."""
    return list(dict.fromkeys(Case.of(call) for number in lessons for call in step_calls(number)))


@functools.cache
def step_calls(lesson: str) -> list[Call]:
    """The kernel calls of a lesson's captured step, in their order, on the best backend here."""
    task = Task.of(lesson)
    step = tt.capture(own_steps.step_of(task))
    with tt.backend("auto"):
        step(task.chosen[0], task.labels[task.chosen[0]])
    assert step.program is not None
    return step.program.calls


def larger_cases() -> list[Case]:
    """Sizes beyond the course's, at which arithmetic or memory is all that counts."""

    def case(kernel: str, *shapes: tuple[int, ...], numbers: tuple[Any, ...] = ()) -> Case:
        return Case(kernel, tuple((shape, "float32") for shape in shapes), numbers)

    matrices = (512, 512), (1024, 1024), (2048, 2048)
    return [
        *(case("matmul", n, n, n, numbers=(False, False)) for n in matrices),
        case("add", (10_000, 200), (200,), (10_000, 200)),
        case("sum", (10_000, 200), (200,)),
        case("softmax", (10_000, 10), (10_000, 10)),
        case("softmax", (1024, 1024), (1024, 1024)),
    ]


def selection(cases: Sequence[Case]) -> list[Case]:
    """Of each kernel the case that is most work, and of matmul the least, too."""
    most: dict[str, Case] = {}
    for case in cases:
        if case.kernel not in most or work(case) > work(most[case.kernel]):
            most[case.kernel] = case
    products = [case for case in cases if case.kernel == "matmul"]
    chosen = {*most.values(), *sorted(products, key=work)[:1]}
    return [case for case in cases if case in chosen]


def work(case: Case) -> int:
    """Operations and bytes together."""
    return listing.flops(case.call) + listing.bytes_moved(case.call)


# Calls that can be timed ------------------------------------------------------------------------


@dataclass(frozen=True)
class Timed:
    """A call that is ready: run makes it, outputs are its results as arrays afterwards."""

    run: Callable[[], object]
    outputs: Callable[[], Sequence[Array]]
    on_numpy: bool = False


def own_call(backend: str, case: Case) -> Timed:
    """The case on a backend, or on NumPy where the backend leaves it to that."""
    loaded = door.load_backend(backend)
    arguments = case.arguments()
    function, on_numpy = loaded.kernels[case.kernel], case.kernel in loaded.on_numpy
    run = functools.partial(function, *arguments)
    return Timed(run, lambda: case.outputs(arguments), on_numpy)


def differs_from_numpy(case: Case, timed: Timed) -> str:
    """By how much the first run's results are off, in words; nothing if they agree."""
    timed.run()
    for wanted, found in zip(_numpys(case), timed.outputs(), strict=True):
        if found.shape != wanted.shape:
            return f"it has the shape {found.shape}, where {wanted.shape} is right"
        if wanted.size == 0:
            continue
        scale = max(float(np.abs(wanted.astype(float)).max()), 1.0)
        error = float(np.abs(found.astype(float) - wanted.astype(float)).max()) / scale
        if not error <= TOLERANCE:
            return f"it is off by {error:.2g}, relative to the largest number"
    return ""


@functools.lru_cache(maxsize=1)
def _numpys(case: Case) -> list[Array]:
    """NumPy's results."""
    arguments = case.arguments()
    door.load_backend("numpy").kernels[case.kernel](*arguments)
    return case.outputs(arguments)
