"""The plots of a benchmark's page, drawn by Bokeh.

Each function takes a part of a report (see report_page.py) and returns figures. Contestants differ
in colour and in hatching or marker. The colours are those of Okabe and Ito, which are distinct for
colour-blind readers, without yellow, because it is hardly visible on white.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from bokeh.models import (
    ColumnDataSource,
    FactorRange,
    FixedTicker,
    HoverTool,
    Legend,
    NumeralTickFormatter,
    Range1d,
)
from bokeh.plotting import figure

from tinytensor.bench import start
from tinytensor.bench.scaling import UNITS
from tinytensor.machine import ARRAYS
from tinytensor.plural import plural

ReportRow = Mapping[str, Any]
Range = tuple[float, float]  # start and end of an axis

BLUE, ORANGE, GREEN, VERMILLION = "#0072b2", "#e69f00", "#009e73", "#d55e00"
PURPLE, SKY, BLACK = "#cc79a7", "#56b4e9", "#000000"
COLOURS = {"c": BLUE, "numba": ORANGE, "numpy": GREEN}
PEER_COLOURS = (VERMILLION, PURPLE, SKY, BLACK)  # of other libraries, in order
MARKERS = {"c": "circle", "numba": "triangle", "numpy": "square"}
PEER_MARKERS = ("diamond", "inverted_triangle", "star", "hex", "plus")
HATCHES = {
    "eager": "right_diagonal_line",
    "dense": "horizontal_line",
    "run": "dot",
}  # none for captured and other libraries
DASHES = ("solid", "dashed", "dotdash", "dotted")
TOOLS = "pan,box_zoom,wheel_zoom,reset,save"
TEXT = "14px"


def _figure(
    title: str, *, x_log: Range | None = None, y_log: Range | None = None, **settings: Any
) -> Any:
    """An empty figure, as wide as the page, with a transparent background.

    x_log, y_log: the range of an axis that is logarithmic.
    """
    for axis, range_ in (("x", x_log), ("y", y_log)):
        if range_ is not None:
            settings |= {f"{axis}_axis_type": "log", f"{axis}_range": Range1d(*range_)}
    plot = figure(title=title, tools=TOOLS, sizing_mode="stretch_width", **settings)
    if x_log is not None:
        _label(plot.xaxis, *x_log)
    if y_log is not None:
        _label(plot.yaxis, *y_log)
    plot.toolbar.logo = None
    plot.toolbar.active_scroll = None  # so that the wheel scrolls the page
    plot.title.text_font_size = "16px"
    plot.axis.axis_label_text_font_size = plot.axis.major_label_text_font_size = TEXT
    plot.axis.axis_label_text_font_style = "normal"
    plot.background_fill_color = plot.border_fill_color = None
    plot.grid.grid_line_color, plot.grid.grid_line_alpha = "#b0b0b0", 0.4
    return plot


def _legend(plot: Any, entries: Sequence[tuple[str, list[Any]]]) -> None:
    """Add a legend at the right of the plot; a click on an entry hides its glyphs."""
    legend = Legend(items=list(entries), click_policy="hide", label_text_font_size=TEXT)
    legend.border_line_color = legend.background_fill_color = None
    plot.add_layout(legend, "right")


def _colours(names: Sequence[str]) -> dict[str, str]:
    """A colour for each name: fixed for backends, the next PEER_COLOURS for other libraries."""
    others = itertools.cycle(PEER_COLOURS)
    return {name: COLOURS.get(name) or next(others) for name in names}


def _markers(names: Sequence[str]) -> dict[str, str]:
    others = itertools.cycle(PEER_MARKERS)
    return {name: MARKERS.get(name) or next(others) for name in names}


def _label(axis: Any, low: float, high: float) -> None:
    """Label a logarithmic axis from low to high with plain numbers, at decades or 1, 2, 5, 10."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = (1,) if last - first > 3 else (1, 2, 5)
    decades = [10.0**power for power in range(first, last + 1)]
    axis.ticker = FixedTicker(
        ticks=[decade * step for decade in decades for step in steps],
        minor_ticks=[decade * step for decade in decades for step in range(2, 10)],
    )
    axis.formatter = NumeralTickFormatter(format="0,0.[000000]")


