"""A report as tables: for a terminal, and in Markdown for the README."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tinytensor.bench.report import KernelResult, Report, StepResult, TrainResult
from tinytensor.errors import SettingError

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

WINNER = "\N{BLACK RIGHT-POINTING SMALL TRIANGLE}"
NUMBA_ALONE = "numba computes on one thread, however many there are."
STOPPED = "Stopped before the end: what is here was measured in full, the rest wasn't."
PLAIN = "not bold dim default"  # what stands below a time
LEGEND = (
    f"Medians, and half the way between the quartiles around them; {WINNER} the fastest of a row. "
    "xN: times as fast as NumPy, the median over the rounds. lim: the least time that this machine "
    "could take, as a part of the median; a limit is measured in caches that are warm."
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
            yield from kernels_tables(kernels, threads)
        if steps:
            yield from steps_tables(steps, threads)
    if report.train:
        yield train_table(report.train)
    if timed:
        yield LEGEND
    if any(result.on_numpy for result in report.kernels):
        yield "numpy*: the backend has no such kernel of its own, and NumPy computes it."
    if any(result.backend == "numba" and result.threads > 1 for result in timed):
        yield NUMBA_ALONE
    yield from left_out([asdict(skipped) for skipped in report.skipped])
    if report.stopped:
        yield STOPPED
    if timed or report.train:
        yield noise_line(report)


def left_out(skipped: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Who is missing, in which lessons, and why: a line for each reason.  Rows as in the JSON."""
    for who, why in dict.fromkeys((row["contestant"], row["why"]) for row in skipped):
        same = [row for row in skipped if (row["contestant"], row["why"]) == (who, why)]
        lessons = dict.fromkeys(row["lesson"] for row in same if row["lesson"])
        yield f"{', '.join((who, *lessons))}: {why}"


def noise_line(report: Report) -> str:
    """Whether these numbers can be relied on."""
    if not report.noise.noisy:
        return "The machine was quiet."
    return f"NOISY: {report.noise.why}. Measure again when the machine is idle."


def _table() -> Table:
    from rich import box
    from rich.table import Table

    return Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))


def _titled(title: str, table: Table) -> Group:
    """A title may be wider than its table."""
    from rich.console import Group
    from rich.text import Text

    return Group(Text(title, "bold"), table)


def machine_table(limits: dict[str, Any]) -> Group:
    """The most that the machine does, for each number of threads."""
    table = _table()
    table.add_column("threads", justify="right")
    table.add_column("GFLOP/s", justify="right")
    for size, speed in next(iter(limits.values()))["bandwidth"].items():
        table.add_column(speed.get("level") or _size(int(size)), justify="right")
    for threads, limit in limits.items():
        speeds = [f"{speed['copy'] / 1e9:,.0f}" for speed in limit["bandwidth"].values()]
        table.add_row(threads, f"{limit['peak_flops'] / 1e9:,.0f}", *speeds)
    return _titled("The machine at most: GFLOP/s, and GB/s of copying by working set", table)


def _size(size: int) -> str:
    return f"{size >> 10} KiB" if size < 1 << 20 else f"{size >> 20} MiB"


# Steps ------------------------------------------------------------------------------------------


def steps_tables(results: Sequence[StepResult], threads: int) -> Iterator[Group]:
    """Lessons by backends; and lessons by other libraries, if some were measured."""
    own = [result for result in results if result.backend]
    yield own_steps_table(own, threads)
    if len(own) < len(results):
        rows = [(result.lesson, result) for result in results]
        yield peers_table("lesson", rows, f"{_threads(threads)}: milliseconds a step", 1e3)


def own_steps_table(results: Sequence[StepResult], threads: int) -> Group:
    """A row for each lesson and mode, for each backend its time, its ratio and its share."""
    modes = list(dict.fromkeys(result.mode for result in results))
    backends = list(dict.fromkeys(str(result.backend) for result in results))
    title = f"Training steps, {_threads(threads)}: milliseconds a step of 100 images"
    title += f", {modes[0]}" if len(modes) == 1 else ""
    table = _table()
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
            table.add_row(*head, *_cells(backends, row))
    return _titled(title, table)


def _add_columns(table: Table, names: Sequence[str]) -> None:
    for name in names:
        table.add_column(name, justify="right")
        if name != "numpy":
            table.add_column("xN", justify="right", no_wrap=True)
        table.add_column("lim", justify="right", no_wrap=True, style="dim")


def _cells(names: Sequence[str], row: dict[str, StepResult]) -> Iterator[Text | str]:
    """For each backend its time, how many times as fast as NumPy that is, its share of lim."""
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
    """The median, marked if it is the best."""
    from rich.text import Text

    median = result.seconds.median
    text = figures(median * unit, 3)
    return Text(f"{WINNER}{text}", "bold green") if median == best else Text(text)


def _spread(result: KernelResult | StepResult) -> str:
    return f"±{result.seconds.width / 2:.0%}"


def _to_numpy(result: KernelResult | StepResult) -> str:
    return "" if result.to_numpy is None else figures(result.to_numpy, 2)


def _share(result: KernelResult | StepResult) -> str:
    return "" if result.bound is None else f"{result.bound / result.seconds.median:.0%}"


def figures(number: float, count: int) -> str:
    """To so many figures, without an exponent: 0.0556, 4.05, 1,234."""
    if number >= 10 ** (count - 1):
        return f"{number:,.0f}"
    text = f"{number:#.{count}g}".removesuffix(".")
    return f"{number:.6f}" if "e" in text else text


# Kernels ----------------------------------------------------------------------------------------


