"""The limits of this machine: its peak, the bandwidth of each cache, and the roofline of a call.

A kernel's speed alone says little. Its share of what the machine can do says how much is left.

    peak_flops, memory_bandwidth   measured with the loops of csrc/probe.c
    caches, bandwidths             the caches of a core, and the bandwidth of each
    Roofline                       the least seconds that a kernel call can take

The best of many short measurements counts. If other programs use the CPU, the threads may never all
run at once during a short measurement: larger `seconds` help.
"""

from __future__ import annotations

import functools
import math
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tinytensor import door
from tinytensor.arrays import zeros
from tinytensor.capture.listing import bytes_moved, flops
from tinytensor.errors import BackendUnavailable, SettingError

if TYPE_CHECKING:
    from tinytensor.capture.calls import Call

ARRAYS = {"read": 1, "copy": 2, "add": 3}  # arrays that each kind of traffic uses
GROUP = 1024  # elements: the smallest part of a thread
SHORT = 0.0005  # seconds of one measurement: short enough to fit between other programs' work
POLL = 0.002  # seconds between two checks whether threads still compute
SMALLEST = 16 * 1024  # bytes: smaller working sets have the same bandwidth
CACHE_FOLDER = Path("/sys/devices/system/cpu/cpu0/cache")
WITHOUT_CACHES = tuple(1 << power for power in range(14, 28, 2))  # 16 KiB to 64 MiB


def cpu_name() -> str:
    """The processor's model name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()


# Peak and bandwidth -----------------------------------------------------------------------------


@functools.cache
def can_be_measured() -> bool:
    """True if the C backend is available, because its loops measure the machine."""
    try:
        door.load_backend("c")
    except BackendUnavailable:
        return False
    return True


def peak_flops(threads: int = 1, seconds: float = 0.03) -> float:
    """The most float32 multiplications and additions per second on `threads` threads.

    Measured with multiplications and additions in registers only, in the widest vectors of the CPU.
    Raises BackendUnavailable without the C backend.
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
    """The most bytes per second that `threads` threads move in a working set of `size` bytes.

    traffic: "read" reads one array, "copy" reads one and writes another, "add" reads two and writes
    a third. Together they have `size` bytes, rounded up. Raises SettingError for another traffic,
    and BackendUnavailable without the C backend.
    """
    if traffic not in ARRAYS:
        raise SettingError(
            f"memory_bandwidth: got traffic {traffic!r}; choose from {', '.join(ARRAYS)}"
        )
    c, variant = _probes()
    groups = threads * math.ceil(size / (4 * GROUP * ARRAYS[traffic] * threads))
    count = 2 if traffic == "read" else ARRAYS[traffic]  # "read" writes one number per thread
    pointers = [variant.at(zeros((groups * GROUP,), np.dtype(np.float32))) for _ in range(count)]
    probe = getattr(variant, f"probe_{traffic}")
    with _threads(c, threads):
        best = _best(lambda rounds: probe(*pointers, groups * GROUP, rounds), seconds)
    return groups * GROUP * 4 * ARRAYS[traffic] / best


def _probes() -> tuple[Any, Any]:
    """The C backend, and its functions for the widest instruction set."""
    door.load_backend("c")  # which sets its number of threads
    from tinytensor.backends import c_backend  # can't be imported where C doesn't work

    c_backend.require(f"probe_{name}" for name in ("fma", *ARRAYS))
    return c_backend, c_backend.variant("float32", c_backend.WIDEST)


@contextmanager
def _threads(c: Any, threads: int) -> Iterator[None]:
    before = c.num_threads()
    c.set_num_threads(threads)
    try:
        yield
    finally:
        c.set_num_threads(before)


def _best(repeat: Callable[[int], object], seconds: float) -> float:
    """The least seconds per repetition of `repeat(n)`, measured for about `seconds`."""

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


# Caches -----------------------------------------------------------------------------------------


class DataCache(NamedTuple):
    """A level of memory between the registers and the main memory."""

    name: str  # "L1"
    size: int  # bytes
    shared: int  # number of cores that share it


def caches(folder: Path = CACHE_FOLDER) -> list[DataCache]:
    """The data caches of the first core, nearest first; an empty list if Linux reports none."""
    found = []
    try:
        for index in folder.glob("index[0-9]*"):
            level, kind, size, cores = (
                (index / name).read_text(encoding="ascii").strip()
                for name in ("level", "type", "size", "shared_cpu_list")
            )
            if kind != "Instruction":
                found.append(DataCache(f"L{level}", _bytes(size), _count_cores(cores)))
    except (OSError, ValueError):
        return []
    return sorted(found)


