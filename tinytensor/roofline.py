"""The least time that a call can take on this machine: for what it computes, or what it moves."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

from tinytensor import machine
from tinytensor.capture.listing import bytes_moved, flops

if TYPE_CHECKING:
    from tinytensor.capture.calls import Call

SMALLEST = 16 * 1024  # bytes: what is smaller moves as fast


class Roofline:
    """What so many threads can do at most, each part measured when it is first needed, and once.

    Raises BackendUnavailable without the C backend, whose loops measure it.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._speeds: dict[tuple[int, str], float] = {}

    @functools.cached_property
    def peak(self) -> float:
        """Multiplications and additions a second."""
        return self._measured_peak()

    def _measured_peak(self) -> float:
        return machine.peak_flops(self.threads, seconds=0.2)

    def bandwidth(self, size: int, traffic: str) -> float:
        """Bytes a second in a working set of so many, rounded up to a power of two."""
        size = max(2 ** math.ceil(math.log2(max(size, 1))), SMALLEST)
        key = size, traffic
        if key not in self._speeds:
            self._speeds[key] = machine.memory_bandwidth(size, self.threads, traffic)
        return self._speeds[key]

    def measure_again(self) -> None:
        """Measure once more what was measured so far, and keep the higher speeds.

        What others do meanwhile only slows a measurement, never speeds it up.
        """
        self.peak = max(self.peak, self._measured_peak())
        for (size, kind), speed in self._speeds.items():
            again = machine.memory_bandwidth(size, self.threads, kind)
            self._speeds[size, kind] = max(speed, again)

    def bound(self, call: Call) -> float:
        """Seconds: the larger of flops / peak and bytes / bandwidth.

        The bytes go at the speed of a working set as large as the call's own, as if it had all been
        used just before: in a whole step it may not have been, so this is a bound, and not to be
        reached where a step is larger than the caches.
        """
        moved = bytes_moved(call)
        return max(flops(call) / self.peak, moved / self.bandwidth(moved, traffic(call)))


@functools.cache
def roofline(threads: int) -> Roofline:
    """The same in all of a process, so that many profiles measure the machine once."""
    return Roofline(threads)


def traffic(call: Call) -> str:
    """Which of the measured kinds of traffic has about as many reads for each write."""
    written = sum(math.prod(view.shape) * view.dtype.itemsize for view in call.writes)
    share = written / max(bytes_moved(call), 1)
    return "read" if share < 1 / 6 else "add" if share < 5 / 12 else "copy"
