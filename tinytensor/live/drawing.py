"""The six panels on paper: mosaics of digits, and a matplotlib figure with curves and bands.

Missed digits never go by colour alone: they come first, are white on dark instead of dark on white,
and the larger ones have the correct digit at the left and the computed one at the right.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from tinytensor.datasets import CLASSES, SIDE
from tinytensor.kernels import Array
from tinytensor.lessons import Lesson
from tinytensor.live.picture import side_by_side
from tinytensor.live.snapshot import Snapshot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RED = (178, 24, 43)
TRAIN_ACROSS, TEST_ACROSS = 10, 40  # digits in a row
GREYS = 16  # shades of a mosaic: no eye sees more in digits so small, and files are half as large
# Seen on light and on dark; blue and vermilion are told apart by nearly everyone.
TRAINING, TEST = "#2a86c8", "#d55e00"
BAND_COLOURS = ("#2a86c8", "#b06ab3")  # of the first band and the second
BAND_ALPHAS = (0.15, 0.3, 0.5, 0.9, 0.5, 0.3, 0.15)  # of seven bands, the middle one strongest
LOSS_TITLE = "Cross-entropy x 100"
FIGURES = ("step", "train_accuracy", "train_loss", "test_accuracy", "test_loss")
HIGHEST_LOSS = 100.0  # of the cross-entropy times 100 that is drawn; at first it may be 230


# Mosaics: (height, width) uint8, colours of PALETTE


def _ramp(first: tuple[int, int, int], last: tuple[int, int, int]) -> Array:
    return np.linspace(first, last, GREYS).round().astype(np.uint8)


# A recognised digit is black on white, a missed one white on red.
PALETTE = np.concatenate([_ramp((255, 255, 255), (0, 0, 0)), _ramp(RED, (255, 255, 255))])


def training_mosaic(snapshot: Snapshot, scale: int = 2) -> Array:
    """The training digits, ten in a row, so many pixels for one of theirs.

    Missed ones have the correct digit in the lower left corner, and the computed one in the right.
    """
    labels, computed = snapshot.train_labels, snapshot.train_predictions
    missed = labels != computed
    tiles = _tiles(snapshot.train_images.repeat(scale, axis=1).repeat(scale, axis=2), missed)
    names = _names(scale)
    _, height, width = names.shape
    tiles[missed, -scale:] = tiles[missed, :, -scale:] = 0  # a white line between them
    tiles[missed, -height - scale : -scale, :width] = names[labels[missed]]
    tiles[missed, -height - scale : -scale, -width - scale : -scale] = (
        GREYS - 1 - names[computed[missed]]
    )
    return _mosaic(tiles, TRAIN_ACROSS)


def test_mosaic(snapshot: Snapshot) -> Array:
    """The test digits, forty in a row, at half their size."""
    half = SIDE // 2
    images = snapshot.test_images.reshape(-1, half, 2, half, 2).mean(axis=(2, 4)).astype(np.uint8)
    return _mosaic(_tiles(images, snapshot.test_labels != snapshot.test_predictions), TEST_ACROSS)


def _tiles(images: Array, missed: Array) -> Array:
    """Colours of images (N, H, W), of which some were missed (N)."""
    shades = images // (256 // GREYS)
    shades[missed] += GREYS
    return shades


def _mosaic(tiles: Array, across: int) -> Array:
    """Tiles (N, H, W) side by side, so many in a row; where none are left it is white."""
    count, height, width = tiles.shape
    rows = -(-count // across)
    full = np.zeros((rows * across, height, width), np.uint8)
    full[:count] = tiles
    return side_by_side(full, across)


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


class Curves:
    """The figures of a run, snapshot by snapshot, without the images."""

    def __init__(self, snapshots: Iterable[Snapshot] = ()) -> None:
        self._columns: dict[str, list[Any]] = {name: [] for name in FIGURES}
        self.bands: list[str] = []  # two names
        for snapshot in snapshots:
            self.add(snapshot)

    def add(self, snapshot: Snapshot) -> None:
        """Take the figures of the next snapshot."""
        self.bands = list(snapshot.bands)
        for name in FIGURES:
            self._columns[name].append(getattr(snapshot, name))
        for name in self.bands:
            self._columns.setdefault(name, []).append(snapshot.bands[name])

    def __len__(self) -> int:
        return len(self._columns["step"])

    def __getitem__(self, name: str) -> Array:
        """A figure of all snapshots (N), NaN where there was none; of a band (N, 8)."""
        return np.array(self._columns[name], np.float64)

    def curve(self, name: str) -> tuple[Array, Array]:
        """Steps and values of a figure where there is one; a loss is 100 times the mean."""
        values = self[name] * (100 if name.endswith("loss") else 1)
        there = ~np.isnan(values)
        return self["step"][there], values[there]

    def accuracy_from(self) -> float:
        """Where the axis of the accuracies begins: at the tenth below the lowest of the test."""
        lowest = np.nanmin(self["test_accuracy"])
        return float(min(0.9, np.floor(10 * lowest) / 10))

    def loss_to(self) -> float:
        """Where the axis of the losses ends: at the highest, or at HIGHEST_LOSS."""
        highest = max(self.curve(f"{part}_loss")[1].max(initial=0) for part in ("train", "test"))
        return float(min(1.05 * highest, HIGHEST_LOSS))

    def band_limits(self, name: str) -> tuple[float, float]:
        """The lowest and the highest number in a band, and a little more."""
        if np.isnan(self[name]).all():
            return 0.0, 1.0
        low, high = np.nanmin(self[name]), np.nanmax(self[name])
        margin = 0.03 * (high - low) or 0.5
        return float(low - margin), float(high + margin)


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
            for part, colour, width in (("train", TRAINING, 1), ("test", TEST, 2.5)):
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

    def fit(self, curves: Curves) -> None:
        """Let the axes be as long as curves needs."""
        (accuracy, loss, _), _ = self._axes
        accuracy.set_ylim(curves.accuracy_from(), 1.005)
        loss.set_ylim(0, curves.loss_to())
        for axes, name in zip(self._bands, curves.bands, strict=True):
            axes.set_ylim(*curves.band_limits(name))

    def show(self, curves: Curves, snapshot: Snapshot) -> None:
        """Draw the curves of curves, and the digits of its last snapshot."""
        self._figures.set_text(figures_line(snapshot, self._steps))
        for name, line in self._lines.items():
            line.set_data(*curves.curve(name))
            line.set_marker("o" if len(line.get_xdata()) == 1 else "")
        for axes, name, colour in zip(self._bands, curves.bands, BAND_COLOURS, strict=True):
            self._show_band(axes, name, curves, colour)
        train, test = missed_words(snapshot, self._test_count)
        self._show_mosaic(self._digits, training_mosaic(snapshot), train)
        self._show_mosaic(self._tests, test_mosaic(snapshot), test)
        self._show_scale(snapshot)

    def _show_band(self, axes: Axes, name: str, curves: Curves, colour: str) -> None:
        for old in axes.collections:
            old.remove()
        axes.set_title(band_title(name), loc="left", color=self._ink)
        quantiles = curves[name].T
        for low, high, alpha in zip(quantiles, quantiles[1:], BAND_ALPHAS, strict=False):
            axes.fill_between(curves["step"], low, high, color=colour, alpha=alpha, linewidth=0)

    def _show_mosaic(self, axes: Axes, mosaic: Array, title: str) -> None:
        for old in axes.images:
            old.remove()
        height, width = mosaic.shape
        axes.imshow(PALETTE[mosaic], aspect="auto", extent=(0, width, height, 0))
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
