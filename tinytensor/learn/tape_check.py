"""The check of the exercise `tape`: drawn computations, and 50 training steps of lesson 1.0.

The expected gradients are computed without a tape, by the complex step: for a tiny h, the imaginary
part of f(x + ih) / h is the derivative, without rounding errors.

Source: Squire and Trapp, "Using Complex Variables to Estimate Derivatives of Real Functions", 1998.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from tinytensor import datasets
from tinytensor.arrays import Array
from tinytensor.learn import answer, rules
from tinytensor.learn.answer import AnswerError
from tinytensor.learn.case import JudgedCase, differs, shown

DRAWN = 50
TINY = 1e-30  # the imaginary part of a complex step
DEEP = 3000  # additions of a deep computation
STEPS, BATCH, RATE = 50, 20, 0.5
TOLERANCE = 1e-9

# Each operation for arrays, and for the student's Values
OPERATIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "+": (lambda x, y: x + y, lambda x, y: x + y),
    "*": (lambda x, y: x * y, lambda x, y: x * y),
    "@": (lambda x, y: x @ y, lambda x, y: x @ y),
    "exp": (np.exp, lambda x: x.exp()),
    "log": (np.log, lambda x: x.log()),
    "sum": (lambda x: x.sum(axis=-1, keepdims=True), lambda x: x.sum()),
}


class Operation(NamedTuple):
    """An operation on one or two earlier values of a computation."""

    name: str
    operands: tuple[int, ...]


class Computation(NamedTuple):
    """Inputs a, b, c, ... and operations; the last value is the result."""

    inputs: tuple[Array, ...]
    operations: tuple[Operation, ...]

    def __str__(self) -> str:
        names = "abcdefghijklmnopqrstuvwxyz"
        parts = [f"{names[i]} {array.shape}" for i, array in enumerate(self.inputs)]
        for i, (name, operands) in enumerate(self.operations, start=len(self.inputs)):
            used = [names[j] for j in operands]
            parts.append(
                f"{names[i]} = {used[0]} {name} {used[1]}"
                if len(used) == 2
                else f"{names[i]} = {used[0]}.{name}()"
            )
        return "; ".join(parts)

    def result(self, *inputs: Any, of_values: bool = False) -> Any:
        """Return the last value for these inputs, which are arrays or the student's Values."""
        values = list(inputs)
        for name, operands in self.operations:
            values.append(OPERATIONS[name][of_values](*(values[i] for i in operands)))
        return values[-1]

    def gradients(self) -> list[Array]:
        """Return the gradient of the sum of the result by each input, by complex steps."""
        found = []
        for i, array in enumerate(self.inputs):
            grad = np.zeros(array.shape)
            for place in np.ndindex(array.shape):
                moved = [each.astype(complex) for each in self.inputs]
                moved[i][place] += TINY * 1j
                grad[place] = self.result(*moved).sum().imag / TINY
            found.append(grad)
        return found


def cases(module: ModuleType, file: Path) -> Iterator[JudgedCase]:
    """Yield the cases for the student's module."""
    if not isinstance(getattr(module, "Value", None), type):
        raise AnswerError(f"{file.name} has no class Value")
    for computation in computations():
        yield JudgedCase(str(computation), True, _checked(module, file, computation))
    yield JudgedCase(f"{DEEP:,} additions after each other", True, _deep(module, file))
    yield JudgedCase(f"the first {STEPS} losses of lesson 1.0", True, _lesson(module, file))


