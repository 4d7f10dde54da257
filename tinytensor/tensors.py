"""Tensor: an array with gradients.

A Tensor holds a NumPy array in C order. All backends read and write this array directly, without a
copy. The operators and methods of Tensor are the functions in ops/: `x.exp()` is `ops.exp(x)`.
autograd.py records the graph of a computation and computes gradients from it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from tinytensor import autograd, devices, hints, kernels, notebook, ops, recorder
from tinytensor.arrays import Array
from tinytensor.errors import (
    DTypeError,
    GradientError,
    NotSupported,
    ShapeError,
)
from tinytensor.ops import numpy_protocol

__all__ = ["Tensor", "from_dlpack", "from_numpy", "tensor"]

DTYPES = tuple(map(np.dtype, ("float32", "float64", "int32", "int64", "uint8", "bool")))
FLOATS = DTYPES[:2]


class Tensor:
    """An n-dimensional array with gradients.

    Operators (`+ - * / // % ** @`, comparisons, indexing) and methods work as in NumPy, and
    `backward()` computes gradients. Each method is the function of the same name: `x.exp()` is
    `tt.exp(x)`.

    Args:
        data: a number, nested lists, an array or another Tensor. The values are always copied, and
            no gradient flows back to them; `tt.from_numpy` shares the memory, and `x.clone()` and
            `tt.stack` pass gradients on.
        dtype: "float32", "float64", "int32", "int64", "uint8" or "bool". By default an array keeps
            its dtype, Python floats become float32 and Python integers become int64.
        requires_grad: True if `backward` should store a gradient in `.grad`. The dtype must be
            float32 or float64.

    Attributes:
        grad: the gradient, a Tensor of the same shape and dtype; None before the first backward.
            A computed tensor has one only after `retain_grad()`.
        requires_grad: True if gradients are computed for this tensor.

    Raises:
        ShapeError: the nested lists have different lengths.
        DTypeError: the dtype is not one of the six, a number does not fit into it, or
            `requires_grad` is True for integers or booleans.

    The operators return new tensors. `x[...] = value`, the operators `+= -= *= /= //= %= **= @= &=
    |= ^=` and the optimisers change a tensor in place. No gradient can flow through such a change,
    so a parameter can only be changed under `no_grad()`. If gradients flow through the result, as
    in `loss += term`, then `x += y` is the same as `x = x + y` and gives a new tensor.

    Source: torch.Tensor and numpy.ndarray.

    >>> x = tt.Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    >>> x.shape, x.dtype
    ((2, 2), dtype('float32'))
    >>> y = (x * x).sum()
    >>> y.backward()
    >>> x.grad  # d(x * x)/dx = 2 * x
    Tensor([[2., 4.],
            [6., 8.]], dtype=float32)
    >>> x[0]
    Tensor([1., 2.], dtype=float32, requires_grad=True)
    >>> (x @ x).mean(axis=0)
    Tensor([11., 16.], dtype=float32, requires_grad=True)
    """

    __slots__ = (
        "__weakref__",
        "_grad",
        "_requires_grad",
        "array",
        "hooks",
        "node",
        "version",
    )
    array: Array  # the values; ops only read them, changes in place write them
    node: autograd.Node | None  # the op that computed this tensor; None for a leaf
    version: autograd.Version | None  # counts changes in place; None until an op saves the tensor
    hooks: dict[object, autograd.Hook] | None  # a leaf's hooks; a computed tensor's node has its

    def __init__(
        self,
        data: ArrayLike | Tensor,
        dtype: DTypeLike | None = None,
        requires_grad: bool = False,
    ) -> None:
        self.array = _copied(data, dtype)
        self._grad: Tensor | None = None
        self.node = self.hooks = self.version = None
        self._requires_grad = False
        if requires_grad:
            self.requires_grad_()

    if not TYPE_CHECKING:  # for mypy, a name that is missing is an error

        def __getattr__(self, name: str) -> NoReturn:
            if name[0] == "_":  # NumPy looks up such names for each array, so this is fast
                raise AttributeError(name)
            if hasattr(type(self), name):  # a property has raised AttributeError, and does so again
                return object.__getattribute__(self, name)
            raise hints.missing("Tensor", name, NAMES)

    @property
    def grad(self) -> Tensor | None:
        """The gradient, a Tensor of the same shape and dtype; None before the first backward.

        `backward` stores gradients of leaves only. Call `retain_grad()` for a computed tensor.
        `x.grad = None` removes the gradient, and `x.grad = 0.0` makes it a tensor of zeros.
        """
        if recorder.recordings and (notes := recorder.recorder()):
            notes.note_grad(self)
        if self._grad is None and self.node is not None and not autograd.is_retained(self):
            warnings.warn(
                f"grad: this tensor was computed by {self.node.name}, and backward() stores "
                "gradients of leaves only; call x.retain_grad() before backward()",
                stacklevel=2,
            )
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | float | None) -> None:
        if isinstance(value, int | float):
            value = ops.broadcast_to(ops.cast(value, self.dtype), self.shape)
        if value is not None:
            _check_grad(self, value)
        if recorder.recordings and (notes := recorder.recorder()):
            notes.note_grad_set(self, value is None)
        self._grad = value

    @property
    def requires_grad(self) -> bool:
        """True if gradients are computed for this tensor; an assignment calls `requires_grad_`."""
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, requires_grad: bool) -> None:
        self.requires_grad_(requires_grad)

    # Shape and dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """The size of each axis: (2, 3) for 2 rows and 3 columns."""
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
        """The dtype of the elements, a numpy.dtype."""
        return self.array.dtype

    def __len__(self) -> int:
        if not self.array.ndim:
            raise ShapeError("len: got a scalar tensor; at least one axis is needed")
        return len(self.array)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __contains__(self, value: ops.Operand) -> bool:
        return bool((self == value).any())  # as in NumPy

    def __format__(self, spec: str) -> str:
        return format(self.item() if spec else str(self), spec)

    def __repr__(self) -> str:
        recorder.refuse_to_read("printing")
        text = np.array2string(self.array, separator=", ", prefix="Tensor(")
        grad = ", requires_grad=True" if self.requires_grad else ""
        return f"Tensor({text}, dtype={self.dtype}{grad})"

    def _repr_html_(self) -> str:
        return notebook.html(self)

    # Conversion to NumPy, Python and other libraries

    @property
    def data(self) -> Tensor:
        """The values without a graph, in the same memory: `detach()`.

        A change in place of `x.data` changes `x`, and an assignment copies values into `x`. Both
        record no gradient: `w.data -= 0.1 * w.grad` is a step of gradient descent.

        Source: torch.Tensor.data.

        >>> w = tt.Tensor([1.0, 2.0], requires_grad=True)
        >>> w.data *= 10
        >>> w
        Tensor([10., 20.], dtype=float32, requires_grad=True)
        """
        return self.detach()

    @data.setter
    def data(self, value: ops.Operand) -> None:
        given = ops.as_tensor("data", value, self.dtype)
        if given.shape != self.shape:
            raise ShapeError(f"data: got shape {given.shape}; {self.shape} is needed")
        with autograd.no_grad():
            self[...] = given

    def numpy(self) -> Array:
        """Return the array itself, not a copy. Writing to the array changes the tensor.

        Call `changed()` after such a write, so that `backward` can detect it.

        Raises:
            CaptureError: a captured step is being recorded, and a recorded step can't read values.

        >>> tt.Tensor([1.0, 2.0]).numpy()
        array([1., 2.], dtype=float32)
        """
        recorder.refuse_to_read(".numpy()")
        return self.array

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        return np.array(self.numpy(), dtype, copy=copy)

    # NumPy functions called with a Tensor: `np.add(t, 1)`, `array + t`, `np.sum(t)`

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
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
        """Return the value of a tensor with one element as a Python number.

        Raises:
            ShapeError: the tensor does not have exactly one element.
            CaptureError: a captured step is being recorded, and a recorded step can't read values.

        >>> tt.Tensor([1.0, 2.0]).sum().item()
        3.0
        """
        return self._only_element("item")

    def _only_element(self, op: str) -> Any:
        if self.array.size != 1:
            raise ShapeError(f"{op}: got a tensor of shape {self.shape}; one element is needed")
        recorder.refuse_to_read(f".{op}()" if op == "item" else f"{op}()")
        return self.array.item()

    def tolist(self) -> Any:
        """Return the elements as nested lists of Python numbers.

        >>> tt.Tensor([[1, 2], [3, 4]]).tolist()
        [[1, 2], [3, 4]]
        """
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
                f"bool: got a tensor of shape {self.shape}; one element is needed: "
                "call .any() or .all()"
            )
        return bool(self._only_element("bool"))

    __hash__ = object.__hash__  # by identity, because == compares elements and returns a Tensor

    # Devices

    def to(
        self, *target: DTypeLike, device: str | None = None, dtype: DTypeLike | None = None
    ) -> Tensor:
        """Return the tensor with another dtype; `x.to("cpu")` returns x itself.

        Args:
            target: "cpu", the only device; or a dtype, as in `x.astype(dtype)`; or both.
            device, dtype: the same, by name.

        Gradient: dx = grad.

        Raises:
            NotSupported: the target is another device.
            DTypeError: the target is a dtype that Tensor does not have.

        Source: torch.Tensor.to.

        >>> tt.tensor([1, 2]).to(tt.float32)
        Tensor([1., 2.], dtype=float32)
        """
        x = self
        for each in (*target, device, dtype):
            if isinstance(each, str) and each.partition(":")[0] in ("cpu", "cuda", "mps", "xpu"):
                devices.device(each)
            elif each is not None:
                x = ops.cast(x, each)
        return x

    def cpu(self) -> Tensor:
        """Return the tensor itself, because all tensors are in the memory of the CPU.

        Source: torch.Tensor.cpu.
        """
        return self

    # Copies

    def detach(self) -> Tensor:
        """Return a tensor on the same memory, without a graph: no gradient flows through it.

        A change in place of one tensor changes the other one too.

        >>> x = tt.Tensor([1.0], requires_grad=True)
        >>> (x * 2).detach()
        Tensor([2.], dtype=float32)
        """
        return autograd.view_of(self, wrap(self.array))

    def __copy__(self) -> Tensor:
        self._refuse_to_copy_graph()
        return self.detach().requires_grad_(self.requires_grad)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        self._refuse_to_copy_graph()
        memo[id(self)] = copy = Tensor(self, requires_grad=self.requires_grad)
        copy.grad = None if self.grad is None else Tensor(self.grad)
        return copy

    def _refuse_to_copy_graph(self) -> None:
        if self.node is not None:
            raise GradientError(
                f"copy: this tensor was computed by {self.node.name}, and its graph can't be "
                "copied; copy x.detach(), or call x.clone(), which passes gradients on"
            )

    def __reduce__(self) -> Any:
        raise NotSupported(
            "pickle: a pickle file can run any code when it is loaded; save tensors with "
            "tt.save(file, {'name': tensor}) and load them with tt.load(file)"
        )

    # Gradients

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Set whether `backward` stores a gradient in `.grad`; returns the tensor itself.

        Args:
            requires_grad: True to compute gradients for this tensor.

        Raises:
            DTypeError: the dtype is not float32 or float64.
            GradientError: the tensor was computed by an op, and `requires_grad` is False.

        >>> tt.zeros(2).requires_grad_()
        Tensor([0., 0.], dtype=float32, requires_grad=True)
        """
        if requires_grad and self.dtype not in FLOATS:
            raise DTypeError(
                f"requires_grad: got a tensor of {self.dtype}; gradients need float32 or float64"
            )
        if self.node is not None and not requires_grad:
            raise GradientError(
                f"requires_grad_: this tensor was computed by {self.node.name}; "
                "detach() returns a tensor that needs no gradient"
            )
        self._requires_grad = bool(requires_grad)
        return self

    def backward(
        self,
        grad: Tensor | None = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
    ) -> None:
        """Add the gradient d(self)/d(leaf) to `leaf.grad`, for every leaf with requires_grad.

        A leaf is a tensor that was created, not computed, such as a parameter.

        Args:
            grad: the gradient of the loss with respect to this tensor, a Tensor of the same shape
                and dtype. It may be left out for a scalar, and is 1 then.
            retain_graph: True keeps the graph for another backward. By default the backward pass
                frees the graph, unless `create_graph` is True.
            create_graph: True records the backward pass too, so that the gradients can be
                differentiated again.

        Raises:
            GradientError: the tensor has no graph, the graph was freed by an earlier backward, an
                array that the backward pass needs was changed in place, or `grad` is missing for
                a tensor with more than one element.
            ShapeError: `grad` has another shape than this tensor.
            DTypeError: `grad` has another dtype than this tensor.

        Source: torch.Tensor.backward.

        >>> w = tt.Tensor([3.0, 4.0], requires_grad=True)
        >>> loss = (w * w).sum()
        >>> loss.backward()
        >>> w.grad
        Tensor([6., 8.], dtype=float32)
        """
        autograd.backward(self, grad, retain_graph, create_graph)

    def zero_grad(self) -> None:
        """Set `.grad` to None. Without this call the next backward adds to the old gradient."""
        self.grad = None

    def retain_grad(self) -> None:
        """Store this computed tensor's gradient in `.grad` in every backward pass.

        By default `backward` stores the gradients of leaves only. Call this method before
        `backward`; it has no effect on a leaf. Gradients of several backward passes are added. A
        hook that replaces the gradient is called first.

        Raises:
            GradientError: this tensor has requires_grad=False.
            CaptureError: a captured step is being recorded; `tt.grad(loss, x)` returns the gradient
                there.

        Source: torch.Tensor.retain_grad.

        >>> w = tt.Tensor([1.0, 2.0], requires_grad=True)
        >>> hidden = w * 3
        >>> hidden.retain_grad()
        >>> (hidden * hidden).sum().backward()
        >>> hidden.grad
        Tensor([ 6., 12.], dtype=float32)
        """
        autograd.retain_grad(self)

    def register_hook(self, hook: autograd.Hook) -> Callable[[], None]:
        """Call `hook(grad)` in every backward pass, once the tensor's gradient is complete.

        Args:
            hook: a function of the gradient, a Tensor of this tensor's shape and dtype. If it
                returns a Tensor, that tensor replaces the gradient. If it returns None, the
                gradient stays as it is.

        Returns:
            A function without arguments that removes the hook.

        Raises:
            GradientError: this tensor has requires_grad=False.

        Source: torch.Tensor.register_hook.

        >>> x = tt.Tensor([1.0, 2.0], requires_grad=True)
        >>> remove = x.register_hook(lambda grad: grad * 10)
        >>> x.sum().backward()
        >>> x.grad
        Tensor([10., 10.], dtype=float32)
        """
        return autograd.register_hook(self, hook)

    # Changes in place

    def changed(self) -> None:
        """Mark the tensor as changed, so that backward raises an error if it needs the old values.

        Call it after writing to `x.numpy()`. The optimisers and `x[i] = ...` call it themselves.
        """
        if self.version is not None:
            self.version[0] += 1
        if recorder.recordings and (notes := recorder.recorder()):
            notes.note_changed(self)

    def __setitem__(self, key: ops.Key, value: ops.Operand) -> None:
        """Copy a value into the elements that x[key] picks, in place; no gradient flows through it.

        Args:
            key: as in x[key].
            value: array-like whose shape broadcasts to that of x[key]; converted to the dtype of x.

        Raises:
            GradientError: a gradient would be lost, because x or the value requires one.
            DTypeError: a number does not fit into x's dtype.
            ShapeError: the value does not broadcast to the shape of x[key].
            IndexingError: the key is outside x or of another type.
            NotSupported: x is read-only, or the value is None or a string.

        Source: numpy.ndarray.__setitem__.
        """
        given = ops.as_tensor("x[...] = value", value, self.dtype)
        self._refuse_to_lose_gradients(
            "x[...] = value", given, "make a new tensor with where() or scatter_add()"
        )
        if not self.array.flags.writeable:
            raise NotSupported("x[...] = value: x is read-only; Tensor(x) makes a copy to write to")
        at = ops.index.places(self.shape, key)
        # Like NumPy, drop leading axes of size 1 that x[key] does not have.
        while given.ndim > len(at.shape) and given.shape[0] == 1:
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

    def _refuse_to_lose_gradients(self, change: str, value: Tensor, instead: str) -> None:
        if autograd.is_grad_enabled() and (self.requires_grad or value.requires_grad):
            raise GradientError(
                f"{change}: gradients can't flow through a change in place; {instead}, or change a "
                "leaf under no_grad()"
            )

    def _replace_values(self, operator: str, result: Tensor) -> Tensor:
        """Copy the result of `self operator other` into this tensor's memory; return the tensor.

        If gradients flow through the result, as in `loss += term`, return the result itself: the
        graph needs the old values, so `x += y` is `x = x + y`. Otherwise, as in NumPy, the result
        must have this tensor's shape, and may not be of a wider kind, such as a float result for an
        integer tensor.

        Raises:
            GradientError: this tensor is a leaf that requires a gradient, outside of no_grad().
            ShapeError: the result has another shape.
            DTypeError: the result's dtype is of a wider kind.
        """
        if result.node is not None and not (self.requires_grad and self.node is None):
            return result
        change = f"x {operator}= y"
        self._refuse_to_lose_gradients(change, result, f"write x = x {operator} y")
        if result.shape != self.shape:
            raise ShapeError(
                f"{change}: the result has shape {result.shape}, and x has shape {self.shape}; "
                f"write x = x {operator} y"
            )
        if not np.can_cast(result.dtype, self.dtype, "same_kind"):
            raise DTypeError(
                f"{change}: the result has dtype {result.dtype}, which x of {self.dtype} can't "
                f"hold; write x = x {operator} y"
            )
        self[...] = result
        return self

    # Operators

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
        """Return a bool Tensor, element by element as in NumPy; False if `other` is None."""
        return False if other is None else ops.equal(self, other)  # type: ignore[arg-type]

    def __ne__(self, other: object) -> Any:
        return True if other is None else ops.not_equal(self, other)  # type: ignore[arg-type]

    def __pos__(self) -> Tensor:
        return ops.clone(self)

    def __invert__(self) -> Tensor:
        return ops.logical_not(_bool_operand("~", self))

    def __and__(self, other: ops.Operand) -> Tensor:
        return ops.logical_and(_bool_operand("&", self), _bool_operand("&", other))

    def __or__(self, other: ops.Operand) -> Tensor:
        return ops.logical_or(_bool_operand("|", self), _bool_operand("|", other))

    def __xor__(self, other: ops.Operand) -> Tensor:
        return ops.logical_xor(_bool_operand("^", self), _bool_operand("^", other))

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

    def __iadd__(self, other: ops.Operand) -> Tensor:
        return self._replace_values("+", self + other)

    def __isub__(self, other: ops.Operand) -> Tensor:
        return self._replace_values("-", self - other)

    def __imul__(self, other: ops.Operand) -> Tensor:
        return self._replace_values("*", self * other)

    def __itruediv__(self, other: ops.Operand) -> Tensor:
        return self._replace_values("/", self / other)

    def __ifloordiv__(self, other: ops.Operand) -> Tensor:
        return self._replace_values("//", self // other)

    def __imod__(self, other: ops.Operand) -> Tensor:
        return self._replace_values("%", self % other)

    def __ipow__(self, other: ops.Operand) -> Tensor:
        return self._replace_values("**", self**other)

    def __imatmul__(self, other: ops.Operand) -> Tensor:  # type: ignore[misc]
        return self._replace_values("@", self @ other)

    def __iand__(self, other: ops.Operand) -> Tensor:
        return self._replace_values("&", self & other)

    def __ior__(self, other: ops.Operand) -> Tensor:
        return self._replace_values("|", self | other)

    def __ixor__(self, other: ops.Operand) -> Tensor:
        return self._replace_values("^", self ^ other)

    def astype(self, dtype: DTypeLike, copy: bool = True) -> Tensor:
        """Return a copy, converted to another dtype.

        Args:
            dtype: float32, float64, int32, int64, uint8 or bool, as a name or a NumPy dtype.
            copy: False returns the tensor itself if it has this dtype already, as `tt.cast` does.

        Gradient: dx = grad, converted back, if both dtypes are floats; none otherwise.

        Raises:
            DTypeError: the dtype is not supported.

        Source: numpy.ndarray.astype.

        >>> tt.Tensor([1.7, -1.7]).astype("int64")
        Tensor([ 1, -1], dtype=int64)
        """
        result = ops.cast(self, dtype)
        return ops.clone(self) if result is self and copy else result

    # Methods: each is the op of the same name

    abs = ops.abs
    add = ops.add
    all = ops.all
    any = ops.any
    argmax = ops.argmax
    argmin = ops.argmin
    argsort = ops.argsort
    broadcast_to = ops.broadcast_to
    ceil = ops.ceil
    clamp = ops.clip
    clip = ops.clip
    clone = ops.clone
    cos = ops.cos
    cumsum = ops.cumsum
    div = ops.div
    elu = ops.elu
    eq = ops.equal
    erf = ops.erf
    exp = ops.exp
    expm1 = ops.expm1
    flatten = ops.flatten
    flip = ops.flip
    floor = ops.floor
    gather = ops.gather
    ge = ops.greater_equal
    gelu = ops.gelu
    gt = ops.greater
    isclose = ops.isclose
    isfinite = ops.isfinite
    isinf = ops.isinf
    isnan = ops.isnan
    le = ops.less_equal
    leaky_relu = ops.leaky_relu
    log = ops.log
    log1p = ops.log1p
    log_softmax = ops.log_softmax
    logsumexp = ops.logsumexp
    lt = ops.less
    masked_fill = ops.masked_fill
    matmul = ops.matmul
    max = ops.max
    maximum = ops.maximum
    mean = ops.mean
    min = ops.min
    minimum = ops.minimum
    mm = ops.matmul
    mul = ops.mul
    ne = ops.not_equal
    neg = ops.neg
    norm = ops.norm
    outer = ops.outer
    pow = ops.pow
    prod = ops.prod
    reciprocal = ops.reciprocal
    relu = ops.relu
    repeat = ops.repeat
    roll = ops.roll
    round = ops.round
    rsqrt = ops.rsqrt
    scatter_add = ops.scatter_add
    sigmoid = ops.sigmoid
    sign = ops.sign
    silu = ops.silu
    sin = ops.sin
    softmax = ops.softmax
    softplus = ops.softplus
    sort = ops.sort
    split = ops.split
    sqrt = ops.sqrt
    square = ops.square
    squeeze = ops.squeeze
    std = ops.std
    sub = ops.sub
    sum = ops.sum
    swapaxes = ops.swapaxes
    take = ops.take
    tanh = ops.tanh
    topk = ops.topk
    tril = ops.tril
    triu = ops.triu
    unsqueeze = ops.unsqueeze
    var = ops.var
    permute = ops.permute
    reshape = ops.reshape
    transpose = ops.transpose
    view = ops.reshape

    def view_as(self, other: Tensor) -> Tensor:
        """Return `x.reshape(other.shape)`, which shares the memory.

        Args:
            other: a Tensor with the same number of elements, of any dtype.

        Raises:
            ShapeError: the number of elements differs.

        Source: torch.Tensor.view_as.
        """
        return ops.reshape(self, other.shape)

    @property
    def T(self) -> Tensor:
        """The transpose: the same elements with the axes in reverse order.

        >>> tt.zeros(2, 3).T.shape
        (3, 2)
        """
        return ops.transpose(self)


NAMES = [name for name in dir(Tensor) if name[0] != "_"]


def _bool_operand(operator: str, x: ops.Operand) -> Tensor:
    """Return an operand of `~ & | ^` as a Tensor; raise DTypeError if it is not bool."""
    given = ops.as_tensor(operator, x)
    if given.dtype != np.bool_:
        raise DTypeError(
            f"{operator}: got {given.dtype}; bool is needed: logical_and(x, y), logical_or and "
            "logical_not take other dtypes and treat every value except 0 as True"
        )
    return given


def wrap(array: Array) -> Tensor:
    """Return a Tensor on an array without checks: C-contiguous, aligned, a dtype of DTYPES."""
    x = Tensor.__new__(Tensor)
    x.array = array
    x._grad = x.node = x.hooks = x.version = None
    x._requires_grad = False
    return x


def tensor(
    data: ArrayLike | Tensor, dtype: DTypeLike | None = None, requires_grad: bool = False
) -> Tensor:
    """Return a new Tensor with a copy of the values: `Tensor(data, dtype, requires_grad)`.

    Args:
        data: a number, nested lists, an array or another Tensor; any shape. The copy has no graph;
            a list of tensors that require a gradient warns: tt.stack passes gradients on.
        dtype: float32, float64, int32, int64, uint8 or bool. By default an array keeps its dtype,
            Python floats become float32 and Python integers become int64.
        requires_grad: True if `backward` should store a gradient in `.grad`; floats only.

    Raises:
        ShapeError: the nested lists have different lengths.
        DTypeError: the dtype is not one of the six, a number does not fit into it, or
            `requires_grad` is True for integers or booleans.

    Source: torch.tensor, numpy.array.

    >>> tt.tensor([[1, 2], [3, 4]], dtype=tt.float32, requires_grad=True)
    Tensor([[1., 2.],
            [3., 4.]], dtype=float32, requires_grad=True)
    """
    x = wrap(_copied(data, dtype))
    return x.requires_grad_() if requires_grad else x


def _copied(data: ArrayLike | Tensor, dtype: DTypeLike | None) -> Array:
    """The array of a new Tensor with a copy of the values; warns if gradients are lost."""
    if isinstance(dtype, int):
        raise DTypeError(
            f"Tensor: got {dtype} as the dtype; tt.zeros(3, 4) makes a tensor of this shape, "
            "and tt.tensor([3, 4]) a tensor of these values"
        )
    array = to_array("Tensor", data, dtype)
    in_list = ops.operands.tensors_in(data) if isinstance(data, list | tuple) else ()
    if autograd.is_grad_enabled() and any(x.requires_grad for x in in_list):
        warnings.warn(
            "Tensor: got tensors that require a gradient in a list, and the copy has no graph; "
            "tt.stack(tensors) passes gradients on, and x.detach() is a tensor without one",
            stacklevel=3,
        )
    return array


def from_numpy(array: Array) -> Tensor:
    """Return a Tensor that shares the memory of a NumPy array. Nothing is copied.

    A write to the array changes the tensor, and the other way round.

    Args:
        array: a C-contiguous array of any shape; float32, float64, int32, int64, uint8 or bool.

    Raises:
        DTypeError: the array has another dtype.
        ShapeError: the array is not C-contiguous; np.ascontiguousarray(array) makes a copy that is.
        NotSupported: the argument is not an array.

    Source: torch.from_numpy.

    >>> array = np.zeros(3, np.float32)
    >>> x = tt.from_numpy(array)
    >>> array[0] = 5
    >>> x
    Tensor([5., 0., 0.], dtype=float32)
    """
    if isinstance(array, Tensor):  # an array argument of a captured step arrives as a Tensor
        return array.detach()
    if not isinstance(array, np.ndarray):
        raise NotSupported(
            f"from_numpy: got a {type(array).__name__}; an array is needed: Tensor(x) makes a copy"
        )
    array = np.asarray(array)  # converts a subclass such as np.matrix to a plain array
    if _can_be_shared(array):
        return wrap(array)
    if array.dtype not in DTYPES:
        raise DTypeError(f"from_numpy: got {array.dtype}; {_dtype_names()} is needed")
    raise ShapeError(
        f"from_numpy: got an array of shape {array.shape} with strides {array.strides}; a "
        "C-contiguous array is needed: np.ascontiguousarray(array) makes a copy that is"
    )


def _can_be_shared(array: Array) -> bool:
    flags = array.flags
    return flags.c_contiguous and flags.aligned and array.dtype in DTYPES


def from_dlpack(other: Any) -> Tensor:
    """Return a Tensor that shares the memory of another library's CPU tensor, through DLPack.

    Nothing is copied.

    Args:
        other: a tensor of PyTorch, JAX, ... with a `__dlpack__` method; any shape, C-contiguous;
            float32, float64, int32, int64, uint8 or bool.

    Raises:
        DTypeError: the tensor has another dtype.
        ShapeError: the tensor is not C-contiguous.
        NotSupported: `other` has no `__dlpack__` method, or its memory can't be used: it is on
            another device, or its capsule was used before.

    Source: numpy.from_dlpack, torch.from_dlpack.

    >>> tt.from_dlpack(np.ones(2, np.float32))
    Tensor([1., 1.], dtype=float32)
    """
    if not hasattr(other, "__dlpack__"):
        raise NotSupported(
            f"from_dlpack: got a {type(other).__name__}; a tensor of another library is needed"
        )
    try:
        array = np.from_dlpack(other)
    except Exception as error:  # of NumPy or of the other library
        raise NotSupported(
            f"from_dlpack: the memory of this {type(other).__name__} can't be used: {error}"
        ) from None
    return from_numpy(array)


def _check_grad(x: Tensor, grad: Tensor) -> None:
    if not isinstance(grad, Tensor):
        raise NotSupported(
            f"x.grad = ...: got a {type(grad).__name__}; a Tensor is needed, such as "
            "tt.from_numpy(array), or a number or None"
        )
    if grad.array.shape != x.array.shape:
        raise ShapeError(
            f"x.grad = ...: got shape {grad.shape} for x of shape {x.shape}; the same is needed"
        )
    if grad.array.dtype != x.array.dtype:
        raise DTypeError(
            f"x.grad = ...: got {grad.dtype} for x of {x.dtype}; the same dtype is needed"
        )


def to_array(op: str, data: ArrayLike | Tensor, dtype: DTypeLike | None = None) -> Array:
    """Return a C-contiguous copy of `data` with the given dtype; see Tensor for the defaults.

    Errors name the op.
    """
    if isinstance(data, Tensor):
        data = data.array
    if type(data) is np.ndarray and _can_be_shared(data):
        return _copy(op, data, dtype)
    from_python = not isinstance(data, np.ndarray | np.generic)
    try:
        array = np.asarray(data)
    except ValueError as error:
        raise ShapeError(f"{op}: the rows have different lengths: {error}") from None
    if dtype is None:
        dtype = np.float32 if from_python and array.dtype == np.float64 else array.dtype
    wanted = checked_dtype(op, dtype)
    if array.dtype.kind not in "fiub":
        raise DTypeError(f"{op}: got {array.dtype} data; numbers are needed")
    # As in NumPy, the conversion of an array may wrap values around, and that of numbers may not.
    if not isinstance(data, np.ndarray) and wanted.kind in "iu" and array.size:
        limits = np.iinfo(wanted)
        if not (limits.min <= array.min() and array.max() < limits.max + 1):
            raise DTypeError(
                f"{op}: got values from {array.min()} to {array.max()}; {wanted} holds values "
                f"from {limits.min} to {limits.max}"
            )
    return np.array(array, wanted, order="C")


def _copy(op: str, array: Array, dtype: DTypeLike | None) -> Array:
    """Return a copy made by a kernel, because a captured step replays kernels only."""
    out = np.empty(array.shape, checked_dtype(op, array.dtype if dtype is None else dtype))
    kernels.cast(array, out)
    return out


def checked_dtype(op: str, dtype: DTypeLike) -> np.dtype[Any]:
    """Return the dtype as a numpy.dtype; raise DTypeError if it is not in DTYPES."""
    try:
        wanted = np.dtype(dtype)
    except TypeError:
        raise DTypeError(f"{op}: got {dtype}; {_dtype_names()} is needed") from None
    if wanted not in DTYPES:
        raise DTypeError(f"{op}: got {wanted}; {_dtype_names()} is needed")
    return wanted


def _dtype_names() -> str:
    return ", ".join(map(str, DTYPES[:-1])) + f" or {DTYPES[-1]}"
