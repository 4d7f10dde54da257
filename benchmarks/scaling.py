"""What several ranks cost and gain: measured on this machine, and computed for 64 hosts.

    python benchmarks/scaling.py [LESSON ...] [--seconds 2] [--json FILE] [--page FILE]

Starts the ranks with mpiexec itself. Each rank has one thread. Each time is the least of those that
fit into --seconds, because other programs can only make a time longer. --page writes the tables
into a page, such as docs/guides/scaling.md. Prints five Markdown tables:

1. An exchange: World.sum, and MPI's own Allreduce, by size and number of ranks.
2. A step on 2 and 4 ranks: the model of `time_of_step`, and what was measured.
3. Two ranks against two threads of one process, for the same batch of 100 images.
4. Weak scaling: 2 ranks of 100 images each, against one process of 100 images.
5. The model for up to 64 hosts with 10 Gbit/s.

If there are more ranks than cores, they share the cores, and the model counts that.
"""

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import tinytensor as tt
from tinytensor import parallel
from tinytensor.cores import cores
from tinytensor.lessons import find, lessons
from tinytensor.ranks.world import PARTS_FROM
from tinytensor.train import Training

CHUNKS = 4  # the default
IMAGES = 100
SIZES = [10**3, 10**4, 10**5, 10**6, 10**7]  # bytes
HOSTS = [2, 4, 8, 16, 32, 64]
LATENCY = 30e-3  # ms of a message between two hosts; TCP over Ethernet of 10 Gbit/s
BYTES_PER_MS = 1.25e6  # 10 Gbit/s
START, END = "<!-- benchmarks/scaling.py -->", "<!-- end of benchmarks/scaling.py -->"


# Measuring --------------------------------------------------------------------------------------