def computations() -> Iterator[Computation]:
    """Yield one computation for each operation, some with a value used twice, and drawn ones."""
    rng = np.random.default_rng(0)
    row, matrix = rng.standard_normal(2), rng.standard_normal((2, 2))
    positive = np.exp(row)
    for inputs, operations in (
        ((row, row[:1]), (("*", (0, 1)),)),
        ((row[:1], row), (("*", (0, 1)),)),
        ((row, row + 1), (("+", (0, 1)),)),
        ((row,), (("exp", (0,)),)),
        ((positive,), (("log", (0,)),)),
        ((row,), (("sum", (0,)),)),
        ((matrix[:1], matrix), (("@", (0, 1)),)),
        ((row,), (("*", (0, 0)),)),
        ((row,), (("+", (0, 0)),)),
        ((row,), (("exp", (0,)), ("*", (0, 1)), ("+", (1, 2)), ("*", (3, 1)))),
        ((matrix, row), (("+", (0, 1)), ("@", (2, 0)))),
    ):
        yield Computation(inputs, tuple(Operation(*each) for each in operations))
    for i in range(DRAWN):
        yield _drawn(rng, 2 + i // 6)


def _drawn(rng: np.random.Generator, length: int) -> Computation:
    """Return a computation of `length` drawn operations; each value stays below 20."""
    R, C, D = rng.integers(1, 4, 3)
    shapes = ((R, C), (C,), (C, D), (1, C))
    inputs = tuple(0.5 * rng.standard_normal(shape) for shape in shapes)
    values = list(inputs)
    operations: list[Operation] = []
    while len(operations) < length:
        name = str(rng.choice(list(OPERATIONS)))
        recent = rng.integers(max(len(values) - 3, 0), len(values))
        operands = (recent, rng.integers(len(values))) if name in "+*@" else (recent,)
        used = [values[i] for i in operands]
        if name == "log" and used[0].min() < 0.1:
            continue
        if name == "@" and any(array.ndim != 2 for array in used):
            continue
        try:
            value = OPERATIONS[name][0](*used)
        except ValueError:  # the shapes don't fit
            continue
        if np.abs(value).max() < 20:
            values.append(value)
            operations.append(Operation(name, tuple(int(i) for i in operands)))
    return Computation(inputs, tuple(operations))


def _checked(module: ModuleType, file: Path, computation: Computation) -> Callable[[], str | None]:
    def run() -> str | None:
        shown_inputs = "".join(
            shown("abcdefgh"[i], array) for i, array in enumerate(computation.inputs)
        )
        try:
            with rules.enforced():
                inputs = [module.Value(array.copy()) for array in computation.inputs]
                result = computation.result(*inputs, of_values=True)
                result.backward()
            data = np.asarray(result.data, np.float64)
            grads = [np.asarray(each.grad, np.float64) for each in inputs]
        except BaseException as error:
            return answer.describe(error, file) + shown_inputs
        expected = [computation.result(*computation.inputs), *computation.gradients()]
        names = ["the result", *(f"the gradient of {'abcdefgh'[i]}" for i in range(len(grads)))]
        for name, right, got in zip(names, expected, [data, *grads], strict=True):
            if right.shape != got.shape or differs(got, right, 1 + np.abs(right), TOLERANCE).any():
                return f"{name} is wrong{shown_inputs}{shown('expected', right)}{shown('got', got)}"
        return None

    return run


def _deep(module: ModuleType, file: Path) -> Callable[[], str | None]:
    def run() -> str | None:
        try:
            with rules.enforced():
                x = module.Value([1.0])
                total = x
                for _ in range(DEEP):
                    total = total + x
                total.backward()
            grad = float(x.grad[0])
        except BaseException as error:
            return answer.describe(error, file)
        if grad != DEEP + 1:
            return f"the gradient is wrong: expected {DEEP + 1}, got {grad:g}"
        return None

    return run


def _lesson(module: ModuleType, file: Path) -> Callable[[], str | None]:
    def run() -> str | None:
        data = datasets.mnist()
        images = data.train_images[: STEPS * BATCH].reshape(STEPS, BATCH, 784) / 255
        labels = np.eye(10)[data.train_labels[: STEPS * BATCH]].reshape(STEPS, BATCH, 10)
        weight, bias = np.zeros((784, 10)), np.zeros(10)
        theirs = [weight.copy(), bias.copy()]
        for step in range(STEPS):
            loss, *grads = _step(images[step], labels[step], weight, bias)
            try:
                with rules.enforced():
                    got, *their_grads = _step_of(module, images[step], labels[step], *theirs)
            except BaseException as error:
                return answer.describe(error, file)
            if not abs(got - loss) <= TOLERANCE:
                return f"the loss of step {step + 1} is wrong: expected {loss:.6f}, got {got:.6f}"
            weight, bias = weight - RATE * grads[0], bias - RATE * grads[1]
            theirs = [p - RATE * g for p, g in zip(theirs, their_grads, strict=True)]
        return None

    return run


def _step(x: Array, labels: Array, weight: Array, bias: Array) -> tuple[float, Array, Array]:
    """Return the mean loss of a batch, and the gradients by the weights and the biases."""
    logits = x @ weight + bias
    powers = np.exp(logits - logits.max())
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    grad = (probabilities - labels) / len(x)
    loss = -np.log((probabilities * labels).sum(axis=1)).mean()
    return float(loss), x.T @ grad, grad.sum(axis=0)


def _step_of(
    module: ModuleType, x: Array, labels: Array, weight: Array, bias: Array
) -> tuple[float, Array, Array]:
    """Return the same, computed with the student's Values."""
    value = module.Value
    w, b = value(weight), value(bias)
    logits = value(x) @ w + b
    logits = logits + value(-logits.data.max())  # a constant, against overflow
    losses = logits.exp().sum().log() + (logits * value(labels)).sum() * value(-1.0)
    loss = losses * value(1 / len(x))
    loss.backward()
    return float(np.sum(loss.data)), np.asarray(w.grad), np.asarray(b.grad)
