"""A whole benchmark: what is to be measured, in which order, into one report.

For each number of threads the processes of all contestants are started once; they serve for the
steps and for the kernels.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tinytensor import machine
from tinytensor.bench import bounds, kernel_times, scaling, start, step_times, training_times
from tinytensor.bench.call_costs import call_costs
from tinytensor.bench.cases import Case, course_cases, larger_cases, selection
from tinytensor.bench.contest import Care, processes
from tinytensor.bench.noise import Watch
from tinytensor.bench.report import Report, Skipped

PARTS = ("kernels", "steps", "train")
QUICK_STEPS = 200  # of a whole run
MOST_QUICK = 45.0  # seconds for steps and kernels; the processes' start and the page come to them
Tell = Callable[[str], None]  # is told each piece of work as it begins


@dataclass(frozen=True)
class Plan:
    """What is to be measured, and with how much care.

    part: one of PARTS; or None for steps and a selection of kernels. rounds: turns of each. quick:
    short turns, captured steps alone, and of whole runs the beginning; on a busy machine fewer
    rounds, for MOST_QUICK seconds in all. page: besides, what only a page of plots shows: what
    calls cost, what grows how, and cold starts.
    """

    part: str | None
    backends: Sequence[str]
    lessons: Sequence[str]
    threads: Sequence[int]
    peers: Sequence[str] = ()
    rounds: int = 15
    quick: bool = False
    page: bool = False

    @property
    def modes(self) -> tuple[str, ...]:
        """How the backends' steps are made."""
        return ("captured",) if self.quick else step_times.MODES

    @property
    def step_lessons(self) -> Sequence[str]:
        """Those whose steps are timed."""
        return self.lessons if self.part in (None, "steps") else ()

    def cases(self) -> list[Case]:
        """The kernels' calls that are timed, on the backend in use."""
        if self.part not in (None, "kernels"):
            return []
        cases = course_cases(self.lessons)
        if self.part is None or self.quick:
            return selection(cases)
        return cases + larger_cases()

    @property
    def runs(self) -> int:
        """How many whole runs are made."""
        if self.part != "train":
            return 0
        return len(self.lessons) * len(self.backends) * len(self.threads) * self.rounds


def pieces(plan: Plan) -> int:
    """How often `measure` tells what it begins."""
    each = len(plan.step_lessons) + len(plan.cases())
    return len(plan.threads) * (each + (each > 0)) + (each > 0) + plan.runs + 3 * plan.page


def measure(plan: Plan, report: Report, tell: Tell = lambda what: None) -> None:
    """Fill the report. What it holds when this is interrupted is measured in full."""
    report.quick = plan.quick
    watch = Watch()
    pace = Pace(len(plan.threads) * (len(plan.step_lessons) + len(plan.cases())), plan.quick)
    try:
        for threads in plan.threads:
            if plan.part == "train":
                _train(plan, threads, report, watch, tell)
            else:
                _contest(plan, threads, report, watch, pace, tell)
        if plan.part != "train":
            tell("the machine once more")
            bounds.measure_again(report, plan.cases())
        if plan.page:
            _for_the_page(plan, report, tell)
    finally:
        report.noise = watch.verdict()


class Pace:
    """How long each piece of a quick benchmark may take: its part of the time that is left."""

    def __init__(self, pieces: int, quick: bool) -> None:
        self._pieces = pieces
        self._end = time.perf_counter() + MOST_QUICK if quick else math.inf

    def next(self) -> float:
        """When the next piece is to end, by time.perf_counter()."""
        now = time.perf_counter()
        until = now + max(0.0, self._end - now) / self._pieces
        self._pieces -= 1
        return until


def _contest(
    plan: Plan, threads: int, report: Report, watch: Watch, pace: Pace, tell: Tell
) -> None:
    on = f"{threads} thread{'s' * (threads > 1)}"
    tell(f"the machine on {on}")
    if machine.can_be_measured():
        report.machine.setdefault("threads", {})[str(threads)] = machine.limits(threads)
    watch.compute_on(threads)
    with processes([*plan.backends, *plan.peers], threads, watch) as contestants:
        entries = step_times.entries_of(contestants, plan.modes)
        for lesson in plan.step_lessons:
            tell(f"steps of lesson {lesson} on {on}")
            care = Care(plan.rounds, 0.03 if plan.quick else 0.05, watch, pace.next())
            results, skipped = step_times.measure(entries, lesson, threads, care)
            report.steps += results
            report.skipped += [Skipped(name, lesson, why) for name, why in skipped.items()]
        for case in plan.cases():
            tell(f"{case.kernel} {case.name} on {on}")
            care = Care(plan.rounds, 0.002 if plan.quick else 0.005, watch, pace.next())
            report.kernels += kernel_times.measure(contestants, case, threads, care)


def _for_the_page(plan: Plan, report: Report, tell: Tell) -> None:
    tell("what calls cost")
    report.machine["calls"] = call_costs()
    tell("what grows how")
    report.scaling = scaling.measure(plan.backends, plan.quick)
    tell("cold starts")
    lessons = start.LESSONS[:1] if plan.quick else start.LESSONS
    report.start = start.measure(lessons, plan.quick, plan.backends)


def _train(plan: Plan, threads: int, report: Report, watch: Watch, tell: Tell) -> None:
    steps = QUICK_STEPS if plan.quick else None
    with watch.during([]):
        for lesson in plan.lessons:
            for result in training_times.measure(
                lesson, plan.backends, threads, plan.rounds, steps, watch, tell
            ):
                report.train.append(result)
