"""The tab of the microscope: one sum of the next step, its products, and one of its weights."""

from __future__ import annotations

import functools
import html
import math
from typing import NamedTuple

import numpy as np
from bokeh.events import Tap
from bokeh.models import (
    Column,
    ColumnDataSource,
    Div,
    InlineStyleSheet,
    LinearColorMapper,
    Range1d,
    Row,
    Select,
)

from tinytensor.arrays import Array
from tinytensor.errors import TinytensorError
from tinytensor.live.inside import as_image
from tinytensor.live.panel import WIDTH, plain_figure
from tinytensor.live.pending_call import PendingCall
from tinytensor.live.run import Run
from tinytensor.live.side_tabs import SIGNED
from tinytensor.live.snapshot import Snapshot
from tinytensor.microscope.as_html import as_fragment
from tinytensor.microscope.as_text import other_channels, unit_of
from tinytensor.microscope.following import Followed, follow_next, weights_by_layer
from tinytensor.nn import Module
from tinytensor.train import Training

ROWS = 6  # products of a dense layer that are listed, the largest ones
MAP_HEIGHT = 200  # pixels
NO_CHAIN = "The microscope needs a network that is an nn.Sequential, as in the lessons."


class Choice(NamedTuple):
    """What the microscope shows: a layer, a neuron or channel, and a place; see follow_next."""

    layer: str
    neuron: int
    place: tuple[int, ...]


def look(training: Training, choice: Choice) -> Followed | str:
    """What follow_next returns for the first image of the next batch, or the error in words."""
    try:
        return follow_next(training, choice.layer, choice.neuron, choice.place)
    except TinytensorError as error:
        return str(error)


def picture_of(f: Followed) -> Array:
    """The picture (H, W) to click on: the outputs of a convolution, or the inputs of a neuron."""
    if f.outputs.ndim == 2:
        return f.outputs
    height, width, channels = f.images.shape[1:]
    if f.window.size == height * width * channels:  # a pixel and its channels are neighbours
        return f.window.reshape(height, width * channels)
    return as_image(f.window)


def numbers(f: Followed) -> str:
    """The window, the weights, their products and their sum as HTML; then the weight's step."""
    label = int(f.labels[f.example])
    title = f"step {f.step}, image {f.example} of the batch, class {label}: {unit_of(f)}"
    products = f.window.astype(np.float64) * f.weights + 0.0  # + 0.0, so that -0 is shown as 0
    tables = _filter(f, products) if f.window.ndim == 3 else _largest(f, products)
    total = (
        f"<p>sum of {products.size:,} products {products.sum():.6g}<br>"
        f"+ bias {f.bias:.6g}<br>= {unit_of(f)} = <b>{f.result:.6g}</b></p>"
    )
    place = ", ".join(map(str, f.index))
    weight = f"<p><b>The weight {html.escape(f.name)}[{place}] in this step:</b></p>"
    step = as_fragment(f, with_title=False, with_image=False)  # the tab has the image
    return f'<div class="numbers"><p><b>{title}</b></p>{tables}{total}{weight}{step}</div>'


def _largest(f: Followed, products: Array) -> str:
    """The largest products of a dense layer, and the chosen one."""
    top = list(np.argsort(-np.abs(products), kind="stable")[:ROWS])
    rows = [f.index[0], *(i for i in top if i != f.index[0])]
    head = "<tr><th>input</th><th>x</th><th>w</th><th>x * w</th></tr>"
    body = "".join(
        f"<tr{' class=chosen' if i == f.index[0] else ''}><td>{i}</td><td>{f.window[i]:.6g}</td>"
        f"<td>{f.weights[i]:.6g}</td><td>{products[i]:.6g}</td></tr>"
        for i in rows
    )
    return f"<table>{head}{body}</table><p>the chosen product, and the largest ones</p>"


def _filter(f: Followed, products: Array) -> str:
    """The window, the filter and the products of one input channel of a convolution."""
    channel, channels = f.index[2], f.window.shape[2]
    of = f", channel {channel} of {channels}" if channels > 1 else ""
    tables = {"window": f.window, "weights": f.weights, "products": products}
    return "".join(
        f"<p>{name}{of}</p>{_grid(values[..., channel], f.index[:2])}"
        for name, values in tables.items()
    ) + "".join(f"<p>{line}</p>" for line in other_channels(f))


def _grid(values: Array, chosen: tuple[int, ...]) -> str:
    rows = []
    for a, row in enumerate(values):
        cells = (
            f"<td{' class=chosen' if (a, b) == tuple(chosen) else ''}>{value:.3g}</td>"
            for b, value in enumerate(row)
        )
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table>{''.join(rows)}</table>"


