"""How long a training on several ranks runs on after a fault of one rank, and what it prints.

    python benchmarks/rank_faults.py [--ranks 4] [FAULT ...]

Starts `tinytensor train` on several ranks for each fault, lets it happen at step 50, and prints a
Markdown table: the seconds until all ranks have ended, and the last line that was printed.
benchmarks/killed_ranks.py kills a rank at each step instead.
"""

import argparse
import errno
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from killed_ranks import is_running

import tinytensor as tt
from tinytensor import atomic_file, datasets
from tinytensor.cli import launch_command
from tinytensor.parallel import ParallelStep
from tinytensor.train import Training

STEP = 50


def raise_error() -> None:
    """Raise an exception that tinytensor does not know."""
    raise RuntimeError("the disk is on fire")


def refuse_labels() -> None:
    """Raise an exception of tinytensor."""
    raise tt.LabelError("cross_entropy: got label 10 for 10 classes; 0 to 9 is needed")


def kill() -> None:
    """End without a word, as a process does that needs too much memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def crash() -> None:
    """End as after a wrong pointer in a C library."""
    os.kill(os.getpid(), signal.SIGSEGV)


def kill_parent() -> None:
    """Kill the process of mpiexec that has started the ranks of this machine."""
    os.kill(os.getppid(), signal.SIGKILL)


def hang() -> None:
    """Compute nothing more."""
    os.kill(os.getpid(), signal.SIGSTOP)


def leave() -> None:
    """End the program before the other ranks do."""
    sys.exit()


def leave_at_once() -> None:
    """End the program without a message to the other ranks."""
    os._exit(0)


def hang_in_step() -> None:
    """Compute the next training step without an end."""
    ParallelStep._compute = lambda *_: time.sleep(1e6)  # type: ignore[assignment]


def fill_the_disk() -> None:
    """Let each later write fail."""

    def write(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    atomic_file.write_all = write


def interrupt() -> None:
    """Send Ctrl-C to all ranks, as a terminal does: to the program that has started them."""
    _signal_launcher(signal.SIGINT)


def kill_launcher() -> None:
    """Kill the program that has started mpiexec."""
    _signal_launcher(signal.SIGKILL)


def _signal_launcher(number: int) -> None:
    os.kill(int(os.environ["TINYTENSOR_LAUNCHER"].split()[-1]), number)


AT_STEP: dict[str, tuple[Callable[[], None], int]] = {  # and the rank
    "exception": (raise_error, 2),
    "error of tinytensor": (refuse_labels, 2),
    "killed": (kill, 2),
    "crashes": (crash, 2),
    "its parent is killed": (kill_parent, 2),
    "launch is killed": (kill_launcher, 2),
    "ends by sys.exit()": (leave, 2),
    "ends by os._exit(0)": (leave_at_once, 2),
    "is stopped": (hang, 2),
    "hangs in a step": (hang_in_step, 2),
    "full disk": (fill_the_disk, 0),
    "Ctrl-C": (interrupt, 0),
}


def other_version() -> None:
    """Have another version than the other ranks."""
    tt.__version__ = "0.0.1"


def other_data() -> None:
    """Have another training image."""
    mnist = datasets.mnist

    def changed() -> datasets.Dataset:
        data = mnist()
        images = data.train_images.copy()
        images[7, 14, 14] ^= 1
        return data._replace(train_images=images)

    datasets.mnist = changed


AT_START = {"other version": other_version, "other data": other_data}


def train_with_fault(fault: str, folder: Path, arguments: list[str]) -> None:
    """Run `tinytensor train` on this rank, with this fault."""
    from tinytensor_command import main

    rank = tt.parallel.world().rank
    (folder / f"rank{rank}").write_text(str(os.getpid()))
    if fault in AT_START and rank == 2:
        AT_START[fault]()
    make_step, synchronize = Training.make_step, Training.synchronize

    def note_time() -> None:
        (folder / "time").write_text(repr(time.monotonic()))

    def make_step_with_fault(training: Training) -> object:
        function, victim = AT_STEP.get(fault, (None, -1))
        if training.step + 1 == STEP and rank == victim:
            note_time()
            function()
        return make_step(training)

    def synchronize_with_fault(training: Training) -> None:
        if fault in AT_START and rank == 2:
            note_time()
        synchronize(training)

    Training.make_step, Training.synchronize = make_step_with_fault, synchronize_with_fault
    main(arguments)


def measured(fault: str, ranks: int) -> tuple[float, int, str]:
    """The seconds from the fault to the end of the last rank, the exit status, the last line."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arguments = ["2.1", "--steps", "100000", "--eval-every", "50000", "--threads", "1"]
        arguments += ["--save", str(folder / "run.safetensors"), "--save-every", "10"]
        command = [sys.executable, __file__, "--launch", fault, name, str(ranks)]
        done = subprocess.run(
            [*command, *arguments], capture_output=True, text=True, timeout=200, check=False
        )
        pids = [int((folder / f"rank{rank}").read_text()) for rank in range(ranks)]
        while any(map(is_running, pids)):
            time.sleep(0.01)
        seconds = time.monotonic() - float((folder / "time").read_text())
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        return seconds, done.returncode, lines[-1].replace(name, "FOLDER")


def launch(fault: str, folder: str, ranks: int, arguments: list[str]) -> None:
    """Do what `tinytensor launch` does, with a program that has the fault."""
    popen = subprocess.Popen

    def start(command: list[str], **settings: object) -> "subprocess.Popen[str]":
        at = command.index("-m")  # python -m tinytensor train ...
        own = [__file__, "--train", fault, folder]
        return popen([*command[:at], *own, *command[at + 2 :]], **settings)

    launch_command.subprocess.Popen = start
    launch_command.launch(ranks, None, ("train", *arguments))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    known = [*AT_STEP, *AT_START]
    parser.add_argument("faults", nargs="*", default=known, help=", ".join(known))
    parser.add_argument("--ranks", type=int, default=4)
    given = parser.parse_args()
    print("| fault of rank 2 | seconds | status | the last line |")
    print("|---|---|---|---|", flush=True)
    for fault in given.faults:
        seconds, status, line = measured(fault, given.ranks)
        print(f"| {fault} | {seconds:.2f} | {status} | `{line}` |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--train"]:
        train_with_fault(sys.argv[2], Path(sys.argv[3]), sys.argv[4:])
    elif sys.argv[1:2] == ["--launch"]:
        import click

        try:
            launch(sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5:])
        except click.exceptions.Exit as done:
            sys.exit(done.exit_code)
    else:
        main()
