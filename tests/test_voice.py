"""The mechanical part of the project's style: its words, and the sections of its docstrings.

`python tests/test_voice.py` prints the findings file by file, and what was checked.
`python tests/test_voice.py tinytensor/nn docs` prints those of these files and folders.

The style: plain English with the terms of NumPy's and PyTorch's documentation. Sentences are short,
code is not a person, and no docstring is a question. A public function describes its arguments, its
result, its gradient, its errors and its source.
"""

import ast
import functools
import inspect
import io
import re
import sys
import textwrap
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

import tinytensor as tt
from tinytensor import errors, random

ROOT = Path(__file__).parents[1]
FOLDERS = ("tinytensor", "tests", "benchmarks", "csrc", "docs")
FILES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "pyproject.toml", ".ci/run")

# Words to avoid, and the words to use in their place
WORDS = {
    r"kinds? of numbers?": "dtype",
    r"of nothing|none at all": "empty, zero-size",
    r"single numbers?": "scalar",
    r"(so|as) many": "n, the same number of",
    r"(a|very) few|the others": "the number or the names of them",
    r"beside": "next to, compared with, and",
    r"tells?(?! \w+ apart)|told(?! from| apart)": "prints, returns, raises",
    r"asks|is asked|are asked|knows|says of itself": "checks, needs, has",
    r"holds? back": "delays, waits",
    r"anew": "re-recorded, redrawn, again",
    r"where (it|they) lies?|lies? in": "is stored in, points to, is in",
    r"as (it was|they were)": "unchanged, restored; guards",
    r"by itself|by themselves|of (its|their) own": "separately, its own",
    r"in one piece": "contiguous",
    r"lines of (a|the) panels?": "rows, curves",
    r"for ?ever": "permanently",
    r"begun|gone on": "started, resumed",
    r"the way back": "the backward pass",
    r"what (it|they) came from": "its inputs, its graph",
    r"by heart": "memorises (overfits)",
    r"the rate (of learning|falls|decays)|(falling|decaying) rate": "the learning rate",
    r"missed digits?": "misclassified digits",
    r"whoever|whosoever": "the thread, the user, the caller",
    r"in (its|their) place|in places of": "instead of it",
    r"for (it|they|there|this|that) (is|are|was|were|has|have|can|may|must|will|does)": "because",
}
AVOIDED = [(re.compile(rf"\b({pattern})\b", re.I), use) for pattern, use in WORDS.items()]
# "What is recorded stands in program.py." A question may start with What.
TURNED_ROUND = re.compile(
    r"(?:^|[.;] )What (?:is|are|was|were|has|have|it|they|can|an?)\b(?:[^.?!:]|\.(?=\S))*\.(?= |$)"
)
QUESTION = re.compile(r"\?(\s|$)")


class Finding(NamedTuple):
    file: str
    line: int
    problem: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.problem}"


class Text(NamedTuple):
    """A comment, a string or a paragraph, and the line on which it starts."""

    line: int
    words: str


# The texts of a file ----------------------------------------------------------------------------


def checked_files() -> list[Path]:
    """All files with words of the project, but this one, which lists the words to avoid."""
    found = [ROOT / name for name in FILES if (ROOT / name).exists()]
    for folder in FOLDERS:
        for file in sorted((ROOT / folder).rglob("*")):
            is_built = "_build" in file.parts or not file.is_file()
            if file.suffix in TEXTS and not is_built and file != Path(__file__):
                found.append(file)
    return found


@functools.cache
def texts(file: Path) -> list[Text]:
    read = TEXTS.get(file.suffix, hash_texts)
    return list(read(file.read_text(encoding="utf-8")))


@functools.cache
def nodes(source: str) -> list[ast.AST]:
    return list(ast.walk(ast.parse(source)))


