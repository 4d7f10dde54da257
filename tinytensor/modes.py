"""Modes: what `with tt.no_grad():` and the decorator `@tt.no_grad()` have in common.

`@mode` is written above a generator function, as `@contextmanager` is. contextlib's own decorator
leaves a generator function's body outside of the mode, because that body runs after the call.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any, Generic, ParamSpec, TypeVar

from tinytensor.errors import NotSupported

_Arguments = ParamSpec("_Arguments")
_Value = TypeVar("_Value")
_Function = TypeVar("_Function", bound=Callable[..., Any])


class Mode(Generic[_Value]):
    """A context manager that is a decorator, too.

    As a decorator, it is entered while the function's body runs, and left whenever the caller's
    code runs: a generator function is in the mode from each `next()` to the next `yield`, and a
    coroutine function from its start to its end, in its own task.
    """

    def __init__(self, name: str, enter: Callable[[], AbstractContextManager[_Value]]) -> None:
        self._name = name
        self._enter = enter
        self._entered: list[AbstractContextManager[_Value]] = []  # nested `with` blocks, in order

    def __enter__(self) -> _Value:
        entered = self._enter()
        value = entered.__enter__()
        self._entered.append(entered)
        return value

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return self._entered.pop().__exit__(error_type, error, traceback)

    def __call__(self, function: _Function) -> _Function:
        """Return the function in this mode.

        Raises NotSupported for anything but a function, a method, a generator function or a
        coroutine function.
        """
        instead = self._advice(function)
        if instead:
            raise NotSupported(f"{self._name}: got {function!r} to decorate; {instead}")
        if inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            def in_mode(*arguments: Any, **named: Any) -> Any:
                return (yield from self._steps(function(*arguments, **named)))

        elif inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def in_mode(*arguments: Any, **named: Any) -> Any:
                with self._enter():
                    return await function(*arguments, **named)

        else:

            @functools.wraps(function)
            def in_mode(*arguments: Any, **named: Any) -> Any:
                with self._enter():
                    return function(*arguments, **named)

        return in_mode  # type: ignore[return-value]

    def _advice(self, function: object) -> str:
        """Return what to do instead of decorating this object, or "" if it can be decorated."""
        if isinstance(function, classmethod | staticmethod):
            return f"write @{type(function).__name__} above @tt.{self._name}(...)"
        if inspect.isclass(function):
            return "decorate its methods"
        if not callable(function):
            return "a function is needed"
        if inspect.isasyncgenfunction(function):
            return f"in an asynchronous generator write `with tt.{self._name}(...):` between yields"
        return ""

    def _steps(self, body: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """Yield what `body` yields; each of its steps runs in the mode."""
        resume: Callable[[Any], Any] = body.send
        given: Any = None
        while True:
            with self._enter():
                try:
                    value = resume(given)
                except StopIteration as end:
                    return end.value
            try:
                resume, given = body.send, (yield value)
            except BaseException as error:  # of throw(), and GeneratorExit of close()
                resume, given = body.throw, error


def mode(
    function: Callable[_Arguments, Iterator[_Value]],
) -> Callable[_Arguments, Mode[_Value]]:
    """Make a mode of a generator function that yields once, as `@contextmanager` does.

    A mode without parameters decorates a function without brackets too: `@tt.no_grad`.
    """
    enter = contextmanager(function)
    has_parameters = bool(inspect.signature(function).parameters)

    @functools.wraps(function)
    def make(*arguments: _Arguments.args, **named: _Arguments.kwargs) -> Mode[_Value]:
        if arguments and not has_parameters:
            (decorated,) = arguments
            return Mode(function.__name__, enter)(decorated)  # type: ignore[arg-type]
        return Mode(function.__name__, lambda: enter(*arguments, **named))

    return make
