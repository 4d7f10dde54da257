"""The frame of a viewer's live page: its only root, its template, its colours and its updates."""

from __future__ import annotations

from collections.abc import Callable

from bokeh.document import Document
from bokeh.models import Column, GlobalInlineStyleSheet, InlineStyleSheet, UIElement

from tinytensor.live import style, template
from tinytensor.live.server import viewer_of

MILLISECONDS = 500  # between two updates; more updates would slow the training


class Frame:
    """The frame of one viewer's page."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.root = Column(
            sizing_mode="stretch_both",
            margin=(6, 8, 6, 8),
            spacing=4,
            css_classes=["page"],
            stylesheets=[GlobalInlineStyleSheet(css=style.PAGE), InlineStyleSheet(css=style.ROOT)],
        )
        document.template = template.PAGE
        document.config.notify_connection_status = False  # the template has its own message
        document.add_root(self.root)

    def show(self, *contents: UIElement) -> None:
        """Show these contents, one below the other."""
        self.root.children = list(contents)

    def colour(self, scheme: str) -> None:
        """Use the colours of style.SCHEMES[scheme]."""
        self.root.css_classes = ["page", *style.SCHEMES[scheme]]

    def update_regularly(self, update: Callable[[], None]) -> None:
        """Call update() now and every MILLISECONDS.

        The next update is sent after the viewer's browser has processed the last one. A suspended
        browser gets no updates; when it resumes, it gets the current state only.
        """
        viewer = viewer_of(self.document)

        def update_if_it_keeps_up() -> None:
            if not viewer.is_behind:
                update()
                self.document.add_next_tick_callback(viewer.ping)  # after the update is sent

        update()
        self.document.add_periodic_callback(update_if_it_keeps_up, MILLISECONDS)