def python_texts(source: str) -> Iterator[Text]:
    """Comments, strings, and the names of tests."""
    yield from joined(
        (token.start[0], token.start[1], token.string.lstrip("#: "))
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    )
    inside: set[ast.AST] = set()  # the constant parts of f-strings
    for node in nodes(source):
        if isinstance(node, ast.JoinedStr):
            parts = [p.value if isinstance(p, ast.Constant) else "{}" for p in node.values]
            inside.update(node.values)
            yield Text(node.lineno, "".join(map(str, parts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if node not in inside:
                yield Text(node.lineno, node.value)
        elif isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield Text(node.lineno, node.name.replace("_", " "))


def c_texts(source: str) -> Iterator[Text]:
    """Comments and strings."""
    pattern = re.compile(
        r'/\*(?P<block>.*?)\*/|//(?P<line>[^\n]*)|"(?P<string>(?:\\.|[^"\\\n])*)"', re.S
    )
    found = []
    for match in pattern.finditer(source):
        line = source.count("\n", 0, match.start()) + 1
        column = match.start() - source.rfind("\n", 0, match.start()) - 1
        if match["line"] is not None:
            found.append((line, column, match["line"].strip()))
        elif match["block"] is not None:
            yield Text(line, re.sub(r"\n\s*\*+", "\n", match["block"]))
        else:
            yield Text(line, match["string"])
    yield from joined(found)


def hash_texts(source: str) -> Iterator[Text]:
    """Comments of TOML and shell."""
    lines = enumerate(source.splitlines(), start=1)
    found = ((i, re.search(r"(?:^|\s)#+ (.*)", line), line) for i, line in lines)
    yield from joined((i, match.start(1), match[1]) for i, match, _ in found if match)


def markdown_texts(source: str) -> Iterator[Text]:
    """Paragraphs, without the lines of code blocks; comments of code are those of Python."""
    code, paragraph, start = False, [], 1
    for i, line in enumerate([*source.splitlines(), ""], start=1):
        fence = line.lstrip().startswith("```")
        code ^= fence
        if line.strip() and not code and not fence:
            start = start if paragraph else i
            paragraph.append(line)
            continue
        if paragraph:
            yield Text(start, "\n".join(paragraph))
            paragraph = []
        if code and (comment := re.search(r"(?:^|\s)# (.*)", line)):
            yield Text(i, comment[1])


def html_texts(source: str) -> Iterator[Text]:
    yield Text(1, source)


TEXTS: dict[str, Callable[[str], Iterator[Text]]] = {
    ".py": python_texts,
    ".c": c_texts,
    ".h": c_texts,
    ".js": c_texts,
    ".css": c_texts,
    ".toml": hash_texts,
    ".md": markdown_texts,
    ".html": html_texts,
}


def joined(comments: object) -> Iterator[Text]:
    """Comments below each other as one text, because their sentences continue."""
    start = end = column = None
    words: list[str] = []
    for line, place, text in comments:  # type: ignore[attr-defined]
        if words and (line != end + 1 or place != column):
            yield Text(start, "\n".join(words))
            words = []
        start, end, column = start if words else line, line, place
        words.append(text)
    if words:
        yield Text(start, "\n".join(words))


# The words --------------------------------------------------------------------------------------


def words_to_avoid(text: str) -> Iterator[tuple[int, str]]:
    """Yields (offset, problem) for each word that the style avoids."""
    flat = re.sub(r"\s", " ", text)  # a phrase may continue on the next line
    flat = re.sub(r" {2,}", lambda spaces: " " + "\0" * (len(spaces[0]) - 1), flat)
    places = [i for i, character in enumerate(flat) if character != "\0"]
    flat = flat.replace("\0", "")
    for pattern, use in AVOIDED:
        for match in pattern.finditer(flat):
            yield places[match.start()], f"{match[0]!r}; write: {use}"
    for match in TURNED_ROUND.finditer(flat):
        yield places[match.start()], f"{match[0].strip('.; ')!r}: name the subject first"


def word_findings(file: Path) -> list[Finding]:
    name = file.relative_to(ROOT).as_posix()
    return [
        Finding(name, line + text.count("\n", 0, offset), problem)
        for line, text in texts(file)
        for offset, problem in words_to_avoid(text)
    ]


def question_findings(file: Path) -> list[Finding]:
    """Docstrings with a sentence that is a question."""
    found = []
    for node in nodes(file.read_text(encoding="utf-8")):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
            lines = (ast.get_docstring(node) or "").split("\n")
            text = "\n".join(line for line in lines if not line.lstrip().startswith((">>>", "...")))
            if QUESTION.search(text):
                line = getattr(node, "lineno", 1)
                found.append(Finding(file.relative_to(ROOT).as_posix(), line, "a question"))
    return found


# Public names -----------------------------------------------------------------------------------


class Public(NamedTuple):
    """A public function or class, and which sections its docstring needs."""

    name: str
    value: Callable
    is_op: bool = False  # needs all sections
    is_layer: bool = False  # needs a gradient and a source


def public_names() -> list[Public]:
    found: dict[str, Public] = {}
    op_names = {*tt.ops.__all__, *tt.ops.creation.__all__}
    op_values = [getattr(tt, name) for name in sorted(op_names)]
    for name in sorted(tt.__all__):
        value = getattr(tt, name)
        if not callable(value) or (name not in op_names and value in op_values):
            continue  # nn and optim are below, and other spellings are the same function
        found[f"tt.{name}"] = Public(f"tt.{name}", value, is_op=name in op_names)
    for module in (tt.nn, tt.optim, random):
        for name, value in members(module):
            full = f"{module.__name__.replace('tinytensor', 'tt')}.{name}"
            found[full] = Public(full, value, is_layer=is_layer(value))
    for owner in (tt.Tensor, tt.nn.Module, tt.optim.Optimizer):
        for name, value in vars(owner).items():
            function = value.fget if isinstance(value, property) else value
            if inspect.isfunction(function) and function not in op_values and name[0] != "_":
                full = f"tt.{owner.__name__}.{name}"
                found[full] = Public(full, function)
    return list(found.values())


def is_layer(value: Callable) -> bool:
    """True for a layer that computes something itself, unlike a base class or a Sequential."""
    is_module = inspect.isclass(value) and issubclass(value, tt.nn.Module)
    return is_module and not value.__subclasses__() and value is not tt.nn.Sequential


def members(module: ModuleType) -> Iterator[tuple[str, Callable]]:
    """Yields the public functions and classes that a module defines."""
    for name, value in sorted(vars(module).items()):
        is_public = name[0] != "_" and (inspect.isfunction(value) or inspect.isclass(value))
        if is_public and value.__module__ == module.__name__ and value.__name__ == name:
            yield name, value


ARGUMENT = r"^ *(?:\*{0,2}\w+, )*\*{0,2}%s(?:, \*{0,2}\w+)*(?: \([^)]*\))?:\s+\S"
SECTION = r"^%s\b"
TENSORS = ("Operand", "Tensor", "Array")
DESCRIBED = re.compile(r"array|tensor|scalar|number|\(|shape|as (for|in|of)\b", re.I)


def docstring_problems(public: Public) -> list[str]:
    """What is missing in the docstring of a public name."""
    doc = inspect.getdoc(public.value) or ""
    if not doc:
        return ["no docstring"]
    found = []
    if QUESTION.search(doc.split("\n>>> ")[0]):
        found.append("a question")
    if issubclass_of_errors(public.value):
        return found  # an error class needs one sentence
    sections = {
        name: bool(re.search(SECTION % name, doc, re.M))
        for name in ("Args", "Returns", "Yields", "Gradient", "Raises", "Source")
    }
    parameters = parameters_of(public.value)
    for parameter in parameters:
        described = re.search(ARGUMENT % re.escape(parameter.name) + r".*(?:\n {8}.*)*", doc, re.M)
        if not described:
            found.append(f"no description of the argument {parameter.name}")
        elif any(name in str(parameter.annotation) for name in TENSORS) and not DESCRIBED.search(
            described[0]
        ):
            found.append(f"no shape or dtype of the argument {parameter.name}")
    if parameters and not sections["Args"]:
        found.append("no Args")
    if returns_something(public.value) and not (sections["Returns"] or sections["Yields"]):
        first = doc.partition("\n")[0]
        says_it = re.match(r"(True|The|An?|All)\b", first) or re.search(
            r"\b(return|yield)s?\b", doc, re.I
        )
        if public.is_op or not says_it:
            found.append("no Returns")
    if not sections["Gradient"] and (public.is_op or public.is_layer):
        found.append("no Gradient")
    is_optimizer = inspect.isclass(public.value) and issubclass(public.value, tt.optim.Optimizer)
    if not sections["Source"] and (public.is_op or public.is_layer or is_optimizer):
        found.append("no Source")
    if not sections["Raises"] and (raises(public.value) or public.is_op):
        found.append("no Raises")
    return found + unknown_errors(doc)


def issubclass_of_errors(value: Callable) -> bool:
    return inspect.isclass(value) and issubclass(value, Exception)


def parameters_of(value: Callable) -> list[inspect.Parameter]:
    try:
        parameters = inspect.signature(value).parameters.values()
    except ValueError:  # a class without __init__
        return []
    return [p for p in parameters if p.name not in ("self", "cls") and not p.name.startswith("_")]


def returns_something(value: Callable) -> bool:
    """True for a function with a result that is not a context manager."""
    is_generator = inspect.isgeneratorfunction(inspect.unwrap(value))
    if inspect.isclass(value) or (is_generator and not inspect.isgeneratorfunction(value)):
        return False
    return inspect.signature(value).return_annotation not in (None, "None")


def raises(value: Callable) -> bool:
    """True if the code of a function, or of a class's __init__, has a raise statement."""
    function = vars(value).get("__init__") if inspect.isclass(value) else inspect.unwrap(value)
    if not inspect.isfunction(function):
        return False
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    raised = (node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise))
    names = {ast.unparse(error).split("(")[0].split(".")[0] for error in raised if error}
    return bool(names & {*errors.__all__, "ValueError", "TypeError"})


def unknown_errors(doc: str) -> list[str]:
    section = re.search(r"^Raises:\n((?:[ ]+.*\n?|\n(?= ))*)", doc, re.M)
    names = re.findall(r"^ {4}(\w+):", section[1], re.M) if section else []
    known = {*errors.__all__, "NotImplementedError"}
    return [f"Raises names {name}, which is no error" for name in names if name not in known]


def place_of(public: Public) -> tuple[str, int]:
    function = inspect.unwrap(public.value)
    file = Path(inspect.getsourcefile(function) or "").relative_to(ROOT).as_posix()
    return file, inspect.getsourcelines(function)[1]


def public_findings(public: Public) -> list[Finding]:
    problems = docstring_problems(public)
    return [Finding(*place_of(public), f"{public.name}: {problem}") for problem in problems]


# Tests ------------------------------------------------------------------------------------------


CHECKED = checked_files()
PYTHON = [file for file in [*CHECKED, Path(__file__)] if file.suffix == ".py"]
PUBLIC = public_names()


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("file", CHECKED, ids=name_of)
def test_words(file):
    found = word_findings(file)
    assert not found, "\n" + "\n".join(map(str, found))


@pytest.mark.parametrize("file", PYTHON, ids=name_of)
def test_docstrings_are_not_questions(file):
    found = question_findings(file)
    assert not found, "\n" + "\n".join(map(str, found))


@pytest.mark.parametrize("public", PUBLIC, ids=lambda public: public.name)
def test_docstrings_of_public_names_are_complete(public):
    found = public_findings(public)
    assert not found, "\n" + "\n".join(map(str, found))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("seconds of 2 cores that had other work beside", "beside"),
        ("computed alike by whoever does it", "whoever"),
        ("The sum; 0 of nothing.", "of nothing"),
        ("for kinds of number that have no meaning", "kinds of number"),
        ("A network that learns by\n    heart does it", "by heart"),
        ("alike, for it is computed twice", "for it is"),
        ("No. What is recorded stands in program.py.", "What is recorded stands in program.py"),
    ],
)
def test_sentences_that_the_style_avoids_are_found(text, found):
    assert [problem.split("'")[1] for _, problem in words_to_avoid(text)] == [found]


