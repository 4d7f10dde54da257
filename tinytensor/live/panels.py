"""The course's six panels, as Bokeh figures."""

from __future__ import annotations

from collections.abc import Iterator

from bokeh.models import Range1d

from tinytensor.live.curves import Bands, Curves
from tinytensor.live.details import band_names
from tinytensor.live.digits import TestDigits, TrainingDigits
from tinytensor.live.history import Earlier, NewPoints
from tinytensor.live.panel import Panel
from tinytensor.live.snapshot import Snapshot
from tinytensor.train import Training


class Panels:
    """The six panels, in the course's order.

    training: the training that they show. earlier: a run whose curves are behind those of this
    training.
    """

    def __init__(self, training: Training, earlier: Earlier | None = None) -> None:
        bands, classes = band_names(training.model), training.data.names
        test_count = len(training.data.test_labels)
        steps = self.steps = Range1d(0, 1)
        # The curves of the earlier run are complete, up to the last step of this training.
        last = earlier.train[-1].step if earlier is not None and earlier.train else 1
        self._first_end = min(last, training.steps)
        compared = self.compared_steps = Range1d(0, self._first_end)
        self.accuracy, self.loss = (
            Curves(quantity, compared, earlier) for quantity in ("accuracy", "loss")
        )
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
            self.compared_steps.end = max(self.steps.end, self._first_end)
        shot_before, tested_before = self._shown
        if shot is not None and shot is not shot_before:
            self.training.update(shot)
        if tested is not None and tested is not tested_before:
            self.test.update(tested)
        self._shown = shot, tested
