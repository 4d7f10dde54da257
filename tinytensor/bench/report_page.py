"""A benchmark's report as one HTML page that needs no other file and no network connection.

The report is the dict that `tinytensor bench --json` writes. A section is on the page only if its
part of the report is not empty. plots.py draws the plots with Bokeh; other results are tables.
"""

from __future__ import annotations

import html as markup
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from importlib.util import find_spec
from typing import Any

from tinytensor.bench import scaling, start, tables
from tinytensor.capture import listing_html
from tinytensor.errors import BackendUnavailable
from tinytensor.machine import ARRAYS

STYLE = """
body { max-width: 1280px; margin: 1.5em auto; padding: 0 1em; line-height: 1.45 }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 1em 0 }
th, td { padding: 2px 10px; text-align: right; border-bottom: 1px solid #8884 }
th:first-child, td:first-child { text-align: left }
.plot { margin: 1em 0 }
.warning { border-left: 6px solid #d55e00; padding: 0.5em 1em }
@media (prefers-color-scheme: dark) {
  body { background: #000; color: #e8e8e8 }
  .plot { filter: invert(1) hue-rotate(180deg) brightness(1.2) }
}
""".strip()  # plots are drawn dark on light; the filter inverts them for dark pages
CALLS = {
    "python": "an empty Python function",
    "ufunc": "np.add on arrays of one element",
    "cffi": "a C function with three arrays",
    "numba": "a Numba kernel with three arrays",
    "op": "an operation on tensors",
    "op_with_gradient": "an operation, forward and backward",
    "replay": "a captured step with one kernel call",
    "replay_call": "each further kernel call of a captured step",
}


def require_bokeh() -> None:
    """Raise BackendUnavailable if Bokeh is not installed."""
    if find_spec("bokeh") is None:
        raise BackendUnavailable(
            "page: bokeh, which draws the plots, is not installed; "
            "run: pip install 'tinytensor-engine[live]'"
        )


def page(report: Mapping[str, Any]) -> str:
    """The report as an HTML page.

    report: the dict that Report.to_json() returns.

    Raises BackendUnavailable if Bokeh is not installed.
    """
    require_bokeh()
    from bokeh.embed import components
    from bokeh.resources import Resources

    sections = list(_sections(report))
    figures = [figure for _, parts in sections for figure in parts if not isinstance(figure, str)]
    scripts, divs = components(figures) if figures else ("", ())
    # Only the part of Bokeh that figures need, and not MathJax, which would be loaded from a CDN.
    library = Resources(mode="inline", components=["bokeh"]).render() if figures else ""
    plots = iter(divs)
    content = [f"<style>\n{STYLE}\n</style>", *_heading(report)]
    for title, parts in sections:
        content.append(f"<section>\n<h2>{markup.escape(title)}</h2>")
        for part in parts:
            text = part if isinstance(part, str) else f'<div class="plot">{next(plots)}</div>'
            content.append(text)
        content.append("</section>")
    return listing_html.page("tinytensor: benchmarks", "\n".join((*content, library, scripts)))


def _heading(report: Mapping[str, Any]) -> Iterator[str]:
    yield "<h1>tinytensor: benchmarks</h1>"
    cores = report["cores"]
    date = datetime.fromisoformat(report["date"]).strftime("%Y-%m-%d %H:%M %Z")
    yield _paragraph(
        f"{report['cpu']}, {cores} core{'s' if cores > 1 else ''}; {date}; "
        + ", ".join(f"{name} {number}" for name, number in report["versions"].items())
    )
    if report["quick"]:
        yield _paragraph("A quick run with few, short rounds: times are approximate.")
    if report["stopped"]:
        yield _paragraph(tables.STOPPED, "warning")
    if report["left_out"]:
        yield _paragraph(tables.left_out_line(report["left_out"]), "warning")
    if report["noise"]["noisy"]:
        why = report["noise"]["why"]
        yield _paragraph(
            f"The machine was noisy, so small differences are not reliable: {why}", "warning"
        )

    if report["skipped"]:
        yield _list(list(tables.skipped_lines(report["skipped"])))


