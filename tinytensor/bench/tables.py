"""A report as tables for a terminal, and in Markdown for the README."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tinytensor.bench.report import KernelResult, Report, StepResult, TrainResult
from tinytensor.errors import SettingError
from tinytensor.plural import plural

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

WINNER = "\N{BLACK RIGHT-POINTING SMALL TRIANGLE}"
STOPPED = "Stopped before the end: the results are complete measurements, but some are missing."
PLAIN = "not bold dim default"  # style of the text below a time
LEGEND = (
    f"Median ± half the interquartile range. {WINNER}: the fastest of a row. "
    "xN: speed-up over NumPy, the median over the rounds. lim: the lower bound of the time on this "
    "machine as a percentage of the median; bounds assume warm caches."
)


def tables(report: Report) -> Iterator[Any]:
    """The tables and lines of a report, for rich to print: machine, kernels, steps, runs, notes."""
    yield f"{report.cpu}, {report.cores} cores"
    if report.machine.get("threads"):
        yield machine_table(report.machine["threads"])
    timed: list[KernelResult | StepResult] = [*report.kernels, *report.steps]
    for threads in dict.fromkeys(result.threads for result in timed):
        kernels = [result for result in report.kernels if result.threads == threads]
        steps = [result for result in report.steps if result.threads == threads]
        if kernels:
            yield from kernels_tables(kernels, threads)
        if steps:
            yield from steps_tables(steps, threads)
    if report.train:
        yield train_table(report.train)
    if timed:
        yield LEGEND
    if any(result.on_numpy for result in report.kernels):
        yield "numpy*: the backend has no kernel for this, and falls back to NumPy."
    yield from skipped_lines([asdict(skipped) for skipped in report.skipped])
    if report.stopped:
        yield STOPPED
    if report.left_out:
        yield left_out_line(report.left_out)
    if timed or report.train:
        yield str(report.noise)


def left_out_line(pieces: Sequence[str]) -> str:
    """A line that lists the pieces that were not measured."""
    return f"Left out, to end within a minute: {', '.join(pieces)}."


def skipped_lines(skipped: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A line per contestant and reason, with the lessons that were skipped.

    skipped: rows as in the JSON.
    """
    for name, why in dict.fromkeys((row["contestant"], row["why"]) for row in skipped):
        same = [row for row in skipped if (row["contestant"], row["why"]) == (name, why)]
        lessons = dict.fromkeys(row["lesson"] for row in same if row["lesson"])
        yield f"{', '.join((name, *lessons))}: {why}"


def _table() -> Table:
    from rich import box
    from rich.table import Table

    return Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))


def _titled(title: str, table: Table) -> Group:
    """A table below a title, which may be wider than the table."""
    from rich.console import Group
    from rich.text import Text

    return Group(Text(title, "bold"), table)


def machine_table(limits: dict[str, Any]) -> Group:
    """The machine's limits: one row per number of threads."""
    table = _table()
    table.add_column("threads", justify="right")
    table.add_column("GFLOP/s", justify="right")
    for size, speed in next(iter(limits.values()))["bandwidth"].items():
        table.add_column(speed.get("level") or _size(int(size)), justify="right")
    for threads, limit in limits.items():
        speeds = [f"{speed['copy'] / 1e9:,.0f}" for speed in limit["bandwidth"].values()]
        table.add_row(threads, f"{limit['peak_flops'] / 1e9:,.0f}", *speeds)
    return _titled("Limits of the machine: GFLOP/s, and GB/s of a copy by working set", table)


def _size(size: int) -> str:
    return f"{size >> 10} KiB" if size < 1 << 20 else f"{size >> 20} MiB"


# Steps ------------------------------------------------------------------------------------------


def steps_tables(results: Sequence[StepResult], threads: int) -> Iterator[Group]:
    """A table of lessons by backends, and a table with other libraries if some were timed."""
    own = [result for result in results if result.backend]
    yield own_steps_table(own, threads)
    if len(own) < len(results):
        rows = [(result.lesson, result) for result in results]
        yield peers_table(
            "lesson", rows, f"{plural(threads, 'thread')}: milliseconds per step", 1e3
        )


def own_steps_table(results: Sequence[StepResult], threads: int) -> Group:
    """One row per lesson and mode, with time, speed-up over NumPy and lim of each backend."""
    modes = list(dict.fromkeys(result.mode for result in results))
    backends = list(dict.fromkeys(str(result.backend) for result in results))
    title = f"Training steps, {plural(threads, 'thread')}: milliseconds per step of 100 images"
    title += f", {modes[0]}" if len(modes) == 1 else ""
    table = _table()
    table.add_column("lesson")
    if len(modes) > 1:
        table.add_column("mode")
    _add_columns(table, backends)
    for lesson in dict.fromkeys(result.lesson for result in results):
        for number, mode in enumerate(modes):
            row = {
                str(result.backend): result
                for result in results
                if (result.lesson, result.mode) == (lesson, mode)
            }
            head = [lesson if number == 0 else "", *([str(mode)] if len(modes) > 1 else [])]
            table.add_row(*head, *_cells(backends, row))
    return _titled(title, table)


