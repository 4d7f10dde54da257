"""A check of the coach: a mistake, its sign in the numbers, and its cure."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

WIDTH = 80  # columns of a finding
Stage = Literal["forward", "update", "progress"]


class Sign(NamedTuple):
    """The sign of a mistake that a check has found.

    evidence: the numbers, in words. where: the layer, the parameter or the line.
    """

    evidence: str
    where: str


def percent(share: float) -> str:
    """A share from 0 to 1 in percent, such as "53 %"."""
    return f"{100 * share:.0f} %"


@dataclass(frozen=True)
class Finding:
    """A mistake that the coach has found, which it names once in a run.

    name: of the check. mistake: one sentence. evidence: the numbers. where: the layer, the
    parameter or the line of the program. cure: what to change. step: the step at which it was seen.
    """

    name: str
    mistake: str
    evidence: str
    where: str
    cure: str
    step: int

    def __str__(self) -> str:
        """The finding in four paragraphs of at most WIDTH columns."""
        rows = {"sign": self.evidence, "where": self.where, "cure": self.cure}
        when = f"step {self.step}" if self.step else "before the first step"
        head = textwrap.fill(f"coach, {when}: {self.mistake}", WIDTH, subsequent_indent="  ")
        return "\n".join([head, *(_paragraph(name, text) for name, text in rows.items())])


def _paragraph(name: str, text: str) -> str:
    return textwrap.fill(
        text, WIDTH, initial_indent=f"  {name:7}", subsequent_indent=" " * 9,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


@dataclass(frozen=True)
class CoachCheck:
    """A check of one mistake.

    stage: when it runs: with a Forward, an Update, or after them. find: returns the Sign, or None;
    it gets the Forward or Update, and the Progress.
    """

    name: str
    stage: Stage
    mistake: str
    cure: str
    find: Callable[..., Sign | None]


CHECKS: dict[str, CoachCheck] = {}


def check(stage: Stage, mistake: str, cure: str) -> Callable[[Any], Any]:
    """Decorate a function that finds the sign of a mistake; its name names the check.

    Args:
        stage: "forward", "update" or "progress", the view that the function reads.
        mistake: the mistake in one sentence.
        cure: what to change.

    Returns:
        A decorator, which adds the function to CHECKS and returns it unchanged.
    """

    def add(find: Callable[..., Sign | None]) -> Callable[..., Sign | None]:
        name = find.__name__.replace("_", "-")
        CHECKS[name] = CoachCheck(name, stage, mistake, cure, find)
        return find

    return add
