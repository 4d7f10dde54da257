"""What the coach costs in each lesson, and what it finds there.

    python benchmarks/coach.py [LESSON ...] [--seeds 5] [--steps 150]

Prints a Markdown table. "step" and "look" are CPU times in microseconds on one thread: the least of
60 captured steps, and the least of 40 looks. "share" is the coach's share of the time of a run of
the lesson's own length, in which it looks at steps 1, 2, 4, 8, ... "findings" counts what the coach
finds in `steps` steps with each seed; without a mistake it should be 0.
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


def costs(lesson: Lesson, data: tt.datasets.Dataset) -> tuple[float, float, float]:
    """Microseconds of a captured step, of a look, and of a step at which the coach only counts."""
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
    coach.progress.step = 4
    count = min(timeit.repeat(lambda: coach.step_ended(0.0), number=1000, repeat=20)) * 1000
    return min(steps) / 1000, min(looks) / 1000, count


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
    print("| lesson | step, us | look, us | share | steps | seeds | findings |")
    print("|---|---|---|---|---|---|---|")
    for number in arguments.lessons:
        lesson = find(number)
        step, look, count = costs(lesson, data)
        looks = lesson.steps.bit_length()
        share = (looks * look + lesson.steps * count) / (lesson.steps * step)
        found = sum(
            findings(lesson, data, arguments.steps, seed) for seed in range(arguments.seeds)
        )
        print(
            f"| {lesson.number} | {step:.0f} | {look:.0f} | {100 * share:.2f} % "
            f"| {arguments.steps} | {arguments.seeds} | {found} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
