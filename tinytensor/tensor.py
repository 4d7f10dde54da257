"""Tensor: an array with gradients.

The array is NumPy's, in C order, and every backend computes on it where it lies. What a Tensor can
do are the ops of ops/: its operators and methods are those functions, `x.exp()` is `ops.exp(x)`.
How it remembers what it was computed from, and goes back for gradients, stands in autograd.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from tinytensor import autograd, kernels, notebook, ops
from tinytensor.errors import (
    DTypeError,
    GradientError,
    NotSupported,
    ShapeError,
)
from tinytensor.kernels import Array

DTYPES = tuple(map(np.dtype, ("float32", "float64", "int32", "int64", "uint8", "bool")))
FLOATS = DTYPES[:2]


class Tensor:
    """An n-dimensional array with gradients.

    data: numbers, nested lists, an array or another Tensor; always copied (from_numpy shares).
    dtype: float32, float64, int32, int64, uint8 or bool; by default an array keeps its own,
        Python floats become float32 and Python integers int64.
    requires_grad: whether backward is to leave a gradient in `.grad`; floats only.

    Raises ShapeError for ragged lists, DTypeError for what isn't a supported kind of number.
    """

    __slots__ = (
        "__weakref__",
        "data",
        "grad",
        "hooks",
        "node",
        "requires_grad",
        "version",
    )
    __array_ufunc__ = None  # so that `ndarray + tensor` asks the Tensor, and gives one

    data: Array
    requires_grad: bool
    grad: Tensor | None
    node: autograd.Node | None  # how it was computed; None for a leaf
    version: autograd.Version  # of its memory: how often it was changed in place
    hooks: list[autograd.Hook] | None  # of a leaf; others have theirs on the node

    def __init__(
        self,
        data: ArrayLike | Tensor,
        dtype: DTypeLike | None = None,
        requires_grad: bool = False,
    ) -> None:
        self.data = to_array(data, dtype, copy=True)
        self.grad = self.node = self.hooks = None
        self.version = [0]
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

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        text = np.array2string(self.data, separator=", ", prefix="Tensor(")
        grad = ", requires_grad=True" if self.requires_grad else ""
        return f"Tensor({text}, dtype={self.dtype}{grad})"

    def _repr_html_(self) -> str:
        return notebook.html(self)

    # To NumPy, to Python, and to other libraries

    def numpy(self) -> Array:
        """The array itself, not a copy: writing to it changes the tensor."""
        return self.data

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        return np.array(self.data, dtype, copy=copy)

    def __dlpack__(self, **wishes: Any) -> Any:
        return self.data.__dlpack__(**wishes)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.data.__dlpack_device__()

    def item(self) -> Any:
        """The one element, as a Python number.  Raises ShapeError if there isn't just one."""
        if self.data.size != 1:
            raise ShapeError(f"item: got a tensor of shape {self.shape}; one element is needed")
        return self.data.item()

    def tolist(self) -> Any:
        """Nested lists of Python numbers."""
        return self.data.tolist()

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self.data.dtype.kind not in "iu":
            raise DTypeError(f"index: got a tensor of {self.dtype}; an integer is needed")
        return int(self.item())

    def __bool__(self) -> bool:
        if self.data.size != 1:
            raise ShapeError(
                f"bool: got a tensor of shape {self.shape}; one element is true or false: "
                "use .any() or .all()"
            )
        return bool(self.data.item())

    __hash__ = object.__hash__  # by identity, though == compares the elements

    # Copies

    def detach(self) -> Tensor:
        """The same memory as a leaf without history."""
        view = wrap(self.data)
        view.version = self.version
        return view

    def __copy__(self) -> Tensor:
        self._refuse_to_copy_history()
        return self.detach().requires_grad_(self.requires_grad)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        self._refuse_to_copy_history()
        memo[id(self)] = copy = Tensor(self, requires_grad=self.requires_grad)
        copy.grad = None if self.grad is None else Tensor(self.grad)
        return copy

    def _refuse_to_copy_history(self) -> None:
        if self.node is not None:
            raise GradientError(
                f"copy: this tensor was computed by {self.node.name}, and its history can't be "
                "copied; copy x.detach(), or use x.clone(), through which gradients flow"
            )

    def __reduce__(self) -> Any:
        raise NotSupported(
            "pickle: a pickle can run any code when it is read; keep tensors with "
            "tt.save(file, {'name': tensor}) and tt.load(file)"
        )

    # Gradients

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
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

    def backward(
        self,
        grad: Tensor | None = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
    ) -> None:
        """Add d(self)/d(leaf) to the `.grad` of every leaf that requires a gradient.

        grad: the gradient of what is wanted with respect to this tensor, of its shape; may be left
            out where this tensor is a single number, and is then 1.
        retain_graph: keep the tape, for another backward; else it is freed on the way.
        create_graph: record the way back too, so that gradients can be differentiated again.

        Raises GradientError if there is no history (any more), or if an array that it needs was
        changed in place; ShapeError if `grad` doesn't have this tensor's shape.
        """
        autograd.backward(self, grad, retain_graph, create_graph)

    def zero_grad(self) -> None:
        """Forget the gradient, before the next backward adds to it."""
        self.grad = None

    def register_hook(self, hook: autograd.Hook) -> Callable[[], None]:
        """Have hook(grad) called whenever backward has this tensor's whole gradient.

        What the hook returns, if not None, takes the gradient's place. Returns a function that
        takes the hook away again.
        """
        return autograd.register_hook(self, hook)

    # Changes in place

    def changed(self) -> None:
        """Say that the memory was written to, so that backward won't use what is no longer there.

        The optimisers and `x[i] = ...` call it; call it after writing to `x.numpy()`.
        """
        self.version[0] += 1

    def __setitem__(self, key: ops.Key, value: ops.Operand) -> None:
        if self.requires_grad and (self.node is not None or autograd.is_grad_enabled()):
            raise GradientError(
                "x[...] = value: gradients can't flow through a change in place; make a new "
                "tensor with where() or scatter_add(), or change a leaf under no_grad()"
            )
        at = ops.index.places(self.shape, key)
        given = ops.broadcast_to(ops.cast(value, self.dtype), at.shape)
        kernels.put(given.data.reshape(at.rows), at.numbers, self.data.reshape(at.table))
        self.changed()

    # Operators: an op each

    __add__ = ops.add
    __sub__ = ops.sub
    __mul__ = ops.mul
    __truediv__ = ops.div
    __floordiv__ = ops.floor_div
    __mod__ = ops.mod
    __pow__ = ops.pow
    __matmul__ = ops.matmul
    __neg__ = ops.neg
    __abs__ = ops.abs
    __invert__ = ops.logical_not
    __and__ = ops.logical_and
    __or__ = ops.logical_or
    __xor__ = ops.logical_xor
    __lt__ = ops.less
    __le__ = ops.less_equal
    __gt__ = ops.greater
    __ge__ = ops.greater_equal
    __eq__ = ops.equal  # type: ignore[assignment]  # a Tensor, as in NumPy, not a bool
    __ne__ = ops.not_equal  # type: ignore[assignment]
    __getitem__ = ops.getitem

    def __radd__(self, other: ops.Operand) -> Tensor:
        return ops.add(other, self)

    def __rsub__(self, other: ops.Operand) -> Tensor:
        return ops.sub(other, self)

    def __rmul__(self, other: ops.Operand) -> Tensor:
        return ops.mul(other, self)

    def __rtruediv__(self, other: ops.Operand) -> Tensor:
        return ops.div(other, self)

    def __rfloordiv__(self, other: ops.Operand) -> Tensor:
        return ops.floor_div(other, self)

    def __rmod__(self, other: ops.Operand) -> Tensor:
        return ops.mod(other, self)

    def __rpow__(self, other: ops.Operand) -> Tensor:
        return ops.pow(other, self)

    def __rmatmul__(self, other: ops.Operand) -> Tensor:
        return ops.matmul(other, self)

    __rand__ = ops.logical_and
    __ror__ = ops.logical_or
    __rxor__ = ops.logical_xor

    # Methods: the op of the same name

    abs = ops.abs
    all = ops.all
    any = ops.any
    argmax = ops.argmax
    argmin = ops.argmin
    astype = ops.cast
    broadcast_to = ops.broadcast_to
    ceil = ops.ceil
    clip = ops.clip
    clone = ops.clone
    cos = ops.cos
    cumsum = ops.cumsum
    erf = ops.erf
    exp = ops.exp
    expm1 = ops.expm1
    flatten = ops.flatten
    flip = ops.flip
    floor = ops.floor
    gather = ops.gather
    isfinite = ops.isfinite
    isnan = ops.isnan
    log = ops.log
    log1p = ops.log1p
    log_softmax = ops.log_softmax
    logsumexp = ops.logsumexp
    masked_fill = ops.masked_fill
    matmul = ops.matmul
    max = ops.max
    maximum = ops.maximum
    mean = ops.mean
    min = ops.min
    minimum = ops.minimum
    norm = ops.norm
    outer = ops.outer
    pow = ops.pow
    prod = ops.prod
    reciprocal = ops.reciprocal
    relu = ops.relu
    repeat = ops.repeat
    round = ops.round
    rsqrt = ops.rsqrt
    scatter_add = ops.scatter_add
    sigmoid = ops.sigmoid
    sign = ops.sign
    sin = ops.sin
    softmax = ops.softmax
    split = ops.split
    sqrt = ops.sqrt
    square = ops.square
    squeeze = ops.squeeze
    std = ops.std
    sum = ops.sum
    take = ops.take
    tanh = ops.tanh
    unsqueeze = ops.unsqueeze
    var = ops.var
    permute = ops.permute
    reshape = ops.reshape
    transpose = ops.transpose
    view = ops.reshape

    @property
    def T(self) -> Tensor:
        """The axes in reverse order."""
        return ops.transpose(self)


