"""The tab of one digit, drawn here or clicked in a panel: what each layer computes from it."""

from __future__ import annotations

import functools
import html
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from bokeh.core.property.descriptors import UnsetValueError
from bokeh.models import (
    Button,
    Column,
    ColumnDataSource,
    Div,
    FreehandDrawTool,
    InlineStyleSheet,
    LinearColorMapper,
    Range1d,
    Row,
)
from bokeh.palettes import interp_palette
from bokeh.plotting import figure

from tinytensor.arrays import Array
from tinytensor.datasets.drawn import render_strokes
from tinytensor.errors import DataError
from tinytensor.live import class_axis, inside
from tinytensor.live.digits import DIGITS_COLOURS, Chosen
from tinytensor.live.names import worded
from tinytensor.live.panel import FAINT, WIDTH, plain_figure
from tinytensor.live.pending_call import PendingCall
from tinytensor.live.picture import TEST, TRAIN, coloured, within
from tinytensor.live.run import Run
from tinytensor.live.snapshot import Snapshot
from tinytensor.nn import Module

BARS = 268  # pixels, the width of all bars
LONG_NAMES = 50  # pixels, the height of names that are written from top to bottom
LINE_WIDTH = 0.07  # of the pen, as a part of the width of a pad
HINT = "or click one in a panel"
WHITE_TO_BLACK = interp_palette(["#ffffff", "#000000"], 256)
GREY_TO_BLACK = interp_palette(["#e4e6ea", "#000000"], 256)
MAX_ZOOM = 14  # screen pixels per element of a layer's output
TEXT = 16  # pixels above each layer, for its name


class Digit:
    """One digit, drawn here or clicked in a panel: its probabilities and all layer outputs.

    ready: called when new outputs can be shown by update(), in the training thread.
    """

    def __init__(
        self, run: Run, sheet: InlineStyleSheet, ready: Callable[[], None] | None = None
    ) -> None:
        self._ready = ready
        self.names = run.training.data.names
        self.image: Array | None = None
        self.label: int | None = None  # the correct digit; None for a drawn one
        self._images = 0  # number of images so far
        self.strokes = ColumnDataSource({"xs": [], "ys": []}, name="strokes")
        pad = drawing_pad(
            self.strokes, name="pad", title=worded("draw a digit here", self.names), width=158,
            height=175, sizing_mode="fixed",
        )  # fmt: skip
        seen = plain_figure(
            name="digit", title="as the network sees it", width=158, height=175,
            sizing_mode="fixed", x_range=Range1d(0, 1), y_range=Range1d(0, 1),
        )  # fmt: skip
        seen.axis.visible = seen.grid.visible = False
        places = ("image", "x", "y", "width", "height")
        self.source = ColumnDataSource({name: [] for name in places}, name="digit data")
        self._shape = run.training.data.image_shape
        colours = WHITE_TO_BLACK if self._shape[2] < 3 else DIGITS_COLOURS
        seen.image(
            "image", "x", "y", "width", "height", source=self.source, anchor="top_left",
            origin="top_left",
            color_mapper=LinearColorMapper(palette=colours, low=0, high=len(colours) - 1),
        )  # fmt: skip
        count = len(self.names)
        self.neurons = ColumnDataSource(
            {
                "digit": list(self.names),
                "x": [i + 0.5 for i in range(count)],
                "probability": [0.0] * count,
                "color": [TRAIN] * count,
            },
            name="neurons data",
        )
        bars = neuron_bars(
            self.neurons, self.names, name="neurons", height=120, width=WIDTH - 12,
            sizing_mode="fixed", title=f"the {'ten' if count == 10 else count} neurons",
        )  # fmt: skip
        self.layers = _Layers()
        clear = Button(label="clear", name="clear", width=70, stylesheets=[sheet])
        clear.on_click(self.clear)
        self.strokes.on_change("data", lambda attr, old, new: self._draw())
        self.hint = Div(text=HINT, name="verdict", width=230, stylesheets=[sheet])
        self.content = Column(
            Row(pad, seen), Row(clear, self.hint), bars, self.layers.figure,
            sizing_mode="stretch_height",
        )  # fmt: skip
        self.follow(run)

    def follow(self, run: Run) -> None:
        """Show what the network of this run computes, from now on."""
        self.run = run
        self._call: PendingCall[tuple[inside.LayerOutputs, int | None]]
        self._call = PendingCall(run, self._ready)

    @property
    def is_drawn(self) -> bool:
        """True if the digit is a drawn one."""
        return self.image is not None and bool(self.strokes.data["xs"])

    def clear(self) -> None:
        """Remove the digit."""
        self.strokes.data = {"xs": [], "ys": []}
        self.image = None
        self.source.data = {name: [] for name in self.source.data}
        self._show_neurons([0.0] * len(self.names))
        self.hint.text = HINT
        self.layers.clear()

    def _show_neurons(self, probabilities: Sequence[float]) -> None:
        highest = max(probabilities)
        self.neurons.data = dict(self.neurons.data) | {
            "probability": list(probabilities),
            "color": [TEST if p == highest else TRAIN for p in probabilities],
        }

    def _draw(self) -> None:
        try:
            xs, ys = self.strokes.data["xs"], self.strokes.data["ys"]
            strokes = [list(zip(x, y, strict=True)) for x, y in zip(xs, ys, strict=True)]
            self._set_image(fitted(render_strokes(strokes), self._shape))
        except (DataError, KeyError, TypeError, ValueError):
            return  # the strokes have no ink yet, or something else was sent than strokes

    def choose(self, chosen: Chosen) -> None:
        """Show this digit instead of the drawn one."""
        self.strokes.data = {"xs": [], "ys": []}
        self._set_image(chosen.image, chosen.label)

    def _set_image(self, image: Array, label: int | None = None) -> None:
        self.image, self.label = image, label
        self._images += 1
        shown = image
        if image.ndim == 3:
            in_colour = image.shape[2] >= 3
            size = image.shape[0], image.shape[1]
            indices = coloured(image[None], np.zeros(1, bool), size)[0]
            shown = indices if in_colour else image[..., 0]
        H, W = shown.shape
        height, width = H / max(H, W), W / max(H, W)
        self.source.data = {
            "image": [shown], "x": [(1 - width) / 2], "y": [(1 + height) / 2], "width": [width],
            "height": [height],
        }  # fmt: skip
        self.update(self.run.latest)

    def update(self, shot: Snapshot | None) -> None:
        """Show the outputs if they are ready; compute new ones if the network has changed."""
        if self.image is None:
            return
        compute = functools.partial(_outputs, image=self.image, label=self.label)
        if (result := self._call.update((shot, self._images), compute)) is not None:
            outputs, label = result
            best = int(outputs.probabilities.argmax())
            self._show_neurons([float(p) for p in outputs.probabilities])
            self.hint.text = _verdict(self.names, best, outputs.probabilities[best], label)
            self.layers.show(outputs.layers)


