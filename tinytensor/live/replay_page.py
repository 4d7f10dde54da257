"""A run file as one HTML page that plays without Python and without a network connection.

Figures, slider and button are Bokeh's. Four pieces of JavaScript are added: SHOW updates the panels
when the slider moves, PLAY moves the slider, SQUARE fits the digits into their panel, and HOVER
returns the classes of the image under the mouse.
"""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tinytensor import atomic_file
from tinytensor.arrays import Array
from tinytensor.live import drawing
from tinytensor.live.history import History
from tinytensor.live.names import PANELS
from tinytensor.live.picture import ALPHAS, TEST, TRAIN, rgba
from tinytensor.live.run_file import RecordedRun
from tinytensor.live.snapshot import Snapshot
from tinytensor.live.style import PHONE

if TYPE_CHECKING:
    from bokeh.models import ColumnDataSource, GlyphRenderer, Slider, UIElement
    from bokeh.plotting import figure

FRAMES = 100  # frames on a page, at most; each takes about 60 kB
FRAMES_PER_SECOND = 8

SHOW = """
const now = slider.value
for (const {panel, titles, images} of mosaics) {
  panel.title.text = titles[now]
  for (const [i, image] of images.entries()) image.visible = i == now
}
for (const [all, shown] of curves) {
  const count = all.get_column("step").filter((step) => step <= steps[now]).length
  const until_now = (name) => [name, all.get_column(name).slice(0, count)]
  shown.data = Object.fromEntries(all.columns().map(until_now))
}
line.text = lines[now]
"""

PLAY = """
clearInterval(button.timer)
button.label = button.active ? "❚❚ Pause" : "▶ Play"
if (!button.active) return
if (slider.value == slider.end) slider.value = 0
button.timer = setInterval(() => {
  if (slider.value == slider.end) button.active = false
  else slider.value += 1
}, 1000 / frames_per_second)
"""

SQUARE = """
const {inner_width, inner_height, x_range, y_range} = panel
const side = Math.min(inner_width / columns, inner_height / rows)
const end = inner_width / side, start = top - inner_height / side * row_height
x_range.setv({end, reset_end: end})
y_range.setv({start, reset_start: start})
"""

HOVER = """
const i = special_vars.index, correct = names[labels[slider.value][i]]
const seen = names[computed[slider.value][i]]
return seen == correct ? correct : `${correct}, taken for ${seen}`
"""

HEADING = f"""
<span style='font-size: 1.3em; font-weight: bold; margin-right: 2em'>{{title}}</span>
<b style='color: {TRAIN}'>― training batch</b> &nbsp;
<b style='color: {TEST}'>━ test images</b> &nbsp;
Misclassified images come first, on red or framed: correct class left, computed class right. The
mouse on an image names both.
"""

STYLE = """
:root { --ink: #222; --paper: #fff; --line: #ddd }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6e6; --paper: #16181c; --line: #444 } }
:root {
  background: var(--paper); color: var(--ink);
  --bk-text-color: var(--ink);
  --bk-major-label-text-color: var(--ink); --bk-axis-label-text-color: var(--ink);
  --bk-axis-line-color: var(--line); --bk-grid-line-color: var(--line);
  --bk-major-tick-line-color: var(--line); --bk-minor-tick-line-color: transparent;
}
"""

# Three panels per row; on a phone one, and the page scrolls.
GRID = f"""
:host {{ grid-template: none; grid-auto-columns: minmax(0, 1fr); grid-auto-rows: minmax(0, 1fr) }}
@media (max-width: {PHONE}) {{
  :host {{ display: flex; flex-direction: column; flex: none; height: auto; max-height: none }}
  .panel {{ flex: none; height: 78vw }}
}}
"""
ROOT = f"@media (max-width: {PHONE}) {{ :host {{ height: auto; max-height: none }} }}"


def write(file: str | Path, recording: RecordedRun, frames: int = FRAMES) -> None:
    """Write the page of a run file.

    Args:
        file: the name of the HTML file.
        recording: the run, from run_file.load.
        frames: number of steps, at most, for which the page has digits.

    Raises:
        OSError: the file can't be written.
    """
    atomic_file.write(file, page(recording, frames).encode())


def page(recording: RecordedRun, frames: int = FRAMES) -> str:
    """The page of a run as HTML with BokehJS inside; see write."""
    from bokeh.embed import file_html
    from bokeh.resources import INLINE

    from tinytensor.live.template import STILL

    count = len(recording.snapshots)
    chosen = np.linspace(0, count - 1, min(count, frames)).round().astype(int)
    snapshots = [recording.snapshots[i] for i in chosen]
    title = recording.lesson.heading
    layout = _layout(recording, snapshots, title)
    return str(file_html(layout, INLINE, title, template=STILL))


