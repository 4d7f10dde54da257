"""Optimisers, schedules of the learning rate, and clipping of gradients.

An optimiser of your own is a subclass of Optimizer with a method `_update`:

    class SignSGD(tt.optim.Optimizer):
        def _update(self, i, grad, param):
            param -= self.lr * np.sign(grad)
"""

from __future__ import annotations

import math
import numbers
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import numpy as np

from tinytensor import arrays, checkpoint, hints, kernels, observers, ops, recorder
from tinytensor.arrays import Array
from tinytensor.errors import DTypeError, GradientError, NotSupported, SettingError, ShapeError
from tinytensor.ops.operands import real
from tinytensor.tensors import Tensor, wrap

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Optimizer",
    "ParamGroup",
    "RMSprop",
    "clip_grad_norm",
    "clip_grad_value",
    "constant",
    "cosine",
    "exponential",
    "stepwise",
    "warm_up",
]

Schedule = Callable[[int], float]
Group: TypeAlias = Mapping[str, Any]
_OTHER_NAMES = {"learning_rate": "lr", "eps": "epsilon", "betas": "beta1", "alpha": "decay"}
_PURE_SCHEDULES: weakref.WeakSet[Schedule] = weakref.WeakSet()  # they depend on the step only


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


def _mark_pure(schedule: Schedule) -> Schedule:
    """Return the schedule, after it was added to those that depend on the step only."""
    _PURE_SCHEDULES.add(schedule)
    return schedule


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
        return self.schedule is None or self.schedule in _PURE_SCHEDULES

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
                self.rate[0] = _check_lr(self._owner, self.schedule(int(self._steps[0])))
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
            self._settings[name] = _check_number(self._owner, name, value)
            self._changes[0] += 1  # a constant of a recording
            return
        recorder.refuse(
            "an assignment sets a learning rate",
            "set it outside of the step, or pass a schedule as lr",
        )
        was_pure = self.schedule_is_pure
        first = value(int(self._steps[0])) if callable(value) else value
        self.rate[0] = _check_lr(self._owner, first)
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


def _of_all_groups(name: str, doc: str) -> Any:
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
        params = _as_list(self._name, params, stacklevel=5)
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

    lr = _of_all_groups(
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
                rate[0] = _check_lr(self._name, group.schedule(int(step[0])))
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
        return _check_number(self._name, name, number, below)


def _check_lr(owner: str, lr: float) -> float:
    if not isinstance(lr, int | float | np.floating) or not lr >= 0:
        raise SettingError(f"{owner}: got lr={lr!r}; a number from 0 up is needed")
    return float(lr)


def _check_number(owner: str, name: str, number: float, below: float = math.inf) -> float:
    if not isinstance(number, numbers.Real) or not 0 <= number < below:
        limit = "" if below == math.inf else f", below {below:g},"
        raise SettingError(f"{owner}: got {name}={number}; a number from 0 up{limit} is needed")
    return number


class SGD(Optimizer):
    """Stochastic gradient descent, with optional momentum and weight decay.

    Update rule of a step, with g = grad + weight_decay * param:

        without momentum:  param = param - lr * g
        with momentum:     velocity = momentum * velocity + g
                           param = param - lr * velocity
        with nesterov:     param = param - lr * (g + momentum * velocity)

    Args:
        params: a list of leaf Tensors with requires_grad, such as model.parameters(); or a list of
            groups (see tt.optim.Optimizer).
        lr: the learning rate, a number from 0 up, or a schedule (see tt.optim.Optimizer).
        momentum: the decay of the velocity, from 0 up, below 1; 0 is no momentum.
        nesterov: True for Nesterov's momentum; needs momentum above 0.
        weight_decay: the factor of the L2 penalty, from 0 up.

    Raises:
        SettingError: a setting is out of its range.
        NotSupported: `params` is not a list of trainable Tensors.

    Source: torch.optim.SGD with dampening=0.

    >>> w = tt.Tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = tt.optim.SGD([w], lr=0.1)
    >>> (w * w).sum().backward()  # the gradient is 2 * w
    >>> optimizer.step()
    >>> w
    Tensor([0.8, 1.6], dtype=float32, requires_grad=True)
    >>> optimizer.zero_grad()
    """

    own_settings = ("momentum", "nesterov")
    group_settings = ("weight_decay",)
    weight_decay = _of_all_groups("weight_decay", "The factor of the L2 penalty.")

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[Group],
        lr: float | Schedule,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr, weight_decay=weight_decay)
        self.momentum = momentum
        self.nesterov = nesterov
        if nesterov and not momentum:
            raise SettingError(
                "SGD: got nesterov=True without momentum; momentum above 0 is needed"
            )

    @property
    def momentum(self) -> float:
        """The decay of the velocity."""
        return self._momentum

    @momentum.setter
    def momentum(self, momentum: float) -> None:
        self._momentum = self._check("momentum", momentum, below=1)
        if momentum and "velocity" not in self._state:
            self._allocate("velocity")

    @by_kernels
    def _update(self, i: int, grad: Array, param: Array) -> None:
        if not self.momentum:
            kernels.sgd(grad, self._lr, param, self.weight_decay)
            return
        settings = self.momentum, self.nesterov, self.weight_decay
        kernels.sgd_momentum(grad, self._lr, self._state["velocity"][i], param, *settings)


