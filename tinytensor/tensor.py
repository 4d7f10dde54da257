"""Tensor: an array with gradients.

The array is NumPy's, in C order, and every backend computes on it where it lies. What a Tensor can
do are the ops of ops/: its operators and methods are those functions, `x.exp()` is `ops.exp(x)`.
autograd.py records the graph that a result was computed by, and computes gradients from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from tinytensor import autograd, kernels, notebook, ops, recorder
from tinytensor.arrays import Array
from tinytensor.errors import (
    DTypeError,
    GradientError,
    NotSupported,
    ShapeError,
)
from tinytensor.ops import numpy_protocol

__all__ = ["Tensor", "from_dlpack", "from_numpy"]

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
        "array",
        "grad",
        "hooks",
        "node",
        "requires_grad",
        "version",
    )
    array: Array  # its numbers; ops read it, and only changes in place may write it
    requires_grad: bool
    grad: Tensor | None
    node: autograd.Node | None  # how it was computed; None for a leaf
    version: autograd.Version | None  # of its memory: how often it was changed, once that counts
    hooks: dict[object, autograd.Hook] | None  # of a leaf; others have theirs on the node

    def __init__(
        self,
        data: ArrayLike | Tensor,
        dtype: DTypeLike | None = None,
        requires_grad: bool = False,
    ) -> None:
        self.array = to_array(data, dtype)
        self.grad = self.node = self.hooks = self.version = None
        self.requires_grad = False
        if requires_grad:
            self.requires_grad_()

    # What it is

    @property
    def shape(self) -> tuple[int, ...]:
        """The size of each axis."""
        return self.array.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.array.ndim

    @property
    def size(self) -> int:
        """The number of elements."""
        return self.array.size

    @property
    def dtype(self) -> np.dtype[Any]:
        """The kind of number, as NumPy names it."""
        return self.array.dtype

    def __len__(self) -> int:
        if not self.array.ndim:
            raise ShapeError("len: got a tensor without axes; at least one is needed")
        return len(self.array)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __format__(self, spec: str) -> str:
        return format(self.item() if spec else str(self), spec)

    def __repr__(self) -> str:
        recorder.refuse_to_read("printing")
        text = np.array2string(self.array, separator=", ", prefix="Tensor(")
        grad = ", requires_grad=True" if self.requires_grad else ""
        return f"Tensor({text}, dtype={self.dtype}{grad})"

    def _repr_html_(self) -> str:
        return notebook.html(self)

    # To NumPy, to Python, and to other libraries

    @property
    def data(self) -> Array:
        """The array itself; what is assigned is copied into it, outside of the tape."""
        return self.numpy()

    @data.setter
    def data(self, value: ops.Operand) -> None:
        given = ops.cast(value, self.dtype)
        if given.shape != self.shape:
            raise ShapeError(f"data: got shape {given.shape}; {self.shape} is needed")
        with autograd.no_grad():
            self[...] = given

    def numpy(self) -> Array:
        """The array itself, not a copy: writing to it changes the tensor."""
        recorder.refuse_to_read(".numpy()")
        return self.array

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        return np.array(self.numpy(), dtype, copy=copy)

    # NumPy's functions of a Tensor: `np.add(t, 1)`, `array + t`, `np.sum(t)`

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Tensor:
        return numpy_protocol.call_ufunc(ufunc, method, inputs, options)

    def __array_function__(
        self, function: Any, types: Any, arguments: tuple[Any, ...], options: dict[str, Any]
    ) -> Any:
        return numpy_protocol.call_function(function, arguments, options)

    def __dlpack__(self, **wishes: Any) -> Any:
        return self.numpy().__dlpack__(**wishes)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()

    def item(self) -> Any:
        """The one element, as a Python number.  Raises ShapeError if there isn't just one."""
        return self._only_element("item")

    def _only_element(self, op: str) -> Any:
        if self.array.size != 1:
            raise ShapeError(f"{op}: got a tensor of shape {self.shape}; one element is needed")
        recorder.refuse_to_read(f".{op}()" if op == "item" else f"{op}()")
        return self.array.item()

    def tolist(self) -> Any:
        """Nested lists of Python numbers."""
        recorder.refuse_to_read(".tolist()")
        return self.array.tolist()

    def __float__(self) -> float:
        return float(self._only_element("float"))

    def __int__(self) -> int:
        return int(self._only_element("int"))

    def __index__(self) -> int:
        if self.array.dtype.kind not in "iu":
            raise DTypeError(f"index: got a tensor of {self.dtype}; an integer is needed")
        return int(self._only_element("index"))

    def __bool__(self) -> bool:
        if self.array.size != 1:
            raise ShapeError(
                f"bool: got a tensor of shape {self.shape}; one element is true or false: "
                "use .any() or .all()"
            )
        return bool(self._only_element("bool"))

    __hash__ = object.__hash__  # by identity, though == compares the elements

    # Copies

    def detach(self) -> Tensor:
        """The same memory as a leaf without history."""
        return autograd.view_of(self, wrap(self.array))

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
        if notes := recorder.recorder():
            notes.note_zeroed([self])

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
        if self.version is not None:
            self.version[0] += 1
        if recorder.recordings and (notes := recorder.recorder()):
            notes.note_changed(self)

    def __setitem__(self, key: ops.Key, value: ops.Operand) -> None:
        given = ops.cast(value, self.dtype)
        if autograd.is_grad_enabled() and (self.requires_grad or given.requires_grad):
            raise GradientError(
                "x[...] = value: gradients can't flow through a change in place; make a new "
                "tensor with where() or scatter_add(), or change a leaf under no_grad()"
            )
        if not self.array.flags.writeable:
            raise NotSupported("x[...] = value: x lies in read-only memory; Tensor(x) is a copy")
        at = ops.index.places(self.shape, key)
        while given.ndim > len(at.shape) and given.shape[0] == 1:  # as NumPy allows it
            given = given.reshape(given.shape[1:])
        if not ops.broadcasts_to(given.shape, at.shape):
            raise ShapeError(
                f"x[...] = value: got a value of shape {given.shape}; it doesn't broadcast to "
                f"{at.shape}"
            )
        given = ops.broadcast_to(given, at.shape)
        if np.may_share_memory(given.array, self.array):
            given = given.clone()
        kernels.put(given.array.reshape(at.rows), at.numbers, self.array.reshape(at.table))
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
    __round__ = ops.round
    __lt__ = ops.less
    __le__ = ops.less_equal
    __gt__ = ops.greater
    __ge__ = ops.greater_equal
    __getitem__ = ops.getitem

    def __eq__(self, other: object) -> Any:
        """A Tensor of bool, as NumPy's; beside None, which no number is, False."""
        return False if other is None else ops.equal(self, other)  # type: ignore[arg-type]

    def __ne__(self, other: object) -> Any:
        return True if other is None else ops.not_equal(self, other)  # type: ignore[arg-type]

    def __pos__(self) -> Tensor:
        return self

    def __invert__(self) -> Tensor:
        return ops.logical_not(_bool("~", self))

    def __and__(self, other: ops.Operand) -> Tensor:
        return ops.logical_and(_bool("&", self), _bool("&", other))

    def __or__(self, other: ops.Operand) -> Tensor:
        return ops.logical_or(_bool("|", self), _bool("|", other))

    def __xor__(self, other: ops.Operand) -> Tensor:
        return ops.logical_xor(_bool("^", self), _bool("^", other))

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

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

    # Methods: the op of the same name

    abs = ops.abs
    add = ops.add
    all = ops.all
    any = ops.any
    argmax = ops.argmax
    argmin = ops.argmin
    astype = ops.cast
    broadcast_to = ops.broadcast_to
    ceil = ops.ceil
    clamp = ops.clip
    clip = ops.clip
    clone = ops.clone
    cos = ops.cos
    cumsum = ops.cumsum
    div = ops.div
    elu = ops.elu
    erf = ops.erf
    exp = ops.exp
    expm1 = ops.expm1
    flatten = ops.flatten
    flip = ops.flip
    floor = ops.floor
    gather = ops.gather
    gelu = ops.gelu
    isfinite = ops.isfinite
    isnan = ops.isnan
    leaky_relu = ops.leaky_relu
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
    mm = ops.matmul
    mul = ops.mul
    neg = ops.neg
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
    silu = ops.silu
    sin = ops.sin
    softmax = ops.softmax
    softplus = ops.softplus
    split = ops.split
    sqrt = ops.sqrt
    square = ops.square
    squeeze = ops.squeeze
    std = ops.std
    sub = ops.sub
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


