"""`tinytensor bench`: times of backends, compared with other libraries and the machine's limits."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinytensor import door
from tinytensor.cli.output import check_writable, rendered, write, write_json
from tinytensor.errors import BackendUnavailable, SettingError, TinytensorError, UnknownName
from tinytensor.regular_file import same_file

if TYPE_CHECKING:
    from tinytensor.bench.report import Report

TRAIN_LESSONS = ("1.0", "2.1")  # lessons whose whole runs take seconds


def run_benchmarks(
    part: str | None,
    backends: tuple[str, ...] | None,
    lessons: tuple[str, ...] | None,
    threads: tuple[int, ...] | None,
    peers: tuple[str, ...] | None,
    rounds: int | None,
    quick: bool,
    json_file: str | None,
    html_file: str | None,
    readme: str | None,
) -> None:
    """Run `tinytensor bench`; tinytensor_command.commands has its options."""
    from tinytensor.bench import tables
    from tinytensor.bench.plan import Plan, measure, pieces
    from tinytensor.bench.report import Report
    from tinytensor.bench.report_page import require_bokeh
    from tinytensor.cli.progress import progress

    files = {"--json": json_file, "--html": html_file, "--readme": readme}
    _check_files(files)
    if html_file is not None:
        require_bokeh()
    if readme is not None:
        if part not in (None, "steps"):
            raise SettingError(
                f"--readme: tinytensor bench {part} has no table of steps; leave {part} out"
            )
        tables.check_markers(readme, Path(readme).read_text(encoding="utf-8"))
    if part == "train" and peers is not None:
        raise SettingError(
            "--peers: whole runs are timed for tinytensor's backends only; leave --peers out"
        )
    report = Report()
    plan = Plan(
        part=part,
        backends=_backends(backends, report),
        lessons=_lessons(lessons, part),
        threads=_threads(threads, report.cores, part, quick),
        peers=() if peers is None else _peers(peers, report),
        rounds=rounds or (5 if quick or part == "train" else 15),
        quick=quick,
        page=html_file is not None,
    )
    ended: BaseException | None = None
    with progress(pieces(plan), seconds_per_line=0) as work:
        try:
            measure(plan, report, work.show)
        except (KeyboardInterrupt, TinytensorError) as error:  # raised after the report is written
            report.stopped, ended = True, error
    try:
        write_json(json_file, report.to_json())
        _write_html(html_file, report)
    finally:  # print the results even if the files can't be written
        click.echo(rendered(*tables.tables(report)), err="-" in files.values(), nl=False)
    if ended is not None:
        raise ended
    if readme is not None:
        text = Path(readme).read_text(encoding="utf-8")
        write("--readme", readme, tables.with_table(text, report))


def _check_files(files: dict[str, str | None]) -> None:
    """Raise SettingError for a file that can't be written, before anything is measured."""
    given = [(option, file) for option, file in files.items() if file is not None]
    for option, file in given:
        check_writable(option, file)
        for other, name in given:
            if other != option and same_file(file, name):
                raise SettingError(f"{option}: got {file}, as {other} did; another file is needed")
    if files["--readme"] is not None and not Path(files["--readme"]).is_file():
        raise SettingError(
            f"--readme: there is no file {files['--readme']}; a file with the table is needed"
        )


def _backends(names: tuple[str, ...] | None, report: "Report") -> tuple[str, ...]:
    """The given backends, by default all that work here.

    Raises BackendUnavailable if a given backend doesn't work here.
    """
    from tinytensor.bench.report import Skipped

    if names is None:
        for name, state in door.backend_states().items():
            if isinstance(state, TinytensorError):
                report.skipped.append(Skipped(name, None, str(state).removeprefix(f"{name}: ")))
        return tuple(door.available_backends())
    for name in names:
        door.load_backend(name)
    return names


def _lessons(numbers: tuple[str, ...] | None, part: str | None) -> tuple[str, ...]:
    """The given lessons, or the default ones.

    Raises SettingError if `part` doesn't time a given lesson.
    """
    from tinytensor.bench.step_times import LESSONS

    if numbers is None:
        return TRAIN_LESSONS if part == "train" else LESSONS
    for number in numbers:
        if part != "train" and number not in LESSONS:
            known = ", ".join(LESSONS)
            raise SettingError(
                f"--lessons: got {number}, of which only whole runs are timed (tinytensor bench "
                f"train); choose from {known}"
            )
    return numbers


def _threads(
    counts: tuple[int, ...] | None, cores: int, part: str | None, quick: bool
) -> tuple[int, ...]:
    """The given numbers of threads, or the default ones.

    Raises SettingError for more threads than there are cores.
    """
    if counts is None:
        return (cores,) if quick or part == "train" or cores == 1 else (1, cores)
    if max(counts) > cores:
        raise SettingError(
            f"--threads: got {max(counts)}; an integer from 1 to {cores}, the number of cores, "
            "is needed"
        )
    return counts


def _peers(names: tuple[str, ...], report: "Report") -> tuple[str, ...]:
    """The given peers; all that are installed for ("all",).

    Raises UnknownName for an unknown peer, and BackendUnavailable if one is not installed.
    """
    from tinytensor.bench.report import Skipped
    from tinytensor.bench.worker import PEERS

    cure = "run: pip install 'tinytensor-engine[peers]'"
    if names == ("all",):
        for name, peer in PEERS.items():
            if not peer.is_installed:
                report.skipped.append(Skipped(name, None, f"{peer.needs} isn't installed; {cure}"))
        return tuple(name for name, peer in PEERS.items() if peer.is_installed)
    for name in names:
        if name not in PEERS:
            known = ", ".join(PEERS)
            raise UnknownName(f"--peers: got {name!r}; choose from {known}, or give all alone")
        if not PEERS[name].is_installed:
            raise BackendUnavailable(f"--peers {name}: {PEERS[name].needs} isn't installed; {cure}")
    return names


def _write_html(file: str | None, report: "Report") -> None:
    if file is None:
        return
    from tinytensor.bench.report_page import page

    write("--html", file, page(report.to_json()))