def wrap(array: Array) -> Tensor:
    """A Tensor on an array that is known to be fit for it: a supported dtype, in C order."""
    tensor = Tensor.__new__(Tensor)
    tensor.data = array
    tensor.grad = tensor.node = tensor.hooks = None
    tensor.version = [0]
    tensor.requires_grad = False
    return tensor


def from_numpy(array: Array) -> Tensor:
    """A Tensor on the memory of a C-contiguous array: no copy, and writes are seen by both.

    Raises DTypeError for a kind of number that isn't supported, ShapeError for an array that isn't
    in C order (np.ascontiguousarray makes a copy that is).
    """
    if not isinstance(array, np.ndarray):
        raise NotSupported(
            f"from_numpy: got a {type(array).__name__}; an array is needed: Tensor(x) makes a copy"
        )
    array = np.asarray(array)  # of a subclass, such as np.matrix, the plain array
    if _is_fit(array):
        return wrap(array)
    if array.dtype not in DTYPES:
        raise DTypeError(f"from_numpy: got {array.dtype}; {_dtype_names()} is needed")
    raise ShapeError(
        f"from_numpy: got an array of shape {array.shape} with strides {array.strides}; one in C "
        "order is needed: np.ascontiguousarray(array) makes it"
    )


def _is_fit(array: Array) -> bool:
    flags = array.flags
    return flags.c_contiguous and flags.aligned and array.dtype in DTYPES


