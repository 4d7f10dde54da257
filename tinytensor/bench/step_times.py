"""Times of the lessons' training steps: batches of 100 images, float32.

All contestants start from the same weights and train on the same batches. Before anything is timed,
their first losses are compared. A step includes selecting the images of a batch and converting them
to float32; in eager mode it also includes allocating results. Times exclude compilation, recording,
start-up and reading the data set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from tinytensor.bench.bounds import step_bound
from tinytensor.bench.contest import BenchContestant, Timing, Turn, Unfair, take_turns
from tinytensor.bench.report import Spread, StepResult, ratio
from tinytensor.bench.task import BATCH, MAX_STEPS, Unsupported, dropouts
from tinytensor.bench.worker import PEERS
from tinytensor.lessons import find

LESSONS = ("1.0", "2.0", "2.1", "2.2", "3.0", "3.1", "4.0", "4.1", "4.2")
MODES = ("eager", "captured", "dense", "run")
COMPARED = 5  # number of first steps whose losses are compared
TOLERANCE = 1e-3  # relative
# For the steps after the first. The learning rate of lesson 4.2 is so large that it soon amplifies
# rounding errors a thousand times, and PyTorch's channels_last convolutions have errors of 1e-5.
TOLERANCE_LATER = {"4.2": 0.03}


@dataclass(frozen=True)
class Entry:
    """A contestant, and the mode of its steps if it is a backend."""

    contestant: BenchContestant
    mode: str | None

    @property
    def name(self) -> str:
        """The name, such as "c captured" or "torch"."""
        return f"{self.contestant.name} {self.mode}" if self.mode else self.contestant.name

    @property
    def backend(self) -> str | None:
        """The name of the backend; None for another library."""
        return self.contestant.name if self.mode else None

    def prepare(self, lesson: str, keep_prob: float | None = None) -> None:
        """Make a new network of the lesson.

        keep_prob: replaces that of the dropout layers, if given.
        """
        self.contestant.request("prepare", lesson=lesson, mode=self.mode, keep_prob=keep_prob)

    def losses(self, steps: int) -> list[float]:
        """Make the next `steps` steps; return their losses."""
        losses: list[float] = self._train(steps)["losses"]
        return losses

    def turn(self, seconds: float) -> Turn:
        """A function that trains for about `seconds` seconds, after warm-up steps."""
        one = min(self._train(COMPARED)["seconds"], self._train(1)["seconds"])
        steps = max(1, min(MAX_STEPS, round(seconds / one)))
        # Warm-up steps load the caches, which the other contestants have overwritten. A long step
        # needs none, because loading the caches is a small part of its time.
        warm = 0 if one > seconds else max(1, steps // 5)
        return partial(self._train, steps, warm)

    def _train(self, steps: int, warm: int = 0) -> dict[str, Any]:
        return self.contestant.request("train", mode=self.mode, steps=steps, warm=warm)


def entries_of(contestants: Sequence[BenchContestant], modes: Sequence[str]) -> list[Entry]:
    """An Entry for each contestant and mode; other libraries have one mode.

    NumPy has no "dense" mode, because its captured steps skip no products either.
    """
    return [
        Entry(contestant, mode)
        for contestant in contestants
        for mode in ((None,) if contestant.name in PEERS else modes)
        if (contestant.name, mode) != ("numpy", "dense")
    ]


def compare_losses(entries: Sequence[Entry], lesson: str) -> dict[str, str]:
    """Compare the first losses of all entries.

    Dropout is switched off for the comparison, because each library draws different masks.

    Returns:
        the entries that don't support this network, by name, with the reasons.

    Raises:
        Unfair: the losses differ.
    """
    losses: dict[str, list[float]] = {}
    skipped: dict[str, str] = {}
    for entry in entries:
        try:
            entry.prepare(lesson, keep_prob=1.0)
            losses[entry.name] = entry.losses(COMPARED)
        except Unsupported as reason:
            skipped[entry.name] = str(reason)
    tolerances = np.full(COMPARED, TOLERANCE_LATER.get(lesson, TOLERANCE))
    tolerances[0] = TOLERANCE
    first = next(iter(losses), "")
    for name, found in losses.items():
        if not np.allclose(found, losses[first], rtol=tolerances, atol=0):
            raise Unfair(
                f"bench: lesson {lesson}: the first losses of {name} are {found}, those of {first} "
                f"are {losses[first]}; they must agree"
            )
    return skipped


def measure(
    entries: Sequence[Entry], lesson: str, threads: int, timing: Timing
) -> tuple[list[StepResult], dict[str, str]]:
    """Time the training step of a lesson on all entries.

    Returns:
        the results, and the entries without results, by name, with the reasons.

    Raises:
        Unfair: the first losses differ, or a contestant compiles while it is timed.
    """
    skipped = compare_losses(entries, lesson)
    here = [entry for entry in entries if entry.name not in skipped]
    if dropouts(find(lesson).model()):
        for entry in here:
            entry.prepare(lesson)
            entry.losses(COMPARED)
    times = take_turns({entry.name: entry.turn(timing.seconds) for entry in here}, timing)
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
    """Speed-up over the NumPy backend in the same mode; None if that was not timed.

    Other libraries (mode None) are compared with the captured mode.
    """
    numpy = times.get(f"numpy {mode or 'captured'}")
    return None if numpy is None else ratio(times[name], numpy)
