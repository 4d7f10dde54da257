"""Every op, forward and backward together.

An op checks its operands, has a kernel fill `out`, and says in `backward` how a gradient of the
result becomes gradients of the operands. Backward is written with ops too, so that it reads like
the formula. `grad` always has the shape of the op's result.

Where one kernel does a whole backward (softmax_backward, cross_entropy_backward, relu_backward),
that kernel is an op of its own.

All ops take float32 or float64, their operands alike; Python numbers and NumPy arrays are accepted
beside a Tensor. Errors: DTypeError for other numbers, ShapeError for shapes that don't fit.
"""

import math
from functools import lru_cache

import numpy as np

from tinytensor import kernels
from tinytensor.errors import DTypeError, LabelError, ShapeError
from tinytensor.kernels import Array
from tinytensor.tensor import FLOATS, Axis, Operand, Tensor, from_numpy, record
from tinytensor.tensor import _to_array as to_array

# Operands ---------------------------------------------------------------------------------------


def _operand(op: str, x: Operand, like: Operand = 0.0) -> Tensor:
    """x as a Tensor of floats; a Python number takes the dtype of the tensor it meets."""
    if not isinstance(x, Tensor):
        dtype = (
            like.dtype if isinstance(x, bool | int | float) and isinstance(like, Tensor) else None
        )
        x = from_numpy(to_array(x, dtype, copy=False))
    if x.data.dtype not in FLOATS:
        raise DTypeError(
            f"{op}: got a tensor of {x.dtype}; float32 or float64 is needed: "
            'Tensor(x, dtype="float32")'
        )
    return x


def _operands(op: str, x: Operand, y: Operand) -> tuple[Tensor, Tensor]:
    x, y = _operand(op, x, like=y), _operand(op, y, like=x)
    if x.data.dtype != y.data.dtype:
        raise DTypeError(
            f"{op}: got x of {x.dtype} and y of {y.dtype}; both alike are needed: "
            'Tensor(x, dtype="float32")'
        )
    return x, y


def _labels(op: str, array: Array, classes: int) -> Array:
    """Class labels as an int64 array, each from 0 to classes - 1."""
    if array.dtype.kind not in "iu" and array.size:
        raise DTypeError(f"{op}: got labels of {array.dtype}; integers are needed")
    array = np.ascontiguousarray(array, np.int64)
    # Seen as unsigned, a negative label is a huge one: one comparison finds both mistakes.
    if array.size and np.maximum.reduce(array.view(np.uint64), axis=None) >= classes:
        wrong = array[(array < 0) | (array >= classes)][0]
        raise LabelError(
            f"{op}: got label {wrong}; with {classes} classes, 0 to {classes - 1} is needed"
        )
    return array


# Elementwise, broadcast -------------------------------------------------------------------------


_broadcast_shapes = lru_cache(np.broadcast_shapes)


def _broadcast(op: str, x: Tensor, y: Tensor) -> Array:
    """An array for the result of an op on x and y, which are repeated along axes of size 1."""
    if x.data.shape == y.data.shape:
        return np.empty_like(x.data)
    try:
        return np.empty(_broadcast_shapes(x.data.shape, y.data.shape), x.data.dtype)
    except ValueError:
        raise ShapeError(
            f"{op}: got x of shape {x.shape} and y of shape {y.shape}; seen from the right, sizes "
            "must be equal or 1"
        ) from None


def _unbroadcast(grad: Tensor, x: Tensor) -> Tensor | None:
    """The gradient of an operand that was repeated: what arrives at its copies is summed."""
    if not x.requires_grad:
        return None
    return grad if grad.data.shape == x.data.shape else sum_to(grad, x.data.shape)


def add(x: Operand, y: Operand) -> Tensor:
    """x + y, broadcast.  dx = grad, dy = grad, summed over the axes where they were repeated."""
    x, y = _operands("add", x, y)
    out = _broadcast("add", x, y)
    kernels.add(x.data, y.data, out)

    def backward(grad: Tensor) -> tuple[Tensor | None, ...]:
        return _unbroadcast(grad, x), _unbroadcast(grad, y)

    return record("add", out, (x, y), backward)


def sub(x: Operand, y: Operand) -> Tensor:
    """x - y, broadcast.  dx = grad, dy = -grad, summed as in add."""
    x, y = _operands("sub", x, y)
    out = _broadcast("sub", x, y)
    kernels.sub(x.data, y.data, out)

    def backward(grad: Tensor) -> tuple[Tensor | None, ...]:
        return _unbroadcast(grad, x), _unbroadcast(-grad, y) if y.requires_grad else None

    return record("sub", out, (x, y), backward)


