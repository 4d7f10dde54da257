"""The course's training steps: tinytensor, and the same networks in NumPy, PyTorch and JAX.

    python benchmarks/steps.py [--lessons 1.0 2.1] [--peers numpy torch] [--threads 1 2] [--json F]

Batches of 100, float32, the same first values and the same batches for all. Each contestant has a
process of its own, bound to so many cores, with as many threads; before anything is timed their
first losses must agree. The processes take turns, round by round, so that all see the same machine;
in a turn the steps are made twice, and the second time counts. A cell is the best microseconds a
step of all rounds, and below it the median. Nothing that is timed contains compiling or starting;
to choose a batch's images and make numbers of their bytes is part of a step.

eager, captured and run are tinytensor on C: op by op, captured, and many captured steps in a call;
numba is captured too, on one thread. numpy is written by hand, jax is jit with donated buffers, and
"jax loop" the whole loop inside one jit. The bound is the least time that the step's arithmetic and
memory traffic can take on this machine, see tinytensor/roofline.py; "share" is the bound by
tinytensor's best time, and "ahead" the best peer's time by tinytensor's best.
"""

import argparse
import contextlib
import datetime
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from peers.task import dropouts
from peers.worker import CONTESTANTS
from rich.console import Console
from rich.table import Table

from tinytensor.errors import BackendUnavailable, SettingError, TinytensorError
from tinytensor.kernels import load_backend
from tinytensor.lessons import find
from tinytensor.machine import cpu_name

OWN = ("eager", "captured", "run", "numba")
PEERS = tuple(name for name in CONTESTANTS if name not in OWN)
LESSONS = ("1.0", "2.0", "2.1", "2.2", "3.0", "3.1", "4.0", "4.1", "4.2")
COMPARED = 5  # first steps, whose losses must agree
TOLERANCE = 1e-3  # of them, relative
# Of those after the first: 4.2's rate is so large that it soon makes a thousand times as much of
# rounding, and the convolutions that PyTorch calls for channels_last round by 1e-5.
TOLERANCE_LATER = {"4.2": 0.03}
TURN = 0.05  # seconds: about what a turn takes tinytensor
UNSET = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # NumPy's own choice is the fastest


class Unfair(Exception):  # noqa: N818 - not an error of the program
    """The contestants can't be compared."""


