"""Backends train the same network at the same time: how far has each come after as many seconds?

In one process, by turns: whoever has used the least seconds so far trains next, for a moment, alone
on all cores, once the threads of the one before sleep. So each gets the same share of the machine,
whatever else it does meanwhile. All start from the same weights and see the same batches.

The seconds of a contestant are what somebody who waits for it would count: loading its backend,
compiling kernels (or loading compiled ones), and training. The looks at the test images, which are
there for the picture only, aren't among them, and neither is reading the data.
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
from tinytensor.train import Made, Training

TURN = 0.2  # seconds: long beside what the caches lose at a change, short to be looked at
GOALS = (0.92, 0.97, 0.99)  # accuracies


@dataclass(frozen=True)
class Standing:
    """How far a contestant had come at a look at the test images."""

    step: int
    seconds: float  # of its own
    train_loss: float  # of the last batch, before its update
    test_accuracy: float
    test_loss: float


class Contestant:
    """A backend and the network that it trains, with everything that chance decides.

    Between turns nothing of it is in use: neither its backend nor its place in the random numbers.
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
        self.most_seconds = seconds
        self.history: list[Standing] = []
        self._compiled_before = self._compiling()
        with random.fork(), door.computing_with(self.backend):
            self.training = Training(
                lesson, data, steps=steps, seed=seed, evaluate_every=evaluate_every
            )
            self._masks = random.state().copy()

    def _compiling(self) -> float:
        """Seconds that this process has compiled for the backend, or loaded what was compiled."""
        if not hasattr(self.backend.module, "compiling"):
            return 0.0
        spent = self.backend.module.compiling()
        return float(spent["compile_seconds"] + spent["load_seconds"])

    @property
    def compile_seconds(self) -> float:
        """What it has spent on compiling; kernels that only a test needs are among it."""
        return self._compiling() - self._compiled_before

    @property
    def seconds(self) -> float:
        """All its seconds: loading the backend, compiling, training."""
        return self.load_seconds + self.compile_seconds + self.train_seconds

    @property
    def steps(self) -> int:
        """How many it has made."""
        return self.training.step

    @property
    def images_per_second(self) -> float | None:
        """While it trained; None before the first step."""
        return self.steps * self.training.batch / self.train_seconds if self.steps else None

    @property
    def is_done(self) -> bool:
        """Has it made all its steps, or used all its seconds?"""
        over = self.most_seconds is not None and self.seconds >= self.most_seconds
        return self.steps >= self.training.steps or (over and self.steps > 0)

    @property
    def done(self) -> float:
        """What share of its steps or of its seconds is behind it, from 0 to 1."""
        of_steps = self.steps / self.training.steps
        of_seconds = self.seconds / self.most_seconds if self.most_seconds else 0.0
        return min(max(of_steps, of_seconds), 1.0)

    def reached(self, accuracy: float) -> Standing | None:
        """Where it stood when its accuracy was first seen to be so high, if it was."""
        return next((s for s in self.history if s.test_accuracy >= accuracy), None)

    def take_turn(self) -> None:
        """Train for a moment, and look at the test images where that is due."""
        with self._in_use():
            end = self.train_seconds + TURN
            while not self.is_done and self.train_seconds < end:
                made = self._make_step()
                if self.is_done or self.steps % self.training.evaluate_every == 0:
                    self._look(made)

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        """Compute with its backend, and draw its masks, inside a `with` block."""
        with random.fork(), door.computing_with(self.backend):
            random.state()[:] = self._masks
            try:
                yield
            finally:
                self._masks = random.state().copy()

    def _make_step(self) -> Made:
        compiled, start = self._compiling(), time.perf_counter()
        made = self.training.make_step()
        spent = time.perf_counter() - start
        self.train_seconds += spent - (self._compiling() - compiled)
        return made

    def _look(self, made: Made) -> None:
        accuracy, test_loss, _ = self.training.test()
        self.history.append(Standing(self.steps, self.seconds, made.loss, accuracy, test_loss))


class Race:
    """Contestants, and their turns. It yields whoever has had a turn, and knows no screen.

    backends: names, each once. seconds: the most that each may use; steps: the most that each may
    make, the lesson's own where None. seed: of all chance. evaluate_every: steps from one look at
    the test images to the next, the lesson's own where None.

    Raises SettingError for numbers that make no sense, UnknownName and BackendUnavailable for a
    backend that isn't there.
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
            raise SettingError(f"race: got {', '.join(backends)}; each once is needed")
        if seconds is not None and not seconds > 0:
            raise SettingError(f"race: got {seconds} seconds; a number above 0 is needed")
        if steps is not None and steps < 1:
            raise SettingError(f"race: got {steps} steps; a number from 1 up is needed")
        self.lesson = lesson
        self.contestants = [
            Contestant(
                name, lesson, data,
                seconds=seconds, steps=steps, seed=seed, evaluate_every=evaluate_every,
            )
            for name in backends
        ]  # fmt: skip

    def __iter__(self) -> Iterator[Contestant]:
        """Let them train, by turns, until all are done."""
        before = None
        while waiting := [each for each in self.contestants if not each.is_done]:
            behind = min(waiting, key=lambda each: each.seconds)
            if before not in (None, behind):
                machine.settle()  # the next has all cores for itself
            behind.take_turn()
            yield (before := behind)


# As a table


class Cell(NamedTuple):
    """What a table says; was that reached before all others?"""

    text: str
    is_first: bool = False


NOTES = {
    "seconds": "of its own: loading the backend and compiling (start), and training; "
    "looks at the test images aren't among them",
    "images/s": "while it trained",
    "92 % ...": "after how many of its seconds that accuracy was first seen",
}


def rows(race: Race) -> list[dict[str, Cell]]:
    """How things stand: for each contestant what is to be told under which heading."""
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
