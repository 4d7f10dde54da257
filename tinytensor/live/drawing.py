"""The six panels as a matplotlib figure: curves, bands, and mosaics of digits.

Misclassified digits differ by more than colour. They come first and are light on dark, and in the
larger mosaic the correct digit is written at the left and the computed digit at the right.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from tinytensor.arrays import Array
from tinytensor.datasets import SIDE
from tinytensor.lessons import Lesson
from tinytensor.live.history import History, Point, accuracy_start, band_range, loss_end
from tinytensor.live.names import DIGITS, PANELS, digits_title, short_names
from tinytensor.live.picture import (
    ALPHAS,
    EMPTY,
    GREYS,
    TEST,
    TRAIN,
    coloured,
    rgba,
    side_by_side,
)
from tinytensor.live.snapshot import Snapshot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRAIN_COLUMNS = 10  # digits per row; as high as wide, they fill a panel
MOST_TEST_COLUMNS = 35
LARGE = 2 * SIDE  # pixels, the side of a digit with the names of its classes
TEST_WIDTH = 700  # pixels of the test digits in a row, at most, unless they are at half size
INK_AND_PAPER = (("#222222", "#ffffff"), ("#e6e6e6", "#16181c"))  # light, dark
ACCURACY_END = 1.005  # the end of the axis, above 1 so that a line at 100 % is fully visible


# Mosaics: (height, width) indices into PALETTE


def training_mosaic(snapshot: Snapshot, class_names: tuple[str, ...] = DIGITS) -> Array:
    """The training digits, ten per row, as indices into PALETTE.

    A misclassified digit has the correct class in its lower left corner and the computed class in
    its lower right corner.
    """
    labels, computed = snapshot.train_labels, snapshot.train_predictions
    cells = coloured(snapshot.train_images, labels != computed, (LARGE, LARGE))
    _mark(cells, labels, computed, class_names)
    return side_by_side(cells, TRAIN_COLUMNS, EMPTY)


def test_mosaic(snapshot: Snapshot, class_names: tuple[str, ...]) -> Array:
    """The test digits as indices into PALETTE: 1,000 digits at half size, fewer digits larger.

    They have the names of their classes, too, if they are as large as the training digits.
    """
    labels, computed = snapshot.test_labels, snapshot.test_predictions
    columns = test_columns(len(labels))
    fits = [side for side in (LARGE, SIDE) if columns * side <= TEST_WIDTH]
    side = fits[0] if fits else SIDE // 2
    cells = coloured(snapshot.test_images, labels != computed, (side, side))
    if side == LARGE:
        _mark(cells, labels, computed, class_names)
    return side_by_side(cells, columns, EMPTY)


def _mark(cells: Array, labels: Array, computed: Array, class_names: tuple[str, ...]) -> None:
    """Write the classes of the misclassified digits into their cells (N, LARGE, LARGE)."""
    misclassified = labels != computed
    names, edge = _class_labels(class_names), LARGE // SIDE
    _, height, width = names.shape
    rows = slice(-height - edge, -edge)
    cells[misclassified, rows, edge : width + edge] = names[labels[misclassified]]
    cells[misclassified, rows, -width - 2 * edge : -2 * edge] = (
        GREYS - 1 - names[computed[misclassified]]
    )


def test_columns(count: int) -> int:
    """The number of test digits per row: 35 for 1,000 digits."""
    return max(1, min(MOST_TEST_COLUMNS, math.ceil(1.1 * math.sqrt(count))))


@cache
def _class_labels(names: tuple[str, ...]) -> Array:
    """Images (classes, H, W) of the first two characters of each name, black on white.

    They are a third as high as a digit of a mosaic.
    """
    from PIL import Image, ImageDraw, ImageFont

    height, width = LARGE // 3, LARGE // 4
    images = []
    for name in short_names(names, 2):
        image = Image.new("L", (width, height))
        font = ImageFont.load_default(22 if len(name) == 1 else 14)
        ImageDraw.Draw(image).text((width / 2, height / 2), name, 255, font, "mm")
        images.append(np.asarray(image))
    return np.stack(images) // (256 // GREYS)


# Curves and bands


def curve(points: list[Point]) -> dict[str, Array]:
    """Columns "step", "accuracy" and "loss", each (N,), of N points; loss = 100 * mean loss."""
    step, accuracy, loss = np.array(points, np.float64).reshape(-1, 3).T
    return {"step": step, "accuracy": accuracy, "loss": 100 * loss}


def bands(history: History) -> dict[str, Array]:
    """The quantiles (N, 8) of the two bands, by name."""
    names = history.bands[-1].bands
    return {name: np.array([point.bands[name] for point in history.bands]) for name in names}


def limits(history: History) -> dict[str, tuple[float, float]]:
    """The y ranges (start, end) of the panels: "accuracy", "loss", and the names of the bands."""
    test = curve(history.test)
    return {
        "accuracy": (accuracy_start(test["accuracy"]), ACCURACY_END),
        "loss": (0.0, loss_end(test["loss"])),
        **{name: band_range(quantiles) for name, quantiles in bands(history).items()},
    }


def band_title(name: str) -> str:
    """The title of a band's panel."""
    return f"{PANELS[name].title}, in bands of equal count"