def mul(x: Operand, y: Operand) -> Tensor:
    """x * y by elements, broadcast.  dx = grad * y, dy = grad * x, summed as in add."""
    x, y = _operands("mul", x, y)
    out = _broadcast("mul", x, y)
    kernels.mul(x.data, y.data, out)

    def backward(grad: Tensor) -> tuple[Tensor | None, ...]:
        return (
            _unbroadcast(grad * y, x) if x.requires_grad else None,
            _unbroadcast(grad * x, y) if y.requires_grad else None,
        )

    return record("mul", out, (x, y), backward)


def div(x: Operand, y: Operand) -> Tensor:
    """x / y by elements, broadcast.  dx = grad / y, dy = -grad * x / y^2, summed as in add."""
    x, y = _operands("div", x, y)
    out = _broadcast("div", x, y)
    kernels.div(x.data, y.data, out)

    def backward(grad: Tensor) -> tuple[Tensor | None, ...]:
        return (
            _unbroadcast(grad / y, x) if x.requires_grad else None,
            _unbroadcast(-grad * x / (y * y), y) if y.requires_grad else None,
        )

    return record("div", out, (x, y), backward)


# Elementwise, of one operand --------------------------------------------------------------------


def neg(x: Operand) -> Tensor:
    """-x.  dx = -grad."""
    x = _operand("neg", x)
    out = np.empty_like(x.data)
    kernels.neg(x.data, out)

    def backward(grad: Tensor) -> tuple[Tensor | None, ...]:
        return (-grad,)

    return record("neg", out, (x,), backward)


def exp(x: Operand) -> Tensor:
    """e^x.  dx = grad * e^x."""
    x = _operand("exp", x)
    out = np.empty_like(x.data)
    kernels.exp(x.data, out)

    def backward(grad: Tensor) -> tuple[Tensor | None, ...]:
        return (grad * from_numpy(out),)

    return record("exp", out, (x,), backward)


def log(x: Operand) -> Tensor:
    """The natural logarithm of x.  dx = grad / x."""
    x = _operand("log", x)
    out = np.empty_like(x.data)
    kernels.log(x.data, out)

    def backward(grad: Tensor) -> tuple[Tensor | None, ...]:
        return (grad / x,)

    return record("log", out, (x,), backward)


def relu(x: Operand) -> Tensor:
    """x where it is positive, else 0.  dx = grad where x > 0, else 0."""
    x = _operand("relu", x)
    out = np.empty_like(x.data)
    kernels.relu(x.data, out)

    def backward(grad: Tensor) -> tuple[Tensor | None, ...]:
        return (relu_backward(grad, x),)

    return record("relu", out, (x,), backward)


def relu_backward(grad: Operand, x: Operand) -> Tensor:
    """grad where x > 0, else 0; both of one shape.  dgrad = the same of its gradient, dx = 0."""
    grad, x = _operands("relu_backward", grad, x)
    _same_shape("relu_backward", grad, x)
    out = np.empty_like(x.data)
    kernels.relu_backward(grad.data, x.data, out)

    def backward(upstream: Tensor) -> tuple[Tensor | None, ...]:
        return relu_backward(upstream, x), None

    return record("relu_backward", out, (grad, x), backward)


def sigmoid(x: Operand) -> Tensor:
    """s = 1 / (1 + e^-x).  dx = grad * s * (1 - s)."""
    x = _operand("sigmoid", x)
    out = np.empty_like(x.data)
    kernels.sigmoid(x.data, out)

    def backward(grad: Tensor) -> tuple[Tensor | None, ...]:
        s = from_numpy(out)
        return (grad * s * (1 - s),)

    return record("sigmoid", out, (x,), backward)


def _same_shape(op: str, x: Tensor, y: Tensor) -> None:
    if x.shape != y.shape:
        raise ShapeError(f"{op}: got shapes {x.shape} and {y.shape}; both alike are needed")


# Reductions -------------------------------------------------------------------------------------


