"""The course: networks that learn to read digits, each one screen of code.

The story is Martin Görner's, "TensorFlow and deep learning without a PhD". A lesson is a module
with one constant, LESSON; to add one, write the file and name it in _FILES.
"""

import difflib
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tinytensor.errors import UnknownName
from tinytensor.optim import SGD
from tinytensor.tensor import Tensor


class Model(Protocol):
    """A network: from images (N, 28, 28, 1) to logits (N, 10)."""

    def __call__(self, images: Tensor) -> Tensor:
        """The logits: for each image ten scores, whose softmax are the probabilities."""

    def parameters(self) -> Sequence[Tensor]:
        """What training changes."""


@dataclass(frozen=True)
class Lesson:
    """One network of the course and how it is trained."""

    number: str
    name: str
    title: str
    model: Callable[[], Model]
    optimizer: Callable[[Sequence[Tensor]], SGD]
    steps: int
    batch: int
    expected_accuracy: float  # of the best evaluation, on the test images


_FILES = ("mnist_1_0_softmax",)


def lessons() -> list[Lesson]:
    """All lessons, in the course's order."""
    modules = (importlib.import_module(f"tinytensor.lessons.{name}") for name in _FILES)
    return [module.LESSON for module in modules]


def find(name: str | float) -> Lesson:
    """The lesson of that name or number: "softmax", "1.0" or 1.0.

    Raises UnknownName, with the nearest name there is.
    """
    known = {key: lesson for lesson in lessons() for key in (lesson.name, lesson.number)}
    name = str(name)
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(known)}"
    raise UnknownName(f"lesson: there is none named {name!r}; {hint}")
