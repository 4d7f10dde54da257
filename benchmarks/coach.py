"""What the coach costs in each lesson, and what it finds there.

    python benchmarks/coach.py [LESSON ...] [--seeds 5] [--steps 150]

Prints a Markdown table. "step", "look" and "start" are CPU times in microseconds on one thread: the
least of 60 captured steps, of 40 looks, and of 20 starts of a coach, which checks the data set.
"share" is the time of the coach divided by the time of the steps, in a run of the lesson's own
length, in which the coach looks at steps 1, 2, 4, 8, ... "of 500" is the same for 500 steps.
"findings" counts what the coach finds in `steps` steps with each seed; without a mistake it should
be 0.
"""

import argparse
import time
import timeit
from collections.abc import Callable
from typing import Any

import tinytensor as tt
from tinytensor.coach.coaching import Coach
from tinytensor.lessons import Lesson, find, lessons
from tinytensor.train import Training

EVENTS = "module_called", "loss_called", "backward_starts", "update_starts", "update_ended"
now = time.thread_time_ns


class TimedCoach(Coach):
    """A coach that adds up the nanoseconds of its events."""

    spent = 0


def timed(event: Callable[..., None]) -> Callable[..., None]:
    def run(self: TimedCoach, *arguments: Any) -> None:
        start = now()
        event(self, *arguments)
        self.spent += now() - start

    return run


for name in EVENTS:
    setattr(TimedCoach, name, timed(getattr(Coach, name)))


def costs(lesson: Lesson, data: tt.datasets.Dataset) -> tuple[float, float, float, float]:
    """Microseconds of a captured step, a look, a start, and a step at which the coach counts."""
    training = Training(lesson, data)
    training.model.train()
    for _ in range(20):
        training.make_step()
    steps, looks = [], []
    for _ in range(60):
        start = now()
        training.make_step()
        steps.append(now() - start)
    training._step = training.train_step  # the first step of a new coach is a look
    for _ in range(40 if min(steps) < 1e7 else 4):
        with TimedCoach(training.model, training.train_step, show=None) as coach:
            training.make_step()
            start = now()
            coach.step_ended(0.0)
        looks.append(coach.spent + now() - start)
    starts = []
    for _ in range(20):
        start = now()
        with Coach(training.model, data=data, show=None):
            starts.append(now() - start)
    coach.progress.step = 4
    count = min(timeit.repeat(lambda: coach.step_ended(0.0), number=1000, repeat=20)) * 1000
    return min(steps) / 1000, min(looks) / 1000, min(starts) / 1000, count


def findings(lesson: Lesson, data: tt.datasets.Dataset, steps: int, seed: int) -> int:
    """The number of findings in a run; they are printed."""
    training = Training(lesson, data, steps=steps, seed=seed, evaluate_every=50)
    with training.watch_mistakes(print) as coach:
        for _ in training:
            pass
    return len(coach.findings)


def main() -> None:
    """Measure the lessons, and print each row when it is ready."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("lessons", nargs="*", default=[lesson.number for lesson in lessons()])
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds: 0 to N - 1")
    parser.add_argument("--steps", type=int, default=150, help="steps of the runs that are watched")
    arguments = parser.parse_args()
    data = tt.datasets.mnist()
    tt.set_num_threads(1)
    print(
        "| lesson | step, us | look, us | start, us | share | of 500 | steps | seeds | findings |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for number in arguments.lessons:
        lesson = find(number)
        step, look, start, count = costs(lesson, data)
        whole, short = (
            (start + steps.bit_length() * look + steps * count) / (steps * step)
            for steps in (lesson.steps, 500)
        )
        found = sum(
            findings(lesson, data, arguments.steps, seed) for seed in range(arguments.seeds)
        )
        print(
            f"| {lesson.number} | {step:.0f} | {look:.0f} | {start:.0f} | {100 * whole:.1f} % "
            f"| {100 * short:.1f} % | {arguments.steps} | {arguments.seeds} | {found} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