def least_ms(call: Callable[[], object], repeats: int) -> float:
    """The least time of a call in milliseconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times) * 1000


def exchange_ms(world: parallel.World, size: int) -> tuple[float, float]:
    """The least times of World.sum and of MPI's Allreduce for an array of `size` bytes."""
    from mpi4py import MPI

    x, y = np.zeros(size // 4, np.float32), np.empty(size // 4, np.float32)
    repeats = 200 if size <= 10**6 else 40
    own = least_ms(lambda: world.sum(x), repeats)
    return own, least_ms(lambda: MPI.COMM_WORLD.Allreduce(x, y), repeats)


@contextmanager
def one_core() -> Iterator[None]:
    """In a `with` block, all threads of this process run on one core, as those of a rank do."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass
class Step:
    """A training step: its least time, and its exchanges with other chunks."""

    ms: float
    bytes: int  # of the largest exchange
    exchanges: int


def step(
    lesson: str, seconds: float, batch: int, world: parallel.World, chunks: int | None = None
) -> Step:
    """Measure a step of the whole batch on all ranks."""
    training = Training(
        find(lesson), tt.datasets.mnist(), steps=10**4, batch=batch, world=world, chunks=chunks
    )
    training.model.train()
    for _ in range(10):
        start = time.perf_counter()
        training.make_step()
    wanted = np.array([seconds / (time.perf_counter() - start)])
    world.broadcast(wanted)
    steps = int(min(max(wanted[0], 20), 5000))
    before = world.exchanges
    ms = least_ms(training.make_step, steps)
    made = (world.exchanges - before) // steps // max(1, int(math.log2(world.size)))
    size = training.parallel.exchanged_bytes if training.parallel else 0
    return Step(ms, size, made - (size >= PARTS_FROM))  # the parts are summed, and then sent


def measure_on_ranks(names: Sequence[str], seconds: float) -> dict[str, Any]:
    """All measurements of one number of ranks, by name; all ranks return theirs."""
    tt.set_num_threads(1)
    world = parallel.world()
    n = world.size
    found: dict[str, Any] = {"exchange": {str(s): exchange_ms(world, s) for s in SIZES}}
    found["step"] = {x: asdict(step(x, seconds, IMAGES, world)) for x in names}
    if n == 2:
        for chunks in (2, CHUNKS):
            found[f"weak {chunks}"] = {
                x: asdict(step(x, seconds, n * IMAGES, world, chunks)) for x in names
            }
    return found


def on_ranks(n: int, names: Sequence[str], seconds: float) -> dict[str, Any]:
    """What measure_on_ranks returns on n ranks."""
    mpiexec = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or "mpiexec"
    command = [mpiexec, "-n", str(n), sys.executable, __file__, "--measure", *names]
    command += ["--seconds", str(seconds)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


# The model --------------------------------------------------------------------------------------


@dataclass
class Exchange:
    """The model of an exchange on n ranks: messages, one after another.

    latency: ms of a message. per_byte: ms for each byte, sent and added.
    """

    @staticmethod
    def counts(size: float, n: int) -> tuple[float, float]:
        """The number of messages of a rank, and of arrays of `size` bytes in all of them."""
        rounds = math.log2(n)
        return (rounds, rounds) if size < PARTS_FROM else (2 * rounds, 2 * (1 - 1 / n))

    latency: float
    per_byte: float

    def ms(self, size: float, n: int) -> float:
        """The time of the sum of arrays of `size` bytes over n ranks."""
        messages, arrays = self.counts(size, n)
        return messages * self.latency + arrays * self.per_byte * size


def fitted(times: dict[str, tuple[float, float]], n: int) -> Exchange:
    """The Exchange with the latency of the smallest, and the slope of a middle size."""
    latency = times[str(SIZES[0])][0] / math.log2(n)
    messages, arrays = Exchange.counts(SIZES[3], n)
    slope = (times[str(SIZES[3])][0] - messages * latency) / arrays / SIZES[3]
    return Exchange(latency, slope)


@dataclass
class Compute:
    """The time of a step without exchanges: fixed + images * per_image, in ms."""

    fixed: float
    per_image: float

    def ms(self, images: float) -> float:
        """The time for a number of images."""
        return self.fixed + self.per_image * images


def time_of_step(compute: float, exchanges: int, size: int, n: int, exchange: Exchange) -> float:
    """The model: a rank computes its images, and takes part in all exchanges.

    The first exchange has the gradients. The other ones are those of batch norm, which are small:
    two for each layer.
    """
    small = exchange.ms(SIZES[0], n)
    return compute + exchange.ms(size, n) + (exchanges - 1) * small


# The tables -------------------------------------------------------------------------------------


printed: list[str] = []


def say(line: str) -> None:
    """Print a line, and keep it for the page."""
    printed.append(line)
    print(line, flush=True)


def show(*cells: object) -> None:
    """Print a row of a table."""
    texts = [f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in cells]
    say("| " + " | ".join(texts) + " |")


def header(title: str, *cells: str) -> None:
    """Print a title, and the first rows of a table."""
    say(f"\n{title}\n")
    show(*cells)
    show(*["---"] * len(cells))


def show_exchanges(on: dict[int, dict[str, Any]]) -> None:
    """The first table."""
    names = [f"{what}, {n} ranks" for n in on for what in ("sum", "Allreduce")]
    header("Table 1. An exchange, in ms:", "bytes", *names)
    for size in SIZES:
        show(f"{size:,}", *(float(x) for n in on for x in on[n]["exchange"][str(size)]))


def show_model(
    names: Sequence[str], parts: dict[str, dict[int, float]], on: dict[int, dict[str, Any]]
) -> None:
    """The second table."""
    cells = [f"{what}, {n} ranks" for n in on for what in ("model", "measured", "ratio")]
    header("Table 2. A step of 100 images, in ms:", "lesson", "bytes", "exchanges", *cells)
    for name in names:
        row: list[object] = []
        for n, found in on.items():
            made = Step(**found["step"][name])
            exchange = fitted(found["exchange"], n)
            shared = max(1.0, n / cores())  # ranks of a core
            compute = parts[name][n] * shared
            model = time_of_step(compute, made.exchanges, made.bytes, n, exchange)
            row += [model, made.ms, round(made.ms / model, 2)]
        show(name, f"{made.bytes:,}", made.exchanges, *row)


def show_threads(names: Sequence[str], alone: dict[str, list[float]], two: dict[str, Any]) -> None:
    """The third table."""
    cells = ["one thread", "two threads", "two ranks", "ranks / threads"]
    header("Table 3. A step of 100 images, in ms:", "lesson", *cells)
    for name in names:
        one, threads = alone[name]
        ranks = two["step"][name]["ms"]
        show(name, one, threads, ranks, round(ranks / threads, 2))


def show_weak(names: Sequence[str], alone: dict[str, list[float]], two: dict[str, Any]) -> None:
    """The fourth table."""
    cells = [f"2 ranks of 100, {c} chunks" for c in (2, CHUNKS)]
    header(
        "Table 4. A step of 100 images for each rank, in ms, and the efficiency with 2 chunks:",
        "lesson", "one process of 100", *cells, "efficiency",
    )  # fmt: skip
    for name in names:
        one = alone[name][0]
        times = [two[f"weak {chunks}"][name]["ms"] for chunks in (2, CHUNKS)]
        show(name, one, *times, f"{one / times[0]:.0%}")


def show_hosts(
    names: Sequence[str], computes: dict[str, Compute], two: dict[str, Any], add: float
) -> None:
    """The fifth table: what the model says of hosts with 10 Gbit/s."""
    network = Exchange(LATENCY, 1 / BYTES_PER_MS + add)
    header(
        f"Table 5. The model for hosts with 10 Gbit/s, {LATENCY * 1000:g} us a message, and "
        f"{add * 1e6:.2g} ms to add 1 MB:",
        "lesson", "compute, 100 images", "exchanges, 64 hosts", "fastest number of hosts",
        "speed-up", "64 hosts, 100 images each: efficiency", "images each for 50 %",
        "local steps for 90 %",
    )  # fmt: skip
    for name in names:
        compute, made = computes[name], Step(**two["step"][name])
        costs = {n: time_of_step(0.0, made.exchanges, made.bytes, n, network) for n in HOSTS}
        one, cost = compute.ms(IMAGES), costs[HOSTS[-1]]
        by_hosts = {1: one} | {n: compute.ms(IMAGES / n) + costs[n] for n in HOSTS}
        best = min(by_hosts, key=lambda n: by_hosts[n])
        enough = math.ceil((cost - compute.fixed) / compute.per_image)
        show(
            name, one, cost, best, round(one / by_hosts[best], 1), f"{one / (one + cost):.0%}",
            f"{max(enough, 1):,}", math.ceil(9 * cost / one),
        )  # fmt: skip


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lessons", nargs="*", default=[each.number for each in lessons()])
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--page", metavar="FILE")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    names, seconds = given.lessons, given.seconds
    if given.measure:
        found = measure_on_ranks(names, seconds)
        if parallel.world().rank == 0:
            print(json.dumps(found))
        return
    say(
        f"Measured on {cores()} cores. The load average before the measurement was "
        f"{os.getloadavg()[0]:.1f}; it is 0 on an idle machine."
    )
    alone: dict[str, list[float]] = {}
    parts: dict[str, dict[int, float]] = {}
    computes: dict[str, Compute] = {}
    for name in names:
        tt.set_num_threads(1)
        one = step(name, seconds, IMAGES, parallel.ALONE).ms
        with one_core():
            parts[name] = {
                n: step(name, seconds, IMAGES // n, parallel.ALONE, CHUNKS // n).ms
                for n in (2, CHUNKS)
            }
        per_image = (one - step(name, seconds, IMAGES // 4, parallel.ALONE).ms) / (3 * IMAGES // 4)
        computes[name] = Compute(one - per_image * IMAGES, per_image)
        tt.set_num_threads(2)
        alone[name] = [one, step(name, seconds, IMAGES, parallel.ALONE).ms]
    on = {n: on_ranks(n, names, seconds) for n in (2, CHUNKS)}
    x = np.zeros(10**6 // 4, np.float32)
    add = least_ms(lambda: np.add(x, x, out=x), 200) / 10**6
    if given.json:
        measured = {"alone": alone, "parts": parts, "ranks": on}
        Path(given.json).write_text(json.dumps(measured), encoding="utf-8")
    show_exchanges(on)
    show_model(names, parts, on)
    show_threads(names, alone, on[2])
    show_weak(names, alone, on[2])
    show_hosts(names, computes, on[2], add)
    if given.page:
        page = Path(given.page)
        before, _, rest = page.read_text(encoding="utf-8").partition(START)
        _, _, after = rest.partition(END)
        tables = "\n".join([START, "", *printed, "", END])
        page.write_text(f"{before}{tables}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
