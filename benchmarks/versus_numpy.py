"""Lesson 1.0 on a backend against the same loop written by hand in NumPy.

    python benchmarks/versus_numpy.py [--backend c] [--rounds 15] [--steps 2000]

Both train from the same weights on the same batches, taking turns in one process. Before anything
is timed they must end with the same weights. Each round's ratio is of two neighbouring runs, so a
drifting machine shifts both; the median ratio is the one to quote. Both make their batches, from
the same bytes in the same order, inside the loop; evaluation is in neither.
"""

import argparse
import statistics
import time

import numpy as np

import tinytensor as tt
from tinytensor.datasets import Dataset, batches
from tinytensor.lessons.mnist_1_0_softmax import LESSON


def numpy_by_hand(data: Dataset, steps: int) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """The lesson as an expert writes it without a library: no graph, one pass over everything."""
    weight, bias = np.zeros((784, 10), np.float32), np.zeros(10, np.float32)
    pixels = data.train_images.reshape(60_000, 784)
    rows, losses = np.arange(100), []
    chosen = np.array([], int)
    rng = np.random.default_rng(0)
    for step in range(steps):
        if step % 600 == 0:
            chosen = rng.permutation(60_000)
        index = chosen[step % 600 * 100 :][:100]
        x, labels = pixels[index] * np.float32(1 / 255), data.train_labels[index]
        logits = x @ weight
        logits += bias
        logits -= logits.max(axis=1, keepdims=True)
        probs = np.exp(logits)
        total = probs.sum(axis=1, keepdims=True)
        losses.append((np.log(total[:, 0]) - logits[rows, labels]).mean())
        probs /= total
        probs[rows, labels] -= 1
        probs *= np.float32(0.5 / 100)
        weight -= x.T @ probs
        bias -= probs.sum(axis=0)
    return weight, bias, losses


def tinytensor(data: Dataset, steps: int) -> tuple[np.ndarray, np.ndarray, list[tt.Tensor]]:
    """The lesson as tinytensor's training loop runs it."""
    model = LESSON.model()
    optimizer = LESSON.optimizer(model.parameters())
    losses = []
    endless_batches = batches(data.train_images, data.train_labels, 100, seed=0)
    for _ in range(steps):
        images, labels = next(endless_batches)
        loss = tt.cross_entropy(model(tt.from_numpy(images)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss)
    weight, bias = (parameter.numpy() for parameter in model.parameters())
    return weight, bias, losses


def main() -> None:
    """Compare, and print medians with their spread."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--backend", default="c")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=LESSON.steps)
    options = parser.parse_args()
    tt.set_backend(options.backend)
    data = tt.datasets.mnist()

    by_hand, ours = numpy_by_hand(data, 50), tinytensor(data, 50)
    np.testing.assert_allclose(ours[0], by_hand[0], atol=1e-6)
    np.testing.assert_allclose(ours[1], by_hand[1], atol=1e-6)
    np.testing.assert_allclose([loss.item() for loss in ours[2]], by_hand[2], rtol=1e-5)

    seconds: dict[str, list[float]] = {"numpy by hand": [], f"tinytensor, {options.backend}": []}
    for _ in range(options.rounds):
        for name, run in zip(seconds, (numpy_by_hand, tinytensor), strict=True):
            start = time.perf_counter()
            run(data, options.steps)
            seconds[name].append(time.perf_counter() - start)
    for name, times in seconds.items():
        low, middle, high = min(times), statistics.median(times), max(times)
        print(f"{name:20} {middle:.3f} s ({low:.3f} to {high:.3f}) for {options.steps} steps")
    ratios = [a / b for a, b in zip(*seconds.values(), strict=True)]
    print(
        f"tinytensor is {statistics.median(ratios):.2f} times as fast "
        f"({min(ratios):.2f} to {max(ratios):.2f} in {len(ratios)} rounds)"
    )


if __name__ == "__main__":
    main()
