"""Was the machine quiet? Small pieces of work that never change tell, and the load of others.

Where the same work takes longer now than it did a moment ago, something else had a part of the
machine, or its clock changed: what was timed meanwhile is no better known than that. On a virtual
machine two cores may at times be one, or lie so far apart that what the other has written comes
late: then work that threads share is slow, and what one does alone is not.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tinytensor import door
from tinytensor.bench.report import Noise, Spread

WORK = bytes(256 * 1024)  # to find a checksum of it takes some tenths of a millisecond
REPEATS = 4  # of work that is shared, once to wake the threads
DISTURBED = 1.25  # times as long as at its best
NOISY_SPREAD = 0.05  # of the work's time, from quartile to quartile
NOISY_LOAD = 0.15  # cores that others used

Look = Mapping[str, float]  # seconds that each piece of work took


class Watch:
    """Looks at the machine while something is timed."""

    def __init__(self) -> None:
        self._best: dict[str, float] = {}
        self.compute_on(1)
        self.looks: list[Look] = []  # while what was timed counted
        self.repeated = 0  # rounds that were made again
        self.elapsed = 0.0  # seconds
        self.others: float | None = 0.0  # seconds of processor time; None where nobody counts them

    def compute_on(self, threads: int) -> None:
        """Look at small work that so many threads share, too, from now on."""
        self._works: dict[str, Callable[[], object]] = {
            "short work": lambda: hashlib.sha256(WORK).digest()
        }
        if threads > 1 and (work := shared_work(threads)) is not None:
            self._works[f"short work on {threads} threads"] = work

    def look(self) -> Look:
        """Time the small pieces of work once."""
        seconds = {}
        for name, work in self._works.items():
            start = time.perf_counter()
            work()
            seconds[name] = time.perf_counter() - start
            self._best[name] = min(self._best.get(name, seconds[name]), seconds[name])
        return seconds

    def were_calm(self, looks: Sequence[Look]) -> bool:
        """Was each piece of work about as fast as at its best so far?"""
        return all(look[name] < DISTURBED * self._best[name] for look in looks for name in look)

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
        return judge(self.looks, self.others, self.elapsed, self.repeated)


def shared_work(threads: int) -> Callable[[], object] | None:
    """A product with weights, and their update, by C's kernels on so many threads; None without C.

    Each thread reads the weights that the others have written, as in training.
    """
    state = door.backend_states()["c"]
    if not isinstance(state, door.Backend):
        return None
    module, multiply, update = state.module, state.kernels["matmul"], state.kernels["sgd"]
    x, weight, out = (np.zeros(s, np.float32) for s in ((100, 784), (784, 200), (100, 200)))
    grad, rate = np.zeros_like(weight), np.zeros(1)

    def work() -> None:
        before = module.num_threads()
        module.set_num_threads(threads)
        try:
            for _ in range(REPEATS):
                multiply(x, weight, out, False, False)
                update(grad, rate, weight, 0.0)
        finally:
            module.set_num_threads(before)

    return work


def judge(looks: Sequence[Look], others: float | None, elapsed: float, repeated: int = 0) -> Noise:
    """What the times of the small work, and the seconds that others computed, say together."""
    reasons = []
    for name in dict.fromkeys(name for look in looks for name in look):
        times = [look[name] for look in looks if name in look]
        if (width := Spread.of(times).width) > NOISY_SPREAD:
            reasons.append(f"the same {name} took {width:.0%} longer at some times than at others")
    if others is not None and elapsed > 0 and (load := others / elapsed) > NOISY_LOAD:
        reasons.append(f"other programs used {load:.1f} cores meanwhile")
    if reasons and repeated:
        reasons.append(f"{repeated} rounds that were disturbed have been made again")
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