def _bool(operator: str, x: ops.Operand) -> Tensor:
    """What stands beside a bitwise operator, which here is for bool alone."""
    given = ops.as_tensor(operator, x)
    if given.dtype != np.bool_:
        raise DTypeError(
            f"{operator}: got {given.dtype}; bool is needed: logical_and(x, y) and the like ask "
            "whether numbers are 0"
        )
    return given


def wrap(array: Array) -> Tensor:
    """A Tensor on an array that is known to be fit for it: a supported dtype, in C order."""
    tensor = Tensor.__new__(Tensor)
    tensor.array = array
    tensor.grad = tensor.node = tensor.hooks = tensor.version = None
    tensor.requires_grad = False
    return tensor


def from_numpy(array: Array) -> Tensor:
    """A Tensor on the memory of a C-contiguous array: no copy, and writes are seen by both.

    Raises DTypeError for a kind of number that isn't supported, ShapeError for an array that isn't
    in C order (np.ascontiguousarray makes a copy that is).
    """
    if isinstance(array, Tensor):  # such as an array argument of a captured step
        return array.detach()
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
    if not hasattr(other, "__dlpack__"):
        raise NotSupported(
            f"from_dlpack: got a {type(other).__name__}; a tensor of another library is needed"
        )
    return from_numpy(np.from_dlpack(other))


def to_array(data: ArrayLike | Tensor, dtype: DTypeLike | None = None) -> Array:
    """Returns a C-contiguous copy of the data in a supported dtype."""
    if isinstance(data, Tensor):
        data = data.array
    if type(data) is np.ndarray and _is_fit(data):
        return _copied(data, dtype)
    from_python = not isinstance(data, np.ndarray | np.generic)
    try:
        array = np.asarray(data)
    except ValueError as error:
        raise ShapeError(f"Tensor: the rows have different lengths: {error}") from None
    if dtype is None:
        dtype = np.float32 if from_python and array.dtype == np.float64 else array.dtype
    wanted = checked_dtype("Tensor", dtype)
    if array.dtype.kind not in "fiub":
        raise DTypeError(f"Tensor: got {array.dtype} data; numbers are needed")
    if from_python and wanted.kind in "iu" and array.size:  # a cast would let them wrap
        limits = np.iinfo(wanted)
        if not (limits.min <= array.min() and array.max() <= limits.max):
            raise DTypeError(
                f"Tensor: got numbers from {array.min()} to {array.max()}; {wanted} holds those "
                f"from {limits.min} to {limits.max}"
            )
    return np.array(array, wanted, order="C")


def _copied(array: Array, dtype: DTypeLike | None) -> Array:
    """A copy by a kernel, so that each replay of a captured step copies again."""
    out = np.empty(array.shape, checked_dtype("Tensor", array.dtype if dtype is None else dtype))
    kernels.cast(array, out)
    return out


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
