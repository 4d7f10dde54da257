"""Autograd: the graph of a computation, and the backward pass through it.

An op (ops/) that has an operand with requires_grad attaches a Node to its result. The node holds
the op's name, its backward function and its operands. `loss.backward()` visits these nodes, newest
first. It calls each node's backward function with the complete gradient of the op's result, and
gets the gradients of the operands. A tensor that was created, not computed, is a leaf: its gradient
is added to `.grad`.

Backward functions are written with ops. By default these ops are not recorded. With
`create_graph=True` they are, and the gradients can be differentiated again.
"""

from __future__ import annotations

import heapq
import itertools
import os
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tinytensor import observers, recorder, tensors
from tinytensor.arrays import Array
from tinytensor.errors import AnomalyError, DTypeError, GradientError, NotSupported, ShapeError
from tinytensor.modes import mode
from tinytensor.plural import plural

if TYPE_CHECKING:
    from tinytensor.tensors import Tensor

    # backward(grad) or, if the node keeps the result, backward(grad, result): both Tensors of the
    # result's shape. Returns a gradient or None for each operand.
    Backward = Callable[..., tuple[Tensor | None, ...]]
    Hook = Callable[[Tensor], Tensor | None]
    Version = list[int]  # one int: changes in place of an array; views of the array share the list

__all__ = ["detect_anomaly", "enable_grad", "grad", "graph", "is_grad_enabled", "no_grad"]

_grad_mode: ContextVar[bool] = ContextVar("tinytensor_grad_mode", default=True)
_anomaly_mode: ContextVar[bool] = ContextVar("tinytensor_anomaly_mode", default=False)
_open_detectors = 0  # open detect_anomaly() blocks of all threads; 0 skips reading _anomaly_mode
_node_numbers = itertools.count(1)  # a result's number is larger than those of its inputs


@contextmanager
def _set_grad_mode(enabled: bool) -> Iterator[None]:
    token = _grad_mode.set(enabled)
    try:
        yield
    finally:
        _grad_mode.reset(token)


@mode
def no_grad() -> Iterator[None]:
    """Context manager and decorator: ops inside `with no_grad():` record no graph.

    Their results can't be differentiated, and need less memory. Use it to evaluate a model or to
    change a parameter by hand.

    Returns:
        A context manager, which also works as a decorator of functions.

    Source: torch.no_grad.

    >>> w = tt.ones(2, requires_grad=True)
    >>> with tt.no_grad():
    ...     y = w * 2
    >>> y.requires_grad
    False
    """
    with _set_grad_mode(False):
        yield


@mode
def enable_grad() -> Iterator[None]:
    """Context manager and decorator: ops inside record a graph, also inside no_grad().

    Returns:
        A context manager, which also works as a decorator of functions.

    Source: torch.enable_grad.

    >>> w = tt.ones(2, requires_grad=True)
    >>> with tt.no_grad(), tt.enable_grad():
    ...     y = w * 2
    >>> y.requires_grad
    True
    """
    with _set_grad_mode(True):
        yield


def is_grad_enabled() -> bool:
    """True if ops record a graph for backward at this point of the program.

    Source: torch.is_grad_enabled.

    >>> with tt.no_grad():
    ...     tt.is_grad_enabled()
    False
    """
    return _grad_mode.get()


# Recording the graph ----------------------------------------------------------------------------


class Node:
    """One op in the graph: it records how a tensor was computed.

    `backward(grad)` returns one gradient for each operand, or None for an operand that needs none.
    With `keep_out` it is called as `backward(grad, result)`.

    A node holds its operands, and at most the array of its result, never the result itself. So
    there are no reference cycles, and Python frees a graph as soon as its last reference is gone.
    """

    __slots__ = (
        "backward", "hooks", "name", "number", "operands", "out", "place", "saved", "shape",
    )  # fmt: skip

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
        self.number = next(_node_numbers)
        self.shape = shape
        self.operands = operands
        self.backward: Backward | None = backward
        self.saved = saved  # (version, count) of each array that backward reads
        self.out = out
        self.hooks: dict[object, Hook] | None = None
        self.place: recorder.Place | None = None  # of the call, if recorded or detect_anomaly()

    def free(self) -> None:
        """Release the operands, the saved arrays and the backward function."""
        self.backward, self.operands, self.saved, self.out = None, (), [], None


