"""After the build: an error if a page loads anything from another host.

The site must work from a folder without a network. Links to other hosts are allowed, because a
browser follows them only at a click.
"""

from html.parser import HTMLParser
from pathlib import Path

from sphinx.errors import ExtensionError

LOADS = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}


class Loads(HTMLParser):
    """Collects the addresses on other hosts that a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Note what a script, a style sheet, an image or a frame is loaded from."""
        address = dict(attributes).get(LOADS.get(tag, ""))
        if address and address.startswith(("http:", "https:", "//")):
            self.found.append(address)


def check(app, exception: Exception | None) -> None:
    """Raise ExtensionError with the pages and the addresses."""
    if exception is not None or app.builder.format != "html":
        return
    problems = []
    for file in sorted(Path(app.outdir).rglob("*.html")):
        loads = Loads()
        loads.feed(file.read_text(encoding="utf-8"))
        problems += [f"{file.name} loads {address}" for address in loads.found]
    if problems:
        raise ExtensionError("the site must work without a network: " + "; ".join(problems))


def setup(app) -> dict[str, bool]:  # noqa: D103
    app.connect("build-finished", check)
    return {"parallel_read_safe": True}
