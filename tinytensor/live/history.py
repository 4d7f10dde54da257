"""The curves of a run so far, thinned as they grow."""

from __future__ import annotations

import threading
from typing import NamedTuple

from tinytensor.kernels import Array
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
    """The points of all curves; one thread adds, others read what is new to them."""

    def __init__(self) -> None:
        self.train: list[Point] = []
        self.test: list[Point] = []
        self.bands: list[BandPoint] = []
        self._version = 0  # of what was there before: thinning and clearing change that
        self._lock = threading.Lock()

    def clear(self) -> None:
        """Forget all points: another run begins."""
        with self._lock:
            self.train, self.test, self.bands = [], [], []
            self._version += 1

    def add_test(self, report: StepReport) -> None:
        """The points of a report; its training figures count too."""
        with self._lock:
            self.test.append(Point(report.step, report.test_accuracy, report.test_loss))
            self._add_train(report.step, report.train_accuracy, report.train_loss)

    def add_snapshot(self, snapshot: Snapshot) -> None:
        """The points of a snapshot; its test figures, if any, came with a report."""
        with self._lock:
            self.bands.append(BandPoint(snapshot.step, snapshot.bands))
            self._add_train(snapshot.step, snapshot.train_accuracy, snapshot.train_loss)
            for name in ("train", "test", "bands"):
                points = getattr(self, name)
                if len(points) > MOST_POINTS:
                    setattr(self, name, points[::2])
                    self._version += 1

    def _add_train(self, step: int, accuracy: float | None, loss: float | None) -> None:
        known = bool(self.train) and self.train[-1].step == step
        if accuracy is not None and loss is not None and not known:
            self.train.append(Point(step, accuracy, loss))

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
