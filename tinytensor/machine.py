"""The limits of this machine: peak arithmetic, bandwidth of each cache, roofline of a kernel call.

The time of a kernel has a meaning only next to the limit of the machine: their ratio shows how much
faster the kernel could be.

    peak_flops, memory_bandwidth   measured with the loops of csrc/probe.c
    caches, bandwidths             the caches of a core, and the bandwidth of each
    Roofline                       the minimal time of a kernel call

Each function makes many short measurements and returns the best. If other programs use the CPU, all
threads may never run at the same time during a short measurement; then increase `seconds`.
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
from tinytensor.forks import computed_once

if TYPE_CHECKING:
    from tinytensor.capture.calls import Call

ARRAYS = {"read": 1, "copy": 2, "add": 3}  # the number of arrays of each traffic
GROUP = 1024  # elements: the unit in which a probe divides an array among threads
SHORT = 0.0005  # seconds of one measurement, which often runs between two interruptions
WORK_GROWS = 1.5  # at least: the time of twice the work, divided by the time of the work
POLL = 0.002  # seconds between two checks whether threads still compute
SMALLEST = 16 * 1024  # bytes: smaller working sets have the same bandwidth
CACHE_FOLDER = Path("/sys/devices/system/cpu/cpu0/cache")
WITHOUT_CACHES = tuple(1 << power for power in range(14, 28, 2))  # 16 KiB to 64 MiB


def cpu_name() -> str:
    """Return the processor's model name."""
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
    """Return the peak of `threads` threads: float32 additions and multiplications per second.

    The measured loop works in registers only, with the CPU's widest vectors.

    Args:
        threads: the number of threads.
        seconds: the duration of the measurement.

    Returns:
        float, operations per second (FLOP/s); a fused multiply-add counts as two.

    Raises:
        BackendUnavailable: the C backend is not available.
    """
    c, functions = _probes()
    out, operations = np.empty(threads, np.float32), c.ffi.new("int64_t *")
    with _whole_cpu(c, threads):
        best = _best(
            lambda steps: functions.probe_fma(functions.at(out), operations, steps, threads),
            seconds,
        )
        functions.probe_fma(functions.at(out), operations, 1, threads)
    return float(operations[0] / best)


def memory_bandwidth(
    size: int, threads: int = 1, traffic: str = "copy", seconds: float = 0.03
) -> float:
    """Return the memory bandwidth of `threads` threads in a working set of `size` bytes.

    Args:
        size: the size of all arrays together, in bytes; it is rounded up.
        threads: the number of threads.
        traffic: "read" reads one array, "copy" reads one and writes another, "add" reads two and
            writes a third.
        seconds: the duration of the measurement.

    Returns:
        float, bytes per second.

    Raises:
        SettingError: another traffic.
        BackendUnavailable: the C backend is not available.
    """
    if traffic not in ARRAYS:
        raise SettingError(
            f"memory_bandwidth: got traffic {traffic!r}; choose from {', '.join(ARRAYS)}"
        )
    c, functions = _probes()
    groups = threads * math.ceil(size / (4 * GROUP * ARRAYS[traffic] * threads))
    count = 2 if traffic == "read" else ARRAYS[traffic]  # "read" also writes a sum per thread
    pointers = [functions.at(zeros((groups * GROUP,), np.dtype(np.float32))) for _ in range(count)]
    probe = getattr(functions, f"probe_{traffic}")
    with _whole_cpu(c, threads):
        best = _best(lambda rounds: probe(*pointers, groups * GROUP, rounds), seconds)
    return groups * GROUP * 4 * ARRAYS[traffic] / best


def _probes() -> tuple[Any, Any]:
    """Return the C backend's module and its functions."""
    door.load_backend("c")  # sets its number of threads
    from tinytensor.backends import c_backend  # raises if C does not work here

    c_backend.require(f"probe_{name}" for name in ("fma", *ARRAYS))
    return c_backend, c_backend.functions("float32")


@contextmanager
def _whole_cpu(c: Any, threads: int) -> Iterator[None]:
    """Inside a `with` block, C uses this number of threads and the CPU's widest vectors."""
    before = c.num_threads(), c.SIMD
    c.set_num_threads(threads)
    c.set_simd(c.WIDEST)
    try:
        yield
    finally:
        c.set_num_threads(before[0])
        c.set_simd(before[1])


def _best(repeat: Callable[[int], object], seconds: float) -> float:
    """Return the minimal time of one repetition in `repeat(n)`, in seconds.

    It measures for about `seconds`.
    """

    def timed(times: int) -> float:
        start = time.perf_counter()
        repeat(times)
        return time.perf_counter() - start

    def quickest(times: int) -> float:
        return min(timed(times) for _ in range(3))  # of 3: one may be disturbed

    times, end = 1, time.perf_counter() + seconds
    best, twice = quickest(1), quickest(2)
    # A thread may wait for longer than SHORT, but that time does not grow with `times`.
    while best < SHORT or twice < WORK_GROWS * best:
        times *= 2
        best, twice = twice, quickest(2 * times)
    while time.perf_counter() < end:
        best = min(best, timed(times))
    return best / times


# Caches -----------------------------------------------------------------------------------------


