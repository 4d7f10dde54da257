"""Runs the check in a separate process, with limits of time and memory; its end is a verdict.

An endless loop, a crash, exit() and too much memory end the process, and the verdict says which.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tinytensor.learn.exercises import Exercise

COMPILING, MEASURING = "compiling", "speed"  # stages of a check
SECONDS = 30.0  # of a whole check
SECONDS_OF_A_CASE = 10.0
SECONDS_TO_COMPILE = 15.0  # of the first case of a function in Numba
SECONDS_OF_A_COMPILER = 120.0  # ziglang compiles its C library at the first use
MEMORY = 1 << 30  # bytes that the process may use
MEMORY_LIMIT = f"a check may use {MEMORY >> 30} GB"
POLL = 0.05  # seconds between two looks at this memory
SHOWN_LINES = 5  # printed by the student's code


@dataclass
class Verdict:
    """The result of a check.

    Attributes:
        right, total: the number of right cases, and of all cases that count; 0 of 0 if the file
            can't be used.
        problem: the first wrong case in words, with its arrays; empty if the answer is right.
        pace: the attributes of a MeasuredPace, if the answer is right and its speed was measured.
        needs_speed: True if the exercise needs a speed.
        printed: the last lines that the student's code printed.
        seconds: the duration of the check.
    """

    right: int = 0
    total: int = 0
    problem: str = ""
    pace: dict[str, Any] = field(default_factory=dict)
    needs_speed: bool = False
    printed: str = ""
    seconds: float = 0.0

    @property
    def is_right(self) -> bool:
        """True if all cases are right, also those that don't count."""
        return not self.problem and self.total > 0

    @property
    def is_passed(self) -> bool:
        """True if the answer is right, and as fast as its exercise needs."""
        if not self.needs_speed:
            return self.is_right
        return self.is_right and bool(self.pace) and self.pace["gflops"] >= self.pace["needed"]


def check(
    exercise: Exercise,
    language: str,
    file: Path,
    seconds: float = SECONDS,
    seconds_of_a_case: float = SECONDS_OF_A_CASE,
    show: Callable[[str], object] = lambda doing: None,
) -> Verdict:
    """Check a student's file in a separate process.

    Args:
        exercise, language, file: the answer.
        seconds: the time of the whole check.
        seconds_of_a_case: the time of one case.
        show: called with what the check does.
    """
    start = time.monotonic()
    verdict = Verdict(needs_speed=bool(exercise.rung_below))
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "output.txt"
        reading, writing = os.pipe()
        words = ["-P", "-m", "tinytensor.learn.judge", exercise.name, language]
        own = {"PYTHONWARNINGS": "ignore"}
        if exercise.threads:  # Numba uses a second thread also on one core
            own["NUMBA_NUM_THREADS"] = str(max(os.cpu_count() or 1, 2))
        with output.open("wb") as printed:
            process = subprocess.Popen(
                [sys.executable, *words, str(file.absolute()), str(writing)],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=printed,
                pass_fds=(writing,),
                start_new_session=True,
                env={**os.environ, **own},
            )
        os.close(writing)
        try:
            _follow(process, reading, verdict, start, seconds, seconds_of_a_case, show)
        finally:
            _kill(process)
        lines = output.read_text(encoding="utf-8", errors="replace").splitlines()
        verdict.printed = "\n".join(lines[-SHOWN_LINES:])
    verdict.seconds = time.monotonic() - start
    return verdict


