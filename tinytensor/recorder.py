"""What a captured step tells while it is being recorded; program.py makes a program of it.

Kernel calls are noted at the door (see Recorder). What else decides a step's numbers, or mustn't
happen in one, is told here by those who do it: the optimisers, batch norm, the tape, the Tensor.
When nothing is recorded, which `recordings` tells, all of it costs a look at one number.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np

from tinytensor.errors import CaptureError

if TYPE_CHECKING:
    from tinytensor.kernels import Array
    from tinytensor.tensor import Tensor

recordings = 0  # how many steps are being recorded, in whatever thread: most often none
structure = 0  # how often a model or an optimiser became another one: see structure_changed
_recorder: ContextVar[Recorder | None] = ContextVar("tinytensor_recorder", default=None)
_counting = threading.Lock()
_PACKAGE = f"{Path(__file__).parent}{os.sep}"
_LESSONS = f"{_PACKAGE}lessons{os.sep}"  # are read as the user's code is
_CAPTURING = f"{_PACKAGE}capture{os.sep}captured.py"  # whose Captured.record calls the step


def recorder() -> Recorder | None:
    """What notes the step that is being recorded here and now; None if none is."""
    return _recorder.get() if recordings else None


def refuse(what: str, instead: str) -> None:
    """Raise CaptureError if a step is being recorded: a program can't do this."""
    if recordings and _recorder.get():
        raise CaptureError(f"captured step: {what}, which a program can't; {instead}")


def refuse_to_read(how: str) -> None:
    """Raise CaptureError where numbers leave their tensor for Python while a step is recorded."""
    refuse(f"{how} reads numbers", "return the tensor from the step and read it outside")


def each_step(
    function: Callable[[], None], reads: Sequence[Array] = (), writes: Sequence[Array] = ()
) -> None:
    """Do now, and again at every replay of a step that is being recorded, what no kernel does.

    function: computes with Python: checks numbers, works out a rate.
    reads, writes: all arrays whose numbers it looks at or changes.
    """
    function()
    if recordings and (notes := _recorder.get()):
        notes.note_function(function, reads, writes)


def constant(array: Array) -> Array:
    """The array, made of Python's numbers: in a program it stays what it is now."""
    if recordings and (notes := _recorder.get()):
        notes.constants.add(notes.hold(array))
    return array


def check_is_of_the_step(op: str, array: Array) -> None:
    """Raise CaptureError for an array that a step being recorded has from elsewhere.

    The next step might have another.
    """
    if recordings and (notes := _recorder.get()) and not notes.owns(array):
        if id(memory(array)) in notes.constants:
            return
        raise CaptureError(
            f"captured step: {op} takes an array of shape {array.shape} that isn't the step's "
            "argument, and its numbers would stay in the program for ever; give it to the step as "
            "an argument, or make a Tensor of it outside"
        )


def structure_changed() -> None:
    """Say that what was recorded may be no longer what the step would do: it is recorded anew."""
    global structure
    structure += 1


def memory(array: Array) -> Array:
    """The array in whose memory this one lies."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


@dataclass
class NotedCall:
    """A kernel call as it was made."""

    kernel: str
    arguments: tuple[Any, ...]
    part: str  # "forward", "backward of ..." or "update"
    line: str  # of the user's code


@dataclass
class NotedFunction:
    """A function that each_step was given."""

    function: Callable[[], None]
    reads: Sequence[Array]
    writes: Sequence[Array]


class Recorder:
    """The notes of one recording.

    inputs: the arrays that the step is given; they lie in the program's own memory.
    with_grad: tensors that are known to have a gradient before the step.
    """

    def __init__(self, inputs: Sequence[Array], with_grad: Sequence[Tensor] = ()) -> None:
        self.with_grad = set(map(id, with_grad))
        self.notes: list[NotedCall | NotedFunction] = []
        self.part = "forward"
        self.line = ""
        self.held: dict[int, Array] = {}  # all memories, so that no address is used again
        self.inputs = [self.hold(array) for array in inputs]
        self.written: set[int] = set()  # by the step's kernels
        self.constants: set[int] = set()
        self.leaves: dict[int, tuple[Tensor, Array, bool]] = {}  # array and requires_grad, as read
        self.zeroed: dict[int, Tensor] = {}  # whose gradient the step forgot
        self.grads: dict[int, tuple[Tensor, bool]] = {}  # given one, and whether it was forgotten
        self.changed: dict[int, Tensor] = {}  # in place
        self.modules: dict[int, Any] = {}  # that were called
        self.flags: dict[int, tuple[Any, bool]] = {}  # modules, and their `training` as it was read
        self.params: dict[int, tuple[Any, list[Tensor]]] = {}  # optimisers, and what they update

    def forget(self) -> None:
        """Let go of all that was noted."""
        for noted in (self.notes, self.held, self.leaves, self.grads, self.zeroed, self.changed):
            noted.clear()
        for asked in (self.modules, self.flags, self.params):
            asked.clear()

    def hold(self, array: Array) -> int:
        """Keep the array's memory; returns what it is known by."""
        root = memory(array)
        self.held[id(root)] = root
        return id(root)

    def owns(self, array: Array) -> bool:
        """Is this of the step: its argument, or computed in it?"""
        key = id(memory(array))
        return key in self.inputs or key in self.written

    def note_call(self, kernel: str, arguments: tuple[Any, ...], written: Sequence[Array]) -> None:
        """A kernel has computed."""
        for array in arguments:
            if isinstance(array, np.ndarray):
                self.hold(array)
        for array in written:
            key = id(memory(array))
            if key in self.inputs:
                raise CaptureError(
                    "captured step: it changes its argument in place, and a program has a copy of "
                    "that; change a tensor that the step finds by itself, or a clone()"
                )
            self.written.add(key)
        self.notes.append(NotedCall(kernel, arguments, self.part, self.line or users_line()))

    def note_function(
        self, function: Callable[[], None], reads: Sequence[Array], writes: Sequence[Array]
    ) -> None:
        """each_step was called."""
        for array in (*reads, *writes):
            self.hold(array)
        self.notes.append(NotedFunction(function, reads, writes))

    def note_leaf(self, x: Tensor) -> None:
        """An op has read a tensor that no op computed."""
        self.leaves.setdefault(id(x), (x, x.array, x.requires_grad))

    def note_grad(self, leaf: Tensor) -> None:
        """Backward is about to leave a gradient on a leaf."""
        if leaf.grad is not None and not self.owns(leaf.grad.array):
            raise CaptureError(
                "captured step: backward() adds to a gradient from before the step; forget it in "
                "the step: optimizer.zero_grad()"
            )
        forgotten = id(leaf) in self.zeroed or (leaf.grad is None and id(leaf) in self.with_grad)
        self.grads.setdefault(id(leaf), (leaf, forgotten))

    def tensors_with_grad(self) -> list[Tensor]:
        """Those whose gradient the step has left or forgotten, by whatever way."""
        leaves = [x for x, *_ in self.leaves.values()]
        left = [x for x in leaves if x.grad is not None and self.owns(x.grad.array)]
        return [*self.zeroed.values(), *left, *(x for x, _ in self.grads.values())]

    def note_update(self, optimizer: Any, params: list[Tensor]) -> None:
        """An optimiser is about to follow the gradients."""
        for param in params:
            if param.grad is not None and not self.owns(param.grad.array):
                raise CaptureError(
                    "captured step: the optimiser follows a gradient from before the step; "
                    "backward() belongs into it"
                )
        self.params[id(optimizer)] = optimizer, list(params)

    @contextmanager
    def in_part(self, part: str, line: str = "") -> Iterator[None]:
        """Inside, calls are of this part of the step, and of this line of the user's code."""
        before = self.part, self.line
        self.part, self.line = part, line
        try:
            yield
        finally:
            self.part, self.line = before


