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
from tinytensor.live.names import differing
from tinytensor.live.panel import Panel
from tinytensor.live.picture import ALPHAS, TEST, TRAIN

LEGEND = (
    f' <span style="color: {TRAIN}">― training</span> <span style="color: {TEST}">━ test</span>'
)

LEGEND_OF_TWO = '<div><b>{}</b>, <span class="pale">pale: {}</span></div>'
PALE = 0.35  # opacity of the curves of an earlier run


class Curves(Panel):
    """Accuracy or loss against the step, for the training batches and the test images.

    The curves of an earlier run may be behind them, pale. quantity: "accuracy" or "loss".
    """

    def __init__(self, quantity: str, steps: Range1d) -> None:
        super().__init__(quantity, x_range=steps, y_range=Range1d(0, 100))
        self.quantity = quantity
        self.earlier = [
            ColumnDataSource({"step": [], "y": []}, name=f"{quantity} earlier {part}")
            for part in ("training", "test")
        ]
        for source, colour, width in zip(self.earlier, (TRAIN, TEST), (1, 3), strict=True):
            self.figure.line("step", "y", source=source, color=colour, width=width, alpha=PALE)
        self.train = ColumnDataSource({"step": [], "y": []}, name=f"{quantity} training")
        self.test = ColumnDataSource({"step": [], "y": []}, name=f"{quantity} test")
        self.figure.line("step", "y", source=self.train, color=TRAIN, width=1)
        tested = self.figure.line("step", "y", source=self.test, color=TEST, width=3)
        self.figure.scatter("step", "y", source=self.test, color=TEST, size=4)
        self.figure.add_tools(
            HoverTool(renderers=[tested], tooltips=[("step", "@step"), ("test", "@y{0.00}")])
        )
        self.set_title(self.title, LEGEND)

    def compare_with(self, earlier: Earlier | None) -> None:
        """Show the curves of an earlier run, and the names of both runs; None removes them."""
        points = ([], []) if earlier is None else (earlier.train, earlier.test)
        for source, part in zip(self.earlier, points, strict=True):
            source.data = self._columns(part)
        legend = ""
        if earlier is not None:
            names = differing(earlier.new_name, earlier.name)
            legend = LEGEND_OF_TWO.format(*map(html.escape, names))
        self.set_title(self.title, LEGEND + legend)

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
        tests = [np.asarray(source.data["y"]) for source in (self.test, self.earlier[1])]
        if self.quantity == "accuracy":
            start = 100 * accuracy_start(*(test / 100 for test in tests))
            self.figure.y_range.update(start=start, end=100.5)
        else:
            self.figure.y_range.update(start=0, end=loss_end(*tests))


class Bands(Panel):
    """Seven bands of equal count of weights or activations, against the step.

    band: the name of one of a snapshot's two bands.
    """

    def __init__(self, band: str, steps: Range1d) -> None:
        self.source = ColumnDataSource()
        super().__init__(band, x_range=steps, y_range=Range1d(-1, 1))
        columns = ["step", *(f"q{i}" for i in range(BANDS + 1))]
        self.source.data = {column: [] for column in columns}
        for i, alpha in enumerate(ALPHAS):
            self.figure.varea(
                "step", f"q{i}", f"q{i + 1}", source=self.source, color=TRAIN, alpha=alpha
            )

    def rename(self, name: str) -> None:
        """Show the band of this name from now on."""
        super().rename(name)
        self.source.name = f"{name} data"

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
