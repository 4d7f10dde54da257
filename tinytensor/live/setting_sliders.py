"""The sliders for the settings of a run: learning rate, batch and keep probability."""

from __future__ import annotations

from bokeh.models import CategoricalSlider, InlineStyleSheet

from tinytensor.lessons import OWN_MODEL
from tinytensor.train import Training

OWN = "the lesson's"
LEARNING_RATES = ("0.0001", "0.0003", "0.001", "0.003", "0.01", "0.03", "0.1", "0.3", "1")
BATCHES = ("10", "20", "50", "100", "200", "500", "1000")
KEEP_PROBABILITIES = ("0.25", "0.5", "0.6", "0.75", "0.9", "1")


def slider(
    name: str, values: tuple[str, ...], width: int, sheet: InlineStyleSheet
) -> CategoricalSlider:
    """A slider over the lesson's own value and these values."""
    return CategoricalSlider(
        title=name, name=name, categories=[OWN, *values], value=OWN, width=width,
        margin=(5, 10, 5, 8), stylesheets=[sheet],
    )  # fmt: skip


def number(shown: CategoricalSlider) -> float | None:
    """The number that a slider shows; None at its first position, the own value of the run."""
    _, *values = shown.categories
    return float(shown.value) if shown.value in values else None


def position(shown: CategoricalSlider, value: float | None) -> str:
    """The category of a slider that shows this number; None is the own value of the run."""
    return str(shown.categories[0]) if value is None else f"{value:g}"


def name_own(shown: CategoricalSlider, training: Training, setting: str) -> None:
    """Name the first position of a slider: a value that was given at the start, or the lesson's.

    setting: a key of Lesson.settings.
    """
    given = training.lesson.settings[setting]
    own = "its own" if training.lesson.number == OWN_MODEL else OWN
    if given != "own":
        own = f"{float(given):g}, as given"
    before, *values = shown.categories
    if own != before:
        shown.update(categories=[own, *values], value=own if shown.value == before else shown.value)