@contextmanager
def recording(notes: Recorder) -> Iterator[None]:
    """Inside, in this thread or task, what the step tells goes into these notes."""
    global recordings
    token = _recorder.set(notes)
    with _counting:
        recordings += 1
    try:
        yield
    finally:
        with _counting:
            recordings -= 1
        _recorder.reset(token)


def users_line() -> str:
    """The innermost line that isn't the engine's own, or that of the step: "train.py:12"."""
    frame: FrameType = sys._getframe()
    while frame.f_back is not None and not _runs_a_step(frame.f_back):
        file = frame.f_code.co_filename
        if not file.startswith(_PACKAGE) or file.startswith(_LESSONS):
            break
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"


def _runs_a_step(frame: FrameType) -> bool:
    return frame.f_code.co_filename == _CAPTURING and frame.f_code.co_name == "record"


# What a step is given ---------------------------------------------------------------------------


class Argument(np.ndarray[Any, Any]):
    """An array argument while its step is recorded: an op takes it, NumPy and Python don't.

    What they would compute from its numbers would stay in the program for ever.
    """

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if any(hasattr(x, "requires_grad") for x in inputs):
            return NotImplemented  # a Tensor is among them: an op, not NumPy, will compute
        return self._refuse(f"np.{ufunc.__name__}() computes with")

    def __array_function__(self, function: Any, *_: Any) -> Any:
        return self._refuse(f"np.{function.__name__}() computes with")

    def __getitem__(self, key: Any) -> Any:
        picked = super().__getitem__(key)
        return picked if isinstance(picked, np.ndarray) else self._refuse("array[...] reads")

    def __iter__(self) -> Any:
        return self._refuse("a loop reads")

    def __bool__(self) -> bool:
        return bool(self._refuse("bool() reads"))

    def __float__(self) -> float:
        return float(self._refuse("float() reads"))

    def __int__(self) -> int:
        return int(self._refuse("int() reads"))

    def __index__(self) -> int:
        return int(self._refuse("index() reads"))

    def __complex__(self) -> complex:
        return complex(self._refuse("complex() reads"))

    def __dlpack__(self, **_: Any) -> Any:
        return self._refuse("__dlpack__() reads")

    def __repr__(self) -> str:
        return f"<argument of shape {self.shape}, {self.dtype}>"

    def _refuse(self, how: str) -> Any:
        raise CaptureError(
            f"captured step: {how} the numbers of an array that the step is given, which a "
            "program can't follow; ops can, on tt.from_numpy(array)"
        )


# What tells of an array's shape, or is another array, which is an Argument again.
_HARMLESS = (
    "T", "astype", "base", "copy", "dtype", "flags", "itemsize", "mT", "nbytes", "ndim", "ravel",
    "reshape", "shape", "size", "squeeze", "strides", "swapaxes", "transpose", "view",
)  # fmt: skip
for _name in dir(np.ndarray):
    if _name not in _HARMLESS and not _name.startswith("_"):
        setattr(Argument, _name, property(partial(Argument._refuse, how=f".{_name} reads")))


def plain(array: Array) -> Array:
    """The array itself, of an Argument what lies under it."""
    return np.asarray(array) if type(array) is Argument else array
