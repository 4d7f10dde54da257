"""The tape: how results remember what they came from, and the way back along it.

An op (ops/) that has an operand with requires_grad leaves a Node on its result: the op's name, its
backward function, and its operands. `loss.backward()` visits those nodes, the newest first, and
hands each one the whole gradient of its result; the node's backward returns the gradients of the
operands. A tensor that was made, not computed, is a leaf: it keeps what arrives in `.grad`.

Backward functions are written with ops. As a rule nothing is recorded while they run; with
`create_graph=True` it is, and the gradients can be differentiated again.
"""

from __future__ import annotations

import heapq
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tinytensor import recorder, tensor
from tinytensor.arrays import Array
from tinytensor.errors import AnomalyError, DTypeError, GradientError, NotSupported, ShapeError
from tinytensor.modes import mode

if TYPE_CHECKING:
    from tinytensor.tensor import Tensor

    # From the gradient of the result (and, if kept, the result) to those of the operands.
    Backward = Callable[..., tuple[Tensor | None, ...]]
    Hook = Callable[[Tensor], Tensor | None]
    Version = list[int]  # one number, the changes in place of one memory; its views share the list

__all__ = ["detect_anomaly", "enable_grad", "grad", "graph", "is_grad_enabled", "no_grad"]

_recording: ContextVar[bool] = ContextVar("tinytensor_recording", default=True)
_anomalies: ContextVar[bool] = ContextVar("tinytensor_anomalies", default=False)
_watching = 0  # how many detect_anomaly() are open, in whatever context: most often none
_numbers = itertools.count(1)  # of nodes: a result is always newer than what it came from


@contextmanager
def _recording_set(on: bool) -> Iterator[None]:
    token = _recording.set(on)
    try:
        yield
    finally:
        _recording.reset(token)


@mode
def no_grad() -> Iterator[None]:
    """In `with no_grad():`, or a function below `@no_grad()`, no graph is recorded.

    For evaluating a model: backward() is not possible there, and no memory is kept for it.
    """
    with _recording_set(False):
        yield


@mode
def enable_grad() -> Iterator[None]:
    """In `with enable_grad():`, or a function below `@enable_grad()`, the graph is recorded.

    It undoes a no_grad() around it.
    """
    with _recording_set(True):
        yield


def is_grad_enabled() -> bool:
    """Are ops remembered for backward, here and now?"""
    return _recording.get()


# Recording --------------------------------------------------------------------------------------


class Node:
    """How a tensor was computed: one op on the tape.

    `backward` takes the gradient of the op's result, and the result itself if it was kept, and
    returns one gradient for each operand, or None where none is needed. A node holds its operands
    but never its own result, only that one's memory: without cycles, everything is free as soon as
    the last name for it is gone.
    """

    __slots__ = ("backward", "hooks", "line", "name", "number", "operands", "out", "saved", "shape")

    def __init__(
        self,
        name: str,
        shape: tuple[int, ...],
        operands: tuple[Tensor, ...],
        backward: Backward,
        saved: list[tuple[Version, int]],
        out: Array | None,
    ) -> None:
        self.name = name
        self.number = next(_numbers)
        self.shape = shape
        self.operands = operands
        self.backward: Backward | None = backward
        self.saved = saved  # the versions of memories that backward will read, and their count now
        self.out = out
        self.hooks: dict[object, Hook] | None = None
        self.line: str | None = None  # of the user's code; found under detect_anomaly() only

    def free(self) -> None:
        """Let go of everything that backward needs."""
        self.backward, self.operands, self.saved, self.out = None, (), [], None


def record(
    name: str,
    out: Array,
    operands: tuple[Tensor, ...],
    backward: Backward = lambda *_: (),
    saved: Sequence[Tensor] = (),
    keep_out: bool = False,
) -> Tensor:
    """An op's result as a Tensor, with a Node if an operand requires a gradient.

    backward: from the gradient of `out` to one gradient for each operand (None if none is needed);
        not asked for where no operand requires a gradient.
    saved: the operands whose values backward reads; they may not change before.
    keep_out: backward takes the result too: backward(grad, result).
    """
    result = tensor.wrap(out)
    if _recording.get():
        for operand in operands:
            if operand.requires_grad:
                versions = [version_now(x) for x in saved] if saved else []
                if keep_out:
                    versions.append(version_now(result))
                kept = out if keep_out else None
                result.node = Node(name, out.shape, operands, backward, versions, kept)
                result.requires_grad = True
                break
    if _watching and _anomalies.get():
        _check_forward(name, result, operands)
    if recorder.recordings and (notes := recorder.recorder()):
        notes.note_operands(operands, result)
    return result


