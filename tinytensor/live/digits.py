"""The two panels of digits: the current training batch, and the first test images."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from bokeh.core.property.descriptors import UnsetValueError
from bokeh.models import ColumnDataSource, LinearColorMapper, PrintfTickFormatter, Range1d, Span

from tinytensor.arrays import Array
from tinytensor.live import names
from tinytensor.live.panel import Panel
from tinytensor.live.picture import MARK_WIDTH, PALETTE, TEST, mosaic, square_grid
from tinytensor.live.snapshot import Snapshot

DIGITS_COLOURS = [f"#{r:02x}{g:02x}{b:02x}{a:02x}" for r, g, b, a in PALETTE]
MIN_MARK = 10  # pixels


class Chosen(NamedTuple):
    """A digit that a viewer has clicked."""

    image: Array  # (H, W) or (H, W, C) uint8
    label: int | None  # None if it is unknown


class Digits(Panel):
    """A mosaic of digits in square cells: the misclassified first, on red; the rest on white.

    The mosaic has the number of columns that makes the cells as large as possible. The names of
    the classes on a misclassified digit have at most two characters. The browser sets the ranges of
    the figure: see `square` in template.py.
    """

    least = 1  # digits that there is room for, at least
    mark = 0.4  # height of a name of one character, as a fraction of the digit's height

    def __init__(self, name: str, classes: tuple[str, ...]) -> None:
        self.short_names = names.short_names(classes, 2)
        super().__init__(name, classes, x_range=Range1d(0, 1), y_range=Range1d(0, 1))
        self.figure.grid.visible = False
        self.figure.xaxis.visible = False
        drawn = ("image", "y", "width", "height", "rows", "side", "across", "down")
        self.image = ColumnDataSource({column: [] for column in drawn}, name=f"{name} data")
        colours = LinearColorMapper(palette=DIGITS_COLOURS, low=0, high=len(PALETTE) - 1)
        self.figure.image(
            image="image", x=0, y="y", dw="width", dh="height", source=self.image,
            color_mapper=colours, anchor="top_left", origin="top_left",
        )  # fmt: skip
        columns = ("y", "left", "right", "correct", "computed")
        self.marks = ColumnDataSource({column: [] for column in columns}, name=f"{name} marks")
        self.texts = [
            self.figure.text(
                side, "y", name, source=self.marks, text_color=ink, background_fill_color=paper,
                text_align=side, text_baseline="bottom", text_font_style="bold", padding=1,
            )
            for side, name, ink, paper in (
                ("left", "correct", "#000000", "#ffffff"),
                ("right", "computed", "#ffffff", "#000000"),
            )
        ]  # fmt: skip
        self.shown: tuple[Array, Array, Array] | None = None
        for edge in ("inner_width", "inner_height"):
            self.figure.on_change(edge, lambda attr, old, new: self._draw())

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height in pixels; None until the browser has drawn the panel."""
        try:
            return self.figure.inner_width, self.figure.inner_height
        except UnsetValueError:
            return None

    def show(self, images: Array, labels: Array, predictions: Array) -> None:
        """Show images (N, H, W) or (N, H, W, C) uint8 with labels (N,) and predictions (N,)."""
        self.shown = images, labels, predictions
        self._draw()

    def _draw(self) -> None:
        if self.shown is None or self.size is None:
            return
        images, labels, predictions = self.shown
        if not len(images):
            for source in (self.image, self.marks):
                source.data = {name: [] for name in source.data}
            return
        width, height = self.size
        self.columns, side = square_grid(max(len(images), self.least), width, height)
        self.rows = -(-len(images) // self.columns)
        misclassified = self.is_misclassified(labels, predictions)
        low, high = self.ends()
        self.row_height = (high - low) / self.rows
        self.image.data = {
            "image": [mosaic(images, misclassified, self.columns, (side, side))],
            "y": [high], "width": [self.columns], "height": [high - low], "rows": [self.rows],
            "side": [side], "across": [width], "down": [height],
        }  # fmt: skip
        self._mark(labels, predictions, np.flatnonzero(self.is_marked(misclassified)), side)

    def is_misclassified(self, labels: Array, predictions: Array) -> Array:
        """True (N,) for the digits on red."""
        return np.asarray(labels != predictions)

    def is_marked(self, misclassified: Array) -> Array:
        """True (N,) for the digits with the names of their classes."""
        return misclassified

    def _mark(self, labels: Array, predictions: Array, chosen: Array, side: int) -> None:
        """Write the correct and the computed digit on the chosen digits, if there is room."""
        chosen = chosen if side >= MARK_WIDTH else chosen[:0]
        row, column = np.divmod(chosen, self.columns)
        edge = max(1, side // 20) / side  # between a name and the edge of its digit
        mark = self.mark if max(map(len, self.short_names)) == 1 else self.mark / 1.5
        for text in self.texts:
            text.glyph.text_font_size = f"{max(MIN_MARK, round(mark * side))}px"
        _, high = self.ends()
        self.marks.data = {
            "y": high - (row + 1 - edge) * self.row_height,
            "left": column + edge,
            "right": column + 1 - edge,
            "correct": [self.short_names[label] for label in labels[chosen]],
            "computed": [self.short_names[label] for label in predictions[chosen]],
        }

    def ends(self) -> tuple[float, float]:
        """The y coordinates of the lower edge of the last row and the upper edge of the first."""
        return 0, self.rows

    def at(self, x: float, y: float) -> Chosen | None:
        """The digit at the coordinates (x, y) of the figure; None outside of the digits."""
        if self.shown is None or not self.image.data["image"]:
            return None
        images, labels, _ = self.shown
        _, high = self.ends()
        row, column = (high - y) / self.row_height, x
        index = int(row) * self.columns + int(column)
        if 0 <= column < self.columns and row >= 0 and index < len(images):
            return Chosen(images[index], int(labels[index]))
        return None


class TrainingDigits(Digits):
    """The mosaic of the current training batch."""

    def __init__(self, classes: tuple[str, ...]) -> None:
        super().__init__("training digits", classes)
        self.figure.yaxis.visible = False

    def update(self, shot: Snapshot) -> None:
        """Show the training digits of a snapshot."""
        count = int((shot.train_labels != shot.train_predictions).sum())
        self.show(shot.train_images, shot.train_labels, shot.train_predictions)
        self.set_title(names.digits_title(self.name, count, len(shot.train_labels), self.classes))


class TestDigits(Digits):
    """The mosaic of test images, with a scale of accuracies at the side.

    The last misclassified image is at the height of the test accuracy.
    test_count: number of test images.
    """

    def __init__(self, test_count: int, classes: tuple[str, ...]) -> None:
        super().__init__("test digits", classes)
        self.test_count = test_count
        self.figure.yaxis.formatter = PrintfTickFormatter(format="%.0f%%")
        self.figure.yaxis.minor_tick_line_alpha = 0
        self.reached = Span(dimension="width", line_color=TEST, line_width=2, location=-1)
        self.figure.add_layout(self.reached)

    def ends(self) -> tuple[float, float]:
        """The y range in percent: accuracy if all cells had a misclassified image, and if none had.

        The scale at the side ends with the last image, because the last row may have empty cells.
        """
        return 100 * (1 - self.rows * self.columns / self.test_count), 100

    def update(self, tested: Snapshot) -> None:
        """Show the test digits of a snapshot that has test results."""
        self.show(tested.test_images, tested.test_labels, tested.test_predictions)
        shown = len(tested.test_labels)
        self.figure.yaxis.bounds = (100 * (1 - shown / self.test_count), 100)
        assert tested.test_accuracy is not None
        self.reached.location = 100 * tested.test_accuracy
        count = round((1 - tested.test_accuracy) * self.test_count)
        self.set_title(names.digits_title(self.name, count, self.test_count, self.classes))
