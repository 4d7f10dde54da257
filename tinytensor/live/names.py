"""The names and the explanations of the panels, for pages, images and terminals."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from tinytensor.datasets import CLASSES
from tinytensor.lessons import OWN_MODEL, Lesson
from tinytensor.train import Training

DIGITS = tuple(map(str, range(CLASSES)))
UNKNOWN = "?"  # the class of a drawing whose drawer did not choose one


class PanelText(NamedTuple):
    """The title of a panel, and two sentences that explain it."""

    title: str
    help: str


PANELS = {
    "accuracy": PanelText(
        "Accuracy",
        "The percentage of recognised images: the thin blue line is the current training batch, "
        "the thick orange line is all test images. The blue line jumps because a batch is small.",
    ),
    "loss": PanelText(
        "Cross-entropy loss x 100",
        "The loss is small if the network gives the correct classes high probabilities, and "
        "training makes it smaller. If the orange line of the test images rises while the blue "
        "line falls, the network memorises the training images.",
    ),
    "training digits": PanelText(
        "Training digits",
        "The images of the current batch, misclassified images first and on red; images in colour "
        "have a red frame. In their corners are the correct class (left) and the computed class "
        "(right).",
    ),
    "test digits": PanelText(
        "Test digits",
        "1,000 of the test images, misclassified images first and on red; the network never trains "
        "on them. The red part ends at the height of the test accuracy on the scale.",
    ),
    "weights": PanelText(
        "Weights",
        "All weights of the network, from the smallest to the largest, at each step. Each of the "
        "seven bands has the same number of weights, so a narrow band has many similar weights.",
    ),
    "biases": PanelText(
        "Biases",
        "All biases of the network, from the smallest to the largest, at each step. Each of the "
        "seven bands has the same number of biases, so a narrow band has many similar biases.",
    ),
    "activations": PanelText(
        "Activations",
        "The outputs of all hidden neurons for the current batch, from the smallest to the "
        "largest. Each of the seven bands has the same number of outputs.",
    ),
    "logits": PanelText(
        "Logits",
        "The weighted sums of all hidden neurons for the current batch, before the activation "
        "function. Each of the seven bands has the same number of sums.",
    ),
    "confused digits": PanelText(
        "Confused digits",
        "The test images of one cell of the confusion matrix. A click on a cell chooses it.",
    ),
    "drawing": PanelText(
        "Draw a digit",
        "The network reads the digit while you draw it. Choose its class, and it is put on the "
        "wall; ? puts it there without a class.",
    ),
    "wall": PanelText(
        "Wall",
        "The digits that the viewers have drawn: the last 100 of all, and the last 10 of each "
        "viewer. Left below is the class that the drawer chose, right below is what the network "
        "takes it for, and both are on red if they differ.",
    ),
}
ALL = "Six panels"
SHOWN_CHANGES = 2  # of those that were made while the training ran
_SETTINGS = {
    "lr": "learning rate", "optimizer": "optimiser", "keep_prob": "keep probability",
    "scale_rate": "learning rate scaling",
}  # fmt: skip


def changed_settings(training: Training) -> str:
    """What differs from the lesson in a training: "learning rate 0.01, batch 50", or nothing."""
    lesson = training.lesson
    parts = [
        f"{name} {lesson.settings[key]}"
        for key, name in _SETTINGS.items()
        if lesson.settings[key] != "own"
    ]
    if training.batch != lesson.batch:
        parts.append(f"batch {training.batch}")
    if len(training.changes) > SHOWN_CHANGES:
        parts.append("...")
    parts += training.changes[-SHOWN_CHANGES:]
    return ", ".join(parts)


def name_of_run(training: Training) -> str:
    """The name of a training: "2.1 relu, learning rate 0.01"."""
    return named(training.lesson, changed_settings(training))


def named(lesson: Lesson, settings: str) -> str:
    """The name of a run of a lesson with these changed settings, which may be empty."""
    number = "" if lesson.number == OWN_MODEL else f"{lesson.number} "
    return ", ".join(filter(None, (f"{number}{lesson.name}", settings)))


def differing(one: str, other: str) -> tuple[str, str]:
    """Two names of runs, without the settings that both have."""
    (first, *settings), (second, *others) = one.split(", "), other.split(", ")
    return (
        ", ".join([first, *(x for x in settings if x not in others)]),
        ", ".join([second, *(x for x in others if x not in settings)]),
    )


def short_names(names: Sequence[str], length: int) -> list[str]:
    """The first `length` characters of each name, without words that all names start with."""
    words = re.match(r"(.*[ _-])?", names[0])[0]  # type: ignore[index] # "" always matches
    is_common = all(name.startswith(words) and name != words for name in names)
    return [name.removeprefix(words if is_common else "")[:length] for name in names]


def worded(text: str, names: Sequence[str]) -> str:
    """A text about digits; about images if the classes of these names are no digits."""
    if set(names) <= {*DIGITS, UNKNOWN}:
        return text
    for digit, image in (("a digit", "an image"), ("Digit", "Image"), ("digit", "image")):
        text = text.replace(digit, image)
    return text


def digits_title(panel: str, count: int | None, of: int, names: Sequence[str] = DIGITS) -> str:
    """The title of a panel of digits, or of images of other classes.

    count: of the misclassified images; None before the first test.
    """
    title = worded(PANELS[panel].title, names)
    return title if count is None else f"{title}: {count:,} of {of:,} misclassified"
