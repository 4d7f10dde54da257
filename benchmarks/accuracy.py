"""The course's table: test accuracies over several seeds, on every backend.

    python benchmarks/accuracy.py [LESSON ...] [--seeds 5] [--backends c numba numpy]

Prints Markdown: the mean and the worst of the final accuracies, and the lowest of what each run
reached at its best evaluation, beside what the lesson expects of its best.
"""

import argparse
import statistics

import tinytensor as tt
from tinytensor.lessons import Lesson, find, lessons
from tinytensor.train import train


def accuracies(lesson: Lesson, data: tt.datasets.Dataset, seed: int) -> tuple[float, float]:
    """(final, best) accuracy on the test images."""
    evaluated = [report.test_accuracy for report in train(lesson, data, seed=seed)]
    return evaluated[-1], max(evaluated)


def main() -> None:
    """Train and print, a line as soon as it is known."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("lessons", nargs="*", default=[lesson.name for lesson in lessons()])
    parser.add_argument("--seeds", type=int, default=5, help="seeds 0 to this - 1")
    parser.add_argument("--backends", nargs="+", default=list(tt.available_backends()))
    options = parser.parse_args()

    data = tt.datasets.mnist()
    print("| lesson | backend | mean | worst | lowest best | best expected |")
    print("|---|---|---|---|---|---|")
    for lesson in map(find, options.lessons):
        for backend in options.backends:
            with tt.backend(backend):
                runs = [accuracies(lesson, data, seed) for seed in range(options.seeds)]
            final, best = zip(*runs, strict=True)
            print(
                f"| {lesson.number} {lesson.name} | {backend} | {statistics.mean(final):.4f} "
                f"| {min(final):.4f} | {min(best):.4f} | {lesson.expected_accuracy} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
