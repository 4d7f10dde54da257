"""Tensor: an array that remembers how it was computed, so that it can go back for gradients.

An op (ops.py) that has an operand with requires_grad leaves a Node on its result: the op's name,
its backward function, and where its operands came from. `loss.backward()` visits those nodes, the
newest first, and hands each one the gradient of its result; the node's backward returns the
gradients of its operands. A tensor that was made, not computed, is a leaf: it keeps what arrives
in `.grad`.
"""

import heapq
import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from tinytensor.errors import DTypeError, GradientError, ShapeError
from tinytensor.kernels import Array

DTYPES = tuple(map(np.dtype, ("float32", "float64", "int32", "int64", "uint8", "bool")))
FLOATS = DTYPES[:2]

_recording: ContextVar[bool] = ContextVar("tinytensor_recording", default=True)


@contextmanager
def no_grad() -> Iterator[None]:
    """Inside this `with` block nothing is remembered for backward: for evaluating a model."""
    token = _recording.set(False)
    try:
        yield
    finally:
        _recording.reset(token)


class Node:
    """How a tensor was computed: one op in the history that backward walks through.

    `backward` takes the gradient of the op's result and returns one gradient for each operand, or
    None where none is needed. It may hold operands but never the op's own result: without cycles,
    memory is free as soon as the last name for it is gone.
    """

    __slots__ = ("backward", "name", "number", "operands")

    def __init__(self, name: str, operands: tuple["Tensor", ...], backward: "Backward") -> None:
        self.name = name
        self.number = next(_numbers)
        self.operands = operands
        self.backward: Backward | None = backward


_numbers = itertools.count()  # of nodes: a result is always newer than what it came from


