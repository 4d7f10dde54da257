"""What this machine can do at most, measured: arithmetic and memory, by the loops of csrc/probe.c.

A kernel's speed says little by itself; its share of what the machine can do says how much is left.
The best of many short measurements counts. On a busy machine the threads may never run all at once
in so short a time: then more `seconds` help.
"""

import math
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tinytensor import kernels
from tinytensor.arrays import zeros
from tinytensor.errors import SettingError

ARRAYS = {"read": 1, "copy": 2, "add": 3}  # that each kind of traffic walks over
GROUP = 1024  # numbers: a thread's smallest part
SHORT = 0.0005  # seconds of a measurement: short enough to fit between other work
LOOK = 0.002  # seconds between two looks at what threads do


def cpu_name() -> str:
    """What the processor calls itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()


def peak_flops(threads: int = 1, seconds: float = 0.03) -> float:
    """The most float32 multiplications and additions a second, on so many threads.

    Measured by multiplying and adding in registers alone, in the widest vectors there are. Raises
    BackendUnavailable without the C backend.
    """
    c, variant = _probes()
    out, operations = np.empty(threads, np.float32), c.ffi.new("int64_t *")
    with _threads(c, threads):
        best = _best(
            lambda steps: variant.probe_fma(variant.at(out), operations, steps, threads), seconds
        )
        variant.probe_fma(variant.at(out), operations, 1, threads)
    return float(operations[0] / best)


def memory_bandwidth(
    size: int, threads: int = 1, traffic: str = "copy", seconds: float = 0.03
) -> float:
    """The most bytes a second that threads read and write in a working set of `size` bytes.

    traffic: "read" reads one array, "copy" reads one and writes another, "add" reads two and writes
    a third; together they are of that size, or a little more. Raises SettingError for another
    traffic, and BackendUnavailable without the C backend.
    """
    if traffic not in ARRAYS:
        raise SettingError(
            f"memory_bandwidth: got traffic {traffic!r}; choose from {', '.join(ARRAYS)}"
        )
    c, variant = _probes()
    groups = threads * math.ceil(size / (4 * GROUP * ARRAYS[traffic] * threads))
    count = 2 if traffic == "read" else ARRAYS[traffic]  # reading leaves a number for each thread
    pointers = [variant.at(zeros((groups * GROUP,), np.dtype(np.float32))) for _ in range(count)]
    probe = getattr(variant, f"probe_{traffic}")
    with _threads(c, threads):
        best = _best(lambda rounds: probe(*pointers, groups * GROUP, rounds), seconds)
    return groups * GROUP * 4 * ARRAYS[traffic] / best


def settle(most: float = 0.2) -> None:
    """Wait until no thread of this process computes any more; at most about so many seconds.

    A library's threads don't sleep as soon as their work is done, for more may come: those of
    NumPy's BLAS look out for it for up to a tenth of a second, and would disturb who comes next.
    """
    end = time.perf_counter() + most
    while time.perf_counter() < end:
        before = time.process_time()
        time.sleep(LOOK)
        if time.process_time() - before < LOOK / 4:
            return


def _probes() -> tuple[Any, Any]:
    """The C backend, and its functions for the widest instruction set."""
    c = kernels.load_backend("c").module
    c.require(f"probe_{what}" for what in ("fma", *ARRAYS))
    return c, c.variant("float32", c.WIDEST)


@contextmanager
def _threads(c: Any, threads: int) -> Iterator[None]:
    before = c.num_threads()
    c.set_num_threads(threads)
    try:
        yield
    finally:
        c.set_num_threads(before)


def _best(repeat: Callable[[int], object], seconds: float) -> float:
    """How long one repetition of many takes, at best, in about so many seconds of trying."""

    def timed(times: int) -> float:
        start = time.perf_counter()
        repeat(times)
        return time.perf_counter() - start

    times, end = 1, time.perf_counter() + seconds
    while (best := min(timed(times) for _ in range(3))) < SHORT:  # of 3: one may be disturbed
        times *= 2
    while time.perf_counter() < end:
        best = min(best, timed(times))
    return best / times
