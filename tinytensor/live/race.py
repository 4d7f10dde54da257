"""Several backends train the same network, each for the same number of seconds.

The contestants take turns in one process. The contestant that has used the least time trains next,
for TURN_SECONDS, alone on all cores, after the threads of the one before have gone to sleep. So
each gets the same share of the machine, even if other programs run. All contestants start from the
same weights and train on the same batches.

The time of a contestant is the time to load its backend, to compile kernels (or load compiled
kernels), and to train. It excludes evaluation on the test images and reading the data.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from tinytensor import door, machine, random
from tinytensor.datasets import Dataset
from tinytensor.errors import SettingError
from tinytensor.lessons import Lesson
from tinytensor.step_report import TrainedStep
from tinytensor.train import Training

TURN_SECONDS = 0.2  # long compared with refilling the caches, short enough for a live display
GOALS = (0.92, 0.97, 0.99)  # accuracies


@dataclass(frozen=True)
class Standing:
    """The state of a contestant at one evaluation on the test images."""

    step: int
    seconds: float  # the contestant's own time
    train_loss: float  # on the last batch, before its update
    test_accuracy: float
    test_loss: float


class Contestant:
    """A backend, the network that it trains, and its own random state.

    Its backend and its random state are in use only during its turns.
    """

    def __init__(
        self,
        backend: str,
        lesson: Lesson,
        data: Dataset,
        *,
        seconds: float | None = None,
        steps: int | None = None,
        seed: int = 0,
        evaluate_every: int | None = None,
    ) -> None:
        start = time.perf_counter()
        self.backend = door.load_backend(backend)
        self.load_seconds = time.perf_counter() - start
        self.train_seconds = 0.0
        self.max_seconds = seconds
        self.history: list[Standing] = []
        self._compiled_before = self._compiling()
        with random.fork(), door.computing_with(self.backend):
            self.training = Training(
                lesson, data, steps=steps, seed=seed, evaluate_every=evaluate_every
            )
            self._random_state = random.state().copy()

    def _compiling(self) -> float:
        """Seconds that this process has spent on compiling, or loading compiled, kernels."""
        if not hasattr(self.backend.module, "compiling"):
            return 0.0
        spent = self.backend.module.compiling()
        return float(spent["compile_seconds"] + spent["load_seconds"])

    @property
    def compile_seconds(self) -> float:
        """Seconds spent on compiling kernels, including those that only the evaluation uses."""
        return self._compiling() - self._compiled_before

    @property
    def seconds(self) -> float:
        """The contestant's time in seconds: loading the backend, compiling, training."""
        return self.load_seconds + self.compile_seconds + self.train_seconds

    @property
    def steps(self) -> int:
        """The number of training steps made."""
        return self.training.step

    @property
    def images_per_second(self) -> float | None:
        """Training speed, without loading and compiling; None before the first step."""
        return self.steps * self.training.batch / self.train_seconds if self.steps else None

    @property
    def is_done(self) -> bool:
        """True if all steps are made or all seconds are used."""
        over = self.max_seconds is not None and self.seconds >= self.max_seconds
        return self.steps >= self.training.steps or (over and self.steps > 0)

    @property
    def progress(self) -> float:
        """The fraction of the steps or of the seconds used, whichever is larger, from 0 to 1."""
        of_steps = self.steps / self.training.steps
        of_seconds = self.seconds / self.max_seconds if self.max_seconds else 0.0
        return min(max(of_steps, of_seconds), 1.0)

    def reached(self, accuracy: float) -> Standing | None:
        """The first Standing with at least this test accuracy; None if there is none."""
        return next((s for s in self.history if s.test_accuracy >= accuracy), None)

    def take_turn(self) -> None:
        """Train for TURN_SECONDS, and evaluate every `evaluate_every` steps and at the end."""
        with self._active():
            end = self.train_seconds + TURN_SECONDS
            while not self.is_done and self.train_seconds < end:
                result = self._make_step()
                if self.is_done or self.steps % self.training.evaluate_every == 0:
                    self._evaluate(result)

    @contextmanager
    def _active(self) -> Iterator[None]:
        """Use this contestant's backend and random state inside a `with` block."""
        with random.fork(), door.computing_with(self.backend):
            random.state()[:] = self._random_state
            try:
                yield
            finally:
                self._random_state = random.state().copy()

    def _make_step(self) -> TrainedStep:
        compiled, start = self._compiling(), time.perf_counter()
        result = self.training.make_step()
        spent = time.perf_counter() - start
        self.train_seconds += spent - (self._compiling() - compiled)
        return result

    def _evaluate(self, result: TrainedStep) -> None:
        accuracy, test_loss, _ = self.training.test()
        self.history.append(Standing(self.steps, self.seconds, result.loss, accuracy, test_loss))


