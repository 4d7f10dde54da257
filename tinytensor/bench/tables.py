"""A report as tables: for a terminal, and in Markdown for the README."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tinytensor.bench.report import KernelResult, Report, Spread, StepResult, TrainResult
from tinytensor.errors import SettingError

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

WINNER = "\N{BLACK RIGHT-POINTING SMALL TRIANGLE}"
LEGEND = (
    f"Medians, and half the way between the quartiles around them; {WINNER} the fastest of a row.\n"
    "xN: times as fast as NumPy, the median over the rounds. lim: the least time that this\n"
    "machine could take, as a part of the median; a limit is measured in caches that are warm."
)


def tables(report: Report) -> Iterator[Any]:
    """What rich is to print, in order: the machine, kernels, steps, whole runs, what disturbed."""
    yield f"{report.cpu}, {report.cores} cores"
    if report.machine.get("threads"):
        yield machine_table(report.machine["threads"])
    timed: list[KernelResult | StepResult] = [*report.kernels, *report.steps]
    for threads in dict.fromkeys(result.threads for result in timed):
        kernels = [result for result in report.kernels if result.threads == threads]
        steps = [result for result in report.steps if result.threads == threads]
        if kernels:
            yield kernels_table(kernels, threads)
        if steps:
            yield from steps_tables(steps, threads)
    if report.train:
        yield train_table(report.train)
    if timed:
        yield LEGEND
    if any(result.on_numpy for result in report.kernels):
        yield "numpy*: the backend has no such kernel of its own, and NumPy computes it."
    if any(result.backend == "numba" and result.threads > 1 for result in timed):
        yield "numba computes on one thread, however many there are."
    yield from _left_out(report)
    yield noise_line(report)


def _left_out(report: Report) -> Iterator[str]:
    for who in dict.fromkeys((skipped.contestant, skipped.why) for skipped in report.skipped):
        lessons = [s.lesson for s in report.skipped if (s.contestant, s.why) == who and s.lesson]
        name = ", ".join(dict.fromkeys((who[0], *lessons)))
        yield f"{name}: {who[1]}"


def noise_line(report: Report) -> str:
    """Whether these numbers can be relied on."""
    if not report.noise.noisy:
        return "The machine was quiet."
    return f"NOISY: {report.noise.why}. Measure again when the machine is idle."


def _table(title: str) -> Table:
    from rich import box
    from rich.table import Table

    return Table(
        title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False,
        padding=(0, 1, 0, 0),
    )  # fmt: skip


def machine_table(limits: dict[str, Any]) -> Table:
    """The most that the machine does, for each number of threads."""
    table = _table("The machine at most: GFLOP/s, and GB/s of copying by working set")
    table.add_column("threads", justify="right")
    table.add_column("GFLOP/s", justify="right")
    sizes = next(iter(limits.values()))["bandwidth"]
    for size in map(int, sizes):
        table.add_column(_size(size), justify="right")
    for threads, limit in limits.items():
        speeds = [f"{speed['copy'] / 1e9:,.0f}" for speed in limit["bandwidth"].values()]
        table.add_row(threads, f"{limit['peak_flops'] / 1e9:,.0f}", *speeds)
    return table


def _size(size: int) -> str:
    return f"{size >> 10} KiB" if size < 1 << 20 else f"{size >> 20} MiB"


# Steps ------------------------------------------------------------------------------------------


def steps_tables(results: Sequence[StepResult], threads: int) -> Iterator[Table]:
    """Lessons by backends; and lessons by other libraries, if some were measured."""
    own = [result for result in results if result.backend]
    if own:
        yield own_steps_table(own, threads)
    if len(own) < len(results):
        yield peers_table(results, threads)


def own_steps_table(results: Sequence[StepResult], threads: int) -> Table:
    """A row for each lesson and mode, for each backend its time, its ratio and its share."""
    modes = list(dict.fromkeys(result.mode for result in results))
    backends = list(dict.fromkeys(str(result.backend) for result in results))
    title = f"Training steps, {_threads(threads)}: milliseconds a step of 100 images"
    table = _table(f"{title}, {modes[0]}" if len(modes) == 1 else title)
    table.add_column("lesson")
    if len(modes) > 1:
        table.add_column("how")
    _add_columns(table, backends)
    for lesson in dict.fromkeys(result.lesson for result in results):
        for number, mode in enumerate(modes):
            row = {
                str(result.backend): result
                for result in results
                if (result.lesson, result.mode) == (lesson, mode)
            }
            head = [lesson if number == 0 else "", *([str(mode)] if len(modes) > 1 else [])]
            table.add_row(*head, *_cells(backends, row, 1e3))
    return table


def _add_columns(table: Table, names: Sequence[str]) -> None:
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
        if name != "numpy":
            table.add_column("xN", justify="right", no_wrap=True)
        table.add_column("lim", justify="right", no_wrap=True, style="dim")


def _cells(names: Sequence[str], row: dict[str, Any], unit: float) -> Iterator[Text | str]:
    """For each contestant its time, how many times as fast as NumPy that is, its share of lim."""
    best = min((result.seconds.median for result in row.values()), default=0.0)
    for name in names:
        result = row.get(name)
        if result is None:
            yield from ("", "") if name == "numpy" else ("", "", "")
            continue
        star = getattr(result, "on_numpy", False)
        yield _time(result.seconds, unit, result.seconds.median == best, "numpy* " if star else "")
        if name != "numpy":
            yield "" if result.to_numpy is None else figures(result.to_numpy, 2)
        yield "" if result.bound is None else f"{result.bound / result.seconds.median:.0%}"


def _time(seconds: Spread, unit: float, is_winner: bool, before: str = "") -> Text:
    from rich.text import Text

    text = f"{figures(seconds.median * unit, 3)} ±{seconds.width / 2:.0%}"
    mark = WINNER if is_winner else ""
    return Text(f"{before}{mark}{text}", "bold green" if is_winner else "")


def figures(number: float, count: int) -> str:
    """To so many figures, without an exponent: 0.0556, 4.05, 1,234."""
    if number >= 10 ** (count - 1):
        return f"{number:,.0f}"
    text = f"{number:#.{count}g}".removesuffix(".")
    return f"{number:.6f}" if "e" in text else text


def peers_table(results: Sequence[StepResult], threads: int) -> Table:
    """A row for each lesson: tinytensor's fastest way, and each other library."""
    table = _table(
        f"Beside other libraries, {_threads(threads)}: milliseconds a step, and times as long as "
        "tinytensor's fastest"
    )
    peers = list(dict.fromkeys(r.contestant for r in results if r.backend is None))
    table.add_column("lesson")
    table.add_column("tinytensor", justify="right")
    for name in peers:
        table.add_column(name, justify="right")
    for lesson in dict.fromkeys(result.lesson for result in results):
        row = [result for result in results if result.lesson == lesson]
        own = min((r for r in row if r.backend), key=lambda r: r.seconds.median, default=None)
        best = min(result.seconds.median for result in row)
        cells: list[Any] = []
        if own is not None:
            cells.append(_time(own.seconds, 1e3, own.seconds.median == best))
            cells[-1].append(f"\n{own.contestant}", "dim")
        else:
            cells.append("")
        by_name = {result.contestant: result for result in row}
        for name in peers:
            if name not in by_name:
                cells.append("")
                continue
            seconds = by_name[name].seconds
            cells.append(_time(seconds, 1e3, seconds.median == best))
            if own is not None:
                times = figures(seconds.median / own.seconds.median, 2)
                cells[-1].append(f"\n{times}x", "dim")
        table.add_row(lesson, *cells)
    return table


