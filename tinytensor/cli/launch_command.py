"""`tinytensor launch`: start the ranks of a training with mpiexec."""

import importlib.util
import os
import re
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import IO

import click

from tinytensor import json_text
from tinytensor.errors import BackendUnavailable, DataError
from tinytensor.ranks import LAUNCHER, RANKS_FILE

_NEEDED = "install both with: pip install 'tinytensor-engine[mpi]'"


def launch(ranks: int, hosts: str | None, arguments: tuple[str, ...]) -> None:
    """Run `tinytensor launch`; tinytensor_command.commands has its options.

    arguments: of the command tinytensor, such as ("train", "3.1").
    """
    if hosts is not None and not _names_hosts(Path(hosts)):
        raise DataError(f"launch: --hosts: {hosts} names no machine; write one name on each line")
    mpiexec = _mpiexec()
    command = [mpiexec, "-n", str(ranks)]
    if hosts is not None:
        command += ["-hostfile", hosts]
    command += [sys.executable, "-m", "tinytensor", *arguments]
    click.echo(f"mpiexec: {shlex.join(command)}", err=True)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ranks.json"
        launcher = f"{socket.gethostname()} {os.getpid()}"  # the ranks end if this one is killed
        environment = os.environ | {RANKS_FILE: str(file), LAUNCHER: launcher}
        # In its own session, so that Ctrl-C reaches each rank once: through this process.
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            errors="replace", start_new_session=True,
        )  # fmt: skip
        ended, reasons, passed = list[int](), list[str](), list[int]()

        def pass_on(number: int, _: object) -> None:
            passed.append(number)
            process.send_signal(signal.SIGTERM if number == signal.SIGHUP else number)

        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as with nohup
            numbers.append(signal.SIGHUP)
        before = {number: signal.signal(number, pass_on) for number in numbers}
        try:
            streams = (process.stdout, False), (process.stderr, True)
            threads = [
                Thread(target=_show, args=(*each, ended, reasons, passed)) for each in streams
            ]
            threads.append(Thread(target=_watch, args=(file, process, ended)))
            for thread in threads:
                thread.start()
            status = process.wait()
            status = status if status >= 0 else 128 - status
            for thread in threads:
                thread.join()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if not status and file.exists() and not Path(f"{file}.ended").exists():
            status = 1  # mpiexec has ended the other ranks, and its own status is 0
            if not passed:
                _print(f"tinytensor: {_named(ended)} ended early, as by os._exit(0)")
        elif status in _STOPPED and not (passed or reasons):
            _print(_STOP)  # by a signal to another rank than rank 0
        elif status and not (passed or reasons):
            cause = "that it or its process hydra_pmi_proxy was killed"
            if not file.exists():
                cause = "a wrong host, or a rank that ended before it had started MPI"
            _print(f"tinytensor: mpiexec ended with status {status}; the usual cause is {cause}")
        if passed and status:
            is_stopped = any(line.startswith(_STOP) for line in reasons)
            if not reasons:
                _print(_STOP)
            if is_stopped or not reasons:
                status = 128 + passed[0]
    if status:
        raise click.exceptions.Exit(status)


def _mpiexec() -> str:
    """The path of mpiexec: the one next to Python, which the package mpich installs, or another.

    Raises BackendUnavailable if it is missing, or mpi4py is.
    """
    beside = Path(sys.executable).parent
    found = shutil.which("mpiexec", path=str(beside)) or shutil.which("mpiexec")
    if importlib.util.find_spec("mpi4py") is None:
        raise BackendUnavailable(f"launch: mpi4py is missing, and mpiexec may be; {_NEEDED}")
    if found is None:
        raise BackendUnavailable(f"launch: mpiexec is not in {beside} nor in PATH; {_NEEDED}")
    return found


def _names_hosts(file: Path) -> bool:
    """True if a line of the file is not empty and no comment."""
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    return any(line.strip() and not line.strip().startswith("#") for line in lines)


_STOP = "tinytensor: stopped"
_STOPPED = (128 + signal.SIGINT, 128 + signal.SIGTERM)  # statuses of ranks that have stopped
_SIGNALLED = re.compile(r"YOUR APPLICATION TERMINATED WITH THE EXIT STRING: (.*)$")
_OF_MPICH = re.compile(  # lines that mpiexec prints if a rank has ended the run
    r"={60}|=   [A-Z]|YOUR APPLICATION TERMINATED|This typically refers|Please see the FAQ page"
    r"|Abort\(\d+\) on node|application called MPI_Abort|\[(mpiexec|proxy)[@:]|Press Ctrl-C again"
)


def _print(line: str, is_error: bool = True) -> None:
    with suppress(OSError):  # the terminal is closed
        click.echo(line, err=is_error)


def _show(
    stream: IO[str], is_error: bool, ended: list[int], reasons: list[str], passed: list[int]
) -> None:
    """Print the lines of the ranks; one sentence replaces MPICH's report of a killed rank.

    ended: the ranks that _watch has found. passed: the signals that mpiexec has got from here; they
    may end a rank that has only started. The lines with a reason for the end of the run are added
    to `reasons`.
    """
    for given in stream:
        line = given.rstrip("\n")
        if passed and not line.replace(_STOP, ""):  # several ranks may print it, even in one line
            if line and _STOP not in reasons:
                _print(_STOP)
                reasons.append(_STOP)
        elif not _OF_MPICH.match(line):
            _print(line, is_error)
            if line.startswith("tinytensor: "):
                reasons.append(line)
        elif found := _SIGNALLED.match(line):
            sentence = f"tinytensor: {_named(ended)} was ended by {found[1]}, so all ranks ended"
            if found[1].endswith("(signal 9)"):
                sentence = (
                    f"tinytensor: {_named(ended)} was killed by SIGKILL, crashed or called "
                    "os._exit, so mpiexec ended all ranks; the usual cause is too little memory"
                )
            if passed or (reasons and "SIGKILL" not in sentence):
                continue
            _print(sentence)
            reasons.append(sentence)


def _named(ended: list[int]) -> str:
    """The ranks that _watch has found, of which one has ended first."""
    names = ", ".join(map(str, ended))
    return f"one of the ranks {names}" if len(ended) > 1 else f"rank {names}" if ended else "a rank"


def _watch(file: Path, process: "subprocess.Popen[str]", ended: list[int]) -> None:
    """Wait until a rank on this machine ends, and add it to `ended`.

    mpiexec then ends the other ranks, and does not report which one was the first. If more than one
    has ended before this thread runs, all of them are added.

    file: rank 0 writes there the host and the process of each rank.
    """
    if not hasattr(os, "pidfd_open"):  # not Linux
        return
    while not file.exists():
        if process.poll() is not None:
            return
        time.sleep(0.05)
    waiting = select.poll()
    ranks = {}
    for rank, (host, pid) in enumerate(json_text.parsed(file.read_text(encoding="utf-8"))):
        if host == socket.gethostname():
            try:
                descriptor = os.pidfd_open(pid)
            except ProcessLookupError:
                ended.append(rank)
                continue
            ranks[descriptor] = rank
            waiting.register(descriptor, select.POLLIN)
    if ranks and not ended:
        ended += sorted(ranks[descriptor] for descriptor, _ in waiting.poll())
    for descriptor in ranks:
        os.close(descriptor)
