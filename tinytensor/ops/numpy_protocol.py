"""NumPy's own functions, called on a Tensor: the op of the same meaning, or an error with a remedy.

NumPy calls these two functions if an argument is a Tensor: `np.add(t, 1)` and `array + t` call
call_ufunc, `np.sum(t)` calls call_function. The options of a function are those of the op, so
help(tt.sum) describes np.sum of a Tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinytensor import ops, tensor
from tinytensor.errors import NotSupported

# NumPy's names where they aren't ours
NAMES = {
    "subtract": "sub", "multiply": "mul", "divide": "div", "true_divide": "div",
    "floor_divide": "floor_div", "remainder": "mod", "power": "pow", "negative": "neg",
    "absolute": "abs", "rint": "round", "concatenate": "concat", "amax": "max", "amin": "min",
    "bitwise_and": "logical_and", "bitwise_or": "logical_or", "bitwise_xor": "logical_xor",
    "invert": "logical_not", "expand_dims": "unsqueeze",
}  # fmt: skip


def _op(name: str) -> Callable[..., Any] | None:
    ours = NAMES.get(name, name)
    return getattr(ops, ours) if ours in ops.__all__ else None


def call_ufunc(
    ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], options: dict[str, Any]
) -> tensor.Tensor:
    """The result of one of NumPy's elementwise functions on Tensors, computed by the op.

    Raises:
        NotSupported: there is no such op, or options such as out= are given.
    """
    op = _op(ufunc.__name__)
    if op is None or method != "__call__" or options:
        how = "" if method == "__call__" else f".{method}"
        with_options = f" with {', '.join(options)}" if options else ""
        raise NotSupported(
            f"np.{ufunc.__name__}{how}{with_options}: there is no such op for a Tensor; "
            "x.numpy() gives the array, outside of the tape"
        )
    result: tensor.Tensor = op(*inputs)
    return result


def call_function(
    function: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]
) -> Any:
    """The result of another function of NumPy: the op's, or NumPy's own if no gradient is lost.

    Raises:
        NotSupported: there is no such op and a Tensor requires a gradient, or if the op has no such
            argument.
    """
    name = function.__name__
    op = _op(name)
    if op is not None:
        try:
            return op(*arguments, **options)
        except TypeError as error:
            if "argument" not in str(error):
                raise
            raise NotSupported(
                f"np.{name}: tt.{op.__name__} takes other arguments: {error}"
            ) from None
    lost: list[tensor.Tensor] = []
    plain = [_as_array(argument, lost) for argument in arguments]
    named = {key: _as_array(value, lost) for key, value in options.items()}
    if lost:
        raise NotSupported(
            f"np.{name}: there is no such op, and gradients would be lost; x.detach().numpy() "
            "gives the array"
        )
    return function(*plain, **named)


def _as_array(value: Any, lost: list[tensor.Tensor]) -> Any:
    """Tensors as arrays, in lists and tuples too; those with a gradient are appended to `lost`."""
    if isinstance(value, tensor.Tensor):
        lost += [value] if value.requires_grad else []
        return value.numpy()
    if isinstance(value, list | tuple):
        return type(value)(_as_array(item, lost) for item in value)
    return value