class AdamW(Optimizer):
    """Adam with decoupled weight decay: the decay is not part of the gradient.

    Update rule of step t = 1, 2, ...:

        m = beta1 * m + (1 - beta1) * grad
        v = beta2 * v + (1 - beta2) * grad^2
        m_hat = m / (1 - beta1^t)
        v_hat = v / (1 - beta2^t)
        param = param - lr * (m_hat / (sqrt(v_hat) + epsilon) + weight_decay * param)

    Args:
        params: a list of leaf Tensors with requires_grad, such as model.parameters(); or a list of
            groups (see tt.optim.Optimizer).
        lr: the learning rate, a number from 0 up, or a schedule (see tt.optim.Optimizer).
        beta1: the decay of m, the moving average of the gradient; from 0 up, below 1.
        beta2: the decay of v, the moving average of the squared gradient; from 0 up, below 1.
        epsilon: is added to the denominator, from 0 up.
        weight_decay: the decay of the parameters, from 0 up.
        betas: (beta1, beta2), in place of the two.

    Raises:
        SettingError: a setting is out of its range.
        NotSupported: `params` is not a list of trainable Tensors.

    Source: Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019; torch.optim.AdamW.

    >>> w = tt.Tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = tt.optim.AdamW([w], lr=0.1, weight_decay=0.5)
    >>> w.grad = tt.Tensor([0.0, 0.0])
    >>> optimizer.step()  # only the decay: w - 0.1 * 0.5 * w
    >>> w
    Tensor([0.95, 1.9 ], dtype=float32, requires_grad=True)
    """

    own_settings = ("beta1", "beta2", "epsilon")
    group_settings: tuple[str, ...] = ("weight_decay",)
    weight_decay = _of_all_groups("weight_decay", "The decay of the parameters.")

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[Group],
        lr: float | Schedule = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.01,
        *,
        betas: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(params, lr, **dict.fromkeys(self.group_settings, weight_decay))
        if betas is not None:
            beta1, beta2 = self._pair(betas, beta1, beta2)
        self.beta1 = self._check("beta1", beta1, below=1)
        self.beta2 = self._check("beta2", beta2, below=1)
        self.epsilon = self._check("epsilon", epsilon)
        self._m, self._v = self._allocate("m"), self._allocate("v")

    def _pair(self, betas: Any, beta1: float, beta2: float) -> tuple[float, float]:
        if (beta1, beta2) != (0.9, 0.999):
            raise SettingError(
                f"{self._name}: got betas={betas} and beta1={beta1}, beta2={beta2}; betas, or "
                "beta1 and beta2, are needed"
            )
        if not isinstance(betas, tuple | list) or len(betas) != 2:
            raise SettingError(f"{self._name}: got betas={betas}; (beta1, beta2) is needed")
        return betas[0], betas[1]

    @by_kernels
    def _update(self, i: int, grad: Array, param: Array) -> None:
        settings = self.beta1, self.beta2, self.epsilon, self.weight_decay
        kernels.adam(grad, self._lr, self._step, self._m[i], self._v[i], param, *settings)


