"""The speed of an answer: its rung of the ladder, and its share of this machine's roofline."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinytensor import door, machine
from tinytensor.arrays import Array
from tinytensor.ladder import ladder
from tinytensor.learn import draw
from tinytensor.learn.answer import Answer
from tinytensor.learn.exercises import CHANGED, READ, Exercise, Signature, Sizes

LONG = 0.02  # seconds: a call that takes longer is large enough to measure
TURNS, SECONDS = 12, 0.3  # turns of each competitor, and seconds of all its turns
SAME = 0.8  # an answer stands on a rung if it has this share of its speed
SMALLEST, LARGE, LARGEST = 16, 256, 512  # n of the sizes below; LARGE is the first for threads

# From n to the sizes of a measured call
SIZES: dict[str, Callable[[int], Sizes]] = {
    "neuron": lambda n: {"K": n * n},
    "add": lambda n: {"R": n, "C": n},
    "softmax": lambda n: {"R": n, "C": n},
    "cross_entropy": lambda n: {"R": n, "C": n},
    "matmul": lambda n: {"M": n, "K": n, "N": n},
    "matmul_backward_x": lambda n: {"M": n, "K": n, "N": n},
    "sgd": lambda n: {"N": n * n},
}
for _name in ("conv2d", "conv2d_backward_x"):
    SIZES[_name] = lambda n: {
        "N": max(n // 32, 1), "P": 14, "Q": 14, "A": 5, "B": 5, "I": 6, "O": 12
    }  # fmt: skip

# From the arrays of an exercise's call to the arguments of a rung
RUNG_ARGUMENTS: dict[str, Callable[..., tuple[Any, ...]]] = {
    "matmul": lambda x, y, out: (x, y, out, False, False),
    "softmax": lambda x, out: (x, out),
    "conv2d": lambda x, weight, out: (x, weight, out, (1, 1), (0, 0)),
}


@dataclass(frozen=True)
class MeasuredPace:
    """The speed of an answer.

    Attributes:
        function: the measured function, and the shapes of its arrays, as text.
        seconds: the time of its fastest call.
        gflops: 10^9 additions and multiplications per second.
        share: of the roofline of `threads` threads; None if it can't be measured here.
        threads: the threads of the roofline.
        rung, rung_gflops: the fastest rung that the answer is at least as fast as; "" without one.
            The name ends with " or above" if there was no time to measure the rungs above.
        next_rung, next_gflops, next_why: the rung above it, and its idea.
        needed: for the exercise of a rung, the speed that is needed; 0 for other exercises.
    """

    function: str
    seconds: float
    gflops: float
    share: float | None
    threads: int
    rung: str = ""
    rung_gflops: float = 0.0
    next_rung: str = ""
    next_gflops: float = 0.0
    next_why: str = ""
    needed: float = 0.0


def measure(exercise: Exercise, functions: Answer, language: str, deadline: float) -> MeasuredPace:
    """Measure the first function of a right answer next to the rungs of its ladder.

    Times are CPU seconds of the process, because other programs don't change them much. Only
    an exercise with threads is measured in seconds of the clock.

    Args:
        exercise, functions, language: the answer.
        deadline: a time of time.monotonic(). After it no more rungs are compiled, except those that
            the exercise needs.
    """
    function = exercise.functions[0]
    own = functions[function.name]
    call = _large_call(function, own, LARGE if exercise.threads else SMALLEST)
    arguments = [*call.arrays.values(), *call.scalars]
    threads = _use_threads(exercise.threads)
    backend = "c" if language == "c" else "numba"
    runs: dict[str, Callable[[], object]] = {"": lambda: own(*arguments)}
    rungs = _rungs(exercise, language)
    clock = time.perf_counter if exercise.threads else time.process_time
    # A loop in Python is below the first rung. Only a faster answer needs them all.
    for number in (1, len(rungs)) if language == "python" else (len(rungs),):
        for rung in rungs[:number]:
            step = rung.name.partition(".")[2]  # "" for the kernel of the backend
            is_needed = step and step in (exercise.rung, exercise.rung_below)
            if rung.name not in runs and (is_needed or time.monotonic() < deadline):
                runs[rung.name] = _rung_run(rung, list(call.arrays.values()))
                runs[rung.name]()  # Numba compiles at the first call
        seconds = _fastest(runs, clock)
        speeds = {name: function.operations(call.sizes) / s / 1e9 for name, s in seconds.items()}
        measured = [rung for rung in rungs if rung.name in speeds]
        reached = [rung for rung in measured if speeds[""] >= SAME * speeds[rung.name]]
        above = [rung for rung in measured if speeds[""] < SAME * speeds[rung.name]]
        if above or number >= len(rungs):
            break
    standing = max(reached, key=lambda rung: speeds[rung.name], default=None)
    following = min(above, key=lambda rung: speeds[rung.name], default=None)
    is_open = following is None and len(measured) < len(rungs)
    return MeasuredPace(
        str(call),
        seconds[""],
        speeds[""],
        _share(function, call, seconds[""], threads),
        threads,
        rung=f"{standing.name}{' or above' if is_open else ''}" if standing else "",
        rung_gflops=speeds[standing.name] if standing else 0.0,
        next_rung=following.name if following else "",
        next_gflops=speeds[following.name] if following else 0.0,
        next_why=_idea(following, language, is_first=following in rungs[:1]),
        needed=_needed(exercise, backend, speeds),
    )


def _needed(exercise: Exercise, backend: str, speeds: dict[str, float]) -> float:
    """Return the speed that an exercise of a rung needs: a third of the way up from the rung below.

    On a logarithmic scale, because a rung is a factor.
    """
    if not exercise.rung_below:
        return 0.0
    below = speeds.get(f"{backend}.{exercise.rung_below}", 0.0)
    return math.cbrt(below * below * speeds.get(f"{backend}.{exercise.rung}", 0.0))


def _idea(rung: ladder.Rung | None, language: str, is_first: bool) -> str:
    if language == "python" and is_first:
        return "The same loops, compiled: --language numba."
    return rung.why if rung else ""


def _large_call(function: Signature, own: Callable[..., Any], n: int) -> draw.DrawnCall:
    """Return the smallest call from n that takes at least LONG, or the largest one."""
    smallest = n
    while True:
        call = draw.filled(function, SIZES[function.name](n))
        arguments = [*call.arrays.values(), *call.scalars]
        if n == smallest:
            own(*arguments)  # Numba may compile
        start = time.perf_counter()
        own(*arguments)
        if time.perf_counter() - start >= LONG or n == LARGEST:
            return call
        n *= 2


def _use_threads(all_cores: bool) -> int:
    """Let the rungs use one thread, or all cores; return the number."""
    states = door.available_backends()
    threads = states["c"].num_threads if "c" in states and all_cores else 1
    door.set_num_threads(threads)
    return threads


def _rungs(exercise: Exercise, language: str) -> list[ladder.Rung]:
    """Return the rungs in the language of the answer; for Python those of Numba."""
    if exercise.kernel is None:
        return []
    backend = "c" if language == "c" else "numba"
    if backend not in door.available_backends():
        return []
    return [rung for rung in ladder.rungs(exercise.kernel) if rung.backend == backend]


def _rung_run(rung: ladder.Rung, arrays: list[Array]) -> Callable[[], object]:
    function = rung.function()
    arguments = RUNG_ARGUMENTS[rung.kernel](*arrays)
    return lambda: function(*arguments)


def _fastest(runs: dict[str, Callable[[], object]], clock: Callable[[], float]) -> dict[str, float]:
    """Return the time of the fastest call of each, in seconds. They take turns."""
    best, spent = dict.fromkeys(runs, math.inf), dict.fromkeys(runs, 0.0)
    with np.errstate(all="ignore"):
        for turn in range(1, TURNS + 1):
            for name, run in runs.items():
                while spent[name] < turn * SECONDS / TURNS:
                    start = clock()
                    run()
                    taken = clock() - start
                    best[name] = min(best[name], taken)
                    spent[name] += taken
    return best


def _share(function: Signature, call: draw.DrawnCall, seconds: float, threads: int) -> float | None:
    """Return the share of the roofline: its minimal time, divided by the measured time."""
    if not machine.can_be_measured():
        return None
    moved = sum(array.nbytes for array in call.arrays.values())
    changed = sum(call.arrays[each.name].nbytes for each in function.arrays if each.use == CHANGED)
    traffic = "read" if all(each.use == READ for each in function.arrays[:-1]) else "copy"
    roof = max(
        function.operations(call.sizes) / machine.peak_flops(threads, 0.2),
        (moved + changed) / machine.memory_bandwidth(moved, threads, traffic, 0.1),
    )
    return roof / seconds
