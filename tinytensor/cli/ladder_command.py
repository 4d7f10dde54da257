"""`tinytensor ladder KERNEL` and `explain KERNEL`: from the naive loop to the fast kernel."""

import os
from dataclasses import asdict
from typing import Any

import click

from tinytensor import door
from tinytensor.cli.output import check_writable, rendered, rounded, write_json
from tinytensor.errors import BackendUnavailable, TinytensorError
from tinytensor.plural import plural


def time_ladder(
    kernel: str,
    size: int | None,
    channels: int | None,
    threads: int | None,
    seconds: float,
    json_file: str | None,
) -> None:
    """Run `tinytensor ladder`; tinytensor_command.commands has its options."""
    from tinytensor import machine
    from tinytensor.bench.noise import NoiseMonitor
    from tinytensor.cli.progress import progress
    from tinytensor.ladder import ladder

    rungs = ladder.rungs(kernel)
    size = size or ladder.SIZES[kernel]
    work = ladder.work(kernel, size, channels)
    check_writable("--json", json_file)
    if threads is not None:
        door.set_num_threads(threads)
    states = door.backend_states()
    for state in states.values():
        if isinstance(state, TinytensorError):
            click.echo(f"left out: {state}", err=True)
    c = states["c"]
    used = c.num_threads if isinstance(c, door.Backend) else threads or os.cpu_count() or 1
    click.echo(f"measuring {len(rungs)} rungs, {seconds:g} s each", err=True)
    monitor = NoiseMonitor()
    monitor.use_threads(used)
    with progress(ladder.pieces(kernel)) as shown, monitor.during([]):
        results, peak = ladder.measure(
            kernel, size, seconds, shown.show, monitor.count_probe, channels
        )
    result = {
        "kernel": kernel,
        "work": work.title,
        "cpu": machine.cpu_name(),
        "threads": used,
        "unit": work.unit,
        "peak": peak and peak / 1e9,
        "noise": asdict(monitor.verdict()),
        "rungs": [
            {
                "name": each.rung.name,
                "why": each.rung.why,
                "seconds": each.seconds,
                "speed": each.seconds and work.amount / each.seconds / 1e9,
            }
            for each in results
        ],
    }
    try:
        write_json(json_file, result)
    finally:  # print the results even if the file can't be written
        click.echo(_ladder(result), err=json_file == "-", nl=False)


def _ladder(result: dict[str, Any]) -> str:
    """A table of the rungs' speeds, the idea of each rung, and how quiet the machine was."""
    from rich import box
    from rich.table import Table

    from tinytensor.bench.report import Noise

    speeds = {rung["name"]: rung["speed"] for rung in result["rungs"]}
    peak = result["peak"]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("rung")
    for heading in ("ms", result["unit"], "of peak", "speed-up", "x NumPy"):
        table.add_column(heading, justify="right")
    reasons = Table.grid(padding=(0, 2))
    before, backend = None, ""
    for rung in result["rungs"]:
        name, speed = rung["name"], rung["speed"]
        if name.partition(".")[0] != backend:
            if backend:
                table.add_section()
            before, backend = None, name.partition(".")[0]
        if speed is None:
            table.add_row(name, "too long")
        else:
            table.add_row(
                name,
                rounded(rung["seconds"] * 1e3, 3),
                rounded(speed, 3),
                f"{100 * speed / peak:.1f} %" if peak else "-",
                f"{speed / before:.1f}" if before else "",
                rounded(speed / speeds["numpy"], 2) if speeds["numpy"] else "-",
            )
        reasons.add_row(name, rung["why"])
        before = speed
    title = (
        f"{result['kernel']} {result['work']}, float32, on {plural(result['threads'], 'thread')} "
        f"of {result['cpu']}"
    )
    if peak:
        source = (
            "a copy of the same number of bytes"
            if result["unit"] == "GB/s"
            else "arithmetic in registers alone"
        )
        title += f"\npeak: {rounded(peak, 3)} {result['unit']}, measured by {source}"
        if max(filter(None, speeds.values()), default=0) > peak:
            title += " (too low, other programs were running: try again)"
    title += "\nspeed-up: over the rung before"
    return rendered(title, table, reasons, "", str(Noise(**result["noise"])))


def explain_kernel(kernel: str, rung: str | None) -> None:
    """Run `tinytensor explain`; tinytensor_command.commands has its options."""
    from rich.syntax import Syntax
    from rich.text import Text

    from tinytensor.ladder import ladder

    for each in [ladder.find_rung(kernel, rung)] if rung else ladder.rungs(kernel):
        click.echo(rendered(Text(f"{kernel} by {each.name}: {each.why}", "bold")), nl=False)
        try:
            language, text = each.source()
        except BackendUnavailable as error:
            if rung:
                raise
            click.echo(f"not usable: {error}\n")
            continue
        click.echo(rendered("", Syntax("", language).highlight(text)), nl=False)
