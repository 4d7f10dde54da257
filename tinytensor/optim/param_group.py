"""Groups of parameters with their own settings."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tinytensor import recorder
from tinytensor.arrays import Array
from tinytensor.errors import NotSupported, SettingError
from tinytensor.optim.schedules import Schedule, is_pure
from tinytensor.tensors import Tensor

if TYPE_CHECKING:
    from tinytensor.optim.optimizer import Optimizer

__all__ = ["ParamGroup"]

Group: TypeAlias = Mapping[str, Any]


class ParamGroup:
    """Parameters of an optimiser with their own learning rate, read and set as in a dict.

    `group["lr"] = 0.01` sets the learning rate, a number or a schedule. `group["weight_decay"]`
    exists if the optimiser has a weight decay, and `group["params"]` is the list of the parameters.
    An optimiser makes its groups; `optimizer.param_groups` has them.

    Args:
        owner: the name of the optimiser, for error messages.
        params: the parameters, Tensors of any shape.
        lr: the learning rate, a number or a schedule.
        settings: the other settings of the group, by name.
        steps: float64 (1,), the optimiser's number of steps.
        changes: one int, the optimiser's version, which a captured step compares.

    Source: torch.optim.Optimizer.param_groups.
    """

    def __init__(
        self,
        owner: str,
        params: list[Tensor],
        lr: float | Schedule,
        settings: dict[str, float],
        steps: Array,
        changes: list[int],
    ) -> None:
        # Arrays, because kernels take everything that changes from step to step as an array.
        self.rate = np.empty(1, np.float64)
        self.schedule: Schedule | None = None
        self._owner, self._params, self._settings = owner, params, settings
        self._steps, self._changes = steps, changes
        self["lr"] = lr

    @property
    def schedule_is_pure(self) -> bool:
        """True if the learning rate depends on nothing but the number of steps."""
        return self.schedule is None or is_pure(self.schedule)

    def keys(self) -> list[str]:
        """Return the names of the settings: "params", "lr" and, if there is one, "weight_decay"."""
        return ["params", "lr", *self._settings]

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __getitem__(self, name: str) -> Any:
        if name == "params":
            return list(self._params)
        if name == "lr":
            recorder.refuse_to_read("the learning rate")
            if self.schedule:
                self.rate[0] = check_lr(self._owner, self.schedule(int(self._steps[0])))
            return float(self.rate[0])
        self._check_name(name)
        return self._settings[name]

    def __setitem__(self, name: str, value: Any) -> None:
        if name == "params":
            raise NotSupported(
                f"{self._owner}: the parameters of a group can't be set; make another optimiser"
            )
        if name != "lr":
            self._check_name(name)
            self._settings[name] = check_number(self._owner, name, value)
            self._changes[0] += 1  # a constant of a recording
            return
        recorder.refuse(
            "an assignment sets a learning rate",
            "set it outside of the step, or pass a schedule as lr",
        )
        was_pure = self.schedule_is_pure
        first = value(int(self._steps[0])) if callable(value) else value
        self.rate[0] = check_lr(self._owner, first)
        self.schedule = value if callable(value) else None
        self._changes[0] += self.schedule_is_pure is not was_pure

    def _check_name(self, name: str) -> None:
        if name not in self._settings:
            raise SettingError(
                f"{self._owner}: got {name!r} for a group of parameters; one of "
                f"{', '.join(self.keys())} is needed"
            )

    def describe(self) -> str:
        """Return the settings in words, such as "lr=0.01, weight_decay=0.1"."""
        lr = "a schedule" if self.schedule else f"{self.rate[0]:g}"
        rest = [f"{name}={value:g}" for name, value in self._settings.items()]
        return ", ".join([f"lr={lr}", *rest])

    @property
    def size(self) -> int:
        """The number of elements of all parameters."""
        return sum(x.size for x in self._params)

    def __repr__(self) -> str:
        return f"ParamGroup({self.describe()})  # {self.size:,} parameters"


def of_all_groups(name: str, doc: str) -> Any:
    """Return a property of the optimiser that is a setting of its groups.

    It raises SettingError if the groups have different values.
    """

    def get(self: Optimizer) -> Any:
        return self._group(name)[name]

    def set_in_all(self: Optimizer, value: Any) -> None:
        self._group(name)
        for group in self.param_groups:
            group[name] = value

    get.__doc__ = doc
    return property(get, set_in_all)


def check_lr(owner: str, lr: float) -> float:
    if not isinstance(lr, int | float | np.floating) or not lr >= 0:
        raise SettingError(f"{owner}: got lr={lr!r}; a number from 0 up is needed")
    return float(lr)


def check_number(owner: str, name: str, number: float, below: float = math.inf) -> float:
    if not isinstance(number, numbers.Real) or not 0 <= number < below:
        limit = "" if below == math.inf else f", below {below:g},"
        raise SettingError(f"{owner}: got {name}={number}; a number from 0 up{limit} is needed")
    return number
