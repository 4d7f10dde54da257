"""The wall: digits that the viewers of a live page have drawn, and what the network reads them as.

All viewers see the same wall. The pages of two servers may use it at the same time, so a lock
guards it. It holds at most MAX_DRAWINGS digits, so viewers can't fill the memory.
"""

from __future__ import annotations

import functools
import threading
from collections import deque
from typing import NamedTuple

import numpy as np

from tinytensor.arrays import Array
from tinytensor.live.pending_call import PendingCall
from tinytensor.live.run import Run
from tinytensor.nn import Module
from tinytensor.train import probabilities

MAX_DRAWINGS = 100  # the oldest are removed


class Classified(NamedTuple):
    """The digits of the wall, and what the network reads them as."""

    images: Array  # (N, 28, 28) uint8
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
        self._drawings: deque[tuple[Array, int]] = deque(maxlen=MAX_DRAWINGS)
        self._drawn = self._changes = 0
        self._call: PendingCall[Classified] | None = None
        self._lock = threading.Lock()

    def add(self, image: Array, label: int) -> None:
        """Add a digit (28, 28) uint8; label: its class, or `unknown`."""
        with self._lock:
            self._drawings.append((image, label))
            self._drawn += 1
            self._changes += 1

    def clear(self) -> None:
        """Remove all digits."""
        with self._lock:
            self._drawings.clear()
            self._drawn = 0
            self._changes += 1

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


def _classified(model: Module, drawings: list[tuple[Array, int]], drawn: int) -> Classified:
    if not drawings:
        none = np.zeros(0, np.int64)
        return Classified(np.zeros((0, 28, 28), np.uint8), none, none, drawn)
    images = np.stack([image for image, _ in drawings])
    labels = np.array([label for _, label in drawings])
    return Classified(images, labels, probabilities(model, images).argmax(axis=1), drawn)
