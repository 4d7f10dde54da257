"""The ladder: from the naive loop to the fast kernel in rungs, each with one new idea.

Each rung of matmul, sparse_matmul, softmax and conv2d has the arguments and the result of its
kernel. Inside `with tt.use_kernel("matmul", "c.blocked"):` networks use this rung. `tinytensor
ladder matmul` measures all rungs, and `tinytensor explain matmul` prints their sources.
"""

import dis
import importlib
import inspect
import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinytensor import door, kernels, machine
from tinytensor.arrays import Array
from tinytensor.backends.c_sources import c_sources
from tinytensor.errors import SettingError, UnknownName


@dataclass(frozen=True)
class Rung:
    """A version of a kernel: its name, such as "c.blocked", and its idea.

    A backend's name alone, such as "numba", stands for the kernel of that backend.
    """

    kernel: str
    name: str
    why: str
    # For rungs in C: (file of csrc/, a function or the first words of a comment)
    texts: tuple[tuple[str, str], ...] = ()

    @property
    def backend(self) -> str:
        """The backend that compiles and calls this rung."""
        return self.name.partition(".")[0]

    def function(self) -> Callable[..., None]:
        """Return the rung as a function with the arguments of its kernel.

        Raises:
            BackendUnavailable: the backend can't run on this machine; the message has a remedy.
        """
        backend, _, step = self.name.partition(".")
        own = door.load_backend(backend).kernels[self.kernel]
        if not step:
            return own
        module = importlib.import_module(f"tinytensor.ladder.{backend}_ladder")
        function: Callable[..., None] = getattr(module, f"{self.kernel}_{step}")
        return function

    def source(self) -> tuple[str, str]:
        """Return (language, source): the functions of this rung, each with the comment above it."""
        if self.texts:
            return "c", "\n\n".join(_c_text(file, name) for file, name in self.texts)
        return "python", _python_functions(self.function())


