"""The six panels of the course's picture, as Bokeh figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from bokeh.core.property.descriptors import UnsetValueError
from bokeh.models import (
    ColumnDataSource,
    HoverTool,
    LinearColorMapper,
    PrintfTickFormatter,
    Range1d,
    Span,
)
from bokeh.plotting import figure

from tinytensor.arrays import Array
from tinytensor.live.details import BANDS
from tinytensor.live.history import News, Point, accuracy_from, band_range, loss_to
from tinytensor.live.picture import ALPHAS, CELL, NOTHING, PALETTE, TEST, TRAIN, mosaic
from tinytensor.live.snapshot import TEST_SHOWN, TRAIN_SHOWN, Snapshot

FAINT = "#7d8590"  # to be read on both
COLUMNS = {TRAIN_SHOWN: 10, TEST_SHOWN: 25}
DIGITS_COLOURS = [f"#{r:02x}{g:02x}{b:02x}{a:02x}" for r, g, b, a in PALETTE]


def plain_figure(**settings: Any) -> figure:
    """A figure that fills its place, without a tool bar."""
    settings = {"sizing_mode": "stretch_both", "toolbar_location": None, "tools": ""} | settings
    plot = figure(**settings)
    plot.toolbar.logo = None
    plot.min_border, plot.min_border_right = 2, 20  # half of 10000 below the axis's end
    plot.title.text_font_size = "13px"
    plot.axis.major_label_text_font_size = "11px"
    plot.grid.grid_line_alpha = 0.5
    return plot


class Curves:
    """Accuracy or loss against the step, of the training batch and of the test."""

    def __init__(self, name: str, title: str, what: str, steps: Range1d) -> None:
        self.what = what
        self.train = ColumnDataSource({"step": [], "y": []}, name=f"{name} training")
        self.test = ColumnDataSource({"step": [], "y": []}, name=f"{name} test")
        self.figure = plain_figure(title=title, name=name, x_range=steps, y_range=Range1d(0, 100))
        draw = self.figure.line
        draw("step", "y", source=self.train, color=TRAIN, width=1, legend_label="training batch")
        tested = draw("step", "y", source=self.test, color=TEST, width=3, legend_label="test")
        self.figure.scatter("step", "y", source=self.test, color=TEST, size=4)
        self.figure.add_tools(
            HoverTool(renderers=[tested], tooltips=[("step", "@step"), ("test", "@y{0.00}")])
        )
        legend = self.figure.legend[0]
        legend.location = "bottom_right" if what == "accuracy" else "top_right"
        legend.label_text_font_size = "11px"
        legend.label_text_color = FAINT
        legend.background_fill_alpha = 0
        legend.border_line_alpha = 0
        legend.padding, legend.margin, legend.spacing = 3, 4, 0

    def update(self, news: News) -> None:
        """Add the new points."""
        _add(self.train, news.anew, self._columns(news.train))
        _add(self.test, news.anew, self._columns(news.test))
        if news.train or news.test:
            self._fit()

    def _columns(self, points: Sequence[Point]) -> dict[str, list[float]]:
        return {
            "step": [point.step for point in points],
            "y": [getattr(point, self.what) * 100 for point in points],
        }

    def _fit(self) -> None:
        """Show what matters: the first steps, far from all later ones, may leave the frame."""
        test = np.asarray(self.test.data["y"])
        if self.what == "accuracy":
            self.figure.y_range.update(start=100 * accuracy_from(test / 100), end=100.5)
        else:
            self.figure.y_range.update(start=0, end=loss_to(test))


class Bands:
    """Seven bands of equal count of some numbers, against the step."""

    def __init__(self, name: str, which: int, steps: Range1d) -> None:
        self.which = which  # of the two kinds that a snapshot has
        columns = ["step", *(f"q{i}" for i in range(BANDS + 1))]
        self.source = ColumnDataSource({column: [] for column in columns}, name=f"{name} data")
        self.figure = plain_figure(title="", name=name, x_range=steps, y_range=Range1d(-1, 1))
        for i, alpha in enumerate(ALPHAS):
            self.figure.varea(
                "step", f"q{i}", f"q{i + 1}", source=self.source, color=TRAIN, alpha=alpha
            )

    def update(self, news: News) -> None:
        """Add the new points."""
        if not news.bands and not news.anew:
            return
        values = np.array([list(point.bands.values())[self.which] for point in news.bands])
        columns = {f"q{i}": list(values[:, i]) if len(values) else [] for i in range(BANDS + 1)}
        _add(self.source, news.anew, {"step": [point.step for point in news.bands]} | columns)
        if news.bands:
            self.figure.title.text = list(news.bands[-1].bands)[self.which]
            ends = [self.source.data[column] for column in ("q0", f"q{BANDS}")]
            low, high = band_range(np.array(ends))
            self.figure.y_range.update(start=low, end=high)


class Digits:
    """A mosaic of digits, missed ones first: light on red, where the others are dark on white."""

    def __init__(self, name: str, count: int) -> None:
        self.columns = COLUMNS[count]
        self.figure = plain_figure(
            name=name, title=name, x_range=Range1d(0, self.columns), y_range=Range1d(0, 1)
        )
        self.figure.grid.visible = False
        self.figure.xaxis.visible = False
        self.image = ColumnDataSource(
            {"image": [], "y": [], "width": [], "height": []}, name=f"{name} data"
        )
        colours = LinearColorMapper(palette=DIGITS_COLOURS, low=0, high=NOTHING)
        self.figure.image(
            image="image", x=0, y="y", dw="width", dh="height", source=self.image,
            color_mapper=colours, anchor="top_left", origin="top_left",
        )  # fmt: skip
        self.marks = ColumnDataSource({"x": [], "y": [], "text": []}, name=f"{name} marks")
        self.texts = self.figure.text(
            "x", "y", "text", source=self.marks, text_color="#ffe45c", text_font_size="11px",
            text_font_style="bold", text_align="center", text_baseline="bottom",
        )  # fmt: skip
        self.shown: tuple[Array, Array, Array] | None = None
        for size in ("inner_width", "inner_height"):
            self.figure.on_change(size, lambda attr, old, new: self._draw())

    def show(self, images: Array, labels: Array, predictions: Array) -> None:
        """Show images (N, 28, 28) with labels and predictions (N), in that order."""
        self.shown = images, labels, predictions
        self._draw()

    def _draw(self) -> None:
        if self.shown is None:
            return
        images, labels, predictions = self.shown
        missed = labels != predictions
        low, high = self.ends()
        self.figure.y_range.update(start=low, end=high)
        picture = mosaic(images, missed, self.columns, self._cell())
        self.image.data = {
            "image": [picture], "y": [high], "width": [self.columns], "height": [high - low],
        }  # fmt: skip
        # For each missed digit the correct one at its left and the computed one at its right.
        row, column = np.divmod(np.flatnonzero(missed), self.columns)
        y = high - (row + 1) * (high - low) / self.rows
        self.marks.data = {
            "x": np.concatenate([column + 0.2, column + 0.8]),
            "y": np.concatenate([y, y]),
            "text": [str(digit) for digit in (*labels[missed], *predictions[missed])],
        }

    def enlarge(self, large: bool) -> None:
        """Write the marks so large as there is room for them."""
        self.texts.glyph.text_font_size = "18px" if large else "11px"

    @property
    def rows(self) -> int:
        """How many rows of digits there are."""
        return -(-len(self.shown[0]) // self.columns) if self.shown else 1

    def ends(self) -> tuple[float, float]:
        """Where the last row ends and the first begins, on the figure's scale."""
        return 0, self.rows

    def _cell(self) -> tuple[int, int]:
        """Height and width of a digit on the screen: no pixels are sent that nobody would see."""
        try:
            width, height = self.figure.inner_width, self.figure.inner_height
        except UnsetValueError:  # the browser hasn't told yet
            return CELL
        return max(1, round(height / self.rows)), max(1, round(width / self.columns))

    def at(self, x: float, y: float) -> Array | None:
        """The digit (28, 28) that is shown at a place of the figure; None beside them."""
        if self.shown is None:
            return None
        low, high = self.ends()
        row, column = (high - y) / (high - low) * self.rows, x
        number = int(row) * self.columns + int(column)
        inside = 0 <= column < self.columns and row >= 0 and number < len(self.shown[0])
        return self.shown[0][number] if inside else None


