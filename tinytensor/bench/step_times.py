"""The course's training steps, timed: batches of 100, float32, the same first values and batches.

Before anything is timed the first losses of all contestants must agree. A step contains choosing a
batch's images, making numbers of their bytes, and, op by op, allocating what the ops compute.
Compiling, recording, starting and reading the data set are in no time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from tinytensor.bench.bounds import step_bound
from tinytensor.bench.contest import BenchContestant, Care, Turn, Unfair, take_turns
from tinytensor.bench.report import Spread, StepResult, ratio
from tinytensor.bench.task import BATCH, MOST_STEPS, NotHere, dropouts
from tinytensor.bench.worker import PEERS
from tinytensor.lessons import find

LESSONS = ("1.0", "2.0", "2.1", "2.2", "3.0", "3.1", "4.0", "4.1", "4.2")
MODES = ("eager", "captured", "run")
COMPARED = 5  # first steps, whose losses must agree
TOLERANCE = 1e-3  # of them, relative
# Of those after the first: 4.2's rate is so large that it soon makes a thousand times as much of
# rounding, and the convolutions that PyTorch calls for channels_last round by 1e-5.
TOLERANCE_LATER = {"4.2": 0.03}


@dataclass(frozen=True)
class Entry:
    """One way to make steps: a contestant, and of a backend's the mode."""

    contestant: BenchContestant
    mode: str | None

    @property
    def name(self) -> str:
        """Such as "c captured"; of a peer its own."""
        return f"{self.contestant.name} {self.mode}" if self.mode else self.contestant.name

    @property
    def backend(self) -> str | None:
        """The backend; of a peer None."""
        return self.contestant.name if self.mode else None

    def prepare(self, lesson: str, keep_prob: float | None = None) -> None:
        """Make the lesson's network anew."""
        self.contestant.ask("prepare", lesson=lesson, mode=self.mode, keep_prob=keep_prob)

    def losses(self, steps: int) -> list[float]:
        """Of the next steps."""
        losses: list[float] = self._train(steps)["losses"]
        return losses

    def turn(self, seconds: float) -> Turn:
        """What makes about so many seconds of steps, after a few to warm up."""
        one = min(self._train(COMPARED)["seconds"], self._train(1)["seconds"])
        steps = max(1, min(MOST_STEPS, round(seconds / one)))
        # What a step reads isn't in the caches at first, for others had their turns. A long step
        # reads it all within a small part of its time.
        warm = 0 if one > seconds else max(1, steps // 5)
        return partial(self._train, steps, warm)

    def _train(self, steps: int, warm: int = 0) -> dict[str, Any]:
        return self.contestant.ask("train", mode=self.mode, steps=steps, warm=warm)


def entries_of(contestants: Sequence[BenchContestant], modes: Sequence[str]) -> list[Entry]:
    """Every contestant in every mode that it has."""
    return [
        Entry(contestant, mode)
        for contestant in contestants
        for mode in ((None,) if contestant.name in PEERS else modes)
    ]


def compare_losses(entries: Sequence[Entry], lesson: str) -> dict[str, str]:
    """Who can't train this network, and why.  Raises Unfair if the others' first losses differ.

    Without dropout, for each library draws masks of its own; what is timed has it.
    """
    losses: dict[str, list[float]] = {}
    skipped: dict[str, str] = {}
    for entry in entries:
        try:
            entry.prepare(lesson, keep_prob=1.0)
            losses[entry.name] = entry.losses(COMPARED)
        except NotHere as reason:
            skipped[entry.name] = str(reason)
    tolerances = np.full(COMPARED, TOLERANCE_LATER.get(lesson, TOLERANCE))
    tolerances[0] = TOLERANCE
    first = next(iter(losses), "")
    for name, found in losses.items():
        if not np.allclose(found, losses[first], rtol=tolerances, atol=0):
            raise Unfair(
                f"bench: lesson {lesson}: the first losses of {name} are {found}, those of {first} "
                f"{losses[first]}; the networks aren't the same"
            )
    return skipped


def measure(
    entries: Sequence[Entry], lesson: str, threads: int, care: Care
) -> tuple[list[StepResult], dict[str, str]]:
    """A lesson's results, and who was left out with the reason."""
    skipped = compare_losses(entries, lesson)
    here = [entry for entry in entries if entry.name not in skipped]
    if dropouts(find(lesson).model()):
        for entry in here:
            entry.prepare(lesson)
            entry.losses(COMPARED)
    times = take_turns({entry.name: entry.turn(care.seconds) for entry in here}, care)
    bound = step_bound(lesson, threads)
    results = [
        StepResult(
            lesson=lesson,
            contestant=entry.name,
            backend=entry.backend,
            mode=entry.mode,
            threads=threads,
            seconds=(spread := Spread.of(times[entry.name])),
            to_numpy=to_numpy(entry.name, entry.mode, times),
            images_per_second=BATCH / spread.median,
            bound=bound,
        )
        for entry in here
    ]
    return results, skipped


def to_numpy(name: str, mode: str | None, times: Mapping[str, Sequence[float]]) -> float | None:
    """How many times as fast as the NumPy backend in the same mode; a peer, as its captured one."""
    numpy = times.get(f"numpy {mode or 'captured'}")
    return None if numpy is None else ratio(times[name], numpy)
