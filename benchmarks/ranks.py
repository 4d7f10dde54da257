"""What the exchange between ranks costs, and what a training step gains from several ranks.

    mpiexec -n 2 python benchmarks/ranks.py [LESSON ...] [--steps 60]

Prints a Markdown table with one row per lesson. "bytes" is the size of the array that a step sums
over the ranks. "sum" is the least time of World.sum of this array, and "Allreduce" that of MPI's
own function, whose bits depend on the number of ranks. "one process" is the least time of a step
without MPI on one thread, and "ranks" that on all ranks, each with one thread. Times are in ms.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
from mpi4py import MPI

import tinytensor as tt
from tinytensor import parallel
from tinytensor.lessons import find, lessons
from tinytensor.train import Training


def least_ms(call: Callable[[], object], repeats: int, barrier: Callable[[], object]) -> float:
    """The least time of a call in milliseconds; all ranks start it together."""
    times = []
    for _ in range(repeats):
        barrier()
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times) * 1000


def step_ms(lesson: str, steps: int, world: parallel.World) -> tuple[float, int]:
    """The least time of a training step, and the bytes of its last exchange."""
    training = Training(find(lesson), tt.datasets.mnist(), steps=steps + 20, world=world)
    training.model.train()
    for _ in range(20):
        training.make_step()
    time_taken = least_ms(training.make_step, steps, lambda: None)
    return time_taken, training.parallel.exchanged_bytes if training.parallel else 0


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lessons", nargs="*", default=[each.number for each in lessons()])
    parser.add_argument("--steps", type=int, default=60)
    given = parser.parse_args()
    world = parallel.world()
    barrier = MPI.COMM_WORLD.Barrier
    tt.set_num_threads(1)

    def show(*cells: object) -> None:
        if world.rank == 0:
            print("| " + " | ".join(map(str, cells)) + " |", flush=True)

    show("lesson", "bytes", "sum", "Allreduce", "one process", f"{world.size} ranks")
    show(*["---"] * 6)
    for lesson in given.lessons:
        alone = 0.0
        if world.rank == 0:  # while the other ranks sleep
            alone, _ = step_ms(lesson, given.steps, parallel.ALONE)
        request = MPI.COMM_WORLD.Ibarrier()
        while not request.Test():
            time.sleep(0.01)
        together, size = step_ms(lesson, given.steps, world)
        x = np.ones(size // 4, np.float32)
        y = np.empty_like(x)
        own = least_ms(lambda x=x: world.sum(x), given.steps, barrier)
        mpi = least_ms(lambda x=x, y=y: MPI.COMM_WORLD.Allreduce(x, y), given.steps, barrier)
        show(lesson, f"{size:,}", *(f"{each:.3g}" for each in (own, mpi, alone, together)))


if __name__ == "__main__":
    main()