# Training steps ---------------------------------------------------------------------------------


def steps(rows: Sequence[ReportRow]) -> list[Any]:
    """Bar charts, one per number of threads: a group per lesson, a bar per contestant."""
    counts = dict.fromkeys(row["threads"] for row in rows)
    return [_steps([row for row in rows if row["threads"] == n], n) for n in counts]


def _steps(rows: Sequence[ReportRow], threads: int) -> Any:
    lessons = list(dict.fromkeys(row["lesson"] for row in rows))
    names = list(dict.fromkeys(row["contestant"] for row in rows))
    styles = _styles(rows)
    bounds = {row["lesson"]: row["bound"] * 1e3 for row in rows if row["bound"]}
    lowest = min([row["seconds"]["low"] * 1e3 for row in rows] + list(bounds.values()))
    bottom, top = 0.5 * lowest, 1.3e3 * max(row["seconds"]["high"] for row in rows)
    plot = _figure(
        f"A training step on {plural(threads, 'thread')}",
        x_range=FactorRange(*lessons, range_padding=0.02),
        y_log=(bottom, top),
        height=460,
        x_axis_label="lesson",
        y_axis_label="milliseconds",
    )
    width = 0.84 / len(names)
    entries = []
    for i, name in enumerate(names):
        own = [row for row in rows if row["contestant"] == name]
        offset = (i + 0.5) * width - 0.42
        colour, hatch = styles[name]
        bar = plot.vbar(
            x="x",
            top="median",
            bottom=bottom,
            width=0.9 * width,
            color=colour,
            hatch_pattern=hatch,
            hatch_color="white",
            hatch_scale=6,
            source=ColumnDataSource(_bars(own, offset)),
        )
        spread = plot.segment(
            x0="x",
            y0="low",
            x1="x",
            y1="high",
            color="#555555",
            line_width=2,
            source=bar.data_source,
        )
        bar.js_link("visible", spread, "visible")
        entries.append((name, [bar]))
    if bounds:
        ends = {"x0": [(x, -0.42) for x in bounds], "x1": [(x, 0.42) for x in bounds]}
        source = ColumnDataSource(ends | {"y": list(bounds.values())})
        line = plot.segment(
            x0="x0",
            y0="y",
            x1="x1",
            y1="y",
            color=BLACK,
            line_width=2,
            line_dash=[4, 3],
            source=source,
        )
        entries.append(("bound", [line]))
    plot.xgrid.grid_line_color = None
    _legend(plot, entries)
    tips = [
        ("lesson", "@lesson"),
        ("", "@contestant"),
        ("median", "@median{0.000} ms"),
        ("quartiles", "@low{0.000} to @high{0.000} ms"),
        ("best", "@best{0.000} ms"),
        ("images/s", "@images{0,0}"),
        ("x NumPy", "@to_numpy"),
        ("of the bound", "@share"),
    ]
    plot.add_tools(
        HoverTool(tooltips=tips, renderers=[bars[0] for _, bars in entries[: len(names)]])
    )
    return plot


def _styles(rows: Sequence[ReportRow]) -> dict[str, tuple[str, str]]:
    """The colour and the hatching of each contestant, by name."""
    peers = list(dict.fromkeys(row["contestant"] for row in rows if row["backend"] is None))
    colours = _colours(peers)
    styles = {
        name: (colours[name], " " if i < len(PEER_COLOURS) else "vertical_line")
        for i, name in enumerate(peers)
    }
    return styles | {
        row["contestant"]: (COLOURS[row["backend"]], HATCHES.get(row["mode"], " "))
        for row in rows
        if row["backend"] is not None
    }


