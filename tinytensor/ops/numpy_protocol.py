"""NumPy's own functions, called on a Tensor: the op of the same meaning, or NumPy's own answer.

NumPy calls call_ufunc and call_function if an argument is a Tensor: `np.add(t, 1)` and `array + t`
call the first, `np.sum(t)` calls the second. There are three cases:

1. ELEMENTWISE or FUNCTIONS has the function. The op computes a Tensor, with gradients. Arguments
   that the op does not have, such as dtype= of np.sum, are an error.
2. No Tensor requires a gradient, or LOSES_NOTHING has the function, such as np.argsort. NumPy
   computes the answer from the arrays.
3. Otherwise the gradient would be lost without a word, so the call is an error.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np

from tinytensor import ops, tensors
from tinytensor.errors import DTypeError, NotSupported, ShapeError

Function = Callable[..., Any]

# An op has the arguments of NumPy's function, and no options such as out= or where=.
ELEMENTWISE: dict[Function, Function] = {
    np.absolute: ops.abs,
    np.add: ops.add,
    np.bitwise_and: lambda x, y: ops.as_tensor("&", x) & y,
    np.bitwise_or: lambda x, y: ops.as_tensor("|", x) | y,
    np.bitwise_xor: lambda x, y: ops.as_tensor("^", x) ^ y,
    np.ceil: ops.ceil,
    np.cos: ops.cos,
    np.divide: ops.div,
    np.equal: ops.equal,
    np.exp: ops.exp,
    np.expm1: ops.expm1,
    np.floor: ops.floor,
    np.floor_divide: ops.floor_div,
    np.greater: ops.greater,
    np.greater_equal: ops.greater_equal,
    np.invert: lambda x: ~x,
    np.isfinite: ops.isfinite,
    np.isinf: ops.isinf,
    np.isnan: ops.isnan,
    np.less: ops.less,
    np.less_equal: ops.less_equal,
    np.log: ops.log,
    np.log1p: ops.log1p,
    np.logical_and: ops.logical_and,
    np.logical_not: ops.logical_not,
    np.logical_or: ops.logical_or,
    np.logical_xor: ops.logical_xor,
    np.matmul: ops.matmul,
    np.maximum: ops.maximum,
    np.minimum: ops.minimum,
    np.multiply: ops.mul,
    np.negative: ops.neg,
    np.not_equal: ops.not_equal,
    np.positive: ops.clone,
    np.power: ops.pow,
    np.reciprocal: lambda x: _reciprocal(x),
    np.remainder: ops.mod,
    np.rint: lambda x: ops.round(ops.operands.as_float("rint", x)),
    np.sign: ops.sign,
    np.sin: ops.sin,
    np.sqrt: ops.sqrt,
    np.square: ops.square,
    np.subtract: ops.sub,
    np.tanh: ops.tanh,
}


def _reciprocal(x: tensors.Tensor) -> tensors.Tensor:
    if x.dtype.kind != "f":
        raise DTypeError(
            f"np.reciprocal: got {x.dtype}; floats are needed: 1 / x converts integers"
        )
    return ops.reciprocal(x)


def _reduction(op: Function) -> Function:
    """A reduction with the names of NumPy's arguments; others follow `axis` in NumPy."""
    return lambda a, axis=None, *, keepdims=False: op(a, axis, keepdims)


def _spread(op: Function) -> Function:
    return lambda a, axis=None, *, ddof=0, keepdims=False: op(a, axis, ddof, keepdims)


def _clip(
    a: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None
) -> tensors.Tensor:
    return ops.clip(a, min if a_min is None else a_min, max if a_max is None else a_max)


def _dot(a: Any, b: Any) -> tensors.Tensor:
    a, b = ops.as_tensor("dot", a), ops.as_tensor("dot", b)
    if not a.ndim or not b.ndim:
        return ops.mul(a, b)
    if b.ndim > 2:
        raise ShapeError(
            f"np.dot: got shapes {a.shape} and {b.shape}; tt.einsum multiplies tensors of any "
            "number of axes"
        )
    return ops.matmul(a, b)


def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> tensors.Tensor:
    """np.linalg.norm: the norm of vectors, or the Frobenius norm of a matrix or of all elements."""
    x = ops.as_tensor("norm", x)
    axes = range(x.ndim) if axis is None else np.atleast_1d(axis)
    if ord is None or (ord == "fro" and len(axes) == 2):
        return ops.norm(x, 2, axis, keepdims)
    if len(axes) != 1:
        raise NotSupported(
            f"np.linalg.norm: got ord={ord!r} for a matrix; tt.norm computes norms of vectors, and "
            "x.detach().numpy() gives the array"
        )
    return ops.norm(x, ord, axis, keepdims)


