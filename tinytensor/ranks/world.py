"""The ranks of this run, and what they exchange.

All communication uses requests that do not block, and a rank polls them until they are complete. So
a rank that waits too long for another one ends the run with a sentence.
"""

from __future__ import annotations

import functools
import json
import os
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from tinytensor.arrays import Array
from tinytensor.cores import cores
from tinytensor.errors import BackendUnavailable, DataError, ShapeError

if TYPE_CHECKING:
    from mpi4py import MPI

RANKS_FILE = "TINYTENSOR_RANKS_FILE"  # an environment variable
TIMEOUT = 60.0  # seconds that a rank waits for the other ranks, until steps are measured
MIN_TIMEOUT = 10.0  # seconds, after that
MAX_STEPS = 100  # mean steps that a rank waits for, if they take longer than MIN_TIMEOUT
_NOTE, _ORDER = 0, 1  # tags of messages
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
    sizes = [int(os.environ[name]) for name in _SIZE_VARIABLES if name in os.environ]
    if sizes and made.size != sizes[0]:  # each process would be a rank 0 that writes the same files
        library = MPI.Get_library_version().split("\n")[0].rstrip("\0")
        raise BackendUnavailable(
            f"world: mpiexec started {sizes[0]} processes, and mpi4py found {made.size}, because "
            f"mpiexec belongs to another MPI library than mpi4py's, {' '.join(library.split())}; "
            "the mpiexec of this library is needed, such as that of tinytensor launch"
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
        timeout: float, the seconds after which a rank that waits ends the run. None, the default,
            for 60 s until steps are noted, and then for the time of 100 mean steps, at least 10 s.

    Source: MPI_Comm_rank and MPI_Comm_size of the MPI standard.
    """

    def __init__(self, comm: MPI.Intracomm | None = None) -> None:
        self._comm = comm
        self.is_launched = comm is not None
        self.rank, self.size, self.local_size = 0, 1, 1
        self.timeout: float | None = None
        self.exchanges = 0  # the number of exchanges that this rank has started
        self._steps, self._seconds = 0, 0.0  # that were noted
        if comm is not None:
            from mpi4py import MPI

            self.rank, self.size = comm.rank, comm.size
            self._notes = comm.Dup()  # of ranks that wait too long, and the orders of rank 0
            self._sent: list[MPI.Request] = []  # orders that may not have arrived
            local = comm.Split_type(MPI.COMM_TYPE_SHARED)
            self.local_size = local.size
            local.Free()

    def write_ranks(self) -> None:
        """Write the host and process of each rank to the file that `tinytensor launch` reads."""
        file = os.environ.get(RANKS_FILE)
        if self._comm is None or file is None:
            return
        ranks = self._comm.gather((socket.gethostname(), os.getpid()))
        if self.rank == 0:
            new = Path(f"{file}.new")  # so that the file is complete as soon as it exists
            new.write_text(json.dumps(ranks), encoding="utf-8")
            new.rename(file)

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
        if self.size & (self.size - 1) == 0:
            distance = 1
            while distance < self.size:  # ranks whose numbers differ in one binary digit
                partner = self.rank ^ distance
                self._exchange(x, other, partner)
                np.add(x, other, out=x)  # x + y has the same bits as y + x
                distance *= 2
            return
        self._wait(self._comm.Ireduce(x, other))
        if self.rank == 0:
            x[...] = other
        self.broadcast(x)

    def broadcast(self, *arrays: Array, root: int = 0) -> None:
        """Replace each array by the one of the rank `root`.

        Args:
            arrays: contiguous arrays of any dtype, of the same shapes and dtypes on each rank.
            root: int, the rank whose values all ranks get.
        """
        if self._comm is not None and self.size > 1:
            for x in arrays:
                self._wait(self._comm.Ibcast(x.reshape(-1).view(np.uint8), root))

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
            values: texts by name, such as {"weights": a checksum}.

        Raises:
            DataError: a value differs. The message names the first such rank, the name and both
                values.
        """
        first: dict[str, str] = json.loads(self.broadcast_text(json.dumps(dict(values))))
        names = [*first, *(name for name in values if name not in first)]
        wrong = [name for name in names if first.get(name) != values.get(name)]
        differs = np.zeros(self.size, np.int64)
        differs[self.rank] = bool(wrong)
        self.sum(differs)
        if not differs.any():
            return
        message = ""
        if wrong:
            own, its = (given.get(wrong[0], "none") for given in (values, first))
            message = f"has {wrong[0]} {own}, and rank 0 has {its}"
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
            self._sent += [self._notes.isend(order, other, _ORDER) for other in self._others()]

    def receive_order(self) -> Any:
        """Wait for the next order of rank 0, and return it."""
        start = time.monotonic()
        while not self._notes.iprobe(0, _ORDER):
            self._poll(start)
        return self._notes.recv(source=0, tag=_ORDER)

    def note_step(self, seconds: float) -> None:
        """Note the time of a training step, from which the default timeout is computed."""
        self._steps, self._seconds = self._steps + 1, self._seconds + seconds

    def forget_steps(self) -> None:
        """Forget the times of the steps, because the next ones may compile kernels."""
        self._steps, self._seconds = 0, 0.0

    @property
    def seconds_to_wait(self) -> float:
        """The seconds after which a rank that waits ends the run now; see `timeout`."""
        if self.timeout is not None:
            return self.timeout
        if not self._steps:
            return TIMEOUT
        return max(MIN_TIMEOUT, MAX_STEPS * self._seconds / self._steps)

    def _exchange(self, x: Array, other: Array, partner: int) -> None:
        """Send x to the partner, and receive the partner's x, which must have the same size."""
        from mpi4py import MPI

        assert self._comm is not None
        sent, received = MPI.Status(), MPI.Status()
        requests = self._comm.Isend(x, partner), self._comm.Irecv(other, partner)
        is_longer = False
        try:
            self._wait(*requests, statuses=[sent, received])
        except MPI.Exception:
            is_longer = MPI.Get_error_class(received.Get_error()) == MPI.ERR_TRUNCATE
            if not is_longer:
                raise
        if is_longer or received.Get_count(MPI.BYTE) != x.nbytes:
            raise ShapeError(
                f"sum: rank {self.rank} has an array of {x.size:,} elements, and rank {partner} "
                "one of another size; the same shape and dtype are needed on all ranks"
            )

    def _wait(self, *requests: MPI.Request, statuses: list[MPI.Status] | None = None) -> None:
        """Wait until the requests are complete."""
        from mpi4py import MPI

        self.exchanges += 1
        start = time.monotonic()
        while not MPI.Request.Testall(list(requests), statuses):
            self._poll(start)

    def _poll(self, start: float) -> None:
        """Sleep between two looks for a message; end the run if this rank waits for too long."""
        waited = time.monotonic() - start
        time.sleep(0 if waited < 0.001 else 5e-5)  # another process or thread uses this core
        if waited > self.seconds_to_wait:
            self._end_after_timeout(start)

    def _end_after_timeout(self, start: float) -> NoReturn:
        """End the run with the ranks that are missing: those that don't wait, too."""
        waiting = {self.rank}
        notes = [self._notes.isend(self.rank, other, _NOTE) for other in self._others()]
        end = time.monotonic() + 1.5  # other ranks started to wait a little later
        while time.monotonic() < end:
            while self._notes.iprobe(tag=_NOTE):
                waiting.add(self._notes.recv(tag=_NOTE))
            time.sleep(0.01)
        del notes
        missing = [rank for rank in range(self.size) if rank not in waiting]
        names = ", ".join(map(str, missing)) or "none"
        seconds = time.monotonic() - start
        if self.rank != min(waiting):
            time.sleep(2)  # the first of the waiting ranks prints
        print(
            f"tinytensor: rank {names} has not answered rank {self.rank} for {seconds:.0f} s; it "
            "hangs, or computes something that the other ranks don't",
            file=sys.stderr,
        )
        self.abort(2)

    def _others(self) -> Sequence[int]:
        return [rank for rank in range(self.size) if rank != self.rank]

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
