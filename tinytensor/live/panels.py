"""The course's six panels, as Bokeh figures."""

from __future__ import annotations

from collections.abc import Iterator

from bokeh.models import Range1d

from tinytensor.live.curves import Bands, Curves
from tinytensor.live.digits import TestDigits, TrainingDigits
from tinytensor.live.history import NewPoints
from tinytensor.live.panel import Panel
from tinytensor.live.snapshot import Snapshot


class Panels:
    """The six panels, in the course's order.

    bands: the names of the two bands. test_count: number of test images. classes: the names of the
    classes.
    """

    def __init__(self, bands: tuple[str, str], test_count: int, classes: tuple[str, ...]) -> None:
        steps = self.steps = Range1d(0, 1)
        self.accuracy, self.loss = Curves("accuracy", steps), Curves("loss", steps)
        self.training = TrainingDigits(classes)
        self.first, self.second = (Bands(band, steps) for band in bands)
        self.test = TestDigits(test_count, classes)
        self._shown: tuple[Snapshot | None, Snapshot | None] = None, None

    def __iter__(self) -> Iterator[Panel]:
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
            self.steps.end = max(1, *newest)
        shot_before, tested_before = self._shown
        if shot is not None and shot is not shot_before:
            self.training.update(shot)
        if tested is not None and tested is not tested_before:
            self.test.update(tested)
        self._shown = shot, tested
