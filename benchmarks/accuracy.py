"""The course's table of test accuracies over several seeds.

    python benchmarks/accuracy.py [LESSON ...] [--seeds 5] [--backends c]

Prints a Markdown table: mean and minimum of the final accuracies, the minimum over runs of each
run's best accuracy, the accuracy that the lesson expects, and the training time in seconds.
"""

import argparse
import statistics

import tinytensor as tt
from tinytensor.lessons import Lesson, find, lessons
from tinytensor.train import Training


def run(lesson: Lesson, data: tt.datasets.Dataset, seed: int) -> tuple[float, float, float]:
    """Train a lesson; return (final accuracy, best accuracy, seconds of training)."""
    every = lesson.evaluate_every if lesson.expected_of == "best" else 1000
    reports = list(Training(lesson, data, seed=seed, evaluate_every=every))
    accuracies = [report.test_accuracy for report in reports]
    return accuracies[-1], max(accuracies), reports[-1].seconds.train


def main() -> None:
    """Train the lessons, and print each row when it is ready."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("lessons", nargs="*", default=[lesson.name for lesson in lessons()])
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds: 0 to N - 1")
    parser.add_argument("--backends", nargs="+", default=["c"])
    options = parser.parse_args()

    data = tt.datasets.mnist()
    print("| lesson | backend | seeds | mean | worst | worst peak | expected | seconds |")
    print("|---|---|---|---|---|---|---|---|")
    for lesson in map(find, options.lessons):
        label = lesson.name if lesson.name == lesson.number else f"{lesson.number} {lesson.name}"
        for backend in options.backends:
            with tt.backend(backend):
                runs = [run(lesson, data, seed) for seed in range(options.seeds)]
            final, best, seconds = zip(*runs, strict=True)
            print(
                f"| {label} | {backend} | {len(runs)} "
                f"| {statistics.mean(final):.4f} | {min(final):.4f} | {min(best):.4f} "
                f"| {lesson.expected_accuracy:.4g} ({lesson.expected_of}) "
                f"| {statistics.median(seconds):.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
