"""Sentences of the course that anyone can check: each is a few trainings that differ in one thing.

`tinytensor try NAME` runs a claim over some seeds and prints what was measured.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

import tinytensor as tt
from tinytensor import nn, ops
from tinytensor.arrays import Array
from tinytensor.datasets import Dataset
from tinytensor.lessons import Lesson, find, known_by_name
from tinytensor.tensor import Tensor
from tinytensor.train import Training


@dataclass(frozen=True)
class Claim:
    """A sentence, and the trainings that show whether it holds, by what is different."""

    name: str
    sentence: str
    variants: Callable[[], Mapping[str, Lesson]]


@dataclass(frozen=True)
class Measured:
    """What one variant reached on the test images: means over the seeds."""

    variant: str
    accuracies: list[float]  # the final ones, a seed each
    loss: float  # the final one
    lowest_loss: float  # of all evaluations
    seconds: float  # of a training, without evaluations and the first step, which may compile

    @property
    def accuracy(self) -> float:
        """The mean over the seeds."""
        return statistics.mean(self.accuracies)


def measure(claim: Claim, data: Dataset, seeds: int) -> Iterator[Measured]:
    """Train every variant with seeds 0, 1, ...; yield each as soon as it is done."""
    for variant, lesson in claim.variants().items():
        every = max(lesson.steps // 10, 1)
        runs = [list(Training(lesson, data, seed=s, evaluate_every=every)) for s in range(seeds)]
        yield Measured(
            variant,
            [run[-1].test_accuracy for run in runs],
            statistics.mean(run[-1].test_loss for run in runs),
            statistics.mean(min(report.test_loss for report in run) for run in runs),
            statistics.mean(run[-1].seconds.train for run in runs),
        )


# Other losses, other rates, other beginnings ----------------------------------------------------


def squared_error(logits: Tensor, labels: Array) -> Tensor:
    """The squared distance between the probabilities and the one-hot right answer, summed."""
    probs = ops.softmax(logits)
    return ops.mse_loss(probs, ops.one_hot(labels, logits.shape[1]), "sum") / len(labels)


def cross_entropy_of_norm_2(logits: Tensor, labels: Array) -> Tensor:
    """Minus log of what the right digit got, where e^x is divided by its Euclidean norm."""
    chosen = ops.gather(ops.softmax(logits, norm=2), labels[:, np.newaxis], axis=1)
    return -ops.mean(ops.log(chosen))


def _short(name: str, steps: int = 2000, **changed: object) -> Lesson:
    return replace(find(name), steps=steps, **changed)  # type: ignore[arg-type]


def _fixed_rate(name: str, rate: float, steps: int) -> Lesson:
    return _short(name, steps, optimizer=lambda params: tt.optim.Adam(params, lr=rate))


def _all_zero() -> nn.Module:
    model = find("sigmoid").model()
    for x in model.parameters():
        x.data = np.zeros(x.shape)
    return model


def _one_at_a_time() -> Lesson:
    # As many images, a step after each of them: so each step is a hundredth as long.
    optimizer = lambda params: tt.optim.SGD(params, lr=0.5 / 100)  # noqa: E731
    return _short("softmax", 60_000, batch=1, optimizer=optimizer)


CLAIMS = (
    Claim(
        "squared-error",
        "The squared distance works too, cross-entropy about as well.",
        lambda: {
            "cross-entropy": _short("softmax"),
            "squared error": _short("softmax", loss=squared_error),
        },
    ),
    Claim(
        "l2-norm",
        "Softmax may divide by the Euclidean norm as well as by the sum.",
        lambda: {
            "the sum (L1)": _short("softmax"),
            "the Euclidean norm (L2)": _short("softmax", loss=cross_entropy_of_norm_2),
        },
    ),
    Claim(
        "relu",
        "ReLU learns faster than the sigmoid in a net of five layers.",
        lambda: {
            "sigmoid": _fixed_rate("sigmoid", 0.003, 1000),
            "ReLU": _fixed_rate("relu", 0.003, 1000),
        },
    ),
    Claim(
        "rate-decay",
        "A rate that decays ends quieter, and better, than a fixed one.",
        lambda: {
            "fixed at 0.003": _fixed_rate("relu", 0.003, 6000),
            "from 0.0031 down to 0.0001": _short("relu", 6000),
        },
    ),
    Claim(
        "dropout",
        "Dropout keeps the test loss from rising again in the long run.",
        lambda: {"without": _short("relu", 6000), "with": _short("dropout", 6000)},
    ),
    Claim(
        "convolution",
        "Convolutions see shapes where dense layers see rows of numbers.",
        lambda: {"dense": _short("relu"), "convolutional": _short("conv")},
    ),
    Claim(
        "batch-norm",
        "Batch norm, and the rate it allows, let sigmoids learn faster.",
        lambda: {
            "without": _short("sigmoid", 1000),
            "with": _short("batchnorm-sigmoid", 1000),
        },
    ),
    Claim(
        "batch-norm-relu",
        "Batch norm lets even ReLUs learn a little faster.",
        lambda: {"without": _short("relu", 1000), "with": _short("batchnorm-relu", 1000)},
    ),
    Claim(
        "zero-weights",
        "A deep net whose weights all start at zero hardly learns.",
        lambda: {
            "small random numbers": _short("sigmoid", 1000),
            "zeros": _short("sigmoid", 1000, model=_all_zero),
        },
    ),
    Claim(
        "batch-size",
        "Batches of 100 do as well as single images, and much faster.",
        lambda: {"600 batches of 100": _short("softmax", 600), "one by one": _one_at_a_time()},
    ),
)


def find_claim(name: str) -> Claim:
    """The claim of that name.  Raises UnknownName, with the nearest there is."""
    return known_by_name({claim.name: claim for claim in CLAIMS}, name, "try: there is nothing")
