"""Programs for WebAssembly: kernel calls with addresses in one block of memory.

The C backend lowers each call to a C function and its arguments. Here each pointer among them is
replaced by the address of the same array in the block, in bytes from the start of the block. The
calls are written in JavaScript, where 100n is a 64-bit integer:

    kernels.tt_matmul(start + 640, start + 0, ..., 100n, 784n, ...);
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinytensor.arrays import CACHE_LINE, Array, address, root
from tinytensor.capture.calls import Call, Function
from tinytensor.capture.captured import capture
from tinytensor.capture.memory import View
from tinytensor.capture.program import Program
from tinytensor.door import CONTRACTS
from tinytensor.errors import NotSupported

STORED = ("outside", "constant")  # the kinds of buffers whose values a step finds


def recorded(caller: str, function: Callable[..., Any], *arguments: Array) -> Program:
    """Return the program of a function. Afterwards all tensors have the values from before.

    The function runs twice, and both recordings must be equal.

    caller: the start of an error message.

    Raises:
        NotSupported: the recordings differ, or each step of the program needs NumPy, other Python,
            or gradients from before.
    """
    step = capture(function, verify="always")
    step(*arguments)
    program = step.program
    step(*arguments)
    again = step.program
    assert program is not None
    assert again is not None
    for array, before in zip(program.trace.roots, program.trace.before, strict=True):
        if before is not None:
            np.copyto(array, before)
    if len(again.inputs) > len(arguments):  # the second time there are gradients
        raise NotSupported(
            f"{caller}: the step adds to gradients from before; call model.zero_grad() before "
            "loss.backward(), because optimizer.zero_grad() removes only the gradients of the "
            "parameters that it updates"
        )
    if step.recordings > 1 or program.guards.stores:
        raise NotSupported(f"{caller}: a page can't repeat the step, because {step.why}")
    _ = program.peak  # gives the temporaries their memory
    for call in program.calls:
        by_numpy = call.kernel in program.key.backend.on_numpy
        if by_numpy or CONTRACTS[call.kernel].is_for_numpy(call.arguments()):
            raise NotSupported(
                f"{caller}: NumPy computes {call.kernel} for the C backend; a network whose "
                "kernels are all in C is needed, with weights of float32"
            )
    for item in program.order[1]:
        if isinstance(item, Function) and item.writes:
            name = getattr(item.function, "__qualname__", repr(item.function))
            raise NotSupported(
                f"{caller}: each step calls the Python function {name}, which a page can't; a step "
                "of kernel calls is needed"
            )
    if any(buffer.kind == "restored" for buffer in program.buffers):
        raise NotSupported(f"{caller}: the step changes a constant, which a page does not restore")
    return program


@dataclass(eq=False)
class _Region:
    """The part of a memory that programs use, and its place in the block."""

    start: int  # addresses in this process
    end: int
    values: Array | None  # the memory, as bytes; None if a step does not read values from before
    place: int = 0


@dataclass(frozen=True)
class _Pointer:
    region: _Region
    offset: int


class Block:
    """The block of memory of programs that share arrays, such as a training step and a test.

    Args:
        programs: the programs, with their temporaries in memory.
        stored: other arrays whose values are stored.
        last: arrays whose values are not stored, and which are placed last, in this order.

    Attributes:
        values: the bytes at the start of the block, which a page needs before the first step.
    """

    def __init__(
        self, programs: Sequence[Program], stored: Sequence[Array], last: Sequence[Array]
    ) -> None:
        self._regions: dict[int, _Region] = {}  # by the id of the memory
        for program in programs:
            for array, kind in _arrays(program):
                self._note(array, kind in STORED)
        for array in stored:
            self._note(array, True)
        for array in last:
            self._note(array, False)
            self._region(array).values = None
            self._regions[id(root(array))] = self._regions.pop(id(root(array)))
        self._tables: dict[tuple[int, ...], _Region] = {}  # of sizes, which are arguments too
        self._calls = {id(p): [self._lowered(call) for call in p.calls] for p in programs}
        regions = [*self._tables.values(), *self._regions.values()]
        place, parts = 0, []
        for region in sorted(regions, key=lambda region: region.values is None):
            region.place = place
            size = region.end - region.start
            place += -(-size // CACHE_LINE) * CACHE_LINE
            if region.values is not None:
                parts += [region.values, np.zeros(-size % CACHE_LINE, np.uint8)]
        self.values = np.concatenate(parts)

    def javascript(self, program: Program) -> str:
        """Return the kernel calls of a program, a line for each."""
        lines = []
        for kernel, arguments in self._calls[id(program)]:
            values = ", ".join(form.format(_plain(value)) for form, value in arguments)
            lines.append(f"  kernels.tt_{kernel}({values});\n")
        return "".join(lines)

    def about(self, program: Program) -> dict[str, int]:
        """Return the size of a batch, and the addresses of the arguments and of the results."""
        images, labels = map(self.address, program.inputs)
        loss, predictions = (self.address(part.now()) for part in program.result.parts)
        return {
            "batch": len(program.inputs[0]), "images": images, "labels": labels, "loss": loss,
            "predictions": predictions,
        }  # fmt: skip

    def address(self, array: Array) -> int:
        """Return the address of an array in the block."""
        region = self._region(array)
        return region.place + address(array) - region.start

    def _region(self, array: Array) -> _Region:
        return self._regions[id(root(array))]

    def _note(self, array: Array, is_stored: bool) -> None:
        start, end = address(array), address(array) + array.nbytes
        key = id(root(array))
        region = self._regions.setdefault(key, _Region(start, end, None))
        region.start, region.end = min(start, region.start), max(end, region.end)
        if is_stored:
            own = root(array).reshape(-1).view(np.uint8)
            first = address(own)
            region.values = own[region.start - first : region.end - first]

    def _lowered(self, call: Call) -> tuple[str, list[tuple[str, Any]]]:
        """Return the kernel's name, and each argument with its form in JavaScript."""
        from tinytensor.backends import c_backend  # only where it can be loaded
        from tinytensor.backends._c import ffi

        function, given = getattr(c_backend, call.kernel).lower(*call.arguments())
        arguments = []
        for parameter, value in zip(ffi.typeof(function).args, given, strict=True):
            if parameter.kind == "pointer":
                arguments.append(("start + {}", self._pointer(value, ffi)))
            else:
                arguments.append(("{}n" if parameter.cname == "int64_t" else "{}", value))
        return call.kernel, arguments

    def _pointer(self, value: Any, ffi: Any) -> _Pointer:
        pointed = int(ffi.cast("intptr_t", value))
        for region in self._regions.values():
            if region.start <= pointed < region.end:
                return _Pointer(region, pointed - region.start)
        sizes = tuple(value)
        if sizes not in self._tables:
            table = np.array(sizes, np.int64).view(np.uint8)
            start = address(table)
            self._tables[sizes] = _Region(start, start + table.nbytes, table)
        return _Pointer(self._tables[sizes], 0)


