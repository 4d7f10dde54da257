"""The course's six panels, as Bokeh figures."""

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
from tinytensor.live.history import NewPoints, Point, accuracy_start, band_range, loss_end
from tinytensor.live.picture import ALPHAS, CELL, EMPTY, PALETTE, TEST, TRAIN, mosaic
from tinytensor.live.snapshot import TEST_SHOWN, TRAIN_SHOWN, Snapshot

FAINT = "#7d8590"  # readable on white and on black
COLUMNS = {TRAIN_SHOWN: 10, TEST_SHOWN: 25}
DIGITS_COLOURS = [f"#{r:02x}{g:02x}{b:02x}{a:02x}" for r, g, b, a in PALETTE]


def plain_figure(**settings: Any) -> figure:
    """A Bokeh figure without a tool bar that fills its container."""
    settings = {"sizing_mode": "stretch_both", "toolbar_location": None, "tools": ""} | settings
    plot = figure(**settings)
    plot.toolbar.logo = None
    plot.min_border, plot.min_border_right = 2, 20  # room for half of the label 10000
    plot.title.text_font_size = "13px"
    plot.axis.major_label_text_font_size = "11px"
    plot.grid.grid_line_alpha = 0.5
    return plot


class Curves:
    """Accuracy or loss against the step, for the training batches and the test images.

    quantity: "accuracy" or "loss".
    """

    def __init__(self, name: str, title: str, quantity: str, steps: Range1d) -> None:
        self.quantity = quantity
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
        legend.location = "bottom_right" if quantity == "accuracy" else "top_right"
        legend.label_text_font_size = "11px"
        legend.label_text_color = FAINT
        legend.background_fill_alpha = 0
        legend.border_line_alpha = 0
        legend.padding, legend.margin, legend.spacing = 3, 4, 0

    def update(self, new_points: NewPoints) -> None:
        """Add the new points."""
        _add(self.train, new_points.replace_all, self._columns(new_points.train))
        _add(self.test, new_points.replace_all, self._columns(new_points.test))
        if new_points.train or new_points.test:
            self._fit()

    def _columns(self, points: Sequence[Point]) -> dict[str, list[float]]:
        return {
            "step": [point.step for point in points],
            "y": [getattr(point, self.quantity) * 100 for point in points],
        }

    def _fit(self) -> None:
        """Fit the y range to the typical points; the first steps may be outside."""
        test = np.asarray(self.test.data["y"])
        if self.quantity == "accuracy":
            self.figure.y_range.update(start=100 * accuracy_start(test / 100), end=100.5)
        else:
            self.figure.y_range.update(start=0, end=loss_end(test))


class Bands:
    """Seven bands of equal count of weights or activations, against the step.

    index: 0 or 1, the first or the second of a snapshot's two bands.
    """

    def __init__(self, name: str, index: int, steps: Range1d) -> None:
        self.index = index
        columns = ["step", *(f"q{i}" for i in range(BANDS + 1))]
        self.source = ColumnDataSource({column: [] for column in columns}, name=f"{name} data")
        self.figure = plain_figure(title="", name=name, x_range=steps, y_range=Range1d(-1, 1))
        for i, alpha in enumerate(ALPHAS):
            self.figure.varea(
                "step", f"q{i}", f"q{i + 1}", source=self.source, color=TRAIN, alpha=alpha
            )

    def update(self, new_points: NewPoints) -> None:
        """Add the new points."""
        if not new_points.bands and not new_points.replace_all:
            return
        values = np.array([list(point.bands.values())[self.index] for point in new_points.bands])
        columns = {f"q{i}": list(values[:, i]) if len(values) else [] for i in range(BANDS + 1)}
        _add(
            self.source,
            new_points.replace_all,
            {"step": [point.step for point in new_points.bands]} | columns,
        )
        if new_points.bands:
            self.figure.title.text = list(new_points.bands[-1].bands)[self.index]
            ends = [self.source.data[column] for column in ("q0", f"q{BANDS}")]
            low, high = band_range(np.array(ends))
            self.figure.y_range.update(start=low, end=high)