def from_dlpack(other: Any) -> Tensor:
    """A Tensor on the memory of another library's tensor (torch, jax, ...), by DLPack: no copy.

    Raises DTypeError and ShapeError as from_numpy.
    """
    return from_numpy(np.from_dlpack(other))


def to_array(data: ArrayLike | Tensor, dtype: DTypeLike | None, copy: bool) -> Array:
    """Data as a C-contiguous array of a supported dtype."""
    if isinstance(data, Tensor):
        data = data.data
    if not copy and dtype is None and type(data) is np.ndarray and _is_fit(data):
        return data
    try:
        array = np.asarray(data)
    except ValueError as error:
        raise ShapeError(f"Tensor: the rows have different lengths: {error}") from None
    if dtype is None:
        from_python = not isinstance(data, np.ndarray | np.generic)
        dtype = np.float32 if from_python and array.dtype == np.float64 else array.dtype
    wanted = checked_dtype("Tensor", dtype)
    if array.dtype.kind not in "fiub":
        raise DTypeError(f"Tensor: got {array.dtype} data; numbers are needed")
    return np.array(array, wanted, order="C", copy=copy or None)


def checked_dtype(op: str, dtype: DTypeLike) -> np.dtype[Any]:
    """The dtype, which must be one of those supported."""
    try:
        wanted = np.dtype(dtype)
    except TypeError:
        raise DTypeError(f"{op}: got {dtype}; {_dtype_names()} is needed") from None
    if wanted not in DTYPES:
        raise DTypeError(f"{op}: got {wanted}; {_dtype_names()} is needed")
    return wanted


def _dtype_names() -> str:
    return ", ".join(map(str, DTYPES[:-1])) + f" or {DTYPES[-1]}"
