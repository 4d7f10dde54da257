"""The notes of a step while it is recorded; capture/ turns them into a program.

door.py notes every kernel call, autograd.py every tensor that an op reads, nn the modules that
are called, and optim the optimisers that make a step. The engine looks at nothing else of the
user's code. If no step is being recorded, a note costs one comparison of `recordings`.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

from tinytensor.arrays import Array, root
from tinytensor.errors import CaptureError
from tinytensor.forks import held_during_fork

if TYPE_CHECKING:
    from tinytensor.door import Contract
    from tinytensor.tensors import Tensor

recordings = 0  # the number of steps being recorded, in all threads
_recorder: ContextVar[Recorder | None] = ContextVar("tinytensor_recorder", default=None)
_counting = held_during_fork(threading.Lock())
_PACKAGE = f"{Path(__file__).parent}{os.sep}"
_PROGRAMS = (f"{_PACKAGE}lessons{os.sep}", f"{_PACKAGE}coach{os.sep}museum.py")  # user's code
_CAPTURING = f"{_PACKAGE}capture{os.sep}captured.py"  # its _run_function calls the step


def recorder() -> Recorder | None:
    """Return the notes of the step that is being recorded in this thread or task, or None."""
    return _recorder.get() if recordings else None


def refuse(what: str, instead: str) -> None:
    """Raise CaptureError if a step is being recorded, because a program can't do `what`."""
    if recordings and (notes := _recorder.get()):
        notes.refusal = CaptureError(f"captured step: {what}, which a program can't; {instead}")
        raise notes.refusal


def refuse_to_read(how: str) -> None:
    """Raise CaptureError if a step is being recorded, because `how` reads values in Python."""
    refuse(f"{how} reads values", "return the tensor from the step and read it outside")


def each_step(
    function: Callable[..., None],
    reads: Sequence[Array] = (),
    changes: Sequence[Array] = (),
    writes: Sequence[Array] = (),
    settings: tuple[Any, ...] = (),
    reads_anything: bool = False,
    exchanged_bytes: int = 0,
    checks_elements: bool = False,
) -> None:
    """Call function(*reads, *changes, *writes) now and at every replay of a recorded step.

    function: computes with Python or NumPy, such as a check of labels or a learning rate. It takes
        its arrays as arguments, because a replay may pass other memory.
    reads, changes, writes: the arrays that it reads, changes in place, and writes.
    settings: all other values on which its result depends.
    reads_anything: True if it may read further memory.
    exchanged_bytes: the size of the array that it exchanges with other ranks; 0 if it does not.
    checks_elements: True if it only checks each element of its arrays, whatever their shape. Then
        one call may check the arrays of many steps.
    """
    notes = recorder()
    if notes is None:
        function(*reads, *changes, *writes)
        return
    noted = NotedFunction(
        function, reads, changes, writes, settings,
        reads_anything, exchanged_bytes, checks_elements,
    )  # fmt: skip
    notes.note_function(noted)
    token = _recorder.set(None)  # a replay calls the function, not its kernels one by one
    try:
        function(*reads, *changes, *writes)
    except BaseException:
        notes.function_raised = True
        raise
    finally:
        _recorder.reset(token)


class Place(NamedTuple):
    """The place of a call in the user's code.

    line: such as "train.py:12". layer: the module that makes the call, with its path in the model,
    such as "layers.2: Linear"; "" outside of a submodule.
    """

    line: str = ""
    layer: str = ""

    def __str__(self) -> str:
        return self.layer or self.line


@dataclass
class NotedCall:
    """A kernel call; `memories` are the ids of the memory of its arrays, in order."""

    kernel: Contract
    arguments: tuple[Any, ...]
    memories: list[int]
    part: str  # "forward", "backward of ..." or "update"
    place: Place


@dataclass
class NotedFunction:
    """A function passed to each_step; `memories` as in NotedCall."""

    function: Callable[..., None]
    reads: Sequence[Array]
    changes: Sequence[Array]
    writes: Sequence[Array]
    settings: tuple[Any, ...]
    reads_anything: bool
    exchanged_bytes: int
    checks_elements: bool
    memories: list[int] = field(default_factory=list)
    place: Place = field(default_factory=Place)


