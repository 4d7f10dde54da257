"""The arguments of a captured step: arrays, alone or in tuples, lists and dicts; and constants.

The arrays and tensors are the arguments of a program. All else is a part of the key by which a
program is found: the structure, and each number, string and None. So a number that changes from
call to call needs a recording for each value, and an array of one element does not. A NumPy scalar
is a number, because ops convert it to the dtype of the tensor, and an array keeps its own dtype.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tinytensor.arrays import Array
from tinytensor.errors import CaptureError
from tinytensor.tensors import DTYPES, Tensor

# A form is an argument without its arrays, as a value that can be hashed and compared.
ARRAY = ("array",)
CONSTANTS = (type(None), bool, int, float, str)
SCALARS = (np.bool_, np.integer, np.floating)


class Arguments:
    """The arguments of one call.

    arrays: the arrays and those of the tensors, in order. form: all else, to be compared.
    """

    def __init__(self, positional: Sequence[Any], named: Mapping[str, Any]) -> None:
        self._positional, self._named = positional, named
        self.arrays: list[Array] = []
        form = []
        for x in positional:
            if type(x) is np.ndarray and x.dtype in DTYPES:  # the usual case, without a call
                self.arrays.append(x)
                form.append(ARRAY)
            else:
                form.append(_taken_apart(x, self.arrays))
        self.form: tuple[Any, ...] = tuple(form)
        if named:
            parts = [(name, _taken_apart(x, self.arrays)) for name, x in named.items()]
            self.form = *self.form, ("by name", *parts)

    def with_tensors(self, tensors: Sequence[Tensor]) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments by position and by name, with tensors in place of the arrays."""
        given = iter(tensors)
        positional = [_replaced(x, lambda _: next(given)) for x in self._positional]
        named = {name: _replaced(x, lambda _: next(given)) for name, x in self._named.items()}
        return positional, named


def call_with_tensors(
    function: Callable[..., Any], positional: Sequence[Any], named: Mapping[str, Any]
) -> Any:
    """Call the function with tensors in the place of arrays; tensors stay as they are."""
    given = [_replaced(x, _as_tensor) for x in positional]
    return function(*given, **{name: _replaced(x, _as_tensor) for name, x in named.items()})


def names_of(form: Sequence[Any], names: Sequence[str]) -> Iterator[str]:
    """Yield a name for each array of a form, from the names of the function's arguments."""
    for argument, name in zip(form, names, strict=False):
        if argument[0] == "by name":
            for key, part in argument[1:]:
                yield from _names(part, key)
        else:
            yield from _names(argument, name)


def _names(form: tuple[Any, ...], name: str) -> Iterator[str]:
    what, *parts = form
    if form == ARRAY:
        yield name
    elif what in (tuple, list):
        for i, part in enumerate(parts):
            yield from _names(part, f"{name}.{i}")
    elif what is dict:
        for key, part in parts:
            yield from _names(part, f"{name}.{key}")


def _taken_apart(value: Any, arrays: list[Array]) -> tuple[Any, ...]:
    """Append the arrays in a value to `arrays`, and return the value's form."""
    kind = type(value)
    if isinstance(value, Tensor | np.ndarray):
        arrays.append(_array_of(value))
        return ARRAY
    if kind is tuple or kind is list:
        return kind, *[_taken_apart(item, arrays) for item in value]
    if kind is dict:
        return kind, *[(key, _taken_apart(item, arrays)) for key, item in value.items()]
    if kind in CONSTANTS or isinstance(value, SCALARS):
        return kind, repr(value)  # because 1 == 1.0 == True, and nan != nan
    raise CaptureError(
        f"captured step: an argument is a {kind.__name__}; arrays, tensors, numbers, strings and "
        "None are needed, alone or in tuples, lists and dicts. Call a captured method on its "
        "object: x.step(y)"
    )


def _array_of(x: Tensor | Array) -> Array:
    if isinstance(x, Tensor):
        if x.requires_grad:
            raise CaptureError(
                "captured step: an argument has requires_grad, and its gradient would be set on "
                "the program's copy; pass x.detach(), or use x in the step without passing it"
            )
        return x.array
    if x.dtype not in DTYPES:
        raise CaptureError(
            f"captured step: an argument is an array of {x.dtype}; {', '.join(map(str, DTYPES))} "
            "are possible: array.astype() converts it"
        )
    return np.asarray(x)


def _replaced(value: Any, convert: Callable[[Any], Tensor]) -> Any:
    """Return the value with `convert(array)` in the place of each array and tensor."""
    if isinstance(value, Tensor | np.ndarray):
        return convert(value)
    if type(value) in (tuple, list):
        return type(value)(_replaced(item, convert) for item in value)
    if type(value) is dict:
        return {key: _replaced(item, convert) for key, item in value.items()}
    return value


def _as_tensor(x: Any) -> Tensor:
    return x if isinstance(x, Tensor) else Tensor(x)
