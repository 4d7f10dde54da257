"""Two recorded runs compared: their curves over each other, as an image or as an HTML page."""

from __future__ import annotations

import html
import io
import textwrap
from pathlib import Path
from typing import Any, NamedTuple

from tinytensor import atomic_file
from tinytensor.errors import DataError
from tinytensor.live.drawing import ACCURACY_END, INK_AND_PAPER, curve
from tinytensor.live.history import History, accuracy_start, loss_end
from tinytensor.live.names import PANELS
from tinytensor.live.picture import TEST, TRAIN
from tinytensor.live.replay_page import STYLE, plain_panel
from tinytensor.live.run_file import RecordedRun
from tinytensor.live.style import PHONE

COLOURS_OF_RUNS = (TRAIN, TEST)
WIDTHS = {"training": 1.0, "test": 2.5}
MARGIN = 0.015  # of the x axis after the last step, so that its point is fully visible
LONGEST = 140  # characters of a line of an image
LINE = 0.045  # height of a line, as a share of an image
HEADING = "Thin lines are the training batches, thick lines are the test images."
TITLE = "Two runs"
SIDE_BY_SIDE = f"""
:host {{ grid-template: none; grid-auto-columns: minmax(0, 1fr); grid-auto-rows: minmax(0, 1fr) }}
@media (max-width: {PHONE}) {{ :host {{ display: flex; flex-direction: column }} }}
"""


class ComparedRun(NamedTuple):
    """A run to compare.

    name: as in the legend. colour: of its curves. curves: "training" and "test", see drawing.curve.
    result: the last accuracy and its step, in words.
    """

    name: str
    colour: str
    curves: dict[str, dict[str, Any]]
    result: str


class Comparison:
    """The curves of two runs, which may have different lessons and numbers of steps.

    Args:
        recordings: the two runs, by name.

    Raises:
        DataError: the runs have different classes, so their accuracies can't be compared.
    """

    def __init__(self, recordings: dict[str, RecordedRun]) -> None:
        (first, second), (name, other) = recordings.values(), recordings
        if first.names != second.names:
            raise DataError(
                f"report: {name} has the classes {', '.join(first.names)}, and {other} has "
                f"{', '.join(second.names)}; two runs with the same data are needed"
            )
        self.runs = [
            _compared(f"{name}: {recording.name}", recording, colour)
            for (name, recording), colour in zip(recordings.items(), COLOURS_OF_RUNS, strict=True)
        ]
        tests = [run.curves["test"] for run in self.runs]
        steps = max(test["step"].max(initial=1) for test in tests)
        self.x = (0.0, (1 + MARGIN) * float(steps))
        self.y = {
            "accuracy": (accuracy_start(*(test["accuracy"] for test in tests)), ACCURACY_END),
            "loss": (0.0, loss_end(*(test["loss"] for test in tests))),
        }

    def write_png(self, file: str | Path, dark: bool = False) -> None:
        """Write an image of 1280 x 560 pixels.  Raises OSError if that fails.

        dark: True for light colours on a dark background.
        """
        from matplotlib.figure import Figure
        from matplotlib.ticker import PercentFormatter

        ink, paper = INK_AND_PAPER[dark]
        figure = Figure((12.8, 5.6), dpi=100, facecolor=paper)
        figure.text(0.05, 0.93, TITLE, size=15, weight="bold", color=ink)
        figure.text(0.16, 0.93, HEADING, size=11, color=ink)
        height = 0.93 - 0.06
        for run in self.runs:
            for line in textwrap.wrap(f"━ {run.name}", LONGEST, subsequent_indent="    "):
                figure.text(0.05, height, line, size=11, color=run.colour, weight="bold")
                height -= LINE
            figure.text(0.05, height, f"    {run.result}", size=11, color=ink)
            height -= LINE
        panels = figure.subplots(
            1, 2, gridspec_kw=dict(
                left=0.05, right=0.975, bottom=0.07, top=height - 0.02, wspace=0.12
            ),
        )  # fmt: skip
        for axes, (quantity, ends) in zip(panels, self.y.items(), strict=True):
            axes.set(facecolor=paper, xlim=self.x, ylim=ends)
            axes.set_title(PANELS[quantity].title, loc="left", color=ink)
            axes.xaxis.set_major_formatter("{x:,.0f}")
            axes.locator_params(axis="x", integer=True)
            axes.tick_params(colors=ink, labelsize=9)
            axes.grid(color=ink, alpha=0.12)
            axes.spines[:].set_visible(False)
            for run in self.runs:
                for part, columns in run.curves.items():
                    axes.plot(
                        columns["step"], columns[quantity], color=run.colour,
                        linewidth=WIDTHS[part], marker="o" if len(columns["step"]) == 1 else "",
                    )  # fmt: skip
        panels[0].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png")
        atomic_file.write(file, drawn.getvalue())

    def write_html(self, file: str | Path) -> None:
        """Write an HTML page that needs no network connection.  Raises OSError if that fails."""
        atomic_file.write(file, self.page().encode())

    def page(self) -> str:
        """The page as HTML with BokehJS inside."""
        from bokeh.embed import file_html
        from bokeh.models import Column, Div, GlobalInlineStyleSheet, GridBox, InlineStyleSheet
        from bokeh.resources import INLINE

        from tinytensor.live.template import STILL

        legend = "".join(
            f"<div><b style='color: {run.colour}'>━ {html.escape(run.name)}</b> &nbsp; "
            f"{html.escape(run.result)}</div>"
            for run in self.runs
        )
        heading = f"<b style='font-size: 1.3em'>{TITLE}</b> &nbsp; {HEADING}{legend}"
        panels = [self._bokeh_panel(quantity) for quantity in self.y]
        grid = GridBox(
            children=[(panel, 0, column) for column, panel in enumerate(panels)],
            sizing_mode="stretch_both", stylesheets=[InlineStyleSheet(css=SIDE_BY_SIDE)],
        )  # fmt: skip
        layout = Column(
            Div(text=heading, name="legend", sizing_mode="stretch_width"), grid,
            stylesheets=[GlobalInlineStyleSheet(css=STYLE)], sizing_mode="stretch_both",
            margin=(6, 8, 6, 8),
        )  # fmt: skip
        return str(file_html(layout, INLINE, TITLE, template=STILL))

    def _bokeh_panel(self, quantity: str) -> Any:
        from bokeh.models import ColumnDataSource, HoverTool

        panel = plain_panel(quantity, self.x, self.y[quantity])
        for number, run in enumerate(self.runs, 1):
            for part, columns in run.curves.items():
                name = f"{quantity} {part} {number}"
                source = ColumnDataSource(dict(columns), name=name)
                width = WIDTHS[part]
                line = panel.line("step", quantity, source=source, color=run.colour, width=width)
                if part == "test":
                    panel.scatter("step", quantity, source=source, color=run.colour, size=4)
                    value = ("test", f"@{quantity}{{0.0000}}")
                    tips = [("run", run.name), ("step", "@step"), value]
                    panel.add_tools(HoverTool(renderers=[line], tooltips=tips))
        return panel


def _compared(name: str, recording: RecordedRun, colour: str) -> ComparedRun:
    history = History(recording.snapshots)
    last = history.test[-1] if history.test else None
    result = "not tested"
    if last is not None:
        after = f"{last.step:,} of {recording.steps:,} steps"
        result = f"test accuracy {100 * last.accuracy:.2f} % after {after}"
    curves = {"training": curve(history.train), "test": curve(history.test)}
    return ComparedRun(name, colour, curves, result)
