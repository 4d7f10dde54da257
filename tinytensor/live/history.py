"""The curves of a run so far, thinned as they grow, and how long their axes are."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from tinytensor.arrays import Array
from tinytensor.live.snapshot import Snapshot
from tinytensor.train import StepReport

MOST_POINTS = 2000  # of a curve; then every second one goes


class Point(NamedTuple):
    """A curve's point: accuracy and loss at a step."""

    step: int
    accuracy: float
    loss: float


class BandPoint(NamedTuple):
    """8 quantiles each of the two kinds of numbers that a snapshot has, by their names."""

    step: int
    bands: dict[str, Array]


class News(NamedTuple):
    """What has come since some place: new points, or all of them where `anew`."""

    anew: bool
    train: list[Point]
    test: list[Point]
    bands: list[BandPoint]
    place: tuple[int, int, int, int]


START = (-1, 0, 0, 0)


class History:
    """The points of all curves; one thread adds, others read what is new to them.

    snapshots: of a run that is over, or as far as it is to be seen.
    """

    def __init__(self, snapshots: Iterable[Snapshot] = ()) -> None:
        self.train: list[Point] = []
        self.test: list[Point] = []
        self.bands: list[BandPoint] = []
        self._version = 0  # of what was there before: thinning and clearing change that
        self._lock = threading.Lock()
        for snapshot in snapshots:
            self.add_snapshot(snapshot)

    def clear(self) -> None:
        """Forget all points: another run begins."""
        with self._lock:
            self.train, self.test, self.bands = [], [], []
            self._version += 1

    def add_test(self, report: StepReport) -> None:
        """The points of a report; its training figures count too."""
        with self._lock:
            self._add_figures(report)

    def add_snapshot(self, snapshot: Snapshot) -> None:
        """The points of a snapshot; where a report was of the same step they are there already."""
        with self._lock:
            self.bands.append(BandPoint(snapshot.step, snapshot.bands))
            self._add_figures(snapshot)
            for name in ("train", "test", "bands"):
                points = getattr(self, name)
                if len(points) > MOST_POINTS:
                    setattr(self, name, points[::2])
                    self._version += 1

    def _add_figures(self, now: StepReport | Snapshot) -> None:
        for points, accuracy, loss in (
            (self.train, now.train_accuracy, now.train_loss),
            (self.test, now.test_accuracy, now.test_loss),
        ):
            known = bool(points) and points[-1].step == now.step
            if accuracy is not None and loss is not None and not known:
                points.append(Point(now.step, accuracy, loss))

    def since(self, place: tuple[int, int, int, int]) -> News:
        """What came after a place that News told; START for all."""
        with self._lock:
            version, counts = place[0], place[1:]
            anew = version != self._version
            after = (0, 0, 0) if anew else counts
            train, test = self.train[after[0] :], self.test[after[1] :]
            bands = self.bands[after[2] :]
            now = (self._version, len(self.train), len(self.test), len(self.bands))
            return News(anew, train, test, bands, now)


# Axes: what matters is in the frame. The first steps, far from all later ones, may be outside.


def accuracy_from(accuracies: Array | Sequence[float]) -> float:
    """Where the axis of accuracies, as shares, begins; the test's decide."""
    typical = np.median(accuracies) if len(accuracies) else 0.0
    return float(max(0.0, np.floor(20 * (typical - 1.5 * (1 - typical))) / 20))


def loss_to(losses: Array | Sequence[float]) -> float:
    """Where the axis of losses ends; the test's decide."""
    return float(2.5 * np.median(losses) if len(losses) else 0.0) or 1.0


def band_range(quantiles: Array) -> tuple[float, float]:
    """From where to where the axis of bands goes: quantiles (N, 8), and a little more."""
    if np.isnan(quantiles).all():
        return 0.0, 1.0
    low, high = np.nanmin(quantiles), np.nanmax(quantiles)
    room = 0.05 * (high - low) or 0.5
    return float(low - room), float(high + room)
