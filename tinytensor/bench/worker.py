"""The process of one contestant: reads requests as lines of JSON, and answers with lines of JSON.

    {"method": "set_threads", "threads": 2}          -> {"threads": 2}
    {"method": "prepare", "lesson": "2.1", "mode": "eager", "keep_prob": null}        -> {}
    {"method": "train", "mode": "eager", "steps": 50, "warm": 10}
                     -> {"seconds": per step, "losses": [...], "compiled": 0}
    {"method": "prepare_kernel", "case": {...}}      -> {"on_numpy": false, "differs": ""}
    {"method": "call", "times": 1000, "warm": 100}   -> {"seconds": per call, "compiled": 0}

"train" continues after the last step. "compiled" is the number of kernels compiled or loaded, plus
the number of steps recorded, during the timed part. The answer is {"skipped": reason} if the
contestant doesn't support the request.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import tinytensor as tt
from tinytensor import door, machine
from tinytensor.bench import own_steps
from tinytensor.bench.cases import Case, TimedCall, differs_from_numpy, own_call
from tinytensor.bench.task import Steps, Task, Unsupported


@dataclass(frozen=True)
class Peer:
    """Another library, with the functions in peers/ that train and call kernels with it."""

    needs: str  # the module that must be installed
    steps: str = ""  # "module.function": maps a Task to Steps
    kernels: str = ""  # "module.function": maps a Case to a TimedCall

    @property
    def is_installed(self) -> bool:
        """True if the library is installed."""
        return find_spec(self.needs) is not None


PEERS = {
    "numpy-by-hand": Peer("numpy", "numpy_by_hand.steps_of"),
    "torch": Peer("torch", "torch_steps.eager", "torch_kernels.call_of"),
    "torch.compile": Peer("torch", "torch_steps.compiled"),
    "jax": Peer("jax", "jax_steps.one_by_one", "jax_kernels.call_of"),
    "jax-loop": Peer("jax", "jax_steps.at_once"),
    "tinygrad": Peer("tinygrad", "tinygrad_steps.one_by_one"),
}


class Worker:
    """A contestant (a backend or another library) in its process."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._peer = PEERS.get(name)
        self._runs: dict[str | None, Steps] = {}
        self._done: dict[str | None, int] = {}  # number of steps made, by mode
        self._call: Callable[[], object] = lambda: None

    def set_threads(self, threads: int) -> dict[str, Any]:
        """Set the number of threads; return the number in use."""
        if self._peer is None:
            tt.set_num_threads(threads)
            return {"threads": door.load_backend(self.name).num_threads}
        module = self._peer.steps.partition(".")[0]
        return {"threads": _of_peers(f"{module}.set_threads")(threads)}

    # Steps

    def prepare(self, lesson: str, mode: str | None, keep_prob: float | None) -> dict[str, Any]:
        """Make a new network of a lesson.

        mode: one of own_steps.MODES, None for another library. keep_prob: replaces that of the
        dropout layers, if given.
        """
        task = Task.of(lesson, keep_prob)
        make = own_steps.MODES[str(mode)] if self._peer is None else _of_peers(self._peer.steps)
        self._runs[mode], self._done[mode] = make(task), 0
        return {}

    def train(self, mode: str | None, steps: int, warm: int = 0) -> dict[str, Any]:
        """Make `warm` steps that are not timed, and then `steps` steps; return seconds per step."""
        run = self._runs[mode]
        first = self._done[mode] + warm
        self._done[mode] = first + steps
        with nullcontext() if self._peer else door.backend(self.name):
            if warm:
                run(range(first - warm, first))
            compiled = self._count_compiled(run)
            start = time.perf_counter()
            losses = run(range(first, first + steps))
            seconds = time.perf_counter() - start
        compiled = self._count_compiled(run) - compiled
        return {"seconds": seconds / steps, "losses": losses.tolist(), "compiled": compiled}

    # Kernels

    def prepare_kernel(self, case: dict[str, Any]) -> dict[str, Any]:
        """Make the arrays of a kernel call, and compare its results with NumPy's."""
        own = Case.from_json(case)
        timed = own_call(self.name, own) if self._peer is None else _of_peer(self._peer, own)
        self._call = timed.run
        return {"on_numpy": timed.on_numpy, "differs": differs_from_numpy(own, timed)}

    def call(self, times: int, warm: int = 0) -> dict[str, Any]:
        """Make `warm` calls that are not timed, and then `times` calls; return seconds per call."""
        call = self._call
        for _ in range(warm):
            call()
        compiled = self._count_compiled()
        start = time.perf_counter()
        for _ in range(times):
            call()
        seconds = time.perf_counter() - start
        return {"seconds": seconds / times, "compiled": self._count_compiled() - compiled}

    def _count_compiled(self, run: Steps | None = None) -> int:
        """The number of kernels compiled or loaded plus the number of recordings, so far."""
        if self._peer is not None:
            return 0
        module = door.load_backend(self.name).module
        spent = module.compiling() if hasattr(module, "compiling") else {}
        recordings = getattr(getattr(run, "step", None), "recordings", 0)
        return int(spent.get("compiled", 0) + spent.get("loaded", 0) + recordings)


def _of_peer(peer: Peer, case: Case) -> TimedCall:
    if not peer.kernels:
        raise Unsupported("the benchmark has no single kernels of this library")
    timed: TimedCall = _of_peers(peer.kernels)(case)
    return timed


def _of_peers(name: str) -> Callable[..., Any]:
    """The function "module.function" of peers/."""
    module, function = name.split(".")
    found: Callable[..., Any] = getattr(
        importlib.import_module(f"tinytensor.bench.peers.{module}"), function
    )
    return found


def main() -> None:
    """Answer requests from standard input until it is closed."""
    # Answers use a copy of standard output. Output that a library prints goes to standard error.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = Worker(sys.argv[1])
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(worker, request.pop("method"))(**request)
        except Unsupported as reason:
            answer = {"skipped": str(reason)}
        machine.settle()  # so that the next contestant has all cores
        try:
            print(json.dumps(answer), file=answers, flush=True)
        except BrokenPipeError:  # the parent process has ended
            os._exit(0)


if __name__ == "__main__":
    main()