class TrainingDigits(Digits):
    """The current batch."""

    def __init__(self) -> None:
        super().__init__("training digits", TRAIN_SHOWN)
        self.figure.yaxis.visible = False

    def update(self, shot: Snapshot) -> None:
        """Show a snapshot's."""
        missed = int((shot.train_labels != shot.train_predictions).sum())
        self.show(shot.train_images, shot.train_labels, shot.train_predictions)
        self.figure.title.text = f"training digits: {missed} of {len(shot.train_labels)} missed"


class TestDigits(Digits):
    """Test images, with a scale at the side: the last missed one stands at the accuracy."""

    def __init__(self, tested: int) -> None:
        super().__init__("test digits", TEST_SHOWN)
        self.tested = tested  # how many images the test has
        self.figure.yaxis.formatter = PrintfTickFormatter(format="%.0f%%")
        self.figure.yaxis.minor_tick_line_alpha = 0
        self.texts.visible = False  # until it is enlarged: here they couldn't be read
        self.reached = Span(dimension="width", line_color=TEST, line_width=2, location=-1)
        self.figure.add_layout(self.reached)

    def enlarge(self, large: bool) -> None:
        """Show the marks where there is room for them; the digits as wide as high, about."""
        self.texts.visible = large
        self.columns = 40 if large else COLUMNS[TEST_SHOWN]
        self.figure.x_range.end = self.columns
        self._draw()

    def ends(self) -> tuple[float, float]:
        """The accuracies, in percent, if all that is shown had been missed, and if nothing."""
        return 100 * (1 - self.rows * self.columns / self.tested), 100

    def update(self, tested: Snapshot) -> None:
        """Show those of a snapshot that was made of a test."""
        self.show(tested.test_images, tested.test_labels, tested.test_predictions)
        assert tested.test_accuracy is not None
        reached = 100 * tested.test_accuracy
        self.reached.location = reached
        self.figure.title.text = f"test digits: {reached:.2f} % recognised"


