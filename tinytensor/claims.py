"""Claims of the course that anyone can check: each measures variants of a network.

`tinytensor try NAME` measures each variant of a claim with several seeds and prints the means.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np

import tinytensor as tt
from tinytensor import nn, ops
from tinytensor.arrays import Array
from tinytensor.datasets import Dataset, batches
from tinytensor.datasets.augment import distort
from tinytensor.evaluation import evaluate
from tinytensor.lessons import Lesson, find, known_by_name
from tinytensor.lessons.mnist_2_0_five_layers_sigmoid import SIZES
from tinytensor.tensors import Tensor
from tinytensor.train import Training


@dataclass(frozen=True)
class Measurement:
    """The measurement of each variant.

    caption: what the columns mean
    columns: their names
    measure: the values of the columns for a lesson, a data set and a seed
    decimals: how the values are printed; None for two significant digits
    ranks: True prints the range of the first column too, in which a larger value is better
    """

    caption: str
    columns: tuple[str, ...]
    measure: Callable[[Lesson, Dataset, int], Sequence[float]]
    decimals: int | None = 4
    ranks: bool = True

    def text(self, value: float) -> str:
        """The value as it is printed."""
        return f"{value:.1e}" if self.decimals is None else f"{value:.{self.decimals}f}"


@dataclass(frozen=True)
class Measured:
    """What was measured of one variant: for each column the values, one for each seed."""

    variant: str
    columns: list[list[float]]

    @property
    def means(self) -> list[float]:
        """The mean of each column."""
        return [statistics.mean(column) for column in self.columns]


# What can be measured ---------------------------------------------------------------------------


def _layers(model: nn.Module) -> list[nn.Module]:
    return list(model.children())


def _reports(lesson: Lesson, data: Dataset, seed: int) -> tuple[float, ...]:
    every = max(lesson.steps // 10, 1)
    run = list(Training(lesson, data, seed=seed, evaluate_every=every))
    last = run[-1]
    lowest = min(report.test_loss for report in run)
    return last.test_accuracy, last.test_loss, lowest, last.seconds.train


TRAINED = Measurement(
    "On the 10,000 test images. The loss is the cross-entropy for every variant.",
    ("accuracy", "loss", "lowest", "seconds"),
    _reports,
)


def _last_ten(lesson: Lesson, data: Dataset, seed: int) -> tuple[float, ...]:
    run = list(Training(lesson, data, seed=seed, evaluate_every=max(lesson.steps // 60, 1)))
    accuracies = [report.test_accuracy for report in run[-10:]]
    return accuracies[-1], min(accuracies), max(accuracies), max(accuracies) - min(accuracies)


SETTLED = Measurement(
    "Test accuracy at the end, and the range of the last ten tests, 100 steps apart.",
    ("accuracy", "lowest", "highest", "range"),
    _last_ten,
)


def _memorised(lesson: Lesson, data: Dataset, seed: int) -> tuple[float, ...]:
    training = Training(lesson, data, seed=seed, evaluate_every=max(lesson.steps // 10, 1))
    run = list(training)
    chosen = slice(10_000)
    known = evaluate(training.tested, data.train_images[chosen], data.train_labels[chosen])
    lowest = min(report.test_loss for report in run)
    return run[-1].test_accuracy, run[-1].test_loss, lowest, known[0], known[1]


def _on_few_images(lesson: Lesson, data: Dataset, seed: int) -> tuple[float, ...]:
    few = data._replace(
        train_images=data.train_images[:2000], train_labels=data.train_labels[:2000]
    )
    return _reports(lesson, few, seed)[:3]


ON_FEW_IMAGES = Measurement(
    "On the 10,000 test images, after training on only 2,000 images.",
    ("accuracy", "loss", "lowest"),
    _on_few_images,
)


MEMORISED = Measurement(
    "On the 10,000 test images; in the last two columns on 10,000 training images.",
    ("accuracy", "loss", "lowest", "training", "its loss"),
    _memorised,
)


def _gradients(lesson: Lesson, data: Dataset, seed: int) -> list[float]:
    tt.manual_seed(seed)
    model = lesson.model()
    images, labels = next(batches(data.train_images, data.train_labels, size=100, seed=seed))
    loss = ops.cross_entropy(model(tt.from_numpy(images)), labels)
    weights = [x for x in model.parameters() if x.ndim > 1]
    return [float(np.abs(gradient).mean()) for gradient in _gradients_of(loss, weights)]


def _gradients_of(loss: Tensor, weights: Sequence[Tensor]) -> list[Array]:
    """The gradient of a loss for each of the weights that it depends on."""
    return [gradient.numpy() for gradient in tt.grad(loss, weights) if gradient is not None]


GRADIENTS = Measurement(
    "Mean |gradient| of each layer's weights before the first step, on 100 images.",
    tuple(f"layer {i + 1}" for i in range(len(SIZES) - 1)),
    _gradients,
    decimals=None,
    ranks=False,
)


def _with_neurons_off(lesson: Lesson, data: Dataset, seed: int) -> list[float]:
    training = Training(lesson, data, seed=seed, evaluate_every=lesson.steps)
    list(training)
    layers = [x for x in _layers(training.model) if not isinstance(x, nn.Dropout)]
    accuracies = []
    for keep in (1.0, 0.75, 0.5):
        model = nn.Sequential(*[_Thinned(x, keep) for x in layers])
        accuracies.append(evaluate(model, data.test_images, data.test_labels)[0])
    return accuracies


class _Thinned(nn.Module):
    """A layer; after an activation, each output is kept with probability keep in a test too."""

    def __init__(self, layer: nn.Module, keep: float) -> None:
        self.layer, self.keep = layer, keep

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer(x)
        return ops.dropout(x, keep_prob=self.keep) if isinstance(self.layer, nn.Activation) else x


WITH_NEURONS_OFF = Measurement(
    "Accuracy on the test images, while a random part of the hidden neurons is off.",
    ("all on", "25 % off", "50 % off"),
    _with_neurons_off,
)


def _on_shifted(lesson: Lesson, data: Dataset, seed: int) -> list[float]:
    training = Training(lesson, data, seed=seed, evaluate_every=lesson.steps)
    list(training)
    return [
        evaluate(training.tested, np.roll(data.test_images, shift, axis=2), data.test_labels)[0]
        for shift in range(5)
    ]


ON_SHIFTED = Measurement(
    "Accuracy on the test images, moved to the right by 0 to 4 pixels.",
    ("in place", "1 pixel", "2 pixels", "3 pixels", "4 pixels"),
    _on_shifted,
)


def _shares(lesson: Lesson, data: Dataset, seed: int) -> list[float]:
    training = Training(lesson, data, seed=seed, evaluate_every=lesson.steps)
    list(training)
    logits = training.model(tt.from_numpy(tt.datasets.to_float(data.test_images)))
    above = logits - logits.min(axis=1, keepdims=True)
    plain = (above / above.sum(axis=1, keepdims=True)).numpy()
    shares = [np.sort(x, axis=1)[:, ::-1] for x in (plain, ops.softmax(logits).numpy())]
    return [float(x[:, place].mean()) for x in shares for place in (0, 1)]


SHARES = Measurement(
    "Mean share of the largest and the second largest output for a test image.\n"
    "Plain: each logit minus the smallest one, divided by the sum of the ten.",
    ("plain", "second", "softmax", "2nd"),
    _shares,
    ranks=False,
)


def _direction(lesson: Lesson, data: Dataset, seed: int) -> list[float]:
    tt.manual_seed(seed)
    model = lesson.model()
    images, labels = tt.datasets.to_float(data.train_images[:10_000]), data.train_labels[:10_000]

    def gradient(chosen: slice) -> Array:
        loss = ops.cross_entropy(model(tt.from_numpy(images[chosen])), labels[chosen])
        flat = _gradients_of(loss, model.parameters()[:1])[0].ravel()
        unit: Array = flat / np.linalg.norm(flat)
        return unit

    of_all = gradient(slice(None))
    starts = range(seed * 1000, seed * 1000 + 50 * lesson.batch, lesson.batch)
    some = [gradient(slice(start, start + lesson.batch)) for start in starts]
    return [float(np.mean([unit @ of_all for unit in some]))]


DIRECTION = Measurement(
    "Before the first step: the cosine of the angle between the gradient of a batch\n"
    "and that of 10,000 images, mean of 50 batches. 1 is the same direction.",
    ("cosine",),
    _direction,
    ranks=False,
)


def _spread(lesson: Lesson, data: Dataset, seed: int) -> list[float]:
    tt.manual_seed(seed)
    model = lesson.model()
    images, _ = next(batches(data.train_images, data.train_labels, size=100, seed=seed))
    x, spreads = tt.from_numpy(images), []
    for layer in _layers(model):
        if isinstance(layer, nn.Activation):
            spreads.append(float(x.numpy().std(axis=0).mean()))
        x = layer(x)
    return spreads


SPREAD = Measurement(
    "Before the first step: how much the input of each hidden activation differs from\n"
    "image to image, as a standard deviation over 100 images, mean of all neurons.",
    tuple(f"layer {i + 1}" for i in range(len(SIZES) - 2)),
    _spread,
    decimals=3,
    ranks=False,
)


# Other losses, other learning rates, other initial weights ---------------------------------------


def squared_error(logits: Tensor, labels: Array) -> Tensor:
    """The squared distance between the probabilities and the one-hot right answer, summed."""
    probs = ops.softmax(logits)
    return ops.mse_loss(probs, ops.one_hot(labels, logits.shape[1]), "sum") / len(labels)


def cross_entropy_of_norm_2(logits: Tensor, labels: Array) -> Tensor:
    """Minus the log of the right digit's share, where e^x is divided by its Euclidean norm."""
    chosen = ops.gather(ops.softmax(logits, norm=2), labels[:, np.newaxis], axis=1)
    return -ops.mean(ops.log(chosen))


