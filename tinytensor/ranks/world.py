"""The ranks of this run, and what they exchange.

All communication uses requests that do not block, and a rank polls them until they are complete. So
a rank that waits in vain ends the run with a sentence; see liveness.py.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from tinytensor.arrays import Array
from tinytensor.cores import cores
from tinytensor.errors import BackendUnavailable, DataError, ShapeError
from tinytensor.ranks.differences import first_difference
from tinytensor.ranks.liveness import Liveness, Wait

if TYPE_CHECKING:
    from mpi4py import MPI

RANKS_FILE = "TINYTENSOR_RANKS_FILE"  # an environment variable
PARTS_FROM = 2**19  # bytes of an array from which on each rank adds a part of it
MOST_TAGS = 2**15  # of a message, in any MPI library
_RANK_VARIABLES = ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK")  # of MPICH, PMIx, Open MPI
_SIZE_VARIABLES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE")
_NO_MPI = (
    "world: mpiexec started this program, and mpi4py is missing or can't load MPI ({}); install "
    "both with: pip install 'tinytensor-engine[mpi]'"
)


def launched_rank() -> int | None:
    """Return the rank that mpiexec or srun gave this process; None if neither started it."""
    given = [os.environ[name] for name in _RANK_VARIABLES if name in os.environ]
    return int(given[0]) if given else None


def launched_size() -> int | None:
    """Return the number of processes that mpiexec started; None if its library does not set it."""
    given = [os.environ[name] for name in _SIZE_VARIABLES if name in os.environ]
    return int(given[0]) if given else None


@functools.cache
def world() -> World:
    """Return the ranks of this run: all processes that the same mpiexec or srun started.

    A program that was started without them is a world of one rank, in which each call returns at
    once. The first call starts MPI. From then on, an exception that ends the program on one rank
    ends it on all ranks.

    Returns:
        World, the same one at each call.

    Raises:
        BackendUnavailable: mpiexec started the program, and mpi4py is not installed, or it uses
            another MPI library than mpiexec.

    Source: mpi4py.MPI.COMM_WORLD.

    >>> tt.parallel.world()
    World(rank 0 of 1)
    """
    if launched_rank() is None:
        return ALONE
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # RuntimeError: there is no MPI library
        raise BackendUnavailable(_NO_MPI.format(" ".join(str(error).split()))) from None
    made = World(MPI.COMM_WORLD)
    size = launched_size()
    if size not in (None, made.size):  # each process would be a rank 0 that writes the same files
        library = MPI.Get_library_version().split("\n")[0].rstrip("\0")
        raise BackendUnavailable(
            f"world: mpiexec started {size} processes, and mpi4py found {made.size}, because "
            f"mpiexec belongs to another MPI library than mpi4py's, {' '.join(library.split())}; "
            "the mpiexec of this library is needed, such as that of tinytensor launch"
        )
    if made.size > 1 and MPI.Query_thread() < MPI.THREAD_MULTIPLE:
        raise BackendUnavailable(
            "world: mpi4py has started MPI for one thread; mpi4py.rc.thread_level = 'multiple', "
            "its default, is needed"
        )
    sys.excepthook = functools.partial(_end_all, made, sys.excepthook)
    made.write_ranks()
    return made


def _end_all(
    made: World, print_error: Any, kind: type[BaseException], error: BaseException,
    traceback: TracebackType | None,
) -> None:  # fmt: skip
    """Print an exception that ends the program on this rank, and end the other ranks."""
    made.wait_for_lower_ranks()
    print_error(kind, error, traceback)
    print(f"tinytensor: rank {made.rank} raised this error, which ends all ranks", file=sys.stderr)
    made.abort(1)


def started() -> World | None:
    """Return the ranks of this run if world() has started MPI, else None."""
    made = world() if world.cache_info().currsize else ALONE
    return made if made.is_launched else None


class World:
    """The ranks of a run. Call its methods on all ranks, in the same order.

    Args:
        comm: the mpi4py communicator; None for one rank without MPI.

    Attributes:
        rank: int, the number of this process, from 0 up.
        size: int, the number of ranks.
        local_size: int, the number of ranks on this machine.
        is_launched: True if mpiexec or srun started the ranks.
        timeout: float, the seconds after which a rank that waits ends the run. By default None, for
            the seconds of liveness.py, which depend on what the other rank does.

    Source: MPI_Comm_rank and MPI_Comm_size of the MPI standard.
    """

    def __init__(self, comm: MPI.Intracomm | None = None) -> None:
        self._comm = comm
        self.is_launched = comm is not None
        self.rank, self.size, self.local_size = 0, 1, 1
        self.timeout: float | None = None
        self._has_core = True  # of this machine, for itself
        self._liveness: Liveness | None = None
        if comm is not None:
            from mpi4py import MPI

            self.rank, self.size = comm.rank, comm.size
            self._orders = comm.Dup()  # of rank 0
            self._sent: list[MPI.Request] = []  # orders that may not have arrived
            if comm.size > 1 or MPI.Query_thread() == MPI.THREAD_MULTIPLE:
                self._liveness = Liveness(comm.Dup())
            local = comm.Split_type(MPI.COMM_TYPE_SHARED)
            self.local_size = local.size
            self._has_core = local.size <= cores()
            local.Free()

    def write_ranks(self) -> None:
        """Write the host and process of each rank to the file that `tinytensor launch` reads.

        When the program ends without being killed, rank 0 makes a second file, FILE.ended.
        """
        file = os.environ.get(RANKS_FILE)
        if self._comm is None or file is None:
            return
        ranks = self._comm.gather((socket.gethostname(), os.getpid()))
        if self.rank == 0 and Path(file).parent.is_dir():  # not if launch runs on another machine
            new = Path(f"{file}.new")  # so that the file is complete as soon as it exists
            new.write_text(json.dumps(ranks), encoding="utf-8")
            new.rename(file)
            atexit.register(Path(f"{file}.ended").touch)

    @property
    def threads_per_rank(self) -> int:
        """The number of cores of this machine for each of its ranks, at least 1."""
        return max(1, cores() // self.local_size)

    def __repr__(self) -> str:
        return f"World(rank {self.rank} of {self.size})"

    def sum(self, x: Array) -> None:
        """Replace x on each rank by the sum of all ranks' x, with the same bits on each rank.

        With 2, 4, 8, ... ranks the order of the additions is fixed: neighbours are added first,
        (x0 + x1) + (x2 + x3). For other numbers of ranks MPI chooses the order.

        Args:
            x: contiguous float or int array, of the same shape and dtype on each rank.

        Raises:
            ShapeError: x is not contiguous, or has another size on another rank.
        """
        if not x.flags.c_contiguous:
            raise ShapeError(
                f"sum: got an array of shape {x.shape} that is not contiguous; sum a copy, "
                "np.ascontiguousarray(x), and use the copy"
            )
        if self._comm is None or self.size == 1:
            return
        other = np.empty_like(x)
        if self.size & (self.size - 1):
            self._wait(self._comm.Ireduce(x, other), size=x.nbytes)
            if self.rank == 0:
                x[...] = other
            self.broadcast(x)
        elif x.nbytes < PARTS_FROM:
            for partner in self._partners():
                self._exchange(x, other, partner, x.size)
                np.add(x, other, out=x)  # x + y has the same bits as y + x
        else:
            self._sum_parts(x.reshape(-1), other.reshape(-1))

    def _partners(self) -> list[int]:
        """The ranks whose number differs from this one's in one binary digit, from the last on."""
        return [self.rank ^ 1 << digit for digit in range(self.size.bit_length() - 1)]

    def _sum_parts(self, x: Array, other: Array) -> None:
        """Sum x (n,) as above, with fewer bytes: each rank adds a part of x, and sends its sum.

        After each exchange a rank has half of the part that it had before. Then the same pairs
        exchange their sums, in the reverse order. The sum of each element is made by the same
        additions as for a small array.
        """
        parts = [(0, len(x))]
        for partner in self._partners():
            start, stop = parts[-1]
            middle = (start + stop) // 2
            low, high = (start, middle), (middle, stop)
            own, sent = (low, high) if self.rank < partner else (high, low)
            self._exchange(x[slice(*sent)], other[slice(*own)], partner, len(x))
            x[slice(*own)] += other[slice(*own)]
            parts.append(own)
        for partner in reversed(self._partners()):
            start, stop = parts.pop()
            first, last = parts[-1]
            rest = x[stop:last] if start == first else x[first:start]
            self._exchange(x[start:stop], rest, partner, len(x))

    def broadcast(self, *arrays: Array, root: int = 0) -> None:
        """Replace each array by the one of the rank `root`.

        Args:
            arrays: contiguous arrays of any dtype, of the same shapes and dtypes on each rank.
            root: int, the rank whose values all ranks get.
        """
        if self._comm is not None and self.size > 1:
            for x in arrays:
                content = x.reshape(-1).view(np.uint8)
                self._wait(self._comm.Ibcast(content, root), size=x.nbytes)

    def broadcast_text(self, text: str, root: int = 0) -> str:
        """Return the text of the rank `root`, on each rank."""
        encoded = np.frombuffer(text.encode(), np.uint8)
        length = np.array([len(encoded)])
        self.broadcast(length, root=root)
        found = encoded.copy() if self.rank == root else np.empty(length[0], np.uint8)
        self.broadcast(found, root=root)
        return found.tobytes().decode()

    def check_same(self, what: str, values: Mapping[str, str]) -> None:
        """Raise DataError on all ranks if a rank has other values than rank 0.

        Args:
            what: the start of the message, such as "train".
            values: texts by name, such as {"weights": a checksum}. A text may be JSON.

        Raises:
            DataError: a value differs. The message names the first such rank, the name and both
                values; of JSON, only the first value in it that differs.
        """
        first: dict[str, str] = json.loads(self.broadcast_text(json.dumps(dict(values))))
        own = dict(values)
        differs = np.zeros(self.size, np.int64)
        differs[self.rank] = own != first
        self.sum(differs)
        if not differs.any():
            return
        message = ""
        if own != first:
            name, its, there = first_difference(own, first)
            message = f"has {name} {its}, and rank 0 has {there}"
        rank = int(differs.argmax())
        message = self.broadcast_text(message, rank)
        raise DataError(f"{what}: rank {rank} {message}; the same is needed on all ranks")

    def send_order(self, order: object) -> None:
        """Send an order of rank 0 to the other ranks, which call receive_order().

        It does not wait, so any thread may call it at any time.

        Args:
            order: any object that pickle can copy.
        """
        if self._comm is not None:
            self._sent = [request for request in self._sent if not request.Test()]
            others = (rank for rank in range(self.size) if rank != self.rank)
            self._sent += [self._orders.isend(order, other) for other in others]

    def receive_order(self) -> Any:
        """Wait for the next order of rank 0, and return it."""
        wait = Wait(has_core=False)  # for a step of rank 0, which may use all cores
        while not self._orders.iprobe(0):
            self._poll(wait)
        return self._orders.recv(source=0)

    @property
    def exchanges(self) -> int:
        """The number of exchanges that this rank has made."""
        return 0 if self._liveness is None else self._liveness.exchanges

    @contextmanager
    def in_step(self) -> Iterator[None]:
        """In a `with` block, this rank computes a training step.

        If it hangs there, the other ranks end the run; see liveness.py.
        """
        if self._liveness is None:
            yield
            return
        with self._liveness.in_step():
            yield

    def forget_steps(self) -> None:
        """Forget the times of the steps, because the next ones may compile kernels."""
        if self._liveness is not None:
            self._liveness.forget_steps()

    def _exchange(self, sent: Array, other: Array, partner: int, size: int) -> None:
        """Send an array to the partner, and receive `other`; both are parts of `size` elements.

        The tag of a message has the size, which must be the same on both ranks.
        """
        from mpi4py import MPI

        assert self._comm is not None
        statuses = [MPI.Status(), MPI.Status()]
        tag = size % MOST_TAGS
        requests = self._comm.Isend(sent, partner, tag), self._comm.Irecv(other, partner)
        is_longer = False
        try:
            self._wait(*requests, size=sent.nbytes, statuses=statuses)
        except MPI.Exception:
            is_longer = MPI.Get_error_class(statuses[1].Get_error()) == MPI.ERR_TRUNCATE
            if not is_longer:
                raise
            self._wait(requests[0], size=sent.nbytes)  # so that the partner finds the mistake, too
        received = statuses[1].Get_tag(), statuses[1].Get_count(MPI.BYTE)
        if is_longer or received != (tag, other.nbytes):
            raise ShapeError(
                f"sum: rank {self.rank} has an array of {size:,} elements, and rank {partner} "
                "one of another size; the same shape and dtype are needed on all ranks"
            )

    def _wait(
        self, *requests: MPI.Request, size: int, statuses: list[MPI.Status] | None = None
    ) -> None:
        """Wait until the requests are complete, which send or receive `size` bytes."""
        from mpi4py import MPI

        own = self._liveness
        assert own is not None  # because there are several ranks
        is_network = self.local_size < self.size
        wait, own.is_waiting = Wait(self._has_core, size if is_network else 0), True
        try:
            while not MPI.Request.Testall(list(requests), statuses):
                self._poll(wait)
            own.exchanges += 1
        except MPI.Exception:
            failures = [MPI.Get_error_class(each.Get_error()) for each in statuses or ()]
            if MPI.ERR_TRUNCATE not in failures:
                time.sleep(2)  # if another rank has crashed, mpiexec now names it and ends this one
            raise
        finally:
            own.is_waiting, own.seconds = False, 0.0

    def _poll(self, wait: Wait) -> None:
        """Sleep between two looks for a message; end the run if this rank waits in vain."""
        wait.pause()
        if self._liveness is None or wait.seconds < wait.next_look:
            return
        found = self._liveness.look(wait, self.timeout)
        if found:
            if not self._liveness.is_first(wait):
                time.sleep(2)  # the first of the waiting ranks prints
            for sentence in found:
                print(f"tinytensor: {sentence}", file=sys.stderr)
            self.abort(2)

    def wait_for_lower_ranks(self) -> None:
        """Wait a little before an error is printed, so that ranks with the same error print one."""
        time.sleep(min(0.3 * self.rank, 1.5))

    def abort(self, status: int) -> NoReturn:
        """End all ranks at once; `status` is the exit status of mpiexec."""
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        if self._comm is not None:
            time.sleep(0.2)  # mpiexec reads what was printed; it loses the rest at an Abort
            self._comm.Abort(status)
        sys.exit(status)


ALONE = World()
