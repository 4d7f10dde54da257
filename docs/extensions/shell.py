"""Shell cells show their commands only.

A cell that starts with `%%sh` runs in a shell while the site is built. The page shows its commands
without that line, so a reader can copy them into a terminal.
"""

from docutils import nodes

MARK = "%%sh\n"


def show_commands(app, doctree: nodes.document) -> None:
    """Remove the line `%%sh` from the cells of a page."""
    for block in doctree.findall(nodes.literal_block):
        text = block.astext()
        if text.startswith(MARK):
            commands = text.removeprefix(MARK)
            block.children = [nodes.Text(commands)]
            block.rawsource = commands
            block["language"] = "sh"


def setup(app) -> dict[str, bool]:  # noqa: D103
    app.connect("doctree-read", show_commands)
    return {"parallel_read_safe": True}
