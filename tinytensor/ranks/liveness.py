"""Finds the rank for which other ranks wait in vain.

A rank that has waited for a short time sends a request to each other rank. A thread of that rank
replies with its Status, also while the rank computes. These replies end a wait:

- A rank has ended its program. It has sent its last Status then, so this is found at once.
- A rank has not replied for LIMIT seconds, and the time in which a slow network sends the array.
  Its process was stopped or killed.
- A rank has computed the same training step for LIMIT seconds, and for 20 times as long as its
  longest step so far. The first two steps don't count, because they may compile kernels.
- A rank does something else, such as a test or a checkpoint, and has used no processor time for
  IDLE seconds: it waits for a lock, a disk or a person. If it has child processes, which may
  compute for it, this is not counted.
- A rank has done something else for TIMEOUT seconds.
- All ranks have waited for each other for DEADLOCK seconds.

A rank ends without a wait if its parent process has ended: then mpiexec, or its process on this
machine, was killed, and nobody else would end the rank. So does a rank on the machine of
`tinytensor launch` if that process was killed: mpiexec has another session and would not end.

Seconds are added up in short ticks, and a process that the system does not run makes no ticks. So
a rank that is slow because other programs use its cores is not taken for one that hangs.
"""

from __future__ import annotations

import atexit
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

if TYPE_CHECKING:
    from mpi4py import MPI

LAUNCHER = "TINYTENSOR_LAUNCHER"  # an environment variable: host and process of tinytensor launch
LIMIT = 4.0  # seconds without a reply, or of one training step
LONGEST_STEPS = 20  # the longest steps that one step may take, if that is above LIMIT
SLOWEST = 1e6  # bytes per second of a network
DEADLOCK = 60.0
IDLE = 60.0
TIMEOUT = 600.0
NO_TIME = 5e-5  # seconds of processor time in a tick that are not counted
SOON = 0.5  # seconds of a wait before its first request
POLLING = 0.001  # seconds of a wait without a longer sleep
TICK = 0.1  # seconds between two requests, and between two looks of the replying thread
NOTICE = 30.0  # seconds of a wait before a line says what it waits for
_REQUEST, _REPLY, _ENDED = 0, 1, 2  # tags of messages
_YIELDS = hasattr(os, "sched_yield")
_DEBUGGERS = ("pdb", "pydevd")  # modules that stop a program at a breakpoint


def _may_have_children() -> bool:
    """True if this process has child processes, or if the system has no list of them."""
    lists = list(Path("/proc/self/task").glob("*/children"))
    try:
        return not lists or any(each.read_text() for each in lists)
    except OSError:  # a thread has ended meanwhile
        return True


def _launcher() -> int | None:
    """The process of `tinytensor launch` if it has started this rank, on this machine."""
    host, _, process = os.environ.get(LAUNCHER, "").rpartition(" ")
    return int(process) if host == socket.gethostname() else None


def _has_ended(process: int) -> bool:
    """True if a process has ended, also if its parent has not read its exit status yet."""
    try:
        os.kill(process, 0)
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except ProcessLookupError:
        return True
    except OSError:  # it is another user's, or the system has no /proc
        return False


class Status(NamedTuple):
    """The work of a rank now.

    exchanges: the number that it has made. is_waiting: True if it waits in the next one. seconds:
    of its training step, since the start or the last exchange. longest: the seconds of its longest
    step; 0 outside of a step that is timed. idle: seconds in which it has used no processor time.
    is_debugged: True if it has imported a debugger.
    """

    exchanges: int
    is_waiting: bool
    seconds: float
    longest: float
    idle: float
    is_debugged: bool


class Wait:
    """A wait of this rank.

    Args:
        has_core: True if no other rank needs this rank's core, which may then poll all the time.
        sent: the bytes that are sent to another machine meanwhile. Replies wait until they are.

    Attributes:
        seconds: float, its duration in ticks.
    """

    def __init__(self, has_core: bool, sent: int = 0) -> None:
        self.has_core, self.most_silent = has_core, LIMIT + sent / SLOWEST
        self.seconds, self.next_look, self.next_notice = 0.0, SOON, NOTICE
        self.number = 0  # of the wait, after its first look
        self.requested: set[int] = set()  # ranks that have not replied to the last request
        self.replied: dict[int, tuple[float, Status]] = {}  # with the second of the last reply
        self._last = time.monotonic()

    def pause(self) -> None:
        """Let another thread, and after some time another process, use this core for a moment."""
        now = time.monotonic()
        self.seconds += min(now - self._last, TICK)
        self._last = now
        if self.seconds > POLLING:
            time.sleep(5e-5)
        elif self.has_core and _YIELDS:
            os.sched_yield()  # time.sleep(0) takes 60 us on Linux
        else:
            time.sleep(0)


