"""A program as a table of its calls, with names for memory and the work of each call.

    forward  layers.1: Linear
      1  matmul       1.57 M    349 k
           images (100,784), layers.1.weight (784,10) -> t0 (100,10)

The calls are grouped by the part of the step and by the layer, or outside of a layer by the line of
the user's code. The arrays that a call reads are left of the arrow; the arrays that it writes or
changes are right of it.
"""

from __future__ import annotations

import inspect
import math
import statistics
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from tinytensor import nn, random
from tinytensor.arrays import Array, root
from tinytensor.capture import listing_html
from tinytensor.capture.arguments import names_of
from tinytensor.door import CONTRACTS
from tinytensor.tensors import Tensor

if TYPE_CHECKING:
    from tinytensor.capture.calls import Call
    from tinytensor.capture.memory import Buffer, View
    from tinytensor.capture.program import Program

WIDTH = 80

# The work of a call -----------------------------------------------------------------------------


def flops(call: Call) -> int:
    """Return the arithmetic operations of a call, as its stub in kernels.py declares them."""
    contract = CONTRACTS[call.kernel]
    shapes = tuple(call.views[i].shape for i in range(len(contract.arrays)))
    if callable(contract.operations):
        return contract.operations(shapes)
    if contract.gathers:
        shapes = shapes[-1:]
    return contract.operations * max(map(math.prod, shapes))


def bytes_moved(call: Call) -> int:
    """Return the bytes that a call reads and writes, if it reads or writes each array once."""
    views = [*call.reads, *call.writes]
    sizes = [math.prod(view.shape) for view in views]
    if CONTRACTS[call.kernel].gathers:
        sizes[0] = sizes[-1]
    return sum(size * view.dtype.itemsize for size, view in zip(sizes, views, strict=True))


# Names ------------------------------------------------------------------------------------------


