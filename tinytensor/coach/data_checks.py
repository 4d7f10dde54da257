"""Checks of the data: the inputs and the labels that the network trains on.

A network trains on whatever it gets. So a mistake in the data raises no error: the loss falls
slowly, or falls for the wrong reason. Each function below looks for the sign of one mistake.
"""

from __future__ import annotations

import math
import statistics

import numpy as np

from tinytensor.arrays import Array
from tinytensor.coach.check import Sign, check, percent
from tinytensor.coach.view import Forward, Progress

SCALE = 5.0  # |mean| or standard deviation above which inputs count as unscaled
ENOUGH = 25  # labels per class, after which a class without a label is a sign
COMPARED = 500  # test images that are compared with the training images
OTHERS = 5_000  # training images that they are compared with, at most
MEANS = 20  # images from which the mean image of a class is computed, about
KEY = 16  # bytes of an image in its key
FACTORS = 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F  # odd, with random bits
ROWS = 256  # examples of a batch whose class means are compared, at most
SAMPLE = 32  # and at least
SHUFFLES = 20  # random orders of the labels, to compare with


# The inputs -------------------------------------------------------------------------------------


@check(
    "forward",
    mistake="the inputs contain NaN or infinity",
    cure="find the example, and remove or repair it; one NaN makes every later weight NaN",
)
def inputs_not_finite(step: Forward, run: Progress) -> Sign | None:
    """The sign: a value of the first layer's input is NaN or infinite."""
    if step.inputs is None or np.isfinite(np.vdot(step.inputs, step.inputs)):
        return None  # NaN and infinity stay in a sum of squares
    wrong = ~np.isfinite(step.inputs)
    if not wrong.any():
        return None
    rows = np.flatnonzero(wrong.reshape(len(wrong), -1).any(axis=1))
    return Sign(
        f"{wrong.sum():,} of {wrong.size:,} values; the first in example {rows[0]} of the batch",
        f"the input of the first layer; backward at {step.where}",
    )


@check(
    "forward",
    mistake="the inputs are not scaled",
    cure="divide pixels by 255, or subtract the mean and divide by the standard deviation",
)
def inputs_not_scaled(step: Forward, run: Progress) -> Sign | None:
    """The sign: the inputs have a mean or a standard deviation far above 1.

    The gradient of the first layer's weights is a product with the inputs. If they are a hundred
    times too large, no learning rate suits both the first layer and the rest.
    """
    x = step.first_rows
    if x is None or np.vdot(x, x) <= SCALE**2 * x.size:  # mean**2 + variance is the mean of x**2
        return None
    mean, spread = float(x.mean()), float(x.std())
    if not max(abs(mean), spread) > SCALE:
        return None
    return Sign(
        f"values from {x.min():.3g} to {x.max():.3g}, mean {mean:.3g}, standard deviation "
        f"{spread:.3g}; a mean near 0 and a standard deviation near 1 or below are needed",
        f"the input of the first layer; backward at {step.where}",
    )


@check(
    "forward",
    mistake="all examples of a batch are the same",
    cure="print two rows of the input; a wrong index, or a division of integers, makes them equal",
)
def inputs_constant(step: Forward, run: Progress) -> Sign | None:
    """The sign: each row of the input equals the first row."""
    x = step.first_rows
    if x is None or len(x) < 2 or not (x[1] == x[0]).all() or not (x == x[0]).all():
        return None
    values = f"every value is {x.flat[0]:g}" if (x == x.flat[0]).all() else "the rows are equal"
    return Sign(
        f"{values} in the first {len(x)} examples",
        f"the input of the first layer; backward at {step.where}",
    )


# The labels -------------------------------------------------------------------------------------


@check(
    "forward",
    mistake="all labels are the same class",
    cure="shuffle the data, because files are often sorted by class; check the filter that chose "
    "the examples",
)
def one_class_only(step: Forward, run: Progress) -> Sign | None:
    """The sign: four batches, and one class. The loss falls to 0, and nothing was learned."""
    if run.batches < 4 or np.count_nonzero(run.labels) != 1 or run.labels.sum() < 2 * SAMPLE:
        return None
    present = np.flatnonzero(run.labels)
    return Sign(
        f"all {run.labels.sum()} labels in {run.batches} batches are {present[0]}; the network has "
        f"{len(run.labels)} outputs",
        f"the labels of the loss; backward at {step.where}",
    )