class Panels:
    """All six, in the course's order."""

    def __init__(self, tested: int) -> None:
        steps = self.steps = Range1d(0, 1)
        self.accuracy = Curves("accuracy", "accuracy, %", "accuracy", steps)
        self.loss = Curves("loss", "cross-entropy of 100 images", "loss", steps)
        self.training = TrainingDigits()
        self.first, self.second = (Bands(f"bands {i + 1}", i, steps) for i in range(2))
        self.test = TestDigits(tested)
        self._shown: tuple[Snapshot | None, Snapshot | None] = None, None

    def __iter__(self) -> Iterator[Curves | Digits | Bands]:
        yield from (self.accuracy, self.loss, self.training, self.first, self.second, self.test)

    def update(self, news: News, shot: Snapshot | None, tested: Snapshot | None) -> None:
        """Show what is new: points of curves, a snapshot, and the last that was tested."""
        for panel in (self.accuracy, self.loss, self.first, self.second):
            panel.update(news)
        if newest := [points[-1].step for points in (news.train, news.test, news.bands) if points]:
            self.steps.end = max(newest)
        shot_before, tested_before = self._shown
        if shot is not None and shot is not shot_before:
            self.training.update(shot)
        if tested is not None and tested is not tested_before:
            self.test.update(tested)
        self._shown = shot, tested


def _add(source: ColumnDataSource, anew: bool, columns: dict[str, Any]) -> None:
    if anew:
        source.data = columns
    elif columns["step"]:
        source.stream(columns)
