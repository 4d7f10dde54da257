"""Optimisers: how parameters follow their gradients; rates that change; gradients kept short."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np

from tinytensor import arrays, checkpoint, kernels, ops, recorder
from tinytensor.arrays import Array
from tinytensor.errors import DTypeError, NotSupported, SettingError, ShapeError
from tinytensor.tensor import Tensor, wrap

Schedule = Callable[[int], float]
_OF_STEPS: weakref.WeakSet[Schedule] = weakref.WeakSet()  # which read the count of steps only


def by_kernels(update: Callable[..., None]) -> Callable[..., None]:
    """Declare that an optimiser's `_update` computes with kernels only."""
    update.by_kernels = True  # type: ignore[attr-defined]
    return update


def _of_steps(schedule: Schedule) -> Schedule:
    _OF_STEPS.add(schedule)
    return schedule


class Optimizer:
    """What all optimisers share: the parameters, the learning rate, and a count of steps.

    params: the tensors to update.
    lr: the learning rate, at least 0; or a schedule, a function from the number of steps made so
        far to the rate of the next. May be changed at any time.

    Raises SettingError for numbers that make no sense, NotSupported for what isn't a list of
    tensors that can be trained, ShapeError and DTypeError where a gradient isn't of its parameter's
    kind.
    """

    version = 0  # the number of changes of attributes

    def __init__(self, params: Iterable[Tensor], lr: float | Schedule) -> None:
        self.params = _listed(self._name, params)
        if not self.params:
            raise NotSupported(f"{self._name}: got no parameters; model.parameters() lists them")
        for param in self.params:
            if not isinstance(param, Tensor):
                raise NotSupported(
                    f"{self._name}: got a {type(param).__name__}; tensors are needed"
                )
            if param.node is not None:
                raise NotSupported(
                    f"{self._name}: a parameter was computed from other tensors, so no gradient is "
                    "left in it; x.detach().requires_grad_() is one that starts there"
                )
            if not param.array.flags.writeable:
                raise NotSupported(
                    f"{self._name}: a parameter lies in read-only memory; Tensor(x) makes a copy"
                )
        # Arrays, because kernels are given what changes from step to step as such.
        self._lr = np.empty(1, np.float64)
        self._step = np.zeros(1, np.float64)
        self._memory: dict[str, list[Array]] = {}
        self.lr = lr

    def __setattr__(self, name: str, value: object) -> None:
        # A captured step reads the learning rate at each replay; all other attributes are its
        # constants, and it is recorded again if the version is another.
        if name not in ("lr", "schedule", "_changes") and getattr(self, name, None) is not value:
            vars(self)["version"] = self.version + 1
        super().__setattr__(name, value)

    @property
    def _name(self) -> str:
        return type(self).__name__

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        recorder.refuse_to_read("optimizer.lr")
        if self._changes:
            self._lr[0] = self._checked(self.schedule(self.steps))
        return float(self._lr[0])

    @lr.setter
    def lr(self, lr: float | Schedule) -> None:
        recorder.refuse("optimizer.lr = sets a rate", "a schedule follows the steps by itself")
        self.schedule = lr if callable(lr) else constant(lr)
        self._changes = callable(lr)
        self._reads_steps_only = lr in _OF_STEPS if callable(lr) else True
        self._lr[0] = self._checked(self.schedule(self.steps))

    def _checked(self, lr: float) -> float:
        if not isinstance(lr, int | float | np.floating) or not lr >= 0:
            raise SettingError(f"{self._name}: got lr={lr!r}; a number from 0 up is needed")
        return float(lr)

    @property
    def steps(self) -> int:
        """How many steps were made."""
        recorder.refuse_to_read("optimizer.steps")
        return int(self._step[0])

    def step(self) -> None:
        """Update every parameter that has a gradient."""
        if notes := recorder.recorder():
            notes.note_update(self, self.params)
            with notes.in_part("update"):
                self._make_step()
        else:
            self._make_step()

    def _make_step(self) -> None:
        pairs = [(i, p, p.grad) for i, p in enumerate(self.params) if p.grad is not None]
        for _, param, grad in pairs:
            ours, given = param.array, grad.array
            if given.shape != ours.shape or given.dtype is not ours.dtype:
                self._refuse(param, grad)
        recorder.each_step(
            self._count_step,
            changes=(self._lr, self._step),
            reads_anything=not self._reads_steps_only,
        )
        for i, param, grad in pairs:
            self._update_each_step(i, grad.array, param.array)
            param.changed()

    def _update_each_step(self, i: int, grad: Array, param: Array) -> None:
        if not recorder.recordings or getattr(type(self)._update, "by_kernels", False):
            self._update(i, grad, param)
        else:  # it may compute with NumPy, which no program would replay
            recorder.each_step(
                lambda grad, param: self._update(i, grad, param),
                reads=(grad,),
                changes=(param,),
                reads_anything=True,
            )

    def _count_step(self, lr: Array, step: Array) -> None:
        if self._changes:
            lr[0] = self._checked(self.schedule(int(step[0])))
        step[0] += 1

    def zero_grad(self) -> None:
        """Forget the gradients, before the next backward adds to them."""
        for param in self.params:
            param.grad = None
        if notes := recorder.recorder():
            notes.note_zeroed(self.params)

    def _update(self, i: int, grad: Array, param: Array) -> None:
        """Change the i-th parameter in place.

        A captured step calls this in Python at every replay. If all of it is calls of kernels,
        decorate it with @by_kernels: then the program makes these calls itself.
        """
        raise NotImplementedError

    def _remember(self, name: str) -> list[Array]:
        """What is kept from step to step: an array like each parameter, zero at first."""
        self._memory[name] = [arrays.zeros(param.shape, param.dtype) for param in self.params]
        return self._memory[name]

    def state_dict(self) -> dict[str, Tensor]:
        """What the optimiser remembers, in its own memory: the number of steps, "m.0", ..."""
        state = {"steps": wrap(self._step)}
        for name, memory in self._memory.items():
            state |= {f"{name}.{i}": wrap(array) for i, array in enumerate(memory)}
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state_dict.

        Raises DataError, with every name, if it isn't of such an optimiser; nothing is changed
        then.
        """
        checkpoint.copy_into(self._name, self.state_dict(), state)

    def state_arrays(self, names: Mapping[int, str]) -> Iterator[tuple[str, Array]]:
        """What the optimiser reads and remembers, by the names of parameters (by id) it is of."""
        yield "lr", self._lr
        yield "step", self._step
        for name, memory in self._memory.items():
            for i, (param, array) in enumerate(zip(self.params, memory, strict=False)):
                yield f"{names.get(id(param), f'param.{i}')}.{name}", array

    def _refuse(self, param: Tensor, grad: Tensor) -> None:
        """Say why a gradient, which somebody else has put there, isn't of the parameter's kind."""
        if grad.shape != param.shape:
            raise ShapeError(
                f"{self._name}: got grad of shape {grad.shape}; {param.shape} is needed"
            )
        if grad.dtype != param.dtype:
            raise DTypeError(f"{self._name}: got grad of {grad.dtype}; {param.dtype} is needed")

    def _check(self, name: str, number: float, below: float = math.inf) -> float:
        if not 0 <= number < below:
            limit = "" if below == math.inf else f", below {below:g},"
            raise SettingError(
                f"{self._name}: got {name}={number}; a number from 0 up{limit} is needed"
            )
        return number


class SGD(Optimizer):
    """Stochastic gradient descent: param = param - lr * g, g = grad + weight_decay * param.

    momentum: with it, velocity = momentum * velocity + g takes the place of g.
    nesterov: look ahead: g + momentum * velocity takes the place of velocity.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float | Schedule,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr)
        self.momentum = self._check("momentum", momentum, below=1)
        self.nesterov = nesterov
        self.weight_decay = self._check("weight_decay", weight_decay)
        if nesterov and not momentum:
            raise SettingError(
                "SGD: got nesterov=True without momentum; momentum above 0 is needed"
            )
        self._velocity = self._remember("velocity") if momentum else []

    @by_kernels
    def _update(self, i: int, grad: Array, param: Array) -> None:
        if not self.momentum:
            kernels.sgd(grad, self._lr, param, self.weight_decay)
            return
        settings = self.momentum, self.nesterov, self.weight_decay
        kernels.sgd_momentum(grad, self._lr, self._velocity[i], param, *settings)