# Kernels ----------------------------------------------------------------------------------------


def kernels_table(results: Sequence[KernelResult], threads: int) -> Table:
    """A row for each kernel and case."""
    names = list(dict.fromkeys(result.contestant for result in results))
    table = _table(f"Kernels, {_threads(threads)}: microseconds a call")
    table.add_column("kernel", overflow="fold", min_width=18)
    _add_columns(table, names)
    for kernel, case in dict.fromkeys((result.kernel, result.case) for result in results):
        row = {r.contestant: r for r in results if (r.kernel, r.case) == (kernel, case)}
        table.add_row(f"{kernel} {case}", *_cells(names, row, 1e6))
    return table


# Whole runs -------------------------------------------------------------------------------------


def train_table(results: Sequence[TrainResult]) -> Table:
    """A row for each lesson and backend: from the start of the process to its end, and in parts."""
    table = _table("Whole runs: seconds of a process, and what of them went where")
    for name in ("lesson", "backend"):
        table.add_column(name)
    parts = ("process", "import", "data", "first_step", "train", "evaluate")
    for name in ("threads", "steps", *(part.replace("_", " ") for part in parts), "accuracy"):
        table.add_column(name, justify="right")
    for result in results:
        same = [r for r in results if (r.lesson, r.threads) == (result.lesson, result.threads)]
        best = min(r.seconds["process"] for r in same)
        times = [figures(result.seconds[part], 3) for part in parts]
        mark = WINNER if result.seconds["process"] == best else ""
        table.add_row(
            result.lesson, result.backend, str(result.threads), f"{result.steps:,}",
            f"{mark}{times[0]}", *times[1:], f"{result.test_accuracy:.4f}",
        )  # fmt: skip
    return table


def _threads(threads: int) -> str:
    return f"{threads} thread{'s' * (threads > 1)}"


# The README's table -----------------------------------------------------------------------------

BEGIN, END = "<!-- tinytensor bench steps -->", "<!-- end of tinytensor bench steps -->"


def markdown(report: Report) -> str:
    """Lessons by contestants in Markdown, a table for each number of threads, and what it was
    measured with.
    """  # noqa: D205
    lines = [
        "Milliseconds a training step of 100 images, the median of the rounds; the fastest is bold."
    ]
    for threads in dict.fromkeys(result.threads for result in report.steps):
        results = [result for result in report.steps if result.threads == threads]
        names = list(dict.fromkeys(result.contestant for result in results))
        lines += [
            "",
            f"| {_threads(threads)} | {' | '.join(names)} |",
            "|---" * (len(names) + 1) + "|",
        ]
        for lesson in dict.fromkeys(result.lesson for result in results):
            row = {r.contestant: r.seconds.median for r in results if r.lesson == lesson}
            best = min(row.values())
            cells = [_markdown_cell(row.get(name), best) for name in names]
            lines.append(f"| {lesson} | {' | '.join(cells)} |")
    versions = ", ".join(f"{name} {number}" for name, number in report.versions.items())
    lines += ["", f"{report.cpu}, {report.cores} cores, {report.date[:10]}; {versions}."]
    lines += [noise_line(report)]
    return "\n".join(lines)


def _markdown_cell(median: float | None, best: float) -> str:
    if median is None:
        return ""
    text = figures(median * 1e3, 3)
    return f"**{text}**" if median == best else text


PLACE = re.compile(f"(?<={re.escape(BEGIN)}\n).*?(?={re.escape(END)})", re.DOTALL)


def check_place(name: str, text: str) -> None:
    """Raises SettingError for a text without the two comments."""
    if not PLACE.search(text):
        raise SettingError(
            f"--readme: {name} has no place for the table; the lines {BEGIN} and {END} are needed"
        )


def with_table(text: str, report: Report) -> str:
    """The text with the report's table between the two comments."""
    return PLACE.sub(lambda _: f"\n{markdown(report)}\n\n", text, count=1)
