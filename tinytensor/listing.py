"""A program to be read: its calls as a table, with names for memory and the work of each call.

    forward  mnist_1_0_softmax.py:48
      1  matmul    images (100,784), weight (784,10) -> t0 (100,10)      1.57 M     349 k

A call stands under the part of the step and the line of the user's code that it is of. What it
reads stands left of the arrow, what it writes or changes right of it.
"""

from __future__ import annotations

import inspect
import math
import statistics
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from tinytensor import nn, optim, random, recording
from tinytensor.kernels import Array
from tinytensor.tensor import Tensor

if TYPE_CHECKING:
    from tinytensor.buffers import View
    from tinytensor.program import Call, Program

WIDTH = 100

# The work of a call -----------------------------------------------------------------------------

# Operations for each number of the largest array; a root, e^x or comparison counts as one, too.
OPERATIONS = {
    "cast": 0, "take": 0, "put": 0, "concat": 0, "transpose": 0, "broadcast_to": 0, "one_hot": 0,
    "sigmoid": 3, "tanh": 5, "add_relu": 2, "softmax": 4, "log_softmax": 4,
    "cross_entropy": 4, "softmax_backward": 4, "log_softmax_backward": 4,
    "cross_entropy_backward": 5, "moments": 4, "normalize": 4, "batch_norm_backward": 10,
    "sgd": 4, "sgd_momentum": 6, "adam": 16, "rmsprop": 9, "moving_average": 3,
}  # fmt: skip
GATHERS = ("take", "load_images")  # (x, index, out): of x they read the chosen rows only


def flops(call: Call) -> int:
    """Multiplications, additions and the like, as the formula in kernels.py has them."""
    shapes = [view.shape for view in (*call.reads, *call.writes)]
    if call.kernel == "matmul":
        x, _, out = shapes
        return 2 * math.prod(x) * out[-1]
    if call.kernel in ("conv2d", "conv2d_grad_x", "conv2d_grad_weight"):
        # Each weight meets each place of the result: the images come first, but in grad_x.
        images, others, out = shapes
        weight = out if call.kernel == "conv2d_grad_weight" else others
        results = {"conv2d": out, "conv2d_grad_x": images, "conv2d_grad_weight": others}
        return 2 * math.prod(weight) * math.prod(results[call.kernel][:3])
    if call.kernel in GATHERS:
        shapes = shapes[-1:]
    return OPERATIONS.get(call.kernel, 1) * max(map(math.prod, shapes))


def bytes_moved(call: Call) -> int:
    """What is read and written, as if each array were so once."""
    views = [*call.reads, *call.writes]
    sizes = [math.prod(view.shape) for view in views]
    if call.kernel in GATHERS:
        sizes[0] = sizes[-1]
    return sum(size * view.dtype.itemsize for size, view in zip(sizes, views, strict=True))


# Names ------------------------------------------------------------------------------------------


def variables(function: Callable[..., Any]) -> dict[str, Any]:
    """What a function uses of others: variables outside of it, attributes of its object."""
    owner = getattr(function, "__self__", None)
    function = getattr(function, "__func__", function)
    if not inspect.isfunction(function):
        return {}
    used = inspect.getclosurevars(function)
    attributes = vars(owner) if hasattr(owner, "__dict__") else {}
    return {**used.globals, **attributes, **used.nonlocals}


def argument_names(function: Callable[..., Any], count: int) -> list[str]:
    """The names of a function's first arguments."""
    names: list[str] = []
    try:
        for parameter in inspect.signature(function).parameters.values():
            if parameter.kind is parameter.VAR_POSITIONAL:
                names += [f"{parameter.name}{i}" for i in range(count)]
            else:
                names.append(parameter.name)
    except (TypeError, ValueError):  # written in C
        pass
    return (names + [f"argument{i}" for i in range(len(names), count)])[:count]


def name_buffers(program: Program, function: Callable[..., Any]) -> None:
    """Give a program's buffers the names that the function and its models have for them."""
    found = dict(_named_arrays(variables(function), program.optimizers))
    names = {id(recording.memory(array)): name for name, array in reversed(list(found.items()))}
    for own, name in zip(program.inputs, argument_names(function, 99), strict=False):
        names[id(own)] = name
    for leaf, grad in program.gradients():
        owner = names.get(id(recording.memory(leaf.array)))
        if owner is not None and grad is not None:
            names.setdefault(id(recording.memory(grad.array)), f"{owner}.grad")
    counts: dict[str, int] = {}
    for buffer in program.buffers:
        if buffer.array is not None and id(buffer.array) in names:
            buffer.name = names[id(buffer.array)]
        elif buffer.kind == "constant" and buffer.size == 1:
            buffer.name = f"{buffer.array}".strip("[]")
        else:
            letter = "t" if buffer.kind == "kept" else buffer.kind[0]
            counts[letter] = counts.get(letter, -1) + 1
            buffer.name = f"{letter}{counts[letter]}"