def _pad(
    array: Any, pad_width: Any, mode: Any = "constant", *, constant_values: Any = 0
) -> tensors.Tensor:
    if mode != "constant" or not isinstance(constant_values, Real):
        raise NotSupported(
            f"np.pad: got mode {mode!r} and values {constant_values!r}; tt.pad pads with one "
            "number, and x.detach().numpy() gives the array"
        )
    return ops.pad(array, pad_width, float(constant_values))


def _pieces(divide: Function) -> Function:
    """np.split or np.array_split: NumPy divides the indices of the axis, and take reads them."""

    def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[tensors.Tensor]:
        x = ops.as_tensor("split", ary)
        size = x.shape[ops.operands.one_axis("split", axis, x.ndim)]
        try:
            pieces = divide(np.arange(size), _as_array(indices_or_sections, []))
        except ValueError as error:
            raise ShapeError(
                f"np.{divide.__name__}: got {indices_or_sections} for {size} entries: {error}"
            ) from None
        return [ops.take(x, piece, axis) for piece in pieces]

    return split


def _flat(x: Any) -> tensors.Tensor:
    return ops.reshape(x, -1)


def _where(condition: Any, x: Any = None, y: Any = None) -> Any:
    if x is None and y is None:
        return np.nonzero(condition)
    return ops.where(condition, x, y)


# Each value has the arguments that NumPy and the op have in common, by NumPy's names.
FUNCTIONS: dict[Function, Function] = {
    np.all: _reduction(ops.all),
    np.amax: _reduction(ops.max),
    np.amin: _reduction(ops.min),
    np.any: _reduction(ops.any),
    np.argmax: _reduction(ops.argmax),
    np.argmin: _reduction(ops.argmin),
    np.argsort: lambda a, axis=-1, kind=None, *, stable=None: ops.argsort(a, axis),
    np.around: lambda a: ops.round(a),
    np.array_split: _pieces(np.array_split),
    np.broadcast_to: lambda array, shape: ops.broadcast_to(array, shape),
    np.clip: _clip,
    np.concatenate: lambda arrays, axis=0: ops.concat(arrays, axis),
    np.cumsum: lambda a, axis=None: ops.cumsum(a, axis),
    np.diag: lambda v, k=0: ops.diag(v, k),
    np.dot: _dot,
    np.einsum: lambda *operands, optimize=False: ops.einsum(*operands),
    np.expand_dims: lambda a, axis: ops.unsqueeze(a, axis),
    np.flip: lambda m, axis=None: ops.flip(m, axis),
    np.isclose: lambda a, b, rtol=1e-5, atol=1e-8, equal_nan=False: ops.isclose(
        a, b, rtol, atol, equal_nan
    ),
    np.linalg.matmul: lambda x1, x2: ops.matmul(x1, x2),
    np.linalg.norm: _norm,
    np.linalg.outer: lambda x1, x2: ops.outer(x1, x2),
    np.max: _reduction(ops.max),
    np.mean: _reduction(ops.mean),
    np.meshgrid: lambda *xi, indexing="xy": ops.meshgrid(*map(_flat, xi), indexing=indexing),
    np.min: _reduction(ops.min),
    np.ndim: lambda a: a.ndim,
    np.outer: lambda a, b: ops.outer(_flat(a), _flat(b)),
    np.pad: _pad,
    np.prod: _reduction(ops.prod),
    np.ravel: lambda a: _flat(a),
    np.repeat: lambda a, repeats, axis=None: ops.repeat(a, repeats, axis),
    np.reshape: lambda a, shape: ops.reshape(a, shape),
    np.roll: lambda a, shift, axis=None: ops.roll(a, shift, axis),
    np.round: lambda a: ops.round(a),
    np.shape: lambda a: a.shape,
    np.size: lambda a, axis=None: _size(a.shape, axis),
    np.sort: lambda a, axis=-1, kind=None, *, stable=None: ops.sort(a, axis),
    np.split: _pieces(np.split),
    np.squeeze: lambda a, axis=None: ops.squeeze(a, axis),
    np.stack: lambda arrays, axis=0: ops.stack(arrays, axis),
    np.std: _spread(ops.std),
    np.sum: _reduction(ops.sum),
    np.swapaxes: lambda a, axis1, axis2: ops.swapaxes(a, axis1, axis2),
    np.take: lambda a, indices, axis=None: ops.take(a, indices, axis),
    np.transpose: lambda a, axes=None: ops.transpose(a, axes),
    np.tril: lambda m, k=0: ops.tril(m, k),
    np.triu: lambda m, k=0: ops.triu(m, k),
    np.var: _spread(ops.var),
    np.where: _where,
}