def _short(name: str, steps: int = 2000, **changed: object) -> Lesson:
    return replace(find(name), steps=steps, **changed)  # type: ignore[arg-type]


def _adam(name: str, rate: float, steps: int = 1000) -> Lesson:
    return _short(name, steps, optimizer=lambda params: tt.optim.Adam(params, lr=rate))


def _sgd(name: str, rate: float, steps: int = 1000) -> Lesson:
    return _short(name, steps, optimizer=lambda params: tt.optim.SGD(params, lr=rate))


def _five_layers(
    weight: nn.Initializer, activation: type[nn.Module] | None = nn.Sigmoid
) -> Callable[[], nn.Module]:
    """The network of lesson 2.0 with other initial weights, another activation, or none."""

    def model() -> nn.Module:
        layers: list[nn.Module] = [nn.Flatten()]
        for inputs, outputs in pairwise(SIZES):
            layers.append(nn.Linear(inputs, outputs, weight))
            if activation is not None and outputs != SIZES[-1]:
                layers.append(activation())
        return nn.Sequential(*layers)

    return model


class _Shuffled(nn.Module):
    """A network that sees the pixels of each image in one fixed random order."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.order = np.random.default_rng(0).permutation(28 * 28)

    def forward(self, images: Tensor) -> Tensor:
        pixels = images.reshape(-1, 28 * 28)[:, self.order]
        logits: Tensor = self.model(pixels.reshape(-1, 28, 28, 1))
        return logits


def _shuffled(name: str) -> Lesson:
    return _short(name, 1000, model=lambda: _Shuffled(find(name).model()))


def _one_at_a_time() -> Lesson:
    # The same 60,000 images with a step after each, so each step is a hundredth as long.
    return replace(_sgd("softmax", 0.5 / 100, 60_000), batch=1)


def _without_dropout() -> nn.Module:
    layers = _layers(find("conv-dropout").model())
    return nn.Sequential(*[layer for layer in layers if not isinstance(layer, nn.Dropout)])


def _initial(weight: nn.Initializer, activation: type[nn.Module] | None = nn.Sigmoid) -> Lesson:
    return replace(_adam("sigmoid", 0.003), model=_five_layers(weight, activation))


# The claims -------------------------------------------------------------------------------------


Cell = tuple[str, str]  # the names of a variant and of a column


@dataclass(frozen=True)
class Check:
    """A part of a claim: one cell of the table is above another cell, or above a number.

    ties: True if the claim is also right when neither is above the other
    """

    above: Cell
    below: Cell | float
    ties: bool = False

    def __str__(self) -> str:
        variant, column = self.above
        if isinstance(self.below, float):
            return f"{variant} above {self.below} in {column}"
        other, other_column = self.below
        above = "not clearly below" if self.ties else "above"
        if other == variant:
            return f"{variant}, {column} {above} {other_column}"
        return f"{variant} {above} {other} in {column}"


Verdict = Literal["yes", "no", "unclear"]


@dataclass(frozen=True)
class Checked:
    """The verdict on a check, with the lowest and the highest value of the seeds on both sides."""

    check: Check
    above: tuple[float, float]
    below: tuple[float, float]
    verdict: Verdict

    @property
    def overlap(self) -> bool:
        """True if the two ranges have a value in common."""
        return self.above[0] <= self.below[1] and self.above[1] >= self.below[0]


@dataclass(frozen=True)
class Claim:
    """A sentence, the variants that show whether it holds, and what is measured of them.

    checks: all of them hold if the sentence is right
    minutes: about how long it takes with 3 seeds on 2 CPU cores, if that is half a minute or more
    """

    name: str
    sentence: str
    variants: Callable[[], Mapping[str, Lesson]]
    checks: tuple[Check, ...]
    measurement: Measurement = TRAINED
    minutes: float = 0


def measure(
    claim: Claim, data: Dataset, seeds: int, show: Callable[[str], object] = lambda run: None
) -> Iterator[Measured]:
    """Measure each variant with the seeds 0, 1, ..., and yield it as soon as it is measured.

    show: called with the name of each run when it starts.
    """
    for variant, lesson in claim.variants().items():
        rows = []
        for seed in range(seeds):
            show(f"{variant}, seed {seed}")
            rows.append(claim.measurement.measure(lesson, data, seed))
        columns = [list(column) for column in zip(*rows, strict=True)]
        yield Measured(variant, columns)


def check(claim: Claim, measured: Sequence[Measured]) -> list[Checked]:
    """The verdicts on the checks of a claim.

    A cell is above another one if its lowest value of all seeds is above the other's highest value.
    """
    rows = {result.variant: result.columns for result in measured}

    def ends(cell: Cell | float) -> tuple[float, float]:
        if isinstance(cell, float):
            return cell, cell
        values = rows[cell[0]][claim.measurement.columns.index(cell[1])]
        return min(values), max(values)

    found = []
    for each in claim.checks:
        (low, high), (lowest, highest) = above, below = ends(each.above), ends(each.below)
        overlap: Verdict = "yes" if each.ties else "unclear"
        verdict = "yes" if low > highest else "no" if high < lowest else overlap
        found.append(Checked(each, above, below, verdict))
    return found


def verdict(checked: Sequence[Checked]) -> Verdict:
    """The verdict on a claim: no if one of its checks is wrong, yes if all are right."""
    verdicts = [each.verdict for each in checked]
    worse: tuple[Verdict, ...] = ("no", "unclear")
    return next((verdict for verdict in worse if verdict in verdicts), "yes")


def _above(*variants: str, column: str = "accuracy") -> tuple[Check, ...]:
    """Each variant is above the next one."""
    return tuple(Check((one, column), (other, column)) for one, other in pairwise(variants))


def _alike(one: str, other: str) -> tuple[Check, ...]:
    cells = (one, "accuracy"), (other, "accuracy")
    return Check(*cells, ties=True), Check(*cells[::-1], ties=True)


SMALL = nn.truncated_normal(0.1)  # the course's initial weights

CLAIMS = (
    Claim(
        "winner",
        "Softmax gives most of the sum to the largest output.",
        lambda: {"lesson 1.0": _short("softmax")},
        (
            Check(("lesson 1.0", "softmax"), 0.5),
            Check(("lesson 1.0", "softmax"), ("lesson 1.0", "plain")),
        ),
        SHARES,
    ),
    Claim(
        "l2-norm",
        "Softmax may divide by the Euclidean norm instead of the sum.",
        lambda: {
            "sum (L1)": _short("softmax"),
            "Euclidean norm (L2)": _short("softmax", loss=cross_entropy_of_norm_2),
        },
        (Check(("Euclidean norm (L2)", "accuracy"), 0.9),),
    ),
    Claim(
        "squared-error",
        "The squared distance trains ten neurons too.",
        lambda: {
            "cross-entropy": _short("softmax"),
            "squared distance": _short("softmax", loss=squared_error),
        },
        (Check(("squared distance", "accuracy"), 0.9),),
    ),
    Claim(
        "direction",
        "The gradient of 100 images points better than that of one.",
        lambda: {f"batch of {n}": _short("softmax", batch=n) for n in (1, 10, 100)},
        _above("batch of 100", "batch of 10", "batch of 1", column="cosine"),
        DIRECTION,
    ),
    Claim(
        "batch-size",
        "Batches of 100 do as well as single images, and faster.",
        lambda: {"600 batches of 100": _short("softmax", 600), "one by one": _one_at_a_time()},
        (
            Check(("600 batches of 100", "accuracy"), ("one by one", "accuracy"), ties=True),
            Check(("one by one", "seconds"), ("600 batches of 100", "seconds")),
        ),
    ),
    Claim(
        "no-activation",
        "Five layers without an activation are no better than one.",
        lambda: {
            "one layer": _short("softmax"),
            "five, no activation": replace(_initial(SMALL, None), steps=2000),
            "five, sigmoid": replace(_initial(SMALL), steps=2000),
        },
        (Check(("one layer", "accuracy"), ("five, no activation", "accuracy"), ties=True),),
    ),
    Claim(
        "initial-weights",
        "Equal or tiny initial weights keep a deep network from learning.",
        lambda: {
            "random, std 0.1": _initial(SMALL),
            "random, std 0.01": _initial(nn.truncated_normal(0.01)),
            "all 0": _initial(nn.constant(0)),
            "all 0.1": _initial(nn.constant(0.1)),
        },
        tuple(
            Check(("random, std 0.1", "accuracy"), (other, "accuracy"))
            for other in ("random, std 0.01", "all 0", "all 0.1")
        ),
    ),
    Claim(
        "gradients",
        "Gradients shrink from layer to layer, most with sigmoids.",
        lambda: {
            "sigmoid": _short("sigmoid"),
            "sigmoid, weights / 10": _initial(nn.truncated_normal(0.01)),
            "sigmoid, weights x 10": _initial(nn.truncated_normal(1.0)),
            "no activation": _initial(SMALL, None),
            "ReLU": _short("relu"),
            "ReLU, He's weights": _initial(nn.he, nn.ReLU),
            "sigmoid, batch norm": _short("batchnorm-sigmoid"),
            "ReLU, batch norm": _short("batchnorm-relu"),
        },
        (
            *[Check((name, "layer 5"), (name, "layer 1")) for name in ("sigmoid", "ReLU")],
            Check(("ReLU", "layer 1"), ("sigmoid", "layer 1")),
        ),
        GRADIENTS,
    ),
    Claim(
        "adam",
        "Adam learns where plain gradient descent stands still.",
        lambda: {
            "SGD, rate 0.5": _sgd("sigmoid", 0.5),
            "SGD, rate 5": _sgd("sigmoid", 5.0),
            "Adam, rate 0.003": _adam("sigmoid", 0.003),
        },
        tuple(
            Check(("Adam, rate 0.003", "accuracy"), (other, "accuracy"))
            for other in ("SGD, rate 0.5", "SGD, rate 5")
        ),
    ),
    Claim(
        "relu",
        "ReLU learns faster than the sigmoid in five layers.",
        lambda: {"sigmoid": _adam("sigmoid", 0.003), "ReLU": _adam("relu", 0.003)},
        _above("ReLU", "sigmoid"),
    ),
    Claim(
        "rate-decay",
        "A decaying learning rate ends calmer and better.",
        lambda: {
            "fixed at 0.003": _adam("relu", 0.003, 6000),
            "from 0.0031 to 0.0001": _short("relu", 6000),
        },
        (
            *_above("fixed at 0.003", "from 0.0031 to 0.0001", column="range"),
            *_above("from 0.0031 to 0.0001", "fixed at 0.003"),
        ),
        SETTLED,
        minutes=1,
    ),
    Claim(
        "dropout",
        "Dropout slows memorising; the test loss hardly rises.",
        lambda: {"without": _short("relu", 6000), "with": _short("dropout", 6000)},
        (*_above("without", "with", column="training"), *_above("without", "with", column="loss")),
        MEMORISED,
        minutes=0.5,
    ),
    Claim(
        "neurons-off",
        "Dropout makes the neurons depend less on each other.",
        lambda: {
            "without dropout": _short("relu"),
            "with dropout": _short("dropout"),
        },
        _above("with dropout", "without dropout", column="50 % off"),
        WITH_NEURONS_OFF,
    ),
    Claim(
        "convolution",
        "Convolutions beat dense layers on images.",
        lambda: {"dense": _short("relu"), "convolutional": _short("conv")},
        _above("convolutional", "dense"),
        minutes=0.5,
    ),
    Claim(
        "pixel-order",
        "Only convolutions use which pixels are neighbours.",
        lambda: {
            "dense": _short("relu", 1000),
            "dense, shuffled": _shuffled("relu"),
            "convolutional": _short("conv", 1000),
            "conv., shuffled": _shuffled("conv"),
        },
        (*_alike("dense", "dense, shuffled"), *_above("convolutional", "conv., shuffled")),
        minutes=0.5,
    ),
    Claim(
        "shift",
        "Convolutions read moved digits better.",
        lambda: {
            "ten neurons": _short("softmax"),
            "dense": _short("relu"),
            "convolutional": _short("conv"),
        },
        (
            *_above("convolutional", "dense", column="2 pixels"),
            *_above("convolutional", "ten neurons", column="2 pixels"),
        ),
        ON_SHIFTED,
        minutes=0.5,
    ),
    Claim(
        "bigger",
        "More channels learn more.",
        lambda: {
            "small (3.0)": _short("conv", 1500),
            "bigger": _short("conv-dropout", 1500, model=_without_dropout),
            "bigger, dropout (3.1)": _short("conv-dropout", 1500),
        },
        _above("bigger", "small (3.0)"),
        MEMORISED,
        minutes=1,
    ),
    Claim(
        "spread",
        "Batch norm keeps the images apart in every layer.",
        lambda: {
            "sigmoid": _short("sigmoid"),
            "ReLU": _short("relu"),
            "sigmoid, batch norm": _short("batchnorm-sigmoid"),
        },
        _above("sigmoid, batch norm", "sigmoid", column="layer 4"),
        SPREAD,
    ),
    Claim(
        "batch-norm",
        "Batch norm lets sigmoids learn without a slow start.",
        lambda: {
            "without, rate 0.003": _adam("sigmoid", 0.003, 200),
            "with, rate 0.003": _adam("batchnorm-sigmoid", 0.003, 200),
            "with, from rate 0.03": _short("batchnorm-sigmoid", 200),
        },
        _above("with, rate 0.003", "without, rate 0.003"),
    ),
    Claim(
        "higher-rate",
        "With batch norm, ten times the learning rate costs no accuracy.",
        lambda: {
            f"{name}, rate {rate}": _adam(lesson, rate)
            for name, lesson in (("sigmoid", "sigmoid"), ("batch norm", "batchnorm-sigmoid"))
            for rate in (0.003, 0.03)
        },
        (
            Check(
                ("batch norm, rate 0.03", "accuracy"),
                ("batch norm, rate 0.003", "accuracy"),
                ties=True,
            ),
        ),
    ),
    Claim(
        "batch-norm-relu",
        "Batch norm lets even ReLUs learn a little faster.",
        lambda: {"without": _short("relu", 1000), "with": _short("batchnorm-relu", 1000)},
        _above("with", "without"),
    ),
    Claim(
        "course",
        "Within 500 steps each next network reaches more.",
        lambda: {
            f"{find(name).number} {name}": _short(name, 500)
            for name in ("softmax", "relu", "conv", "batchnorm-conv")
        },
        _above("4.2 batchnorm-conv", "3.0 conv", "2.1 relu", "1.0 softmax"),
        minutes=2,
    ),
    Claim(
        "augmentation",
        "Distorted copies help where the training images are few.",
        lambda: {
            "without": _short("relu", 1000),
            "with": _short("relu", 1000, augment=distort(shift=2, rotate=10, scale=0.1)),
        },
        _above("with", "without"),
        ON_FEW_IMAGES,
    ),
    Claim(
        "averaging",
        "Averages of the weights are better than the last ones.",
        lambda: {
            "last weights": _adam("relu", 0.003, 2000),
            "averaged weights": replace(_adam("relu", 0.003, 2000), average=0.99),
        },
        _above("averaged weights", "last weights"),
    ),
)


def find_claim(name: str) -> Claim:
    """The claim of that name.  Raises UnknownName, with the nearest there is."""
    return known_by_name({claim.name: claim for claim in CLAIMS}, name, "try: there is nothing")
