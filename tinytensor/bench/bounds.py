"""Lower bounds of the time of kernel calls and training steps on this machine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tinytensor.bench.cases import Case, step_calls
from tinytensor.bench.report import Report
from tinytensor.capture.calls import Call
from tinytensor.machine import can_be_measured, limits, roofline


def bound(calls: Sequence[Call], threads: int) -> float | None:
    """The lower bound, in seconds, of `calls` in sequence; None if it can't be measured."""
    if not can_be_measured():
        return None
    return math.fsum(map(roofline(threads).bound, calls))


def step_bound(lesson: str, threads: int) -> float | None:
    """The lower bound, in seconds, of a lesson's training step; None if it can't be measured."""
    return bound(step_calls(lesson), threads) if can_be_measured() else None


def measure_again(report: Report, cases: Sequence[Case]) -> None:
    """Measure the machine's limits again, and store the higher ones in the report.

    If other programs run, a measured limit can be too low, and speeds would exceed 100 % of it.

    Args:
        report: its limits and bounds are updated.
        cases: the cases of the report's kernel results.
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
    """The element-wise maximum of two limits with the same structure; their names are equal."""
    if isinstance(one, dict):
        return {key: _higher(value, other[key]) for key, value in one.items()}
    return max(one, other)