class Liveness:
    """What the other ranks do, and what this rank replies.

    Args:
        comm: a communicator for these messages only.

    Attributes:
        exchanges: the number of exchanges that this rank has made.
        is_waiting: True if it waits in an exchange.
        seconds: of its training step, in ticks since the start or the last exchange.
    """

    def __init__(self, comm: MPI.Intracomm) -> None:
        self._comm = comm
        self._others = [rank for rank in range(comm.size) if rank != comm.rank]
        self.exchanges, self.is_waiting, self.seconds = 0, False, 0.0
        self._is_in_step, self._steps, self._longest = False, 0, 0.0
        self._idle = 0.0
        self._waits = 0
        self._ended: dict[int, int] = {}  # the exchanges of the ranks that have ended
        self._sent: dict[int, list[MPI.Request]] = {}  # by tag; they may not have arrived
        self._is_over = threading.Event()
        self._process, self._parent, self._launcher = os.getpid(), os.getppid(), _launcher()
        self._thread = threading.Thread(target=self._reply, name="tinytensor-liveness", daemon=True)
        self._thread.start()
        atexit.register(self._end)

    @contextmanager
    def in_step(self) -> Iterator[None]:
        """In a `with` block, this rank computes a training step."""
        start = time.perf_counter()
        self.seconds, self._is_in_step = 0.0, True
        try:
            yield
        finally:
            self._is_in_step = False
        self._steps += 1
        if self._steps > 1:
            self._longest = max(self._longest, time.perf_counter() - start)

    def forget_steps(self) -> None:
        """Forget the times of the steps, because the next ones may compile kernels."""
        self._steps, self._longest = 0, 0.0

    def look(self, wait: Wait, timeout: float | None) -> list[str]:
        """Exchange requests and replies, and return a sentence for each rank that ends the wait.

        Args:
            wait: of this rank.
            timeout: the seconds that replace LIMIT, DEADLOCK, IDLE and TIMEOUT, or None.
        """
        wait.next_look = wait.seconds + TICK
        if not wait.number:
            self._waits = wait.number = self._waits + 1
        for rank, exchanges in self._received(_ENDED):
            self._ended[rank] = exchanges
        for rank, (number, status) in self._received(_REPLY):
            if number == wait.number:  # no late reply to the request of an earlier wait
                wait.replied[rank] = wait.seconds, status
                wait.requested.discard(rank)
        for rank in self._others:
            if rank not in wait.requested and rank not in self._ended:
                self._send(wait.number, rank, _REQUEST)
                wait.requested.add(rank)
        self._show_notice(wait)
        reasons = ((rank, self._reason(rank, wait, timeout)) for rank in self._others)
        found = [f"rank {rank} {reason}" for rank, reason in reasons if reason]
        return found or self._deadlock(wait, timeout)

    def is_first(self, wait: Wait) -> bool:
        """True if no rank with a lower number waits, so that this one prints."""
        waiting = [rank for rank, (_, status) in wait.replied.items() if status.is_waiting]
        return self._comm.rank < min(waiting, default=self._comm.size)

    def _reason(self, rank: int, wait: Wait, timeout: float | None) -> str:
        """Why this rank need not be waited for any longer; an empty text if it must."""
        own = self._comm.rank
        if rank in self._ended:
            if self._ended[rank] > self.exchanges:
                return ""  # it took part in this exchange before it ended
            return (
                f"has ended its program, and rank {own} waits for it; all ranks must make the same "
                "calls"
            )
        second, status = wait.replied.get(rank, (0.0, None))
        if wait.seconds - second > (timeout or wait.most_silent):
            return (
                f"has not answered rank {own} for {wait.seconds - second:.0f} s; its process was "
                "stopped or has ended, or its machine can't be reached"
            )
        if status is None or status.is_debugged or status.is_waiting:
            return ""
        most = timeout or max(LIMIT, LONGEST_STEPS * status.longest)
        if status.longest and status.seconds > most:
            return (
                f"has computed one training step for {status.seconds:.0f} s, and its longest step "
                f"before took {status.longest:.3f} s; it hangs"
            )
        if status.idle > (timeout or IDLE):
            return (
                f"has used no processor time for {status.idle:.0f} s, and rank {own} waits for it; "
                "it waits for a lock, a disk or an input"
            )
        if wait.seconds > (timeout or TIMEOUT):
            return f"has not answered rank {own} for {wait.seconds:.0f} s; it does something else"
        return ""

    def _deadlock(self, wait: Wait, timeout: float | None) -> list[str]:
        """A sentence if all ranks wait in exchanges for too long."""
        statuses = [status for _, status in wait.replied.values() if status.is_waiting]
        most = timeout or DEADLOCK + wait.most_silent
        if wait.seconds < most or len(statuses) < len(self._others):
            return []
        return [
            f"all ranks have waited for each other for {wait.seconds:.0f} s; all ranks must make "
            "the same calls in the same order"
        ]

    def _show_notice(self, wait: Wait) -> None:
        """Print the ranks that are waited for, from time to time."""
        busy = [str(rank) for rank, (_, status) in wait.replied.items() if not status.is_waiting]
        if wait.seconds < wait.next_notice or not busy or not self.is_first(wait):
            return
        wait.next_notice *= 2
        print(
            f"tinytensor: rank {self._comm.rank} has waited for {wait.seconds:.0f} s for rank "
            f"{', '.join(busy)}, which may test, save or compile; --timeout SECONDS limits a wait",
            file=sys.stderr,
            flush=True,
        )

    def _reply(self) -> None:
        """Reply to the requests of waiting ranks, until the program ends."""
        last, last_used = time.monotonic(), 0.0
        while not self._is_over.wait(TICK):
            now, used = time.monotonic(), time.process_time() - time.thread_time()
            passed = min(now - last, 2 * TICK)
            if not self.is_waiting:
                self.seconds += passed
            self._idle = self._idle + passed if used - last_used < NO_TIME else 0.0
            last, last_used = now, used
            if os.getppid() != self._parent:
                self._end_after("the process that started it")
            if self._launcher is not None and _has_ended(self._launcher):
                self._end_after("tinytensor launch")
            for rank, number in self._received(_REQUEST):
                self._send((number, self._status()), rank, _REPLY)

    def _end_after(self, process: str) -> NoReturn:
        """End this process, because the one that would have ended the ranks has ended itself."""
        with suppress(OSError):  # the ended process has read what this rank prints
            print(
                f"tinytensor: rank {self._comm.rank} ends, because {process} has ended",
                file=sys.stderr,
                flush=True,
            )
        os._exit(1)

    def _status(self) -> Status:
        longest = self._longest if self._is_in_step else 0.0
        is_debugged = any(name in sys.modules for name in _DEBUGGERS)
        idle = 0.0 if self._idle > SOON and _may_have_children() else self._idle
        return Status(self.exchanges, self.is_waiting, self.seconds, longest, idle, is_debugged)

    def _end(self) -> None:
        """Send the number of exchanges to all ranks, because this one ends its program."""
        if os.getpid() != self._process:
            return  # a child process, which is no rank
        self._is_over.set()
        self._thread.join()
        for rank in self._others:
            self._send(self.exchanges, rank, _ENDED)

    def _send(self, message: object, rank: int, tag: int) -> None:
        sent = [request for request in self._sent.get(tag, ()) if not request.Test()]
        self._sent[tag] = [*sent, self._comm.isend(message, rank, tag)]

    def _received(self, tag: int) -> Iterator[tuple[int, Any]]:
        """Yield the messages with this tag that have arrived, and their ranks."""
        from mpi4py import MPI

        status = MPI.Status()
        while self._comm.iprobe(tag=tag, status=status):
            rank = status.Get_source()
            yield rank, self._comm.recv(source=rank, tag=tag)
