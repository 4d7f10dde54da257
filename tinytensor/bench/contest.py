"""Contestants (backends and libraries), each in a separate process, which take turns.

Each process is bound to `threads` cores, and receives requests as lines of JSON (see worker.py).
Only one process computes at a time, so a slow phase of the machine affects all of them. A round is
one turn of each contestant, in alternating order. The first round is not counted, because memory is
allocated and caches are filled in it. If a contestant compiles in a counted round, Unfair is
raised.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tinytensor.bench.environment import environment
from tinytensor.bench.noise import NoiseMonitor, Probe
from tinytensor.bench.report import cores
from tinytensor.bench.task import Unsupported
from tinytensor.bench.worker import Worker
from tinytensor.errors import TinytensorError

MIN_ROUNDS = 3  # rounds, even if they take longer than the time limit


class Unfair(TinytensorError, RuntimeError):  # noqa: N818 - "raise Unfair" reads better
    """The contestants can't be compared."""


class OutOfTime(Exception):  # noqa: N818 - "raise OutOfTime" reads better
    """The deadline of the contestants has passed before an answer came."""


class BenchContestant(Protocol):
    """A contestant: a Process, or a Worker in this process."""

    name: str
    threads: int

    def request(self, method: str, **arguments: Any) -> dict[str, Any]:
        """Call a method of the Worker; return its answer.

        Raises Unsupported, with the reason, if the contestant can't do this.
        """


class Process:
    """A contestant in a separate process.

    until: no answer is waited for after this time, by time.perf_counter().
    """

    def __init__(self, name: str, threads: int, until: float = math.inf) -> None:
        self.name, self.until = name, until
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tinytensor.bench.worker", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment() | {"OMP_NUM_THREADS": str(threads)},
            preexec_fn=lambda: bind(threads),
            process_group=0,  # so that Ctrl-C reaches only this process, which ends the workers
        )
        try:
            self.threads = threads_of(self, threads)
        except BaseException:
            self.kill()
            raise

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def request(self, method: str, **arguments: Any) -> dict[str, Any]:
        """Call a method of the Worker in the process; return its answer.

        Raises Unsupported if the contestant can't do this, Unfair if the process has ended, and
        OutOfTime.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(json.dumps({"method": method, **arguments}), file=self._process.stdin, flush=True)
            if self.until < math.inf:
                left = max(0.0, self.until - time.perf_counter())
                if not select.select([self._process.stdout], [], [], left)[0]:
                    raise OutOfTime
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise Unfair(f"bench: the process of {self.name} has ended; its last output is above")
        answer: dict[str, Any] = json.loads(line)
        if "skipped" in answer:
            raise Unsupported(answer["skipped"])
        return answer

    def close(self) -> None:
        """End the process: close its standard input and wait."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.wait()


class Here:
    """A contestant in this process, for tests."""

    def __init__(self, name: str, threads: int = 1) -> None:
        self.name = name
        self._worker = Worker(name)
        self.threads = threads_of(self, threads)

    def request(self, method: str, **arguments: Any) -> dict[str, Any]:
        """Call a method of the Worker; return its answer, passed through JSON as by Process."""
        answer: dict[str, Any] = json.loads(json.dumps(getattr(self._worker, method)(**arguments)))
        return answer


def threads_of(contestant: BenchContestant, threads: int) -> int:
    """Set a contestant's number of threads, and return the number that it uses.

    Raises Unfair if it uses another number.
    """
    found = int(contestant.request("set_threads", threads=threads)["threads"])
    if found != threads:
        raise Unfair(f"bench: {contestant.name} has {found} threads; {threads} are needed")
    return found


def bind(threads: int) -> None:
    """Bind this process to `threads` cores, if the system supports it."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores()[:threads])


@contextlib.contextmanager
def processes(
    names: Sequence[str], threads: int, monitor: NoiseMonitor, until: float = math.inf
) -> Iterator[list[Process]]:
    """Start a process for each name inside a `with` block, and measure the load of other programs.

    Args:
        names: names of the contestants.
        threads: number of threads, and of cores, of each process.
        monitor: measures other programs while the block runs.
        until: the processes' deadline, by time.perf_counter().

    Raises OutOfTime if an answer doesn't come before the deadline.
    """
    started: list[Process] = []
    try:
        for name in names:
            started.append(Process(name, threads, until))
        with monitor.during([process.pid for process in started]):
            yield started
    except BaseException:  # also Ctrl-C, because an answer may take long
        for process in started:
            process.kill()
        raise
    for process in started:
        process.close()


@dataclass(frozen=True)
class Timing:
    """How many rounds to time, and for how long.

    No round starts after `until`, except the first MIN_ROUNDS rounds.
    """

    rounds: int  # number of counted rounds
    seconds: float  # approximate time of a turn
    monitor: NoiseMonitor | None = None
    until: float = math.inf  # seconds, by time.perf_counter()


Turn = Callable[[], dict[str, Any]]  # the answer has "seconds", and "compiled": a count


def take_turns(turns: Mapping[str, Turn], timing: Timing) -> dict[str, list[float]]:
    """Run the rounds; return the seconds of each contestant in each counted round.

    A round that other programs disturbed is repeated, at most `timing.rounds` times in all.

    Raises Unfair if a contestant compiled or recorded in a counted round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    counted, again = 0, timing.rounds
    order = list(turns)
    _round(turns, order[::-1], timing.monitor)
    while counted < timing.rounds:
        if counted >= MIN_ROUNDS and time.perf_counter() > timing.until:
            break
        answers, probes = _round(turns, order, timing.monitor)
        order = order[::-1]
        for name, answer in answers.items():
            if answer.get("compiled"):
                raise Unfair(f"bench: {name} was still compiling while it was timed")
        if again and timing.monitor is not None and not timing.monitor.is_quiet(probes):
            again -= 1
            timing.monitor.repeated += 1
            continue
        counted += 1
        for name, answer in answers.items():
            seconds[name].append(answer["seconds"])
        if timing.monitor is not None:
            timing.monitor.probes += probes
    return seconds


def _round(
    turns: Mapping[str, Turn], names: Sequence[str], monitor: NoiseMonitor | None
) -> tuple[dict[str, dict[str, Any]], list[Probe]]:
    """One turn of each contestant: the answers, and a probe after each turn."""
    answers, probes = {}, []
    for name in names:
        answers[name] = turns[name]()
        if monitor is not None:
            probes.append(monitor.probe())
    return answers, probes
