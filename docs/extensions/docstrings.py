"""The package's docstrings as reStructuredText.

A docstring of the package is plain text: paragraphs, sections such as `Returns: ...`, arguments as
`name: text`, examples with `>>>`, and indented code. Here each of them becomes its markup, and the
special characters of reStructuredText are escaped. Docstrings of modules are for readers of the
source; the pages of the reference have their own introductions.
"""

import re
from collections.abc import Iterator

SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Gradient", "Raises", "Source")
LISTS = {"Args": "param", "Attributes": "ivar", "Raises": "raises"}  # sections of `name: text`
SECTION = re.compile(rf"({'|'.join(SECTIONS)}):(?: (.*))?$")
ARGUMENT = re.compile(r"(\*{0,2}[a-z]\w*(?:(?: \([^)]*\))|(?:, \*{0,2}\w+))*): (.*)")
ENTRY = re.compile(r"([^:]+): (.*)")


def to_rst(lines: list[str]) -> list[str]:
    """The lines of a docstring as lines of reStructuredText."""
    if not any(map(str.strip, lines)):
        return []
    summary, *blocks = _blocks(lines)
    text = [_text(summary), ""]
    return text + [line for block in blocks for line in (*_block(block), "")]


def _blocks(lines: list[str]) -> Iterator[list[str]]:
    """Blocks of lines: what is between blank lines; a section starts a block too."""
    block: list[str] = []
    for line in [*lines, ""]:
        if block and (not line.strip() or SECTION.match(line)):
            yield block
            block = []
        if line.strip():
            block.append(line.rstrip())


def _block(block: list[str]) -> Iterator[str]:
    first = block[0]
    if first.lstrip().startswith(">>>"):
        yield from (".. code-block:: pycon", "", *(f"   {line.strip()}" for line in block))
    elif first.startswith("    "):
        yield from (".. code-block:: text", "", *(f"   {line}" for line in block))
    elif (section := SECTION.match(first)) and section[1] in LISTS and not section[2]:
        yield from _entries(LISTS[section[1]], [line[4:] for line in block[1:]])
    elif section:
        yield _field(section[1], [section[2] or "", *block[1:]])
    elif ARGUMENT.match(first) and all(map(_is_argument, block)):
        yield from _entries("param", block)
    else:
        yield _text(block)


def _text(block: list[str]) -> str:
    return _escaped(" ".join(line.strip() for line in block))


def _is_argument(line: str) -> bool:
    return line.startswith("    ") or ARGUMENT.match(line) is not None


def _entries(kind: str, lines: list[str]) -> Iterator[str]:
    """Fields of `name: text`, each with the lines that continue it."""
    groups: list[list[str]] = []
    for line in lines:
        if line.startswith(" ") and groups:
            groups[-1].append(line)
        else:
            groups.append([line])
    for group in groups:
        if entry := ENTRY.match(group[0]):
            yield _field(f"{kind} {entry[1]}", [entry[2], *group[1:]])
        else:
            yield _field(kind, group)


def _field(name: str, lines: list[str]) -> str:
    text = _escaped(" ".join(line.strip() for line in lines if line.strip()))
    return f":{name.replace('*', chr(92) + '*')}: {text}"


def _escaped(text: str) -> str:
    """Text without markup; what is between backticks is code."""
    words, *rest = re.split(r"`([^`]+)`", text)
    result = _plain(words)
    for code, words in zip(rest[::2], rest[1::2], strict=True):
        result += f"``{code}``"
        # reStructuredText wants a space or punctuation behind code: backslash-space is neither.
        result += ("\\ " if words[:1].isalnum() else "") + _plain(words)
    return result


def _plain(text: str) -> str:
    return re.sub(r"([\\*|_`]|:(?=:))", r"\\\1", text)


def process(app, what, name, obj, options, lines: list[str]) -> None:  # noqa: D103
    lines[:] = [] if what == "module" else to_rst(lines)


def setup(app) -> dict[str, bool]:  # noqa: D103
    app.connect("autodoc-process-docstring", process)
    return {"parallel_read_safe": True}