# For each backend, from the naive version upwards
LADDER = [
    Rung("matmul", "numpy", "NumPy calls OpenBLAS, which is packed, vectorised and threaded."),
    Rung(
        "matmul",
        "numba.naive",
        "Three loops, as in the formula. Each element of out is a sum along a column of y.",
    ),
    Rung(
        "matmul",
        "numba.loop_order",
        "The innermost loop goes along rows, so the compiler vectorises it.",
    ),
    Rung(
        "matmul",
        "numba.blocked",
        "Blocks of 4 rows of x and 4 rows of y: out is loaded and stored a quarter as often.",
    ),
    Rung(
        "matmul",
        "numba",
        "The kernel of the Numba backend: a tile of sums in vector registers, and packed rows.",
    ),
    Rung(
        "matmul",
        "c.naive",
        "Three loops, as in the formula. The elements of a column are far apart in memory, and "
        "each addition waits for the previous one.",
        (("ladder/ladder_matmul.c", "matmul_naive"),),
    ),
    Rung(
        "matmul",
        "c.loop_order",
        "The innermost loop goes along rows, which are contiguous, and no addition waits.",
        (("ladder/ladder_matmul.c", "matmul_loop_order"),),
    ),
    Rung(
        "matmul",
        "c.blocked",
        "4 x 4 sums are kept in registers: each loaded element is used 4 times.",
        (("ladder/ladder_matmul.c", "matmul_blocked"),),
    ),
    Rung(
        "matmul",
        "c.vectorised",
        "Each sum becomes a vector: one instruction computes 4 to 16 sums.",
        (("ladder/ladder_matmul.c", "matmul_vectorised"), ("tile.h", "tile")),
    ),
    Rung(
        "matmul",
        "c.packed",
        "The rows of y that a block reads are copied next to each other: they stay in the L1 "
        "cache.",
        (("ladder/ladder_matmul.c", "matmul_packed"), ("panels.h", "pack")),
    ),
    Rung(
        "matmul",
        "c.threaded",
        "The kernel of the C backend: the rows are divided among threads.",
        (("matmul.c", "matmul_rows"), ("matmul.c", "one_product"), ("matmul.c", "tt_matmul")),
    ),
    Rung("sparse_matmul", "numpy", "All products, also those with 0."),
    Rung(
        "sparse_matmul",
        "numba",
        "The kernel of the Numba backend: one test for six rows, and a list, as in c.listed.",
    ),
    Rung(
        "sparse_matmul",
        "c.tested",
        "A test of each element of x: if it is 0, its row of y is skipped.",
        (("ladder/ladder_sparse_matmul.c", "sparse_matmul_tested"),),
    ),
    Rung(
        "sparse_matmul",
        "c.listed",
        "Sums in registers, and one test for a strip of rows, such as four: a tile walks along a "
        "list of the places where one of these rows of x is not 0.",
        (
            ("ladder/ladder_sparse_matmul.c", "sparse_matmul_listed"),
            ("sparse_matmul.c", "find_in_rows"),
            ("sparse_matmul.c", "lists_of_rows"),
            ("sparse_matmul.c", "sparse_tiles"),
            ("sparse_matmul.c", "sparse_matmul_rows"),
        ),
    ),
    Rung(
        "sparse_matmul",
        "c.threaded",
        "The kernel of the C backend: the rows are divided among threads.",
        (("sparse_matmul.c", "tt_sparse_matmul"),),
    ),
    Rung("softmax", "numpy", "Each step is a pass over memory; exp is vectorised."),
    Rung(
        "softmax",
        "numba.naive",
        "Each step for the whole matrix, with an exp of one element at a time.",
    ),
    Rung(
        "softmax",
        "numba",
        "The kernel of the Numba backend: an exp in plain arithmetic, which is vectorised.",
    ),
    Rung(
        "softmax",
        "c.naive",
        "Each step for the whole matrix, with the C library's exp: a call for each element.",
        (("ladder/ladder_softmax.c", "softmax_naive"),),
    ),
    Rung(
        "softmax",
        "c.vectorised",
        "An exp in plain arithmetic: the compiler vectorises it for 4 to 16 elements.",
        (("ladder/ladder_softmax.c", "softmax_vectorised"), ("exp.h", "exp_parts")),
    ),
    Rung(
        "softmax",
        "c.abreast",
        "Several independent comparisons and additions at the same time: fewer have to wait.",
        (("ladder/ladder_softmax.c", "softmax_abreast"), ("softmax.c", "largest")),
    ),
    Rung(
        "softmax",
        "c.blocked",
        "All steps for a block of rows before the next block, which stays in the L1 cache. This is "
        "faster if the matrix is larger than the caches.",
        (("ladder/ladder_softmax.c", "softmax_blocked"),),
    ),
    Rung(
        "softmax",
        "c.threaded",
        "The kernel of the C backend: the rows are divided among threads.",
        (
            ("softmax.c", "exp_row"),
            ("softmax.c", "exp_rows"),
            ("softmax.c", "softmax_rows"),
            ("softmax.c", "tt_softmax"),
        ),
    ),
    Rung("conv2d", "numpy", "A matrix product for each of the KH x KW weights."),
    Rung("conv2d", "numba.naive", "Seven loops, as in the formula."),
    Rung(
        "conv2d",
        "numba",
        "The kernel of the Numba backend: matmul's tile reads the windows without a copy.",
    ),
    Rung(
        "conv2d",
        "c.naive",
        "Seven loops, as in the formula; the weights of a window are far apart in memory.",
        (("ladder/ladder_conv2d.c", "conv2d_naive"),),
    ),
    Rung(
        "conv2d",
        "c.loop_order",
        "The innermost loop goes along the output channels, which are contiguous.",
        (("ladder/ladder_conv2d.c", "conv2d_loop_order"),),
    ),
    Rung(
        "conv2d",
        "c.im2col",
        "Each window is copied to a row of a matrix, and the packed matmul multiplies it.",
        (("ladder/ladder_conv2d.c", "conv2d_im2col"),),
    ),
    Rung(
        "conv2d",
        "c.direct",
        "The same tile of sums reads the windows from the image, so no pixel is copied 25 times.",
        (("ladder/ladder_conv2d.c", "conv2d_direct"), ("conv2d.c", "conv2d_images")),
    ),
    Rung(
        "conv2d",
        "c.winograd",
        "Tiles of 2 x 2 results with about half of the multiplications, but more additions. This "
        "pays with many channels: try --channels 32.",
        (
            ("winograd.c", "winograd.c: "),
            ("ladder/ladder_conv2d.c", "conv2d_winograd"),
            ("winograd.c", "input_points"),
            ("winograd.c", "results_of_points"),
            ("winograd.c", "weight_points"),
            ("winograd.c", "image_points"),
            ("winograd.c", "small_product"),
            ("winograd.c", "winograd_forward"),
        ),
    ),
    Rung(
        "conv2d",
        "c.lanes",
        "c.direct with other lanes, without c.winograd: few channels do not fill the vector lanes, "
        "so the lanes are images.",
        (
            ("conv2d.c", "Lanes of images"),
            ("ladder/ladder_conv2d.c", "conv2d_by_lanes"),
            ("conv2d.c", "conv2d_lanes"),
            ("conv2d.c", "sums_of_line"),
        ),
    ),
    Rung(
        "conv2d",
        "c.threaded",
        "The kernel of the C backend: it chooses c.winograd, c.lanes or c.direct by the sizes, and "
        "the images are divided among threads.",
        (
            ("winograd.c", "by_winograd"),
            ("conv2d.c", "True if lanes of images"),
            ("conv2d.c", "by_lanes"),
            ("conv2d.c", "tt_conv2d"),
        ),
    ),
]


