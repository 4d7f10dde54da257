"""A whole benchmark: the pieces to measure, their order, and the report.

For each number of threads, the processes of all contestants are started for steps, and again for
kernels.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from tinytensor import machine
from tinytensor.bench import bounds, kernel_times, scaling, start, step_times, training_times
from tinytensor.bench.call_costs import call_costs
from tinytensor.bench.cases import Case, course_cases, larger_cases, selection
from tinytensor.bench.contest import OutOfTime, Process, Timing, processes
from tinytensor.bench.noise import NoiseMonitor
from tinytensor.bench.report import Report, Skipped
from tinytensor.plural import plural

PARTS = ("kernels", "steps", "train")
QUICK_STEPS = 200  # steps of a whole run in a quick benchmark
QUICK_SECONDS = 45.0  # of a quick benchmark; importing and writing the results take time, too
ShowProgress = Callable[[str], None]  # called with the name of each piece of work when it starts


@dataclass(frozen=True)
class Plan:
    """The plan of a benchmark.

    Args:
        part: one of PARTS; None for steps and a selection of kernels.
        backends: names of the backends.
        lessons: numbers of the lessons.
        threads: numbers of threads.
        peers: names of other libraries.
        rounds: number of rounds.
        quick: True for short turns, captured steps only, and whole runs of QUICK_STEPS steps. On a
            busy or slow machine there are fewer rounds, and what has not ended after QUICK_SECONDS
            is left out.
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
    """The number of pieces of work: how often measure() calls `show`, if nothing is left out."""
    each = len(plan.step_lessons) + len(plan.cases())
    return len(plan.threads) * (each + (each > 0)) + (each > 0) + plan.runs + 3 * plan.page


def measure(plan: Plan, report: Report, show: ShowProgress = lambda name: None) -> None:
    """Measure a plan, and add the results to the report.

    After an interruption, the results in the report are complete measurements.
    """
    report.quick = plan.quick
    monitor = NoiseMonitor()
    groups = 1 if plan.part == "train" else bool(plan.step_lessons) + bool(plan.cases())
    pace = Pace(len(plan.threads) * groups, plan.quick)
    try:
        for threads in plan.threads:
            if plan.part == "train":
                _train(plan, threads, report, monitor, pace, show)
            else:
                _contest(plan, threads, report, monitor, pace, show)
        if plan.part != "train":
            show("the machine again")
            bounds.measure_again(report, plan.cases())
        if plan.page:
            _for_the_page(plan, report, pace, show)
    finally:
        report.noise = monitor.verdict()


class Pace:
    """Time limits of a quick benchmark; without limits if `quick` is False.

    Each group of pieces gets an equal part of the remaining time, and each piece of a group an
    equal part of the group's. All times are of time.perf_counter().
    """

    def __init__(self, groups: int, quick: bool) -> None:
        self._groups = groups
        self.end = time.perf_counter() + QUICK_SECONDS if quick else math.inf

    def start_group(self, pieces: int) -> float:
        """Start the next group, of this number of pieces; return its time limit."""
        self._until = _part(self.end, self._groups)
        self._groups -= 1
        self._pieces = pieces
        return self._until

    def next(self) -> float:
        """The time limit of the rounds of the next piece."""
        until = _part(self._until, self._pieces)
        self._pieces -= 1
        return until


def _part(end: float, parts: int) -> float:
    """The time after one of equal parts of the time from now to `end`."""
    now = time.perf_counter()
    return now + max(0.0, end - now) / parts


def _contest(
    plan: Plan, threads: int, report: Report, monitor: NoiseMonitor, pace: Pace, show: ShowProgress
) -> None:
    on = plural(threads, "thread")
    show(f"the machine on {on}")
    if machine.can_be_measured():
        report.machine.setdefault("threads", {})[str(threads)] = machine.limits(threads)
    monitor.use_threads(threads)
    names = [*plan.backends, *plan.peers]

    def step(lesson: str, contestants: Sequence[Process], timing: Timing) -> None:
        entries = step_times.entries_of(contestants, plan.modes)
        results, skipped = step_times.measure(entries, lesson, threads, timing)
        report.steps += results
        report.skipped += [Skipped(name, lesson, why) for name, why in skipped.items()]

    def kernel(case: Case, contestants: Sequence[Process], timing: Timing) -> None:
        report.kernels += kernel_times.measure(contestants, case, threads, timing)

    steps = [(f"steps of lesson {n} on {on}", partial(step, n)) for n in plan.step_lessons]
    kernels = [(f"{c.kernel} {c.name} on {on}", partial(kernel, c)) for c in plan.cases()]
    for group, seconds in ((steps, 0.05), (kernels, 0.005)):
        if not group:
            continue
        turn = 0.5 * seconds if plan.quick else seconds
        until = pace.start_group(len(group))
        measured = 0
        try:
            with processes(names, threads, monitor, until) as contestants:
                for name, measure_piece in group:
                    show(name)
                    measure_piece(contestants, Timing(plan.rounds, turn, monitor, pace.next()))
                    measured += 1
        except OutOfTime:
            report.left_out += [name for name, _ in group[measured:]]


def _for_the_page(plan: Plan, report: Report, pace: Pace, show: ShowProgress) -> None:
    show("call costs")
    report.machine["calls"] = call_costs()
    if time.perf_counter() > pace.end:
        report.left_out += ["scaling", "cold starts"]
        return
    show("scaling")
    report.scaling = scaling.measure(plan.backends, plan.quick)
    if time.perf_counter() > pace.end:
        report.left_out.append("cold starts")
        return
    show("cold starts")
    lessons = start.LESSONS[:1] if plan.quick else start.LESSONS
    report.start = start.measure(lessons, plan.quick, plan.backends)


def _train(
    plan: Plan, threads: int, report: Report, monitor: NoiseMonitor, pace: Pace, show: ShowProgress
) -> None:
    steps = QUICK_STEPS if plan.quick else None
    pace.start_group(len(plan.lessons))
    with monitor.during([]):
        for lesson in plan.lessons:
            until = pace.next()
            for result in training_times.measure(
                lesson, plan.backends, threads, plan.rounds, steps, monitor, show, until
            ):
                report.train.append(result)
