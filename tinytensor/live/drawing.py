"""The six panels on paper: mosaics of digits, and a matplotlib figure with curves and bands.

Missed digits never go by colour alone: they come first, are white on dark instead of dark on white,
and the larger ones have the correct digit at the left and the computed one at the right.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from tinytensor.arrays import Array
from tinytensor.datasets import CLASSES, SIDE
from tinytensor.lessons import Lesson
from tinytensor.live.history import History, Point, accuracy_from, band_range, loss_to
from tinytensor.live.picture import (
    ALPHAS,
    GREYS,
    NOTHING,
    TEST,
    TRAIN,
    coloured,
    mosaic,
    rgba,
    side_by_side,
)
from tinytensor.live.snapshot import Snapshot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRAIN_ACROSS, TEST_ACROSS = 10, 40  # digits in a row
LOSS_TITLE = "Cross-entropy x 100"
ACCURACY_TO = 1.005  # where its axis ends: a line at 100 % is seen in full


# Mosaics: (height, width) numbers of colours


def training_mosaic(snapshot: Snapshot, scale: int = 2) -> Array:
    """The training digits, ten in a row, so many pixels for one of theirs.

    Missed ones have the correct digit in the lower left corner, and the computed one in the right.
    """
    labels, computed = snapshot.train_labels, snapshot.train_predictions
    missed = labels != computed
    cells = coloured(snapshot.train_images, missed, (scale * SIDE, scale * SIDE))
    names = _names(scale)
    _, height, width = names.shape
    rows = slice(-height - scale, -scale)
    cells[missed, rows, scale : width + scale] = names[labels[missed]]
    cells[missed, rows, -width - 2 * scale : -2 * scale] = GREYS - 1 - names[computed[missed]]
    return side_by_side(cells, TRAIN_ACROSS, NOTHING)


def test_mosaic(snapshot: Snapshot) -> Array:
    """The test digits, forty in a row, at half their size."""
    missed = snapshot.test_labels != snapshot.test_predictions
    return mosaic(snapshot.test_images, missed, TEST_ACROSS, (SIDE // 2, SIDE // 2))


@cache
def _names(scale: int) -> Array:
    """The characters 0 to 9 (10, H, W), black on white, a third as high as a digit's image."""
    from PIL import Image, ImageDraw, ImageFont

    height, width = 9 * scale, 7 * scale
    images = []
    for digit in range(CLASSES):
        image = Image.new("L", (width, height))
        ImageDraw.Draw(image).text(
            (width / 2, height / 2), str(digit), 255, ImageFont.load_default(11 * scale), "mm"
        )
        images.append(np.asarray(image))
    return np.stack(images) // (256 // GREYS)


# Curves and bands


def curve(points: list[Point]) -> dict[str, Array]:
    """Step, accuracy and loss (N) of a curve's points; a loss is 100 times the mean."""
    step, accuracy, loss = np.array(points, np.float64).reshape(-1, 3).T
    return {"step": step, "accuracy": accuracy, "loss": 100 * loss}


def bands(history: History) -> dict[str, Array]:
    """The quantiles (N, 8) of each of the two bands, by their names."""
    names = history.bands[-1].bands
    return {name: np.array([point.bands[name] for point in history.bands]) for name in names}


def limits(history: History) -> dict[str, tuple[float, float]]:
    """From where to where the axes go: of the accuracy, the loss, and the two bands."""
    test = curve(history.test)
    return {
        "accuracy": (accuracy_from(test["accuracy"]), ACCURACY_TO),
        "loss": (0.0, loss_to(test["loss"])),
        **{name: band_range(quantiles) for name, quantiles in bands(history).items()},
    }


def band_title(name: str) -> str:
    """What the panel of a band is headed."""
    return f"{name.capitalize()}, in bands of equal count"


def missed_words(snapshot: Snapshot, test_count: int) -> tuple[str, str]:
    """What the panels of the training and of the test digits are headed."""
    missed = int((snapshot.train_labels != snapshot.train_predictions).sum())
    train = f"Training digits: {missed} of {len(snapshot.train_labels)} missed"
    if snapshot.test_accuracy is None:
        return train, "Test digits"
    missed = round((1 - snapshot.test_accuracy) * test_count)
    return train, f"Test digits: {missed:,} of {test_count:,} missed"


def figures_line(snapshot: Snapshot, steps: int) -> str:
    """Step, accuracy, rate and speed in one line."""
    parts = [f"step {snapshot.step:,} of {steps:,}"]
    if snapshot.test_accuracy is not None:
        parts.append(f"test accuracy {snapshot.test_accuracy:.2%}")
    parts.append(f"learning rate {snapshot.rate:.3g}")
    if snapshot.images_per_second:
        parts.append(f"{snapshot.images_per_second:,.0f} images/s on {snapshot.backend}")
    return "  ·  ".join(parts)


# The figure