class Carried(NamedTuple):
    """A gradient from before the step: its tensor, the gradient, and the copy the step reads."""

    x: Tensor
    before: Tensor
    own: Tensor


class Recorder:
    """The notes of one recording.

    inputs: the step's arguments.
    finds_places: True if the place in the user's code is noted for each call, which takes time.
    """

    def __init__(
        self,
        inputs: Sequence[Array],
        finds_places: bool = True,
    ) -> None:
        self.items: list[NotedCall | NotedFunction] = []
        self.function_raised = False  # True if one of these raised
        self.refusal: CaptureError | None = None  # raised by refuse()
        self.functions = 0  # the number of NotedFunctions in items
        self.part = "forward"
        self.place = Place()  # of the op whose backward pass is recorded
        self.layer = ""  # the submodule that is called, as in Place
        self.paths: dict[int, str] = {}  # of the modules of the model that is called, by id
        self.finds_places = finds_places
        self.held: dict[int, Array] = {}  # all memory by id, held so that no id is reused
        self.inputs = [self.hold(array) for array in inputs]
        self.known: set[int] = set()  # outside memory of an earlier recording, which needs no copy
        self.written: set[int] = set()
        self.read_first: dict[int, Array] = {}  # no argument, and not written before it was read
        self.before: dict[int, Array] = {}  # copies of such memory from before its change
        self.leaves: dict[int, tuple[Tensor, Array, bool]] = {}  # array and requires_grad
        self.results: list[Tensor] = []
        self.views: list[Tensor] = []  # of another tensor's memory, such as x.detach()
        self.set_grads: dict[int, Tensor] = {}  # the step set their gradient
        self.grads: dict[int, tuple[Tensor, str]] = {}  # with its state before: see note_grad
        self.carried: list[Carried] = []
        self.changes_of_grad: list[tuple[int, bool, int]] = []  # see note_grad_set
        self.changed: dict[int, Tensor] = {}  # in place
        self.modules: dict[int, tuple[Any, int]] = {}  # with their versions
        self.flags: dict[int, tuple[Any, bool]] = {}  # modules, with the value of `training`
        self.optimizers: dict[int, tuple[Any, int, list[Tensor]]] = {}  # versions, parameters

    def hold(self, array: Array) -> int:
        """Hold the array's memory; returns its id."""
        memory = root(array)
        key = id(memory)
        self.held[key] = memory
        return key

    def owns(self, array: Array) -> bool:
        """True if the array is an argument or was computed in the step."""
        key = id(root(array))
        return key in self.inputs or key in self.written

    def is_argument(self, array: Array) -> bool:
        """True if the array is one of the step's arguments, or a view of one."""
        return id(root(array)) in self.inputs

    def _note_memory(self, reads: Sequence[int], writes: Sequence[int]) -> None:
        written = self.written
        for key in reads:
            if key not in written and key not in self.inputs:
                self.read_first[key] = self.held[key]
        for key in writes:
            if key in self.read_first and key not in written and key not in self.known:
                self.before[key] = self.held[key].copy()
            written.add(key)

    def note_call(self, kernel: Contract, arguments: tuple[Any, ...]) -> None:
        """Note a kernel call, before it computes."""
        memories = [self.hold(array) for array in arguments[: len(kernel.arrays)]]
        self._note_memory([memories[i] for i in kernel.reads], [memories[i] for i in kernel.writes])
        self.items.append(NotedCall(kernel, arguments, memories, self.part, self.place_now()))

    def note_function(self, noted: NotedFunction) -> None:
        """Note a function of each_step, before it is called."""
        reads, changes, writes = (
            [self.hold(array) for array in arrays]
            for arrays in (noted.reads, noted.changes, noted.writes)
        )
        self._note_memory(reads + changes, changes + writes)
        noted.memories, noted.place = reads + changes + writes, self.place_now()
        self.items.append(noted)
        self.functions += 1

    def place_now(self) -> Place:
        """Return the place of the call that is made now."""
        if not self.finds_places or self.place.line:
            return self.place
        return Place(users_line(), self.layer)

    def note_operands(self, operands: Sequence[Tensor], result: Tensor) -> None:
        """Note an op's operands and its result, after it has computed."""
        for x in operands:
            if x.node is None and not self.owns(x.array):
                self.note_leaf(x)
        self.results.append(result)
        if result.node is not None and self.finds_places:
            result.node.place = Place(users_line(), self.layer)

    def note_leaf(self, x: Tensor) -> None:
        """Note that the step uses a tensor that no op computed."""
        self.leaves.setdefault(id(x), (x, x.array, x.requires_grad))

    def note_changed(self, x: Tensor) -> None:
        """Note that a tensor was changed in place."""
        self.changed[id(x)] = x
        if x.node is None and id(root(x.array)) in self.read_first:
            self.note_leaf(x)

    def note_grad(self, x: Tensor) -> None:
        """Note that the step is about to read a tensor's gradient.

        The step's calls depend on the tensor's gradient before the step. It is "none"; or
        "replaced", if the step has set it first; or "carried", if the step reads or adds to it. A
        carried gradient is an argument of the program.
        """
        if id(x) in self.grads:
            return
        before = "none"
        if id(x) in self.set_grads:
            before = "replaced"
        elif x._grad is not None and not self.owns(x._grad.array):
            before = "carried"
            if x._grad.requires_grad:
                raise CaptureError(
                    "captured step: it adds to a gradient that has a graph; call "
                    "optimizer.zero_grad() in the step, before backward()"
                )
            before_step = x._grad
            x._grad = copy(before_step)
            x._grad.array = before_step.array.copy()
            self.inputs.append(self.hold(x._grad.array))
            self.carried.append(Carried(x, before_step, x._grad))
        self.grads[id(x)] = x, before

    def note_grad_set(self, x: Tensor, to_none: bool) -> None:
        """Note that the step sets a tensor's gradient, and after how many functions of each_step.

        Only these functions can raise in a replay. The replay then sets the gradients that the step
        had set by then.
        """
        self.set_grads[id(x)] = x
        self.changes_of_grad.append((id(x), to_none, self.functions))

    def note_constant_gradients(self, grads: Sequence[Array]) -> None:
        """Note gradients that no kernel wrote as memory that the step reads; replays restore it."""
        self._note_memory([self.hold(grad) for grad in grads], [])

    def note_optimizer(self, optimizer: Any, params: list[Tensor]) -> None:
        """Note an optimiser whose list of parameters the step uses."""
        for param in params:
            self.note_leaf(param)
        self.optimizers[id(optimizer)] = optimizer, optimizer.version, list(params)

    def forget(self) -> None:
        """Release all notes, so that only user code holds tensors of the step."""
        for noted in (self.items, self.results, self.views, self.carried):
            noted.clear()
        self.changes_of_grad.clear()
        for used in (self.held, self.read_first, self.before, self.leaves, self.grads):
            used.clear()
        for touched in (self.set_grads, self.changed, self.modules, self.flags, self.optimizers):
            touched.clear()

    @contextmanager
    def in_part(self, part: str, place: Place | None = None) -> Iterator[None]:
        """In a `with` block, calls belong to this part of the step and place in the user's code."""
        before = self.part, self.place
        self.part, self.place = part, place or Place()
        try:
            yield
        finally:
            self.part, self.place = before

    @contextmanager
    def in_module(self, module: Any) -> Iterator[None]:
        """In a `with` block, calls belong to this module, if it is a submodule of the model.

        The model is the outermost module that is called.
        """
        before = self.paths, self.layer
        if self.finds_places:
            self.paths = self.paths or {id(each): path for path, each in module.named_modules()}
            if path := self.paths.get(id(module)):
                self.layer = f"{path}: {type(module).__name__}"
        try:
            yield
        finally:
            self.paths, self.layer = before


@contextmanager
def recording(notes: Recorder) -> Iterator[None]:
    """Note all computations of this thread or task in a `with` block."""
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
    """Return the innermost line outside the engine, or the step's line: "train.py:12"."""
    frame: FrameType = sys._getframe()
    while frame.f_back is not None and not _runs_a_step(frame.f_back):
        file = frame.f_code.co_filename
        if not file.startswith(_PACKAGE) or file.startswith(_PROGRAMS):
            break
        frame = frame.f_back
    return f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"


def _runs_a_step(frame: FrameType) -> bool:
    return frame.f_code.co_filename == _CAPTURING and frame.f_code.co_name == "_run_function"
