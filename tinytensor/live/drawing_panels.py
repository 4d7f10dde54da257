"""The two panels for a class that draws: a large pad with the bars of the classes, and the wall."""

from __future__ import annotations

import numpy as np
from bokeh.models import Button, Column, Div, InlineStyleSheet, RadioButtonGroup, Row

from tinytensor.arrays import Array
from tinytensor.live import style
from tinytensor.live.digit_tab import Digit, drawing_pad, neuron_bars
from tinytensor.live.digits import Chosen, Digits
from tinytensor.live.names import UNKNOWN, worded
from tinytensor.live.panel import Panel
from tinytensor.live.wall import Wall


class Drawing(Panel):
    """A large pad for the strokes of `digit`, its bars, and buttons that put it on the wall."""

    def __init__(self, digit: Digit, wall: Wall) -> None:
        super().__init__("drawing", digit.names)
        self.digit, self.wall = digit, wall
        self.viewer = object()  # each viewer's page has one pad
        sheet = InlineStyleSheet(css=style.CONTROLS + style.DRAWING)
        self.figure = drawing_pad(
            digit.strokes, name="large pad", sizing_mode="fixed", css_classes=["pad"],
            stylesheets=[sheet],
        )  # fmt: skip
        self.figure.min_border = self.figure.min_border_right = 0
        self.bars = neuron_bars(digit.neurons, digit.names, name="large neurons", min_height=150)
        self.bars.axis.major_label_text_font_size = "15px"
        self.verdict = Div(name="large verdict", stylesheets=[sheet], css_classes=["verdict"])
        self.answer = RadioButtonGroup(
            name="it is a", labels=[*digit.names, UNKNOWN], active=None,
            stylesheets=[sheet, InlineStyleSheet(css=style.GROUP)],
        )  # fmt: skip
        self.answer.on_change("active", lambda _, __, chosen: self._put_on_the_wall(chosen))
        clear = Button(label="clear", name="large clear", width=64, stylesheets=[sheet])
        clear.on_click(digit.clear)
        self.note = Div(name="note", stylesheets=[sheet])
        asked = Div(text="It is a", stylesheets=[sheet])
        self.texts = (asked, self.answer, clear, self.note)
        answers = Row(*self.texts[:3], css_classes=["answers"], stylesheets=[sheet])
        side = Column(self.verdict, self.bars, answers, self.note, sizing_mode="stretch_both")
        self.content.css_classes = ["panel", "tall"]
        self.content.children = [
            self.heading,
            self.help,
            Row(
                self.figure, side, sizing_mode="stretch_both", css_classes=["drawing"],
                stylesheets=[sheet],
            ),
        ]  # fmt: skip

    def enlarge(self, large: bool) -> None:
        """Set the size of all letters: large for a class that looks at a projection."""
        super().enlarge(large)
        self.bars.axis.major_label_text_font_size = "20px" if large else "15px"
        for text in self.texts:
            text.css_classes = ["large"] if large else []

    def update(self) -> None:
        """Show what the network takes the digit for."""
        if self.verdict.text != self.digit.hint.text:
            self.verdict.text = self.digit.hint.text

    def _put_on_the_wall(self, chosen: int | None) -> None:
        if chosen is None:
            return
        self.answer.active = None
        image = self.digit.image if self.digit.is_drawn else None
        if image is not None and 0 <= chosen <= self.wall.unknown:
            self.wall.add(image, chosen, self.viewer)
            self.digit.clear()
            self.note.text = "It is on the wall. Draw the next one."
        else:
            self.note.text = worded("Draw a digit first.", self.classes)


class WallPanel(Digits):
    """The digits of the wall, as small squares.

    may_clear: True adds a button that removes all digits.
    """

    least = 40
    mark = 0.28

    def __init__(self, wall: Wall, classes: tuple[str, ...], may_clear: bool) -> None:
        super().__init__("wall", (*classes, UNKNOWN))
        self.wall = wall
        self.figure.yaxis.visible = False
        if may_clear:
            sheet = InlineStyleSheet(css=style.CONTROLS)
            clear = Button(
                label="clear the wall", name="clear the wall", width=110, stylesheets=[sheet]
            )
            clear.on_click(wall.clear)
            self.content.children = [self.heading, self.help, clear, self.figure]

    def is_misclassified(self, labels: Array, predictions: Array) -> Array:
        """True (N,) for the digits that their drawers call otherwise than the network."""
        return np.asarray((labels != predictions) & (labels != self.wall.unknown))

    def is_marked(self, misclassified: Array) -> Array:
        """True (N,): all digits have both names."""
        return np.ones_like(misclassified)

    def at(self, x: float, y: float) -> Chosen | None:
        """The digit at the coordinates (x, y) of the figure; None outside of the digits."""
        chosen = super().at(x, y)
        is_unknown = chosen is not None and chosen.label == self.wall.unknown
        return chosen._replace(label=None) if chosen is not None and is_unknown else chosen

    def update(self) -> None:
        """Show the wall as the network reads it now."""
        found = self.wall.classified
        if found is None or (self.shown is not None and self.shown[0] is found.images):
            return
        self.show(found.images, found.labels, found.predictions)
        wrong = int(self.is_misclassified(found.labels, found.predictions).sum())
        known = int((found.labels != self.wall.unknown).sum())
        self.set_title(
            f"{self.title}: {found.drawn:,} drawn, {known - wrong} of {known} recognised"
        )
