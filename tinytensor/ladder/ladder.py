"""The ladder: from the naive loop to the fast kernel, rung by rung, each with its one idea.

Every rung of matmul, softmax and conv2d has its kernel's arguments and computes the same. With
`with tt.use_kernel("matmul", "c.blocked"):` a network computes by it, `tinytensor ladder matmul`
runs all of them side by side, and `tinytensor explain matmul` shows their text.
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
from tinytensor.errors import DataError, UnknownName


@dataclass(frozen=True)
class Rung:
    """One version of a kernel: its name, such as "c.blocked", and why it is faster than the last.

    The name of a backend alone stands for that backend's own kernel.
    """

    kernel: str
    name: str
    why: str
    texts: tuple[tuple[str, str], ...] = ()  # file of csrc/ and function, for what is written in C

    @property
    def backend(self) -> str:
        """The backend that it is compiled and called by."""
        return self.name.partition(".")[0]

    def function(self) -> Callable[..., None]:
        """The kernel itself, compiled as far as it must be.

        Raises BackendUnavailable, with the command that mends it, where its backend can't work.
        """
        backend, _, step = self.name.partition(".")
        own = door.load_backend(backend).kernels[self.kernel]
        if not step:
            return own
        module = importlib.import_module(f"tinytensor.ladder.{backend}_ladder")
        function: Callable[..., None] = getattr(module, f"{self.kernel}_{step}")
        return function

    def source(self) -> tuple[str, str]:
        """(language, text): the rung's functions, each with the comment above it."""
        if self.texts:
            return "c", "\n\n".join(_c_function(file, name) for file, name in self.texts)
        return "python", _python_functions(self.function())


# From the naive version up, backend by backend
LADDER = [
    Rung("matmul", "numpy", "NumPy hands the matrices to OpenBLAS: packed, vectorised, threaded."),
    Rung(
        "matmul",
        "numba.naive",
        "Three loops as the formula is written: each result waits for a column, number by number.",
    ),
    Rung(
        "matmul",
        "numba.loop_order",
        "The innermost loop goes along rows, so the compiler makes vectors of it.",
    ),
    Rung(
        "matmul",
        "numba.blocked",
        "4 rows of x meet 4 rows of y at a time, so out is loaded and stored a quarter as often.",
    ),
    Rung(
        "matmul",
        "numba",
        "The Numba backend's own kernel: a tile of sums in vector registers, and packed lines.",
    ),
    Rung(
        "matmul",
        "c.naive",
        "Three loops as the formula is written: a column's numbers lie far apart in memory, and "
        "each addition waits for the one before.",
        (("ladder/ladder_matmul.c", "matmul_naive"),),
    ),
    Rung(
        "matmul",
        "c.loop_order",
        "The innermost loop goes along rows, as they lie in memory, and no addition waits.",
        (("ladder/ladder_matmul.c", "matmul_loop_order"),),
    ),
    Rung(
        "matmul",
        "c.blocked",
        "4 x 4 sums stay in registers: a number that was loaded is used 4 times.",
        (("ladder/ladder_matmul.c", "matmul_blocked"),),
    ),
    Rung(
        "matmul",
        "c.vectorised",
        "Each of the sums becomes a vector: an instruction computes 4 to 16 of them.",
        (("ladder/ladder_matmul.c", "matmul_vectorised"), ("tile.h", "tile")),
    ),
    Rung(
        "matmul",
        "c.packed",
        "The lines that a block reads are copied side by side: they stay in the nearest cache.",
        (("ladder/ladder_matmul.c", "matmul_packed"), ("matmul.c", "pack")),
    ),
    Rung(
        "matmul",
        "c.threaded",
        "The C backend's own kernel: the rows are shared among threads.",
        (("matmul.c", "matmul_rows"), ("matmul.c", "one_product"), ("matmul.c", "tt_matmul")),
    ),
    Rung("softmax", "numpy", "A pass over memory for each step; exp is vectorised."),
    Rung(
        "softmax",
        "numba.naive",
        "Each step for the whole matrix, with an exp that takes one number at a time.",
    ),
    Rung(
        "softmax",
        "numba",
        "The Numba backend's own kernel: an exp in plain arithmetic, which becomes vectors.",
    ),
    Rung(
        "softmax",
        "c.naive",
        "Each step for the whole matrix, with the C library's exp: a call for every number.",
        (("ladder/ladder_softmax.c", "softmax_naive"),),
    ),
    Rung(
        "softmax",
        "c.vectorised",
        "An exp in plain arithmetic: the compiler takes it of 4 to 16 numbers at once.",
        (("ladder/ladder_softmax.c", "softmax_vectorised"), ("exp.h", "exp_parts")),
    ),
    Rung(
        "softmax",
        "c.abreast",
        "Comparisons and additions go side by side instead of waiting for one another.",
        (("ladder/ladder_softmax.c", "softmax_abreast"), ("softmax.c", "largest")),
    ),
    Rung(
        "softmax",
        "c.blocked",
        "All steps for a few rows before the next: they stay in the nearest cache, which counts "
        "where the matrix doesn't fit in any.",
        (("ladder/ladder_softmax.c", "softmax_blocked"),),
    ),
    Rung(
        "softmax",
        "c.threaded",
        "The C backend's own kernel: the rows are shared among threads.",
        (
            ("softmax.c", "exp_row"),
            ("softmax.c", "exp_rows"),
            ("softmax.c", "softmax_rows"),
            ("softmax.c", "tt_softmax"),
        ),
    ),
    Rung("conv2d", "numpy", "A matrix product for each of the KH x KW weights."),
    Rung("conv2d", "numba.naive", "Seven loops as the formula is written."),
    Rung(
        "conv2d",
        "numba",
        "The Numba backend's own kernel: matmul's tile reads the windows where they lie.",
    ),
    Rung(
        "conv2d",
        "c.naive",
        "Seven loops as the formula is written; the weights of a window lie far apart in memory.",
        (("ladder/ladder_conv2d.c", "conv2d_naive"),),
    ),
    Rung(
        "conv2d",
        "c.loop_order",
        "The innermost loop goes along the channels, as weights and results lie in memory.",
        (("ladder/ladder_conv2d.c", "conv2d_loop_order"),),
    ),
    Rung(
        "conv2d",
        "c.im2col",
        "Each window is copied into a row of a matrix, and the packed matmul does the rest.",
        (("ladder/ladder_conv2d.c", "conv2d_im2col"),),
    ),
    Rung(
        "conv2d",
        "c.direct",
        "The same tile of sums reads the windows where they lie: nothing is copied 25 times.",
        (("ladder/ladder_conv2d.c", "conv2d_direct"), ("conv2d.c", "conv2d_images")),
    ),
    Rung(
        "conv2d",
        "c.planes",
        "Few channels leave lanes empty, so the lanes are pixels, a plane for each channel.",
        (
            ("ladder/ladder_conv2d.c", "conv2d_by_planes"),
            ("conv2d.c", "conv2d_planes"),
            ("planes.h", "sums_of_planes"),
            ("planes.h", "plane_tile"),
        ),
    ),
    Rung(
        "conv2d",
        "c.threaded",
        "The C backend's own kernel: the images are shared among threads.",
        (("conv2d.c", "tt_conv2d"),),
    ),
]


