"""What the coach costs in each lesson, and what it finds there.

    python benchmarks/coach.py [LESSON ...] [--seeds 5] [--steps 150] [--turns 10]

Prints a Markdown table. Times are CPU times on one thread, in microseconds. Each is the least of
`turns` trainings of 64 steps, with and without a coach in turns. "step" is the median of a captured
step. "start" is the time in which a coach starts and checks the data set. "look" is the mean of
what the coach adds to the steps that it looks at, and "count" is what it adds to the other steps.
"share" is the time of the coach divided by the time of the steps, in a run of the lesson's own
length. "of 500" is the same for 500 steps. "findings" counts what the coach finds in `steps` steps
with each seed; without a mistake it should be 0.
"""

import argparse
import time
import timeit
from typing import NamedTuple

import numpy as np

import tinytensor as tt
from tinytensor.arrays import Array
from tinytensor.coach.view import is_look
from tinytensor.lessons import Lesson, find, lessons
from tinytensor.train import Training

STEPS = 64  # of a measured training
now = time.thread_time_ns


class Costs(NamedTuple):
    """Microseconds of a step, a start, a look, and a step at which the coach only counts."""

    step: float
    start: float
    look: float
    count: float

    def share(self, steps: int) -> float:
        """The share of the coach in a run of this number of steps."""
        looks = sum(map(is_look, range(1, steps + 1)))
        return (self.start + looks * self.look + steps * self.count) / (steps * self.step)


def times(lesson: Lesson, data: tt.datasets.Dataset, coached: bool) -> Array:
    """Nanoseconds of the start of a coach, and of each step."""
    training = Training(lesson, data)
    training.model.train()
    found, start = [], now()
    if coached:
        training.watch_mistakes(None)
    for _ in range(STEPS + 1):
        found.append(now() - start)
        start = now()
        training.make_step()
    if training.coach is not None:
        training.coach.close()
    return np.array(found) / 1000


def costs(lesson: Lesson, data: tt.datasets.Dataset, turns: int) -> Costs:
    """Measure a lesson with and without a coach, in turns."""
    with_coach, without = np.inf, np.inf
    for _ in range(turns):
        without = np.minimum(without, times(lesson, data, coached=False))
        with_coach = np.minimum(with_coach, times(lesson, data, coached=True))
    added = with_coach - without
    looks = [step for step in range(1, STEPS + 1) if is_look(step)]
    training = Training(lesson, data)
    with training.watch_mistakes(None) as coach:
        coach.progress.step = STEPS
        count = min(timeit.repeat(lambda: coach.step_ended(0.0), number=1000, repeat=20)) * 1000
    return Costs(float(np.median(without)), float(added[0]), float(added[looks].mean()), count)


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
    parser.add_argument("--turns", type=int, default=10, help="trainings that are measured")
    arguments = parser.parse_args()
    data = tt.datasets.mnist()
    tt.set_num_threads(1)
    print("| lesson | step | start | look | count | share | of 500 | steps | seeds | findings |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for number in arguments.lessons:
        lesson = find(number)
        cost = costs(lesson, data, arguments.turns)
        found = sum(
            findings(lesson, data, arguments.steps, seed) for seed in range(arguments.seeds)
        )
        print(
            f"| {lesson.number} | {cost.step:.0f} | {cost.start:.0f} | {cost.look:.0f} "
            f"| {cost.count:.2f} | {100 * cost.share(lesson.steps):.1f} % "
            f"| {100 * cost.share(500):.1f} % | {arguments.steps} | {arguments.seeds} | {found} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