class AdamW(Optimizer):
    """Adam with weight decay apart from the gradient (Loshchilov and Hutter, 2019).

    m = beta1 * m + (1 - beta1) * grad, v = beta2 * v + (1 - beta2) * grad^2, and at step t
    param -= lr * (m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon) + weight_decay * param).

    Epsilon stands where the paper (Kingma and Ba, 2015, algorithm 1) has it. TensorFlow adds its
    epsilon to sqrt(v) before v is corrected, which makes it larger by 1 / sqrt(1 - beta2^t).
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float | Schedule = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(params, lr)
        self.beta1 = self._check("beta1", beta1, below=1)
        self.beta2 = self._check("beta2", beta2, below=1)
        self.epsilon = self._check("epsilon", epsilon)
        self.weight_decay = self._check("weight_decay", weight_decay)
        self._m, self._v = self._remember("m"), self._remember("v")

    @by_kernels
    def _update(self, i: int, grad: Array, param: Array) -> None:
        settings = self.beta1, self.beta2, self.epsilon, self.weight_decay
        kernels.adam(grad, self._lr, self._step, self._m[i], self._v[i], param, *settings)


class Adam(AdamW):
    """Adam (Kingma and Ba, 2015): AdamW without weight decay."""

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float | Schedule = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
    ) -> None:
        super().__init__(params, lr, beta1, beta2, epsilon, weight_decay=0.0)


class RMSprop(Optimizer):
    """Steps measured by the gradients' recent size (Tieleman and Hinton, 2012).

    square = decay * square + (1 - decay) * grad^2; param -= lr * grad / (sqrt(square) + epsilon).
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float | Schedule = 0.001,
        decay: float = 0.9,
        epsilon: float = 1e-8,
    ) -> None:
        super().__init__(params, lr)
        self.decay = self._check("decay", decay, below=1)
        self.epsilon = self._check("epsilon", epsilon)
        self._square = self._remember("square")

    @by_kernels
    def _update(self, i: int, grad: Array, param: Array) -> None:
        kernels.rmsprop(grad, self._lr, self._square[i], param, self.decay, self.epsilon)