def _bars(own: Sequence[ReportRow], offset: float) -> dict[str, list[Any]]:
    ratios = [row.get("to_numpy") for row in own]
    columns: dict[str, list[Any]] = {
        part: [row["seconds"][part] * 1e3 for row in own]
        for part in ("best", "median", "low", "high")
    }
    return columns | {
        "x": [(row["lesson"], offset) for row in own],
        "lesson": [row["lesson"] for row in own],
        "contestant": [row["contestant"] for row in own],
        "images": [row["images_per_second"] for row in own],
        "to_numpy": ["-" if ratio is None else f"{ratio:.2f}" for ratio in ratios],
        "share": [_share(row) for row in own],
    }


def _share(row: ReportRow) -> str:
    return f"{row['bound'] / row['seconds']['median']:.0%}" if row["bound"] else "-"


# The roofline -----------------------------------------------------------------------------------


def rooflines(rows: Sequence[ReportRow], machine: ReportRow) -> list[Any]:
    """Roofline plots, one per number of threads."""
    return [
        _roofline(
            [row for row in rows if row["threads"] == int(n) and row["flops"]], int(n), limits
        )
        for n, limits in machine.get("threads", {}).items()
        if any(row["threads"] == int(n) and row["flops"] for row in rows)
    ]


def _roofline(rows: Sequence[ReportRow], threads: int, limits: ReportRow) -> Any:
    intensities = [row["flops"] / row["bytes"] for row in rows]
    left, right = 0.5 * min(intensities), 2 * max(intensities)
    peak = limits["peak_flops"] / 1e9
    speeds = [row["flops"] / row["seconds"]["best"] / 1e9 for row in rows]
    plot = _figure(
        f"Roofline of kernels on {plural(threads, 'thread')}",
        x_log=(left, right),
        y_log=(0.5 * min(speeds), 1.5 * max(peak, *speeds)),
        height=560,
        x_axis_label="FLOP per byte read or written",
        y_axis_label="GFLOP/s",
    )
    entries = []
    for dash, (size, traffic) in zip(
        itertools.cycle(DASHES), limits["bandwidth"].items(), strict=False
    ):
        speed = max(traffic[kind] for kind in ARRAYS) / 1e9
        corner = min(max(peak / speed, left), right)
        line = plot.line(
            [left, corner, right],
            [min(speed * left, peak), min(speed * corner, peak), min(speed * right, peak)],
            line_width=2,
            line_dash=dash,
            color="#666666",
        )
        entries.append((f"{level(size, traffic)}, {speed:,.0f} GB/s", [line]))
    names = list(dict.fromkeys(_name(row) for row in rows))
    colours, markers = _colours(names), _markers(names)
    drawn = []
    for name in names:
        own = [row for row in rows if _name(row) == name]
        points = plot.scatter(
            "intensity",
            "speed",
            size=11,
            marker=markers[name],
            line_color=colours[name],
            line_width=2,
            fill_color=colours[name],
            fill_alpha="filled",
            source=ColumnDataSource(_points(own)),
        )
        drawn.append(points)
        entries.append((name, [points]))
    _legend(plot, entries)
    tips = [
        ("", "@kernel @case"),
        ("on", "@contestant"),
        ("speed", "@speed{0.00} GFLOP/s"),
        ("intensity", "@intensity{0.000} FLOP/byte"),
        ("best", "@best{0.00} µs"),
        ("of the bound", "@share"),
    ]
    plot.add_tools(HoverTool(tooltips=tips, renderers=drawn))
    return plot


def level(size: str, traffic: ReportRow) -> str:
    """The working set with the name of its cache, if known: L2, 512 KiB."""
    count = int(size)
    text = f"{count >> 10} KiB" if count < 1 << 20 else f"{count >> 20} MiB"
    return f"{traffic['level']}, {text}" if traffic.get("level") else text


def _name(row: ReportRow) -> str:
    return str(row["backend"] or row["contestant"])


