"""What a function uses that isn't its own, found in its bytecode.

    def step(self, images):
        return loss(self.model(images)) * self.settings.scale * SCALE

uses the variables loss and SCALE, the attributes model, settings and settings.scale, and whatever
the user's own functions among these use. What it gets by other ways isn't found, such as getattr(),
or an attribute of what a function is given as an argument.
"""

from __future__ import annotations

import dis
import functools
import inspect
import itertools
import os
import re
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from tinytensor.nn import Module
from tinytensor.optim import Optimizer

_FOLDERS = (Path(__file__).parents[1], *map(sysconfig.get_path, ("stdlib", "purelib", "platlib")))
_LIBRARIES = tuple(f"{folder}{os.sep}" for folder in _FOLDERS)
_CONTAINERS = (list, dict, set, tuple)


class Variables:
    """The variables that functions use.

    named: of each the namespace (a module's, an object's), the name and the value.
    cells: those of functions around them, with their values.
    values: all that was reached: values of both, what they are called with, what containers hold.
    """

    def __init__(self, functions: Iterable[Any]) -> None:
        self.named: list[tuple[Mapping[str, Any], str, Any]] = []
        self.cells: list[tuple[CellType, Any]] = []
        self.values: list[Any] = []
        self._seen: dict[tuple[int, int], Any] = {}
        waiting = list(functions)
        roots = [function for x in waiting for function, _ in _functions_of(x)]
        while waiting:
            x = waiting.pop()
            for function, owner in _functions_of(x):
                key = id(function), id(owner)
                if key not in self._seen and (function in roots or not _is_librarys(function)):
                    self._seen[key] = function, owner  # held, so that no id is used again
                    reached = list(self._reached(function, owner))
                    self.values += reached
                    waiting += reached

    def _reached(self, function: FunctionType, owner: Any) -> Iterator[Any]:
        """What a function, of this object if it is a method, uses."""
        code = function.__code__
        around = dict(zip(code.co_freevars, function.__closure__ or (), strict=True))
        cells = [(name, cell) for name, cell in around.items() if cell != CellType()]
        self.cells += [(cell, cell.cell_contents) for _, cell in cells]
        known = {name: cell.cell_contents for name, cell in cells} | _defaults(function)
        if owner is not None and code.co_argcount:
            known[code.co_varnames[0]] = owner
        for value in (*known.values(), *self._read(code, function.__globals__, known)):
            yield value
            if isinstance(value, _CONTAINERS):
                yield from contents(value)

    def _read(
        self, code: CodeType, variables: dict[str, Any], known: dict[str, Any]
    ) -> Iterator[Any]:
        """The values that code reads by names and attributes; known: its own names' values."""
        value = None  # what was read last, if that is known
        for doing, name in _one_by_one(dis.get_instructions(code)):
            if doing == "LOAD_GLOBAL":
                value = variables.get(name)
                if name in variables and not isinstance(value, ModuleType):
                    self.named.append((variables, name, value))
            elif doing.startswith(("LOAD_FAST", "LOAD_DEREF")):
                value = known.get(name)
            elif doing in ("LOAD_ATTR", "LOAD_METHOD"):
                value = self._attribute(value, name)
            else:
                if doing in ("STORE_FAST", "STORE_DEREF"):
                    known[name] = value
                value = None
            if value is not None:
                yield value
        for constant in code.co_consts:
            if isinstance(constant, CodeType):  # a lambda or a comprehension in it
                yield from self._read(constant, variables, dict(known))

    def _attribute(self, owner: Any, name: str) -> Any:
        """An attribute's value, of a method or a property what will be called; else None."""
        if owner is None or (isinstance(owner, ModuleType) and _is_librarys(owner)):
            return None
        value = inspect.getattr_static(owner, name, None)
        own = getattr(owner, "__dict__", {})
        if name not in own:
            if isinstance(value, property):
                value = value.fget
            if isinstance(value, FunctionType):
                return MethodType(value, owner)
        if isinstance(value, staticmethod | classmethod):
            return value.__func__
        if inspect.isdatadescriptor(value):  # of a class with slots
            return None
        if not isinstance(owner, Module | Optimizer):  # which tell of their changes
            kinds = inspect.getmro(owner if isinstance(owner, type) else type(owner))
            namespaces = [own, *(vars(kind) for kind in kinds if name in vars(kind))]
            self.named += [(namespace, name, namespace.get(name)) for namespace in namespaces]
        return value


def _one_by_one(instructions: Iterable[dis.Instruction]) -> Iterator[tuple[str, Any]]:
    """What is done, and with which name; Python 3.13 began to load and store two names at once."""
    for instruction in instructions:
        doing, name = instruction.opname, instruction.argval
        if isinstance(name, tuple) and "_FAST_" in doing:
            yield from zip(re.findall("LOAD_FAST|STORE_FAST", doing), name, strict=True)
        else:
            yield doing, name


def _functions_of(x: Any) -> Iterator[tuple[FunctionType, Any]]:
    """The functions that run when this is called, and the objects whose methods they are."""
    if isinstance(x, FunctionType):
        yield x, None
    elif isinstance(x, MethodType):
        if isinstance(x.__func__, FunctionType):
            yield x.__func__, x.__self__
    elif isinstance(x, functools.partial):
        for part in (x.func, *x.args, *x.keywords.values()):
            yield from _functions_of(part)
    elif "__wrapped__" in getattr(x, "__dict__", ()):  # a captured step, a cache
        yield from _functions_of(x.__wrapped__)
    elif not isinstance(x, type):
        for name in ("__call__", "forward") if isinstance(x, Module) else ("__call__",):
            if isinstance(method := getattr(type(x), name, None), FunctionType):
                yield method, x


def _defaults(function: FunctionType) -> dict[str, Any]:
    """The values of arguments that the function may be called without."""
    code, values = function.__code__, function.__defaults__ or ()
    names = code.co_varnames[: code.co_argcount]
    return dict(zip(names[len(names) - len(values) :], values, strict=True)) | (
        function.__kwdefaults__ or {}
    )


def _is_librarys(x: FunctionType | ModuleType) -> bool:
    """Is it Python's, this package's or another installed one's?"""
    file = x.__code__.co_filename if isinstance(x, FunctionType) else getattr(x, "__file__", None)
    return file is None or file.startswith(_LIBRARIES)


# Containers -------------------------------------------------------------------------------------

_END = object()


def may_change(x: Any) -> bool:
    """Is it a container that can be given other contents, or does it hold one?"""
    if isinstance(x, tuple):
        return any(map(may_change, x))
    return isinstance(x, list | dict | set)


def contents(container: Any, around: tuple[int, ...] = ()) -> list[Any]:
    """Everything in a container, and in those in it, in order; and these themselves."""
    found: list[Any] = [container]
    around = (*around, id(container))
    for item in itertools.chain(*container.items()) if isinstance(container, dict) else container:
        if isinstance(item, _CONTAINERS) and id(item) not in around:
            found += contents(item, around)
        else:
            found.append(item)
    found.append(_END)
    return found
