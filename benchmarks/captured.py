"""Training steps of lessons: op by op, captured, and many at once with run(); on C.

    env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE python benchmarks/captured.py [--threads 1]

All train on the same batches of 100, which they make from the data set's bytes inside the loop:
run() in C, in the step. They take turns in one process, lesson 1.0 also with the same loop written
by hand in NumPy; before anything is timed they must end with the same losses. A round's ratio is of
neighbouring runs; the median ratio is the one to quote.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import threadpoolctl
from versus_numpy import numpy_by_hand

import tinytensor as tt
from tinytensor.datasets import Dataset, batches, to_float
from tinytensor.lessons import Lesson, find

Loop = Callable[[int], list[float]]  # so many steps from the first; their losses


def train_step(lesson: Lesson) -> Callable[..., tt.Tensor]:
    tt.manual_seed(0)
    model = lesson.model()
    optimizer = lesson.optimizer(model.parameters())

    def step(images, labels):
        loss = lesson.loss(model(tt.from_numpy(images)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step


def one_by_one(step: Callable[..., tt.Tensor], data: Dataset, steps: int) -> list[float]:
    endless_batches = batches(data.train_images, data.train_labels, 100, seed=0)
    return [step(*next(endless_batches)).item() for _ in range(steps)]


def at_once(step: Callable[..., tt.Tensor], data: Dataset, steps: int) -> list[float]:
    rng = np.random.default_rng(0)
    rounds = [rng.permutation(60_000).reshape(-1, 100) for _ in range(-(-steps // 600))]
    chosen = np.concatenate(rounds)[:steps]
    losses: list[float] = step.run(chosen, data.train_labels[chosen]).tolist()
    return losses


def loops(lesson: Lesson, data: Dataset) -> dict[str, Loop]:
    eager, captured = train_step(lesson), tt.capture(train_step(lesson))
    step, images = train_step(lesson), data.train_images
    chosen_step = tt.capture(lambda chosen, labels: step(to_float(images, chosen), labels))
    loops: dict[str, Loop] = {
        "eager": lambda steps: one_by_one(eager, data, steps),
        "captured": lambda steps: one_by_one(captured, data, steps),
        "run": lambda steps: at_once(chosen_step, data, steps),
    }
    if lesson.name == "softmax":
        loops["numpy by hand"] = lambda steps: numpy_by_hand(data, steps)[2]
    return loops


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--lessons", nargs="*", default=["1.0", "2.1", "2.2", "3.0"])
    options = parser.parse_args()
    data = tt.datasets.mnist()
    tt.set_backend("c")
    tt.set_num_threads(options.threads)
    with threadpoolctl.threadpool_limits(options.threads):
        for number in options.lessons:
            compare(find(number), data, options.rounds, steps=400 if number < "3" else 20)


def compare(lesson: Lesson, data: Dataset, rounds: int, steps: int) -> None:
    variants = loops(lesson, data)
    losses = {}
    for name, loop in variants.items():
        tt.manual_seed(1)  # the masks of dropout
        losses[name] = loop(20)
        np.testing.assert_allclose(losses[name], losses["eager"], rtol=1e-3)
    assert losses["eager"] == losses["captured"] == losses["run"]
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, loop in variants.items():
            start = time.perf_counter()
            loop(steps)
            times[name].append((time.perf_counter() - start) / steps * 1e6)
    print(f"lesson {lesson.number}, us a step: the best; how many times as fast as eager")
    for name, own in times.items():
        ratio = statistics.median(a / b for a, b in zip(times["eager"], own, strict=True))
        print(f"  {name:15}{min(own):10.1f}{ratio:8.2f}")


if __name__ == "__main__":
    main()
