"""A page for each source file of the package, with a number at each line, and links to lines.

    {source}`tinytensor/autograd.py`            links to a file
    {source}`tinytensor/autograd.py:backward`   links to the line that defines `backward`
    {source}`text <csrc/matmul.c:matmul>`       the same, with another text
    {source}`text <index>`                      links to the list of all files

A file or a definition that does not exist is a warning, which ends the build.
"""

import ast
import html
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from docutils import nodes
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import CLexer, PythonLexer
from sphinx.util.docutils import ReferenceRole

ROOT = Path(__file__).parents[2]
FOLDERS = ("tinytensor", "csrc", "tests", "benchmarks")
LEXERS = {".py": PythonLexer, ".c": CLexer, ".h": CLexer}


def files() -> list[Path]:
    """The source files, as paths from the root."""
    found = (file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.*")))
    return [file.relative_to(ROOT) for file in found if file.suffix in LEXERS]


@cache
def definitions(path: Path) -> dict[str, int]:
    """The line of each function and class: "backward", "Tensor.backward"."""
    text = (ROOT / path).read_text(encoding="utf-8")
    if path.suffix == ".py":
        return dict(_of_python(ast.parse(text), ""))
    found: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if match := re.match(r"(?:#define |[A-Za-z_][\w *]*[ *])(\w+)\(", line):
            found.setdefault(match[1], number)
    return found


def _of_python(tree: ast.AST, prefix: str) -> Iterator[tuple[str, int]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield prefix + node.name, node.lineno
            yield from _of_python(node, f"{prefix}{node.name}.")


class Source(ReferenceRole):
    """The role `source`."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """A link to a line."""
        name, _, definition = self.target.partition(":")
        path = Path(name)
        line = None
        if name != "index" and path not in files():
            return self._missing(f"there is no source file {name}")
        if definition:
            line = definitions(path).get(definition)
            if line is None:
                return self._missing(f"{name} has no definition of {definition}")
        depth = self.env.docname.count("/")
        address = f"{'../' * depth}source/{name}.html" + (f"#line-{line}" if line else "")
        text = self.title if self.has_explicit_title else definition or name
        link = nodes.reference("", "", nodes.literal(text, text), refuri=address, internal=True)
        return [link], []

    def _missing(self, message: str) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        return [], [self.inliner.reporter.warning(f"source: {message}", line=self.lineno)]


def pages(app) -> Iterator[tuple[str, dict[str, str], str]]:
    """The pages of all files, and one that lists them."""
    entries: dict[str, list[str]] = {}
    for path in files():
        text = (ROOT / path).read_text(encoding="utf-8")
        formatter = HtmlFormatter(lineanchors="line", linenos="inline", anchorlinenos=True)
        code = highlight(text, LEXERS[path.suffix](), formatter)
        body = f"<h1>{html.escape(path.as_posix())}</h1>\n{code}"
        yield f"source/{path}", {"title": path.as_posix(), "body": body}, "page.html"
        entry = f'<li><a href="{path}.html">{path}</a></li>'
        entries.setdefault(path.parent.as_posix(), []).append(entry)
    body = "<h1>Source files</h1>\n"
    for folder, lines in entries.items():
        body += f"<h2>{folder}</h2>\n<ul>\n{chr(10).join(lines)}\n</ul>\n"
    yield "source/index", {"title": "Source files", "body": body}, "page.html"


def setup(app) -> dict[str, bool]:  # noqa: D103
    app.add_role("source", Source())
    app.connect("html-collect-pages", pages)
    return {"parallel_read_safe": True}
