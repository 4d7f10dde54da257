"""The number of threads of a program, found by measuring some of its replays.

More threads are not always faster: after each kernel the threads wait for the slowest, and other
programs may need the cores. So the first replays use n threads and n / 2 threads in turns. If n / 2
threads are as fast, n / 4 are tried next, and so on. The trials are repeated when the number of
steps has doubled, because other programs start and end. The results have the same bits for any
number of threads. A number that the user has set is used as it is.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any

from tinytensor import door
from tinytensor.plural import plural

TURNS = 4  # of each number of threads
IN_A_ROW = 3  # replays in a turn; before the first one, threads may sleep
AS_FAST = 1.03  # the time of fewer threads that are as fast, divided by the time of more


class ThreadTrials:
    """Sets the number of threads of a program's calls before each replay.

    calls: BoundCalls of the C backend. most: the number of threads of the backend.
    best: the number of threads after the trials, `most` before. seconds: the shortest time of a
    step in the latest trials, by number of threads.
    """

    def __init__(self, calls: Any, most: int) -> None:
        self.best = self._most = most
        self.seconds: dict[int, float] = {}
        self._calls = calls
        self._steps = 0
        self._end_of_pause = 0  # the number of steps at which the next trials start
        self._trials: Generator[int, float, None] | None = None
        self._threads = most  # of the next replay
        if most > 1:
            self._start_trials()

    @property
    def used(self) -> int:
        """The number of threads that the user has set, or otherwise the best one."""
        return self._most if door.threads_are_set() else self.best

    def begin(self) -> None:
        """Set the number of threads for a replay, or for many steps at once."""
        self._calls.threads = door.MOST_THREADS if door.threads_are_set() else self._threads
        self._start = time.perf_counter()

    def end(self, steps: int = 1) -> None:
        """Note the time since begin(), in which n steps were made."""
        if self._most == 1 or not steps or door.threads_are_set():
            return
        self._steps += steps
        if self._trials is not None:
            seconds = (time.perf_counter() - self._start) / steps
            try:
                self._threads = self._trials.send(seconds)
            except StopIteration:
                self._threads, self._trials = self.best, None
                self._end_of_pause = 2 * self._steps
        elif self._steps >= self._end_of_pause:
            self._start_trials()

    def _start_trials(self) -> None:
        self._trials = self._compare_halves()
        self._threads = next(self._trials)

    def _compare_halves(self) -> Generator[int, float, None]:
        """Yield the number of threads of the next replay, and receive its time."""
        seconds: dict[int, float] = {}
        best = self._most
        while best > 1:
            half = best // 2
            for _ in range(TURNS):
                for n in (best, half):
                    for _ in range(IN_A_ROW):
                        taken = yield n
                        seconds[n] = min(seconds.get(n, taken), taken)
            if seconds[half] > AS_FAST * seconds[best]:
                break
            best = half
        self.best, self.seconds = best, seconds

    def __str__(self) -> str:
        """Return the number and what was measured; "" before the end of the first trials."""
        if not self.seconds:
            return ""
        times = [
            f"{plural(n, 'thread')} {s * 1e6:,.4g} us" for n, s in sorted(self.seconds.items())
        ]
        return f"{plural(self.best, 'thread')}, because a step takes: {', '.join(times)}"
