"""A benchmark's report as one page of HTML, that needs no other file and no network.

The report is what `tinytensor bench --json` writes: a dict of lists of plain rows. Each section is
there only if its part of the report is. The plots are Bokeh's, see plots.py; numbers that belong to
no curve are tables.
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
""".strip()  # plots are drawn dark on light; turned over they keep their hues, but grow dark
CALLS = {
    "python": "a function of Python that does nothing",
    "ufunc": "np.add of arrays of one number",
    "cffi": "a C function with three arrays",
    "numba": "a kernel of Numba with three arrays",
    "op": "an operation on tensors",
    "op_with_gradient": "the same, forward and backward",
    "replay": "a captured step with one kernel call",
    "replay_call": "each further kernel call in it",
}


def require_bokeh() -> None:
    """Raise BackendUnavailable, with the command that mends it, where Bokeh isn't installed."""
    if find_spec("bokeh") is None:
        raise BackendUnavailable(
            "page: bokeh, which draws the plots, isn't installed; "
            "pip install 'tinytensor-engine[live]' mends that"
        )


def page(report: Mapping[str, Any]) -> str:
    """The report as a page of HTML.  Raises BackendUnavailable without Bokeh."""
    require_bokeh()
    from bokeh.embed import components
    from bokeh.resources import Resources

    sections = list(_sections(report))
    figures = [figure for _, parts in sections for figure in parts if not isinstance(figure, str)]
    scripts, divs = components(figures) if figures else ("", ())
    # Only what figures need: no widgets, no tables, and no typesetting of formulas from elsewhere.
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
        yield _paragraph("A quick run, of few and short rounds: good for a first look.")
    if report["stopped"]:
        yield _paragraph(tables.STOPPED, "warning")
    if report["noise"]["noisy"]:
        why = report["noise"]["why"]
        yield _paragraph(
            f"The machine was noisy, so don't trust small differences: {why}", "warning"
        )

    timed = (*report["kernels"], *report["steps"])
    if any(row["backend"] == "numba" and row["threads"] > 1 for row in timed):
        yield _paragraph(tables.NUMBA_ALONE)
    if report["skipped"]:
        yield _list(list(tables.left_out(report["skipped"])))


def _sections(report: Mapping[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    """Titles, and what stands below: figures of Bokeh, and strings of HTML."""
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
        yield "What grows how", parts
    if rows := report.get("start"):
        sentences = list(start.sentences(rows))
        yield "Cold start", [_paragraph(START), *plots.starts(rows), _list(sentences)]
    if machine.get("threads") or machine.get("calls"):
        yield "What this machine can do at most", list(_machine_tables(machine))


STEPS = (
    "The median of all rounds; the thin line spans the middle half of them. The scale is "
    "logarithmic: the same distance is the same ratio. Dashed lines are bounds: the least time "
    "that the step's arithmetic and memory traffic need on this machine."
)
TRAIN = "Seconds, from the start of the process; the others are parts of them."
KERNELS = (
    "To the left a kernel is bound by memory, and the roof that counts is that of the cache its "
    "numbers lie in; to the right by arithmetic. Hollow marks are kernels that a backend leaves to "
    "NumPy. A small one that lies far below the roof has spent its time on being called."
)
SCALING = (
    "Marks are measured, lines are fitted: overhead and a cost for each image, neuron or layer. At "
    "the ring both are equal: to the left of it overhead counts for more, to the right arithmetic."
)
START = (
    "Cold: Numba's kernels are compiled; warm: they are loaded from disk. Data are read in neither."
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
    """The kernels that compute nothing, for which a roofline has no place."""
    movers = [row for row in rows if not row["flops"]]
    if not movers:
        return
    yield _paragraph("These kernels compute nothing; they only move numbers.")
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
            [[n, f"{told['peak_flops'] / 1e9:,.0f} GFLOP/s"] for n, told in threads.items()],
        )
        cells = [
            [level(size, told), n, *(f"{told[kind] / 1e9:,.0f} GB/s" for kind in ARRAYS)]
            for n, limits in threads.items()
            for size, told in limits["bandwidth"].items()
        ]
        yield _table(["working set", "threads", *ARRAYS], cells)
    if calls := machine.get("calls"):
        yield _table(
            ["a call of", "ns"],
            [
                # Small ones are differences of others, which a noisy machine may turn round.
                [text, f"{calls[name] * 1e9:,.0f}" if calls[name] else "too little to be measured"]
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