def version_now(x: Tensor) -> tuple[Version, int]:
    """The counter of changes in x's memory, made when it is first asked for, and its count."""
    if x.version is None:
        x.version = [0]
    return x.version, x.version[0]


def view_of(x: Tensor, view: Tensor) -> Tensor:
    """The view, which lies in x's memory: what changes one changes the other."""
    view.version, _ = version_now(x)
    if recorder.recordings and (notes := recorder.recorder()):
        notes.views.append(view)
    return view


# Going back -------------------------------------------------------------------------------------


def backward(
    output: Tensor,
    grad: Tensor | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
) -> None:
    """Add d(output)/d(leaf) to the `.grad` of every leaf; see Tensor.backward."""
    starts = [(output, _first_grad("backward", output, grad))]
    arrived, _ = _walk_back(
        starts, (), create_graph if retain_graph is None else retain_graph, create_graph
    )
    taken = [] if grad is None else [_memory(grad)]
    for leaf, leaf_grad in arrived:
        if notes := recorder.recorder():
            notes.note_grad(leaf)
        memory = _memory(leaf_grad)
        if leaf.grad is not None:
            with _recording_set(create_graph):
                leaf.grad = leaf.grad + leaf_grad
        elif memory in taken:  # such as that of add's x, which is that of its y
            with _recording_set(create_graph):
                leaf.grad = leaf_grad.clone()
        else:
            leaf.grad = leaf_grad
        taken.append(memory)
        if notes := recorder.recorder():
            notes.note_change_of_grad(leaf)


def _memory(x: Tensor) -> int:
    """What tells whether two tensors lie in the same array."""
    return id(x.array if x.array.base is None else x.array.base)


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Tensor | None, ...]:
    """d(sum of outputs)/d(input), one tensor for each input; no `.grad` is touched.

    outputs: single numbers; or tensors of any shape, with `grad_outputs` of the same shapes to
        multiply their gradients with.
    inputs: any tensors that the outputs were computed from, leaves or not.
    retain_graph: keep the tape for another way back; by default what create_graph is.
    create_graph: record the way back too, so that the gradients can be differentiated.
    allow_unused: give None for an input that the outputs don't depend on.

    Raises GradientError if there is no tape, or an input isn't on it.
    """
    outputs = (outputs,) if isinstance(outputs, tensor.Tensor) else tuple(outputs)
    inputs = (inputs,) if isinstance(inputs, tensor.Tensor) else tuple(inputs)
    for x in (*outputs, *inputs):
        if not isinstance(x, tensor.Tensor):
            raise NotSupported(f"grad: got a {type(x).__name__}; tensors are needed")
    if grad_outputs is None or isinstance(grad_outputs, tensor.Tensor):
        grad_outputs = (grad_outputs,) * (1 if grad_outputs is not None else len(outputs))
    if len(grad_outputs) != len(outputs):
        raise GradientError(
            f"grad: got {len(grad_outputs)} grad_outputs for {len(outputs)} outputs; one each is "
            "needed"
        )
    starts = [
        (output, _first_grad("grad", output, given))
        for output, given in zip(outputs, grad_outputs, strict=True)
    ]
    retain_graph = create_graph if retain_graph is None else retain_graph
    arrived, passed = _walk_back(starts, inputs, retain_graph, create_graph)
    at_leaves = {id(leaf): leaf_grad for leaf, leaf_grad in arrived}
    found = [at_leaves.get(id(x)) if x.node is None else passed.get(x.node.number) for x in inputs]
    for i, x_grad in enumerate(found):
        if x_grad is None and not allow_unused:
            raise GradientError(
                f"grad: input {i}, of shape {inputs[i].shape}, isn't on the tape of the outputs: "
                "they weren't computed from it, or it has requires_grad=False; with "
                "allow_unused=True its gradient is None"
            )
    return tuple(found)


def _first_grad(op: str, output: Tensor, given: Tensor | None) -> Tensor:
    if not output.requires_grad:
        raise GradientError(
            f"{op}: this tensor has no history: nothing it was computed from has "
            "requires_grad=True, or it was computed under no_grad()"
        )
    if given is not None and not isinstance(given, tensor.Tensor):
        raise DTypeError(f"{op}: got a gradient of type {type(given).__name__}; a Tensor is needed")
    if given is None:
        if output.size != 1:
            raise GradientError(
                f"{op}: got a tensor of shape {output.shape}; a single number has a gradient: "
                "call .sum() or .mean() first, or give a gradient of that shape"
            )
        one = np.empty_like(output.array)
        one.fill(1)
        return tensor.wrap(one)
    if given.shape != output.shape:
        raise ShapeError(f"{op}: got grad of shape {given.shape}; {output.shape} is needed")
    if given.dtype != output.dtype:
        raise DTypeError(f"{op}: got grad of {given.dtype}; {output.dtype} is needed")
    return given


