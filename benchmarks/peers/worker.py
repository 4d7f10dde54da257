"""The process of one contestant: it is asked by lines of JSON, and answers each with one.

    {"do": "set_threads", "threads": 2}                    ->  {"threads": 2}, counted
    {"do": "prepare", "lesson": "2.1", "keep_prob": null}  ->  {}
    {"do": "train", "steps": 50}                           ->  {"seconds": 0.03, "losses": [...]}
    {"do": "roofline", "threads": 2}                       ->  {"seconds": 0.0004}

The steps go on where the last ones ended. {"skipped": reason} says that a contestant can't.
"""

import importlib
import json
import math
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from peers.task import NotHere, Steps, Task


@dataclass(frozen=True)
class Contestant:
    """Who trains: functions of a module here, and what must be installed for it."""

    module: str
    steps: str  # from a Task to Steps
    set_threads: str = "set_threads"  # from a number of threads to how many there are then
    needs: str = "numpy"


CONTESTANTS = {
    "eager": Contestant("tinytensor_steps", "eager", "on_c"),
    "captured": Contestant("tinytensor_steps", "captured", "on_c"),
    "run": Contestant("tinytensor_steps", "run", "on_c"),
    "numba": Contestant("tinytensor_steps", "captured", "on_numba"),
    "numpy": Contestant("numpy_by_hand", "steps_of"),
    "torch": Contestant("torch_steps", "eager", needs="torch"),
    "torch.compile": Contestant("torch_steps", "compiled", needs="torch"),
    "jax": Contestant("jax_steps", "one_by_one", needs="jax"),
    "jax loop": Contestant("jax_steps", "at_once", needs="jax"),
}


@dataclass
class Worker:
    """A contestant at work on one lesson after another."""

    contestant: Contestant
    task: Task | None = None
    run: Steps = field(default=lambda steps: np.empty(0))
    done: int = 0

    def set_threads(self, threads: int) -> dict:
        return {"threads": self._function(self.contestant.set_threads)(threads)}

    def prepare(self, lesson: str, keep_prob: float | None) -> dict:
        self.task, self.done = Task.of(lesson, keep_prob), 0
        self.run = self._function(self.contestant.steps)(self.task)
        return {}

    def train(self, steps: int) -> dict:
        numbers = range(self.done, self.done + steps)
        start = time.perf_counter()
        losses = self.run(numbers)
        seconds = time.perf_counter() - start
        self.done = numbers.stop
        return {"seconds": seconds, "losses": [float(loss) for loss in losses]}

    def _function(self, name: str) -> Callable:
        return getattr(importlib.import_module(f"peers.{self.contestant.module}"), name)

    def roofline(self, threads: int) -> dict:
        """Of a step of tinytensor's; it makes the step once more."""
        import tinytensor as tt
        from peers import tinytensor_steps
        from tinytensor.roofline import Roofline

        chosen = self.task.chosen[0]
        step = tt.capture(tinytensor_steps.step_of(self.task))
        step(chosen, self.task.labels[chosen])
        roofline = Roofline(threads)  # measured anew each time
        return {"seconds": math.fsum(map(roofline.bound, step.program.calls))}


def main() -> None:
    # Answers go where standard output went; what a library prints there goes to standard error.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = Worker(CONTESTANTS[sys.argv[1]])
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(worker, request.pop("do"))(**request)
        except NotHere as reason:
            answer = {"skipped": str(reason)}
        try:
            print(json.dumps(answer), file=answers, flush=True)
        except BrokenPipeError:  # nobody asks any more
            os._exit(0)


if __name__ == "__main__":
    main()
