"""The tabs next to the panels: the lesson text, the weights as images, the confusion matrix.

A tab submits a function to the run, which calls it between two training steps. The tab shows the
result at the next update of the page.
"""

from __future__ import annotations

import functools
import html
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from bokeh.events import Tap
from bokeh.models import (
    Column,
    ColumnDataSource,
    Div,
    InlineStyleSheet,
    LinearColorMapper,
    Range1d,
    Select,
)
from bokeh.palettes import interp_palette
from markdown_it import MarkdownIt

from tinytensor.arrays import Array
from tinytensor.lessons import Lesson
from tinytensor.live import class_axis, inside
from tinytensor.live.digits import Digits
from tinytensor.live.panel import FAINT, WIDTH, plain_figure
from tinytensor.live.pending_call import PendingCall
from tinytensor.live.picture import TEST, TRAIN
from tinytensor.live.run import Run
from tinytensor.live.snapshot import Snapshot
from tinytensor.nn import Module

SIGNED = interp_palette(["#0b559f", "#6baed6", "#f7f7f7", "#fd9a52", "#a63603"], 255)
FIRST = ("The network", "What to look at")  # sections of a chapter
LEFT_OUT = ("Try it", "Answers")
MAX_CONFUSED = 100  # digits of a cell of the confusion matrix
STRONG = 0.4  # share from which a cell is bright enough for a black number, also on a dark page
MOST_NUMBERED = 15  # classes; the cells of a larger confusion matrix have no room for numbers
CELLS = 258  # pixels, the width of the confusion matrix and of the names of its rows


def lesson_text(lesson: Lesson, model: Module) -> str:
    """The chapter as HTML, without commands and answers; first what helps to read the panels.

    If the lesson has no chapter, because the model is trained by tt.fit, the text is the model.
    """
    if not lesson.chapter:
        return f"<pre>{html.escape(repr(model))}</pre>"
    markdown = MarkdownIt("commonmark").enable("table")
    markdown.add_render_rule("fence", _fence)
    chapter = lesson.read_chapter()
    others = [heading for heading in chapter.sections if heading not in (*FIRST, *LEFT_OUT)]
    text = f"# {chapter.title}\n\n{chapter.introduction}\n\n{chapter.markdown(*FIRST, *others)}"
    return str(markdown.render(text))


def _fence(renderer: Any, tokens: Sequence[Any], index: int, *_: Any) -> str:
    return f"<pre>{_drawing(html.escape(tokens[index].content))}</pre>"


def _drawing(text: str) -> str:
    """A drawing of two columns as HTML; long rows wrap inside the second column."""
    lines = []
    for line in text.splitlines():
        first = re.match(r"(\w+|\s+\|)\s+|", line)[0]  # type: ignore[index] # "" always matches
        style = f"padding-left: {len(first)}ch; text-indent: -{len(first)}ch"
        lines.append(f'<div style="{style}">{line}</div>')
    return "".join(lines)


class Weights:
    """The weights of one layer as images: blue is negative, orange is positive."""

    def __init__(self, run: Run, sheet: InlineStyleSheet) -> None:
        self.choice = Select(name="weights of", width=WIDTH - 20, stylesheets=[sheet])
        self.figure = plain_figure(
            name="templates", title="", width=WIDTH - 12, height=WIDTH, sizing_mode="fixed",
            match_aspect=True,
        )  # fmt: skip
        self.figure.axis.visible = self.figure.grid.visible = False
        self.figure.outline_line_alpha = 0
        self.figure.x_range, self.figure.y_range = Range1d(0, 1), Range1d(0, 1)
        self.source = ColumnDataSource({"image": [], "x": [], "width": [], "height": []})
        self.source.name = "templates data"
        self.colours = LinearColorMapper(palette=SIGNED, low=-1, high=1, nan_color="#00000000")
        self.figure.image(
            "image", "x", 1, "width", "height", source=self.source, color_mapper=self.colours,
            anchor="top_left", origin="top_left",
        )  # fmt: skip
        legend = "blue is negative, orange is positive, white is 0"
        self.content = Column(
            self.choice, Div(text=legend, width=WIDTH - 20, stylesheets=[sheet]), self.figure
        )
        self.follow(run)

    def follow(self, run: Run) -> None:
        """Show the weights of the network of this run, from now on."""
        names = inside.weight_names(run.training.tested)
        self._image_shape = run.training.data.image_shape
        self._call: PendingCall[Array] = PendingCall(run)
        self.choice.update(options=names, value=names[0])

    def update(self, shot: Snapshot | None) -> None:
        """Show the image if it is ready; make a new one if the weights have changed."""
        name = self.choice.value
        draw = functools.partial(inside.weights, name=name, image_shape=self._image_shape)
        image = self._call.update((shot, name), draw)
        if image is not None:
            H, W = image.shape
            most = float(np.nanmax(np.abs(image))) or 1.0
            self.colours.update(low=-most, high=most)
            self.source.data = {
                "image": [image], "x": [0], "width": [min(1.0, W / H)], "height": [min(1.0, H / W)],
            }  # fmt: skip


