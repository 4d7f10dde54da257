"""The page of an exercise: one file, with its solution between two marks.

    # solution            /* solution */
    ...                   ...
    # end of solution     /* end of solution */

The student gets the page without the lines between the marks. If the example of the file reaches an
empty function, it ends and prints the name of this function. A page in Python also gets the rules
of the check. It serves for Numba, too: then each checked function gets a decorator.
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
QUIET = 'warnings.simplefilter("ignore", numba.NumbaPerformanceWarning)  # of an empty function'
# The lines of an empty function, by suffix. The check of an answer does not run the example.
EMPTY = {
    ".py": '{i}if __name__ == "__main__":\n{i}    raise SystemExit("{to_do}")\n',
    ".c": '#ifdef TRY\n{i}fprintf(stderr, "{to_do}\\n");\n{i}exit(1);\n#endif\n',
}


def find(number: int, name: str, language: str) -> Path:
    """Return the file of the page of an exercise in a language: "python", "numba" or "c"."""
    return FOLDER / f"{number:02}_{name}{suffix(language)}"


def suffix(language: str) -> str:
    """Return the suffix of a file in this language: .c or .py."""
    return ".c" if language == "c" else ".py"


def stub(page: Path, language: str, functions: tuple[str, ...], rules: str) -> str:
    """Return the page as the student gets it: empty functions, and in Python the rules."""
    file = page.name.partition("_")[2]

    def empty(found: re.Match[str]) -> str:
        function = _function_before(found.string[: found.start()], page.suffix)
        to_do = f"write {function} here, in {file}"
        return EMPTY[page.suffix].format(i=found["indent"], to_do=to_do)

    text = SOLUTION.sub(empty, page.read_text(encoding="utf-8"))
    if language == "c":
        text = text.replace("#include <stdio.h>\n", "#include <stdio.h>\n#include <stdlib.h>\n", 1)
    else:
        end = f'\n\n{textwrap.fill(rules, WIDTH)}\n"""\n'  # of the module's docstring
        text = text.replace('\n"""\n', end, 1)
    return _in_language(_for_numba(text) if language == "numba" else text, language, functions)


def _for_numba(stub: str) -> str:
    """Return a stub whose empty functions Numba compiles: they can't raise SystemExit.

    Numba warns of a function with `parallel=True` that has no loop for several threads.
    """
    stub = stub.replace("raise SystemExit(", "raise NotImplementedError(")
    head, start, example = stub.rpartition('\nif __name__ == "__main__":\n')
    if "parallel=True" in head:
        head = head.replace("import numba\n", "import warnings\n\nimport numba\n", 1)
        start += f"    {QUIET}\n"
    return (
        f"{head}{start}    try:\n{textwrap.indent(example, '    ')}"
        "    except NotImplementedError as empty:\n        raise SystemExit(str(empty)) from None\n"
    )


def _function_before(text: str, suffix: str) -> str:
    """Return the name of the function whose lines follow after this text, such as Value.exp."""
    if suffix == ".c":
        return str(re.findall(r"^void (\w+)\(", text, re.M)[-1])
    indent, name = re.findall(r"^( *)def (\w+)\(", text, re.M)[-1]
    if not indent:
        return str(name)
    *_, owner = re.findall(r"^class (\w+)", text, re.M)
    return f"{owner}.{name}"


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