def rungs(kernel: str) -> list[Rung]:
    """The ladder of a kernel, backend by backend, from the naive version up.

    Raises UnknownName for a kernel that has none.
    """
    found = [rung for rung in LADDER if rung.kernel == kernel]
    if not found:
        known = ", ".join(dict.fromkeys(rung.kernel for rung in LADDER))
        raise UnknownName(f"ladder: there is none of {kernel!r}; choose from {known}")
    return found


def find_rung(kernel: str, name: str) -> Rung:
    """The rung of that name. Raises UnknownName with the names that there are."""
    for rung in rungs(kernel):
        if rung.name == name:
            return rung
    known = ", ".join(rung.name for rung in rungs(kernel))
    raise UnknownName(f"ladder of {kernel}: there is no rung {name!r}; choose from {known}")


# Measuring ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Work:
    """One call of a kernel: its arguments, and how much there is to do."""

    arguments: tuple[Any, ...]
    amount: float  # multiplications and additions, or bytes that must be read and written
    unit: str  # of a speed: "GFLOP/s" or "GB/s"
    title: str

    def peak(self, threads: int, seconds: float) -> float:
        """The amount a second that this machine can do at most, in so many seconds of trying.

        Raises BackendUnavailable without the C backend.
        """
        if self.unit == "GB/s":
            return machine.memory_bandwidth(int(self.amount), threads, "copy", seconds)
        return machine.peak_flops(threads, seconds)


@dataclass(frozen=True)
class RungResult:
    """What was measured of a rung: the seconds of its best call; None if it would take too long."""

    rung: Rung
    seconds: float | None


SIZES = {"matmul": 512, "softmax": 4000, "conv2d": 100}
SMALL = {"matmul": 64, "softmax": 100, "conv2d": 1}
TURNS = 20  # of each rung
TOO_LONG = 20  # times the seconds that a rung may take


