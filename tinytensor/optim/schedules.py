"""Schedules: functions from the number of steps made to the learning rate of the next step."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable

from tinytensor.errors import SettingError
from tinytensor.ops.operands import real

__all__ = ["constant", "cosine", "exponential", "multiplied", "stepwise", "warm_up"]

Schedule = Callable[[int], float]
_PURE_SCHEDULES: weakref.WeakSet[Schedule] = weakref.WeakSet()  # they depend on the step only


def _mark_pure(schedule: Schedule) -> Schedule:
    """Return the schedule, after it was added to those that depend on the step only."""
    _PURE_SCHEDULES.add(schedule)
    return schedule


def is_pure(schedule: Schedule) -> bool:
    """Return True if the learning rate depends on nothing but the number of steps."""
    return schedule in _PURE_SCHEDULES


def _check_reals(name: str, **settings: float) -> None:
    for setting, value in settings.items():
        real(name, setting, value)


def _check_callable(name: str, schedule: Schedule) -> None:
    if not callable(schedule):
        raise SettingError(
            f"{name}: got schedule={schedule!r}; a schedule is needed, such as optim.constant(0.1)"
        )


def check_above_0(name: str, setting: str, value: float) -> None:
    if not real(name, setting, value) > 0:
        raise SettingError(f"{name}: got {setting}={value}; a number above 0 is needed")


def constant(lr: float) -> Schedule:
    """Return the schedule lr(step) = lr.

    Args:
        lr: the learning rate.

    Raises:
        SettingError: `lr` is not a number.

    >>> tt.optim.constant(0.1)(1000)
    0.1
    """
    _check_reals("constant", lr=lr)
    return _mark_pure(lambda step: lr)


def exponential(floor: float, start: float, steps: float) -> Schedule:
    """Return the schedule lr(step) = floor + start * e^(-step / steps), which the course uses.

    Args:
        floor: the learning rate that it approaches.
        start: the part that decays: the first learning rate is floor + start.
        steps: the number of steps in which this part shrinks by the factor e = 2.718.

    Raises:
        SettingError: `steps` is not above 0, or an argument is not a number.

    >>> lr = tt.optim.exponential(floor=0.0001, start=0.003, steps=2000)
    >>> round(lr(0), 6), round(lr(2000), 6)
    (0.0031, 0.001204)
    """
    check_above_0("exponential", "steps", steps)
    _check_reals("exponential", floor=floor, start=start)
    return _mark_pure(lambda step: floor + start * math.exp(-step / steps))


def stepwise(lr: float, every: int, factor: float = 0.1) -> Schedule:
    """Return the schedule lr(step) = lr * factor^(step // every).

    Args:
        lr: the first learning rate.
        every: the number of steps between two changes.
        factor: the learning rate is multiplied by it at each change.

    Raises:
        SettingError: `every` is not above 0, or an argument is not a number.

    Source: torch.optim.lr_scheduler.StepLR.

    >>> lr = tt.optim.stepwise(0.4, every=10, factor=0.5)
    >>> lr(9), lr(10), lr(20)
    (0.4, 0.2, 0.1)
    """
    check_above_0("stepwise", "every", every)
    _check_reals("stepwise", lr=lr, factor=factor)
    return _mark_pure(lambda step: lr * factor ** (step // every))


def cosine(lr: float, steps: int, floor: float = 0.0) -> Schedule:
    """Return a schedule that falls from `lr` to `floor` along half a cosine wave.

    lr(step) = floor + (lr - floor) * (1 + cos(pi * step / steps)) / 2; from step `steps` on it is
    `floor`.

    Args:
        lr: the first learning rate.
        steps: the number of steps of the fall.
        floor: the last learning rate.

    Raises:
        SettingError: `steps` is not above 0, or an argument is not a number.

    Source: Loshchilov and Hutter, "SGDR", 2017, without restarts;
    torch.optim.lr_scheduler.CosineAnnealingLR.

    >>> lr = tt.optim.cosine(1.0, steps=100)
    >>> lr(0), lr(50), lr(100)
    (1.0, 0.5, 0.0)
    """
    check_above_0("cosine", "steps", steps)
    _check_reals("cosine", lr=lr, floor=floor)

    def schedule(step: int) -> float:
        return floor + (lr - floor) * (1 + math.cos(math.pi * min(step / steps, 1))) / 2

    return _mark_pure(schedule)


def warm_up(schedule: Schedule, steps: float) -> Schedule:
    """Return a schedule that grows linearly to the given schedule during the first steps.

    lr(step) = schedule(step) * min((step + 1) / steps, 1).

    Args:
        schedule: a function from the number of steps to a learning rate.
        steps: the number of steps of the warm-up.

    Raises:
        SettingError: `steps` is not a number above 0, or `schedule` is not a function.

    >>> lr = tt.optim.warm_up(tt.optim.constant(1.0), steps=4)
    >>> lr(0), lr(1), lr(3), lr(10)
    (0.25, 0.5, 1.0, 1.0)
    """
    check_above_0("warm_up", "steps", steps)
    _check_callable("warm_up", schedule)

    def warmed_up(step: int) -> float:
        return schedule(step) * min((step + 1) / steps, 1)

    return _mark_pure(warmed_up) if is_pure(schedule) else warmed_up


def multiplied(schedule: Schedule, factor: float) -> Schedule:
    """Return the schedule lr(step) = schedule(step) * factor.

    Args:
        schedule: a function from the number of steps to a learning rate.
        factor: the number that it is multiplied by.

    Raises:
        SettingError: `factor` is not a number, or `schedule` is not a function.

    >>> lr = tt.optim.multiplied(tt.optim.stepwise(0.5, every=10), factor=4)
    >>> lr(0), lr(10)
    (2.0, 0.2)
    """
    _check_reals("multiplied", factor=factor)
    _check_callable("multiplied", schedule)

    def schedule_times_factor(step: int) -> float:
        return schedule(step) * factor

    return _mark_pure(schedule_times_factor) if is_pure(schedule) else schedule_times_factor