def _outputs(
    model: Module, image: Array, label: int | None
) -> tuple[inside.LayerOutputs, int | None]:
    """The outputs for a digit, and its label, which may differ from that of the next digit."""
    return inside.layer_outputs(model, image), label


def fitted(image: Array, shape: tuple[int, int, int]) -> Array:
    """A drawn digit (28, 28) uint8 as an image of another shape, in which the digit keeps its own.

    All channels are the same.
    """
    height, width, channels = shape
    grey = within(image[None], (height, width))[0]
    return grey if channels == 1 else np.repeat(grey[..., None], channels, axis=2)


def drawing_pad(strokes: ColumnDataSource, **settings: Any) -> figure:
    """A figure to draw on; what is drawn is in `strokes`."""
    pad = plain_figure(x_range=Range1d(0, 1), y_range=Range1d(1, 0), **settings)
    pad.axis.visible = pad.grid.visible = False
    lines = pad.multi_line(
        "xs", "ys", source=strokes, line_width=11, color=FAINT, line_cap="round", line_join="round"
    )

    def fit_line(attr: str, old: int | None, width: int) -> None:
        lines.glyph.line_width = LINE_WIDTH * width

    pad.on_change("inner_width", fit_line)
    pen = FreehandDrawTool(renderers=[lines])
    pad.add_tools(pen)
    pad.toolbar.active_drag = pen
    return pad


def neuron_bars(neurons: ColumnDataSource, names: Sequence[str], **settings: Any) -> figure:
    """A figure with a bar for the probability of each class; higher if it has long names."""
    bars = plain_figure(x_range=class_axis.class_range(names), y_range=Range1d(0, 1), **settings)
    if class_axis.label(bars.xaxis, names, BARS) and bars.height is not None:
        bars.height += LONG_NAMES
    bars.vbar("x", 0.8, "probability", source=neurons, color="color")
    return bars


def _verdict(names: tuple[str, ...], best: int, probability: float, label: int | None) -> str:
    """What the network takes a digit for, as HTML; in red if the digit is another one.

    names: of the classes. label: the correct class, None if it is unknown.
    """
    taken, share = html.escape(names[best]), f"{100 * probability:.1f} %"
    if label is None or label == best:
        return f"predicted <b>{taken}</b>: {share}"
    correct = html.escape(names[label])
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