def kernels_tables(results: Sequence[KernelResult], threads: int) -> Iterator[Group]:
    """Kernels by backends; and by other libraries, if some were measured."""
    own = [result for result in results if result.backend]
    yield own_kernels_table(own, threads)
    if len(own) < len(results):
        rows = [(_named(result), result) for result in results]
        yield peers_table("kernel", rows, f"{_threads(threads)}: microseconds a call", 1e6)


def own_kernels_table(results: Sequence[KernelResult], threads: int) -> Group:
    """A row for each call, of two lines, for its name is long; below a time its ratio and share."""
    backends = list(dict.fromkeys(result.contestant for result in results))
    table = _table()
    table.add_column("kernel\n", overflow="fold")
    for name in backends:
        table.add_column(f"{name}\n{'' if name == 'numpy' else 'xN  '}lim", justify="right")
    for name in dict.fromkeys(map(_named, results)):
        row = {result.contestant: result for result in results if _named(result) == name}
        best = _best(row)
        table.add_row(name, *(_kernel_cell(row.get(backend), best) for backend in backends))
    return _titled(f"Kernels, {_threads(threads)}: microseconds a call", table)


def _named(result: KernelResult) -> str:
    return f"{result.kernel}\n  {result.case}"


def _kernel_cell(result: KernelResult | None, best: float) -> Text | str:
    if result is None:
        return ""
    of_numpy = "numpy*" if result.on_numpy else ""
    ratio = "" if result.backend == "numpy" else _to_numpy(result)
    below = "  ".join(filter(None, (of_numpy, ratio, _share(result))))
    return _time(result, 1e6, best).append(f"\n{below}", PLAIN)


# Beside other libraries -------------------------------------------------------------------------


def peers_table(
    heading: str, rows: Sequence[tuple[str, StepResult | KernelResult]], what: str, unit: float
) -> Group:
    """A row for each name: tinytensor's fastest way, and each other library."""
    table = _table()
    peers = list(dict.fromkeys(r.contestant for _, r in rows if r.backend is None))
    table.add_column(heading, overflow="fold")
    for name in ("tinytensor", *peers):  # there may be many: numpy-by-hand takes two lines
        table.add_column(re.sub("[.-]", r"\g<0>\n", name, count=1), justify="right")
    for name in dict.fromkeys(name for name, _ in rows):
        row = {result.contestant: result for other, result in rows if other == name}
        others = {peer: row.pop(peer) for peer in peers if peer in row}
        own = min(row.values(), key=lambda result: result.seconds.median)
        if others:
            best = min(own.seconds.median, _best(others))
            cells = [_beside(others.get(peer), own, unit, best) for peer in peers]
            table.add_row(name, _beside(own, own, unit, best), *cells)
    return _titled(f"Other libraries, {what}, and as a multiple of tinytensor's best", table)


def _beside(
    result: StepResult | KernelResult | None,
    own: StepResult | KernelResult,
    unit: float,
    best: float,
) -> Text | str:
    """A median; below it which way that is, or how many times as long as our own; its spread."""
    if result is None:
        return ""
    times = f"{figures(result.seconds.median / own.seconds.median, 2)}x"
    below = own.contestant if result is own else times
    return _median(result, unit, best).append(f"\n{below}\n{_spread(result)}", PLAIN)


# Whole runs -------------------------------------------------------------------------------------


PARTS = {  # of a whole run, and their headings
    "process": "all", "import": "import", "data": "data", "first_step": "first", "train": "train",
    "evaluate": "tests",
}  # fmt: skip


def train_table(results: Sequence[TrainResult]) -> Group:
    """A row for each lesson and backend: from the start of the process to its end, and in parts."""
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
        who = f"{result.backend}, {result.threads}"
        accuracy = f"{result.test_accuracy:.4f}"
        table.add_row(result.lesson, who, f"{result.steps:,}", f"{mark}{first}", *times, accuracy)
    title = "Whole runs: seconds of a process, and of its parts: imports, data, the first step, ..."
    return _titled(title, table)


def _threads(threads: int) -> str:
    return f"{threads} thread{'s' * (threads > 1)}"


# The README's table -----------------------------------------------------------------------------

BEGIN, END = "<!-- tinytensor bench steps -->", "<!-- end of tinytensor bench steps -->"


def markdown(report: Report) -> str:
    """Lessons by backends, captured, and peers, in Markdown; and what it was measured with."""
    lines = [
        "Milliseconds a training step of 100 images, the backends' captured; the median of the "
        "rounds, the fastest bold."
    ]
    for threads in dict.fromkeys(result.threads for result in report.steps):
        rows: dict[str, dict[str, float]] = {}
        for result in report.steps:
            if result.threads == threads and result.mode in ("captured", None):
                name = result.backend or result.contestant
                rows.setdefault(result.lesson, {})[name] = result.seconds.median
        names = list(dict.fromkeys(name for row in rows.values() for name in row))
        lines += ["", f"| {_threads(threads)} | {' | '.join(names)} |"]
        lines += ["|---" * (len(names) + 1) + "|"]
        for lesson, row in rows.items():
            cells = [_markdown_cell(row.get(name), min(row.values())) for name in names]
            lines.append(f"| {lesson} | {' | '.join(cells)} |")
    versions = ", ".join(f"{name} {number}" for name, number in report.versions.items())
    lines += ["", f"{report.cpu}, {report.cores} cores, {report.date[:10]}; {versions}."]
    return "\n".join([*lines, noise_line(report)])


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
    """The text with the report's table between the two comments.

    Raises: SettingError for a noisy report, because readers compare the numbers.
    """
    if report.noise.noisy:
        raise SettingError(
            f"--readme: nothing was written, because the measurement was noisy "
            f"({report.noise.why}); close other programs and run the command again"
        )
    return PLACE.sub(lambda _: f"\n{markdown(report)}\n\n", text, count=1)
