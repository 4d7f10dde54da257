"""The names that shells complete: of lessons, claims, exercises and rungs.

Each has a description. They are read from the source files that define them. To import these files
takes too long for a completion, because they import NumPy.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "tinytensor"  # both packages are in the same folder


def lessons() -> dict[str, str]:
    """The title of each lesson, by its name and by its number."""
    return {
        given[key]: given["title"]
        for file in sorted((PACKAGE / "lessons").glob("mnist_*.py"))
        for given in _calls(file, "Lesson")
        for key in ("name", "number")
    }


def claims() -> dict[str, str]:
    """The sentence of each claim, by the claim's name."""
    known = {given[0]: given[1] for given in _calls(PACKAGE / "claims.py", "Claim")}
    return {**known, "mistakes": "Short programs with one mistake each."}


def exercises() -> dict[str, str]:
    """The title of each exercise, by its name."""
    file = PACKAGE / "learn" / "exercises.py"
    return {given[1]: given[2] for given in _calls(file, "Exercise")}


def rungs(kernel: str | None) -> dict[str, str]:
    """The idea of each rung of a kernel's ladder, by the rung's name."""
    ladder = _calls(PACKAGE / "ladder" / "ladder.py", "Rung")
    return {given[1]: given[2] for given in ladder if given[0] == kernel}


def _calls(file: Path, function: str) -> Iterator[dict[int | str, str]]:
    """The arguments of each call of a function in a source file, by position or by name.

    Only the arguments that are texts are yielded.
    """
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        if node.func.id == function:
            given = [*enumerate(node.args), *((each.arg, each.value) for each in node.keywords)]
            yield {
                key: value.value
                for key, value in given
                if key is not None
                and isinstance(value, ast.Constant)
                and isinstance(value.value, str)
            }
