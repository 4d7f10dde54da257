"""Detection of noise: other programs, or changes of the clock rate, during a measurement.

Between the turns of a benchmark, a NoiseMonitor times small fixed pieces of work. If the same work
takes longer than before, other programs used the machine or its clock rate changed, and the
benchmark's times are equally uncertain. On a virtual machine, two cores may temporarily share one
physical core, or communicate slowly; then only work that several threads share is slower.
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

WORK = bytes(256 * 1024)  # its checksum takes some tenths of a millisecond
REPEATS = 4  # of shared work; the first repeat wakes the threads
DISTURBED = 1.25  # times the best time: a probe that takes longer was disturbed
NOISY_SPREAD = 0.05  # interquartile range divided by the median: above it, the times are noisy
NOISY_LOAD = 0.15  # cores used by other programs: above it, the times are noisy

Probe = Mapping[str, float]  # seconds of each piece of work, by name


class NoiseMonitor:
    """Measures how quiet the machine is while something is timed."""

    def __init__(self) -> None:
        self._best: dict[str, float] = {}
        self.use_threads(1)
        self.probes: list[Probe] = []  # of counted rounds
        self.repeated = 0  # number of repeated rounds
        self.elapsed = 0.0  # seconds
        self.others: float | None = 0.0  # CPU seconds of other programs; None if not available

    def use_threads(self, threads: int) -> None:
        """Also probe with small work shared by `threads` threads from now on."""
        self._works: dict[str, Callable[[], object]] = {
            "short computation": lambda: hashlib.sha256(WORK).digest()
        }
        if threads > 1 and (work := shared_work(threads)) is not None:
            self._works[f"short computation on {threads} threads"] = work

    def probe(self) -> Probe:
        """Time each small piece of work once."""
        seconds = {}
        for name, work in self._works.items():
            start = time.perf_counter()
            work()
            seconds[name] = time.perf_counter() - start
            self._best[name] = min(self._best.get(name, seconds[name]), seconds[name])
        return seconds

    def count_probe(self) -> None:
        """Time each small piece of work once, and count it in the verdict."""
        self.probes.append(self.probe())

    def is_quiet(self, probes: Sequence[Probe]) -> bool:
        """True if each piece of work took less than DISTURBED times its best time so far."""
        return all(probe[name] < DISTURBED * self._best[name] for probe in probes for name in probe)

    @contextmanager
    def during(self, pids: Sequence[int]) -> Iterator[None]:
        """Inside a `with` block, count the CPU time of processes other than this one and `pids`."""
        own_pids = [os.getpid(), *pids]
        start, before = time.perf_counter(), _other_cpu_seconds(own_pids)
        try:
            yield
        finally:
            after = _other_cpu_seconds(own_pids)
            self.elapsed += time.perf_counter() - start
            if before is None or after is None or self.others is None:
                self.others = None
            else:
                self.others += after - before

    def verdict(self) -> Noise:
        """The Noise of all counted probes and of other programs."""
        return judge(self.probes, self.others, self.elapsed, self.repeated)


def shared_work(threads: int) -> Callable[[], object] | None:
    """A matrix product and a weight update by the C backend on `threads` threads; None without C.

    Each thread reads weights that other threads have written, as in training.
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


def judge(
    probes: Sequence[Probe], others: float | None, elapsed: float, repeated: int = 0
) -> Noise:
    """Decide whether a measurement was noisy.

    Args:
        probes: times of the small pieces of work during the measurement.
        others: CPU seconds of other programs, None if not available.
        elapsed: seconds of the measurement.
        repeated: number of repeated rounds.
    """
    reasons = []
    for name in dict.fromkeys(name for probe in probes for name in probe):
        times = [probe[name] for probe in probes if name in probe]
        if (width := Spread.of(times).width) > NOISY_SPREAD:
            reasons.append(
                f"to check the machine, a {name} was timed many times, and its time varied by "
                f"{100 * width:.0f} %"
            )
    if others is not None and elapsed > 0 and (load := others / elapsed) > NOISY_LOAD:
        reasons.append(f"other programs used {load:.1f} cores")
    if reasons and repeated:
        reasons.append(f"{repeated} disturbed rounds were measured again")
    return Noise(bool(reasons), "; ".join(reasons))


def _other_cpu_seconds(own_pids: Sequence[int]) -> float | None:
    """CPU seconds of all processes except `own_pids` so far; None if not available."""
    try:
        fields = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]
        user, nice, system, _, _, irq, softirq, steal = map(int, fields[:8])
        own = sum(map(_ticks, own_pids))
        second = os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):
        return None
    return (user + nice + system + irq + softirq + steal - own) / second


def _ticks(pid: int) -> int:
    """CPU time, in clock ticks, of a process and of its children that have ended."""
    text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    fields = text.rpartition(")")[2].split()  # the program name before ")" may have spaces
    return sum(map(int, fields[11:15]))
