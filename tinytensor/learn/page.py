"""The page of an exercise: one file, with its solution between two marks.

    # solution            /* solution */
    ...                   ...
    # end of solution     /* end of solution */

The student gets the page without the lines between the marks, and a page in Python with the rules
of the check. A page in Python also serves for Numba: then each checked function gets a decorator.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

FOLDER = Path(__file__).parent / "pages"
WIDTH = 100  # columns of the text
SOLUTION = re.compile(
    r"^(?P<indent> *)(?P<comment># solution|/\* solution \*/)\n(?P<lines>.*?)"
    r"^ *(?:# end of solution|/\* end of solution \*/)\n",
    re.DOTALL | re.MULTILINE,
)


def find(number: int, name: str, language: str) -> Path:
    """Return the file of the page of an exercise in a language: "python", "numba" or "c"."""
    return FOLDER / f"{number:02}_{name}{suffix(language)}"


def suffix(language: str) -> str:
    """Return the suffix of a file in this language: .c or .py."""
    return ".c" if language == "c" else ".py"


def stub(page: Path, language: str, functions: tuple[str, ...], rules: str) -> str:
    """Return the page as the student gets it: empty functions, and in Python the rules."""

    def empty(found: re.Match[str]) -> str:
        if language == "c":
            return f"{found['indent']}/* write the function here */\n"
        return f"{found['indent']}pass  # write the function here\n"

    text = SOLUTION.sub(empty, page.read_text(encoding="utf-8"))
    if language != "c":
        end = f'\n\n{textwrap.fill(rules, WIDTH)}\n"""\n'  # of the module's docstring
        text = text.replace('\n"""\n', end, 1)
    return _in_language(text, language, functions)


def solution(page: Path, language: str, functions: tuple[str, ...]) -> str:
    """Return the page with its solution, without the marks."""
    text = SOLUTION.sub(lambda found: found["lines"], page.read_text(encoding="utf-8"))
    return _in_language(text, language, functions)


def _in_language(text: str, language: str, functions: tuple[str, ...]) -> str:
    """Return a page in Python with decorators of Numba, if this is the language."""
    if language != "numba":
        return text
    if "import numba\n" not in text:
        text = text.replace("import numpy as np\n", "import numba\nimport numpy as np\n", 1)
    for name in functions:
        text = re.sub(rf"(?<!\)\n)^def {name}\(", f"@numba.njit\ndef {name}(", text, flags=re.M)
    return text
