"""The panels with curves (accuracy and loss) and with bands (weights and biases)."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import numpy as np
from bokeh.models import ColumnDataSource, HoverTool, Range1d

from tinytensor.live.details import BANDS
from tinytensor.live.history import (
    Earlier,
    NewPoints,
    Point,
    accuracy_start,
    band_range,
    loss_end,
)
from tinytensor.live.panel import Panel
from tinytensor.live.picture import ALPHAS, TEST, TRAIN

LEGEND = (
    f' <span style="color: {TRAIN}">― training</span> <span style="color: {TEST}">━ test</span>'
)

LEGEND_OF_TWO = '<div><b>{}</b>, <span class="pale">pale: {}</span></div>'
PALE = 0.35  # opacity of the curves of an earlier run


class Curves(Panel):
    """Accuracy or loss against the step, for the training batches and the test images.

    quantity: "accuracy" or "loss". earlier: a run whose curves are behind those of this run.
    """

    def __init__(self, quantity: str, steps: Range1d, earlier: Earlier | None = None) -> None:
        super().__init__(quantity, x_range=steps, y_range=Range1d(0, 100))
        self.quantity = quantity
        self._earlier_test = np.zeros(0)
        legend = LEGEND
        if earlier is not None:
            legend += self._draw_earlier(earlier)
        self.train = ColumnDataSource({"step": [], "y": []}, name=f"{quantity} training")
        self.test = ColumnDataSource({"step": [], "y": []}, name=f"{quantity} test")
        self.figure.line("step", "y", source=self.train, color=TRAIN, width=1)
        tested = self.figure.line("step", "y", source=self.test, color=TEST, width=3)
        self.figure.scatter("step", "y", source=self.test, color=TEST, size=4)
        self.figure.add_tools(
            HoverTool(renderers=[tested], tooltips=[("step", "@step"), ("test", "@y{0.00}")])
        )
        self.set_title(self.title, legend)

    def _draw_earlier(self, earlier: Earlier) -> str:
        """Draw the curves of an earlier run, pale; returns the names of both runs, as HTML."""
        for points, part, colour, width in (
            (earlier.train, "training", TRAIN, 1),
            (earlier.test, "test", TEST, 3),
        ):
            source = ColumnDataSource(self._columns(points), name=f"{self.quantity} earlier {part}")
            self.figure.line("step", "y", source=source, color=colour, width=width, alpha=PALE)
        self._earlier_test = np.array(self._columns(earlier.test)["y"])
        return LEGEND_OF_TWO.format(html.escape(earlier.new_name), html.escape(earlier.name))

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
        test = np.concatenate([self.test.data["y"], self._earlier_test])
        if self.quantity == "accuracy":
            self.figure.y_range.update(start=100 * accuracy_start(test / 100), end=100.5)
        else:
            self.figure.y_range.update(start=0, end=loss_end(test))


class Bands(Panel):
    """Seven bands of equal count of weights or activations, against the step.

    band: the name of one of a snapshot's two bands.
    """

    def __init__(self, band: str, steps: Range1d) -> None:
        super().__init__(band, x_range=steps, y_range=Range1d(-1, 1))
        columns = ["step", *(f"q{i}" for i in range(BANDS + 1))]
        self.source = ColumnDataSource({column: [] for column in columns}, name=f"{band} data")
        for i, alpha in enumerate(ALPHAS):
            self.figure.varea(
                "step", f"q{i}", f"q{i + 1}", source=self.source, color=TRAIN, alpha=alpha
            )

    def update(self, new_points: NewPoints) -> None:
        """Add the new points."""
        if not new_points.bands and not new_points.replace_all:
            return
        values = np.array([point.bands[self.name] for point in new_points.bands])
        columns = {f"q{i}": list(values[:, i]) if len(values) else [] for i in range(BANDS + 1)}
        _add(
            self.source,
            new_points.replace_all,
            {"step": [point.step for point in new_points.bands]} | columns,
        )
        if new_points.bands:
            ends = [self.source.data[column] for column in ("q0", f"q{BANDS}")]
            low, high = band_range(np.array(ends))
            self.figure.y_range.update(start=low, end=high)


def _add(source: ColumnDataSource, replace_all: bool, columns: dict[str, Any]) -> None:
    if replace_all:
        source.data = columns
    elif columns["step"]:
        source.stream(columns)