def _walk_back(
    starts: Sequence[tuple[Tensor, Tensor]],
    inputs: Sequence[Tensor],
    retain_graph: bool,
    create_graph: bool = False,
) -> tuple[list[tuple[Tensor, Tensor]], dict[int, Tensor]]:
    """Visit the nodes, the newest first, so that each has its whole gradient at its turn.

    Returns the leaves with their gradients, and the gradients that passed the nodes of `inputs`, by
    the nodes' numbers.
    """
    wanted = [x.node.number for x in inputs if x.node is not None]
    passed: dict[int, Tensor] = {}
    at_leaves: dict[int, tuple[Tensor, Tensor]] = {}
    at_nodes: dict[int, Tensor] = {}
    queue: list[tuple[int, Node]] = []
    arrived: Iterable[tuple[Tensor, Tensor | None]] = starts
    token = _recording.set(create_graph)
    try:
        while True:
            for x, x_grad in arrived:
                if x_grad is None or not x.requires_grad:
                    continue
                node = x.node
                if node is None:
                    if id(x) in at_leaves:
                        x_grad = at_leaves[id(x)][1] + x_grad
                    at_leaves[id(x)] = x, x_grad
                elif node.number in at_nodes:
                    at_nodes[node.number] = at_nodes[node.number] + x_grad
                else:
                    at_nodes[node.number] = x_grad
                    heapq.heappush(queue, (-node.number, node))
            if not queue:
                break
            _, node = heapq.heappop(queue)
            out_grad = at_nodes.pop(node.number)
            if node.hooks:
                out_grad = _run_hooks(node.hooks, out_grad)
            if node.number in wanted:
                passed[node.number] = out_grad
            arrived = zip(node.operands, _step_back(node, out_grad, create_graph), strict=True)
            if not retain_graph:
                node.free()
        leaves = [
            (leaf, _run_hooks(leaf.hooks, leaf_grad) if leaf.hooks else leaf_grad)
            for leaf, leaf_grad in at_leaves.values()
        ]
    finally:
        _recording.reset(token)
    return leaves, passed


def _step_back(node: Node, out_grad: Tensor, create_graph: bool) -> tuple[Tensor | None, ...]:
    """From the gradient of a node's result to those of its operands."""
    if node.backward is None:
        raise GradientError(
            f"backward: the history of {node.name} was freed by an earlier backward(); compute the "
            "result again, or keep it with retain_graph=True, before going back a second time"
        )
    for version, count in node.saved:
        if version[0] != count:
            raise GradientError(
                f"backward: a tensor that {node.name} needs was changed in place after {node.name} "
                "had read it; change it after backward(), or compute with a copy: x.clone()"
            )
    arguments = (out_grad,) if node.out is None else (out_grad, _result(node, create_graph))
    if _watching and _anomalies.get():
        return _watched_step_back(node, node.backward, arguments)
    if recorder.recordings and (notes := recorder.recorder()):
        with notes.in_part(f"backward of {node.name}", node.line or ""):
            return node.backward(*arguments)
    return node.backward(*arguments)


def _result(node: Node, create_graph: bool) -> Tensor:
    """A node's result, from the memory that was kept; on the tape again if that is wanted."""
    assert node.out is not None
    result = tensor.wrap(node.out)
    if create_graph:
        result.node, result.requires_grad = node, True
    return result


def _run_hooks(hooks: dict[object, Hook], x_grad: Tensor) -> Tensor:
    for hook in list(hooks.values()):
        changed = hook(x_grad)
        if changed is None:
            continue
        wanted = f"None or a gradient of shape {x_grad.shape} and {x_grad.dtype} is needed"
        if not isinstance(changed, tensor.Tensor):
            raise NotSupported(f"register_hook: the hook gave {type(changed).__name__}; {wanted}")
        if changed.shape != x_grad.shape:
            raise ShapeError(f"register_hook: the hook gave {changed.shape}; {wanted}")
        if changed.dtype != x_grad.dtype:
            raise DTypeError(f"register_hook: the hook gave {changed.dtype}; {wanted}")
        x_grad = changed
    return x_grad


