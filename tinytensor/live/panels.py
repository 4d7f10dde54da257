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

    training: the training that they show.
    """

    def __init__(self, training: Training) -> None:
        classes, test_count = training.data.names, len(training.data.test_labels)
        self.steps, self.steps_of_curves = Range1d(0, 1), Range1d(0, 1)
        self.accuracy = Curves("accuracy", self.steps_of_curves)
        self.loss = Curves("loss", self.steps_of_curves)
        self.training = TrainingDigits(classes)
        self.first, self.second = (Bands(band, self.steps) for band in band_names(training.model))
        self.test = TestDigits(test_count, classes)
        self._earlier_steps = 1
        self._shown: tuple[Snapshot | None, Snapshot | None] = None, None

    def follow(self, training: Training, earlier: Earlier | None = None) -> None:
        """Show this training from now on, with the curves of an earlier run behind its own."""
        for panel, band in zip((self.first, self.second), band_names(training.model), strict=True):
            panel.rename(band)
        for curves in (self.accuracy, self.loss):
            curves.compare_with(earlier)
        # The curves of the earlier run are complete, up to the last step of this training.
        last = earlier.train[-1].step if earlier is not None and earlier.train else 1
        self._earlier_steps = min(last, training.steps)

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
            self.steps_of_curves.end = max(self.steps.end, self._earlier_steps)
        shot_before, tested_before = self._shown
        if shot is not None and shot is not shot_before:
            self.training.update(shot)
        if tested is not None and tested is not tested_before:
            self.test.update(tested)
        self._shown = shot, tested