class Confusion:
    """The confusion matrix of the last test."""

    def __init__(self, run: Run, sheet: InlineStyleSheet) -> None:
        self._names = names = run.training.data.names
        count = len(names)
        self.figure = plain_figure(
            name="confusion", title="", width=WIDTH - 12, height=WIDTH, sizing_mode="fixed",
            x_range=class_axis.class_range(names), y_range=Range1d(count, 0),
            x_axis_label="computed", y_axis_label="correct",
        )  # fmt: skip
        self.figure.grid.visible = False
        class_axis.label(self.figure.xaxis, names, CELLS, self.figure.yaxis)
        # The cell of the computed class j and the correct class i has its middle at (j, i) + 0.5.
        correct, computed = np.divmod(np.arange(count**2), count)
        self._places = {"x": computed + 0.5, "y": correct + 0.5}
        self.source = ColumnDataSource(
            {name: [] for name in ("x", "y", "text", "ink", "alpha", "color")},
            name="confusion data",
        )
        self.figure.rect(
            "x", "y", 0.96, 0.96, source=self.source, fill_color="color",
            fill_alpha="alpha", line_alpha=0,
        )  # fmt: skip
        numbers = self.figure.text(
            "x", "y", "text", source=self.source, text_align="center",
            text_baseline="middle", text_font_size="10px", text_color="ink",
        )  # fmt: skip
        numbers.visible = len(names) <= MOST_NUMBERED
        self.figure.on_event(Tap, self._choose_cell)
        self.digits = Digits("confused digits", names)
        self.digits.figure.yaxis.visible = False
        legend = (
            "number of test images, by correct class (row) and computed class (column); "
            "a click on a cell shows its images"
        )
        text = Div(text=legend, width=WIDTH - 20, stylesheets=[sheet])
        self.content = Column(
            text, self.figure, self.digits.content, sizing_mode="stretch_height", width=WIDTH - 12
        )
        self.follow(run)

    def follow(self, run: Run) -> None:
        """Show the tests of this run, from now on."""
        self.run = run
        self._seen: Array | None = None

    def _choose_cell(self, tap: Tap) -> None:
        """Show the test images of the clicked cell, as the last test classified them."""
        if self._seen is None or tap.x is None or tap.y is None:
            return
        names = self._names
        computed, correct = int(tap.x), int(tap.y)
        data = self.run.training.data
        (found,) = np.nonzero((data.test_labels == correct) & (self._seen == computed))
        what = "recognised" if correct == computed else f"taken for {names[computed]}"
        self.digits.set_title(f"{names[correct]} {what}: {len(found):,} test images")
        chosen = found[:MAX_CONFUSED]
        self.digits.show(data.test_images[chosen], data.test_labels[chosen], self._seen[chosen])

    def update(self, shot: Snapshot | None) -> None:
        """Show the confusion matrix of the last test, if it is new."""
        predictions = self.run.test_predictions
        if predictions is None or predictions is self._seen:
            return
        self._seen = predictions
        classes = len(self._names)
        counts = inside.confusion(self.run.training.data.test_labels, predictions, classes)
        diagonal = np.eye(classes, dtype=bool)
        max_wrong = max(1, int(counts[~diagonal].max(initial=0)))
        shares = np.where(diagonal, counts / np.maximum(counts.sum(axis=1), 1), counts / max_wrong)
        self.source.data = {
            **self._places,
            "text": [f"{count}" if count else "" for count in counts.ravel()],
            "ink": ["black" if share > STRONG else FAINT for share in shares.ravel()],
            "alpha": list(np.where(shares > STRONG, 0.6 + 0.3 * shares, 0.8 * shares).ravel()),
            "color": [TRAIN if correct else TEST for correct in diagonal.ravel()],
        }
