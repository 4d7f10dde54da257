"""The points of a run's curves, thinned as they grow, and the ranges of their axes."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from tinytensor.arrays import Array
from tinytensor.live.snapshot import Snapshot
from tinytensor.step_report import StepReport

MAX_POINTS = 2000  # per curve; a longer curve loses every second point


class Point(NamedTuple):
    """Accuracy and loss at one step."""

    step: int
    accuracy: float
    loss: float


class BandPoint(NamedTuple):
    """The 8 quantiles (8,) of the two bands at one step, by name."""

    step: int
    bands: dict[str, Array]


class NewPoints(NamedTuple):
    """The points added since a position, or all points if `replace_all`."""

    replace_all: bool
    train: list[Point]
    test: list[Point]
    bands: list[BandPoint]
    position: tuple[int, int, int, int]


class Earlier(NamedTuple):
    """The curves of an earlier run, to be compared with those of a new run."""

    name: str  # of the earlier run
    new_name: str  # of the new run
    train: list[Point]
    test: list[Point]


START = (-1, 0, 0, 0)


class History:
    """The points of all curves. One thread adds points, other threads read the new ones.

    snapshots: added at once, for a run that was recorded.
    """

    def __init__(self, snapshots: Iterable[Snapshot] = ()) -> None:
        self.train: list[Point] = []
        self.test: list[Point] = []
        self.bands: list[BandPoint] = []
        self._version = 0  # increases when points are removed, by thinning or clearing
        self._lock = threading.Lock()
        for snapshot in snapshots:
            self.add_snapshot(snapshot)

    def clear(self) -> None:
        """Remove all points, before the run restarts."""
        with self._lock:
            self.train, self.test, self.bands = [], [], []
            self._version += 1

    def as_earlier(self, name: str, new_name: str, before: Earlier | None) -> Earlier | None:
        """These curves behind those of a new run, or the curves `before` if these are too short.

        name: of this run. new_name: of the new run.
        """
        if len(self.test) > 1:
            return Earlier(name, new_name, self.train, self.test)
        return before and before._replace(new_name=new_name)

    def add_test(self, report: StepReport) -> None:
        """Add the points of a report to the training and test curves."""
        with self._lock:
            self._add_metrics(report)

    def add_snapshot(self, snapshot: Snapshot) -> None:
        """Add the points of a snapshot, except those that a report of the same step added."""
        with self._lock:
            self.bands.append(BandPoint(snapshot.step, snapshot.bands))
            self._add_metrics(snapshot)
            for name in ("train", "test", "bands"):
                points = getattr(self, name)
                if len(points) > MAX_POINTS:
                    setattr(self, name, points[::2])
                    self._version += 1

    def _add_metrics(self, now: StepReport | Snapshot) -> None:
        for points, accuracy, loss in (
            (self.train, now.train_accuracy, now.train_loss),
            (self.test, now.test_accuracy, now.test_loss),
        ):
            known = bool(points) and points[-1].step == now.step
            if accuracy is not None and loss is not None and not known:
                points.append(Point(now.step, accuracy, loss))

    def since(self, position: tuple[int, int, int, int]) -> NewPoints:
        """The points added after `position`, which is START or an earlier NewPoints.position."""
        with self._lock:
            version, counts = position[0], position[1:]
            replace_all = version != self._version
            after = (0, 0, 0) if replace_all else counts
            train, test = self.train[after[0] :], self.test[after[1] :]
            bands = self.bands[after[2] :]
            now = (self._version, len(self.train), len(self.test), len(self.bands))
            return NewPoints(replace_all, train, test, bands, now)


# Axes fit the typical points. The first steps, far from all later ones, may be outside.


def accuracy_start(*accuracies: Array | Sequence[float]) -> float:
    """The start of the accuracy axis, from 0 to 1, for the test accuracies of each run."""
    typical = min((float(np.median(run)) for run in accuracies if len(run)), default=0.0)
    start = np.floor(20 * (typical - 1.5 * (1 - typical))) / 20
    return float(np.clip(start, 0.0, 0.95))


def loss_end(*losses: Array | Sequence[float]) -> float:
    """The end of the loss axis, for the test losses of each run."""
    return 2.5 * max((float(np.median(run)) for run in losses if len(run)), default=0.0) or 1.0


def band_range(quantiles: Array) -> tuple[float, float]:
    """The range (start, end) of a band's axis: quantiles (N, 8) and a margin of 5 %."""
    if np.isnan(quantiles).all():
        return 0.0, 1.0
    low, high = np.nanmin(quantiles), np.nanmax(quantiles)
    room = 0.05 * (high - low) or 0.5
    return float(low - room), float(high + room)