def _sections(report: Mapping[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    """Titles of the sections, and their contents: Bokeh figures, and strings of HTML."""
    from tinytensor.bench import plots

    machine = report.get("machine") or {}
    if rows := report.get("steps"):
        yield "Training steps", [_paragraph(STEPS), *plots.steps(rows)]
    if rows := report.get("train"):
        yield "Whole runs", [_paragraph(TRAIN), _train_table(rows)]
    if (rows := report.get("kernels")) and (roofs := plots.rooflines(rows, machine)):
        yield "Kernels", [_paragraph(KERNELS), *roofs, *_movers(rows)]
    if rows := report.get("scaling"):
        parts: list[Any] = [_paragraph(SCALING)]
        for what in dict.fromkeys(row["what"] for row in rows):
            own = [row for row in rows if row["what"] == what]
            parts += [plots.curves(own), _list([scaling.sentence(row) for row in own])]
        yield "Scaling", parts
    if rows := report.get("start"):
        sentences = list(start.sentences(rows))
        yield "Cold start", [_paragraph(START), *plots.starts(rows), _list(sentences)]
    if machine.get("threads") or machine.get("calls"):
        yield "Limits of this machine", list(_machine_tables(machine))


STEPS = (
    "The bar is the median of all rounds. The thin line is the range from the lower to the upper "
    "quartile. The scale is logarithmic: equal distances are equal ratios. Dashed lines are lower "
    "bounds: the time that the step's arithmetic and memory traffic need on this machine."
)
TRAIN = "Seconds. The column process is the time of the whole process; the next ones are its parts."
KERNELS = (
    "At the left, a kernel is limited by memory bandwidth. The roof that applies is the one of "
    "the cache that contains its arrays. At the right, a kernel is limited by arithmetic. Hollow "
    "marks are kernels for which a backend falls back to NumPy. A small kernel far below its roof "
    "spends its time on the call."
)
SCALING = (
    "Marks are measured. Lines are fitted: a constant overhead, and a cost per image, neuron or "
    "layer. At the ring, both parts are equal. Left of it, overhead is the larger part; right of "
    "it, arithmetic."
)
START = (
    "Cold: Numba compiles its kernels. Warm: it loads them from disk. Neither reads the data set."
)


def _train_table(rows: Sequence[Mapping[str, Any]]) -> str:
    parts = list(dict.fromkeys(part for row in rows for part in row["seconds"]))
    headings = ["lesson", "backend", "threads", "steps", *parts, "test accuracy"]
    cells = []
    for row in rows:
        seconds = [
            f"{row['seconds'][part]:.2f}" if part in row["seconds"] else "" for part in parts
        ]
        about = [row["lesson"], row["backend"], row["threads"], f"{row['steps']:,}"]
        cells.append([*about, *seconds, f"{row['test_accuracy']:.4f}"])
    return _table([name.replace("_", " ") for name in headings], cells)


def _movers(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A table of the kernels without arithmetic, which a roofline plot can't show."""
    movers = [row for row in rows if not row["flops"]]
    if not movers:
        return
    yield _paragraph("These kernels do no arithmetic; they only move data.")
    cells = []
    for row in movers:
        best = row["seconds"]["best"]
        share = f"{row['bound'] / best:.0%}" if row["bound"] else "-"
        on = f"{row['backend'] or row['contestant']}{'*' if row['on_numpy'] else ''}"
        speed = f"{row['bytes'] / best / 1e9:,.1f}"
        cells.append(
            [row["kernel"], row["case"], on, row["threads"], f"{best * 1e6:,.2f}", speed, share]
        )
    yield _table(["kernel", "case", "on", "threads", "µs", "GB/s", "of the bound"], cells)


def _machine_tables(machine: Mapping[str, Any]) -> Iterator[str]:
    from tinytensor.bench.plots import level

    if threads := machine.get("threads"):
        yield _table(
            ["threads", "arithmetic alone"],
            [[n, f"{limits['peak_flops'] / 1e9:,.0f} GFLOP/s"] for n, limits in threads.items()],
        )
        cells = [
            [level(size, traffic), n, *(f"{traffic[kind] / 1e9:,.0f} GB/s" for kind in ARRAYS)]
            for n, limits in threads.items()
            for size, traffic in limits["bandwidth"].items()
        ]
        yield _table(["working set", "threads", *ARRAYS], cells)
    if calls := machine.get("calls"):
        yield _table(
            ["a call of", "ns"],
            [
                # Small costs are differences of times, which can be negative on a noisy machine.
                [text, f"{calls[name] * 1e9:,.0f}" if calls[name] else "too small to measure"]
                for name, text in CALLS.items()
                if name in calls
            ],
        )


def _paragraph(text: str, kind: str = "") -> str:
    about = f' class="{kind}"' if kind else ""
    return f"<p{about}>{markup.escape(text)}</p>"


def _list(lines: Sequence[str]) -> str:
    return "<ul>\n" + "\n".join(f"<li>{markup.escape(line)}</li>" for line in lines) + "\n</ul>"


def _table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    head = "".join(f'<th scope="col">{markup.escape(text)}</th>' for text in headings)
    body = ["".join(f"<td>{markup.escape(str(cell))}</td>" for cell in row) for row in rows]
    lines = "\n".join(f"<tr>{row}</tr>" for row in body)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{lines}\n</tbody>\n</table>"
