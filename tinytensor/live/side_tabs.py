"""The tabs next to the panels: lesson text, layer outputs for one digit, weights, confusion matrix.

A tab submits a function to the run, which calls it between two training steps. The tab shows the
result at the next update of the page.
"""

from __future__ import annotations

import functools
import html
import re
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

import numpy as np
from bokeh.core.property.descriptors import UnsetValueError
from bokeh.events import Tap
from bokeh.models import (
    Button,
    Column,
    ColumnDataSource,
    Div,
    FactorRange,
    FreehandDrawTool,
    InlineStyleSheet,
    LinearColorMapper,
    Range1d,
    Row,
    Select,
)
from bokeh.palettes import interp_palette
from markdown_it import MarkdownIt

from tinytensor.arrays import Array
from tinytensor.datasets.drawn import render_strokes
from tinytensor.errors import DataError
from tinytensor.lessons import Lesson
from tinytensor.live import inside
from tinytensor.live.digits import Chosen, Digits
from tinytensor.live.panel import FAINT, plain_figure
from tinytensor.live.picture import TEST, TRAIN
from tinytensor.live.run import Run
from tinytensor.live.snapshot import Snapshot
from tinytensor.nn import Module

WIDTH = 330
HINT = "or click one in a panel"
WHITE_TO_BLACK = interp_palette(["#ffffff", "#000000"], 256)
GREY_TO_BLACK = interp_palette(["#e4e6ea", "#000000"], 256)
SIGNED = interp_palette(["#0b559f", "#6baed6", "#f7f7f7", "#fd9a52", "#a63603"], 255)
MAX_CONFUSED = 100  # digits of a cell of the confusion matrix
MOST_NUMBERED = 15  # classes; the cells of a larger confusion matrix have no room for numbers
MAX_ZOOM = 14  # screen pixels per element of a layer's output
TEXT = 16  # pixels above each layer, for its name
_Result = TypeVar("_Result")