# Rates that change: functions from the number of steps made to the rate of the next ---------------


def _check_steps(name: str, steps: float) -> None:
    if not steps > 0:
        raise SettingError(f"{name}: got {steps} steps; a number above 0 is needed")


def constant(lr: float) -> Schedule:
    """The same rate always."""
    return _of_steps(lambda step: lr)


def exponential(floor: float, start: float, steps: float) -> Schedule:
    """floor + start * e^(-step / steps): the course's decay, from floor + start down to floor."""
    _check_steps("exponential", steps)
    return _of_steps(lambda step: floor + start * math.exp(-step / steps))


def stepwise(lr: float, every: int, factor: float = 0.1) -> Schedule:
    """lr * factor^(step // every): a drop every so many steps."""
    _check_steps("stepwise", every)
    return _of_steps(lambda step: lr * factor ** (step // every))


def cosine(lr: float, steps: int, floor: float = 0.0) -> Schedule:
    """Half a wave down from lr to the floor in so many steps, then the floor."""
    _check_steps("cosine", steps)

    def schedule(step: int) -> float:
        return floor + (lr - floor) * (1 + math.cos(math.pi * min(step / steps, 1))) / 2

    return _of_steps(schedule)


def warm_up(schedule: Schedule, steps: float) -> Schedule:
    """Another schedule, its rate growing evenly from almost 0 in the first steps."""
    _check_steps("warm_up", steps)

    def warmed_up(step: int) -> float:
        return schedule(step) * min((step + 1) / steps, 1)

    return _of_steps(warmed_up) if schedule in _OF_STEPS else warmed_up


# Gradients kept short ---------------------------------------------------------------------------


def clip_grad_norm(params: Iterable[Tensor], most: float) -> Tensor:
    """Scale all gradients by one factor, so that their common norm is at most this.

    params: tensors; those without a gradient are left out. most: above 0.

    Returns the norm before, sqrt(sum of all squares), as a float64 tensor of shape (). A norm that
    isn't finite leaves the gradients as they are.

    Raises SettingError for a limit that isn't above 0.
    """
    _check_most("clip_grad_norm", most)
    params = _listed("clip_grad_norm", params)
    with_grad = [(param, wrap(param.grad.array)) for param in params if param.grad is not None]
    total = Tensor(0.0, "float64")  # where the squares of float32 neither overflow nor vanish
    for _, grad in with_grad:
        total = total + ops.square(ops.cast(grad, "float64")).sum()
    norm = total.sqrt()
    too_long = ops.logical_and(norm > most, ops.isfinite(norm))
    factor = ops.where(too_long, most / ops.maximum(norm, most), 1.0)
    for param, grad in with_grad:
        param.grad = grad * ops.cast(factor, grad.dtype)
    return norm


def clip_grad_value(params: Iterable[Tensor], most: float) -> None:
    """Cut every number of the gradients off at -most and most.

    Raises SettingError for a limit that isn't above 0.
    """
    _check_most("clip_grad_value", most)
    for param in _listed("clip_grad_value", params):
        if param.grad is not None:
            param.grad = wrap(param.grad.array).clip(-most, most)


def _listed(name: str, params: Iterable[Tensor]) -> list[Tensor]:
    if isinstance(params, Tensor):  # whose rows, taken one by one, have no gradients
        raise NotSupported(f"{name}: got a tensor; a list of tensors is needed")
    if not isinstance(params, Iterable):
        raise NotSupported(f"{name}: got a {type(params).__name__}; a list of tensors is needed")
    return list(params)


def _check_most(name: str, most: float) -> None:
    if not most > 0:
        raise SettingError(f"{name}: got most={most}; a number above 0 is needed")