def _size(shape: tuple[int, ...], axis: Any) -> int:
    axes = ops.operands.all_axes("size", axis, len(shape))
    return math.prod(shape[a] for a in axes)


# The results of these functions are integers, bools or text, or don't depend on the values.
LOSES_NOTHING: set[Function] = {
    np.allclose, np.argpartition, np.argwhere, np.array2string, np.array_equal,
    np.array_equiv, np.array_repr, np.array_str, np.can_cast, np.common_type, np.count_nonzero,
    np.diag_indices_from, np.digitize, np.einsum_path, np.flatnonzero, np.iscomplex,
    np.iscomplexobj, np.isin, np.isneginf, np.isposinf, np.isreal, np.isrealobj,
    np.lexsort, np.linalg.matrix_rank, np.may_share_memory, np.min_scalar_type, np.nanargmax,
    np.nanargmin, np.nonzero, np.result_type, np.save, np.savetxt, np.savez, np.savez_compressed,
    np.searchsorted, np.shares_memory, np.signbit, np.tril_indices_from, np.triu_indices_from,
}  # fmt: skip

# These read only the shape and dtype of their first argument.
LIKE = {np.empty_like, np.full_like, np.ones_like, np.zeros_like}


def call_ufunc(
    ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], options: dict[str, Any]
) -> Any:
    """Return the result of one of NumPy's elementwise functions on Tensors.

    Raises:
        NotSupported: a gradient would be lost, an option such as out= is given to an op, or a
            Tensor would be changed.
    """
    op = ELEMENTWISE.get(ufunc)
    if method == "at" and isinstance(inputs[0], tensors.Tensor):  # at writes to read-only arrays
        raise _writes(f"np.{ufunc.__name__}.at", "tt.scatter_add returns a new tensor")
    if method != "__call__":
        name, function = f"np.{ufunc.__name__}.{method}", getattr(ufunc, method)
        return _on_arrays(name, function, inputs, options)
    if op is None:
        return _on_arrays(f"np.{ufunc.__name__}", ufunc, inputs, options)
    if options:
        raise NotSupported(
            f"np.{ufunc.__name__} with {', '.join(options)}: the op of a Tensor has no such "
            "argument; x.detach().numpy() gives the array"
        )
    return op(*inputs)


def call_function(function: Function, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Return the result of another function of NumPy on Tensors.

    Raises:
        NotSupported: a gradient would be lost, the op has no such argument, or a Tensor would be
            changed.
    """
    name = f"{function.__module__}.{function.__name__}".replace("numpy", "np", 1)
    op = FUNCTIONS.get(function)
    if op is None:
        if function in LIKE and arguments and isinstance(arguments[0], tensors.Tensor):
            arguments = (arguments[0].detach(), *arguments[1:])
        return _on_arrays(name, function, arguments, options)
    given = {key: value for key, value in options.items() if value is not None or key == "axis"}
    signature = _signature(op)
    try:
        signature.bind(*arguments, **given)
    except TypeError as error:
        raise NotSupported(
            f"{name}: {error}; the arguments for a Tensor are {signature}, and "
            "x.detach().numpy() gives the array"
        ) from None
    return op(*arguments, **given)


_signature = functools.cache(inspect.signature)  # one for each value of FUNCTIONS


def _on_arrays(
    name: str, function: Function, arguments: tuple[Any, ...], options: dict[str, Any]
) -> Any:
    """The result of NumPy's function on the arrays of the Tensors, if no gradient is lost."""
    lost: list[tensors.Tensor] = []
    plain = [_as_array(argument, lost) for argument in arguments]
    named = {key: _as_array(value, lost) for key, value in options.items()}
    if lost and function not in LOSES_NOTHING:
        raise NotSupported(
            f"{name}: there is no such op, and gradients would be lost; x.detach().numpy() "
            "gives the array"
        )
    try:
        return function(*plain, **named)
    except ValueError as error:
        if "read-only" not in str(error):
            raise
        raise _writes(name, str(error)) from None


def _writes(name: str, remark: str) -> NotSupported:
    return NotSupported(
        f"{name}: it would write to a Tensor ({remark}); x[...] = value does that, and x.numpy() "
        "gives the array"
    )


def _as_array(value: Any, lost: list[tensors.Tensor]) -> Any:
    """Tensors as arrays, in lists and tuples too; those with a gradient are appended to `lost`.

    The arrays are read-only, because backward can't detect that NumPy changed one.
    """
    if isinstance(value, tensors.Tensor):
        lost += [value] if value.requires_grad else []
        array = value.numpy().view()
        array.flags.writeable = False
        return array
    if isinstance(value, list):
        return [_as_array(item, lost) for item in value]
    if isinstance(value, tuple):
        return tuple(_as_array(item, lost) for item in value)
    return value
