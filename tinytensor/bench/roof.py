"""The machine's limits beside what is timed: how fast a call or a step could be here at most."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tinytensor import kernels
from tinytensor.bench.cases import Case, step_calls
from tinytensor.bench.limits import bandwidth
from tinytensor.bench.report import Report
from tinytensor.capture.calls import Call
from tinytensor.errors import BackendUnavailable
from tinytensor.roofline import roofline


@functools.cache
def can_be_measured() -> bool:
    """Whether there is the C backend, whose loops measure the machine."""
    try:
        kernels.load_backend("c")
    except BackendUnavailable:
        return False
    return True


def limits(threads: int) -> dict[str, Any]:
    """The most FLOP/s, and bytes a second for each working set and kind of traffic."""
    return {
        "peak_flops": roofline(threads).peak,
        "bandwidth": bandwidth(threads),
    }


def bound(calls: Sequence[Call], threads: int) -> float | None:
    """The least seconds that these calls take, one after the other; None if that isn't known."""
    if not can_be_measured():
        return None
    return math.fsum(map(roofline(threads).bound, calls))


def step_bound(lesson: str, threads: int) -> float | None:
    """The least seconds that a training step of a lesson takes; None if that isn't known."""
    return bound(step_calls(lesson), threads) if can_be_measured() else None


def measure_again(report: Report, cases: Sequence[Case]) -> None:
    """Measure the machine once more, and set the report's limits by the higher of both.

    In a disturbed moment a limit comes out too low, and what is beside it as more than all that can
    be. cases: those of the report's kernels.
    """
    calls = {(case.kernel, case.name): case.call for case in cases}
    for count, before in report.machine.get("threads", {}).items():
        roofline(int(count)).measure_again()
        report.machine["threads"][count] = _higher(before, limits(int(count)))
    report.steps = [
        replace(result, bound=step_bound(result.lesson, result.threads)) for result in report.steps
    ]
    report.kernels = [
        replace(result, bound=bound([calls[result.kernel, result.case]], result.threads))
        for result in report.kernels
    ]


def _higher(one: Any, other: Any) -> Any:
    """Each number's higher, of limits of the same form; the names in them are the same, too."""
    if isinstance(one, dict):
        return {key: _higher(value, other[key]) for key, value in one.items()}
    return max(one, other)
