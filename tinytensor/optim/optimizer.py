"""The base class of optimisers."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from tinytensor import arrays, checkpoint, hints, observers, recorder
from tinytensor.arrays import Array
from tinytensor.errors import DTypeError, GradientError, NotSupported, SettingError, ShapeError
from tinytensor.optim.param_group import ParamGroup, check_lr, check_number, of_all_groups
from tinytensor.optim.schedules import Schedule, constant
from tinytensor.tensors import Tensor, wrap

__all__ = ["Optimizer"]

_OTHER_NAMES = {"learning_rate": "lr", "eps": "epsilon", "betas": "beta1", "alpha": "decay"}


def by_kernels(update: Callable[..., None]) -> Callable[..., None]:
    """Decorate an optimiser's `_update` method that computes with kernels only.

    A captured step replays the kernels of such a method without calling Python.

    Args:
        update: the method.

    Returns:
        The same method, marked.
    """
    update.by_kernels = True  # type: ignore[attr-defined]
    return update


class Optimizer:
    """The base class of optimisers: it holds the parameters, the learning rate and a step count.

    Args:
        params: a list of leaf Tensors with requires_grad, such as model.parameters(). A tensor that
            is listed twice is updated once, and a warning says so. Or a list of groups. A group is
            a dict: "params" is such a list or one tensor, and "lr" and "weight_decay" are settings
            of this group. If a group lacks a setting, it gets the optimiser's.
        lr: the learning rate, a number from 0 up; or a schedule, a function from the number of
            steps made so far to the learning rate of the next step. `optimizer.lr = ...` sets it.
        settings: a subclass passes here the settings that a group may have, by name.

    Attributes:
        params: the list of all parameters.
        param_groups: the tuple of the groups; `optimizer.param_groups[0]["lr"] = 0.01` sets the
            learning rate of the first group. A list of tensors is one group.

    Raises:
        SettingError: the learning rate or another setting is out of its range, or a group has no
            "params" or an unknown setting. Reading `optimizer.lr` also raises it, if the learning
            rates of the groups differ.
        NotSupported: `params` is empty, is not a list of Tensors or of groups, contains a tensor
            that was computed from other tensors or is read-only, or a tensor is in two groups.
        ShapeError: from `step()`, if a gradient has another shape than its parameter.
        DTypeError: from `step()`, if a gradient has another dtype than its parameter.

    Source: torch.optim.Optimizer.

    >>> model = nn.Linear(784, 10)
    >>> groups = [
    ...     {"params": [model.weight], "weight_decay": 0.1},
    ...     {"params": [model.bias]},
    ... ]
    >>> tt.optim.AdamW(groups, lr=0.001, weight_decay=0.0)
    AdamW(beta1=0.9, beta2=0.999, epsilon=1e-08)  # 7,850 parameters
      param_groups.0: lr=0.001, weight_decay=0.1  # 7,840 parameters
      param_groups.1: lr=0.001, weight_decay=0  # 10 parameters
    """

    own_settings: tuple[str, ...] = ()  # the names of the settings that repr() shows
    group_settings: tuple[str, ...] = ()  # the names of those that a group may have, next to lr

    def __init__(self, params: Iterable[Any], lr: float | Schedule, **settings: float) -> None:
        self._step = np.zeros(1, np.float64)
        for name, value in settings.items():
            self._check(name, value)
        groups: list[ParamGroup] = []
        for given in self._given_groups(params):
            groups += [self._new_group(given, lr, settings)]
        self.param_groups = tuple(groups)
        self._group_of = [group for group in self.param_groups for _ in group["params"]]
        self.params = [param for group in self.param_groups for param in group["params"]]
        if len({id(param) for param in self.params}) < len(self.params):
            raise NotSupported(f"{self._name}: a parameter is in two groups; one group is needed")
        self._state: dict[str, list[Array]] = {}
        self._current: ParamGroup | None = None  # the group whose parameter is being updated

    def _given_groups(self, params: Iterable[Any]) -> list[dict[str, Any]]:
        """Return the groups as dicts; a list of tensors is one group."""
        if isinstance(params, Mapping):
            raise NotSupported(
                f"{self._name}: got a dict; a list of tensors, or a list of groups such as "
                '[{"params": [...], "lr": 0.1}], is needed'
            )
        if isinstance(params, Iterable) and not isinstance(params, Tensor):
            params = list(params)
            if params and all(isinstance(group, Mapping) for group in params):
                return [dict(group) for group in params]
        elif isinstance(params, Tensor):
            raise NotSupported(f"{self._name}: got a tensor; a list of tensors is needed")
        return [{"params": params}]

    def _new_group(
        self, given: dict[str, Any], lr: float | Schedule, settings: dict[str, float]
    ) -> ParamGroup:
        possible = ["params", "lr", *self.group_settings]
        unknown = [name for name in given if name not in possible]
        if unknown or "params" not in given:
            raise SettingError(
                f"{self._name}: got a group with {', '.join(map(repr, given))}; 'params' is "
                f"needed, and {' and '.join(map(repr, possible[1:]))} may be given"
            )
        own = {name: self._check(name, given.get(name, value)) for name, value in settings.items()}
        params = given["params"]
        params = [params] if isinstance(params, Tensor) else params
        params = as_list(self._name, params, stacklevel=5)
        self._check_params(params)
        changes = vars(self).setdefault("_changes", [0])
        return ParamGroup(self._name, params, given.get("lr", lr), own, self._step, changes)

    def _check_params(self, params: list[Tensor]) -> None:
        if not params:
            raise NotSupported(f"{self._name}: got no parameters; model.parameters() lists them")
        for param in params:
            if not isinstance(param, Tensor):
                raise NotSupported(
                    f"{self._name}: got a {type(param).__name__}; tensors are needed, such as "
                    "those of model.parameters()"
                )
            if param.node is not None:
                raise NotSupported(
                    f"{self._name}: a parameter was computed from other tensors, so backward "
                    "stores no gradient in it; x.detach().requires_grad_() is a leaf with the same "
                    "values"
                )
            if not param.array.flags.writeable:
                raise NotSupported(
                    f"{self._name}: a parameter is read-only; Tensor(x) makes a copy to write to"
                )

    def __setattr__(self, name: str, value: object) -> None:
        if name in _OTHER_NAMES and hasattr(self, _OTHER_NAMES[name]):
            raise hints.missing("Optimizer", name, ())  # because it would change nothing
        # A captured step reads the learning rate at each replay. All other attributes are constants
        # of the recording, so a change of them changes the version, and the step is re-recorded.
        # A group counts the changes of its settings.
        is_of_groups = name == "lr" or name in self.group_settings
        if not is_of_groups and getattr(self, name, None) is not value:
            vars(self).setdefault("_changes", [0])[0] += 1
        super().__setattr__(name, value)

    if not TYPE_CHECKING:  # for mypy, a name that is missing is an error

        def __getattr__(self, name: str) -> NoReturn:
            return hints.no_attribute(self, "Optimizer", name)

    @property
    def version(self) -> int:
        """The number of attribute changes; a captured step compares it to detect a change."""
        changes: int = vars(self)["_changes"][0]
        return changes

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _group(self, name: str) -> ParamGroup:
        """Return the group being updated; outside of an update one group, if all are alike."""
        if self._current is not None:
            return self._current
        first, *rest = self.param_groups
        if name == "lr":
            alike = [(g.schedule, g.rate[0]) == (first.schedule, first.rate[0]) for g in rest]
        else:
            alike = [group[name] == first[name] for group in rest]
        if not all(alike):
            raise SettingError(
                f"{self._name}: its {len(self.param_groups)} groups have different values of "
                f'{name}; optimizer.param_groups[0]["{name}"] is that of the first group'
            )
        return first

    lr = of_all_groups(
        "lr",
        "The learning rate of the next step. An assignment takes a number or a schedule. "
        "It is that of all groups; within `_update` it is that of the parameter's group.",
    )

    @property
    def schedule(self) -> Schedule:
        """The learning rate as a function of the number of steps made so far."""
        group = self._group("lr")
        return group.schedule or constant(float(group.rate[0]))

    @property
    def _lr(self) -> Array:
        return self._group("lr").rate

    @property
    def steps(self) -> int:
        """The number of steps made."""
        recorder.refuse_to_read("optimizer.steps")
        return int(self._step[0])

    def step(self) -> None:
        """Update every parameter that has a gradient, in place.

        Raises:
            ShapeError: a gradient has another shape than its parameter, or the parameter has
                another shape than at first; no parameter is changed.
            DTypeError: the same for the dtype; no parameter is changed.
            GradientError: a gradient shares memory with its parameter; no parameter is changed.
        """
        for observer in observers.active:
            observer.update_starts(self)
        if notes := recorder.recorder():
            notes.note_optimizer(self, self.params)
            with notes.in_part("update"):
                self._make_step()
        else:
            self._make_step()
        for observer in observers.active:
            observer.update_ended(self)

    def _make_step(self) -> None:
        pairs = [(i, p, grad) for i, p in enumerate(self.params) if (grad := p.grad) is not None]
        if not pairs:
            warnings.warn(
                f"{self._name}: step() changes nothing, because none of the parameters has a "
                "gradient; call backward() before, on a loss that was computed from them",
                stacklevel=3,
            )
        for i, param, grad in pairs:
            old, new = param.array, grad.array
            if new.shape != old.shape or new.dtype is not old.dtype:
                self._raise_for_gradient(param, grad)
            # Two arrays that own their memory can't share it.
            is_view = old.base is not None or new.base is not None
            if new is old or (is_view and np.may_share_memory(new, old)):
                raise GradientError(
                    f"{self._name}: a gradient of shape {new.shape} shares memory with its "
                    "parameter, so the update would change it; grad.clone() has its own memory"
                )
            for arrays_of_state in self._state.values():
                state = arrays_of_state[i]
                if state.shape != old.shape or state.dtype is not old.dtype:
                    self._raise_for_state(param, state)
        recorder.each_step(
            self._count_step,
            changes=(*[group.rate for group in self.param_groups], self._step),
            reads_anything=not all(group.schedule_is_pure for group in self.param_groups),
        )
        for i, param, grad in pairs:
            self._record_or_update(i, grad.array, param.array)
            param.changed()

    def _record_or_update(self, i: int, grad: Array, param: Array) -> None:
        if not recorder.recordings or getattr(type(self)._update, "by_kernels", False):
            self._update_one(i, grad, param)
        else:  # the method may compute with NumPy, so a program calls it in Python at each replay
            recorder.each_step(
                lambda grad, param: self._update_one(i, grad, param),
                reads=(grad,),
                changes=(param,),
                reads_anything=True,
            )

    def _update_one(self, i: int, grad: Array, param: Array) -> None:
        own = vars(self)  # because an attribute that is set changes the version
        own["_current"] = self._group_of[i]
        try:
            self._update(i, grad, param)
        finally:
            own["_current"] = None

    def _count_step(self, *arrays: Array) -> None:
        *rates, step = arrays
        for group, rate in zip(self.param_groups, rates, strict=True):
            if group.schedule:
                rate[0] = check_lr(self._name, group.schedule(int(step[0])))
        step[0] += 1

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Remove the gradients. Without this call the next backward adds to the old ones.

        Args:
            set_to_none: True sets the gradients to None, so that `step` skips parameters that get
                no new gradient. False sets them to 0.

        Source: torch.optim.Optimizer.zero_grad.
        """
        if notes := recorder.recorder():
            notes.note_optimizer(self, self.params)
        for param in self.params:
            param.grad = None if set_to_none or param.grad is None else 0.0

    def _update(self, i: int, grad: Array, param: Array) -> None:
        """Update the i-th parameter in place.

        A captured step calls this method in Python at every replay. If the method calls kernels
        only, decorate it with @by_kernels; then the program replays the kernels alone.
        """
        raise NotImplementedError

    def _allocate(self, name: str) -> list[Array]:
        """Return zeros in the shape of each parameter, kept and saved as the state `name`."""
        self._state[name] = [arrays.zeros(param.shape, param.dtype) for param in self.params]
        return self._state[name]

    def state_of_params(self) -> list[list[Array]]:
        """Return the lists that _allocate returned: state_dict() has their arrays."""
        return list(self._state.values())

    def _rates(self) -> Iterator[tuple[str, Array]]:
        """Yield ("lr", array), or with several groups ("lr.0", array), ("lr.1", array), ..."""
        several = len(self.param_groups) > 1
        for i, group in enumerate(self.param_groups):
            yield f"lr.{i}" if several else "lr", group.rate

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state for tt.save: "lr", "steps", and for Adam "m.0", "v.0", "m.1", ...

        With several groups the learning rates are "lr.0", "lr.1", ... The tensors share the
        optimiser's memory. The other settings, such as the momentum, the weight decay and a
        schedule, are not part of the state. With a schedule "lr" is the learning rate of the last
        step.

        Source: torch.optim.Optimizer.state_dict.
        """
        state = {name: wrap(rate) for name, rate in self._rates()} | {"steps": wrap(self._step)}
        for name, state_of_params in self._state.items():
            state |= {f"{name}.{i}": wrap(array) for i, array in enumerate(state_of_params)}
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Copy the values of a state_dict, to resume training.

        The saved learning rate replaces the learning rate of this optimiser. A schedule is not
        replaced: it continues from the saved number of steps. The same is true for each group. The
        groups must be the same as in the saved optimiser, in the same order.

        Args:
            state: a Tensor for each name of `state_dict()`, of the same shape.

        Raises:
            DataError: a tensor is missing, unknown or of another shape. The message lists every
                such name, and nothing has been changed.
            NotSupported: `state` is not a dict.

        Source: torch.optim.Optimizer.load_state_dict.
        """
        checkpoint.copy_into(self._name, self.state_dict(), state)

    def state_arrays(self, names: Mapping[int, str]) -> Iterator[tuple[str, Array]]:
        """Yield (name, array): the learning rates, the step count, the state of each parameter.

        Args:
            names: the names of the parameters by their id().
        """
        yield from self._rates()
        yield "step", self._step
        for name, state_of_params in self._state.items():
            for i, (param, array) in enumerate(zip(self.params, state_of_params, strict=False)):
                yield f"{names.get(id(param), f'param.{i}')}.{name}", array

    def __repr__(self) -> str:
        values = {name: getattr(self, name) for name in self.own_settings}
        own = ", ".join(
            f"{name}={value}" if isinstance(value, bool) else f"{name}={value:g}"
            for name, value in values.items()
        )
        size = f"  # {sum(group.size for group in self.param_groups):,} parameters"
        if len(self.param_groups) == 1:
            settings = ", ".join(filter(None, [self.param_groups[0].describe(), own]))
            return f"{self._name}({settings}){size}"
        rows = [
            f"  param_groups.{i}: {group.describe()}  # {group.size:,} parameters"
            for i, group in enumerate(self.param_groups)
        ]
        return "\n".join([f"{self._name}({own}){size}", *rows])

    def _raise_for_gradient(self, param: Tensor, grad: Tensor) -> None:
        # backward always stores a gradient that fits; a user may have assigned this one.
        if grad.shape != param.shape:
            raise ShapeError(
                f"{self._name}: got grad of shape {grad.shape}; {param.shape} is needed"
            )
        if grad.dtype != param.dtype:
            raise DTypeError(f"{self._name}: got grad of {grad.dtype}; {param.dtype} is needed")

    def _raise_for_state(self, param: Tensor, state: Array) -> None:
        """Raise for a parameter whose array was replaced by one of another shape or dtype."""
        if state.shape != param.shape or state.dtype != param.dtype:
            kind = ShapeError if state.shape != param.shape else DTypeError
            raise kind(
                f"{self._name}: got a parameter {param.dtype} {param.shape}, which was "
                f"{state.dtype} {state.shape} when the optimiser was made; make a new optimiser"
            )

    def _check(self, name: str, number: float, below: float = math.inf) -> float:
        return check_number(self._name, name, number, below)


def as_list(name: str, params: Iterable[Tensor], stacklevel: int = 4) -> list[Tensor]:
    if isinstance(params, Tensor):  # iterating over it would give rows, which have no gradients
        raise NotSupported(f"{name}: got a tensor; a list of tensors is needed")
    if not isinstance(params, Iterable):
        raise NotSupported(f"{name}: got a {type(params).__name__}; a list of tensors is needed")
    given = list(params)
    different = list({id(param): param for param in given}.values())
    if len(different) < len(given):
        warnings.warn(
            f"{name}: got {len(given)} parameters, and only {len(different)} of them are different "
            "tensors; each is used once, as in model.parameters()",
            stacklevel=stacklevel,
        )
    return different
