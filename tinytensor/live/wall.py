"""The wall: digits that the viewers of a live page have drawn, and what the network reads them as.

All viewers see the same wall. The pages of two servers may use it at the same time, so a lock
guards it. It holds at most MAX_DRAWINGS digits, so viewers can't fill the memory, and at most
MAX_OF_A_VIEWER of one page, so one viewer can't fill the wall.
"""

from __future__ import annotations

import functools
import threading
from typing import NamedTuple

import numpy as np

from tinytensor.arrays import Array
from tinytensor.evaluation import probabilities
from tinytensor.live.pending_call import PendingCall
from tinytensor.live.run import Run
from tinytensor.nn import Module

MAX_DRAWINGS = 100  # the oldest are removed
MAX_OF_A_VIEWER = 10  # the same, among those of one viewer


class Drawn(NamedTuple):
    """A digit of the wall."""

    image: Array  # (H, W) or (H, W, C) uint8
    label: int
    viewer: object


class Classified(NamedTuple):
    """The digits of the wall, and what the network reads them as."""

    images: Array  # (N, H, W) or (N, H, W, C) uint8
    labels: Array  # (N,), what their drawers said; `unknown` if they said nothing
    predictions: Array  # (N,)
    drawn: int  # number of digits so far, with those that are no longer on the wall


class Wall:
    """The digits that viewers have drawn.

    classes: number of classes.
    """

    def __init__(self, classes: int) -> None:
        self.unknown = classes  # the label of a digit whose drawer did not say what it is
        self.classified: Classified | None = None  # replaced when the network or the wall changes
        self._drawings: list[Drawn] = []  # the oldest first
        self._drawn = self._changes = 0
        self._call: PendingCall[Classified] | None = None
        self._lock = threading.Lock()

    def add(self, image: Array, label: int, viewer: object) -> None:
        """Add a digit.

        image: (H, W) or (H, W, C) uint8. label: its class, or `unknown`. viewer: any object of this
        viewer.
        """
        with self._lock:
            own = [drawn for drawn in self._drawings if drawn.viewer is viewer]
            if len(own) == MAX_OF_A_VIEWER:
                self._remove(own[0])
            elif len(self._drawings) == MAX_DRAWINGS:
                self._remove(self._drawings[0])
            self._drawings.append(Drawn(image, label, viewer))
            self._drawn += 1
            self._changes += 1

    def clear(self) -> None:
        """Remove all digits."""
        with self._lock:
            self._drawings.clear()
            self._drawn = 0
            self._changes += 1

    def _remove(self, drawing: Drawn) -> None:
        # By identity: == would compare the images.
        self._drawings = [other for other in self._drawings if other is not drawing]

    def update(self, run: Run) -> None:
        """Take the result if it is ready; classify again if the network or the wall has changed."""
        with self._lock:
            if self._call is None or self._call.run is not run:
                self._call = PendingCall(run)
            classify = functools.partial(
                _classified, drawings=list(self._drawings), drawn=self._drawn
            )
            result = self._call.update((run.latest, self._changes), classify)
            if result is not None:
                self.classified = result


def _classified(model: Module, drawings: list[Drawn], drawn: int) -> Classified:
    if not drawings:
        none = np.zeros(0, np.int64)
        return Classified(np.zeros((0, 28, 28), np.uint8), none, none, drawn)
    images = np.stack([each.image for each in drawings])
    labels = np.array([each.label for each in drawings])
    return Classified(images, labels, probabilities(model, images).argmax(axis=1), drawn)