class Digits:
    """A mosaic of digits: first the misclassified, light on red, then the rest, dark on white."""

    def __init__(self, name: str, count: int, names: tuple[str, ...]) -> None:
        self.columns, self.names = COLUMNS[count], names
        self.figure = plain_figure(
            name=name, title=name, x_range=Range1d(0, self.columns), y_range=Range1d(0, 1)
        )
        self.figure.grid.visible = False
        self.figure.xaxis.visible = False
        self.image = ColumnDataSource(
            {"image": [], "y": [], "width": [], "height": []}, name=f"{name} data"
        )
        colours = LinearColorMapper(palette=DIGITS_COLOURS, low=0, high=EMPTY)
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
        """Show images (N, 28, 28) uint8 with labels (N,) and predictions (N,)."""
        self.shown = images, labels, predictions
        self._draw()

    def _draw(self) -> None:
        if self.shown is None:
            return
        images, labels, predictions = self.shown
        misclassified = labels != predictions
        low, high = self.ends()
        self.figure.y_range.update(start=low, end=high)
        picture = mosaic(images, misclassified, self.columns, self._cell())
        self.image.data = {
            "image": [picture], "y": [high], "width": [self.columns], "height": [high - low],
        }  # fmt: skip
        # On each misclassified digit: the correct class at the left, the computed one at the right.
        row, column = np.divmod(np.flatnonzero(misclassified), self.columns)
        y = high - (row + 1) * (high - low) / self.rows
        self.marks.data = {
            "x": np.concatenate([column + 0.2, column + 0.8]),
            "y": np.concatenate([y, y]),
            "text": [
                self.names[label] for label in (*labels[misclassified], *predictions[misclassified])
            ],
        }

    def enlarge(self, large: bool) -> None:
        """Set the font size of the marks: large if this panel is shown alone."""
        self.texts.glyph.text_font_size = "18px" if large else "11px"

    @property
    def rows(self) -> int:
        """The number of rows of digits."""
        return -(-len(self.shown[0]) // self.columns) if self.shown else 1

    def ends(self) -> tuple[float, float]:
        """The y coordinates of the lower edge of the last row and the upper edge of the first."""
        return 0, self.rows

    def _cell(self) -> tuple[int, int]:
        """Height and width of a digit in screen pixels, so no larger image is sent."""
        try:
            width, height = self.figure.inner_width, self.figure.inner_height
        except UnsetValueError:  # the browser has not sent its size yet
            return CELL
        return max(1, round(height / self.rows)), max(1, round(width / self.columns))

    def at(self, x: float, y: float) -> Array | None:
        """The digit (28, 28) uint8 at the coordinates (x, y) of the figure; None outside."""
        if self.shown is None:
            return None
        low, high = self.ends()
        row, column = (high - y) / (high - low) * self.rows, x
        index = int(row) * self.columns + int(column)
        inside = 0 <= column < self.columns and row >= 0 and index < len(self.shown[0])
        return self.shown[0][index] if inside else None


class TrainingDigits(Digits):
    """The mosaic of the current training batch."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__("training digits", TRAIN_SHOWN, names)
        self.figure.yaxis.visible = False

    def update(self, shot: Snapshot) -> None:
        """Show the training digits of a snapshot."""
        misclassified = int((shot.train_labels != shot.train_predictions).sum())
        self.show(shot.train_images, shot.train_labels, shot.train_predictions)
        self.figure.title.text = (
            f"training digits: {misclassified} of {len(shot.train_labels)} misclassified"
        )


class TestDigits(Digits):
    """The mosaic of test images, with a scale of accuracies at the side.

    The last misclassified image is at the height of the test accuracy.
    test_count: number of test images.
    """

    def __init__(self, test_count: int, names: tuple[str, ...]) -> None:
        super().__init__("test digits", TEST_SHOWN, names)
        self.test_count = test_count
        self.figure.yaxis.formatter = PrintfTickFormatter(format="%.0f%%")
        self.figure.yaxis.minor_tick_line_alpha = 0
        self.texts.visible = False  # the marks are readable only when the panel is enlarged
        self.reached = Span(dimension="width", line_color=TEST, line_width=2, location=-1)
        self.figure.add_layout(self.reached)

    def enlarge(self, large: bool) -> None:
        """Show the marks if the panel is alone, with columns that make the digits about square."""
        self.texts.visible = large
        self.columns = 40 if large else COLUMNS[TEST_SHOWN]
        self.figure.x_range.end = self.columns
        self._draw()

    def ends(self) -> tuple[float, float]:
        """The y range in percent: accuracy if all shown images were misclassified, and if none."""
        return 100 * (1 - self.rows * self.columns / self.test_count), 100

    def update(self, tested: Snapshot) -> None:
        """Show the test digits of a snapshot that has test results."""
        self.show(tested.test_images, tested.test_labels, tested.test_predictions)
        assert tested.test_accuracy is not None
        reached = 100 * tested.test_accuracy
        self.reached.location = reached
        self.figure.title.text = f"test digits: {reached:.2f} % recognised"


class Panels:
    """The six panels, in the course's order.

    test_count: number of test images.
    names: the names of the classes.
    """

    def __init__(self, test_count: int, names: tuple[str, ...]) -> None:
        steps = self.steps = Range1d(0, 1)
        self.accuracy = Curves("accuracy", "accuracy, %", "accuracy", steps)
        self.loss = Curves("loss", "cross-entropy of 100 images", "loss", steps)
        self.training = TrainingDigits(names)
        self.first, self.second = (Bands(f"bands {i + 1}", i, steps) for i in range(2))
        self.test = TestDigits(test_count, names)
        self._shown: tuple[Snapshot | None, Snapshot | None] = None, None

    def __iter__(self) -> Iterator[Curves | Digits | Bands]:
        yield from (self.accuracy, self.loss, self.training, self.first, self.second, self.test)

    def update(self, new_points: NewPoints, shot: Snapshot | None, tested: Snapshot | None) -> None:
        """Show new points of the curves, the latest snapshot, and the latest with test results."""
        for panel in (self.accuracy, self.loss, self.first, self.second):
            panel.update(new_points)
        if newest := [
            points[-1].step
            for points in (new_points.train, new_points.test, new_points.bands)
            if points
        ]:
            self.steps.end = max(newest)
        shot_before, tested_before = self._shown
        if shot is not None and shot is not shot_before:
            self.training.update(shot)
        if tested is not None and tested is not tested_before:
            self.test.update(tested)
        self._shown = shot, tested


def _add(source: ColumnDataSource, replace_all: bool, columns: dict[str, Any]) -> None:
    if replace_all:
        source.data = columns
    elif columns["step"]:
        source.stream(columns)