class PendingCall(Generic[_Result]):
    """A function submitted to a run, at most one at a time, so a slow run is not flooded."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._future: Future[_Result] | None = None

    def submit(self, function: Callable[[Module], _Result]) -> None:
        """Submit function(model), unless an earlier result is still awaited."""
        if self._future is None:
            self._future = self.run.submit(function)

    def result(self) -> _Result | None:
        """The result, returned once when it is ready; otherwise None."""
        if self._future is None or not self._future.done():
            return None
        future, self._future = self._future, None
        return None if future.cancelled() else future.result()


def lesson_text(lesson: Lesson, sheet: InlineStyleSheet) -> Div:
    """The parts of the chapter that help to read the panels: the network and what to look at."""
    markdown = MarkdownIt("commonmark").enable("table")
    markdown.add_render_rule("fence", _fence)
    chapter = lesson.read_chapter()
    text = (
        f"# {chapter.title}\n\n{chapter.markdown('The network', 'What to look at')}\n"
        f"`tinytensor lesson {lesson.name}` prints the whole chapter.\n"
    )
    return Div(
        text=markdown.render(text), name="lesson", width=WIDTH - 10, stylesheets=[sheet],
        sizing_mode="stretch_height", styles={"overflow-y": "auto", "height": "100%"},
    )  # fmt: skip


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


class Digit:
    """One digit, drawn here or clicked in a panel: its probabilities and all layer outputs."""

    def __init__(self, run: Run, sheet: InlineStyleSheet) -> None:
        self.image: Array | None = None
        self.label: int | None = None  # the correct digit; None for a drawn one
        self._call: PendingCall[inside.LayerOutputs] = PendingCall(run)
        self._seen: Snapshot | None = None
        pad = plain_figure(
            name="pad", title="draw a digit here", width=158, height=175, sizing_mode="fixed",
            x_range=Range1d(0, 1), y_range=Range1d(1, 0),
        )  # fmt: skip
        self.strokes = ColumnDataSource({"xs": [], "ys": []}, name="strokes")
        lines = pad.multi_line(
            "xs", "ys", source=self.strokes, line_width=11, color=FAINT, line_cap="round",
            line_join="round",
        )  # fmt: skip
        pen = FreehandDrawTool(renderers=[lines])
        pad.add_tools(pen)
        pad.toolbar.active_drag = pen
        seen = plain_figure(
            name="digit", title="as the network sees it", width=158, height=175,
            sizing_mode="fixed", x_range=Range1d(0, 28), y_range=Range1d(0, 28),
        )  # fmt: skip
        for plot in (pad, seen):
            plot.axis.visible = plot.grid.visible = False
        self.source = ColumnDataSource({"image": []}, name="digit data")
        grey = LinearColorMapper(palette=WHITE_TO_BLACK, low=0, high=255)
        seen.image(
            "image", 0, 28, 28, 28, source=self.source, color_mapper=grey, anchor="top_left",
            origin="top_left",
        )  # fmt: skip
        self._names = run.training.data.names
        count = len(self._names)
        self.neurons = ColumnDataSource(
            {"digit": list(self._names), "probability": [0.0] * count, "color": [TRAIN] * count},
            name="neurons data",
        )
        bars = plain_figure(
            name="neurons", title=f"the {'ten' if count == 10 else count} neurons", height=120,
            width=WIDTH - 12, sizing_mode="fixed", x_range=FactorRange(*self._names),
            y_range=Range1d(0, 1),
        )  # fmt: skip
        bars.vbar("digit", 0.8, "probability", source=self.neurons, color="color")
        self.layers = _Layers()
        clear = Button(label="clear", name="clear", width=70, stylesheets=[sheet])
        clear.on_click(self._clear)
        self.strokes.on_change("data", lambda attr, old, new: self._draw())
        self.hint = Div(text=HINT, name="verdict", width=230, stylesheets=[sheet])
        self.content = Column(
            Row(pad, seen), Row(clear, self.hint), bars, self.layers.figure,
            sizing_mode="stretch_height",
        )  # fmt: skip

    def _clear(self) -> None:
        self.strokes.data = {"xs": [], "ys": []}
        self.image = None
        self.source.data = {"image": []}
        self._show_neurons([0.0] * len(self._names))
        self.hint.text = HINT
        self.layers.clear()

    def _show_neurons(self, probabilities: Sequence[float]) -> None:
        highest = max(probabilities)
        self.neurons.data = dict(self.neurons.data) | {
            "probability": list(probabilities),
            "color": [TEST if p == highest else TRAIN for p in probabilities],
        }

    def _draw(self) -> None:
        xs, ys = self.strokes.data["xs"], self.strokes.data["ys"]
        try:
            strokes = [list(zip(x, y, strict=True)) for x, y in zip(xs, ys, strict=True)]
            self._set_image(render_strokes(strokes))
        except (DataError, TypeError, ValueError):
            return  # the strokes have no ink yet, or something else was sent than strokes

    def choose(self, chosen: Chosen) -> None:
        """Show this digit instead of the drawn one."""
        self.strokes.data = {"xs": [], "ys": []}
        self._set_image(chosen.image, chosen.label)

    def _set_image(self, image: Array, label: int | None = None) -> None:
        self.image, self.label, self._seen = image, label, None
        self.source.data = {"image": [image]}

    def update(self, shot: Snapshot | None) -> None:
        """Show the outputs if they are ready; compute new ones if the network has changed."""
        outputs = self._call.result()
        if outputs is not None and self.image is not None:
            best = int(outputs.probabilities.argmax())
            self._show_neurons([float(p) for p in outputs.probabilities])
            names = self._names
            self.hint.text = _verdict(names, best, outputs.probabilities[best], self.label)
            self.layers.show(outputs.layers)
        if self.image is not None and shot is not self._seen:
            self._seen = shot
            self._call.submit(functools.partial(inside.layer_outputs, image=self.image))


def _verdict(names: tuple[str, ...], best: int, probability: float, label: int | None) -> str:
    """What the network takes a digit for, as HTML; in red if the digit is another one.

    names: of the classes. label: the correct class, None if it is unknown.
    """
    taken = html.escape(names[best])
    if label is None or label == best:
        return f"predicted <b>{taken}</b>: {probability:.1%}"
    share, correct = f"{100 * probability:.1f} %", html.escape(names[label])
    return f'<b class="wrong">taken for {taken} ({share}), it is a {correct}</b>'


class _Layers:
    """The outputs of all layers for the digit, one below the other."""

    def __init__(self) -> None:
        self.figure = plain_figure(
            name="layers", title="", width=WIDTH - 12, sizing_mode="stretch_height",
            x_range=Range1d(0, 1), y_range=Range1d(0, 1),
        )  # fmt: skip
        self.figure.axis.visible = self.figure.grid.visible = False
        self.figure.outline_line_alpha = 0
        names = ("image", "x", "y", "width", "height", "name", "name_y")
        self.source = ColumnDataSource({name: [] for name in names}, name="layers data")
        grey = LinearColorMapper(palette=GREY_TO_BLACK, low=0, high=255, nan_color="#00000000")
        self.figure.image(
            "image", "x", "y", "width", "height", source=self.source, color_mapper=grey,
            anchor="top_left", origin="top_left",
        )  # fmt: skip
        self.figure.text(
            "x", "name_y", "name", source=self.source, text_font_size="11px", text_color=FAINT,
            text_baseline="bottom",
        )  # fmt: skip

    def clear(self) -> None:
        """Remove all images."""
        self.source.data = {name: [] for name in self.source.data}

    def show(self, layers: list[tuple[str, Array]]) -> None:
        """Show images (H, W) with their names; grey from the minimum to the maximum of each."""
        _, *layers = layers  # the input image is shown by Digit
        try:
            across, down = self.figure.inner_width, self.figure.inner_height
        except UnsetValueError:  # the browser has not sent its size yet
            across, down = WIDTH - 30, 300
        self.figure.x_range.end, self.figure.y_range.end = across, down
        room = down // len(layers)
        columns: dict[str, list[Any]] = {name: [] for name in self.source.data}
        for i, (name, image) in enumerate(layers):
            H, W = image.shape
            zoom = min(MAX_ZOOM, across / W, (room - TEXT) / H)
            top = down - i * room
            columns["image"].append(_grey(image))
            columns["x"].append(0)
            columns["y"].append(top - TEXT)
            columns["width"].append(zoom * W)
            columns["height"].append(zoom * H)
            columns["name"].append(name)
            columns["name_y"].append(top - TEXT)
        self.source.data = columns


def _grey(image: Array) -> Array:
    """Values scaled to 0 (minimum) to 255 (maximum), float32; NaN stays NaN."""
    low, high = np.nanmin(image), np.nanmax(image)
    scale = 255 / (high - low) if high > low else 0
    grey: Array = ((image - low) * scale).astype(np.float32)
    return grey


class Weights:
    """The weights of one layer as images: blue is negative, orange is positive."""

    def __init__(self, run: Run, sheet: InlineStyleSheet) -> None:
        names = inside.weight_names(run.training.tested)
        self._call: PendingCall[Array] = PendingCall(run)
        self._seen: tuple[Snapshot | None, str] | None = None
        self.choice = Select(
            name="weights of", options=names, value=names[0], width=WIDTH - 20, stylesheets=[sheet]
        )
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

    def update(self, shot: Snapshot | None) -> None:
        """Show the image if it is ready; make a new one if the weights have changed."""
        if (image := self._call.result()) is not None:
            H, W = image.shape
            most = float(np.nanmax(np.abs(image))) or 1.0
            self.colours.update(low=-most, high=most)
            self.source.data = {
                "image": [image], "x": [0], "width": [min(1.0, W / H)], "height": [min(1.0, H / W)],
            }  # fmt: skip
        if self._seen != (shot, name := self.choice.value):
            self._seen = (shot, name)
            self._call.submit(functools.partial(inside.weights, name=name))


class Confusion:
    """The confusion matrix of the last test."""

    def __init__(self, run: Run, sheet: InlineStyleSheet) -> None:
        self.run = run
        self._seen: Array | None = None
        self._names = names = run.training.data.names
        self.figure = plain_figure(
            name="confusion", title="", width=WIDTH - 12, height=WIDTH, sizing_mode="fixed",
            x_range=FactorRange(*names), y_range=FactorRange(*reversed(names)),
            x_axis_label="computed", y_axis_label="correct",
        )  # fmt: skip
        self.figure.grid.visible = False
        self.source = ColumnDataSource(
            {name: [] for name in ("correct", "computed", "text", "ink", "alpha", "color")},
            name="confusion data",
        )
        self.figure.rect(
            "computed", "correct", 0.96, 0.96, source=self.source, fill_color="color",
            fill_alpha="alpha", line_alpha=0,
        )  # fmt: skip
        numbers = self.figure.text(
            "computed", "correct", "text", source=self.source, text_align="center",
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

    def _choose_cell(self, tap: Tap) -> None:
        """Show the test images of the clicked cell, as the last test classified them."""
        if self._seen is None or tap.x is None or tap.y is None:
            return
        names = self._names
        computed, correct = int(tap.x), len(names) - 1 - int(tap.y)
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
        correct, computed = np.divmod(np.arange(classes**2), classes)
        self.source.data = {
            "correct": [self._names[i] for i in correct],
            "computed": [self._names[i] for i in computed],
            "text": [f"{count}" if count else "" for count in counts.ravel()],
            "ink": ["black" if share > 0.4 else FAINT for share in shares.ravel()],
            "alpha": list(0.8 * shares.ravel()),
            "color": [TRAIN if correct else TEST for correct in diagonal.ravel()],
        }
