"""The lessons of the course as one sequence of runs: the next begins when the present one is ended.

A page chooses a lesson with begin(). The thread that calls run_until_interrupted() ends the
present run, waits until its thread has ended, and starts the next one. So at most one run trains at
a time, and its bits are those of `tinytensor train` with the same settings.
"""

from __future__ import annotations

import queue
from collections.abc import Sequence
from dataclasses import dataclass

from tinytensor import door
from tinytensor.datasets import Dataset
from tinytensor.lessons import Lesson, changed
from tinytensor.live.history import Earlier
from tinytensor.live.names import name_of_run
from tinytensor.live.run import Run
from tinytensor.live.run_settings import OWN, Settings
from tinytensor.live.wall import Wall
from tinytensor.live.watching import run_to_watch
from tinytensor.train import Training


@dataclass(frozen=True)
class Present:
    """The present run of the course."""

    index: int  # of its lesson
    settings: Settings
    run: Run
    earlier: Earlier | None  # the run before it


class Course:
    """The lessons, with the present run and the wall.

    Args:
        lessons: in their order.
        data: the training and test images.
        first: the index of the first lesson to run.
        steps: number of training steps of each run; the lesson's own by default.
        seed: of each run.
        speed: steps per second, at most; see tinytensor.live.watching.run_to_watch.
    """

    def __init__(
        self,
        lessons: Sequence[Lesson],
        data: Dataset,
        *,
        first: int = 0,
        steps: int | None = None,
        seed: int = 0,
        speed: float | None = None,
    ) -> None:
        self.lessons, self.data = lessons, data
        self.wall = Wall(len(data.names))
        self._steps, self._seed, self._speed = steps, seed, speed
        self._wanted: queue.SimpleQueue[tuple[int, Settings]] = queue.SimpleQueue()
        self.present = self._new(first, OWN, before=None)

    def begin(self, index: int, settings: Settings = OWN) -> None:
        """End the present run, and begin the lesson with this index; from any thread."""
        if 0 <= index < len(self.lessons):
            self._wanted.put((index, settings))

    def run_until_interrupted(self) -> None:
        """Run the lessons that pages choose, until Ctrl-C."""
        try:
            while True:
                self.present.run.start()
                wanted = self._wanted.get()
                while not self._wanted.empty():  # only the last one counts
                    wanted = self._wanted.get()
                self.present.run.close()
                self.present.run.join()  # because two runs would share the random numbers
                self.present = self._new(*wanted, before=self.present)
        finally:
            self.present.run.close()
            self.present.run.join(1)

    def _new(self, index: int, settings: Settings, before: Present | None) -> Present:
        lesson = changed(self.lessons[index], lr=settings.lr, keep_prob=settings.keep_prob)
        backend = door.current_backend() if before is None else before.run.backend
        with door.computing_with(backend):
            training = Training(
                lesson, self.data, steps=self._steps, batch=settings.batch, seed=self._seed
            )
        earlier = None
        if before is not None:
            name, new_name = name_of_run(before.run.training), name_of_run(training)
            earlier = before.run.history.as_earlier(name, new_name, before.earlier)
        return Present(index, settings, run_to_watch(training, self._speed, backend), earlier)
