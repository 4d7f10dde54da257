"""A figure with its title and its explanation: what all six panels have in common."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from bokeh.models import Column, Div, InlineStyleSheet
from bokeh.plotting import figure

from tinytensor.live import style
from tinytensor.live.names import DIGITS, PANELS, worded

FAINT = "#7d8590"  # readable on white and on black
WIDTH = 330  # pixels of the tabs next to the panels


def plain_figure(**settings: Any) -> figure:
    """A Bokeh figure without a tool bar that fills its container."""
    settings = {"sizing_mode": "stretch_both", "toolbar_location": None, "tools": ""} | settings
    plot = figure(**settings)
    plot.toolbar.logo = None
    plot.min_border, plot.min_border_right = 2, 20  # room for half of the label 10000
    plot.title.text_font_size = "13px"
    plot.axis.major_label_text_font_size = "11px"
    plot.grid.grid_line_alpha = 0.5
    return plot


class Panel:
    """A figure below its title, with a "?" that opens two sentences about it.

    Args:
        name: a key of names.PANELS.
        classes: the names of the classes.
        settings: of the figure.
    """

    def __init__(self, name: str, classes: Sequence[str] = DIGITS, **settings: Any) -> None:
        self.classes = tuple(classes)
        self.figure = plain_figure(**settings)
        self.figure.xaxis.ticker.desired_num_ticks = 5
        self.figure.xaxis.ticker.min_interval = 1  # because steps are integers
        sheets = [InlineStyleSheet(css=style.CONTROLS + style.PANEL)]
        self.heading = Div(stylesheets=sheets, sizing_mode="stretch_width", margin=(0, 24, 0, 4))
        self.help = Div(stylesheets=sheets, css_classes=["help"])
        self.content = Column(
            self.heading, self.help, self.figure, sizing_mode="stretch_both", css_classes=["panel"],
            stylesheets=sheets,
        )  # fmt: skip
        self.rename(name)

    def rename(self, name: str) -> None:
        """Be the panel of this name, with its title and its explanation."""
        self.name = name
        self.title, about = (worded(text, self.classes) for text in PANELS[name])
        self.figure.name = name
        self.heading.name, self.help.name = f"{name} title", f"{name} help"
        self.help.text = (
            f'<details><summary title="What is this?">?</summary><p>{about}</p></details>'
        )
        self.set_title(self.title)

    def set_title(self, title: str, legend: str = "") -> None:
        """Show this title; legend: HTML after it."""
        text = f"<h3>{html.escape(title)}{legend}</h3>"
        if self.heading.text != text:
            self.heading.text = text

    def enlarge(self, large: bool) -> None:
        """Set the size of all letters: large for a class that looks at a projection."""
        self.heading.css_classes = ["large"] if large else []
        self.help.css_classes = ["help", "large"] if large else ["help"]
        self.figure.axis.major_label_text_font_size = "20px" if large else "11px"