def _bytes(text: str) -> int:
    """The bytes of a size that Linux writes: 48K, 1M, 32768."""
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    return int(text.rstrip("KMG")) * units.get(text[-1], 1)


def _count_cores(text: str) -> int:
    """The number of cores in a list: 5 in "0-3,8"."""
    ends = [[int(core) for core in part.split("-")] for part in text.split(",")]
    return sum(end[-1] - end[0] + 1 for end in ends)


def working_sets(threads: int, levels: Sequence[DataCache]) -> dict[int, str]:
    """Sizes in bytes of working sets of `threads` threads, with the name of their level.

    Half of what these threads have of each cache, and four times the last cache for "memory".
    Without caches, powers of two without a name.
    """
    if not levels:
        return dict.fromkeys(WITHOUT_CACHES, "")
    totals = [
        (level.size * -(-threads // level.shared), level.name)  # a shared cache counts once
        for level in levels
    ]
    return {size // 2: name for size, name in totals} | {4 * totals[-1][0]: "memory"}


def bandwidths(threads: int, seconds: float = 0.05) -> dict[str, dict[str, Any]]:
    """Bytes per second at each level: {"24576": {"level": "L1", "read": ..., "copy": ...}, ...}.

    seconds: how long each is measured.  Raises BackendUnavailable without the C backend.
    """
    return {
        str(size): {"level": name}
        | {traffic: memory_bandwidth(size, threads, traffic, seconds) for traffic in ARRAYS}
        for size, name in working_sets(threads, caches()).items()
    }


# The roofline -----------------------------------------------------------------------------------


class Roofline:
    """The limits of `threads` threads, each measured once, when it is first needed.

    Raises BackendUnavailable without the C backend, because its loops measure the machine.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._speeds: dict[tuple[int, str], float] = {}

    @functools.cached_property
    def peak(self) -> float:
        """Multiplications and additions per second."""
        return self._measured_peak()

    def _measured_peak(self) -> float:
        return peak_flops(self.threads, seconds=0.2)

    def bandwidth(self, size: int, traffic: str) -> float:
        """Bytes per second in a working set of `size` bytes, rounded up to a power of two."""
        size = max(2 ** math.ceil(math.log2(max(size, 1))), SMALLEST)
        key = size, traffic
        if key not in self._speeds:
            self._speeds[key] = memory_bandwidth(size, self.threads, traffic)
        return self._speeds[key]

    def measure_again(self) -> None:
        """Repeat the measurements made so far and keep the higher speeds.

        Other programs can only slow a measurement down, so the higher speed is the better one.
        """
        self.peak = max(self.peak, self._measured_peak())
        for (size, kind), speed in self._speeds.items():
            again = memory_bandwidth(size, self.threads, kind)
            self._speeds[size, kind] = max(speed, again)

    def bound(self, call: Call) -> float:
        """The least seconds of a call: the larger of flops / peak and bytes / bandwidth.

        The bandwidth is that of a working set as large as the call's own, as if all of it were in
        the smallest cache that holds it. In a step larger than the caches it is not, so a call
        there takes longer than its bound.
        """
        moved = bytes_moved(call)
        return max(flops(call) / self.peak, moved / self.bandwidth(moved, traffic(call)))


@functools.cache
def roofline(threads: int) -> Roofline:
    """The process's Roofline of `threads` threads, so that all profiles share its measurements."""
    return Roofline(threads)


def traffic(call: Call) -> str:
    """The kind of measured traffic whose share of writes is closest to the call's."""
    written = sum(math.prod(view.shape) * view.dtype.itemsize for view in call.writes)
    share = written / max(bytes_moved(call), 1)
    return "read" if share < 1 / 6 else "add" if share < 5 / 12 else "copy"


def limits(threads: int) -> dict[str, Any]:
    """The peak of `threads` threads and the bandwidth of each level, as JSON values."""
    return {"peak_flops": roofline(threads).peak, "bandwidth": bandwidths(threads)}


# Waiting for other threads ----------------------------------------------------------------------


def settle(most: float = 0.2) -> None:
    """Wait until no thread of this process computes any more, for at most about `most` seconds.

    The threads of a library wait actively for more work for up to a tenth of a second (NumPy's BLAS
    does) and would disturb what is measured next.
    """
    end = time.perf_counter() + most
    while time.perf_counter() < end:
        before = time.process_time()
        time.sleep(POLL)
        if time.process_time() - before < POLL / 4:
            return