@check(
    "forward",
    mistake="the data are not shuffled",
    cure="tt.datasets.batches(images, labels, size=100) draws a new order for each epoch",
)
def data_not_shuffled(step: Forward, run: Progress) -> Sign | None:
    """The sign: neighbours in a batch have the same label far more often than by chance.

    Each step then sees one class, and moves all weights towards it. The next step undoes that.
    """
    same, pairs = run.runs
    if run.batches < 3 or pairs < 60 or same < 0.8 * pairs:
        return None
    by_chance = float(((run.labels / run.labels.sum()) ** 2).sum())
    share = same / pairs
    if by_chance > 0.6:
        return None
    return Sign(
        f"{percent(share)} of {pairs} pairs of neighbours have the same label; in a random order "
        f"{percent(by_chance)} would",
        f"the labels of {run.batches} batches; backward at {step.where}",
    )


@check(
    "forward",
    mistake="the labels are shifted: they start at 1",
    cure="subtract 1 from the labels, and make the last layer one output smaller",
)
def labels_start_at_1(step: Forward, run: Progress) -> Sign | None:
    """The sign: class 0 never occurs, and every other class does."""
    counts = run.labels
    classes = len(counts)
    if classes < 3 or counts[0] or counts.sum() < ENOUGH * classes / 2 or not counts[1:].all():
        return None
    if _are_sorted(run):
        return None
    return Sign(
        f"of {counts.sum()} labels none is 0, and each of 1 to {classes - 1} occurs",
        f"the labels of the loss; backward at {step.where}",
    )


@check(
    "forward",
    mistake="the network has more outputs than there are classes",
    cure="give the last layer, and one_hot, the number of classes of the data",
)
def too_many_outputs(step: Forward, run: Progress) -> Sign | None:
    """The sign: the last outputs are never the label, as after a one-hot code of a wrong width."""
    counts = run.labels
    if not len(counts) or counts[-1] or counts.sum() < ENOUGH * len(counts) or _are_sorted(run):
        return None
    present = np.flatnonzero(counts)
    if len(present) < 2:
        return None
    used = int(present[-1]) + 1
    if not counts[1:used].all():
        return None
    return Sign(
        f"{len(counts)} outputs; the largest of {counts.sum()} labels is {used - 1}",
        f"the logits of the loss; backward at {step.where}",
    )


def _are_sorted(run: Progress) -> bool:
    """True if the batches are sorted by class, so that a class may still come.

    It is if neighbours have the same label for over half of the pairs that would differ by chance.
    """
    same, pairs = run.runs
    by_chance = float(((run.labels / run.labels.sum()) ** 2).sum())
    return same - by_chance * pairs > 0.5 * (1 - by_chance) * pairs


@check(
    "forward",
    mistake="the rows of the target are no probabilities",
    cure="tt.one_hot(labels, classes) makes rows with one 1; or pass the labels as integers",
)
def target_not_one_hot(step: Forward, run: Progress) -> Sign | None:
    """The sign: a row of a target (R, C) does not sum to 1, or has a negative value."""
    loss = step.loss
    if loss is None or loss.op != "cross_entropy" or loss.target.shape != loss.shape:
        return None
    sums = loss.target.sum(axis=1)
    wrong = (np.abs(sums - 1) > 1e-3) | (loss.target < 0).any(axis=1)
    if not wrong.any():
        return None
    first = int(np.flatnonzero(wrong)[0])
    return Sign(
        f"{wrong.sum()} of {len(wrong)} rows; row {first} sums to {sums[first]:g}",
        f"the target of cross_entropy; backward at {step.where}",
    )


@check(
    "forward",
    mistake="the labels have nothing to do with the inputs",
    cure="shuffle images and labels by the same order: order = rng.permutation(n); images[order], "
    "labels[order]",
)
def labels_unrelated(step: Forward, run: Progress) -> Sign | None:
    """The sign: the loss stays at ln(classes), and the classes have the same mean input.

    The mean image of the label 3 looks like a 3. If the labels belong to other images, all classes
    have the same mean image, up to chance: the means explain no more of the variance than after
    another shuffle.
    """
    loss = step.loss
    if step.step < 32 or loss is None or not run.recent > 0.95 * math.log(loss.classes):
        return None
    labels = loss.labels
    if labels is None or step.inputs is None:
        return None
    if run.found & {"inputs-constant", "one-class-only", "data-not-shuffled"}:
        return None  # they are the cause
    x = step.inputs[:ROWS].reshape(len(step.inputs[:ROWS]), -1)
    if len(labels) != len(step.inputs) or len(x) < SAMPLE or not np.isfinite(x).all():
        return None
    labels, rng = labels[:ROWS], np.random.default_rng(0)
    x = x - x.mean(axis=0)
    products = (x @ x.T).astype(np.float64)
    between = _between_classes(products, labels)
    by_chance = [_between_classes(products, rng.permutation(labels)) for _ in range(SHUFFLES)]
    mean = statistics.mean(by_chance)
    if between > mean + 3 * statistics.stdev(by_chance):
        return None
    return Sign(
        f"after {step.step} steps the loss is {run.recent:.2f}, and ln({loss.classes}) = "
        f"{np.log(loss.classes):.2f}; the class means explain {percent(between)} of the "
        f"variance of the inputs, and with shuffled labels {percent(mean)}",
        f"the inputs and the labels; backward at {step.where}",
    )