def _points(rows: Sequence[ReportRow]) -> dict[str, list[Any]]:
    best = [row["seconds"]["best"] for row in rows]
    return {
        "kernel": [row["kernel"] for row in rows],
        "case": [row["case"] for row in rows],
        "contestant": [
            f"{_name(row)}{', computed by NumPy' if row['on_numpy'] else ''}" for row in rows
        ],
        "intensity": [row["flops"] / row["bytes"] for row in rows],
        "speed": [row["flops"] / s / 1e9 for row, s in zip(rows, best, strict=True)],
        "best": [s * 1e6 for s in best],
        "filled": [0.15 if row["on_numpy"] else 0.75 for row in rows],
        "share": [
            f"{row['bound'] / s:.0%}" if row["bound"] else "-"
            for row, s in zip(rows, best, strict=True)
        ],
    }


# Scaling ----------------------------------------------------------------------------------------


def curves(rows: Sequence[ReportRow]) -> Any:
    """A plot of one curve: the measured points of each backend, and the fitted lines.

    rows: rows of scaling.measure with the same "what".
    """
    what = rows[0]["what"]
    seconds = [s * 1e3 for row in rows for _, s in row["points"]]
    sizes = sorted({x for row in rows for x, _ in row["points"]})
    axis = {"batch": "images in a batch", "width": "neurons in a layer", "depth": "hidden layers"}
    plot = _figure(
        {"batch": "Batch", "width": "Width", "depth": "Depth", "threads": "Threads"}[what],
        x_log=(0.8 * sizes[0], 1.25 * sizes[-1]),
        y_log=(0.5 * min(seconds), 2 * max(seconds)),
        height=400,
        x_axis_label=axis.get(what, "threads"),
        y_axis_label="milliseconds per step",
    )
    plot.xaxis.ticker = sizes
    entries, drawn = [], []
    for row in rows:
        name = row["backend"]
        colour = _colours([name])[name]
        xs, times = zip(*row["points"], strict=True)
        source = {"x": xs, "y": [s * 1e3 for s in times], "contestant": [name] * len(xs)}
        points = plot.scatter(
            "x",
            "y",
            size=10,
            marker=_markers([name])[name],
            color=colour,
            source=ColumnDataSource(source),
        )
        x = np.geomspace(min(xs), max(xs), 100)
        term = 1 / x if what == "threads" else x
        y = (row["overhead"] + row["per_unit"] * term) * 1e3
        line = plot.line(x, y, color=colour, line_width=2)
        even = row["even_at"]
        if even is not None and min(xs) <= even <= max(xs):
            ring = plot.scatter(
                [even],
                [2 * row["overhead"] * 1e3],
                size=22,
                marker="circle",
                line_color=colour,
                line_width=2,
                fill_color=None,
            )
            points.js_link("visible", ring, "visible")
        drawn.append(points)
        label = name if what == "threads" else f"{name}, {plural(row['threads'], 'thread')}"
        entries.append((label, [points, line]))
    _legend(plot, entries)
    tips = [("", "@contestant"), (f"{UNITS[what]}s", "@x{0,0}"), ("time per step", "@y{0.000} ms")]
    plot.add_tools(HoverTool(tooltips=tips, renderers=drawn))
    return plot


# Cold starts ------------------------------------------------------------------------------------

PARTS = {
    "import": (SKY, " "),
    "compile": (ORANGE, "right_diagonal_line"),
    "first_step": (BLUE, "dot"),
}


def starts(rows: Sequence[ReportRow]) -> list[Any]:
    """Stacked bars of all starts, and for each lesson a plot of time against steps."""
    lessons = dict.fromkeys(row["lesson"] for row in rows)
    return [_stacked(rows)] + [
        _time_lines([r for r in rows if r["lesson"] == n], n) for n in lessons
    ]


