"""A Training in a thread of its own: it can be watched, paused, slowed, and asked.

It never waits for a viewer: what is to be seen is left in `history` and `latest`, a new snapshot in
the place of the last, and viewers look there when they like. Orders and questions are taken between
two steps, when the model stands still. What is computed is the same, bit by bit, as without.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, TypeVar

from tinytensor import door
from tinytensor.arrays import Array
from tinytensor.autograd import no_grad
from tinytensor.door import Backend
from tinytensor.errors import TinytensorError
from tinytensor.live.details import details_of
from tinytensor.live.history import History
from tinytensor.live.snapshot import Snapshot
from tinytensor.nn import Module
from tinytensor.train import (
    Made,
    Predictions,
    Seconds,
    StepReport,
    Training,
    evaluation_mode,
)

SECONDS_TO_NEXT = 0.2  # from one snapshot to the next, at least
SHARE = 1 / 40  # of the time, at most, goes into snapshots
QUESTIONS = 16  # that may wait; of more the oldest are dropped
_Answer = TypeVar("_Answer")


class Run:
    """A training that can be watched; iterating over it gives its reports, as the training does.

        run = Run(training)
        run.start()
        for report in run: ...

    backend: what computes; by default what does so where the run is made.
    """

    def __init__(self, training: Training, backend: Backend | None = None) -> None:
        self.training = training
        self.backend = backend or door.current_backend()
        self.history = History()
        self.latest: Snapshot | None = None
        self.latest_tested: Snapshot | None = None  # the last one that was made of a test
        self.test_predictions: Array | None = None  # of all test images, by that test
        self.state = "ready"  # then "running" or "paused", at last "ended"
        self.error: str | None = None  # what has ended it, in one line
        self.speed: float | None = None  # steps a second at most
        self.was_stopped = False  # by an order; a signal's handler only tells the training
        self.may_begin_again = False  # set once nobody needs the first run's results any more
        self._record: Callable[[StepReport, Backend], None] | None = None
        self._steps_allowed = 0  # while paused
        self._paused = self._closed = self._again = False
        self._wanted_backend: Backend | None = None
        self._questions: deque[tuple[Callable[[Module], Any], Future[Any]]] = deque()
        self._orders = threading.Condition()
        self._last_report: StepReport | None = None
        self._next_snapshot = self._next_tested = self._next_step = 0.0
        self._pace = (0, 0.0, 0.0)  # step and seconds at the last snapshot; images per second
        self._reports: queue.SimpleQueue[StepReport | BaseException | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="training", daemon=True)

    def start(self, record: Callable[[StepReport, Backend], None] | None = None) -> None:
        """Start the training.

        record: called in the training's thread, while the model stands still, with each report of
        the first run and the backend that computed it.
        """
        self._record = record
        self._thread.start()

    def __iter__(self) -> Iterator[StepReport]:
        """The reports that the training would give unwatched, as they come.

        Raises what the training raised.
        """
        while (report := self._reports.get()) is not None:
            if isinstance(report, BaseException):
                raise report
            yield report

    # Orders, from any thread

    def pause(self) -> None:
        """Make no further step."""
        with self._ordering():
            self._paused = True

    def resume(self) -> None:
        """Go on."""
        with self._ordering():
            self._paused = False

    @property
    def is_paused(self) -> bool:
        """Is it to make no further step until resume(), step() or stop()?"""
        return self._paused

    def step(self) -> None:
        """While paused, make one step and show what it has changed, in the test too."""
        with self._ordering():
            self._steps_allowed += 1

    def stop(self) -> None:
        """End after the step at hand, with a report."""
        with self._ordering():
            self.training.stop = self.was_stopped = True

    def set_speed(self, steps_a_second: float | None) -> None:
        """Make so many steps a second at most; None for as many as can be made."""
        with self._ordering():
            self.speed, self._next_step = steps_a_second, 0.0

    def set_backend(self, name: str) -> None:
        """Compute with this backend from the next step on.

        Raises BackendUnavailable for one that can't work here.
        """
        wanted = door.load_backend(name)
        with self._ordering():
            self._wanted_backend = wanted

    def begin_again(self) -> None:
        """When the run has ended and may_begin_again: train anew, from the same first weights."""
        with self._ordering():
            self._again = self.may_begin_again

    def close(self) -> None:
        """End, and let go of the thread; what is asked from now on is cancelled."""
        self._closed = True
        self.stop()

    def join(self, seconds: float) -> None:
        """After close(): wait so long for the thread to end, if it was started."""
        if self._thread.is_alive():
            self._thread.join(seconds)

    def ask(self, question: Callable[[Module], _Answer]) -> Future[_Answer]:
        """What question(model) gives, between two steps, the model being as in a test.

        The model is the tested one. Of too many questions the oldest are cancelled.
        """
        future: Future[_Answer] = Future()
        with self._ordering():
            if self._closed:
                future.cancel()
                return future
            self._questions.append((question, future))
            if len(self._questions) > QUESTIONS:
                self._questions.popleft()[1].cancel()
        return future

    @contextmanager
    def _ordering(self) -> Iterator[None]:
        with self._orders:
            yield
            self._orders.notify_all()

    # In the training's thread

    def _work(self) -> None:
        with ExitStack() as self._computing:
            self._computing.enter_context(door.computing_with(self.backend))
            self._train_to_the_end()
            self._reports.put(None)
            while self._waits_at_the_end():
                self._begin_anew()
        for _, future in self._questions:
            future.cancel()

    def _train_to_the_end(self) -> None:
        try:
            self._train()
        except BaseException as error:  # for whoever waits for the reports, or looks
            message = " ".join(str(error).split())
            is_ours = isinstance(error, TinytensorError)
            self.error = message if is_ours else f"{type(error).__name__}: {message}"
            self._reports.put(error)
        self.state = "ended"

    def _train(self) -> None:
        training = self.training
        training.between_steps = self._between_steps
        training.report_next = True  # the first picture comes at once
        self.state = "running"
        due = 0
        for report in training:
            self._see(report)
            due = report.step
            if report.step % training.evaluate_every == 0 or report.step == training.steps:
                self._give(report)
                due = 0
        if due and self._last_report is not None:  # it was stopped in between
            self._give(self._last_report)

    def _give(self, report: StepReport) -> None:
        if self._record is not None:
            self._record(report, self.backend)
        self._reports.put(report)

    def _begin_anew(self) -> None:
        self.training, self._record = self.training.anew(), None
        self.history.clear()
        self._last_report, self._pace = None, (0, 0.0, 0.0)
        self._next_snapshot = self._next_tested = self._next_step = 0.0
        self._again = self._paused = False
        self.error = None
        self._train_to_the_end()

    def _is_due(self) -> bool:
        """Is a snapshot to be made of the report at hand?  Of the last, whatever it costs.

        Those made between two tests don't count: else they could leave no time for a test's.
        """
        training = self.training
        last = training.stop or training.step == training.steps
        return last or self._paused or time.monotonic() >= self._next_tested

    def _see(self, report: StepReport) -> None:
        """Note a report, and make a snapshot of it if one is due."""
        self.history.add_test(report)
        self._last_report = report
        predictions = self.training.predictions
        if predictions is not None and self._is_due():
            self.test_predictions = predictions.test_predictions
            self._show(report, predictions)

    def _show(self, report: StepReport, predictions: Predictions, tested: bool = True) -> None:
        began = time.monotonic()
        snapshot = Snapshot.of(
            report,
            details_of(self.training.model, predictions),
            self.training.data,
            backend=self.backend.name,
            images_per_second=self._images_per_second(report.step, report.seconds),
        )
        if tested:
            self.latest_tested = snapshot
        else:
            snapshot = replace(snapshot, test_accuracy=None, test_loss=None)
        self.history.add_snapshot(snapshot)
        self.latest = snapshot
        self._wait_for_next(began)
        if tested:
            self._next_tested = self._next_snapshot

    def _wait_for_next(self, began: float) -> None:
        now = time.monotonic()
        self._next_snapshot = now + max(SECONDS_TO_NEXT, (now - began) / SHARE)

    def _images_per_second(self, step: int, seconds: Seconds) -> float:
        before, then, pace = self._pace
        if seconds.train > then:
            pace = (step - before) * self.training.batch / (seconds.train - then)
            self._pace = step, seconds.train, pace
        return pace

    def _between_steps(self, made: Made) -> None:
        if time.monotonic() >= self._next_snapshot:
            self._look(made)
        if self._questions or self._paused or self.speed or self._wanted_backend:
            self._obey(made)

    def _look(self, made: Made) -> None:
        """A snapshot between two tests: the training's figures are new, the test's are not."""
        training, last = self.training, self._last_report
        if last is None or self.test_predictions is None or last.step == training.step:
            return
        began = time.monotonic()
        predicted = made.predictions()
        report = replace(
            last, step=training.step, train_accuracy=float((predicted == made.labels).mean()),
            train_loss=made.loss, rate=made.rate, seconds=training.seconds,
        )  # fmt: skip
        predictions = Predictions(made.images, made.labels, predicted, self.test_predictions)
        self._show(report, predictions, tested=False)
        self._wait_for_next(began)

    def _obey(self, made: Made) -> None:
        """Answer questions, follow orders; returns when the next step is to be made."""
        shown = False
        while True:
            self._answer()
            self._swap_backend()
            with self._orders:
                if self.training.stop:
                    return
                if self._questions or self._wanted_backend:
                    continue
                if not self._paused:
                    self.state = "running"
                    wait = self._next_step - time.monotonic() if self.speed else 0
                    if wait <= 0:
                        self._next_step = time.monotonic() + 1 / (self.speed or 1e9)
                        self._steps_allowed = 0
                        return
                elif self._steps_allowed:
                    self._steps_allowed -= 1
                    self.training.report_next = True
                    return
                else:
                    wait = 0.1  # a signal's handler can set stop, but wake nobody
                if not self._paused or shown:
                    self._orders.wait(min(wait, 0.1))
                    continue
            self._look(made)  # what is seen while it is paused is of this very step
            self.state, shown = "paused", True

    def _swap_backend(self) -> None:
        with self._orders:
            wanted, self._wanted_backend = self._wanted_backend, None
        if wanted is not None:
            self._computing.close()
            self._computing.enter_context(door.computing_with(wanted))
            self.backend = wanted

    def _answer(self) -> None:
        while True:
            with self._orders:
                if not self._questions:
                    return
                question, future = self._questions.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            model = self.training.tested
            try:
                with evaluation_mode(model), no_grad():
                    future.set_result(question(model))
            except Exception as error:
                future.set_exception(error)

    def _waits_at_the_end(self) -> bool:
        """Answer questions until there is to be another run: True, or none: False."""
        while True:
            self._answer()
            self._swap_backend()
            with self._orders:
                if self._closed or self._again:
                    return self._again and not self._closed
                if not self._questions and self._wanted_backend is None:
                    self._orders.wait()
