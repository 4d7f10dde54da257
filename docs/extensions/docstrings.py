"""The package's docstrings as reStructuredText.

A docstring of the package is plain text: paragraphs, sections such as `Returns: ...`, arguments as
`name: text`, examples with `>>>`, and indented code. Here each of them becomes its markup, and the
special characters of reStructuredText are escaped. Docstrings of modules are for readers of the
source; the pages of the reference have their own introductions.

Several arguments may share a text: `x, y: text`. `axis (or dim): text` has both spellings of one
argument. Sphinx's fields `:param name:` have one name each, so arguments become a list here.
"""

import re
import textwrap
from collections.abc import Iterable, Iterator

SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Gradient", "Raises", "Source")
LISTS = {"Args": "Parameters", "Attributes": "Attributes"}  # sections of `name: text`, as headings
SECTION = re.compile(rf"({'|'.join(SECTIONS)}):(?: (.*))?$")
ARGUMENT = re.compile(r"(\*{0,2}[a-z]\w*(?:(?: \([^)]*\))|(?:, \*{0,2}\w+))*): (.*)")
ENTRY = re.compile(r"([^:]+): (.*)")
NAME = re.compile(r"\*{0,2}\b(?!or\b)\w+")
NEXT_ARGUMENT = re.compile(r"; (?=[a-z]\w*(?:, \w+)*: )")  # of several in one line


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
        lines = textwrap.dedent("\n".join(block)).splitlines()
        yield from (".. code-block:: pycon", "", *(f"   {line}" for line in lines))
    elif first.startswith("    "):
        yield from (".. code-block:: text", "", *(f"   {line}" for line in block))
    elif (section := SECTION.match(first)) and section[1] in LISTS and not section[2]:
        yield from _arguments(LISTS[section[1]], _entries(line[4:] for line in block[1:]))
    elif section and section[1] == "Raises" and not section[2]:
        yield from _errors(_entries(line[4:] for line in block[1:]))
    elif section:
        yield f":{section[1]}: {_text([section[2] or '', *block[1:]])}"
    elif ARGUMENT.match(first):
        # A line is an argument or continues one. Docstrings of kernels have several in a line.
        lines = (line if ARGUMENT.match(line) else f"    {line}" for line in block)
        joined = [" ".join(map(str.strip, entry)) for entry in _entries(lines)]
        separate = [[part] for entry in joined for part in NEXT_ARGUMENT.split(entry)]
        yield from _arguments("Parameters", separate)
    else:
        yield _text(block)


def _text(block: list[str]) -> str:
    return _escaped(" ".join(line.strip() for line in block if line.strip()))


def _entries(lines: Iterable[str]) -> list[list[str]]:
    """Entries `name: text`, each with the indented lines that continue it."""
    entries: list[list[str]] = []
    for line in lines:
        if line.startswith(" ") and entries:
            entries[-1].append(line)
        else:
            entries.append([line])
    return entries


def _arguments(heading: str, entries: list[list[str]]) -> Iterator[str]:
    """A list with the names in bold."""
    yield from (f":{heading}:", "")
    for first, *more in entries:
        if entry := ENTRY.match(first):
            names = NAME.sub(lambda name: f"**{_plain(name[0])}**", entry[1])
            yield f"   - {names} -- {_text([entry[2], *more])}"
        else:
            yield f"   - {_text([first, *more])}"


def _errors(entries: list[list[str]]) -> Iterator[str]:
    for first, *more in entries:
        if entry := ENTRY.match(first):
            yield f":raises {entry[1]}: {_text([entry[2], *more])}"
        else:
            yield f":raises: {_text([first, *more])}"


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