@pytest.mark.parametrize(
    "text",
    [
        "Besides the labels, the images are loaded for 10 steps.",
        "What is a gradient? It is the slope.",
        "A network of your own, for each row.",
        "The report says NOISY.",
    ],
)
def test_sentences_of_the_style_are_not_found(text):
    assert not list(words_to_avoid(text))


def test_a_docstring_without_sections_is_found():
    def op(x: "tt.Tensor", axis: int) -> "tt.Tensor":
        raise tt.ShapeError(f"{x}{axis}")

    op.__doc__ = "Twice x?\n\nArgs:\n    x: what is doubled."
    problems = docstring_problems(Public("op", op, is_op=True))
    assert problems == [
        "a question", "no shape or dtype of the argument x", "no description of the argument axis",
        "no Returns", "no Gradient", "no Source", "no Raises",
    ]  # fmt: skip


def main(paths: list[str]) -> int:
    """Print all findings in these files and folders, and what was checked."""
    chosen = [(ROOT / path).resolve() for path in paths] or [ROOT]
    found = [finding for file in CHECKED for finding in word_findings(file)]
    found += [finding for file in PYTHON for finding in question_findings(file)]
    found += [finding for public in PUBLIC for finding in public_findings(public)]
    found = [f for f in found if any((ROOT / f.file).is_relative_to(path) for path in chosen)]
    for finding in sorted(found):
        print(finding)
    counts: dict[str, int] = {}
    for finding in found:
        counts[finding.file] = counts.get(finding.file, 0) + 1
    for file, count in sorted(counts.items()):
        print(f"{count:5} {file}")
    words = sum(len(text.words.split()) for file in CHECKED for text in texts(file))
    incomplete = sum(bool(docstring_problems(public)) for public in PUBLIC)
    print(
        f"{len(found)} findings; checked {words:,} words in {len(CHECKED)} files, "
        f"{len(PUBLIC)} public names, {incomplete} of them without a complete docstring"
    )
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
