"""Contestants, each in a process of its own, that take turns: so all of them see the same machine.

A process is bound to as many cores as there are threads, and asked by lines of JSON (worker.py).
Nobody computes but the one whose turn it is. A round is one turn of each, in alternating order; the
first isn't counted, for what has to be compiled, allocated or read for the first time is so then. A
turn that compiled all the same is an error, not a time.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tinytensor.bench.environment import environment
from tinytensor.bench.noise import Look, Watch
from tinytensor.bench.report import cores
from tinytensor.bench.task import NotHere
from tinytensor.bench.worker import Worker
from tinytensor.errors import TinytensorError

LEAST_ROUNDS = 3  # however long they take


class Unfair(TinytensorError, RuntimeError):  # noqa: N818 - reads better where it is raised
    """The contestants can't be compared."""


class BenchContestant(Protocol):
    """Who can be asked: a process, or a Worker here."""

    name: str
    threads: int

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """The answer.  Raises NotHere, with the reason, for what the contestant can't."""


class Process:
    """A contestant's process, and the conversation with it."""

    def __init__(self, name: str, threads: int) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tinytensor.bench.worker", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment() | {"OMP_NUM_THREADS": str(threads)},
            preexec_fn=lambda: bind(threads),
            process_group=0,  # Ctrl-C is for this process, which then ends the others
        )
        try:
            self.threads = threads_of(self, threads)
        except BaseException:
            self.kill()
            raise

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """The answer.  Raises NotHere for what it can't, and Unfair if the process has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(json.dumps({"do": do, **request}), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise Unfair(f"bench: the process of {self.name} has ended; its last words are above")
        answer: dict[str, Any] = json.loads(line)
        if "skipped" in answer:
            raise NotHere(answer["skipped"])
        return answer

    def close(self) -> None:
        """Let it end: nobody asks any more."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it at once, whatever it does."""
        self._process.kill()
        self._process.wait()


class Here:
    """A contestant in this very process, with whatever was changed in it."""

    def __init__(self, name: str, threads: int = 1) -> None:
        self.name = name
        self._worker = Worker(name)
        self.threads = threads_of(self, threads)

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """The answer, as it would come from a process."""
        answer: dict[str, Any] = json.loads(json.dumps(getattr(self._worker, do)(**request)))
        return answer


def threads_of(contestant: BenchContestant, threads: int) -> int:
    """Let it have so many threads.  Raises Unfair if it then has another number of them."""
    answer = contestant.ask("set_threads", threads=threads)
    found, wanted = answer["threads"], 1 if answer["has_one"] else threads
    if found != wanted:
        raise Unfair(f"bench: {contestant.name} has {found} threads; {wanted} are needed")
    return int(found)


def bind(threads: int) -> None:
    """Bind this process to as many cores, where that can be done."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores()[:threads])


@contextlib.contextmanager
def processes(names: Sequence[str], threads: int, watch: Watch) -> Iterator[list[Process]]:
    """A process for each, at work inside a `with` block, while others' load is watched."""
    started: list[Process] = []
    try:
        for name in names:
            started.append(Process(name, threads))
        with watch.during([process.pid for process in started]):
            yield started
    except BaseException:  # Ctrl-C too: an answer may be long in coming
        for process in started:
            process.kill()
        raise
    for process in started:
        process.close()


@dataclass(frozen=True)
class Care:
    """How carefully something is timed.

    rounds: turns of each. seconds: of a turn, about. until: by time.perf_counter(); later there is
    no further round, but for LEAST_ROUNDS of them.
    """

    rounds: int
    seconds: float
    watch: Watch | None = None
    until: float = math.inf


Turn = Callable[[], dict[str, Any]]  # an answer with "seconds", and "made": what was compiled


def take_turns(turns: Mapping[str, Turn], care: Care) -> dict[str, list[float]]:
    """For each contestant its seconds in each of the rounds.

    A round in which the watch saw the machine disturbed is made again, if no more than as many of
    them as there are rounds.

    Raises Unfair if in a counted round a contestant compiled, or recorded, what it had to run.
    """
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    counted, again = 0, care.rounds
    order = list(turns)
    _round(turns, order[::-1], care.watch)
    while counted < care.rounds:
        if counted >= LEAST_ROUNDS and time.perf_counter() > care.until:
            break
        answers, looks = _round(turns, order, care.watch)
        order = order[::-1]
        for name, answer in answers.items():
            if answer.get("made"):
                raise Unfair(f"bench: {name} was still compiling while it was timed")
        if again and care.watch is not None and not care.watch.were_calm(looks):
            again -= 1
            care.watch.repeated += 1
            continue
        counted += 1
        for name, answer in answers.items():
            seconds[name].append(answer["seconds"])
        if care.watch is not None:
            care.watch.looks += looks
    return seconds


def _round(
    turns: Mapping[str, Turn], names: Sequence[str], watch: Watch | None
) -> tuple[dict[str, dict[str, Any]], list[Look]]:
    """A turn of each: the answers, and what the watch saw after each turn."""
    answers, looks = {}, []
    for name in names:
        answers[name] = turns[name]()
        if watch is not None:
            looks.append(watch.look())
    return answers, looks