def rungs(kernel: str) -> list[Rung]:
    """Return the rungs of a kernel, for each backend from the naive version upwards.

    Raises:
        UnknownName: the kernel has no ladder.
    """
    found = [rung for rung in LADDER if rung.kernel == kernel]
    if not found:
        known = ", ".join(dict.fromkeys(rung.kernel for rung in LADDER))
        raise UnknownName(f"ladder: {kernel!r} has no ladder; choose from {known}")
    return found


def find_rung(kernel: str, name: str) -> Rung:
    """Return the rung of a kernel with this name.

    Raises:
        UnknownName: there is no such rung; the message lists the names.
    """
    for rung in rungs(kernel):
        if rung.name == name:
            return rung
    known = ", ".join(rung.name for rung in rungs(kernel))
    raise UnknownName(f"ladder of {kernel}: there is no rung {name!r}; choose from {known}")


# Measuring ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Work:
    """A call of a kernel: its arguments and its amount of work."""

    arguments: tuple[Any, ...]
    amount: float  # additions and multiplications, or bytes that must be read and written
    unit: str  # of the speed: "GFLOP/s" or "GB/s"
    title: str

    def peak(self, threads: int, seconds: float) -> float:
        """Return this machine's limit in operations (or bytes) per second, measured for `seconds`.

        Raises:
            BackendUnavailable: the C backend is not available.
        """
        if self.unit == "GB/s":
            return machine.memory_bandwidth(int(self.amount), threads, "copy", seconds)
        return machine.peak_flops(threads, seconds)


@dataclass(frozen=True)
class RungResult:
    """The result of measuring a rung: the time of its fastest call; None if it was skipped."""

    rung: Rung
    seconds: float | None


SIZES = {"matmul": 512, "sparse_matmul": 100, "softmax": 4000, "conv2d": 100}
SMALL = {"matmul": 64, "sparse_matmul": 6, "softmax": 100, "conv2d": 1}
TURNS = 20  # turns of each rung
TOO_LONG = 20  # a rung is skipped if one call takes this multiple of its measuring time


def work(kernel: str, size: int, channels: int | None = None) -> Work:
    """Return the call with which the rungs of a kernel are measured.

    matmul: two matrices (size, size). sparse_matmul: images (size, 784), each with a square of
    12 x 12 pixels that are not 0, in the first layer of lesson 2.1; skipped products count as well.
    softmax: a matrix (size, size), read once and written once. conv2d: images (size, 28, 28, 6) in
    the second layer of lesson 3.1, which has 12 output channels; `channels` replaces both numbers.

    Raises:
        UnknownName: the kernel has no ladder.
        SettingError: `channels` is given for another kernel than conv2d.
    """
    rungs(kernel)
    if channels is not None and kernel != "conv2d":
        raise SettingError(f"ladder: got {channels} channels for {kernel}; only conv2d has them")
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> Array:
        return rng.standard_normal(shape, np.float32)

    n = size
    if kernel == "matmul":
        arguments = normal(n, n), normal(n, n), np.empty((n, n), np.float32), False, False
        return Work(arguments, 2 * n**3, "GFLOP/s", f"({n}, {n}) x ({n}, {n})")
    if kernel == "sparse_matmul":
        images = np.zeros((n, 28, 28), np.float32)
        for image, (top, left) in zip(images, rng.integers(5, 12, (n, 2)), strict=True):
            image[top : top + 12, left : left + 12] = rng.uniform(size=(12, 12))
        title = f"({n}, 784) x (784, 200), 82 % of the first matrix are 0"
        layer = images.reshape(n, 784), normal(784, 200), np.empty((n, 200), np.float32)
        return Work((*layer, False, False), 2 * n * 784 * 200, "GFLOP/s", title)
    if kernel == "softmax":
        x = normal(n, n)
        return Work((x, np.empty_like(x)), 2 * x.nbytes, "GB/s", f"({n}, {n})")
    inputs, outputs = channels or 6, channels or 12
    x, weight = normal(n, 28, 28, inputs), normal(5, 5, inputs, outputs)
    out = np.empty((n, 14, 14, outputs), np.float32)
    title = f"({n}, 28, 28, {inputs}) x (5, 5, {inputs}, {outputs}), stride 2"
    return Work((x, weight, out, (2, 2), (2, 2)), 2 * out.size * 5 * 5 * inputs, "GFLOP/s", title)