def _layout(recording: RecordedRun, snapshots: list[Snapshot], title: str) -> UIElement:
    from bokeh.layouts import column, row
    from bokeh.models import ColumnDataSource, CustomJS, Div, GridBox, Slider, Toggle
    from bokeh.models.css import GlobalInlineStyleSheet, InlineStyleSheet

    history = History(recording.snapshots)
    sources = {
        name: ColumnDataSource(columns, name=f"{name}, complete")
        for name, columns in _columns(history).items()
    }
    shown = {name: ColumnDataSource(dict(source.data)) for name, source in sources.items()}
    x, y = (0, recording.steps), drawing.limits(history)
    titles = [
        drawing.mosaic_titles(snapshot, recording.test_count, recording.names)
        for snapshot in snapshots
    ]
    train_titles, test_titles = (list(part) for part in zip(*titles, strict=True))
    train = _train_panel(snapshots, train_titles[-1], recording.names)
    test = _test_panel(snapshots, test_titles[-1], recording.test_count, recording.names)
    panels = [
        _curve_panel("accuracy", shown, x, y["accuracy"]),
        _curve_panel("loss", shown, x, y["loss"]),
        train.panel,
        *(_band_panel(name, shown["bands"], x, y[name]) for name in snapshots[-1].bands),
        test.panel,
    ]
    last = len(snapshots) - 1
    heading = Div(text=HEADING.format(title=html.escape(title)), sizing_mode="stretch_width")
    lines = [drawing.status_line(snapshot, recording.steps) for snapshot in snapshots]
    line = Div(name="line", text=lines[-1])
    slider = Slider(
        name="slider", start=0, end=max(last, 1), value=last, show_value=False, width=350
    )
    button = Toggle(label="▶ Play", button_type="primary", width=90)
    slider.disabled = button.disabled = last == 0
    for mosaics, part in ((train, "train"), (test, "test")):
        _name_images(mosaics.panel, snapshots, part, mosaics.columns, slider, recording.names)
    seen = {
        "slider": slider,
        "mosaics": [
            {"panel": train.panel, "titles": train_titles, "images": train.images},
            {"panel": test.panel, "titles": test_titles, "images": test.images},
        ],
        "curves": [[source, shown[name]] for name, source in sources.items()],
        "steps": [snapshot.step for snapshot in snapshots],
        "line": line,
        "lines": lines,
    }
    slider.js_on_change("value", CustomJS(args=seen, code=SHOW))
    play = {"slider": slider, "button": button, "frames_per_second": FRAMES_PER_SECOND}
    button.js_on_change("active", CustomJS(args=play, code=PLAY))
    grid = GridBox(
        children=[(panel, *divmod(i, 3)) for i, panel in enumerate(panels)],
        sizing_mode="stretch_both",
        stylesheets=[InlineStyleSheet(css=GRID)],
    )
    return column(
        heading,
        row(button, slider, line, sizing_mode="stretch_width", styles={"flex-wrap": "wrap"}),
        grid,
        stylesheets=[GlobalInlineStyleSheet(css=STYLE), InlineStyleSheet(css=ROOT)],
        sizing_mode="stretch_both",
        margin=(6, 8, 6, 8),
    )


def _columns(history: History) -> dict[str, dict[str, Array]]:
    """The columns of the data sources "train", "test" and "bands"."""
    bands = {"step": np.array([point.step for point in history.bands])}
    for name, quantiles in drawing.bands(history).items():
        bands |= {f"{name}{i}": quantile for i, quantile in enumerate(quantiles.T)}
    return {
        "train": drawing.curve(history.train),
        "test": drawing.curve(history.test),
        "bands": bands,
    }


def _panel(name: str, title: str, x: tuple[float, float], y: tuple[float, float]) -> figure:
    from bokeh.models import Range1d
    from bokeh.plotting import figure

    panel = figure(
        name=name,
        title=title,
        x_range=Range1d(*x),
        y_range=Range1d(*y),
        tools="pan,box_zoom,wheel_zoom,reset",
        background_fill_color=None,
        border_fill_color=None,
        outline_line_color=None,
        min_border_right=20,
        toolbar_location=None,
        sizing_mode="stretch_both",
        css_classes=["panel"],
    )
    panel.xaxis.ticker.min_interval = 1  # because steps are integers
    return panel


def _curve_panel(
    name: str,
    sources: dict[str, ColumnDataSource],
    x: tuple[float, float],
    y: tuple[float, float],
) -> figure:
    panel = plain_panel(name, x, y)
    for part, colour, width in (("train", TRAIN, 1), ("test", TEST, 2.5)):
        panel.line("step", name, source=sources[part], color=colour, width=width)
        if len(sources[part].data["step"]) == 1:  # a line of one point is invisible
            panel.scatter("step", name, source=sources[part], color=colour, size=9)
    return panel


def plain_panel(name: str, x: tuple[float, float], y: tuple[float, float]) -> figure:
    """The panel "accuracy" or "loss" without curves; x and y are the ends of its axes."""
    from bokeh.models import NumeralTickFormatter

    panel = _panel(name, PANELS[name].title, x, y)
    panel.xaxis.formatter = NumeralTickFormatter(format="0,0")
    if name == "accuracy":
        panel.yaxis.formatter = NumeralTickFormatter(format="0 %")
    return panel


