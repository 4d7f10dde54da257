"""The process of one contestant: it is asked by lines of JSON, and answers each with one.

    {"do": "set_threads", "threads": 2}          -> {"threads": 2, "has_one": false}, counted
    {"do": "prepare", "lesson": "2.1", "mode": "eager", "keep_prob": null}        -> {}
    {"do": "train", "mode": "eager", "steps": 50, "warm": 10}
                     -> {"seconds": of a step, "losses": [...], "made": 0}
    {"do": "prepare_kernel", "case": {...}}      -> {"on_numpy": false, "differs": ""}
    {"do": "call", "times": 1000, "warm": 100}   -> {"seconds": of a call, "made": 0}

The steps go on where the last ones ended. `made` is how many kernels were compiled or loaded, and
steps recorded, while the seconds were counted. {"skipped": reason} says that a contestant can't.
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
from tinytensor.bench.cases import Case, Timed, differs_from_numpy, own_call
from tinytensor.bench.task import NotHere, Steps, Task


@dataclass(frozen=True)
class Peer:
    """Another library: the functions of modules in peers/ that make it train, and compute."""

    needs: str  # what must be installed for it
    steps: str = ""  # "module.function", from a Task to Steps
    kernels: str = ""  # "module.function", from a Case to a Timed

    @property
    def is_installed(self) -> bool:
        """Whether it can be asked here."""
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
    """A contestant at work: a backend, or a peer."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._peer = PEERS.get(name)
        self._runs: dict[str | None, Steps] = {}
        self._done: dict[str | None, int] = {}  # steps so far
        self._call: Callable[[], object] = lambda: None

    def set_threads(self, threads: int) -> dict[str, Any]:
        """Compute on so many, from now on; how many there are then."""
        if self._peer is None:
            tt.set_num_threads(threads)
            has = door.load_backend(self.name).num_threads
            # Numba's kernels compute on one thread, however many there may be.
            return {"threads": has, "has_one": self.name == "numba"}
        module = self._peer.steps.partition(".")[0]
        return {"threads": _of_peers(f"{module}.set_threads")(threads), "has_one": False}

    # Steps

    def prepare(self, lesson: str, mode: str | None, keep_prob: float | None) -> dict[str, Any]:
        """Make the network of a lesson anew."""
        task = Task.of(lesson, keep_prob)
        make = own_steps.MODES[str(mode)] if self._peer is None else _of_peers(self._peer.steps)
        self._runs[mode], self._done[mode] = make(task), 0
        return {}

    def train(self, mode: str | None, steps: int, warm: int = 0) -> dict[str, Any]:
        """Go on for so many steps, after a few that aren't counted; the seconds of one of them."""
        run = self._runs[mode]
        first = self._done[mode] + warm
        self._done[mode] = first + steps
        with nullcontext() if self._peer else door.backend(self.name):
            if warm:
                run(range(first - warm, first))
            made = self._made(run)
            start = time.perf_counter()
            losses = run(range(first, first + steps))
            seconds = time.perf_counter() - start
        made = self._made(run) - made
        return {"seconds": seconds / steps, "losses": losses.tolist(), "made": made}

    # Kernels

    def prepare_kernel(self, case: dict[str, Any]) -> dict[str, Any]:
        """Make the arrays of a call, and compare its results with NumPy's."""
        own = Case.from_json(case)
        timed = own_call(self.name, own) if self._peer is None else _of_peer(self._peer, own)
        self._call = timed.run
        return {"on_numpy": timed.on_numpy, "differs": differs_from_numpy(own, timed)}

    def call(self, times: int, warm: int = 0) -> dict[str, Any]:
        """Call the kernel so many times, after a few that aren't counted; the seconds of one."""
        call = self._call
        for _ in range(warm):
            call()
        made = self._made()
        start = time.perf_counter()
        for _ in range(times):
            call()
        seconds = time.perf_counter() - start
        return {"seconds": seconds / times, "made": self._made() - made}

    def _made(self, run: Steps | None = None) -> int:
        """How much was compiled, loaded and recorded so far."""
        if self._peer is not None:
            return 0
        module = door.load_backend(self.name).module
        spent = module.compiling() if hasattr(module, "compiling") else {}
        recordings = getattr(getattr(run, "step", None), "recordings", 0)
        return int(spent.get("compiled", 0) + spent.get("loaded", 0) + recordings)


def _of_peer(peer: Peer, case: Case) -> Timed:
    if not peer.kernels:
        raise NotHere("its kernels aren't called one by one")
    timed: Timed = _of_peers(peer.kernels)(case)
    return timed


def _of_peers(name: str) -> Callable[..., Any]:
    """The "module.function" of peers/."""
    module, function = name.split(".")
    found: Callable[..., Any] = getattr(
        importlib.import_module(f"tinytensor.bench.peers.{module}"), function
    )
    return found


def main() -> None:
    """Answer until nobody asks any more."""
    # Answers go where standard output went; what a library prints there goes to standard error.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = Worker(sys.argv[1])
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(worker, request.pop("do"))(**request)
        except NotHere as reason:
            answer = {"skipped": str(reason)}
        machine.settle()  # whoever is next has the cores to itself
        try:
            print(json.dumps(answer), file=answers, flush=True)
        except BrokenPipeError:  # nobody asks any more
            os._exit(0)


if __name__ == "__main__":
    main()