def _axes(op: str, axis: Axis, ndim: int) -> tuple[int, ...]:
    """Axes from 0 to ndim - 1, in order; None means all of them."""
    given = range(ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    axes = sorted(a + ndim if a < 0 else a for a in given)
    if len(set(axes)) < len(axes) or any(not 0 <= a < ndim for a in axes):
        raise ShapeError(f"{op}: got axis {axis}; the tensor has {ndim} axes, each may come once")
    return tuple(axes)


def sum(x: Operand, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The sum over one axis, several (a tuple) or all (None).  dx = grad, repeated along them.

    keepdims: leave the summed axes in the shape, with size 1.
    """
    x = _operand("sum", x)
    axes = _axes("sum", axis, x.ndim)
    kept = tuple(1 if a in axes else size for a, size in enumerate(x.shape))
    total = sum_to(x, kept)
    if keepdims:
        return total
    return reshape(total, tuple(size for a, size in enumerate(x.shape) if a not in axes))


def sum_to(x: Operand, shape: tuple[int, ...]) -> Tensor:
    """Sum x down to `shape`, which broadcasts to x's.  dx = grad, broadcast to x's shape."""
    x = _operand("sum_to", x)
    if not _broadcasts_to(shape, x.shape):
        raise ShapeError(f"sum_to: got x of shape {x.shape}; {shape} doesn't broadcast to it")
    out = np.empty(shape, x.dtype)
    kernels.sum(x.data, out)

    def backward(grad: Tensor) -> tuple[Tensor | None, ...]:
        return (broadcast_to(grad, x.shape),)

    return record("sum", out, (x,), backward)


def broadcast_to(x: Operand, shape: tuple[int, ...]) -> Tensor:
    """x repeated along axes of size 1, or new ones at the front.  dx = grad, summed over them."""
    x = _operand("broadcast_to", x)
    if not _broadcasts_to(x.shape, shape):
        raise ShapeError(f"broadcast_to: got x of shape {x.shape}; it doesn't broadcast to {shape}")
    out = np.empty(shape, x.dtype)
    kernels.broadcast_to(x.data, out)

    def backward(grad: Tensor) -> tuple[Tensor | None, ...]:
        return (sum_to(grad, x.shape),)

    return record("broadcast_to", out, (x,), backward)


def _broadcasts_to(shape: tuple[int, ...], larger: tuple[int, ...]) -> bool:
    try:
        return _broadcast_shapes(shape, larger) == larger
    except ValueError:
        return False


def mean(x: Operand, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The sum divided by the number of its terms (NaN for none).  dx = grad / terms, repeated."""
    x = _operand("mean", x)
    terms = math.prod(x.shape[a] for a in _axes("mean", axis, x.ndim))
    return sum(x, axis, keepdims) / terms


def argmax(x: Operand, axis: int | None = None) -> Tensor:
    """Where the largest is along an axis (None: in the flattened tensor), as int64; no gradient.

    The first of equals; a NaN counts as larger than any number.
    """
    x = _operand("argmax", x)
    if axis is None:
        rows = reshape(x, (x.size,))
    else:
        rows = _move_axis(x, _one_axis("argmax", axis, x.ndim), x.ndim - 1)
    if not rows.shape[-1]:
        raise ShapeError(f"argmax: got shape {x.shape}, axis {axis}; nothing is there to compare")
    out = np.empty(rows.shape[:-1], np.int64)
    kernels.argmax(_rows(rows.data), out.reshape(-1))
    return from_numpy(out)


# Shape ------------------------------------------------------------------------------------------


def reshape(x: Operand, shape: int | tuple[int, ...]) -> Tensor:
    """The same memory in another shape; -1 stands for what is left.  dx = grad in x's shape."""
    x = x if isinstance(x, Tensor) else from_numpy(to_array(x, None, copy=False))
    try:
        out = x.data.reshape(shape)
    except (ValueError, TypeError):
        raise ShapeError(
            f"reshape: got x of shape {x.shape}, {x.size} elements; they don't fit into {shape}"
        ) from None

    def backward(grad: Tensor) -> tuple[Tensor | None, ...]:
        return (reshape(grad, x.shape),)

    return record("reshape", out, (x,), backward)


def transpose(x: Operand, axes: tuple[int, ...] | None = None) -> Tensor:
    """A copy with the axes in another order (None: reversed).  dx = grad with the axes put back."""
    x = _operand("transpose", x)
    order = tuple(range(x.ndim))[::-1] if axes is None else tuple(a % max(x.ndim, 1) for a in axes)
    if sorted(order) != list(range(x.ndim)) or any(not -x.ndim <= a < x.ndim for a in axes or ()):
        raise ShapeError(f"transpose: got axes {axes}; each of x's {x.ndim} axes once is needed")
    out = np.empty(tuple(x.shape[a] for a in order), x.dtype)
    kernels.transpose(x.data, out, order)

    def backward(grad: Tensor) -> tuple[Tensor | None, ...]:
        return (transpose(grad, tuple(order.index(a) for a in range(x.ndim))),)

    return record("transpose", out, (x,), backward)


def _move_axis(x: Tensor, source: int, target: int) -> Tensor:
    """x with one axis in another place, the others in their order."""
    order = [a for a in range(x.ndim) if a != source]
    order.insert(target, source)
    return x if source == target else transpose(x, tuple(order))


def _rows(array: Array) -> Array:
    """The array as a matrix (R, C): its last axis, and all others in one."""
    C = array.shape[-1]
    return array.reshape(math.prod(array.shape[:-1]), C)


# Linear algebra ---------------------------------------------------------------------------------


def matmul(
    x: Operand, y: Operand, *, transpose_x: bool = False, transpose_y: bool = False
) -> Tensor:
    """The matrix product x . y.  dx = grad . y^T, dy = x^T . grad.

    x (M, K), or (K, M) with transpose_x; y (K, N), or (N, K) with transpose_y; the result (M, N).
    The flags only say how to read the memory: nothing is moved.
    """
    x, y = _operands("matmul", x, y)
    if x.data.ndim != 2 or y.data.ndim != 2:
        raise ShapeError(f"matmul: got shapes {x.shape} and {y.shape}; two matrices are needed")
    M, x_inner = x.data.T.shape if transpose_x else x.data.shape
    y_inner, N = y.data.T.shape if transpose_y else y.data.shape
    if x_inner != y_inner:
        raise ShapeError(
            f"matmul: got x of shape {x.shape} and y of shape {y.shape}; the inner sizes, "
            f"here {x_inner} and {y_inner}, must be equal"
        )
    out = np.empty((M, N), x.dtype)
    kernels.matmul(x.data, y.data, out, transpose_x, transpose_y)

    def backward(grad: Tensor) -> tuple[Tensor | None, ...]:
        grad_x = grad_y = None
        if x.requires_grad and not transpose_x:
            grad_x = matmul(grad, y, transpose_y=not transpose_y)
        elif x.requires_grad:
            grad_x = matmul(y, grad, transpose_x=transpose_y, transpose_y=True)
        if y.requires_grad and not transpose_y:
            grad_y = matmul(x, grad, transpose_x=not transpose_x)
        elif y.requires_grad:
            grad_y = matmul(grad, x, transpose_x=True, transpose_y=transpose_x)
        return grad_x, grad_y

    return record("matmul", out, (x, y), backward)


# Classification ---------------------------------------------------------------------------------


def softmax(x: Operand, axis: int = -1) -> Tensor:
    """Probabilities p = e^x / sum of e^x along an axis.  dx = p * (grad - sum of grad * p)."""
    x = _operand("softmax", x)
    axis = _one_axis("softmax", axis, x.ndim)
    if axis != x.ndim - 1:
        return _move_axis(softmax(_move_axis(x, axis, x.ndim - 1)), x.ndim - 1, axis)
    out = np.empty_like(x.data)
    kernels.softmax(_rows(x.data), _rows(out))

    def backward(grad: Tensor) -> tuple[Tensor | None, ...]:
        return (softmax_backward(grad, from_numpy(out)),)

    return record("softmax", out, (x,), backward)


def softmax_backward(grad: Operand, probs: Operand) -> Tensor:
    """probs * (grad - sum of grad * probs), along the last axis; both of one shape.

    With its gradient g: dgrad = the same of g, dprobs = g * (grad - sum of grad * probs) -
    grad * sum of g * probs.
    """
    grad, probs = _operands("softmax_backward", grad, probs)
    _same_shape("softmax_backward", grad, probs)
    out = np.empty_like(grad.data)
    kernels.softmax_backward(_rows(grad.data), _rows(probs.data), _rows(out))

    def backward(upstream: Tensor) -> tuple[Tensor | None, ...]:
        dot = sum(grad * probs, axis=-1, keepdims=True)
        upstream_dot = sum(upstream * probs, axis=-1, keepdims=True)
        return softmax_backward(upstream, probs), upstream * (grad - dot) - grad * upstream_dot

    return record("softmax_backward", out, (grad, probs), backward)


def log_softmax(x: Operand, axis: int = -1) -> Tensor:
    """x - log(sum of e^x) along an axis.  dx = grad - softmax(x) * sum of grad."""
    x = _operand("log_softmax", x)
    axis = _one_axis("log_softmax", axis, x.ndim)
    if axis != x.ndim - 1:
        return _move_axis(log_softmax(_move_axis(x, axis, x.ndim - 1)), x.ndim - 1, axis)
    out = np.empty_like(x.data)
    kernels.log_softmax(_rows(x.data), _rows(out))

    def backward(grad: Tensor) -> tuple[Tensor | None, ...]:
        return (log_softmax_backward(grad, from_numpy(out)),)

    return record("log_softmax", out, (x,), backward)


def log_softmax_backward(grad: Operand, log_probs: Operand) -> Tensor:
    """grad - e^log_probs * sum of grad, along the last axis; both of one shape.

    With its gradient g and p = e^log_probs: dgrad = g - sum of g * p,
    dlog_probs = -g * p * sum of grad.
    """
    grad, log_probs = _operands("log_softmax_backward", grad, log_probs)
    _same_shape("log_softmax_backward", grad, log_probs)
    out = np.empty_like(grad.data)
    kernels.log_softmax_backward(_rows(grad.data), _rows(log_probs.data), _rows(out))

    def backward(upstream: Tensor) -> tuple[Tensor | None, ...]:
        weighted = upstream * exp(log_probs)
        grad_total = sum(grad, axis=-1, keepdims=True)
        return upstream - sum(weighted, axis=-1, keepdims=True), -weighted * grad_total

    return record("log_softmax_backward", out, (grad, log_probs), backward)


def _one_axis(op: str, axis: int, ndim: int) -> int:
    if not ndim:
        raise ShapeError(f"{op}: got a tensor without axes; at least one is needed")
    return _axes(op, axis, ndim)[0]


def cross_entropy(logits: Operand, labels: Operand) -> Tensor:
    """How far softmax(logits) is from the right answers: the mean over R of -log p(right class).

    logits (R, C); labels (R), integers from 0 to C-1, or (R, C), one-hot rows or probabilities.
    dlogits = (softmax(logits) - one_hot(labels)) * grad / R.

    Raises LabelError for an integer outside 0 ... C-1.
    """
    logits = _operand("cross_entropy", logits)
    if logits.ndim != 2 or not logits.shape[1]:
        raise ShapeError(f"cross_entropy: got logits of shape {logits.shape}; (R, C) is needed")
    R, C = logits.shape
    given = labels.data if isinstance(labels, Tensor) else np.asarray(labels)
    if given.shape == (R, C):
        if not isinstance(labels, Tensor) or labels.dtype not in FLOATS:
            labels = from_numpy(np.ascontiguousarray(given, logits.dtype))
        return -sum(labels * log_softmax(logits)) / R
    if given.shape != (R,):
        raise ShapeError(
            f"cross_entropy: got labels of shape {given.shape} for logits of shape {(R, C)}; "
            f"({R},) class numbers or {(R, C)} probabilities are needed"
        )
    right = _labels("cross_entropy", given, C)
    out = np.empty((), logits.dtype)
    kernels.cross_entropy(logits.data, right, out)

    def backward(grad: Tensor) -> tuple[Tensor | None, ...]:
        return (cross_entropy_backward(grad, logits, right),)

    return record("cross_entropy", out, (logits,), backward)


def cross_entropy_backward(grad: Operand, logits: Operand, labels: Array) -> Tensor:
    """(softmax(logits) - one_hot(labels)) * grad / R.

    grad (), logits (R, C), labels (R) int64, as cross_entropy has checked them.

    With its gradient g: dgrad = sum of g * (softmax(logits) - one_hot(labels)) / R, dlogits =
    softmax_backward(g, softmax(logits)) * grad / R.
    """
    grad, logits = _operands("cross_entropy_backward", grad, logits)
    R, C = logits.shape
    out = np.empty_like(logits.data)
    kernels.cross_entropy_backward(grad.data, logits.data, labels, out)

    def backward(upstream: Tensor) -> tuple[Tensor | None, ...]:
        probs = softmax(logits)
        error = probs - one_hot(labels, C, probs.dtype)
        return sum(upstream * error) / R, softmax_backward(upstream, probs) * (grad / R)

    return record("cross_entropy_backward", out, (grad, logits), backward)


def one_hot(labels: Operand, classes: int, dtype: np.dtype | str = "float32") -> Tensor:
    """A row for each label: 1 in its column, else 0; no gradient.

    labels (...) integers; the result (..., classes).

    Raises LabelError for a label outside 0 ... classes - 1.
    """
    array = labels.data if isinstance(labels, Tensor) else np.asarray(labels)
    array = _labels("one_hot", array, classes)
    out = np.empty((*array.shape, classes), dtype)
    kernels.one_hot(array.reshape(-1), _rows(out))
    return from_numpy(out)