class Adam(AdamW):
    """Adam: each step is scaled by moving averages of the gradient and of its square.

    Update rule of step t = 1, 2, ...:

        m = beta1 * m + (1 - beta1) * grad
        v = beta2 * v + (1 - beta2) * grad^2
        m_hat = m / (1 - beta1^t)
        v_hat = v / (1 - beta2^t)
        param = param - lr * m_hat / (sqrt(v_hat) + epsilon)

    Args:
        params: a list of leaf Tensors with requires_grad, such as model.parameters(); or a list of
            groups (see tt.optim.Optimizer).
        lr: the learning rate, a number from 0 up, or a schedule (see tt.optim.Optimizer).
        beta1: the decay of m, the moving average of the gradient; from 0 up, below 1.
        beta2: the decay of v, the moving average of the squared gradient; from 0 up, below 1.
        epsilon: is added to the denominator, from 0 up.
        betas: (beta1, beta2), in place of the two.

    Raises:
        SettingError: a setting is out of its range.
        NotSupported: `params` is not a list of trainable Tensors.

    Source: Kingma and Ba, "Adam: A Method for Stochastic Optimization", 2015, algorithm 1;
    torch.optim.Adam. TensorFlow adds epsilon to sqrt(v) instead of sqrt(v_hat), so its epsilon has
    1 / sqrt(1 - beta2^t) times the effect.

    >>> w = tt.Tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = tt.optim.Adam([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()  # the first step of each element is about lr
    >>> w
    Tensor([0.9, 1.9], dtype=float32, requires_grad=True)
    """

    group_settings = ()
    weight_decay = 0.0

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[Group],
        lr: float | Schedule = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        *,
        betas: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(params, lr, beta1, beta2, epsilon, betas=betas)


class RMSprop(Optimizer):
    """RMSprop: the gradient divided by the root of a moving average of its square.

    Update rule of a step:

        square = decay * square + (1 - decay) * grad^2
        param = param - lr * grad / (sqrt(square) + epsilon)

    Args:
        params: a list of leaf Tensors with requires_grad, such as model.parameters(); or a list of
            groups (see tt.optim.Optimizer).
        lr: the learning rate, a number from 0 up, or a schedule (see tt.optim.Optimizer).
        decay: the decay of the moving average, from 0 up, below 1.
        epsilon: is added to the denominator, from 0 up.

    Raises:
        SettingError: a setting is out of its range.
        NotSupported: `params` is not a list of trainable Tensors.

    Source: Tieleman and Hinton, "Neural Networks for Machine Learning", lecture 6.5, 2012;
    torch.optim.RMSprop, whose alpha is the decay and has the default 0.99.

    >>> w = tt.Tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = tt.optim.RMSprop([w], lr=0.1, decay=0.75)
    >>> w.grad = tt.Tensor([3.0, 0.5])
    >>> optimizer.step()  # square = 0.25 * grad^2, so each element moves by 2 * lr
    >>> w
    Tensor([0.8, 1.8], dtype=float32, requires_grad=True)
    """

    own_settings = ("decay", "epsilon")

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[Group],
        lr: float | Schedule = 0.001,
        decay: float = 0.9,
        epsilon: float = 1e-8,
    ) -> None:
        super().__init__(params, lr)
        self.decay = self._check("decay", decay, below=1)
        self.epsilon = self._check("epsilon", epsilon)
        self._square = self._allocate("square")

    @by_kernels
    def _update(self, i: int, grad: Array, param: Array) -> None:
        kernels.rmsprop(grad, self._lr, self._square[i], param, self.decay, self.epsilon)