def _follow(
    process: subprocess.Popen[bytes],
    reading: int,
    verdict: Verdict,
    start: float,
    seconds: float,
    seconds_of_a_case: float,
    show: Callable[[str], object],
) -> None:
    """Read the events of the process, until it ends or is out of time."""
    events: queue.Queue[dict[str, Any] | None] = queue.Queue()

    def read() -> None:
        with os.fdopen(reading, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    event = json.loads(line)
                except ValueError:  # cut off by a crash
                    continue
                events.put(event if isinstance(event, dict) else {})
        events.put(None)

    threading.Thread(target=read, daemon=True).start()
    whole, case, guarded, stage = seconds, "", "", ""
    limit = seconds  # of the next event; the first one comes after the imports
    while True:
        deadline = min(time.monotonic() + limit, start + seconds)
        try:
            event = _next_event(events, process, deadline)
        except MemoryError:
            doing = "measuring the speed: each call keeps memory" if stage == MEASURING else case
            verdict.problem = verdict.problem or _in_case(doing, f"out of memory: {MEMORY_LIMIT}")
            return
        except queue.Empty:
            if stage == COMPILING:
                verdict.problem = f"the C compiler did not end after {limit:.0f} s"
            elif stage != MEASURING:
                passed = min(limit, time.monotonic() - start)
                problem = f"no result after {passed:.0f} s: an endless loop, or very slow"
                verdict.problem = verdict.problem or _in_case(case, problem)
            return
        if event is None:
            _wait(process)
            if stage != MEASURING:
                problem = _end_of(process, guarded)
                verdict.problem = verdict.problem or _in_case(case, problem)
            return
        if event.get("done"):
            return
        if "refused" in event:
            verdict.problem = str(event["refused"])
        if "compiling" in event:
            stage, limit, seconds = COMPILING, SECONDS_OF_A_COMPILER, SECONDS_OF_A_COMPILER
        if "total" in event:
            if stage == COMPILING:
                stage, start, seconds = "", time.monotonic(), whole
            limit, verdict.total = seconds, int(event["total"])
        case = str(event.get("case", case))
        guarded = str(event.get("guarded", guarded))
        if "case" in event:
            limit = SECONDS_TO_COMPILE if event["compiles"] else seconds_of_a_case
            show(case)
        if "right" in event:
            verdict.right += bool(event["right"] and event["counted"])
            if not event["right"] and not verdict.problem:
                verdict.problem = _in_case(case, str(event["problem"]))
        if "stage" in event:
            stage, limit = MEASURING, seconds
            show("measuring the speed")
        verdict.pace = event.get("pace", verdict.pace)


def _next_event(
    events: queue.Queue[dict[str, Any] | None], process: subprocess.Popen[bytes], deadline: float
) -> dict[str, Any] | None:
    """Return the next event of the process.

    Raises:
        queue.Empty: the deadline has passed.
        MemoryError: the process uses more than MEMORY.
    """
    while True:
        left = deadline - time.monotonic()
        try:
            return events.get(timeout=max(min(POLL, left), 0))
        except queue.Empty:
            if _memory(process.pid) > MEMORY:
                raise MemoryError from None
            if left <= POLL:
                raise


def _memory(pid: int) -> int:
    """Return the bytes of memory that a process uses; 0 on a system that is not Linux."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
    except (OSError, IndexError):  # no such file, or the process has ended
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _in_case(case: str, problem: str) -> str:
    return f"{case}\n{problem}" if case else problem


def _end_of(process: subprocess.Popen[bytes], guarded: str) -> str:
    """Return why the process has ended before the end of the check, in words."""
    code = process.returncode
    if code is None:
        return "it closed the connection to the check, and did not end"
    if code >= 0:
        return f"it ended the process, with status {code}: a function returns, without exit()"
    name = signal.Signals(-code).name
    if guarded and name in ("SIGSEGV", "SIGBUS"):
        place, _, array = guarded.partition(" of ")
        side = "past the end of" if place == "the end" else "before the start of"
        return f"it read or wrote {side} {array} ({name})"
    if name in ("SIGSEGV", "SIGBUS"):
        return f"it crashed ({name}): it used memory that is not its own"
    if name == "SIGKILL":
        return "the system killed it (SIGKILL), usually for lack of memory"
    return f"it crashed ({name})"


def _wait(process: subprocess.Popen[bytes]) -> None:
    """Wait for the end of the process for one second."""
    try:
        process.wait(timeout=1)
    except subprocess.TimeoutExpired:
        return


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the process and those that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