class Tensor:
    """An n-dimensional array with gradients.

    data: numbers, nested lists, an array or another Tensor; always copied (from_numpy shares).
    dtype: float32, float64, int32, int64, uint8 or bool; by default an array keeps its own,
        Python floats become float32 and Python integers int64.
    requires_grad: whether backward is to leave a gradient in `.grad`; floats only.

    Raises ShapeError for ragged lists, DTypeError for what isn't a supported kind of number.
    """

    __slots__ = ("__weakref__", "data", "grad", "node", "requires_grad")
    __array_ufunc__ = None  # so that `ndarray + tensor` asks the Tensor, and gives one

    data: Array
    requires_grad: bool
    grad: "Tensor | None"
    node: Node | None  # how it was computed; None for a leaf

    def __init__(
        self,
        data: "ArrayLike | Tensor",
        dtype: DTypeLike | None = None,
        requires_grad: bool = False,
    ) -> None:
        self.data = _to_array(data, dtype, copy=True)
        self.grad = None
        self.node = None
        self.requires_grad = False
        if requires_grad:
            self.requires_grad_()

    # What it is

    @property
    def shape(self) -> tuple[int, ...]:
        """The size of each axis."""
        return self.data.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.data.ndim

    @property
    def size(self) -> int:
        """The number of elements."""
        return self.data.size

    @property
    def dtype(self) -> np.dtype[Any]:
        """The kind of number, as NumPy names it."""
        return self.data.dtype

    def __len__(self) -> int:
        if not self.data.ndim:
            raise ShapeError("len: got a tensor without axes; at least one is needed")
        return len(self.data)

    def __repr__(self) -> str:
        text = np.array2string(self.data, separator=", ", prefix="Tensor(")
        grad = ", requires_grad=True" if self.requires_grad else ""
        return f"Tensor({text}, dtype={self.dtype}{grad})"

    # To NumPy and to Python

    def numpy(self) -> Array:
        """The array itself, not a copy: writing to it changes the tensor."""
        return self.data

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        return np.array(self.data, dtype, copy=copy)

    def item(self) -> Any:
        """The one element, as a Python number.  Raises ShapeError if there isn't just one."""
        if self.data.size != 1:
            raise ShapeError(f"item: got a tensor of shape {self.shape}; one element is needed")
        return self.data.item()

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __bool__(self) -> bool:
        return bool(self.item())

    # Gradients

    def requires_grad_(self, requires_grad: bool = True) -> "Tensor":
        """Say whether backward is to leave a gradient here; returns the tensor."""
        if requires_grad and self.dtype not in FLOATS:
            raise DTypeError(
                f"requires_grad: got a tensor of {self.dtype}; gradients need float32 or float64"
            )
        if self.node is not None and not requires_grad:
            raise GradientError(
                f"requires_grad_: this tensor was computed by {self.node.name}; "
                "use detach() for one that needs no gradient"
            )
        self.requires_grad = requires_grad
        return self

    def detach(self) -> "Tensor":
        """The same memory as a leaf without history."""
        return from_numpy(self.data)

    def backward(self, grad: "Tensor | None" = None) -> None:
        """Add d(self)/d(leaf) to the `.grad` of every leaf that requires a gradient.

        grad: the gradient of what is wanted with respect to this tensor, of its shape; may be left
            out where this tensor is a single number, and is then 1.

        The history is freed on the way. Raises GradientError if there is none (any more),
        ShapeError if `grad` doesn't have this tensor's shape.
        """
        if not self.requires_grad:
            raise GradientError(
                "backward: this tensor has no history: nothing it was computed from has "
                "requires_grad=True, or it was computed under no_grad()"
            )
        with no_grad():
            _walk_back(self, _first_grad(self, grad))

    # Operators: an op each (see ops.py)

    def __add__(self, other: "Operand") -> "Tensor":
        return ops.add(self, other)

    def __radd__(self, other: "Operand") -> "Tensor":
        return ops.add(other, self)

    def __sub__(self, other: "Operand") -> "Tensor":
        return ops.sub(self, other)

    def __rsub__(self, other: "Operand") -> "Tensor":
        return ops.sub(other, self)

    def __mul__(self, other: "Operand") -> "Tensor":
        return ops.mul(self, other)

    def __rmul__(self, other: "Operand") -> "Tensor":
        return ops.mul(other, self)

    def __truediv__(self, other: "Operand") -> "Tensor":
        return ops.div(self, other)

    def __rtruediv__(self, other: "Operand") -> "Tensor":
        return ops.div(other, self)

    def __neg__(self) -> "Tensor":
        return ops.neg(self)

    def __matmul__(self, other: "Operand") -> "Tensor":
        return ops.matmul(self, other)

    def __rmatmul__(self, other: "Operand") -> "Tensor":
        return ops.matmul(other, self)

    # Methods: the op of the same name

    def exp(self) -> "Tensor":
        """See ops.exp."""
        return ops.exp(self)

    def log(self) -> "Tensor":
        """See ops.log."""
        return ops.log(self)

    def relu(self) -> "Tensor":
        """See ops.relu."""
        return ops.relu(self)

    def sigmoid(self) -> "Tensor":
        """See ops.sigmoid."""
        return ops.sigmoid(self)

    def sum(self, axis: "Axis" = None, keepdims: bool = False) -> "Tensor":
        """See ops.sum."""
        return ops.sum(self, axis, keepdims)

    def mean(self, axis: "Axis" = None, keepdims: bool = False) -> "Tensor":
        """See ops.mean."""
        return ops.mean(self, axis, keepdims)

    def argmax(self, axis: int | None = None) -> "Tensor":
        """See ops.argmax."""
        return ops.argmax(self, axis)

    def softmax(self, axis: int = -1) -> "Tensor":
        """See ops.softmax."""
        return ops.softmax(self, axis)

    def log_softmax(self, axis: int = -1) -> "Tensor":
        """See ops.log_softmax."""
        return ops.log_softmax(self, axis)

    def reshape(self, *shape: "int | tuple[int, ...]") -> "Tensor":
        """See ops.reshape; the sizes may come one by one or as a tuple."""
        return ops.reshape(self, shape[0] if len(shape) == 1 else shape)  # type: ignore[arg-type]

    def transpose(self, *axes: int) -> "Tensor":
        """See ops.transpose."""
        return ops.transpose(self, axes or None)

    @property
    def T(self) -> "Tensor":
        """The axes in reverse order."""
        return ops.transpose(self)


Operand = Tensor | ArrayLike
Backward = Callable[[Tensor], tuple[Tensor | None, ...]]
Axis = int | tuple[int, ...] | None


def from_numpy(array: Array) -> Tensor:
    """A Tensor on the memory of a C-contiguous array: no copy, and writes are seen by both.

    Raises DTypeError for a kind of number that isn't supported, ShapeError for an array that isn't
    in C order (np.ascontiguousarray makes a copy that is).
    """
    if array.dtype not in DTYPES or not array.flags.c_contiguous:
        _check_shareable(array)
    return _tensor(array, None)