def mosaic_titles(
    snapshot: Snapshot, test_count: int, names: tuple[str, ...] = DIGITS
) -> tuple[str, str]:
    """The titles of the panels of training digits and of test digits."""
    count = int((snapshot.train_labels != snapshot.train_predictions).sum())
    train = digits_title("training digits", count, len(snapshot.train_labels), names)
    accuracy = snapshot.test_accuracy
    count_test = None if accuracy is None else round((1 - accuracy) * test_count)
    return train, digits_title("test digits", count_test, test_count, names)


def status_line(snapshot: Snapshot, steps: int) -> str:
    """Step, test accuracy, learning rate and speed in one line."""
    parts = [f"step {snapshot.step:,} of {steps:,}"]
    if snapshot.test_accuracy is not None:
        parts.append(f"test accuracy {100 * snapshot.test_accuracy:.2f} %")
    parts.append(f"learning rate {snapshot.rate:.3g}")
    if snapshot.images_per_second:
        parts.append(f"{snapshot.images_per_second:,.0f} images/s on {snapshot.backend}")
    return "  ·  ".join(parts)


# The figure


class Picture:
    """The six panels as a matplotlib figure of 1280 x 800 pixels, redrawn for each snapshot.

    Args:
        lesson: its number and title are the heading.
        steps: number of steps of the whole run, the end of the x axes.
        test_count: number of test images.
        dark: True for light colours on a dark background.
        names: the names of the classes.
    """

    def __init__(
        self,
        lesson: Lesson,
        steps: int,
        test_count: int,
        dark: bool = False,
        names: tuple[str, ...] = DIGITS,
    ) -> None:
        from matplotlib.figure import Figure
        from matplotlib.ticker import PercentFormatter

        self._steps, self._test_count, self._names = steps, test_count, names
        self._ink, self._paper = INK_AND_PAPER[dark]
        self.figure: Figure = Figure((12.8, 8), dpi=100, facecolor=self._paper)
        self._axes = self.figure.subplots(
            2, 3, gridspec_kw=dict(
                left=0.05, right=0.955, bottom=0.05, top=0.865, wspace=0.17, hspace=0.22
            ),
        )  # fmt: skip
        self.figure.text(0.05, 0.955, lesson.heading, size=15, weight="bold", color=self._ink)
        self._status = self.figure.text(0.05, 0.922, "", size=11, color=self._ink)
        for axes in self._axes.flat:
            self._prepare(axes)
        (accuracy, loss, self._digits), (*self._bands, self._tests) = self._axes
        self._lines = {}
        for axes, name in ((accuracy, "accuracy"), (loss, "loss")):
            for part, colour, width in (("train", TRAIN, 1), ("test", TEST, 2.5)):
                words = {"train": "training", "test": "test"}[part]
                (line,) = axes.plot([], [], color=colour, linewidth=width, label=words)
                self._lines[f"{part}_{name}"] = line
        accuracy.set_title(PANELS["accuracy"].title, loc="left", color=self._ink)
        accuracy.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        loss.set_title(PANELS["loss"].title, loc="left", color=self._ink)
        accuracy.legend(  # of both curves
            loc="lower right", bbox_to_anchor=(1.02, 0.985), ncols=2, frameon=False,
            labelcolor=self._ink, fontsize=9, columnspacing=1, handlelength=1.2,
        )  # fmt: skip

    def _prepare(self, axes: Axes) -> None:
        from matplotlib.ticker import MaxNLocator

        axes.set_facecolor(self._paper)
        axes.set_xlim(0, self._steps)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.locator_params(axis="x", integer=True)
        axes.yaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
        axes.tick_params(colors=self._ink, labelsize=9)
        axes.grid(color=self._ink, alpha=0.12)
        axes.spines[:].set_visible(False)

    def fit(self, history: History) -> None:
        """Set the y ranges of the panels to fit the curves of a run."""
        (accuracy, loss, _), _ = self._axes
        panels = (accuracy, loss, *self._bands)
        for axes, ends in zip(panels, limits(history).values(), strict=True):
            axes.set_ylim(*ends)

    def show(self, history: History, snapshot: Snapshot) -> None:
        """Draw the curves of `history` and the digits of `snapshot`."""
        self._status.set_text(status_line(snapshot, self._steps))
        for part, points in (("train", history.train), ("test", history.test)):
            columns = curve(points)
            for name in ("accuracy", "loss"):
                line = self._lines[f"{part}_{name}"]
                line.set_data(columns["step"], columns[name])
                line.set_marker("o" if len(points) == 1 else "")
        steps = [point.step for point in history.bands]
        for axes, (name, quantiles) in zip(self._bands, bands(history).items(), strict=True):
            self._show_band(axes, name, steps, quantiles)
        train, test = mosaic_titles(snapshot, self._test_count, self._names)
        self._show_mosaic(self._digits, training_mosaic(snapshot, self._names), train)
        self._show_mosaic(self._tests, test_mosaic(snapshot, self._names), test)
        self._show_scale(snapshot)

    def _show_band(self, axes: Axes, name: str, steps: list[int], quantiles: Array) -> None:
        for old in axes.collections:
            old.remove()
        axes.set_title(band_title(name), loc="left", color=self._ink)
        for low, high, alpha in zip(quantiles.T, quantiles.T[1:], ALPHAS, strict=False):
            axes.fill_between(steps, low, high, color=TRAIN, alpha=alpha, linewidth=0)
            if len(steps) == 1:  # of which fill_between draws nothing
                axes.vlines(steps, low, high, color=TRAIN, alpha=alpha, linewidth=6)

    def _show_mosaic(self, axes: Axes, mosaic: Array, title: str) -> None:
        for old in axes.images:
            old.remove()
        height, width = mosaic.shape
        axes.imshow(rgba(mosaic), aspect="equal", extent=(0, width, height, 0))
        axes.set_anchor("NW")
        axes.set(xlim=(0, width), ylim=(height, 0))
        axes.set_title(title, loc="left", color=self._ink)
        axes.grid(visible=False)
        axes.set_xticks([])
        axes.set_yticks([])

    def _show_scale(self, snapshot: Snapshot) -> None:
        """Label the right edge of the test digits with accuracies, from 100 % to the last digit.

        The row in which the misclassified digits end is labelled with the test accuracy.
        """
        axes, shown = self._tests, len(snapshot.test_labels)
        bottom, _ = axes.get_ylim()
        columns = test_columns(shown)
        cells = columns * -(-shown // columns)  # the last row may have empty ones
        shares = np.linspace(0, shown / self._test_count, 6)
        axes.yaxis.tick_right()
        axes.set_yticks(
            shares * self._test_count / cells * bottom,
            [f"{100 - 100 * share:.0f} %" for share in shares],
        )