def work(kernel: str, size: int) -> Work:
    """The work that a kernel's rungs are measured by.

    matmul: two matrices, size x size. softmax: a matrix, size x size; read once and written once.
    conv2d: `size` images 28 x 28 with 6 channels, in the second layer of lesson 3.1.
    """
    rungs(kernel)
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> Array:
        return rng.standard_normal(shape, np.float32)

    n = size
    if kernel == "matmul":
        arguments = normal(n, n), normal(n, n), np.empty((n, n), np.float32), False, False
        return Work(arguments, 2 * n**3, "GFLOP/s", f"({n}, {n}) x ({n}, {n})")
    if kernel == "softmax":
        x = normal(n, n)
        return Work((x, np.empty_like(x)), 2 * x.nbytes, "GB/s", f"({n}, {n})")
    x, weight = normal(n, 28, 28, 6), normal(5, 5, 6, 12)
    out = np.empty((n, 14, 14, 12), np.float32)
    title = f"({n}, 28, 28, 6) x (5, 5, 6, 12), stride 2"
    return Work((x, weight, out, (2, 2), (2, 2)), 2 * out.size * 5 * 5 * 6, "GFLOP/s", title)


def measure(kernel: str, size: int, seconds: float = 1.0) -> tuple[list[RungResult], float | None]:
    """Time every rung that works here for about `seconds`; the best call counts.

    Returns the rungs' results, and the most that the machine can do, on as many threads as C uses;
    None without the C backend. All take turns, so that what else the machine does meets all alike.
    A rung that, by what a small size takes, would need more than TOO_LONG times `seconds` for one
    call, is left out.
    """
    small, large = work(kernel, min(size, SMALL[kernel])), work(kernel, size)
    usable = {rung: rung.function() for rung in rungs(kernel) if _works(rung)}
    best: dict[Rung, float] = {}
    spent: dict[Rung, float] = {}
    for rung, function in usable.items():
        function(*small.arguments)  # compiled by this, if it is Numba's
        if _timed(function, small) * large.amount / small.amount <= TOO_LONG * seconds:
            best[rung], spent[rung] = math.inf, 0.0
    c = door.available_backends().get("c")
    peaks = []
    for _ in range(TURNS):
        for rung in best:
            # Some calls in a row: the first finds threads asleep, and other numbers in the caches.
            end = spent[rung] + seconds / TURNS
            while spent[rung] < min(end, seconds):
                taken = _timed(usable[rung], large)
                best[rung] = min(best[rung], taken)
                spent[rung] += taken
        if c:
            peaks.append(large.peak(c.num_threads, seconds / TURNS))
    return [RungResult(rung, best.get(rung)) for rung in usable], max(peaks, default=None)


def _works(rung: Rung) -> bool:
    return rung.backend in door.available_backends()


def _timed(function: Callable[..., None], of: Work) -> float:
    start = time.perf_counter()
    function(*of.arguments)
    return time.perf_counter() - start


# The texts of rungs ------------------------------------------------------------------------------

OURS = ("tinytensor.backends.", "tinytensor.ladder.")  # modules whose functions are shown


def _csrc() -> Path:
    """Returns the folder of C sources: inside an installed package, or beside a checkout's."""
    package = Path(kernels.__file__).parent
    for folder in (package / "csrc", package.parent / "csrc"):
        if (folder / "ladder" / "ladder.h").is_file():
            return folder
    raise DataError(
        f"explain: the C sources are not in {package / 'csrc'}; install tinytensor again: "
        "pip install --force-reinstall --no-deps ., in its folder"
    )


def _c_function(file: str, name: str) -> str:
    """The text of a function of csrc/, from the comment above it to its closing brace."""
    lines = (_csrc() / file).read_text(encoding="utf-8").splitlines()
    head = re.compile(rf"\w.*\b{name}\(")
    (first,) = (i for i, line in enumerate(lines) if head.match(line) and lines[i + 1] == "{")
    last = lines.index("}", first)
    if lines[first - 1].endswith("*/"):
        first -= 1
        while not lines[first].startswith("/*"):
            first -= 1
    return f"/* csrc/{file} */\n\n" + "\n".join(lines[first : last + 1]) + "\n"


def _python_functions(function: Callable[..., None]) -> str:
    """Returns the text of a kernel, and of the tinytensor functions that it calls."""
    written = _as_written(function)
    file = Path(inspect.getfile(written)).relative_to(Path(kernels.__file__).parent)
    used = [step.argval for step in dis.get_instructions(written) if step.opname == "LOAD_GLOBAL"]
    called = (written.__globals__.get(name) for name in dict.fromkeys(used))
    parts = [written, *filter(_is_ours, map(_as_written, called))]
    return "\n\n".join([f"# tinytensor/{file.as_posix()}\n", *map(inspect.getsource, parts)])


def _as_written(function: Any) -> Any:
    """Returns what a decorator was given: Numba's in py_func, a Kernel's in function."""
    function = inspect.unwrap(function) if callable(function) else function
    return getattr(function, "py_func", getattr(function, "function", function))


def _is_ours(value: Any) -> bool:
    return inspect.isfunction(value) and value.__module__.startswith(OURS)