def _between_classes(products: Array, labels: Array) -> float:
    """The share of the variance of x (R, N) that lies between the means of the classes.

    products: x @ x.T (R, R), where the mean of x is 0. The square of the sum of a class is the sum
    of the products of its rows.
    """
    total = float(products.trace())
    is_of = (labels == np.unique(labels)[:, None]).astype(np.float64)
    squares = ((is_of @ products) * is_of).sum(axis=1)
    return float((squares / is_of.sum(axis=1)).sum()) / total if total else 1.0


# The data set -----------------------------------------------------------------------------------


@check(
    "progress",
    mistake="test images are also training images",
    cure="split the images once, before anything else; tt.datasets.split keeps the parts apart",
)
def test_images_in_training(run: Progress) -> Sign | None:
    """The sign: the same bytes in both parts. The test accuracy then measures memory."""
    data = run.data
    if data is None or run.seen.setdefault("leak", False):
        return None
    run.seen["leak"] = True
    tested, train = data.test_images[:COMPARED], data.train_images
    others = train[:: -(-len(train) // OTHERS) or 1]
    found = _known(tested, others)
    count = sum(bool(image.any()) for image in tested[found])  # blank images may be equal
    if count < max(2, 0.01 * len(tested) * len(others) / len(train)):
        return None
    sample = "the" if len(others) == len(train) else f"{len(others):,} of the"
    return Sign(
        f"{count} of the first {len(tested)} test images are among {sample} training images, byte "
        "for byte",
        "the data set",
    )


def _known(images: Array, others: Array) -> Array:
    """For each image, True if it is one of `others`. Both are (N, H, W) uint8.

    Images with different keys differ; the rest is compared in full.
    """
    first_bits = np.zeros(1 << 16, bool)  # of the keys: a table excludes almost all `others`
    first_bits[_keys(images) >> 48] = True
    candidates = np.flatnonzero(first_bits[_keys(others) >> 48])
    known = {others[i].tobytes() for i in candidates.tolist()}
    return np.array([image.tobytes() in known for image in images], bool)


def _keys(images: Array) -> Array:
    """A number (N,) uint64 for each image (N, H, W) uint8: a hash of KEY bytes in its middle.

    Few bytes, because reading all training images takes longer than hundreds of steps.
    """
    pixels = images.reshape(len(images), int(np.prod(images.shape[1:])))
    start = max(images.shape[1] // 2 * images.shape[2] + (images.shape[2] - KEY) // 2, 0)
    middle = pixels[:, start : start + KEY]
    words = np.zeros((len(images), KEY), np.uint8)
    words[:, : middle.shape[1]] = middle
    keys: Array = words.view(np.uint64) @ np.array(FACTORS, np.uint64)  # modulo 2**64
    return keys


@check(
    "progress",
    mistake="the labels of the test images mean other classes than those of the training images",
    cure="make both from one list of class names; here a test label is another number for the "
    "same class",
)
def test_labels_differ(run: Progress) -> Sign | None:
    """The sign: the mean test image of a class is nearest to another class's training mean."""
    data = run.data
    if data is None or run.seen.setdefault("labels", False):
        return None
    run.seen["labels"] = True
    train = _class_means(data.train_images, data.train_labels)
    test = _class_means(data.test_images, data.test_labels)
    if len(train) < 3 or train.keys() != test.keys():
        return None
    classes = list(train)
    known = np.stack(list(train.values()))
    nearest = {c: classes[int(((known - x) ** 2).sum(axis=1).argmin())] for c, x in test.items()}
    moved = {c: other for c, other in nearest.items() if c != other}
    if len(moved) <= len(classes) / 2:
        return None
    pairs = ", ".join(f"{c} like {other}" for c, other in list(moved.items())[:4])
    return Sign(
        f"the mean test image of {len(moved)} of {len(classes)} classes looks like another class: "
        f"{pairs}",
        "the labels of the data set",
    )


def _class_means(images: Array, labels: Array) -> dict[int, Array]:
    """The mean image of each class with 5 or more examples, from about MEANS images of each."""
    step = max(1, len(images) // (MEANS * (int(labels.max(initial=0)) + 1)))
    x, labels = images[::step].reshape(-1, images[0].size), labels[::step]
    counts = np.bincount(labels)
    classes = np.flatnonzero(counts >= 5)
    shares = (labels == classes[:, None]) / counts[classes, None].astype(np.float32)
    means = shares.astype(np.float32) @ x.astype(np.float32)
    return dict(zip(classes.tolist(), means, strict=True))
