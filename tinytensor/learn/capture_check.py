"""The check of the exercise `capture`: drawn steps, recorded and replayed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from tinytensor.arrays import Array
from tinytensor.learn import answer, rules
from tinytensor.learn.answer import AnswerError
from tinytensor.learn.case import JudgedCase, shown

DRAWN = 50
USED = 1e6  # what the caller writes into its arrays after a call
KERNELS = (np.add, np.subtract, np.multiply, np.arctan2)

Program = tuple[tuple[Any, int, int], ...]  # kernel, and the numbers of two earlier values


def cases(module: ModuleType, file: Path) -> Iterator[JudgedCase]:
    """Yield the cases for the student's module."""
    for name in ("call", "Captured"):
        if not callable(getattr(module, name, None)):
            raise AnswerError(f"{file.name} has no {name}")
    rng = np.random.default_rng(0)
    for i in range(DRAWN):
        program = _drawn(rng, 1 + i // 6)
        shapes = tuple(map(int, rng.integers(1, 2 + i // 8, 2)))
        yield JudgedCase(_title(program, shapes), True, _checked(module, file, program, shapes))
    yield JudgedCase("call without a recorded step", True, _outside(module, file))
    yield JudgedCase("a step that raises an error", True, _raising(module, file))


def _drawn(rng: np.random.Generator, length: int) -> Program:
    """Return a program: value 0 and 1 are the arguments, and each call makes the next value."""
    return tuple(
        (KERNELS[rng.integers(len(KERNELS))], i + 1, int(rng.integers(0, i + 2)))
        for i in range(length)
    )


def _title(program: Program, shape: tuple[int, ...]) -> str:
    names = "xyabcdefghijklm"
    calls = [
        f"{names[k]} = {kernel.__name__}({names[i]}, {names[j]})"
        for k, (kernel, i, j) in enumerate(program, start=2)
    ]
    return f"x, y {shape}; {'; '.join(calls)}"


def _result(program: Program, x: Array, y: Array) -> Array:
    values = [x, y]
    for kernel, i, j in program:
        values.append(kernel(values[i], values[j]))
    return values[-1]


def _checked(
    module: ModuleType, file: Path, program: Program, shape: tuple[int, ...]
) -> Callable[[], str | None]:
    def run() -> str | None:
        rng = np.random.default_rng(0)
        runs = 0

        def step(x: Array, y: Array) -> Array:
            nonlocal runs
            runs += 1
            values = [x, y]
            for kernel, i, j in program:
                values.append(np.empty_like(x))
                module.call(kernel, values[i], values[j], values[-1])
            return values[-1]

        fast = module.Captured(step)
        earlier: list[tuple[Array, Array]] = []
        theirs: list[Array] = []
        other = (shape[0] + 1, *shape[1:])
        for turn, (size, most_runs) in enumerate(
            ((shape, 1), (shape, 1), (shape, 1), (other, 2), (shape, 2), (other, 2)), start=1
        ):
            x, y = rng.standard_normal(size), rng.standard_normal(size)
            given = x.copy(), y.copy()
            expected = _result(program, x, y)
            got = fast(*given)
            where = f"call {turn}, of shape {size}: "
            inputs = shown("x", x) + shown("y", y)
            if not isinstance(got, np.ndarray):
                return f"{where}the result is {got!r}, no array{inputs}"
            if got.shape != expected.shape or not np.array_equal(got, expected):
                return (
                    f"{where}the result is wrong{inputs}"
                    f"{shown('expected', expected)}{shown('got', got)}"
                )
            if not (np.array_equal(given[0], x) and np.array_equal(given[1], y)):
                return f"{where}an argument was changed, which belongs to the caller"
            if runs > most_runs:
                return f"{where}the step ran {runs} times in Python; a replay does not run it"
            for array, before in earlier:
                if not np.array_equal(array, before):
                    return f"{where}it changed the result of an earlier call; return a copy"
            earlier.append((got, got.copy()))
            if any((array != USED).any() for array in theirs):
                return f"{where}it wrote into an argument of an earlier call; copy the arguments"
            for array in given:  # the caller uses its arrays for something else
                array[...] = USED
            theirs += given
        return None

    return _described(run, file)


def _outside(module: ModuleType, file: Path) -> Callable[[], str | None]:
    def run() -> str | None:
        out = np.zeros(2)
        module.call(np.add, np.ones(2), np.ones(2), out)
        return None if out.tolist() == [2, 2] else f"the kernel did not run: out is {out}"

    return _described(run, file)


def _raising(module: ModuleType, file: Path) -> Callable[[], str | None]:
    def run() -> str | None:
        def wrong(x: Array) -> Array:
            module.call(np.negative, x, np.empty_like(x))
            raise ZeroDivisionError

        try:
            module.Captured(wrong)(np.ones(1))
        except ZeroDivisionError:
            pass
        else:
            return "the error of the step was lost"
        if module.recording is not None:
            return "`recording` is still a list after the error; the next calls are recorded too"
        return None

    return _described(run, file)


def _described(run: Callable[[], str | None], file: Path) -> Callable[[], str | None]:
    """Return a function that returns an error of the student's code as text."""

    def described() -> str | None:
        try:
            with rules.enforced():
                return run()
        except BaseException as error:
            return answer.describe(error, file)

    return described