# Schedules: functions from the number of steps made to the learning rate of the next step ---------


def _check_reals(name: str, **settings: float) -> None:
    for setting, value in settings.items():
        real(name, setting, value)


def _check_above_0(name: str, setting: str, value: float) -> None:
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
    _check_above_0("exponential", "steps", steps)
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
    _check_above_0("stepwise", "every", every)
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
    _check_above_0("cosine", "steps", steps)
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
    _check_above_0("warm_up", "steps", steps)
    if not callable(schedule):
        raise SettingError(
            f"warm_up: got schedule={schedule!r}; a schedule is needed, such as optim.constant(0.1)"
        )

    def warmed_up(step: int) -> float:
        return schedule(step) * min((step + 1) / steps, 1)

    return _mark_pure(warmed_up) if schedule in _PURE_SCHEDULES else warmed_up


# Clipping of gradients --------------------------------------------------------------------------


def clip_grad_norm(params: Iterable[Tensor], most: float) -> Tensor:
    """Scale all gradients by one factor, so that their common norm is at most `most`.

    norm = sqrt(sum over all elements of all gradients of grad^2); if norm > most, then each
    param.grad = param.grad * most / norm. If the norm is not finite, the gradients stay as they
    are.

    Args:
        params: Tensors; those without a gradient are skipped.
        most: the largest norm allowed, above 0.

    Returns:
        The norm before the scaling, a float64 Tensor of shape ().

    Raises:
        SettingError: `most` is not a number above 0.
        NotSupported: `params` is not a list.

    Source: Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks",
    2013; torch.nn.utils.clip_grad_norm_.

    >>> w = tt.zeros(2, requires_grad=True)
    >>> w.grad = tt.Tensor([3.0, 4.0])
    >>> tt.optim.clip_grad_norm([w], most=1.0)
    Tensor(5., dtype=float64)
    >>> w.grad
    Tensor([0.6, 0.8], dtype=float32)
    """
    _check_above_0("clip_grad_norm", "most", most)
    params = _as_list("clip_grad_norm", params)
    with_grad = [(param, wrap(param.grad.array)) for param in params if param.grad is not None]
    total = Tensor(0.0, "float64")  # because float32 squares could overflow or underflow
    for _, grad in with_grad:
        total = total + ops.square(ops.cast(grad, "float64")).sum()
    norm = total.sqrt()
    too_large = ops.logical_and(norm > most, ops.isfinite(norm))
    factor = ops.where(too_large, most / ops.maximum(norm, most), 1.0)
    for param, grad in with_grad:
        param.grad = grad * ops.cast(factor, grad.dtype)
    return norm


def clip_grad_value(params: Iterable[Tensor], most: float) -> None:
    """Clip every element of the gradients: grad = min(max(grad, -most), most).

    Args:
        params: Tensors; those without a gradient are skipped.
        most: the largest absolute value allowed, above 0.

    Raises:
        SettingError: `most` is not a number above 0.
        NotSupported: `params` is not a list.

    Source: torch.nn.utils.clip_grad_value_.

    >>> w = tt.zeros(2, requires_grad=True)
    >>> w.grad = tt.Tensor([3.0, -0.5])
    >>> tt.optim.clip_grad_value([w], most=1.0)
    >>> w.grad
    Tensor([ 1. , -0.5], dtype=float32)
    """
    _check_above_0("clip_grad_value", "most", most)
    for param in _as_list("clip_grad_value", params):
        if param.grad is not None:
            param.grad = wrap(param.grad.array).clip(-most, most)


def _as_list(name: str, params: Iterable[Tensor], stacklevel: int = 4) -> list[Tensor]:
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