def _add_columns(table: Table, names: Sequence[str]) -> None:
    for name in names:
        table.add_column(name, justify="right")
        if name != "numpy":
            table.add_column("xN", justify="right", no_wrap=True)
        table.add_column("lim", justify="right", no_wrap=True, style="dim")


def _cells(names: Sequence[str], row: dict[str, StepResult]) -> Iterator[Text | str]:
    """The cells of a row: time, speed-up over NumPy (not for NumPy) and lim of each backend."""
    best = _best(row)
    for name in names:
        result = row.get(name)
        yield "" if result is None else _time(result, 1e3, best)
        if name != "numpy":
            yield "" if result is None else _to_numpy(result)
        yield "" if result is None else _share(result)


def _best(row: Mapping[str, KernelResult | StepResult]) -> float:
    return min((result.seconds.median for result in row.values()), default=0.0)


def _time(result: KernelResult | StepResult, unit: float, best: float) -> Text:
    """The median and its spread."""
    return _median(result, unit, best).append(f" {_spread(result)}")


def _median(result: KernelResult | StepResult, unit: float, best: float) -> Text:
    """The median, marked if it is the fastest of the row."""
    from rich.text import Text

    median = result.seconds.median
    text = format_number(median * unit, 3)
    return Text(f"{WINNER}{text}", "bold green") if median == best else Text(text)


def _spread(result: KernelResult | StepResult) -> str:
    return f"±{result.seconds.width / 2:.0%}"


def _to_numpy(result: KernelResult | StepResult) -> str:
    return "" if result.to_numpy is None else format_number(result.to_numpy, 2)


def _share(result: KernelResult | StepResult) -> str:
    return "" if result.bound is None else f"{result.bound / result.seconds.median:.0%}"


def format_number(number: float, count: int) -> str:
    """A number with `count` significant figures, without an exponent: 0.0556, 4.05, 1,234."""
    if number >= 10 ** (count - 1):
        return f"{number:,.0f}"
    text = f"{number:#.{count}g}".removesuffix(".")
    return f"{number:.6f}" if "e" in text else text


# Kernels ----------------------------------------------------------------------------------------


def kernels_tables(results: Sequence[KernelResult], threads: int) -> Iterator[Group]:
    """A table of kernels by backends, and a table with other libraries if some were timed."""
    own = [result for result in results if result.backend]
    yield own_kernels_table(own, threads)
    if len(own) < len(results):
        rows = [(_named(result), result) for result in results]
        yield peers_table(
            "kernel", rows, f"{plural(threads, 'thread')}: microseconds per call", 1e6
        )


def own_kernels_table(results: Sequence[KernelResult], threads: int) -> Group:
    """One row per call, of two lines: the time, and below it the speed-up over NumPy and lim."""
    backends = list(dict.fromkeys(result.contestant for result in results))
    table = _table()
    table.add_column("kernel\n", overflow="fold")
    for name in backends:
        table.add_column(f"{name}\n{'' if name == 'numpy' else 'xN  '}lim", justify="right")
    for name in dict.fromkeys(map(_named, results)):
        row = {result.contestant: result for result in results if _named(result) == name}
        best = _best(row)
        table.add_row(name, *(_kernel_cell(row.get(backend), best) for backend in backends))
    return _titled(f"Kernels, {plural(threads, 'thread')}: microseconds per call", table)


def _named(result: KernelResult) -> str:
    return f"{result.kernel}\n  {result.case}"


def _kernel_cell(result: KernelResult | None, best: float) -> Text | str:
    if result is None:
        return ""
    of_numpy = "numpy*" if result.on_numpy else ""
    ratio = "" if result.backend == "numpy" else _to_numpy(result)
    below = "  ".join(filter(None, (of_numpy, ratio, _share(result))))
    return _time(result, 1e6, best).append(f"\n{below}", PLAIN)


# Other libraries --------------------------------------------------------------------------------


def peers_table(
    heading: str, rows: Sequence[tuple[str, StepResult | KernelResult]], title: str, unit: float
) -> Group:
    """One row per lesson or kernel: tinytensor's fastest time, and the time of each library.

    rows: pairs of a row's name and a result. unit: results are multiplied by it.
    """
    table = _table()
    peers = list(dict.fromkeys(r.contestant for _, r in rows if r.backend is None))
    table.add_column(heading, overflow="fold")
    for name in ("tinytensor", *peers):  # long headings take two lines, to save width
        table.add_column(re.sub("[.-]", r"\g<0>\n", name, count=1), justify="right")
    for name in dict.fromkeys(name for name, _ in rows):
        row = {result.contestant: result for other, result in rows if other == name}
        others = {peer: row.pop(peer) for peer in peers if peer in row}
        own = min(row.values(), key=lambda result: result.seconds.median)
        if others:
            best = min(own.seconds.median, _best(others))
            cells = [_peer_cell(others.get(peer), own, unit, best) for peer in peers]
            table.add_row(name, _peer_cell(own, own, unit, best), *cells)
    return _titled(f"Other libraries, {title}, and as a multiple of tinytensor's best", table)


