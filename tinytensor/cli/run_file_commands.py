"""`tinytensor replay` and `report`: show a run file that `train --record` wrote."""

import tempfile
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinytensor.cli.output import check_writable
from tinytensor.errors import SettingError
from tinytensor.extras import check_installed
from tinytensor.plural import plural
from tinytensor.regular_file import same_file

if TYPE_CHECKING:
    from tinytensor.live.run_file import RecordedRun


def replay_run(file: str, no_browser: bool) -> None:
    """Run `tinytensor replay`; tinytensor_command.commands has its options."""
    from tinytensor.cli.progress import progress

    check_installed("replay", "live", "bokeh")
    from tinytensor.live import replay_page

    recording = _load(file)
    with progress(1) as work:
        work.show("drawing the page")
        text = replay_page.page(recording)
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", prefix="tinytensor-replay-", suffix=".html", delete=False
    ) as page:
        page.write(text)
    click.echo(page.name)
    if not no_browser and not webbrowser.open(Path(page.name).as_uri()):
        click.echo("(no browser was found; open the file in a browser)", err=True)


def report_run(
    files: tuple[str, ...],
    html_file: str | None,
    movie_file: str | None,
    png_file: str | None,
    step: int | None,
    dark: bool,
) -> None:
    """Run `tinytensor report`; tinytensor_command.commands has its options."""
    from tinytensor.cli.progress import progress

    options = {"--html": html_file, "--movie": movie_file, "--png": png_file}
    outputs = {option: name for option, name in options.items() if name is not None}
    if not outputs:
        raise SettingError(
            "report: got no output; give -o page.html, --movie run.gif or --png FILE"
        )
    if len(files) > 2:
        raise SettingError(f"report: got {len(files)} run files; one or two are needed")
    if len(files) == 2:
        if same_file(*files):
            raise SettingError(f"report: got {files[0]} twice; two runs are needed to compare them")
        for option, value in {"--movie": movie_file, "--step": step}.items():
            if value is not None:
                raise SettingError(f"{option}: is an option of one run; name one run file")
    if step is not None and png_file is None:
        raise SettingError("--step: is an option of the image; add --png FILE")
    if dark and png_file is None and movie_file is None:
        raise SettingError(
            "--dark: is an option of images and movies; add --png or --movie (a page follows the "
            "browser's setting)"
        )
    for option, name in outputs.items():
        check_writable(option, name)
        others = [*files, *(other for key, other in outputs.items() if key != option)]
        if name == "-" or any(same_file(name, other) for other in others):
            raise SettingError(f"{option}: got {name}; a separate file is needed")
    if html_file is not None:
        check_installed("report --html", "live", "bokeh")
    if movie_file is not None or png_file is not None:
        check_installed("report --movie and --png", "live", "matplotlib")
    recording, *second = map(_load, files)
    if second:
        _compare(dict(zip(files, (recording, *second), strict=True)), outputs, dark)
        return
    pieces = sum(1 + (option == "--movie") * len(recording.snapshots) for option in outputs)
    with progress(pieces) as work:
        for option, name in outputs.items():
            try:
                _write(option, name, recording, step, dark, work.show)
            except OSError as error:
                raise SettingError(f"{option}: {name}: {error.strerror or error}") from None
            work.echo(f"{name}: {Path(name).stat().st_size / 2**20:.1f} MiB")


def _compare(recordings: dict[str, "RecordedRun"], outputs: dict[str, str], dark: bool) -> None:
    """Write the page and the image of two runs."""
    from tinytensor.cli.progress import progress
    from tinytensor.live.comparison import Comparison

    comparison = Comparison(recordings)
    with progress(len(outputs)) as work:
        for option, name in outputs.items():
            work.show(f"drawing {name}")
            try:
                if option == "--html":
                    comparison.write_html(name)
                else:
                    comparison.write_png(name, dark)
            except OSError as error:
                raise SettingError(f"{option}: {name}: {error.strerror or error}") from None
            work.echo(f"{name}: {Path(name).stat().st_size / 2**20:.1f} MiB")


def _write(
    option: str,
    name: str,
    recording: "RecordedRun",
    step: int | None,
    dark: bool,
    show: Callable[[str], None],
) -> None:
    from tinytensor.live import movie, replay_page

    if option == "--movie":
        movie.write_movie(name, recording, dark, show)
        return
    show(f"drawing {name}")
    if option == "--html":
        replay_page.write(name, recording)
    else:
        movie.write_png(name, recording, step, dark)


def _load(file: str) -> "RecordedRun":
    from tinytensor.live import run_file

    loaded = run_file.load(file)
    last = loaded.snapshots[-1]
    click.echo(
        f"{loaded.lesson.in_words}, seed {loaded.seed}: "
        f"{plural(len(loaded.snapshots), 'snapshot')}, the last of step {last.step:,} of "
        f"{loaded.steps:,}",
        err=True,
    )
    return loaded