class Picture:
    """Six panels, 1280 x 800 pixels, as a matplotlib figure that is drawn anew for each snapshot.

    steps: of the whole run. test_count: all test images. dark: light on dark.
    """

    def __init__(self, lesson: Lesson, steps: int, test_count: int, dark: bool = False) -> None:
        from matplotlib.figure import Figure
        from matplotlib.ticker import PercentFormatter

        self._steps, self._test_count = steps, test_count
        self._ink, self._paper = ("#e6e6e6", "#16181c") if dark else ("#222222", "#ffffff")
        self.figure: Figure = Figure((12.8, 8), dpi=100, facecolor=self._paper)
        self._axes = self.figure.subplots(
            2, 3, gridspec_kw=dict(
                left=0.05, right=0.955, bottom=0.05, top=0.865, wspace=0.17, hspace=0.22
            ),
        )  # fmt: skip
        title = f"Lesson {lesson.number}: {lesson.title}"
        self.figure.text(0.05, 0.955, title, size=15, weight="bold", color=self._ink)
        self._figures = self.figure.text(0.05, 0.922, "", size=11, color=self._ink)
        for axes in self._axes.flat:
            self._prepare(axes)
        (accuracy, loss, self._digits), (*self._bands, self._tests) = self._axes
        self._lines = {}
        for axes, name in ((accuracy, "accuracy"), (loss, "loss")):
            for part, colour, width in (("train", TRAIN, 1), ("test", TEST, 2.5)):
                words = {"train": "training", "test": "test"}[part]
                (line,) = axes.plot([], [], color=colour, linewidth=width, label=words)
                self._lines[f"{part}_{name}"] = line
        accuracy.set_title("Accuracy", loc="left", color=self._ink)
        accuracy.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        loss.set_title(LOSS_TITLE, loc="left", color=self._ink)
        for axes in (accuracy, loss):
            axes.legend(
                loc="lower right", bbox_to_anchor=(1.02, 0.985), ncols=2, frameon=False,
                labelcolor=self._ink, fontsize=9, columnspacing=1, handlelength=1.2,
            )  # fmt: skip

    def _prepare(self, axes: Axes) -> None:
        from matplotlib.ticker import MaxNLocator

        axes.set_facecolor(self._paper)
        axes.set_xlim(0, self._steps)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.yaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
        axes.tick_params(colors=self._ink, labelsize=9)
        axes.grid(color=self._ink, alpha=0.12)
        axes.spines[:].set_visible(False)

    def fit(self, history: History) -> None:
        """Let the axes be as long as a run's curves need."""
        (accuracy, loss, _), _ = self._axes
        panels = (accuracy, loss, *self._bands)
        for axes, ends in zip(panels, limits(history).values(), strict=True):
            axes.set_ylim(*ends)

    def show(self, history: History, snapshot: Snapshot) -> None:
        """Draw the curves so far, and the digits of the last snapshot."""
        self._figures.set_text(figures_line(snapshot, self._steps))
        for part, points in (("train", history.train), ("test", history.test)):
            columns = curve(points)
            for name in ("accuracy", "loss"):
                line = self._lines[f"{part}_{name}"]
                line.set_data(columns["step"], columns[name])
                line.set_marker("o" if len(points) == 1 else "")
        steps = [point.step for point in history.bands]
        for axes, (name, quantiles) in zip(self._bands, bands(history).items(), strict=True):
            self._show_band(axes, name, steps, quantiles)
        train, test = missed_words(snapshot, self._test_count)
        self._show_mosaic(self._digits, training_mosaic(snapshot), train)
        self._show_mosaic(self._tests, test_mosaic(snapshot), test)
        self._show_scale(snapshot)

    def _show_band(self, axes: Axes, name: str, steps: list[int], quantiles: Array) -> None:
        for old in axes.collections:
            old.remove()
        axes.set_title(band_title(name), loc="left", color=self._ink)
        for low, high, alpha in zip(quantiles.T, quantiles.T[1:], ALPHAS, strict=False):
            axes.fill_between(steps, low, high, color=TRAIN, alpha=alpha, linewidth=0)

    def _show_mosaic(self, axes: Axes, mosaic: Array, title: str) -> None:
        for old in axes.images:
            old.remove()
        height, width = mosaic.shape
        axes.imshow(rgba(mosaic), aspect="auto", extent=(0, width, height, 0))
        axes.set(xlim=(0, width), ylim=(height, 0))
        axes.set_title(title, loc="left", color=self._ink)
        axes.grid(visible=False)
        axes.set_xticks([])
        axes.set_yticks([])

    def _show_scale(self, snapshot: Snapshot) -> None:
        """At the right of the test digits: the accuracy, if the missed ones end there."""
        axes, shown = self._tests, len(snapshot.test_labels)
        bottom, _ = axes.get_ylim()
        shares = np.linspace(0, shown / self._test_count, 6)
        axes.yaxis.tick_right()
        axes.set_yticks(
            shares * self._test_count / shown * bottom,
            [f"{1 - share:.0%}" for share in shares],
        )