def record(
    name: str,
    out: Array,
    operands: tuple[Tensor, ...],
    backward: Backward | None = None,
    saved: Sequence[Tensor] = (),
    keep_out: bool = False,
) -> Tensor:
    """Return an op's result as a Tensor, with a Node if an operand requires a gradient.

    Args:
        name: the name of the op.
        out: the result, an array that the op allocated.
        operands: the tensors that the op read.
        backward: a function backward(grad) that returns one gradient (or None) for each operand;
            called only if an operand requires a gradient. None for an op without a gradient.
        saved: the operands whose values `backward` reads. If one of them is changed in place
            before, the backward pass raises GradientError.
        keep_out: True if `backward` needs the result too: backward(grad, result).
    """
    result = tensors.wrap(out)
    if backward is not None and _grad_mode.get():
        for operand in operands:
            if operand._requires_grad:
                versions = [version_now(x) for x in saved] if saved else []
                if keep_out:
                    versions.append(version_now(result))
                kept = out if keep_out else None
                result.node = Node(name, out.shape, operands, backward, versions, kept)
                result._requires_grad = True
                break
    if _open_detectors and _anomaly_mode.get():
        _check_forward(name, result, operands)
    if recorder.recordings and (notes := recorder.recorder()):
        notes.note_operands(operands, result)
    return result


def version_now(x: Tensor) -> tuple[Version, int]:
    """Return the counter of changes in place of x's array, and its present count."""
    if x.version is None:
        x.version = [0]
    return x.version, x.version[0]


def view_of(x: Tensor, view: Tensor) -> Tensor:
    """Return `view`, which shares x's memory, after both tensors got the same version counter."""
    view.version, _ = version_now(x)
    if recorder.recordings and (notes := recorder.recorder()):
        notes.views.append(view)
    return view


# The backward pass ------------------------------------------------------------------------------


def backward(
    output: Tensor,
    grad: Tensor | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
) -> None:
    """Add d(output)/d(leaf) to the `.grad` of every leaf; see Tensor.backward."""
    starts = [(output, _first_grad("backward", output, grad))]
    for observer in observers.active:
        observer.backward_starts(output)
    leaf_grads, _ = _run_backward(
        starts, (), create_graph if retain_graph is None else retain_graph, create_graph
    )
    used = [] if grad is None else [_memory_id(grad)]
    for leaf, leaf_grad in leaf_grads:
        memory = _memory_id(leaf_grad)
        if leaf.grad is not None:
            with _set_grad_mode(create_graph):
                leaf.grad = leaf.grad + leaf_grad
        elif memory in used:  # add, for example, returns one array as the gradients of x and of y
            with _set_grad_mode(create_graph):
                leaf.grad = leaf_grad.clone()
        else:
            leaf.grad = leaf_grad
        used.append(memory)


def _memory_id(x: Tensor) -> int:
    """Return a number that is the same for all tensors on one array."""
    return id(x.array if x.array.base is None else x.array.base)


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Tensor | None, ...]:
    """Return the gradient of the sum of the outputs with respect to each input.

    No `.grad` is changed.

    Args:
        outputs: a scalar tensor or a sequence of them; or tensors of any shape, with
            `grad_outputs`.
        inputs: a tensor or a sequence of tensors, leaves or not, from which the outputs were
            computed.
        grad_outputs: for each output the gradient to start from, a tensor of its shape and dtype;
            None stands for 1 and is allowed for scalars.
        retain_graph: True keeps the graph for another backward pass; by default the value of
            `create_graph`.
        create_graph: True records the backward pass too, so that the gradients can be
            differentiated again.
        allow_unused: True returns None for an input that the outputs don't depend on.

    Returns:
        A tuple with one gradient for each input, a Tensor of the input's shape and dtype.

    Raises:
        GradientError: an output has no graph, the graph was freed, or the outputs don't depend on
            an input and `allow_unused` is False.
        ShapeError: a grad_output has another shape than its output.
        DTypeError: a grad_output has another dtype than its output.
        NotSupported: an output or an input is not a Tensor.

    Source: torch.autograd.grad.

    >>> x = tt.Tensor(3.0, requires_grad=True)
    >>> (first,) = tt.grad(x**3, x, create_graph=True)  # 3 * x^2
    >>> (second,) = tt.grad(first, x)  # 6 * x
    >>> first.item(), second.item()
    (27.0, 18.0)
    """
    outputs, inputs = _as_tuple(outputs), _as_tuple(inputs)
    for x in (*outputs, *inputs):
        if not isinstance(x, tensors.Tensor):
            raise NotSupported(f"grad: got a {type(x).__name__}; tensors are needed")
    grad_outputs = (None,) * len(outputs) if grad_outputs is None else _as_tuple(grad_outputs)
    if len(grad_outputs) != len(outputs):
        raise GradientError(
            f"grad: got {len(grad_outputs)} grad_outputs for "
            f"{plural(len(outputs), 'output')}; one for each output is needed"
        )
    starts = [
        (output, _first_grad("grad", output, given))
        for output, given in zip(outputs, grad_outputs, strict=True)
    ]
    retain_graph = create_graph if retain_graph is None else retain_graph
    leaf_grads, node_grads = _run_backward(starts, inputs, retain_graph, create_graph)
    by_leaf = {id(leaf): leaf_grad for leaf, leaf_grad in leaf_grads}
    grads = [
        by_leaf.get(id(x)) if x.node is None else node_grads.get(x.node.number) for x in inputs
    ]
    for i, x_grad in enumerate(grads):
        if x_grad is None and not allow_unused:
            raise GradientError(
                f"grad: input {i}, of shape {inputs[i].shape}, isn't in the graph of the outputs: "
                "they weren't computed from it, or it has requires_grad=False; with "
                "allow_unused=True its gradient is None"
            )
    return tuple(grads)


