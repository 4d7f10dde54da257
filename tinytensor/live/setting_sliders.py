"""The sliders for the settings of a run: learning rate, batch and keep probability."""

from __future__ import annotations

from bokeh.models import CategoricalSlider, InlineStyleSheet

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
    """The number that a slider shows; None for the lesson's own."""
    value = shown.value
    return float(value) if value in shown.categories and value != OWN else None


def position(value: float | None) -> str:
    """The category of a slider that shows this number; None is the lesson's own."""
    return OWN if value is None else f"{value:g}"
