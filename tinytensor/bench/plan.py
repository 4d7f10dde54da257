"""A whole benchmark: the pieces to measure, their order, and the report.

For each number of threads, the processes of all contestants are started once, for steps and for
kernels.
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
from tinytensor.bench.contest import Timing, processes
from tinytensor.bench.noise import NoiseMonitor
from tinytensor.bench.report import Report, Skipped

PARTS = ("kernels", "steps", "train")
QUICK_STEPS = 200  # steps of a whole run in a quick benchmark
QUICK_SECONDS = 45.0  # for steps and kernels in a quick benchmark, without starting processes
ShowProgress = Callable[[str], None]  # called with the name of each piece of work when it starts


@dataclass(frozen=True)
class Plan:
    """What a benchmark measures.

    Args:
        part: one of PARTS; None for steps and a selection of kernels.
        backends: names of the backends.
        lessons: numbers of the lessons.
        threads: numbers of threads.
        peers: names of other libraries.
        rounds: number of rounds.
        quick: True for short turns, captured steps only, and whole runs of QUICK_STEPS steps. On a
            busy machine there are fewer rounds, so that steps and kernels take QUICK_SECONDS.
        page: True to measure also what only the page shows: call costs, scaling and cold starts.
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
        """The modes of the backends' steps that are timed."""
        return ("captured",) if self.quick else step_times.MODES

    @property
    def step_lessons(self) -> Sequence[str]:
        """The lessons whose steps are timed."""
        return self.lessons if self.part in (None, "steps") else ()

    def cases(self) -> list[Case]:
        """The kernel calls that are timed."""
        if self.part not in (None, "kernels"):
            return []
        cases = course_cases(self.lessons)
        if self.part is None or self.quick:
            return selection(cases)
        return cases + larger_cases()

    @property
    def runs(self) -> int:
        """The number of whole runs."""
        if self.part != "train":
            return 0
        return len(self.lessons) * len(self.backends) * len(self.threads) * self.rounds


def pieces(plan: Plan) -> int:
    """The number of pieces of work: how often measure() calls `show`."""
    each = len(plan.step_lessons) + len(plan.cases())
    return len(plan.threads) * (each + (each > 0)) + (each > 0) + plan.runs + 3 * plan.page


def measure(plan: Plan, report: Report, show: ShowProgress = lambda name: None) -> None:
    """Measure a plan, and add the results to the report.

    After an interruption, the results in the report are complete measurements.
    """
    report.quick = plan.quick
    monitor = NoiseMonitor()
    pace = Pace(len(plan.threads) * (len(plan.step_lessons) + len(plan.cases())), plan.quick)
    try:
        for threads in plan.threads:
            if plan.part == "train":
                _train(plan, threads, report, monitor, show)
            else:
                _contest(plan, threads, report, monitor, pace, show)
        if plan.part != "train":
            show("the machine again")
            bounds.measure_again(report, plan.cases())
        if plan.page:
            _for_the_page(plan, report, show)
    finally:
        report.noise = monitor.verdict()


class Pace:
    """Time limits of the pieces of a quick benchmark: equal parts of the remaining time."""

    def __init__(self, pieces: int, quick: bool) -> None:
        self._pieces = pieces
        self._end = time.perf_counter() + QUICK_SECONDS if quick else math.inf

    def next(self) -> float:
        """The time limit of the next piece, by time.perf_counter()."""
        now = time.perf_counter()
        until = now + max(0.0, self._end - now) / self._pieces
        self._pieces -= 1
        return until


def _contest(
    plan: Plan, threads: int, report: Report, monitor: NoiseMonitor, pace: Pace, show: ShowProgress
) -> None:
    on = f"{threads} thread{'s' * (threads > 1)}"
    show(f"the machine on {on}")
    if machine.can_be_measured():
        report.machine.setdefault("threads", {})[str(threads)] = machine.limits(threads)
    monitor.use_threads(threads)
    with processes([*plan.backends, *plan.peers], threads, monitor) as contestants:
        entries = step_times.entries_of(contestants, plan.modes)
        for lesson in plan.step_lessons:
            show(f"steps of lesson {lesson} on {on}")
            timing = Timing(plan.rounds, 0.03 if plan.quick else 0.05, monitor, pace.next())
            results, skipped = step_times.measure(entries, lesson, threads, timing)
            report.steps += results
            report.skipped += [Skipped(name, lesson, why) for name, why in skipped.items()]
        for case in plan.cases():
            show(f"{case.kernel} {case.name} on {on}")
            timing = Timing(plan.rounds, 0.002 if plan.quick else 0.005, monitor, pace.next())
            report.kernels += kernel_times.measure(contestants, case, threads, timing)


def _for_the_page(plan: Plan, report: Report, show: ShowProgress) -> None:
    show("call costs")
    report.machine["calls"] = call_costs()
    show("scaling")
    report.scaling = scaling.measure(plan.backends, plan.quick)
    show("cold starts")
    lessons = start.LESSONS[:1] if plan.quick else start.LESSONS
    report.start = start.measure(lessons, plan.quick, plan.backends)


def _train(
    plan: Plan, threads: int, report: Report, monitor: NoiseMonitor, show: ShowProgress
) -> None:
    steps = QUICK_STEPS if plan.quick else None
    with monitor.during([]):
        for lesson in plan.lessons:
            for result in training_times.measure(
                lesson, plan.backends, threads, plan.rounds, steps, monitor, show
            ):
                report.train.append(result)