def _band_panel(
    name: str, source: ColumnDataSource, x: tuple[float, float], y: tuple[float, float]
) -> figure:
    from bokeh.models import NumeralTickFormatter

    panel = _panel(name, drawing.band_title(name), x, y)
    for i, alpha in enumerate(ALPHAS):
        low, high = f"{name}{i}", f"{name}{i + 1}"
        panel.varea("step", low, high, source=source, fill_color=TRAIN, fill_alpha=alpha)
        if len(source.data["step"]) == 1:  # an area of one step is invisible
            panel.segment(
                "step", low, "step", high, source=source, line_width=9, color=TRAIN, alpha=alpha
            )
    panel.xaxis.formatter = NumeralTickFormatter(format="0,0")
    return panel


class _Mosaics(NamedTuple):
    panel: figure
    columns: int
    images: list[GlyphRenderer[Any]]  # one per snapshot; only the last is visible at first


def _train_panel(snapshots: list[Snapshot], title: str, names: tuple[str, ...]) -> _Mosaics:
    across = drawing.TRAIN_COLUMNS
    rows = max(-(-len(snapshot.train_labels) // across) for snapshot in snapshots)
    panel = _panel("train", title, (0, across), (0, rows))
    panel.axis.visible = False
    panel.grid.visible = False
    mosaics = [drawing.training_mosaic(snapshot, names) for snapshot in snapshots]
    _keep_square(panel, across, rows)
    return _Mosaics(panel, across, _images(panel, mosaics, across, rows, rows))


def _test_panel(
    snapshots: list[Snapshot], title: str, test_count: int, names: tuple[str, ...]
) -> _Mosaics:
    """The test digits, with a scale of accuracies; see Picture._show_scale."""
    from bokeh.models import NumeralTickFormatter

    shown = len(snapshots[0].test_labels)
    across = drawing.test_columns(shown)
    rows = -(-shown // across)
    share = rows * across / test_count  # above 1 if the last row has empty cells
    panel = _panel("test", title, (0, across), (1 - share, 1))
    panel.xaxis.visible = False
    panel.grid.visible = False
    panel.yaxis.formatter = NumeralTickFormatter(format="0 %")
    panel.yaxis.bounds = (1 - shown / test_count, 1)
    mosaics = [drawing.test_mosaic(snapshot, names) for snapshot in snapshots]
    _keep_square(panel, across, rows)
    return _Mosaics(panel, across, _images(panel, mosaics, across, 1, share))


def _name_images(
    panel: figure,
    snapshots: list[Snapshot],
    part: str,
    columns: int,
    slider: Slider,
    names: tuple[str, ...],
) -> None:
    """Show the classes of the image under the mouse: the correct one, and a wrong computed one.

    part: "train" or "test". columns: number of images in a row.
    """
    from bokeh.models import ColumnDataSource, CustomJSHover, HoverTool

    labels = [getattr(snapshot, f"{part}_labels") for snapshot in snapshots]
    computed = [getattr(snapshot, f"{part}_predictions") for snapshot in snapshots]
    count = max(map(len, labels))
    row, column = np.divmod(np.arange(count), columns)
    low, high = panel.y_range.start, panel.y_range.end
    height = (high - low) / -(-count // columns)
    places = {"x": column + 0.5, "y": high - (row + 0.5) * height}
    cells = panel.rect(
        "x", "y", 1, height, source=ColumnDataSource(places), fill_alpha=0, line_alpha=0
    )
    seen = {"slider": slider, "labels": labels, "computed": computed, "names": list(names)}
    hover = HoverTool(renderers=[cells], tooltips="@x{custom}")
    hover.formatters = {"@x": CustomJSHover(args=seen, code=HOVER)}
    panel.add_tools(hover)


def _keep_square(panel: figure, columns: int, rows: int) -> None:
    """Change the panel's ranges with its size, so that columns x rows digits stay square."""
    from bokeh.models import CustomJS

    top, row_height = panel.y_range.end, (panel.y_range.end - panel.y_range.start) / rows
    args = {"panel": panel, "columns": columns, "rows": rows, "top": top, "row_height": row_height}
    for edge in ("inner_width", "inner_height"):
        panel.js_on_change(edge, CustomJS(args=args, code=SQUARE))


def _images(
    panel: figure, mosaics: list[Array], width: float, top: float, height: float
) -> list[GlyphRenderer[Any]]:
    """Each mosaic as an image of width x height below `top`; only the last is visible at first."""
    images = [
        panel.image_url(url=[_url(mosaic)], x=0, y=top, w=width, h=height, anchor="top_left")
        for mosaic in mosaics
    ]
    for image in images[:-1]:
        image.visible = False
    return images


def _url(mosaic: Array) -> str:
    """A mosaic as a data URL with the image as lossless WebP."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(rgba(mosaic)).save(file, "WEBP", lossless=True, quality=30)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