def register_hook(x: Tensor, hook: Hook) -> Callable[[], None]:
    """Have hook(grad) called at every backward; see Tensor.register_hook."""
    if not x.requires_grad:
        raise GradientError(
            "register_hook: this tensor has requires_grad=False; no gradient will come by"
        )
    holder: Tensor | Node = x if x.node is None else x.node
    own = object()  # a hook may be registered twice, and taken away once
    # A new dict at each change, by which a captured step sees it.
    holder.hooks = {**(holder.hooks or {}), own: hook}

    def remove() -> None:
        holder.hooks = {key: h for key, h in (holder.hooks or {}).items() if key is not own}

    return remove


# Where was that NaN born? -----------------------------------------------------------------------


@mode
def detect_anomaly() -> Iterator[None]:
    """In this `with` block or the function below it, raise AnomalyError where a NaN is born.

    The error names the op, forward or backward, and the line of your code that called it. Born
    means: the op's result has a NaN or an infinity and its operands have none. Every result is
    looked through, so use it to search, not to train.
    """
    global _watching
    recorder.refuse("detect_anomaly() looks at values", "put it round the whole step")
    token = _anomalies.set(True)
    _watching += 1
    try:
        yield
    finally:
        _watching -= 1
        _anomalies.reset(token)


def is_watching() -> bool:
    """Are results looked through for NaN, here and now?"""
    return _anomalies.get()


def _finite(x: Tensor) -> bool:
    return x.dtype.kind != "f" or bool(np.isfinite(x.array).all())


def _check_forward(name: str, result: Tensor, operands: tuple[Tensor, ...]) -> None:
    line = _users_line()
    if result.node is not None:
        result.node.line = line
    if not _finite(result) and all(map(_finite, operands)):
        raise AnomalyError(f"{name}: {_what_is_wrong(result)}; called at {line}")


def _watched_step_back(
    node: Node, backward: Backward, arguments: tuple[Tensor, ...]
) -> tuple[Tensor | None, ...]:
    token = _anomalies.set(False)  # it is the op's whole backward that is to be named
    try:
        grads = backward(*arguments)
    finally:
        _anomalies.reset(token)
    for x_grad in grads:
        if x_grad is not None and not _finite(x_grad) and _finite(arguments[0]):
            line = node.line or "a line outside of detect_anomaly()"
            raise AnomalyError(
                f"backward of {node.name}: {_what_is_wrong(x_grad)}; {node.name} was called at "
                f"{line}"
            )
    return grads


def _what_is_wrong(x: Tensor) -> str:
    nans, infinities = int(np.isnan(x.array).sum()), int(np.isinf(x.array).sum())
    return (
        f"a result of shape {x.shape} has {nans} NaN and {infinities} infinite of {x.size} "
        "numbers, though its operands are finite"
    )


def _users_line() -> str:
    """The innermost line that isn't tinytensor's own."""
    package = f"{Path(__file__).parent}{os.sep}"
    frame = sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(package):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


# Looking at the tape ----------------------------------------------------------------------------


def graph(output: Tensor, most: int = 200) -> None:
    """Print the tape of a tensor as a tree: each op with its number and the shape of its result.

    Below an op stand its operands; one that several ops share is drawn once, and named afterwards.
    most: how many lines to print.
    """
    if not isinstance(output, tensor.Tensor):
        raise NotSupported(f"graph: got a {type(output).__name__}; a tensor is needed")
    seen: set[int] = set()
    lines: list[str] = []
    # Of what is still to be drawn: the tensor, and what stands before it on its line and below.
    waiting: list[tuple[Tensor, str, str]] = [(output, "", "")]
    while waiting:
        if len(lines) == most:
            lines.append(f"... and more: graph(x, most={10 * most}) prints more lines")
            break
        x, before, below = waiting.pop()
        node = x.node
        if node is None:
            kind = "leaf" if x.requires_grad else "constant"
            lines.append(f"{before}{kind} {x.shape} {x.dtype}")
            continue
        lines.append(f"{before}{node.name} {node.shape}  #{node.number}")
        if node.number in seen:
            lines[-1] += " (see above)"
            continue
        if node.backward is None:
            lines[-1] += " (freed by backward)"
        seen.add(node.number)
        last = len(node.operands) - 1
        for i, operand in reversed(list(enumerate(node.operands))):
            mark, rest = ("└── ", "    ") if i == last else ("├── ", "│   ")
            waiting.append((operand, below + mark, below + rest))
    print("\n".join(lines))
