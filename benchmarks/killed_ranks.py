"""Kills a rank at each step of a training, and counts what is left.

    python benchmarks/killed_ranks.py [--lesson 2.1] [--ranks 4] [--steps 200]

For k = 1, 2, ... 200 this program starts a training of 200 steps with `--save-every 1`. During step
k a random rank is killed with SIGKILL, at a random time within the step: while it computes,
exchanges, or writes the checkpoint. It prints how many runs ended within 5 s, on all ranks, and how
many checkpoints were whole. A checkpoint is whole if a training that resumes from it ends with the
weights of a training that was not interrupted, bit by bit. The exit status is 1 if one was not.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

import tinytensor as tt
from tinytensor import checkpoint
from tinytensor.lessons import find
from tinytensor.train import Training

CHUNKS = 4
MOST_SECONDS = 5.0
LARGEST_DELAY = 0.02  # seconds from the start of a step to the kill


class Killed(NamedTuple):
    """A run whose rank was killed."""

    rank: int
    seconds: float  # until all ranks had ended
    status: int  # of mpiexec
    saved: int  # the step of the checkpoint, 0 without one
    weights: str  # SHA-256 after the resumed training
    files: int  # in the folder of the checkpoint


def train_and_die(folder: Path, arguments: list[str], victim: int, step: int, delay: float) -> None:
    """Run `tinytensor train` on this rank, which is killed in this step if it is the victim."""
    from tinytensor_command import main

    rank = tt.parallel.world().rank
    (folder / f"rank{rank}").write_text(str(os.getpid()))

    def kill_later() -> None:
        time.sleep(delay)
        (folder / "killed").write_text(repr(time.monotonic()))
        os.kill(os.getpid(), signal.SIGKILL)

    make_step = Training.make_step

    def make_step_or_die(training: Training) -> object:
        if training.step + 1 == step and rank == victim:
            threading.Thread(target=kill_later).start()
        return make_step(training)

    Training.make_step = make_step_or_die
    main(arguments)


def is_running(pid: int) -> bool:
    """True if the process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def training(lesson: str, steps: int) -> Training:
    """The same training in this process."""
    data = tt.datasets.mnist()
    data = data._replace(test_images=data.test_images[:1], test_labels=data.test_labels[:1])
    return Training(find(lesson), data, steps=steps, evaluate_every=steps, chunks=CHUNKS)


def killed(lesson: str, ranks: int, steps: int, step: int) -> Killed:
    """Start a training, kill a rank at this step, and resume from the checkpoint."""
    mpiexec = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or "mpiexec"
    victim = random.randrange(ranks)
    with tempfile.TemporaryDirectory() as name:
        folder, saved = Path(name), Path(name) / "saved"
        saved.mkdir()
        file = saved / "run.safetensors"
        command = [
            *[mpiexec, "-n", str(ranks), sys.executable, __file__, "--victim", str(victim)],
            *["--folder", name, "--at", str(step), str(random.uniform(0, LARGEST_DELAY))],
            *["train", lesson, "--steps", str(steps), "--eval-every", str(steps), "--threads", "1"],
            *["--backend", tt.current_backend().name, "--save", str(file), "--save-every", "1"],
        ]
        done = subprocess.run(command, capture_output=True, timeout=120, check=False)
        pids = [int((folder / f"rank{rank}").read_text()) for rank in range(ranks)]
        while any(map(is_running, pids)):
            time.sleep(0.01)
        seconds = time.monotonic() - float((folder / "killed").read_text())
        again = training(lesson, steps)
        at = 0
        if file.exists():
            again.resume(file)
            at = int(checkpoint.about(file)["step"])
        list(again)
        found = again.weights_checksum()
        return Killed(victim, seconds, done.returncode, at, found, len(list(saved.iterdir())))


def main() -> None:
    """Kill, and print a line for each run and the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lesson", default="2.1")
    parser.add_argument("--ranks", type=int, default=4)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    random.seed(given.seed)
    tt.set_num_threads(1)
    whole = training(given.lesson, given.steps)
    list(whole)
    expected = whole.weights_checksum()
    runs = []
    for step in range(1, given.steps + 1):
        run = killed(given.lesson, given.ranks, given.steps, step)
        print(step, *run[:4], run.weights[:16], run.files, flush=True)
        runs.append(run)
    seconds = sorted(run.seconds for run in runs)
    in_time = sum(each <= MOST_SECONDS for each in seconds)
    resumed = sum(run.weights == expected for run in runs)
    without = sum(run.saved == 0 for run in runs)
    print(f"{in_time} of {len(runs)} runs ended within {MOST_SECONDS:g} s on all ranks")
    print(f"seconds: median {seconds[len(seconds) // 2]:.2f}, longest {seconds[-1]:.2f}")
    print(f"{resumed} of {len(runs)} ended with the same weights; {without} had no checkpoint yet")
    sys.exit(min(in_time, resumed) < len(runs))


if __name__ == "__main__":
    if "--victim" in sys.argv:
        _, _, victim, _, folder, _, at, delay, *arguments = sys.argv
        train_and_die(Path(folder), arguments, int(victim), int(at), float(delay))
    else:
        main()
