"""Plots of a sweep, as an image or a page: the accuracy of each trial by each of its settings."""

import html as markup
import io
from collections.abc import Sequence
from typing import Any

from tinytensor.bench.report_page import STYLE
from tinytensor.capture import listing_html
from tinytensor.sweep.sweeping import Trial

TITLES = {
    "lr": "learning rate",
    "keep_prob": "probability to keep an element",
    "batch": "images per step",
    "optimizer": "optimiser",
}
BLUE, ORANGE = "#0072b2", "#e69f00"  # ORANGE is the best trial


def as_png(title: str, trials: Sequence[Trial]) -> bytes:
    """Return an image with a panel for each setting.

    Args:
        title: the heading.
        trials: the finished trials, the best first. Those without an accuracy are left out.

    Returns:
        the bytes of the PNG file.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    names, drawn = _drawn(trials)
    figure = Figure((5.2 * max(len(names), 1), 4.8), dpi=100, layout="constrained")
    figure.suptitle(title)
    panels = figure.subplots(1, max(len(names), 1), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, names, strict=False):
        axes.set(xlabel=TITLES[name], xscale="log" if name == "lr" else "linear")
        axes.grid(alpha=0.2)
        if name not in ("lr", "keep_prob"):
            axes.xaxis.update_units(_choices(name, drawn))
        for group, colour in ((drawn[1:], BLUE), (drawn[:1], ORANGE)):
            x = [_place(name, trial) for trial in group]
            axes.scatter(x, [trial.accuracy for trial in group], color=colour)
    panels[0].set_ylabel("validation accuracy")
    panels[0].yaxis.set_major_formatter(PercentFormatter(1))
    image = io.BytesIO()
    figure.savefig(image, format="png")
    return image.getvalue()


def as_html(title: str, trials: Sequence[Trial]) -> str:
    """Return a page with a plot for each setting, which needs no other file and no network.

    Args:
        title: the heading.
        trials: the finished trials, the best first. Those without an accuracy are left out.
    """
    from bokeh.embed import components
    from bokeh.resources import Resources

    names, drawn = _drawn(trials)
    scripts, divs = components([_plot(name, drawn) for name in names])
    library = Resources(mode="inline", components=["bokeh"]).render()
    plots = "\n".join(f'<div class="plot">{div}</div>' for div in divs)
    heading = f"<h1>{markup.escape(title)}</h1>"
    return listing_html.page(
        "tinytensor: sweep", f"<style>\n{STYLE}\n</style>{heading}{plots}{library}{scripts}"
    )


def _drawn(trials: Sequence[Trial]) -> tuple[list[str], list[Trial]]:
    """The names of the settings, and the trials with an accuracy."""
    names = list(trials[0].settings) if trials else []
    return names, [trial for trial in trials if trial.accuracy is not None]


def _place(name: str, trial: Trial) -> Any:
    """The place of a trial on the axis of a setting; choices are texts."""
    value = trial.settings[name]
    return value if name in ("lr", "keep_prob") else str(value)


def _choices(name: str, drawn: Sequence[Trial]) -> list[str]:
    """The places on the axis of a setting that is chosen from a list, in order."""
    return [str(value) for value in sorted({trial.settings[name] for trial in drawn})]


TICKS = """
const {start, end} = cb_data.range
const ticks = []
if (end < 5 * start) {  // equal distances
  const size = 10 ** Math.floor(Math.log10(end - start))
  const step = size * (end - start > 5 * size ? 2 : end - start > 2 * size ? 1 : 0.5)
  for (let n = Math.ceil(start / step); n * step <= end; n++) ticks.push(n * step)
  return ticks
}
const decades = Math.log10(end / start)
const mantissas = decades < 1 ? [1, 2, 5] : decades < 3 ? [1, 3] : [1]
const step = Math.ceil(decades / 6)
for (let n = Math.floor(Math.log10(start)); n <= Math.log10(end); n++)
  if (n % step === 0) ticks.push(...mantissas.map(mantissa => mantissa * 10 ** n))
return ticks.filter(tick => start <= tick && tick <= end)
"""  # JavaScript: at most 7 ticks of a logarithmic axis, whose labels fit on a narrow screen


_SHORT = """
const rounded = Number(tick.toPrecision(3))
return rounded < 0.001 || rounded >= 10000 ? rounded.toExponential() : String(rounded)
"""  # JavaScript: the label of a tick, such as 0.02 or 5e-5


def _plot(name: str, drawn: Sequence[Trial]) -> Any:
    from bokeh.models import CustomJSTicker, CustomJSTickFormatter, NumeralTickFormatter
    from bokeh.plotting import ColumnDataSource, figure

    places = [_place(name, trial) for trial in drawn]
    axis: dict[str, Any] = {"x_axis_type": "log"} if name == "lr" else {}
    if name not in ("lr", "keep_prob"):
        axis = {"x_range": _choices(name, drawn)}
    rows = {
        "x": places,
        "accuracy": [trial.accuracy for trial in drawn],
        "number": [trial.number for trial in drawn],
        "colour": [ORANGE, *[BLUE] * (len(drawn) - 1)][: len(drawn)],
    }
    plot = figure(
        height=340, sizing_mode="stretch_width", x_axis_label=TITLES[name],
        y_axis_label="validation accuracy", tools="pan,box_zoom,reset,save",
        tooltips=[("trial", "@number"), (TITLES[name], "@x"), ("accuracy", "@accuracy{0.0000}")],
        **axis,
    )  # fmt: skip
    plot.scatter("x", "accuracy", source=ColumnDataSource(rows), color="colour", size=9)
    if name == "lr":
        plot.xaxis.ticker = CustomJSTicker(major_code=TICKS)
        plot.xaxis.formatter = CustomJSTickFormatter(code=_SHORT)
    plot.yaxis.formatter = NumeralTickFormatter(format="0.0 %")
    plot.toolbar.logo = None
    return plot
