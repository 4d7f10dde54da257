"""The six panels under a notebook cell, redrawn while a network trains."""

from __future__ import annotations

import io
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from tinytensor import door
from tinytensor.errors import SettingError
from tinytensor.extras import check_installed
from tinytensor.live.details import Details, details_of
from tinytensor.live.history import History
from tinytensor.live.snapshot import Snapshot
from tinytensor.live.speed import Speed
from tinytensor.step_report import StepReport
from tinytensor.train import Training

MIN_INTERVAL = 0.5  # seconds between two pictures, at least
WIDTH = 1024  # pixels


def show_training(training: Training) -> None:
    """Train with the six panels under the cell.

    See tinytensor.live.show.
    """
    check_installed("live.show", "live", "IPython", "matplotlib")
    from IPython.core.getipython import get_ipython

    if get_ipython() is None:
        raise SettingError(
            "live.show: this is not a notebook; in a terminal, run: tinytensor train LESSON --live"
        )
    if training.step >= training.steps:
        raise SettingError(
            f"live.show: the training has already made its {training.steps} steps; "
            "make a new Training"
        )
    drawing, output, speed = _Drawing(training), _Output(), Speed(training)
    # A second thread draws the pictures; this one trains, and sends finished pictures.
    with ThreadPoolExecutor(max_workers=1) as thread:
        drawn: Future[bytes] | None = None
        for report in training:
            assert training.predictions is not None
            details = details_of(training.model, training.predictions)
            thread.submit(drawing.take, report, details, speed(report))
            if drawn is None:
                drawn = thread.submit(drawing.png)
            elif drawn.done() and time.monotonic() > output.time + MIN_INTERVAL:
                output.show(drawn.result())
                drawn = thread.submit(drawing.png)
        output.show(thread.submit(drawing.png).result())


class _Drawing:
    """The picture of all reports so far."""

    def __init__(self, training: Training) -> None:
        from tinytensor.live.drawing import Picture

        self._data, self._backend = training.data, door.current_backend().name
        self._picture = Picture(
            training.lesson, training.steps, len(self._data.test_labels), names=self._data.names
        )
        self._history = History()

    def take(self, report: StepReport, details: Details, speed: float) -> None:
        self._last = Snapshot.of(
            report, details, self._data, backend=self._backend, images_per_second=speed
        )
        self._history.add_snapshot(self._last)

    def png(self) -> bytes:
        self._picture.fit(self._history)
        self._picture.show(self._history, self._last)
        file = io.BytesIO()
        self._picture.figure.savefig(file, format="png")
        return file.getvalue()


class _Output:
    """The picture under the cell."""

    def __init__(self) -> None:
        self._handle: Any = None
        self.time = 0.0  # seconds, of the last picture

    def show(self, png: bytes) -> None:
        from IPython.display import Image, display

        image = Image(png, format="png", width=WIDTH)
        if self._handle is None:
            self._handle = display(image, display_id=True)
        else:
            self._handle.update(image)
        self.time = time.monotonic()
