"""What was measured: numbers with their spread, and what they were measured with."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tinytensor.machine import cpu_name

FORMAT = 1  # of the JSON; a number more for each change that readers must know of
PACKAGES = ("tinytensor-engine", "numpy", "numba", "cffi", "torch", "jax", "tinygrad")


@dataclass(frozen=True)
class Spread:
    """Some times of the same work: the best, the median, and the quartiles around it."""

    best: float
    median: float
    low: float
    high: float

    @classmethod
    def of(cls, times: Sequence[float]) -> Spread:
        """The spread of one or more times."""
        if len(times) == 1:
            return cls(times[0], times[0], times[0], times[0])
        low, median, high = statistics.quantiles(times, n=4, method="inclusive")
        return cls(min(times), median, low, high)

    @property
    def width(self) -> float:
        """How far the quartiles lie from each other, as a part of the median."""
        return (self.high - self.low) / self.median


def ratio(times: Sequence[float], others: Sequence[float]) -> float:
    """How many times as long the others took: the median over the rounds that both were in.

    A round's two times are neighbours, so a machine that drifts shifts both, and not their ratio.
    """
    return statistics.median(b / a for a, b in zip(times, others, strict=False))


@dataclass(frozen=True)
class KernelResult:
    """A kernel's call by one contestant.

    flops, bytes: what it has to do. bound: the least seconds that this machine needs for it, None
    where that can't be measured. on_numpy: whether the backend leaves it to NumPy. to_numpy: how
    many times as fast as NumPy it is.
    """

    kernel: str
    case: str
    contestant: str
    backend: str | None  # None for a peer
    threads: int
    seconds: Spread
    to_numpy: float | None
    flops: int
    bytes: int
    bound: float | None
    on_numpy: bool


@dataclass(frozen=True)
class StepResult:
    """A lesson's training step by one contestant; the fields are as in KernelResult."""

    lesson: str
    contestant: str
    backend: str | None
    mode: str | None  # "eager", "captured" or "run"; None for a peer
    threads: int
    seconds: Spread
    to_numpy: float | None
    images_per_second: float
    bound: float | None


@dataclass(frozen=True)
class TrainResult:
    """A whole run, in a process of its own.

    seconds: "process" is all of it, from the start of the process to its end; the others are what
    the run itself tells: "import", "data", "first_step", "train", "evaluate".
    """

    lesson: str
    backend: str
    threads: int
    seconds: dict[str, float]
    test_accuracy: float
    steps: int


@dataclass(frozen=True)
class Noise:
    """Whether something else disturbed what was measured, and by what signs."""

    noisy: bool = False
    why: str = ""


@dataclass(frozen=True)
class Skipped:
    """Who isn't among the results, of one lesson or (None) of all, and why."""

    contestant: str
    lesson: str | None
    why: str


@dataclass
class Report:
    """All of a benchmark's results. The lists are filled as they become known.

    stopped: whether it ended before all was measured.
    """

    quick: bool = False
    stopped: bool = False
    noise: Noise = field(default_factory=Noise)
    machine: dict[str, Any] = field(default_factory=dict)
    kernels: list[KernelResult] = field(default_factory=list)
    steps: list[StepResult] = field(default_factory=list)
    train: list[TrainResult] = field(default_factory=list)
    scaling: list[dict[str, Any]] = field(default_factory=list)
    start: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    date: str = field(
        default_factory=lambda: datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    )
    cpu: str = field(default_factory=cpu_name)
    cores: int = field(default_factory=lambda: len(cores()))
    versions: Mapping[str, str] = field(default_factory=lambda: versions())

    def to_json(self) -> dict[str, Any]:
        """Plain lists, dicts, numbers and strings."""
        return {"format": FORMAT} | asdict(self)


def cores() -> list[int]:
    """The numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def versions() -> dict[str, str]:
    """Of Python, and of the libraries that are installed among those that compute."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name.removesuffix("-engine")] = importlib.metadata.version(name)
    return found