class Microscope:
    """The tab: two lists that choose the layer and the neuron, a picture to click on, numbers."""

    def __init__(self, run: Run, sheet: InlineStyleSheet) -> None:
        self.layer = Select(name="layer", title="weights", width=205, stylesheets=[sheet])
        self.neuron = Select(name="neuron", title="neuron", width=90, stylesheets=[sheet])
        self.figure = plain_figure(
            name="microscope", title="", width=WIDTH - 12, height=MAP_HEIGHT, sizing_mode="fixed",
            match_aspect=True, x_range=Range1d(0, 1), y_range=Range1d(-1, 0),
        )  # fmt: skip
        self.figure.min_border_right = self.figure.min_border  # so that its pixels are square
        self.figure.axis.visible = self.figure.grid.visible = False
        self.figure.outline_line_alpha = 0
        self.source = ColumnDataSource(
            {"image": [], "width": [], "height": []}, name="microscope data"
        )
        self.colours = LinearColorMapper(palette=SIGNED, low=-1, high=1)
        self.figure.image(
            "image", 0, 0, "width", "height", source=self.source, color_mapper=self.colours,
            anchor="top_left", origin="top_left",
        )  # fmt: skip
        self.spot = ColumnDataSource({"x": [], "y": []}, name="microscope place")
        self.figure.rect(
            "x", "y", 1, 1, source=self.spot, fill_alpha=0, line_color="#000000", line_width=2
        )
        self.figure.on_event(Tap, self._click)
        self.numbers = Div(
            name="numbers", width=WIDTH - 10, sizing_mode="stretch_height", stylesheets=[sheet],
            styles={"overflow-y": "auto"},
        )  # fmt: skip
        self.content = Column(
            Row(self.layer, self.neuron), self.figure, self.numbers,
            sizing_mode="stretch_height", width=WIDTH - 4,
        )  # fmt: skip
        self.layer.on_change("value", lambda _, __, ___: self._choose_layer())
        self.neuron.on_change("value", lambda _, __, value: self._choose(neuron=int(value or 0)))
        self.follow(run)

    def follow(self, run: Run) -> None:
        """Show this run from now on."""
        self.run = run
        self._call: PendingCall[Followed | str] = PendingCall(run)
        self._seen: Followed | None = None
        self._weights = weights_by_layer(run.training.model)
        names = {
            path: f"{name}: {' x '.join(map(str, shape))}"
            for path, (name, shape) in self._weights.items()
        }
        first = next(iter(self._weights), "")
        self.layer.update(options=list(names.items()), value=first)
        self._choose_layer()

    def _choose_layer(self) -> None:
        self.choice: Choice | None = None
        if self.layer.value in self._weights:
            _, shape = self._weights[self.layer.value]
            outputs = [str(i) for i in range(shape[-1])]
            self.neuron.update(options=outputs, value="0")
            height, width, channels = self.run.training.data.image_shape
            middle = (height // 2 * width + width // 2) * channels
            is_first = shape[0] == height * width * channels
            at_first = () if len(shape) == 4 else (middle if is_first else 0,)
            self.choice = Choice(self.layer.value, 0, at_first)

    def _choose(self, neuron: int) -> None:
        if self.choice is not None:
            self.choice = self.choice._replace(neuron=neuron)

    def _click(self, tap: Tap) -> None:
        """Choose the clicked place of the picture."""
        if self._seen is None or self.choice is None or tap.x is None or tap.y is None:
            return
        H, W = picture_of(self._seen).shape
        h, w = math.floor(-tap.y), math.floor(tap.x)
        if 0 <= h < H and 0 <= w < W:
            is_map = self._seen.outputs.ndim == 2
            self.choice = self.choice._replace(place=(h, w) if is_map else (h * W + w,))

    def update(self, shot: Snapshot | None) -> None:
        """Show the next step if it is ready; look again after each test, and while paused."""
        if self.choice is None:
            self.numbers.text = f"<p>{NO_CHAIN}</p>"
            return
        now = shot if self.run.is_paused else self.run.latest_tested
        if now is None:
            return
        function = functools.partial(_look, self.run.training, self.choice)
        found = self._call.update((now, self.choice), function)
        if isinstance(found, Followed):
            self._show(found)
        elif found is not None:
            self.numbers.text = f"<p>{html.escape(found)}</p>"

    def _show(self, f: Followed) -> None:
        self._seen = f
        self.numbers.text = numbers(f)
        picture = picture_of(f)
        H, W = picture.shape
        most = float(np.abs(picture).max()) or 1.0
        self.colours.update(low=-most, high=most)
        self.source.data = {"image": [picture], "width": [W], "height": [H]}
        side = max(W / (WIDTH - 12), H / MAP_HEIGHT)  # of a pixel, in units of the picture
        self.figure.x_range.update(start=0, end=side * (WIDTH - 12))
        self.figure.y_range.update(start=-side * MAP_HEIGHT, end=0)
        h, w = f.position if f.position else divmod(f.index[0], W)
        self.spot.data = {"x": [w + 0.5], "y": [-h - 0.5]}


def _look(training: Training, choice: Choice, model: Module) -> Followed | str:
    return look(training, choice)
