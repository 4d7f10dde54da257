"""The update of one weight in numbers: the formulas of the optimiser, line by line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from tinytensor.optim import SGD, Adam, AdamW, Optimizer, RMSprop
from tinytensor.tensors import Tensor


class Updated(NamedTuple):
    """The values that an update of a weight reads.

    w, grad, lr: the weight before, its gradient, and the learning rate. decay: the weight decay.
    t: the number of the step, from 1. before, after: the values that the optimiser keeps for the
    weight, by name.
    """

    w: float
    grad: float
    lr: float
    decay: float
    t: int
    before: dict[str, float]
    after: dict[str, float]


Rule = Callable[[Any, Updated], list[str]]


def state_of(optimizer: Optimizer, weight: Tensor, index: tuple[int, ...]) -> dict[str, float]:
    """Return the values that the optimiser keeps for an element by name, such as "velocity"."""
    place = next((i for i, x in enumerate(optimizer.params) if x is weight), None)
    found = {}
    for key, x in optimizer.state_dict().items():
        name, _, number = key.partition(".")
        if number == str(place) and name != "lr":  # "lr.0" is the learning rate of a group
            found[name] = float(x.array[index])
    return found


def rule_of(
    optimizer: Optimizer,
    weight: Tensor,
    index: tuple[int, ...],
    w: float,
    grad: float,
    before: dict[str, float],
) -> tuple[str, ...]:
    """Return the last update of an element in numbers: a line for each formula.

    Args:
        optimizer: after the step.
        weight, index: the parameter, and the place of the element.
        w, grad: the element before the step, and its gradient.
        before: the result of state_of before the step.
    """
    groups = optimizer.param_groups
    group = next((x for x in groups if any(p is weight for p in x["params"])), None)
    if group is None:
        return ("the optimiser does not have this weight, so it stays",)
    lr, decay = float(group.rate[0]), 0.0
    if "weight_decay" in group:
        decay = float(group["weight_decay"])
    if type(optimizer) not in RULES:
        return (f"by {type(optimizer).__name__}, with lr = {_n(lr)}",)
    after = state_of(optimizer, weight, index)
    updated = Updated(w, grad, lr, decay, optimizer.steps, before, after)
    return tuple(RULES[type(optimizer)](optimizer, updated))


def _n(x: float) -> str:
    """A number with six digits, as the microscope shows all numbers."""
    return f"{x:.6g}"


def _decayed(u: Updated) -> tuple[str, float, list[str]]:
    """The gradient with the L2 penalty: its name, its value, and its line if there is a penalty."""
    if not u.decay:
        return "grad", u.grad, []
    g = u.grad + u.decay * u.w
    line = f"g = grad + weight_decay * w = {_n(u.grad)} + {_n(u.decay)} * {_n(u.w)} = {_n(g)}"
    return "g", g, [line]


def _sgd(optimizer: SGD, u: Updated) -> list[str]:
    name, g, lines = _decayed(u)
    if not optimizer.momentum:
        return [*lines, f"w - lr * {name} = {_n(u.w)} - {_n(u.lr)} * {_n(g)}"]
    momentum, velocity = optimizer.momentum, u.after["velocity"]
    lines.append(
        f"velocity = momentum * velocity + {name} = {_n(momentum)} * {_n(u.before['velocity'])} + "
        f"{_n(g)} = {_n(velocity)}"
    )
    if optimizer.nesterov:
        step = f"({name} + momentum * velocity)"
        numbers = f"({_n(g)} + {_n(momentum)} * {_n(velocity)})"
    else:
        step, numbers = "velocity", _n(velocity)
    return [*lines, f"w - lr * {step} = {_n(u.w)} - {_n(u.lr)} * {numbers}"]


def _adam(optimizer: AdamW, u: Updated) -> list[str]:
    beta1, beta2, before = optimizer.beta1, optimizer.beta2, u.before
    m, v = u.after["m"], u.after["v"]
    m_hat, v_hat = m / (1 - beta1**u.t), v / (1 - beta2**u.t)
    step = "m_hat / (sqrt(v_hat) + epsilon)"
    numbers = f"{_n(m_hat)} / (sqrt({_n(v_hat)}) + {_n(optimizer.epsilon)})"
    if u.decay:
        step = f"({step} + weight_decay * w)"
        numbers = f"({numbers} + {_n(u.decay)} * {_n(u.w)})"
    return [
        f"m = beta1 * m + (1 - beta1) * grad = {_n(beta1)} * {_n(before['m'])} + "
        f"{_n(1 - beta1)} * {_n(u.grad)} = {_n(m)}",
        f"v = beta2 * v + (1 - beta2) * grad^2 = {_n(beta2)} * {_n(before['v'])} + "
        f"{_n(1 - beta2)} * ({_n(u.grad)})^2 = {_n(v)}",
        f"m_hat = m / (1 - beta1^t) = {_n(m)} / (1 - {_n(beta1)}^{u.t}) = {_n(m_hat)}",
        f"v_hat = v / (1 - beta2^t) = {_n(v)} / (1 - {_n(beta2)}^{u.t}) = {_n(v_hat)}",
        f"w - lr * {step} = {_n(u.w)} - {_n(u.lr)} * {numbers}",
    ]


def _rmsprop(optimizer: RMSprop, u: Updated) -> list[str]:
    decay, square = optimizer.decay, u.after["square"]
    return [
        f"square = decay * square + (1 - decay) * grad^2 = {_n(decay)} * "
        f"{_n(u.before['square'])} + {_n(1 - decay)} * ({_n(u.grad)})^2 = {_n(square)}",
        f"w - lr * grad / (sqrt(square) + epsilon) = {_n(u.w)} - {_n(u.lr)} * {_n(u.grad)} / "
        f"(sqrt({_n(square)}) + {_n(optimizer.epsilon)})",
    ]


RULES: dict[type[Optimizer], Rule] = {SGD: _sgd, Adam: _adam, AdamW: _adam, RMSprop: _rmsprop}