def _stacked(rows: Sequence[ReportRow]) -> Any:
    factors = [(row["lesson"], start.named(row)) for row in rows]
    longest = max(start.until_first_step(row) for row in rows)
    plot = _figure(
        "From the start of the process to the end of the first step",
        y_range=FactorRange(*reversed(factors)),
        x_range=Range1d(0, 1.45 * longest),
        height=120 + 34 * len(rows),
        x_axis_label="seconds",
    )
    columns: dict[str, list[Any]] = {part: [row[part] for row in rows] for part in PARTS}
    columns |= {
        "y": factors,
        "end": [start.until_first_step(row) for row in rows],
        "step": [row["step"] * 1e3 for row in rows],
        "label": [_overtakes(row) for row in rows],
    }
    source = ColumnDataSource(columns)
    bars = plot.hbar_stack(
        list(PARTS),
        y="y",
        height=0.7,
        color=[colour for colour, _ in PARTS.values()],
        hatch_pattern=[hatch for _, hatch in PARTS.values()],
        hatch_color="white",
        hatch_scale=8,
        source=source,
    )
    plot.text(
        x="end",
        y="y",
        text="label",
        x_offset=8,
        text_baseline="middle",
        text_font_size=TEXT,
        source=source,
    )
    plot.ygrid.grid_line_color = None
    plot.yaxis.group_text_font_size = TEXT
    _legend(plot, [(part.replace("_", " "), [bar]) for part, bar in zip(PARTS, bars, strict=True)])
    tips = [(part.replace("_", " "), f"@{part}{{0.000}} s") for part in PARTS]
    plot.add_tools(HoverTool(tooltips=[*tips, ("a later step", "@step{0.000} ms")], renderers=bars))
    return plot


def _overtakes(row: ReportRow) -> str:
    if row["backend"] == "numpy":
        return ""
    steps = row["break_even_numpy"]
    if steps is None:
        return "never overtakes NumPy"
    return f"overtakes NumPy after {plural(steps, 'step')}"


def _time_lines(rows: Sequence[ReportRow], lesson: str) -> Any:
    """Time since the start against steps, with a mark where one backend overtakes another."""
    pairs = itertools.permutations(rows, 2)
    crossings = [
        (one, other, steps)
        for one, other in pairs
        if one["backend"] != other["backend"]
        and (steps := start.break_even(one, other)) not in (None, 1)
    ]
    last = max([1000, *(10 * steps for _, _, steps in crossings if steps)])
    firsts = [start.until_first_step(row) for row in rows]
    lasts = [first + last * row["step"] for first, row in zip(firsts, rows, strict=True)]
    plot = _figure(
        f"Lesson {lesson}: time until a number of steps is made",
        x_log=(0.8, last),
        y_log=(0.7 * min(firsts), 1.3 * max(lasts)),
        height=400,
        x_axis_label="steps",
        y_axis_label="seconds since the start",
    )
    x = np.geomspace(1, last, 200)
    entries = []
    for row in rows:
        y = start.until_first_step(row) + (x - 1) * row["step"]
        dash = "dashed" if row["cache"] == "cold" else "solid"
        colour = _colours([row["backend"]])[row["backend"]]
        entries.append(
            (start.named(row), [plot.line(x, y, color=colour, line_width=3, line_dash=dash)])
        )
    columns = {
        "x": [steps for *_, steps in crossings],
        "y": [
            start.until_first_step(one) + ((steps or 1) - 1) * one["step"]
            for one, _, steps in crossings
        ],
        "label": [f"{start.named(a)} overtakes {start.named(b)}" for a, b, _ in crossings],
    }
    points = plot.scatter(
        "x", "y", size=12, marker="circle", color=BLACK, fill_color="white", line_width=2,
        source=ColumnDataSource(columns),
    )  # fmt: skip
    _legend(plot, [*entries, ("one overtakes another", [points])])
    tips = [("", "@label"), ("after", "@x{0,0} steps"), ("at", "@y{0.00} s")]
    plot.add_tools(HoverTool(tooltips=tips, renderers=[points]))
    return plot