def _as_tuple(given: Any) -> tuple[Any, ...]:
    """A tuple of the tensors of a sequence, or of one tensor."""
    several = isinstance(given, Iterable) and not isinstance(given, tensors.Tensor | np.ndarray)
    return tuple(given) if several else (given,)


def _first_grad(op: str, output: Tensor, given: Tensor | None) -> Tensor:
    if not output.requires_grad:
        raise GradientError(
            f"{op}: this tensor has no graph: none of its inputs has requires_grad=True, or it was "
            "computed under no_grad()"
        )
    if given is not None and not isinstance(given, tensors.Tensor):
        raise DTypeError(f"{op}: got a gradient of type {type(given).__name__}; a Tensor is needed")
    if given is None:
        if output.size != 1:
            raise GradientError(
                f"{op}: got a tensor of shape {output.shape}; a scalar is needed: call .sum() or "
                ".mean() first, or pass a gradient of this shape"
            )
        one = np.empty_like(output.array)
        one.fill(1)
        return tensors.wrap(one)
    if given.shape != output.shape:
        raise ShapeError(f"{op}: got grad of shape {given.shape}; {output.shape} is needed")
    if given.dtype != output.dtype:
        raise DTypeError(f"{op}: got grad of {given.dtype}; {output.dtype} is needed")
    return given


def _run_backward(
    starts: Sequence[tuple[Tensor, Tensor]],
    inputs: Sequence[Tensor],
    retain_graph: bool,
    create_graph: bool = False,
) -> tuple[list[tuple[Tensor, Tensor]], dict[int, Tensor]]:
    """Run the backward pass: visit the nodes, newest first, and add up the gradients.

    A result is newer than its inputs. So when a node is visited, all ops that used its result have
    been visited, and the gradient of the result is complete.

    Returns the leaves with their gradients, and the gradients at the nodes of `inputs` by node
    number.
    """
    wanted = [x.node.number for x in inputs if x.node is not None]
    node_grads: dict[int, Tensor] = {}
    by_leaf: dict[int, tuple[Tensor, Tensor]] = {}
    pending: dict[int, Tensor] = {}  # sums of the gradients so far, by node number
    queue: list[tuple[int, Node]] = []
    new_grads: Iterable[tuple[Tensor, Tensor | None]] = starts
    token = _grad_mode.set(create_graph)
    try:
        while True:
            for x, x_grad in new_grads:
                if x_grad is None or not x.requires_grad:
                    continue
                node = x.node
                if node is None:
                    if id(x) in by_leaf:
                        x_grad = by_leaf[id(x)][1] + x_grad
                    by_leaf[id(x)] = x, x_grad
                elif node.number in pending:
                    pending[node.number] = pending[node.number] + x_grad
                else:
                    pending[node.number] = x_grad
                    heapq.heappush(queue, (-node.number, node))
            if not queue:
                break
            _, node = heapq.heappop(queue)
            out_grad = pending.pop(node.number)
            if node.hooks:
                out_grad = _run_hooks(node.hooks, out_grad)
            if node.number in wanted:
                node_grads[node.number] = out_grad
            operand_grads = _call_backward(node, out_grad, create_graph)
            new_grads = zip(node.operands, operand_grads, strict=True)
            if not retain_graph:
                node.free()
        leaf_grads = [
            (leaf, _run_hooks(leaf.hooks, leaf_grad) if leaf.hooks else leaf_grad)
            for leaf, leaf_grad in by_leaf.values()
        ]
    finally:
        _grad_mode.reset(token)
    return leaf_grads, node_grads


