"""Was the machine quiet? A small piece of work that never changes tells, and the load of others.

Where the same work takes longer now than it did a moment ago, something else had a part of the
machine, or its clock changed: what was timed meanwhile is no better known than that.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tinytensor.bench.report import Noise, Spread

WORK = bytes(256 * 1024)  # to find a checksum of it takes some tenths of a millisecond
NOISY_SPREAD = 0.05  # of the work's time, from quartile to quartile
NOISY_LOAD = 0.15  # cores that others used


class Watch:
    """Looks at the machine while something is timed."""

    def __init__(self) -> None:
        self.probes: list[float] = []
        self.elapsed = 0.0  # seconds
        self.others: float | None = 0.0  # seconds of processor time; None where nobody counts them

    def probe(self) -> None:
        """Time the small piece of work once."""
        start = time.perf_counter()
        hashlib.sha256(WORK).digest()
        self.probes.append(time.perf_counter() - start)

    @contextmanager
    def during(self, pids: Sequence[int]) -> Iterator[None]:
        """Inside a `with` block count what processes other than this one and `pids` compute."""
        ours = [os.getpid(), *pids]
        start, before = time.perf_counter(), _others(ours)
        try:
            yield
        finally:
            after = _others(ours)
            self.elapsed += time.perf_counter() - start
            if before is None or after is None or self.others is None:
                self.others = None
            else:
                self.others += after - before

    def verdict(self) -> Noise:
        """Noisy, or not, and why."""
        return judge(self.probes, self.others, self.elapsed)


def judge(probes: Sequence[float], others: float | None, elapsed: float) -> Noise:
    """What the times of the small work, and the seconds that others computed, say together."""
    reasons = []
    if probes and (width := Spread.of(probes).width) > NOISY_SPREAD:
        reasons.append(f"the same short work took {width:.0%} longer at some times than at others")
    if others is not None and elapsed > 0 and (load := others / elapsed) > NOISY_LOAD:
        reasons.append(f"other programs used {load:.1f} cores meanwhile")
    return Noise(bool(reasons), "; ".join(reasons))


def _others(ours: Sequence[int]) -> float | None:
    """Seconds that all processors spent on other processes so far; None where it isn't told."""
    try:
        fields = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]
        user, nice, system, _, _, irq, softirq, steal = map(int, fields[:8])
        own = sum(map(_ticks, ours))
        second = os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):
        return None
    return (user + nice + system + irq + softirq + steal - own) / second


def _ticks(pid: int) -> int:
    """The processor time of a process, and of its children that have ended."""
    text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    fields = text.rpartition(")")[2].split()  # its name may hold anything
    return sum(map(int, fields[11:15]))