class DataCache(NamedTuple):
    """A data cache: a level of memory between the registers and the main memory."""

    name: str  # "L1"
    size: int  # bytes
    shared: int  # number of cores that share it


def caches(folder: Path = CACHE_FOLDER) -> list[DataCache]:
    """Return the data caches of the first core, L1 first; an empty list if Linux reports none."""
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
    """Return a size of Linux (48K, 1M, 32768) in bytes."""
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    return int(text.rstrip("KMG")) * units.get(text[-1], 1)


def _count_cores(text: str) -> int:
    """Return the number of cores in a list of Linux: 5 for "0-3,8"."""
    ends = [[int(core) for core in part.split("-")] for part in text.split(",")]
    return sum(end[-1] - end[0] + 1 for end in ends)


def working_sets(threads: int, levels: Sequence[DataCache]) -> dict[int, str]:
    """Return sizes of working sets in bytes, each with the name of the cache that it fits into.

    A size is half of the cache that `threads` threads have together; for "memory" it is four times
    the last cache. Without information about caches, the sizes are powers of two and the names are
    empty.
    """
    if not levels:
        return dict.fromkeys(WITHOUT_CACHES, "")
    totals = [
        (level.size * -(-threads // level.shared), level.name)  # a shared cache counts once
        for level in levels
    ]
    return {size // 2: name for size, name in totals} | {4 * totals[-1][0]: "memory"}


def bandwidths(threads: int, seconds: float = 0.05) -> dict[str, dict[str, Any]]:
    """Return the bandwidth of each cache and of the memory, in bytes per second.

    Args:
        threads: the number of threads.
        seconds: the duration of each measurement.

    Returns:
        {"24576": {"level": "L1", "read": ..., "copy": ..., "add": ...}, ...}; a key is the size of
        the working set in bytes.

    Raises:
        BackendUnavailable: the C backend is not available.
    """
    return {
        str(size): {"level": name}
        | {traffic: memory_bandwidth(size, threads, traffic, seconds) for traffic in ARRAYS}
        for size, name in working_sets(threads, caches()).items()
    }


# The roofline -----------------------------------------------------------------------------------


class Roofline:
    """The peak and the bandwidths of `threads` threads; each is measured once, at its first use.

    Raises:
        BackendUnavailable: the C backend is not available; its loops measure the machine.

    Source: Williams, Waterman and Patterson, "Roofline", 2009.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._speeds: dict[tuple[int, str], float] = {}

    @computed_once
    def peak(self) -> float:
        """The peak in additions and multiplications per second."""
        return self._measured_peak()

    def _measured_peak(self) -> float:
        return peak_flops(self.threads, seconds=0.2)

    def bandwidth(self, size: int, traffic: str) -> float:
        """Return the bandwidth in bytes per second; `size` is rounded up to a power of two."""
        size = max(2 ** math.ceil(math.log2(max(size, 1))), SMALLEST)
        key = size, traffic
        if key not in self._speeds:
            self._speeds[key] = memory_bandwidth(size, self.threads, traffic)
        return self._speeds[key]

    def measure_again(self) -> None:
        """Repeat the measurements made so far and keep the higher results.

        The higher result is closer to the limit, because other programs can only slow down a
        measurement.
        """
        self.peak = max(self.peak, self._measured_peak())
        for (size, traffic), speed in self._speeds.items():
            again = memory_bandwidth(size, self.threads, traffic)
            self._speeds[size, traffic] = max(speed, again)

    def bound(self, call: Call) -> float:
        """Return the minimal time of a call in seconds: max(flops / peak, bytes / bandwidth).

        The bandwidth is that of a working set of the call's size, so all arrays of the call are
        assumed to be in the smallest cache that holds them. In a step larger than the caches they
        are not, and the call takes longer than this bound.
        """
        moved = bytes_moved(call)
        return max(flops(call) / self.peak, moved / self.bandwidth(moved, traffic(call)))


@functools.cache
def roofline(threads: int) -> Roofline:
    """Return the Roofline of `threads` threads; all profiles in this process share it."""
    return Roofline(threads)


def traffic(call: Call) -> str:
    """Return the traffic of ARRAYS whose share of written bytes is closest to the call's."""
    written = sum(math.prod(view.shape) * view.dtype.itemsize for view in call.writes)
    share = written / max(bytes_moved(call), 1)
    return "read" if share < 1 / 6 else "add" if share < 5 / 12 else "copy"


def limits(threads: int) -> dict[str, Any]:
    """Return the peak and the bandwidths of `threads` threads as a dict of JSON values."""
    return {"peak_flops": roofline(threads).peak, "bandwidth": bandwidths(threads)}


# Waiting for other threads ----------------------------------------------------------------------


def settle(most: float = 0.2) -> None:
    """Wait until no thread of this process uses the CPU, for at most about `most` seconds.

    After a call the threads of some libraries, such as NumPy's BLAS, wait for the next call in a
    busy loop of up to 0.1 s. This would disturb the next measurement.
    """
    end = time.perf_counter() + most
    while time.perf_counter() < end:
        before = time.process_time()
        time.sleep(POLL)
        if time.process_time() - before < POLL / 4:
            return
