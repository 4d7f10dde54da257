"""A Training in a separate thread, which other threads can watch, pause, slow and inspect.

The training thread writes points to `history` and replaces `latest` with each new snapshot; viewers
read both at any time. The first snapshot shows the untrained network. With `for_viewer` the first
step waits until a viewer has seen it; later the training never waits for a viewer. Commands and
submitted functions run between two steps, when the model doesn't change. The training computes the
same bits as without a Run. On several ranks rank 0 has the Run, and the other ranks follow its
orders: see follower.py.
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
from tinytensor.evaluation import OutOfTimeError, evaluation_mode
from tinytensor.live.details import details_of
from tinytensor.live.follower import Order, Orders
from tinytensor.live.history import Earlier, History
from tinytensor.live.names import name_of_run
from tinytensor.live.run_settings import OWN, ChangingSettings, Settings
from tinytensor.live.snapshot import Snapshot
from tinytensor.nn import Module
from tinytensor.step_report import Predictions, Seconds, StepReport, TrainedStep
from tinytensor.train import Training

MIN_INTERVAL = 0.2  # seconds between two snapshots, at least
MAX_SNAPSHOT_SHARE = 1 / 40  # fraction of the time spent on snapshots, at most
MAX_CATCH_UP = 0.05  # seconds of delay that later steps make up for, if the speed is limited
MAX_CALLS = 16  # submitted functions that may wait; if there are more, the oldest are cancelled
_Result = TypeVar("_Result")


class Run:
    """A training in its own thread; iterating over a Run yields the training's reports.

        run = Run(training)
        run.start()
        for report in run: ...

    Args:
        training: the Training to run.
        backend: the backend that computes; the current backend by default.
        for_viewer: True to make the first step only after begin(), which a viewer's page calls.
    """

    def __init__(
        self, training: Training, backend: Backend | None = None, for_viewer: bool = False
    ) -> None:
        self.training = training
        self.backend = backend or door.current_backend()
        self.history = History()
        self.latest: Snapshot | None = None
        self.latest_tested: Snapshot | None = None  # the latest snapshot with test results
        self.test_predictions: Array | None = None  # (number of test images,), from the same test
        self.state = "ready"  # then "running" or "paused", finally "ended"
        self._is_waiting = for_viewer
        self.error: str | None = None  # one line: the error that ended the run
        self.speed: float | None = None  # steps per second, at most
        self.settings = OWN  # those that viewers have chosen last
        self.earlier: Earlier | None = None  # the curves before the last restart
        self.was_stopped = False  # True after stop(); Ctrl-C sets only training.stop
        self.may_restart = False  # set to True after the first run, when its results are saved
        self._record: Callable[[StepReport, Backend], None] | None = None
        self._steps_allowed = 0  # while paused
        self._paused = self._closed = self._restart_requested = False
        self._next_backend: Backend | None = None
        self._next_settings: Settings | None = None
        self._changing = ChangingSettings(training)
        self._orders = Orders(training.world)
        self._calls: deque[tuple[Callable[[Module], Any], Future[Any]]] = deque()
        self._condition = threading.Condition()
        self._last_report: StepReport | None = None
        self._next_snapshot = self._next_tested = self._next_step = 0.0
        self._pace = (0, 0.0, 0.0)  # step, seconds of training and images/s at the last snapshot
        self._reports: queue.SimpleQueue[StepReport | BaseException | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run_thread, name="training", daemon=True)

    def start(self, record: Callable[[StepReport, Backend], None] | None = None) -> None:
        """Start the training thread.

        record: called with each report of the first run and the backend that computed it. The call
        is in the training thread, between two steps.
        """
        self._record = record
        self._thread.start()

    def __iter__(self) -> Iterator[StepReport]:
        """Yield the reports that the training yields without a Run, when they are ready.

        Raises the error that the training raised.
        """
        while (report := self._reports.get()) is not None:
            if isinstance(report, BaseException):
                raise report
            yield report

    # Commands, from any thread

    def begin(self) -> None:
        """Make the first step, if it waits for a viewer."""
        with self._notifying():
            self._is_waiting = False

    def pause(self) -> None:
        """Pause after the current step."""
        with self._notifying():
            self._paused = True

    def resume(self) -> None:
        """Continue after pause()."""
        with self._notifying():
            self._paused = False

    @property
    def is_paused(self) -> bool:
        """True if no step is made until resume(), step() or stop()."""
        return self._paused

    def step(self) -> None:
        """While paused, make one step, evaluate on the test images and make a snapshot."""
        with self._notifying():
            self._steps_allowed += 1

    def stop(self) -> None:
        """End after the current step, with a report."""
        with self._notifying():
            self.training.stop = self.was_stopped = True

    def set_speed(self, steps_per_second: float | None) -> None:
        """Make at most `steps_per_second` steps per second; None removes the limit."""
        with self._notifying():
            self.speed, self._next_step = steps_per_second, 0.0

    def set_backend(self, name: str) -> None:
        """Compute with the backend `name` from the next step on.

        Raises UnknownName for an unknown backend, and BackendUnavailable if it can't work here.
        """
        wanted = door.load_backend(name)
        with self._notifying():
            self._next_backend = wanted

    def change(self, settings: Settings) -> None:
        """Use this learning rate and this keep probability from the next step on.

        After the last step they are for the restarted run. The batch is not changed.
        """
        with self._notifying():
            self.settings = self._next_settings = settings

    def restart(self) -> None:
        """If may_restart, train once more when the run has ended, from the same first weights.

        The chosen settings hold from the first step on.
        """
        with self._notifying():
            self._restart_requested = self.may_restart

    def close(self) -> None:
        """Stop the training and end the thread; later submitted functions are cancelled.

        A test that still runs is given up.
        """
        self._closed = True
        self.training.deadline = time.monotonic()
        self.stop()

    def join(self, seconds: float | None = None) -> None:
        """After close(), wait for the thread to end, if it was started; at most `seconds`."""
        if self._thread.is_alive():
            self._thread.join(seconds)

    def submit(self, function: Callable[[Module], _Result]) -> Future[_Result]:
        """Call function(model) in the training thread between two steps.

        function: receives `training.tested` in eval mode, without gradients.

        Returns:
            a Future of the result. If more than MAX_CALLS functions wait, the oldest are cancelled.
        """
        future: Future[_Result] = Future()
        with self._notifying():
            if self._closed:
                future.cancel()
                return future
            self._calls.append((function, future))
            if len(self._calls) > MAX_CALLS:
                self._calls.popleft()[1].cancel()
        return future

    @contextmanager
    def _notifying(self) -> Iterator[None]:
        """Inside a `with` block, hold the lock; afterwards, wake the training thread."""
        with self._condition:
            yield
            self._condition.notify_all()

    # In the training thread

    def _run_thread(self) -> None:
        with ExitStack() as self._computing:
            self._computing.enter_context(door.computing_with(self.backend))
            self._run_training()
            self._reports.put(None)
            while self._wait_for_restart():
                self._restart()
        self._orders.send(Order.END)
        for _, future in self._calls:
            future.cancel()

    def _run_training(self) -> None:
        try:
            self._train()
        except BaseException as error:  # raised again by __iter__, and shown on the page
            message = " ".join(str(error).split())
            is_ours = isinstance(error, TinytensorError)
            self.error = message if is_ours else f"{type(error).__name__}: {message}"
            self._reports.put(error)
        self.state = "ended"

    def _train(self) -> None:
        training = self.training
        training.between_steps = self._between_steps
        if training.step < training.steps:
            self._show_untrained()
            self._wait_for_viewer()
        if self._closed:  # Ctrl-C before the first step
            return
        if training.step < training.steps:
            self._orders.send(Order.STEP)
        self.state = "running"
        is_put = True
        for report in training:
            self._take_report(report)
            is_put = report.step % training.evaluate_every == 0 or report.step == training.steps
            if is_put:
                self._put_report(report)
        if not is_put and self._last_report is not None:  # stopped between two regular reports
            self._put_report(self._last_report)

    def _show_untrained(self) -> None:
        """Make a snapshot before the first step."""
        try:
            report, predictions = self.training.look_ahead()
        except OutOfTimeError:  # after close()
            return
        self._last_report, self.test_predictions = report, predictions.test_predictions
        self._publish_snapshot(report, predictions)

    def _wait_for_viewer(self) -> None:
        """Run submitted functions until begin() or the end of the training."""
        while True:
            self._orders.wait()
            self._run_calls()
            self._swap_backend()
            self._change_settings()
            with self._condition:
                if not self._is_waiting or self.training.stop:
                    return
                if not self._calls and not self._next_backend and not self._next_settings:
                    self._condition.wait(0.1)  # a signal handler can stop, but can't notify

    def _put_report(self, report: StepReport) -> None:
        if self._record is not None:
            self._record(report, self.backend)
        self._reports.put(report)

    def _restart(self) -> None:
        self.state, self.error = "ready", None
        self.latest = self.latest_tested = self.test_predictions = None
        before, self._record = name_of_run(self.training), None
        self.training = self.training.restarted()
        self._changing, self._next_settings = ChangingSettings(self.training), None
        self._changing.set(self.settings)
        self._orders.send(Order.RESTART, self.settings)
        self.earlier = self.history.as_earlier(before, name_of_run(self.training), self.earlier)
        self.history.clear()
        self._last_report, self._pace = None, (0, 0.0, 0.0)
        self._next_snapshot = self._next_tested = self._next_step = 0.0
        self._restart_requested = self._paused = False
        self._run_training()

    def _is_snapshot_due(self) -> bool:
        """True if a snapshot of the current report is due; always for the last report.

        Only snapshots with test results set the time, because the snapshots between two tests
        could otherwise use all of it.
        """
        training = self.training
        last = training.stop or training.step == training.steps
        return last or self._paused or time.monotonic() >= self._next_tested

    def _take_report(self, report: StepReport) -> None:
        """Add a report to the history, and make a snapshot of it if one is due."""
        self.history.add_test(report)
        self._last_report = report
        predictions = self.training.predictions
        if predictions is not None and self._is_snapshot_due():
            self.test_predictions = predictions.test_predictions
            self._publish_snapshot(report, predictions)

    def _publish_snapshot(
        self, report: StepReport, predictions: Predictions, tested: bool = True
    ) -> None:
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
        self._schedule_next(began)
        if tested:
            self._next_tested = self._next_snapshot

    def _schedule_next(self, began: float) -> None:
        now = time.monotonic()
        self._next_snapshot = now + max(MIN_INTERVAL, (now - began) / MAX_SNAPSHOT_SHARE)

    def _images_per_second(self, step: int, seconds: Seconds) -> float:
        before, then, pace = self._pace
        if seconds.train > then:
            pace = (step - before) * self.training.batch / (seconds.train - then)
            self._pace = step, seconds.train, pace
        return pace

    def _between_steps(self, result: TrainedStep) -> None:
        if time.monotonic() >= self._next_snapshot:
            self._snapshot_between_tests(result)
        is_to_change = self._next_backend or self._next_settings
        if self._calls or self._paused or self.speed or is_to_change:
            self._follow_commands(result)
        self._orders.send(Order.STEP)

    def _snapshot_between_tests(self, result: TrainedStep) -> None:
        """Make a snapshot without new test results, between two tests."""
        training, last = self.training, self._last_report
        if last is None or self.test_predictions is None or last.step == training.step:
            return
        began = time.monotonic()
        self._orders.send(Order.PREDICTIONS)
        predicted = training.predictions_for(result)
        report = replace(
            last, step=training.step, train_accuracy=float((predicted == result.labels).mean()),
            train_loss=result.loss, rate=result.rate, seconds=training.seconds,
        )  # fmt: skip
        predictions = Predictions(result.images, result.labels, predicted, self.test_predictions)
        self._publish_snapshot(report, predictions, tested=False)
        self._schedule_next(began)

    def _follow_commands(self, result: TrainedStep) -> None:
        """Run submitted functions and follow commands; return when the next step may be made."""
        shown = False
        while True:
            self._orders.wait()
            self._run_calls()
            self._swap_backend()
            self._change_settings()
            with self._condition:
                if self.training.stop:
                    return
                if self._calls or self._next_backend or self._next_settings:
                    continue
                if not self._paused:
                    self.state = "running"
                    wait = self._next_step - time.monotonic() if self.speed else 0
                    if wait <= 0:
                        self._next_step = self._due() + 1 / (self.speed or 1e9)
                        self._steps_allowed = 0
                        return
                elif self._steps_allowed:
                    self._steps_allowed -= 1
                    self.training.report_next = True
                    return
                else:
                    wait = 0.1  # a signal handler can set training.stop, but can't notify
                if not self._paused or shown:
                    self._condition.wait(min(wait, 0.1))
                    continue
            self._snapshot_between_tests(result)  # so that the page shows the step of the pause
            self.state, shown = "paused", True

    def _due(self) -> float:
        """When the current step was due, or now if it is late by more than MAX_CATCH_UP."""
        return max(self._next_step, time.monotonic() - MAX_CATCH_UP)

    def _swap_backend(self) -> None:
        with self._condition:
            wanted, self._next_backend = self._next_backend, None
        if wanted is not None:
            self._computing.close()
            self._computing.enter_context(door.computing_with(wanted))
            self.backend = wanted
            self.training.use_new_backend()
            self._orders.send(Order.BACKEND, wanted.name)

    def _change_settings(self) -> None:
        with self._condition:
            wanted, self._next_settings = self._next_settings, None
        if wanted is not None:
            self._changing.set(wanted)
            self._orders.send(Order.SETTINGS, wanted)

    def _run_calls(self) -> None:
        while True:
            with self._condition:
                if not self._calls:
                    return
                function, future = self._calls.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            model = self.training.tested
            try:
                with evaluation_mode(model), no_grad():
                    future.set_result(function(model))
            except Exception as error:
                future.set_exception(error)

    def _wait_for_restart(self) -> bool:
        """Run submitted functions until restart() or close(); True after restart()."""
        while True:
            self._orders.wait()
            self._run_calls()
            self._swap_backend()
            with self._condition:
                if self._closed or self._restart_requested:
                    return self._restart_requested and not self._closed
                if not self._calls and self._next_backend is None:
                    self._condition.wait(self._orders.interval)
