"""The same bits on 1, 2 and 4 ranks: the SHA-256 of the parameters after training, for each lesson.

    python benchmarks/ranks_agree.py [LESSON ...] [--steps 200] [--ranks 1,2,4] [--backend c]

Starts each training with mpiexec, one thread for each rank, with the same batch of all ranks.
Prints a Markdown table with one row for each lesson: the first 16 digits of the SHA-256, and the
numbers of ranks that have it. The exit status is 1 if a lesson has more than one SHA-256.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import tinytensor as tt
from tinytensor.lessons import find, lessons
from tinytensor.train import Training


def train_on_rank(lesson: str, steps: int, backend: str) -> None:
    """Train on this rank; rank 0 prints the SHA-256."""
    world = tt.parallel.world()
    tt.set_num_threads(1)
    data = tt.datasets.mnist()
    data = data._replace(test_images=data.test_images[:100], test_labels=data.test_labels[:100])
    with tt.backend(backend):
        training = Training(find(lesson), data, steps=steps, evaluate_every=steps, world=world)
        list(training)
        found = training.weights_checksum()
    if world.rank == 0:
        print(found)


def weights(lesson: str, steps: int, ranks: int, backend: str) -> str:
    """The SHA-256 of the parameters after training on n ranks."""
    mpiexec = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or "mpiexec"
    command = [mpiexec, "-n", str(ranks), sys.executable, __file__, "--train", lesson]
    command += [str(steps), backend]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout.strip()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lessons", nargs="*", default=[each.number for each in lessons()])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--ranks", default="1,2,4")
    parser.add_argument("--backend", default="c")
    given = parser.parse_args()
    numbers = [int(n) for n in given.ranks.split(",")]
    print(f"| lesson | parameters after {given.steps} steps | ranks with these bits |")
    print("|---|---|---|", flush=True)
    differs = False
    for lesson in given.lessons:
        found: dict[str, list[str]] = {}
        for n in numbers:
            found.setdefault(weights(lesson, given.steps, n, given.backend), []).append(str(n))
        for sha, ranks in found.items():
            print(f"| {lesson} | {sha[:16]} | {', '.join(ranks)} |", flush=True)
        differs |= len(found) > 1
    sys.exit(differs)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--train"]:
        train_on_rank(sys.argv[2], int(sys.argv[3]), sys.argv[4])
    else:
        main()
