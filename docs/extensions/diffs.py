"""The directive `{change} op`, which shows a change of changes.py as a diff."""

import changes
from docutils import nodes
from docutils.parsers.rst import Directive


class Change(Directive):
    """The directive `change`."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Returns the diff as a block of code."""
        text = changes.diff(self.arguments[0])
        return [nodes.literal_block(text, text, language="diff")]


def setup(app) -> dict[str, bool]:  # noqa: D103
    app.add_directive("change", Change)
    return {"parallel_read_safe": True}
