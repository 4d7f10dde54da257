"""The least time that a program can take on this machine: what each call computes, or moves."""

import math

from tinytensor import machine
from tinytensor.listing import bytes_moved, flops
from tinytensor.program import Call, Program

SMALLEST = 16 * 1024  # bytes: what is smaller moves as fast


def bound(program: Program, threads: int) -> float:
    """Seconds: of each call the larger of its arithmetic's time and its memory traffic's, summed.

    The arithmetic goes at the peak of so many threads. The bytes go at the speed of a working set
    as large as the call's own, as if it had all been used just before: in a whole step it may not
    have been, so this is a bound, and not to be reached where a step is larger than the caches.
    """
    peak = machine.peak_flops(threads, seconds=0.2)
    speeds: dict[tuple[int, str], float] = {}

    def seconds(call: Call) -> float:
        moved = bytes_moved(call)
        size = max(2 ** math.ceil(math.log2(max(moved, 1))), SMALLEST)
        key = size, traffic(call)
        if key not in speeds:
            speeds[key] = machine.memory_bandwidth(size, threads, key[1])
        return max(flops(call) / peak, moved / speeds[key])

    return math.fsum(map(seconds, program.calls))


def traffic(call: Call) -> str:
    """Which of the measured kinds of traffic has about as many reads for each write."""
    written = sum(math.prod(view.shape) * view.dtype.itemsize for view in call.writes)
    share = written / max(bytes_moved(call), 1)
    return "read" if share < 1 / 6 else "add" if share < 5 / 12 else "copy"
