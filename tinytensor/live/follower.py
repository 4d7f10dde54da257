"""The ranks after the first of a training with a live page: they do what its viewers do.

Rank 0 has the Run and serves the page. Its Run sends an order after each step, and the Follower of
each other rank waits for it: so a pause, a change of the learning rate, another backend and a
restart happen on all ranks between the same two steps.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from enum import Enum

from tinytensor import door
from tinytensor.errors import AnomalyError
from tinytensor.live.run_settings import ChangingSettings
from tinytensor.ranks import World
from tinytensor.train import OutOfTimeError, StepReport, TrainedStep, Training

INTERVAL = 1.0  # seconds between two orders of a run that is paused, or that has ended


class Order(Enum):
    """An order that a Run sends to the Followers; some have a value."""

    STEP = "make the next step"
    PREDICTIONS = "gather the predictions for the batch"
    WAIT = "wait for the next order"
    BACKEND = "compute with the backend of this name"
    SETTINGS = "use these Settings from the next step on"
    RESTART = "train once more from the first weights, with these Settings"
    END = "end"


class Orders:
    """Sends the orders of a Run.

    world: the ranks of its training.
    """

    def __init__(self, world: World) -> None:
        self._world, self._last = world, time.monotonic()
        self.interval = INTERVAL if world.size > 1 else None  # seconds until wait() is due

    def send(self, order: Order, value: object = None) -> None:
        """Send an order to the other ranks."""
        if self._world.size > 1:
            self._world.send_order((order, value))
            self._last = time.monotonic()

    def wait(self) -> None:
        """Let the other ranks wait, if they got no order for INTERVAL. Otherwise they would end."""
        if time.monotonic() - self._last >= INTERVAL:
            self.send(Order.WAIT)


class Follower:
    """The training of a rank after the first; iterating over a Follower yields its reports.

    Args:
        training: a Training whose counterpart on rank 0 belongs to a Run.
    """

    def __init__(self, training: Training) -> None:
        self._changing = ChangingSettings(training)
        self._training = training

    def __iter__(self) -> Iterator[StepReport]:
        """Yield the reports of the training, which follows the orders of rank 0.

        Raises:
            AnomalyError: the loss is NaN or infinite, on all ranks. The page shows it until END.
        """
        try:
            yield from self._train()
        except AnomalyError:
            self.follow_to_the_end()
            raise

    def _train(self) -> Iterator[StepReport]:
        training = self._training
        training.between_steps = self._after_step
        if training.step < training.steps:
            try:
                training.look_ahead()
            except OutOfTimeError:  # Ctrl-C before the first step
                return
            self._follow()
        yield from training

    def _after_step(self, result: TrainedStep) -> None:
        self._result = result
        self._follow()

    def _follow(self) -> Order:
        """Follow the orders up to the next step, a restart or the end, and return this order."""
        while True:
            order, value = self._training.world.receive_order()
            if order == Order.BACKEND:
                door.set_backend(value)
                self._training.use_new_backend()
            elif order == Order.PREDICTIONS:
                self._training.predictions_for(self._result)
            elif order == Order.SETTINGS:
                self._changing.set(value)
            elif order == Order.RESTART:
                self._training = self._training.restarted()
                self._changing = ChangingSettings(self._training)
                self._changing.set(value)
                return Order.RESTART
            elif order in (Order.STEP, Order.END):
                return Order(order)

    def follow_to_the_end(self) -> None:
        """Follow the orders after the last step: the training may be restarted several times."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # because Ctrl-C ends rank 0, which sends END
        while self._follow() == Order.RESTART:
            with suppress(AnomalyError):  # the page shows it
                for _ in self._train():
                    pass