def _call_backward(node: Node, out_grad: Tensor, create_graph: bool) -> tuple[Tensor | None, ...]:
    """Return the gradients of a node's operands, computed from the gradient of its result."""
    if node.backward is None:
        raise GradientError(
            f"backward: the graph of {node.name} was freed by an earlier backward(); compute the "
            "result again, or call the earlier backward with retain_graph=True"
        )
    for version, count in node.saved:
        if version[0] != count:
            raise GradientError(
                f"backward: a tensor that {node.name} needs was changed in place after {node.name} "
                "had read it; change it after backward(), or compute with a copy: x.clone()"
            )
    arguments = (out_grad,) if node.out is None else (out_grad, _result(node, create_graph))
    if _open_detectors and _anomaly_mode.get():
        return _call_backward_and_check(node, node.backward, arguments)
    if recorder.recordings and (notes := recorder.recorder()):
        with notes.in_part(f"backward of {node.name}", node.place):
            return node.backward(*arguments)
    return node.backward(*arguments)


def _result(node: Node, create_graph: bool) -> Tensor:
    """Return a node's result, from the array that it keeps; part of the graph if create_graph."""
    assert node.out is not None
    result = tensors.wrap(node.out)
    if create_graph:
        result.node, result._requires_grad = node, True
    return result


def _run_hooks(hooks: dict[object, Hook], x_grad: Tensor) -> Tensor:
    for hook in list(hooks.values()):
        changed = hook(x_grad)
        if changed is None:
            continue
        wanted = f"None or a gradient of shape {x_grad.shape} and {x_grad.dtype} is needed"
        got = "register_hook: the hook returned"
        if not isinstance(changed, tensors.Tensor):
            raise NotSupported(f"{got} a {type(changed).__name__}; {wanted}")
        if changed.shape != x_grad.shape:
            raise ShapeError(f"{got} a gradient of shape {changed.shape}; {wanted}")
        if changed.dtype != x_grad.dtype:
            raise DTypeError(f"{got} a gradient of {changed.dtype}; {wanted}")
        x_grad = changed
    return x_grad


def register_hook(x: Tensor, hook: Hook) -> Callable[[], None]:
    """Call hook(grad) in every backward pass; see Tensor.register_hook."""
    if not x.requires_grad:
        raise GradientError(
            "register_hook: this tensor has requires_grad=False, so it gets no gradient; a tensor "
            "with requires_grad=True is needed"
        )
    holder: Tensor | Node = x if x.node is None else x.node
    handle = object()  # the key: the same hook may be registered twice and removed once
    # Each change makes a new dict, because a captured step detects changes by the dict's identity.
    holder.hooks = {**(holder.hooks or {}), handle: hook}
    if _RETAIN in holder.hooks:
        holder.hooks[_RETAIN] = holder.hooks.pop(_RETAIN)

    def remove() -> None:
        holder.hooks = {key: h for key, h in (holder.hooks or {}).items() if key is not handle}

    return remove


_RETAIN = "retain_grad"  # the key of its hook, which is called after all others


def retain_grad(x: Tensor) -> None:
    """Store the gradient of a computed tensor in `.grad`; see Tensor.retain_grad."""
    recorder.refuse("retain_grad() stores a gradient", _GRAD_INSTEAD)
    if not x.requires_grad:
        raise GradientError(
            "retain_grad: this tensor has requires_grad=False, so it gets no gradient"
        )
    if x.node is None or is_retained(x):
        return
    reference = weakref.ref(x)  # the node holds no reference to its result

    def keep(x_grad: Tensor) -> None:
        recorder.refuse("a backward pass stores a gradient for retain_grad()", _GRAD_INSTEAD)
        if (x := reference()) is not None:
            x._grad = x_grad.clone() if x._grad is None else x._grad + x_grad

    x.node.hooks = {**(x.node.hooks or {}), _RETAIN: keep}