def pieces(kernel: str) -> int:
    """Return how often measure() calls `show`, if it skips no rung."""
    return (1 + TURNS) * len([rung for rung in rungs(kernel) if _works(rung)])


def measure(
    kernel: str,
    size: int,
    seconds: float = 1.0,
    show: Callable[[str], object] = lambda rung: None,
    after_turn: Callable[[], object] = lambda: None,
    channels: int | None = None,
) -> tuple[list[RungResult], float | None]:
    """Measure each available rung for about `seconds` and keep the time of its fastest call.

    The rungs take turns, so other programs disturb all of them alike. A rung is skipped if one call
    would take more than TOO_LONG * seconds, estimated from a smaller size.

    Args:
        kernel, size, channels: as in work().
        seconds: the time of all turns of a rung.
        show: called with the name of the rung before its first call and before each turn.
        after_turn: called after each turn of a rung, such as a check of how quiet the machine is.

    Returns:
        The results of the rungs, and the limit of this machine for the number of threads that the C
        backend uses; None without the C backend.
    """
    small = work(kernel, min(size, SMALL[kernel]), channels)
    large = work(kernel, size, channels)
    usable = {rung: rung.function() for rung in rungs(kernel) if _works(rung)}
    best: dict[Rung, float] = {}
    spent: dict[Rung, float] = {}
    for rung, function in usable.items():
        show(rung.name)
        function(*small.arguments)  # Numba compiles at the first call
        if _timed(function, small) * large.amount / small.amount <= TOO_LONG * seconds:
            best[rung], spent[rung] = math.inf, 0.0
    c = door.available_backends().get("c")
    peaks = []
    for _ in range(TURNS):
        for rung in best:
            show(rung.name)
            # Several calls in a row, because threads sleep and caches are cold at the first call.
            end = spent[rung] + seconds / TURNS
            while spent[rung] < min(end, seconds):
                taken = _timed(usable[rung], large)
                best[rung] = min(best[rung], taken)
                spent[rung] += taken
            after_turn()
        if c:
            peaks.append(large.peak(c.num_threads, seconds / TURNS))
    return [RungResult(rung, best.get(rung)) for rung in usable], max(peaks, default=None)


def _works(rung: Rung) -> bool:
    return rung.backend in door.available_backends()


def _timed(function: Callable[..., None], call: Work) -> float:
    start = time.perf_counter()
    function(*call.arguments)
    return time.perf_counter() - start


# The sources of the rungs ------------------------------------------------------------------------

SHOWN_MODULES = ("tinytensor.backends.", "tinytensor.ladder.")  # their functions are printed too


def _c_text(file: str, name: str) -> str:
    """Return a comment of csrc/, by its first words, or a function with the comment above it."""
    lines = (c_sources("explain") / file).read_text(encoding="utf-8").splitlines()
    comment = [i for i, line in enumerate(lines) if line.startswith(f"/* {name}")]
    if comment:
        (first,) = comment
        last = next(i for i in range(first, len(lines)) if lines[i].endswith("*/"))
    else:
        head = re.compile(rf"\w.*\b{name}\(")
        (first,) = (i for i, line in enumerate(lines) if head.match(line) and lines[i + 1] == "{")
        last = lines.index("}", first)
        if lines[first - 1].endswith("*/"):
            first -= 1
            while not lines[first].startswith("/*"):
                first -= 1
    return f"/* csrc/{file} */\n\n" + "\n".join(lines[first : last + 1]) + "\n"


def _python_functions(function: Callable[..., None]) -> str:
    """Return the source of a kernel and of the tinytensor functions that it calls."""
    undecorated = _undecorated(function)
    file = Path(inspect.getfile(undecorated)).relative_to(Path(kernels.__file__).parent)
    steps = dis.get_instructions(undecorated)
    names = [step.argval for step in steps if step.opname == "LOAD_GLOBAL"]
    called = (undecorated.__globals__.get(name) for name in dict.fromkeys(names))
    parts = [undecorated, *filter(_is_shown, map(_undecorated, called))]
    return "\n\n".join([f"# tinytensor/{file.as_posix()}\n", *map(inspect.getsource, parts)])


def _undecorated(function: Any) -> Any:
    """Return the function without its decorators: py_func of Numba, function of a Kernel."""
    function = inspect.unwrap(function) if callable(function) else function
    return getattr(function, "py_func", getattr(function, "function", function))


def _is_shown(value: Any) -> bool:
    return inspect.isfunction(value) and value.__module__.startswith(SHOWN_MODULES)