def _peer_cell(
    result: StepResult | KernelResult | None,
    own: StepResult | KernelResult,
    unit: float,
    best: float,
) -> Text | str:
    """A median, and below it its spread and its multiple of tinytensor's best time.

    For tinytensor itself, the contestant's name replaces the multiple.
    """
    if result is None:
        return ""
    times = f"{format_number(result.seconds.median / own.seconds.median, 2)}x"
    second = own.contestant if result is own else times
    return _median(result, unit, best).append(f"\n{second}\n{_spread(result)}", PLAIN)


# Whole runs -------------------------------------------------------------------------------------


PARTS = {  # parts of a whole run, and their column headings
    "process": "all", "import": "import", "data": "data", "first_step": "first", "train": "train",
    "evaluate": "tests",
}  # fmt: skip


def train_table(results: Sequence[TrainResult]) -> Group:
    """One row per lesson and backend: the time of the whole process, and its parts."""
    table = _table()
    for name in ("lesson", "backend"):
        table.add_column(name)
    for name in ("steps", *PARTS.values(), "accuracy"):
        table.add_column(name, justify="right")
    for result in results:
        same = [r for r in results if (r.lesson, r.threads) == (result.lesson, result.threads)]
        best = min(r.seconds["process"] for r in same)
        mark = WINNER if result.seconds["process"] == best else ""
        first, *times = [f"{result.seconds[part]:,.2f}" for part in PARTS]
        backend = f"{result.backend}, {result.threads}"
        accuracy = f"{result.test_accuracy:.4f}"
        table.add_row(
            result.lesson, backend, f"{result.steps:,}", f"{mark}{first}", *times, accuracy
        )
    title = "Whole runs: seconds of the process, and its parts: imports, data, first step, ..."
    return _titled(title, table)


# The README's table -----------------------------------------------------------------------------

BEGIN, END = "<!-- tinytensor bench steps -->", "<!-- end of tinytensor bench steps -->"


def markdown(report: Report) -> str:
    """A table of captured steps and other libraries in Markdown, with machine and versions."""
    lines = [
        "Milliseconds for one training step of 100 images. Each time is the median of many "
        "measurements, and the fastest is bold. On tinytensor's backends (c, numba, numpy) the "
        "step is captured: its kernel calls are recorded once and then repeated, on C without "
        "Python between them."
    ]
    columns: set[str] = set()
    for threads in dict.fromkeys(result.threads for result in report.steps):
        rows: dict[str, dict[str, float]] = {}
        for result in report.steps:
            modes = ("captured", "dense", "run") if result.backend == "c" else ("captured", None)
            if result.threads == threads and result.mode in modes:
                name = result.backend or result.contestant
                name += f" {result.mode}" if result.mode in ("dense", "run") else ""
                rows.setdefault(result.lesson, {})[name] = result.seconds.median
        names = list(dict.fromkeys(name for row in rows.values() for name in row))
        lines += ["", f"| {plural(threads, 'thread')} | {' | '.join(names)} |"]
        lines += ["|---" * (len(names) + 1) + "|"]
        for lesson, row in rows.items():
            cells = [_markdown_cell(row.get(name), min(row.values())) for name in names]
            lines.append(f"| {lesson} | {' | '.join(cells)} |")
        columns.update(names)
    if {"c dense", "c run"} & columns:
        lines += [
            "",
            "The first layer skips products with pixels that are 0; *c dense* computes them, as "
            "the other libraries do. *c run* makes many steps in one call.",
        ]
    versions = ", ".join(f"{name} {number}" for name, number in report.versions.items())
    lines += ["", f"{report.cpu}, {report.cores} cores, {report.date[:10]}; {versions}."]
    return "\n".join([*lines, str(report.noise)])


def _markdown_cell(median: float | None, best: float) -> str:
    if median is None:
        return ""
    text = format_number(median * 1e3, 3)
    return f"**{text}**" if median == best else text


TABLE = re.compile(f"(?<={re.escape(BEGIN)}\n).*?(?={re.escape(END)})", re.DOTALL)


def check_markers(name: str, text: str) -> None:
    """Raise SettingError if a text doesn't have the comments BEGIN and END.

    name: the name of the file, for the message.
    """
    if not TABLE.search(text):
        raise SettingError(
            f"--readme: {name} has no place for the table; the lines {BEGIN} and {END} are needed"
        )


def with_table(text: str, report: Report) -> str:
    """Return the text with the table of a report between the comments BEGIN and END.

    Raises:
        SettingError: the report is noisy, and readers would compare its numbers.
    """
    if report.noise.noisy:
        raise SettingError(
            f"--readme: nothing was written, because the measurement was noisy "
            f"({report.noise.why}); close other programs and run the command again"
        )
    return TABLE.sub(lambda _: f"\n{markdown(report)}\n\n", text, count=1)