class Race:
    """A race between backends. Iterating runs it, and yields the contestant after each turn.

    Args:
        lesson: the network to train.
        data: the training and test images.
        backends: names of the backends, each once.
        seconds: time limit of each contestant; no limit by default.
        steps: step limit of each contestant; the lesson's number of steps by default.
        seed: of the first weights, the order of the batches, and dropout.
        evaluate_every: number of steps between evaluations; the lesson's own by default.

    Raises:
        SettingError: no backend is given, one is given twice, or a limit is not above 0.
        UnknownName: there is no backend of this name.
        BackendUnavailable: a backend does not work here.
    """

    def __init__(
        self,
        lesson: Lesson,
        data: Dataset,
        backends: Sequence[str],
        *,
        seconds: float | None = None,
        steps: int | None = None,
        seed: int = 0,
        evaluate_every: int | None = None,
    ) -> None:
        if not backends:
            raise SettingError("race: got no backends; at least one is needed")
        if len(set(backends)) < len(backends):
            raise SettingError(f"race: got {', '.join(backends)}; each backend once is needed")
        if seconds is not None and not seconds > 0:
            raise SettingError(f"race: got {seconds} seconds; more than 0 is needed")
        if steps is not None and steps < 1:
            raise SettingError(f"race: got {steps} steps; at least 1 is needed")
        self.lesson = lesson
        self.contestants = [
            Contestant(
                name, lesson, data,
                seconds=seconds, steps=steps, seed=seed, evaluate_every=evaluate_every,
            )
            for name in backends
        ]  # fmt: skip

    def __iter__(self) -> Iterator[Contestant]:
        """Run the contestants' turns until all are done."""
        before = None
        while waiting := [each for each in self.contestants if not each.is_done]:
            behind = min(waiting, key=lambda each: each.seconds)
            if before not in (None, behind):
                machine.settle()  # so that the next contestant has all cores
            behind.take_turn()
            yield (before := behind)


# As a table


class Cell(NamedTuple):
    """A cell of the table of a race."""

    text: str
    is_first: bool = False  # True if this contestant reached the accuracy first


NOTES = {
    "seconds": "the backend's own time: loading and compiling (start), and training; "
    "without evaluation on the test images",
    "images/s": "images per second of training",
    "92 % ...": "the backend's seconds until an evaluation first had this accuracy",
}


def rows(race: Race) -> list[dict[str, Cell]]:
    """The table of the race so far: one row per contestant, each a Cell by column heading."""
    return [_row(each, race.contestants) for each in race.contestants]


def _row(contestant: Contestant, others: Sequence[Contestant]) -> dict[str, Cell]:
    rate, history = contestant.images_per_second, contestant.history
    row = {
        "backend": Cell(contestant.backend.name),
        "seconds": Cell(f"{contestant.seconds:.1f}"),
        "start": Cell(f"{contestant.load_seconds + contestant.compile_seconds:.1f}"),
        "steps": Cell(f"{contestant.steps:,}"),
        "images/s": Cell(f"{rate:,.0f}" if rate else "-"),
        "accuracy": Cell(f"{history[-1].test_accuracy:.4f}" if history else "-"),
    }
    for goal in GOALS:
        reached = contestant.reached(goal)
        times = [found.seconds for each in others if (found := each.reached(goal))]
        row[f"{100 * goal:.0f} %"] = (
            Cell(f"{reached.seconds:.2f}", reached.seconds == min(times)) if reached else Cell("-")
        )
    return row