_GRAD_INSTEAD = "in the step call tt.grad(loss, x), which returns the gradient"


def is_retained(x: Tensor) -> bool:
    """True if retain_grad was called for a computed tensor."""
    return x.node is not None and x.node.hooks is not None and _RETAIN in x.node.hooks


# Finding the first NaN --------------------------------------------------------------------------


@mode
def detect_anomaly() -> Iterator[None]:
    """Context manager and decorator: raise AnomalyError at the first NaN or infinity.

    The error names the op, forward or backward, and the line of your code that called it. An op is
    reported if its result has a NaN or an infinity and all its operands are finite. Every result
    is checked, so ops are slower: use it to find a bug, not to train.

    Raises:
        AnomalyError: from the op inside the block.
        CaptureError: the block is inside a captured step; put it around the call of the step.

    Source: torch.autograd.detect_anomaly.

    >>> with tt.detect_anomaly():
    ...     tt.log(tt.zeros(2))
    Traceback (most recent call last):
        ...
    tinytensor.errors.AnomalyError: log: a result of shape (2,) has 0 NaN and 2 infinite ...
    """
    global _open_detectors
    recorder.refuse("detect_anomaly() reads values", "put it around the call of the step")
    token = _anomaly_mode.set(True)
    _open_detectors += 1
    try:
        yield
    finally:
        _open_detectors -= 1
        _anomaly_mode.reset(token)


def is_watching() -> bool:
    """True inside a detect_anomaly() block."""
    return _anomaly_mode.get()


def _finite(x: Tensor) -> bool:
    return x.dtype.kind != "f" or bool(np.isfinite(x.array).all())


def _check_forward(name: str, result: Tensor, operands: tuple[Tensor, ...]) -> None:
    line = _calling_line()
    if result.node is not None:
        result.node.place = recorder.Place(line)
    if not _finite(result) and all(map(_finite, operands)):
        raise AnomalyError(f"{name}: {_anomaly_message(result)}; called at {line}")


def _call_backward_and_check(
    node: Node, backward: Backward, arguments: tuple[Tensor, ...]
) -> tuple[Tensor | None, ...]:
    # Ops inside `backward` are not checked, because the error should name the op that the user
    # called.
    token = _anomaly_mode.set(False)
    try:
        grads = backward(*arguments)
    finally:
        _anomaly_mode.reset(token)
    for x_grad in grads:
        if x_grad is not None and not _finite(x_grad) and _finite(arguments[0]):
            line = node.place.line if node.place else "a line outside of detect_anomaly()"
            raise AnomalyError(
                f"backward of {node.name}: {_anomaly_message(x_grad)}; {node.name} was called at "
                f"{line}"
            )
    return grads


def _anomaly_message(x: Tensor) -> str:
    nans, infinities = int(np.isnan(x.array).sum()), int(np.isinf(x.array).sum())
    return (
        f"a result of shape {x.shape} has {nans} NaN and {infinities} infinite of {x.size} "
        "elements, and its operands are finite"
    )


def _calling_line() -> str:
    """Return "file:line" of the innermost caller outside of tinytensor."""
    package = f"{Path(__file__).parent}{os.sep}"
    frame = sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(package):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


# Printing the graph -----------------------------------------------------------------------------


def graph(output: Tensor, most: int = 200) -> None:
    """Print the graph of a tensor as a tree: each op with the shape of its result and its number.

    The operands of an op are printed below it. An op that several ops use is printed once; later
    lines refer to it by its number.

    Args:
        output: the tensor whose graph is printed.
        most: the maximal number of lines.

    Raises:
        NotSupported: `output` is not a Tensor.

    >>> w = tt.ones(3, requires_grad=True)
    >>> tt.graph((w * 2).exp())
    exp (3,)  #...
    └── mul (3,)  #...
        ├── leaf (3,) float32
        └── constant () float32
    """
    if not isinstance(output, tensors.Tensor):
        raise NotSupported(f"graph: got a {type(output).__name__}; a tensor is needed")
    seen: set[int] = set()
    lines: list[str] = []
    # Tensors to print, each with the prefix of its line and the prefix of the lines below it.
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
