"""A pool of threads that divide the rows of a call.

The rows are divided into shares, which are separate calls of compiled code. The caller computes
one of them and then those that no worker has started, so a worker that was never scheduled delays
nobody. Compiled code runs without Python's global interpreter lock.

A waiting worker first spins in compiled code, because the next job usually comes at once, and
because a sleeping thread often wakes up on the core of the caller, which is busy. Then it sleeps.

The results do not depend on the number of threads, because each row is computed in the same way.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, cast

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tinytensor.arrays import Array
from tinytensor.backends.lowering import Lowered
from tinytensor.backends.numba.compiling import Kernel, kernel
from tinytensor.cores import cores
from tinytensor.forks import in_each_child

SPINS = 1 << 20  # about 0.5 ms: longer than the short calls between two jobs of a step
PAUSE = 1 << 12  # about 2 us, until the caller has released the global interpreter lock


@intrinsic
def read_again(typing, array, i):
    """Return array[i], read from memory, because another thread may have changed it."""

    def code(context, builder, signature, arguments):
        data = context.make_array(array)(context, builder, arguments[0]).data
        pointer = cgutils.gep_inbounds(builder, data, arguments[1])
        return builder.load_atomic(pointer, "acquire", 8)

    return types.int64(array, types.intp), code


@kernel("int64[::1], int64, int64, int64, int64")
def _spin(numbers, i, old, turns, pause):
    """Return True soon after numbers[i] differs from `old`, False after `turns` turns."""
    for _ in range(turns):
        if read_again(numbers, i) != old:
            for _ in range(pause):
                read_again(numbers, i)
            return True
    return False


_Spin = Callable[[Array, int, int, int, int], bool]


@cache
def _changes() -> _Spin:
    """Return _spin, compiled."""
    return cast(_Spin, _spin.bind((np.zeros(1, np.int64),))[0])


class Job:
    """The shares of one call: compiled functions and their arguments."""

    def __init__(self, shares: Sequence[Lowered]) -> None:
        self.shares = shares
        self.open = deque(range(1, len(shares)))  # share 0 is the caller's
        self.finished = np.zeros(len(shares), np.int64)
        self.errors: list[BaseException] = []

    def compute(self, share: int) -> None:
        """Compute a share, and note an error."""
        try:
            _call(*self.shares[share])
        except BaseException as error:
            self.errors.append(error)
        self.finished[share] = 1

    def work(self) -> None:
        """Compute shares until all have been taken."""
        while self.open:
            try:
                share = self.open.pop()
            except IndexError:  # another thread has taken it
                return
            self.compute(share)

    def wait(self) -> None:
        """Wait until all shares are finished."""
        changes = _changes()
        for share in range(len(self.shares)):
            while not changes(self.finished, share, 0, SPINS // 16, PAUSE):
                time.sleep(0)  # the worker may need this core


def _call(function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    """Call the function. When this returns, a worker holds none of its arrays any more."""
    function(*arguments)


class Pool:
    """The workers: threads in addition to the callers, started when a job needs them."""

    def __init__(self) -> None:
        self.num_threads = cores()  # that compute a job, including the caller
        self._forget_workers()
        in_each_child(self._forget_workers)

    def _forget_workers(self) -> None:
        """A forked child process has no workers, and its locks may be locked."""
        self._in_use = threading.Lock()  # held by the caller while its job runs
        self._wake = threading.Condition(threading.Lock())
        self._workers = self._sleepers = 0
        self._jobs = np.zeros(1, np.int64)  # the number of jobs so far
        self._job: Job | None = None

    def run(self, shares: Sequence[Lowered]) -> None:
        """Compute the shares, at the same time if possible; raise the error of one of them."""
        # While the job of another caller runs, this thread computes its job alone.
        if len(shares) == 1 or not self._in_use.acquire(blocking=False):
            for function, arguments in shares:
                function(*arguments)
            return
        job = self._job = Job(shares)
        try:
            self._start_workers(len(shares) - 1)
            self._jobs[0] += 1
            if self._sleepers:
                with self._wake:
                    self._wake.notify_all()
            job.compute(0)
            job.work()
            job.wait()
        finally:
            job.shares = ()  # a worker may keep the job for a moment, but no arrays
            self._job = None
            self._in_use.release()
        if job.errors:
            raise job.errors[0]

    def _start_workers(self, count: int) -> None:
        """Start workers until there are `count`; if the system refuses, fewer do the work."""
        while self._workers < count:
            try:
                threading.Thread(target=self._work, args=(self._wake,), daemon=True).start()
            except RuntimeError:
                return
            self._workers += 1

    def _work(self, wake: threading.Condition) -> None:
        changes, jobs, seen = _changes(), self._jobs, 0
        while True:
            if not changes(jobs, 0, seen, SPINS, PAUSE):
                with wake:
                    self._sleepers += 1
                    while jobs[0] == seen:
                        wake.wait()
                    self._sleepers -= 1
            seen = int(jobs[0])
            if job := self._job:
                job.work()
                del job


pool = Pool()


SHARED_FROM = 1 << 20  # multiplications: 25 us on one thread, while a job costs 6 us


def by_rows(
    loops: Kernel,
    multiplications: int,
    rows: int,
    grain: int,
    per_row: dict[int, int],
    count: int | None = None,
) -> "Kernel | ByRows":
    """Return the kernel, with its rows divided among the threads if it is worth it."""
    if multiplications < SHARED_FROM:
        return loops
    return ByRows(loops, rows, grain, per_row, count)


class ByRows:
    """A kernel whose rows are divided among the threads.

    per_row: for the arguments that are divided, by position, the number of elements for each row.
    grain: shares begin at multiples of this number of rows.
    count: the position of the argument that is the number of rows, if there is one.
    """

    def __init__(
        self,
        loops: Kernel,
        rows: int,
        grain: int,
        per_row: dict[int, int],
        count: int | None = None,
    ) -> None:
        self.loops, self.rows, self.grain = loops, rows, grain
        self.per_row, self.count = per_row, count

    def __call__(self, *arguments: Any) -> None:
        """Compute all rows."""
        pool.run([(self.loops, share) for share in self._shares(arguments)])

    def bind(self, arguments: tuple[Any, ...]) -> Lowered:
        """Return the function and the arguments of the fastest call with these arguments."""
        function, arguments = self.loops.bind(arguments)
        bound: dict[int, list[Lowered]] = {}  # the shares for each number of threads

        def run() -> None:
            if (threads := pool.num_threads) not in bound:
                bound[threads] = [(function, share) for share in self._shares(arguments)]
            pool.run(bound[threads])

        return run, ()

    def _shares(self, arguments: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """Return the arguments of each share."""
        grains = -(-self.rows // self.grain)
        count = min(pool.num_threads, grains)
        if count <= 1:
            return [arguments]
        shares = []
        for share in range(count):
            begin = grains * share // count * self.grain
            end = min(self.rows, grains * (share + 1) // count * self.grain)
            own = list(arguments)
            for i, per_row in self.per_row.items():
                # The last share gets the end of a table, too, which is filled up to complete tiles.
                last = None if end == self.rows else end * per_row
                own[i] = own[i][begin * per_row : last]
            if self.count is not None:
                own[self.count] = end - begin
            shares.append(tuple(own))
        return shares
