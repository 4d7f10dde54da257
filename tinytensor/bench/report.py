"""The results of a benchmark, with their spread, the machine and the versions."""

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

FORMAT = 1  # version of the JSON; increased by incompatible changes
PACKAGES = ("tinytensor-engine", "numpy", "numba", "cffi", "torch", "jax", "tinygrad")


@dataclass(frozen=True)
class Spread:
    """Statistics of several times of the same work: best, median, and quartiles, in seconds."""

    best: float
    median: float
    low: float
    high: float

    @classmethod
    def of(cls, times: Sequence[float]) -> Spread:
        """The Spread of one or more times."""
        if len(times) == 1:
            return cls(times[0], times[0], times[0], times[0])
        low, median, high = statistics.quantiles(times, n=4, method="inclusive")
        return cls(min(times), median, low, high)

    @property
    def width(self) -> float:
        """The interquartile range divided by the median."""
        return (self.high - self.low) / self.median


def ratio(times: Sequence[float], others: Sequence[float]) -> float:
    """The median of others[i] / times[i] over the rounds i of both.

    The two times of a round are measured one after another, so a slow change of the machine's speed
    affects both, and hardly their ratio.
    """
    return statistics.median(b / a for a, b in zip(times, others, strict=False))


@dataclass(frozen=True)
class KernelResult:
    """The time of a kernel call by one contestant."""

    kernel: str
    case: str  # the name of the Case
    contestant: str
    backend: str | None  # None for another library
    threads: int
    seconds: Spread
    to_numpy: float | None  # speed-up over the NumPy backend
    flops: int  # floating-point operations of the call
    bytes: int  # bytes read and written
    bound: float | None  # lower bound in seconds on this machine; None if it can't be measured
    on_numpy: bool  # True if the backend falls back to NumPy for this kernel


@dataclass(frozen=True)
class StepResult:
    """The time of a lesson's training step by one contestant; fields as in KernelResult."""

    lesson: str
    contestant: str
    backend: str | None
    mode: str | None  # "eager", "captured", "dense" or "run"; None for another library
    threads: int
    seconds: Spread
    to_numpy: float | None
    images_per_second: float
    bound: float | None


@dataclass(frozen=True)
class TrainResult:
    """The times of a whole run in a separate process.

    seconds: "process" is the time from the start of the process to its end. Its parts are "import",
    "data", "first_step", "train" and "evaluate".
    """

    lesson: str
    backend: str
    threads: int
    seconds: dict[str, float]
    test_accuracy: float
    steps: int


@dataclass(frozen=True)
class Noise:
    """True if the machine was noisy during a measurement, and the evidence as text."""

    noisy: bool = False
    why: str = ""

    def __str__(self) -> str:
        if not self.noisy:
            return "The machine was quiet."
        return f"NOISY: {self.why}. Measure again when the machine is idle."


@dataclass(frozen=True)
class Skipped:
    """A contestant without results for a lesson (None: for all lessons), and the reason."""

    contestant: str
    lesson: str | None
    why: str


@dataclass
class Report:
    """All results of a benchmark; the lists grow while it runs."""

    quick: bool = False
    stopped: bool = False  # True if the benchmark ended early
    left_out: list[str] = field(default_factory=list)  # pieces of a quick benchmark, without time
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
        """The report as plain lists, dicts, numbers and strings, with its format version."""
        return {"format": FORMAT} | asdict(self)


def cores() -> list[int]:
    """The ids of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def versions() -> dict[str, str]:
    """The versions of Python and of the installed libraries among PACKAGES."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name.removesuffix("-engine")] = importlib.metadata.version(name)
    return found