def _named_arrays(
    values: Mapping[str, Any], optimizers: Iterable[optim.Optimizer]
) -> Iterator[tuple[str, Array]]:
    models: dict[str, nn.Module] = {}
    for name, value in values.items():
        if isinstance(value, nn.Module) and not any(value is model for model in models.values()):
            models[name] = value
    for name, model in models.items():
        for path, x in model.named_tensors("" if len(models) == 1 else f"{name}."):
            yield path, x.array
    for name, value in values.items():
        if isinstance(value, Tensor):
            yield name, value.array
        elif isinstance(value, np.ndarray):
            yield name, value
    params = {id(x): n for model in models.values() for n, x in model.named_parameters()}
    for optimizer in optimizers:
        for name, array in optimizer.state_arrays(params):
            yield name, array
    yield "random", random.state()


# The table --------------------------------------------------------------------------------------


def table(program: Program, microseconds: Sequence[float] | None = None) -> str:
    """The program as a table, and with measured times if there are some."""
    numbers = [["FLOP", "bytes"]] + [
        [_short(flops(c)), _short(bytes_moved(c))] for c in program.calls
    ]
    if microseconds is not None:
        numbers[0] += ["us", "GFLOP/s"]
        for row, call, time_taken in zip(numbers[1:], program.calls, microseconds, strict=True):
            rate = flops(call) / time_taken / 1000 if time_taken else 0.0
            row += [f"{time_taken:.1f}", f"{rate:.1f}"]
    tails = ["".join(f"{text:>9}" for text in row) for row in numbers]
    kernel_width = max((len(call.kernel) for call in program.calls), default=0)
    head = len(str(len(program.calls))) + kernel_width + 6
    width = WIDTH - head - len(tails[0])

    lines = [*_summary(program), "", f"{'':{head}}{'reads -> writes':{width}}{tails[0]}"]
    rows = list(zip(range(1, len(tails)), program.calls, tails[1:], strict=True))
    for (part, line), group in groupby(rows, lambda row: (row[1].part, row[1].line)):
        lines.append(f"{part}  {line}".rstrip())
        for i, call, tail in group:
            first, *more = textwrap.wrap(_reads_and_writes(call), width - 1, break_long_words=False)
            star = "*" if call in program.by_numpy else " "
            number = f"{i:>{head - kernel_width - 4}}{star} {call.kernel}"
            lines.append(f"{number:{head}}{first:{width}}{tail}")
            lines += [" " * (head + 2) + text for text in more]
    return "\n".join(lines).replace("\N{NO-BREAK SPACE}", " ")


def _summary(program: Program) -> Iterator[str]:
    calls = program.calls
    parts = [call.part.split(" ")[0] for call in calls]
    counts = ", ".join(
        f"{parts.count(part)} {part}" for part in ("forward", "backward", "update") if part in parts
    )
    yield (
        f"{program.name}: {len(calls)} calls ({counts}), {_short(sum(map(flops, calls)))} FLOP, "
        f"{_short(sum(map(bytes_moved, calls)))} bytes read and written"
    )
    yield f"on {program.key.backend.name}, {_how(program)}"
    if before := len(program.calls_before) - len(calls):
        yield f"rewritten by {', '.join(program.rewrites)}: {before} of the recorded calls saved"
    yield (
        f"temporaries: {_short(program.unplanned)} bytes, each by itself; {_short(program.peak)} "
        "as they share memory"
    )


def _how(program: Program) -> str:
    if program.is_one_call:
        how = "all of it in one call"
    elif program.by_numpy:
        how = "in pieces, for NumPy computes what has a star"
    else:
        how = "call by call"
    if functions := program.functions:
        how += f"; checks and rates by {len(functions)} functions of Python"
    return how


def _reads_and_writes(call: Call) -> str:
    changed = {view.buffer for view in call.writes}
    reads = [_told(view) for view in call.reads if view.buffer not in changed]
    return f"{', '.join(reads)} -> {', '.join(map(_told, call.writes))}".strip()


def _told(view: View) -> str:
    if view.buffer.kind == "constant" and view.buffer.size == 1:
        return view.buffer.name
    # no space at which the line could be broken
    return f"{view.buffer.name}\N{NO-BREAK SPACE}({','.join(map(str, view.shape))})"


def _short(number: float) -> str:
    for unit in ("", " k", " M", " G"):
        if number < 1000 or unit == " G":
            break
        number /= 1000
    return f"{number:.3g}{unit}" if unit else f"{number:.0f}"


# Measured times ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Profile:
    """How long each call of a program takes, in microseconds; printed, the program with them."""

    program: Program
    microseconds: tuple[float, ...]

    def __str__(self) -> str:
        total = f"{sum(self.microseconds):.1f} us a step, each call timed by itself"
        return f"{table(self.program, self.microseconds)}\n{total}"


def measure(
    program: Program, runs: Sequence[tuple[bool, Callable[[], None]]], repeats: int
) -> Profile:
    """The median time of each run that is a call, in so many replays."""
    times: list[list[float]] = []
    for _ in range(repeats):
        times.append([])
        for is_call, run in runs:
            start = time.perf_counter()
            run()
            if is_call:
                times[-1].append((time.perf_counter() - start) * 1e6)
    medians = tuple(statistics.median(column) for column in zip(*times, strict=True))
    return Profile(program, medians)