def _arrays(program: Program) -> Iterable[tuple[Array, str]]:
    """Yield the arrays that a program uses, each with the kind of its buffer."""
    for item in program.items:
        for view in item.views:
            if isinstance(view, View):
                yield view.array(), view.buffer.kind
    for array in program.inputs:
        yield array, "argument"


def _plain(value: Any) -> str:
    """Return an address or a number as JavaScript; NaN and Infinity are its words, too."""
    if isinstance(value, _Pointer):
        return str(value.region.place + value.offset)
    return json.dumps(float(value) if isinstance(value, float) else int(value))


class Tables:
    """Tables of what the Python functions of a program write before each step.

    Args:
        program: the program.
        steps: the number of rows.

    Attributes:
        arrays: the arrays that the functions write.
        rows: a table (steps, ...) for each of them.
    """

    def __init__(self, program: Program, steps: int) -> None:
        functions = [item for item in program.order[0] if item.writes]
        arrays = [view.array() for item in functions for view in item.writes]
        self.arrays = list({address(array): array for array in arrays}.values())
        before = [array.copy() for array in self.arrays]
        self.rows = [np.empty((steps, *array.shape), array.dtype) for array in self.arrays]
        for step in range(steps):
            for function in functions:
                function()
            for rows, array in zip(self.rows, self.arrays, strict=True):
                rows[step] = array
        for array, old in zip(self.arrays, before, strict=True):
            np.copyto(array, old)