def _tensor(array: Array, node: Node | None) -> Tensor:
    """A Tensor on an array that is known to be fit for it."""
    tensor = Tensor.__new__(Tensor)
    tensor.data = array
    tensor.grad = None
    tensor.node = node
    tensor.requires_grad = node is not None
    return tensor


def _check_shareable(array: Array) -> None:
    if array.dtype not in DTYPES:
        raise DTypeError(f"from_numpy: got {array.dtype}; {_dtype_names()} is needed")
    raise ShapeError(
        f"from_numpy: got an array of shape {array.shape} with strides {array.strides}; one in C "
        "order is needed: np.ascontiguousarray(array) makes it"
    )


def _dtype_names() -> str:
    return ", ".join(map(str, DTYPES[:-1])) + f" or {DTYPES[-1]}"


def _to_array(data: ArrayLike | Tensor, dtype: DTypeLike | None, copy: bool) -> Array:
    """Data as a C-contiguous array of a supported dtype."""
    if isinstance(data, Tensor):
        data = data.data
    try:
        array = np.asarray(data)
    except ValueError as error:
        raise ShapeError(f"Tensor: the rows have different lengths: {error}") from None
    if dtype is None:
        from_python = not isinstance(data, np.ndarray | np.generic)
        dtype = np.float32 if from_python and array.dtype == np.float64 else array.dtype
    try:
        wanted = np.dtype(dtype)
    except TypeError:
        raise DTypeError(f"Tensor: got {dtype}; {_dtype_names()} is needed") from None
    if wanted not in DTYPES:
        raise DTypeError(f"Tensor: got {wanted}; {_dtype_names()} is needed")
    if array.dtype.kind not in "fiub":
        raise DTypeError(f"Tensor: got {array.dtype} data; numbers are needed")
    return np.array(array, wanted, order="C", copy=copy or None)


# Going back -------------------------------------------------------------------------------------


def _first_grad(tensor: Tensor, grad: Tensor | None) -> Tensor:
    if grad is None:
        if tensor.size != 1:
            raise GradientError(
                f"backward: got a tensor of shape {tensor.shape}; a single number has a gradient: "
                "call .sum() or .mean() first, or give backward(grad) one of that shape"
            )
        one = np.empty_like(tensor.data)
        one.fill(1)
        return from_numpy(one)
    if grad.shape != tensor.shape:
        raise ShapeError(f"backward: got grad of shape {grad.shape}; {tensor.shape} is needed")
    if grad.dtype != tensor.dtype:
        raise DTypeError(f"backward: got grad of {grad.dtype}; {tensor.dtype} is needed")
    return grad


def _walk_back(result: Tensor, first_grad: Tensor) -> None:
    """Visit the nodes, the newest first, so that each has its whole gradient at its turn."""
    grads: dict[Node, Tensor] = {}
    queue: list[tuple[int, Node]] = []
    arrived: Iterable[tuple[Tensor, Tensor | None]] = [(result, first_grad)]
    while True:
        for tensor, grad in arrived:
            node = tensor.node
            if grad is None or not tensor.requires_grad:
                continue
            if node is None:
                tensor.grad = grad if tensor.grad is None else ops.add(tensor.grad, grad)
            elif node in grads:
                grads[node] = ops.add(grads[node], grad)
            else:
                grads[node] = grad
                heapq.heappush(queue, (-node.number, node))
        if not queue:
            return
        _, node = heapq.heappop(queue)
        if node.backward is None:
            raise GradientError(
                f"backward: the history of {node.name} was freed by an earlier backward(); "
                "compute the result again before going back a second time"
            )
        arrived = zip(node.operands, node.backward(grads.pop(node)), strict=True)
        node.backward, node.operands = None, ()


def record(name: str, out: Array, operands: tuple[Tensor, ...], backward: Backward) -> Tensor:
    """An op's result as a Tensor, with a Node if an operand requires a gradient.

    backward: from the gradient of `out` to one gradient for each operand (None if none is needed).
    """
    if _recording.get():
        for operand in operands:
            if operand.requires_grad:
                return _tensor(out, Node(name, operands, backward))
    return _tensor(out, None)


from tinytensor import ops  # noqa: E402 - ops.py needs Tensor, and Tensor's operators need ops
