"""The rules of an answer in Python or Numba: what it may import and call.

The source is checked before it runs: its imports, and the names of the functions that the exercise
refuses. Such an exercise also refuses what hides a name from this check, such as `eval` and
`getattr`. The method `dot` of an array can't be taken away: `np.asarray` makes a usual array of one
of a subclass without it. While the answer runs, tinytensor can't be imported, and the refused
functions of NumPy raise an error.
"""

from __future__ import annotations

import ast
import operator
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np

OURS = "tinytensor"
IMPORTED = (sys.stdlib_module_names - {"importlib"}) | {"numpy", "numba"}
OPERATORS = ("__matmul__", "__rmatmul__", "__imatmul__")
HIDING = (  # names that hide what is called
    *("eval", "exec", "compile", "objmode", "methodcaller", "attrgetter", "getattr", "vars"),
    *("globals", "locals", "getattr_static", "getmembers", "get_field", "__dict__"),
    *("__getattribute__", "__builtins__"),
)
IMPORTS_OURS = (
    "it imports tinytensor, which has the finished function; write it with loops or with NumPy's "
    "basic operations"
)


class RuleError(Exception):
    """The answer breaks a rule; the message has the rule."""


def text(refused: Sequence[str]) -> str:
    """Return the rules of an exercise as sentences; they are on its page.

    Args:
        refused: the names of NumPy's functions that an answer may not call.
    """
    calls = f"Don't use NumPy's {_listed(refused)}. " if refused else ""
    return (
        "Write it with loops or with NumPy's basic operations. Import only numpy, numba and "
        f"Python's standard library. {calls}The check refuses an answer that breaks these rules."
    )


def _listed(refused: Sequence[str]) -> str:
    names = ["@", *refused] if "matmul" in refused else refused
    return ", ".join(names)


def check_source(source: bytes, refused: Sequence[str]) -> None:
    """Check the source of an answer.

    The lines below `if __name__ == "__main__":` may do anything, because the check does not run
    them.

    Raises:
        RuleError: the message starts with the line.
    """
    found = [
        (getattr(node, "lineno", 0), problem)
        for statement in ast.parse(source).body
        if not _is_example(statement)
        for node in ast.walk(statement)
        for problem in (_problem_of_import(node), _problem_of_call(node, refused))
        if problem
    ]
    if found:
        line, problem = min(found)
        raise RuleError(f"line {line}: {problem}")


def _is_example(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and ast.unparse(statement.test) == "__name__ == '__main__'"


def _problem_of_import(node: ast.AST) -> str | None:
    names = []
    if isinstance(node, ast.Import):
        names = [each.name for each in node.names]
    elif isinstance(node, ast.ImportFrom):
        names = ["." * node.level + (node.module or "")]
    elif isinstance(node, ast.Name) and node.id == "__import__":
        return "it calls __import__; write an import statement"
    for name in names:
        first = name.partition(".")[0]
        if first == OURS:
            return IMPORTS_OURS
        if first not in IMPORTED:
            return (
                f"it imports {name}; an answer may import numpy, numba and Python's standard "
                "library, by import statements"
            )
    return None


def _problem_of_call(node: ast.AST, refused: Sequence[str]) -> str | None:
    names = _names_used(node)
    module = node.module if isinstance(node, ast.ImportFrom) else None
    if refused and "*" in names and module in ("numpy", "numpy.linalg"):
        return f"it imports all names of {module}; import those that it needs"
    for name in (node.id,) if isinstance(node, ast.Name) else names:
        if refused and name in HIDING:
            return f"it uses {name}, which hides the functions that it calls; write them out"
    return next((_refusal(name, refused) for name in names if name in refused), None)


def _names_used(node: ast.AST) -> list[str]:
    """Return the operator, the attributes or the imported names in a node of the source."""
    if isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.MatMult):
        return ["matmul"]
    if isinstance(node, ast.Attribute):
        return ["matmul" if node.attr in OPERATORS else node.attr]
    if isinstance(node, ast.ImportFrom):
        return [each.name for each in node.names]
    if isinstance(node, ast.MatchClass):  # case np.ndarray(dot=f)
        return node.kwd_attrs
    return []


def _refusal(name: str, refused: Sequence[str]) -> str:
    used = "@ or matmul" if name == "matmul" else name
    return (
        f"it uses {used}. This exercise is a sum of products itself, so an answer may not use "
        f"NumPy's {_listed(refused)}; use loops, or `*` and sums"
    )


@contextmanager
def enforced(refused: Sequence[str] = ()) -> Iterator[None]:
    """Hide tinytensor, and let the refused functions of NumPy raise RuleError."""
    hidden = {
        name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == OURS
    }
    usual = [
        (module, name, getattr(module, name))
        for module in (np, np.linalg, operator)
        for name in refused
        if hasattr(module, name)
    ]
    finder: Any = _NoTinytensor()
    sys.meta_path.insert(0, finder)
    for module, name, function in usual:
        setattr(module, name, _refusing(name, refused, isinstance(function, type)))
    try:
        yield
    finally:
        for module, name, function in usual:
            setattr(module, name, function)
        sys.meta_path.remove(finder)
        sys.modules.update(hidden)


class _NoTinytensor:
    """A finder, which the import system calls for a module that is not in sys.modules."""

    def find_spec(self, name: str, path: object = None, target: ModuleType | None = None) -> None:
        """Raise RuleError for tinytensor; other modules are found by the other finders."""
        if name.partition(".")[0] == OURS:
            raise RuleError(IMPORTS_OURS)


def _refusing(name: str, refused: Sequence[str], is_class: bool) -> Callable[..., Any]:
    def refuse(*arguments: object, **named: object) -> None:
        raise RuleError(_refusal(name, refused))

    # ufunc.outer tests if its arguments are of the class np.matrix, so that stays a class
    return type(name, (), {"__new__": refuse}) if is_class else refuse


def by_the_rules(function: Callable[..., Any], refused: Sequence[str]) -> Callable[..., Any]:
    """Return a function that calls an answer while the rules are enforced."""

    def run(*arguments: Any) -> Any:
        with enforced(refused):
            return function(*arguments)

    return run