class Process:
    """A contestant's process, and the conversation with it; see peers/worker.py."""

    def __init__(self, name: str, threads: int) -> None:
        self.name, self.skipped = name, ""
        cores = sorted(os.sched_getaffinity(0))[:threads]
        settings = {name: value for name, value in os.environ.items() if name not in UNSET}
        settings |= {"OMP_NUM_THREADS": str(threads)}
        settings |= {"PYTHONPATH": os.pathsep.join(sys.path)}  # it finds what is found here
        self._process = subprocess.Popen(
            [sys.executable, "-m", "peers.worker", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=settings,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
            process_group=0,  # Ctrl-C is for this process, which then ends the others
        )
        wanted = 1 if name == "numba" else threads
        if (found := self.ask("set_threads", threads=threads)["threads"]) != wanted:
            raise Unfair(f"{name} has {found} threads; {wanted} are needed")

    def ask(self, do: str, **request: object) -> dict:
        """The answer, and in `skipped` the reason if it is that the contestant can't."""
        try:
            print(json.dumps({"do": do, **request}), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise Unfair(f"the process of {self.name} has ended; its last words are above")
        answer = json.loads(line)
        self.skipped = answer.get("skipped", "")
        return answer

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


@contextlib.contextmanager
def processes(names: Sequence[str], threads: int) -> Iterator[list[Process]]:
    started: list[Process] = []
    try:
        for name in names:
            started.append(Process(name, threads))
        yield started
    finally:
        for process in started:
            process.close()


def compare_losses(contestants: Sequence[Process], lesson: str) -> None:
    """Raises Unfair if the first losses differ.

    Without dropout, for each library draws masks of its own; what is timed has it.
    """
    losses = {}
    for process in contestants:
        process.ask("prepare", lesson=lesson, keep_prob=1.0)
        if not process.skipped:
            losses[process.name] = process.ask("train", steps=COMPARED).get("losses")
    wanted = losses[contestants[0].name]
    tolerances = np.full(len(wanted), TOLERANCE_LATER.get(lesson, TOLERANCE))
    tolerances[0] = TOLERANCE
    for name, found in losses.items():
        if found is not None and not np.allclose(found, wanted, rtol=tolerances, atol=0):
            raise Unfair(
                f"lesson {lesson}: the first losses of {name} are {found}, those of "
                f"{contestants[0].name} {wanted}; the networks aren't the same"
            )


def measure(contestants: Sequence[Process], lesson: str, threads: int, rounds: int) -> dict:
    """A row: for each contestant the best and the median, in microseconds a step; the bound."""
    compare_losses(contestants, lesson)
    has_dropout = bool(dropouts(find(lesson).model()))
    for process in contestants:
        if has_dropout and not process.skipped:
            process.ask("prepare", lesson=lesson, keep_prob=None)
        if not process.skipped:
            process.ask("train", steps=COMPARED)  # what is to be compiled is so now
    here = [process for process in contestants if not process.skipped]
    fast = min((p for p in here if p.name in OWN), key=lambda p: seconds_a_step(p, COMPARED))
    steps = max(2, min(300, round(TURN / seconds_a_step(fast, COMPARED))))
    times: dict[str, list[float]] = {process.name: [] for process in here}
    (captured,) = (process for process in contestants if process.name == "captured")
    bounds = [captured.ask("roofline", threads=threads)["seconds"]]
    for process in here:
        process.ask("train", steps=steps)  # jax compiles a loop of this length
    for _ in range(rounds):
        for process in here:
            process.ask("train", steps=steps)
            times[process.name].append(seconds_a_step(process, steps) * 1e6)
    bounds.append(captured.ask("roofline", threads=threads)["seconds"])
    return {
        "lesson": lesson,
        "threads": threads,
        "steps": steps,
        "bound": min(bounds) * 1e6,
        "best": {name: min(all_of_it) for name, all_of_it in times.items()},
        "median": {name: statistics.median(all_of_it) for name, all_of_it in times.items()},
        "skipped": {p.name: p.skipped for p in contestants if p.skipped},
    }


def seconds_a_step(process: Process, steps: int) -> float:
    return process.ask("train", steps=steps)["seconds"] / steps


# What is shown ----------------------------------------------------------------------------------


def show(rows: Sequence[dict], console: Console) -> None:
    """A table for each number of threads, and why cells are empty."""
    for threads in dict.fromkeys(row["threads"] for row in rows):
        some = [row for row in rows if row["threads"] == threads]
        names = [name for name in CONTESTANTS if any(name in row["best"] for row in some)]
        table = Table(title=f"{threads} thread(s) of {cpu_name()}: microseconds a step")
        table.add_column("lesson")
        for name in (*names, "bound", "share", "ahead"):
            table.add_column(name.replace(" ", "\n").replace(".", "\n."), justify="right")
        for row in some:
            cells = [cell(row, name) for name in names]
            table.add_row(row["lesson"], *cells, f"{row['bound']:,.0f}", *ratios(row))
        console.print(table)
    reasons = [(name, why) for row in rows for name, why in row["skipped"].items()]
    for name, why in dict.fromkeys(reasons):
        lessons = [row["lesson"] for row in rows if row["skipped"].get(name) == why]
        console.print(f"{name}, {', '.join(dict.fromkeys(lessons))}: {why}")


def cell(row: dict, name: str) -> str:
    if name not in row["best"]:
        return ""
    best = f"{row['best'][name]:,.0f}"
    group = OWN if name in OWN else PEERS
    is_winner = row["best"][name] == best_of(row, group)
    return f"{f'[bold]{best}[/]' if is_winner else best}\n[dim]{row['median'][name]:,.0f}[/]"


def ratios(row: dict) -> tuple[str, str]:
    """The share of the bound, and how far tinytensor is ahead of the best peer."""
    own, peer = best_of(row, OWN), best_of(row, PEERS)
    return f"{row['bound'] / own:.0%}", f"{peer / own:.2f}" if peer < float("inf") else ""


def best_of(row: dict, names: Sequence[str]) -> float:
    return min((row["best"][name] for name in names if name in row["best"]), default=float("inf"))


def report(rows: Sequence[dict]) -> dict:
    """What is written as JSON: the rows, and what they were measured with."""
    versions = {name: version(name) for name in ("numpy", "numba", "torch", "jax")}
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cpu": cpu_name(),
        "versions": {name: number for name, number in versions.items() if number},
        "rows": list(rows),
    }


def version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


# The command ------------------------------------------------------------------------------------


def is_installed(name: str) -> bool:
    return find_spec(CONTESTANTS[name].needs) is not None


def checked(options: argparse.Namespace) -> list[str]:
    """The contestants' names.  Raises an error for what can't be done here."""
    for lesson in options.lessons:
        if find(lesson).number not in LESSONS:
            raise SettingError(f"--lessons {lesson}: choose from {' '.join(LESSONS)}")
    load_backend("c")  # or say why it can't be
    cores = len(os.sched_getaffinity(0))
    for threads in options.threads:
        if not 1 <= threads <= cores:
            raise SettingError(f"--threads {threads}: from 1 to the {cores} cores here is needed")
    if options.rounds < 1:
        raise SettingError(f"--rounds {options.rounds}: at least 1 is needed")
    if options.json and not options.json.parent.is_dir():
        raise SettingError(f"--json {options.json}: there is no folder {options.json.parent}")
    peers = options.peers
    if peers is None:
        peers = [name for name in PEERS if is_installed(name)]
    for name in peers:
        if name not in PEERS:
            raise SettingError(f"--peers {name}: choose from {', '.join(PEERS)}")
        if not is_installed(name):
            raise BackendUnavailable(
                f"--peers {name}: {CONTESTANTS[name].needs} isn't installed; "
                "pip install -e '.[peers]' mends that"
            )
    return [*OWN, *peers]


def main() -> None:
    """Measure, lesson by lesson, and print the tables at the end."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lessons", nargs="+", default=LESSONS, metavar="LESSON")
    parser.add_argument("--peers", nargs="*", metavar="PEER", help=f"of {', '.join(PEERS)}")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    try:
        names = checked(options)
        rows = measure_all(options, names)
    except (TinytensorError, Unfair) as error:
        print(f"steps: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("steps: stopped", file=sys.stderr)
        sys.exit(130)
    show(rows, Console(width=120))
    if options.json:
        options.json.write_text(json.dumps(report(rows), indent=1), encoding="utf-8")


def measure_all(options: argparse.Namespace, names: Sequence[str]) -> list[dict]:
    """All rows, each told as soon as it is known."""
    missing = [] if options.peers is not None else [n for n in PEERS if not is_installed(n)]
    if missing:
        print(f"not installed, and left out: {', '.join(missing)}", file=sys.stderr)
    rows = []
    for threads in options.threads:
        with processes(names, threads) as contestants:
            for lesson in (find(name).number for name in options.lessons):
                rows.append(measure(contestants, lesson, threads, options.rounds))
                best = {name: round(time) for name, time in rows[-1]["best"].items()}
                print(f"{threads} thread(s), lesson {lesson}: {best}", file=sys.stderr)
    return rows


if __name__ == "__main__":
    main()