def variables(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the variables a function refers to and its object's attributes, only to show names."""
    owner = getattr(function, "__self__", None)
    function = getattr(function, "__func__", function)
    code = getattr(function, "__code__", None)
    if code is None:
        return {}
    around = getattr(function, "__globals__", {})
    found = {name: around[name] for name in code.co_names if name in around}
    found |= vars(owner) if hasattr(owner, "__dict__") else {}
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # a variable that is assigned later
            found[name] = cell.cell_contents
    return found


def argument_names(function: Callable[..., Any], count: int) -> list[str]:
    """Return the names of a function's first `count` arguments."""
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


def name_buffers(program: Program, buffers: Sequence[Buffer], function: Callable[..., Any]) -> None:
    """Name a program's buffers after the variables of the function and its models."""
    found = dict(_named_arrays(variables(function), program))
    names = {id(root(array)): name for name, array in reversed(list(found.items()))}
    arguments = names_of(program.key.form, argument_names(function, len(program.key.form)))
    for own, name in zip(program.inputs, arguments, strict=False):
        names[id(own)] = name
    for leaf, grad in program.gradients():
        owner = names.get(id(root(leaf.array)))
        if owner is not None and grad is not None:
            names.setdefault(id(root(grad.array)), f"{owner}.grad")
    counts: dict[str, int] = {}
    for buffer in buffers:
        if buffer.array is not None and id(buffer.array) in names:
            buffer.name = names[id(buffer.array)]
        elif buffer.kind == "constant" and buffer.size == 1:
            buffer.name = str(buffer.array).strip("[]")
        else:
            letter = "t" if buffer.kind == "kept" else buffer.kind[0]
            counts[letter] = counts.get(letter, -1) + 1
            buffer.name = f"{letter}{counts[letter]}"


def _named_arrays(values: Mapping[str, Any], program: Program) -> Iterator[tuple[str, Array]]:
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
    for optimizer in program.optimizers:
        for name, array in optimizer.state_arrays(params):
            yield name, array
    for module in program.modules:  # that no variable holds, such as a module in a list
        for path, x in module.named_tensors(f"{type(module).__name__}."):
            yield path, x.array
    yield "random", random.state()


# The table --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A call in the table."""

    number: int
    kernel: str
    by_numpy: bool
    part: str
    place: str  # the layer, or the line of the user's code
    memory: str  # "reads -> writes"; a name has no spaces, so that no line breaks inside it
    numbers: tuple[str, ...]  # one for each heading of the listing
    share: float | None  # the least possible time, divided by the measured time; None if unknown


@dataclass(frozen=True)
class Listing:
    """The table of a program, to be shown as text or as HTML."""

    summary: tuple[str, ...]
    headings: tuple[str, ...]  # of the rows' numbers
    rows: tuple[Row, ...]
    notes: tuple[str, ...]  # below the table

    def groups(self) -> Iterator[tuple[tuple[str, str], Iterator[Row]]]:
        """Yield each part and place with its consecutive rows."""
        return groupby(self.rows, lambda row: (row.part, row.place))

    def text(self) -> str:
        """Return plain text, 80 columns wide unless a name is longer than a line."""
        kernel_width = max((len(row.kernel) for row in self.rows), default=0)
        number_width = len(str(len(self.rows))) + 2
        head = number_width + kernel_width + 2

        lines = [*_wrapped(self.summary), "", f"{'':{head}}{_columns(self.headings)}"]
        for (part, place), rows in self.groups():
            lines.append(f"{part}  {place}".rstrip())
            for row in rows:
                star = "*" if row.by_numpy else " "
                number = f"{row.number:>{number_width}}{star} {row.kernel}"
                lines.append(f"{number:{head}}{_columns(row.numbers)}".rstrip())
                lines += _wrapped([row.memory], " " * (number_width + 4))
        lines += _wrapped(self.notes)
        return "\n".join(lines).replace("\N{NO-BREAK SPACE}", " ")


def listed(program: Program, profile: Profile | None = None) -> Listing:
    """Return the table of a program, with measured times if there is a profile."""
    headings = ["FLOP", "bytes"]
    numbers = [[_short(flops(c)), _short(bytes_moved(c))] for c in program.calls]
    shares: list[float | None] = [None] * len(program.calls)
    notes: tuple[str, ...] = ()
    if profile is not None:
        headings += ["us", "GFLOP/s", "share"]
        if profile.bounds:
            pairs = zip(profile.bounds, profile.microseconds, strict=True)
            shares = [bound / time_taken if time_taken else None for bound, time_taken in pairs]
        columns = zip(numbers, program.calls, profile.microseconds, shares, strict=True)
        for row, call, time_taken, share in columns:
            rate = flops(call) / time_taken / 1000 if time_taken else 0.0
            row += [f"{time_taken:.1f}", f"{rate:.1f}", "" if share is None else f"{share:.0%}"]
        notes = tuple(_of_the_step(profile))
    rows = tuple(
        Row(
            number=i,
            kernel=call.kernel,
            by_numpy=call in program.by_numpy,
            part=call.part,
            place=str(call.place),
            memory=_reads_and_writes(call),
            numbers=tuple(some),
            share=share,
        )
        for i, (call, some, share) in enumerate(zip(program.calls, numbers, shares, strict=True), 1)
    )
    return Listing(tuple(_summary(program)), tuple(headings), rows, notes)


def _columns(texts: Iterable[str]) -> str:
    return "".join(f"{text:>9}" for text in texts)


def _wrapped(texts: Iterable[str], indent: str = "") -> Iterator[str]:
    """Yield lines of at most WIDTH columns; the second line of a text is indented further."""
    for text in texts:
        yield from textwrap.wrap(
            text, WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  ",
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip


def _summary(program: Program) -> Iterator[str]:
    calls = program.calls
    parts = [call.part.split(" ")[0] for call in calls]
    counts = ", ".join(
        f"{parts.count(part)} {part}" for part in ("forward", "backward", "update") if part in parts
    )
    yield f"{program.name}: {len(calls)} calls ({counts})"
    yield (
        f"{_short(sum(map(flops, calls)))} FLOP, {_short(sum(map(bytes_moved, calls)))} bytes read "
        "and written"
    )
    yield f"on {program.key.backend.name}, {_how(program)}"
    if program.threads and (trials := str(program.threads)):
        yield trials
    if any(call.kernel == "sparse_matmul" for call in calls):
        yield "sparse_matmul: FLOP counts the products with 0, too, which it may skip"
    exchanges = [f.exchanged_bytes for f in program.functions if f.exchanged_bytes]
    if exchanges:
        sizes = ", ".join(f"{each:,}" for each in exchanges)
        yield f"exchanged with the other chunks of the batch: {sizes} bytes, in this order"
    if program.rewrites:
        saved = len(program.calls_before) - len(calls)
        yield f"rewritten by {', '.join(program.rewrites)}: {saved} of the recorded calls saved"
    yield (
        f"temporaries: {_short(program.peak)} bytes, because they share memory; "
        f"{_short(program.unplanned)} otherwise"
    )


def _how(program: Program) -> str:
    if program.is_one_call:
        how = "all calls made by one call of C"
    elif program.by_numpy:
        how = "in groups of calls, because NumPy computes the calls with a star"
    else:
        how = "call by call"
    if functions := [f for f in program.functions if not f.exchanged_bytes]:
        how += f"; {len(functions)} Python functions check labels or compute learning rates"
    return how


def _reads_and_writes(call: Call) -> str:
    changed = {view.buffer for view in call.writes}
    reads = [_name_and_shape(view) for view in call.reads if view.buffer not in changed]
    writes = [_name_and_shape(view) for view in call.writes]
    return f"{', '.join(reads)} -> {', '.join(writes)}".strip()


def _name_and_shape(view: View) -> str:
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
    """The measured time of each call of a program; print shows it as a table.

    microseconds: the time of each call. bounds: the least time that it can take on this machine,
    see machine.py; empty if that can't be measured, with the reason in `unknown`.
    """

    program: Program
    microseconds: tuple[float, ...]
    bounds: tuple[float, ...]
    unknown: str = ""

    @property
    def share(self) -> float | None:
        """The least possible time of the step by its time; None if the bounds are unknown."""
        time_taken = sum(self.microseconds)
        return sum(self.bounds) / time_taken if self.bounds and time_taken else None

    def __str__(self) -> str:
        return listed(self.program, self).text()

    def to_html(self) -> str:
        """Return a table in HTML with a bar for each share; it needs no other files."""
        return listing_html.fragment(listed(self.program, self))

    def _repr_html_(self) -> str:
        return self.to_html()


def _of_the_step(profile: Profile) -> Iterator[str]:
    yield f"{sum(profile.microseconds):.1f} us a step, each call timed separately"
    if profile.share is not None:
        yield (
            "share: the least time that this machine could take, divided by the measured time; "
            f"whole step {profile.share:.0%}"
        )
    elif profile.unknown:
        yield f"share: unknown, because the C backend measures the machine; {profile.unknown}"


def measure(runs: Sequence[tuple[bool, Callable[[], None]]], repeats: int) -> tuple[float, ...]:
    """Return the median time of each run that is a call, in `repeats` replays, in microseconds."""
    times: list[list[float]] = []
    for _ in range(repeats):
        times.append([])
        for is_call, run in runs:
            start = time.perf_counter()
            run()
            if is_call:
                times[-1].append((time.perf_counter() - start) * 1e6)
    return tuple(statistics.median(column) for column in zip(*times, strict=True))
