"""The output of commands: checks of files, JSON, tables, commands to run next, and numbers."""

import json
import math
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from tinytensor import atomic_file, endings, regular_file
from tinytensor.errors import SettingError

# How the name of an option's file may end, so that --html mine.py does not replace a program
ENDINGS = {
    "--html": (".html", ".htm"),
    "--json": (".json", ""),
    "--movie": (".mp4", ".gif"),
    "--png": (".png",),
    "--record": endings.RUN_FILE,
    "--report": (".json", ".html"),
    "--save": endings.CHECKPOINT,
    "--save-input": (".png",),
    "--save-weights": endings.CHECKPOINT,
}


def check_writable(option: str, name: str | None, is_replaced: bool = False) -> None:
    """Raise SettingError if the file of an option can't be written, before any work is done.

    A file whose name does not end as in ENDINGS is refused, too. A pipe or a device has any name.

    is_replaced: True if the file must be a regular file, no pipe and no device.
    """
    if name is None or name == "-":
        return
    if not name:
        raise SettingError(f"{option}: got an empty name; a file is needed")
    path = Path(name)
    try:
        if path.is_dir():
            raise SettingError(f"{option}: {path} is a folder; a file is needed")
        if not path.parent.is_dir():
            raise SettingError(f"{option}: there is no folder {path.parent}; make it first")
        is_special = regular_file.is_special(path)
        if is_replaced and is_special:
            raise SettingError(f"{option}: {path} is a pipe or a device; a regular file is needed")
        if option in ENDINGS:
            endings.check(option, name, ENDINGS[option])
        atomic_file.check(path)
    except OSError as error:
        raise SettingError(
            f"{option}: {name} can't be written to ({error.strerror}); choose another file"
        ) from None


def write_json(json_file: str | None, result: dict[str, Any]) -> None:
    """Write the result of --json, if the option is given; - is standard output."""
    if json_file is None:
        return
    write("--json", json_file, json.dumps(_without_nan(result), indent=2) + "\n")


def write(option: str, file: str, content: str | bytes) -> None:
    """Write a text or bytes to the file of an option; - is standard output.

    Raises SettingError if the file can't be written.
    """
    if file == "-":
        click.echo(content, nl=False)
        return
    try:
        atomic_file.write(file, content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise SettingError(f"{option}: {file}: {error.strerror}") from None


def given_options(names: Collection[str], instead: Mapping[str, object] | None = None) -> list[str]:
    """The options of these names that the command line has, in the words of a command.

    instead: values of options that replace those of the command line, or are added.
    """
    context, words = click.get_current_context(), []
    for option in context.command.params:
        name = str(option.name)
        if instead and name in instead:
            words += [option.opts[0], str(instead[name])]
        elif name in names and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            value = context.params[name]
            words += [option.opts[0]] if value is True else [option.opts[0], str(value)]
    return words


def _without_nan(value: Any) -> Any:
    """A value with None for NaN and infinities, because JSON has neither."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def rendered(*parts: Any) -> str:
    """The parts as text, rendered by rich: coloured on a terminal, without trailing blanks.

    Lines of a rich Text, such as code, are not wrapped.
    """
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    with console.capture() as captured:
        for part in parts:
            console.print(part, soft_wrap=isinstance(part, Text), markup=False)
    return "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def rounded(number: float, figures: int) -> str:
    """A number with the given number of significant figures, and all integer digits.

    Examples for 2 figures: 0.0026, 7.5, 1,408.
    """
    return f"{number:.{figures}g}" if number < 10**figures - 0.5 else f"{number:,.0f}"


def show(text: str) -> None:
    """Print a long text, page by page if standard output is a terminal."""
    if sys.stdout.isatty():
        click.echo_via_pager(text, color=True)
    else:
        click.echo(text, nl=False)


def about_seconds(seconds: float) -> str:
    """9.4 s, 12 s, 25 min, 1.7 h"""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 600:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5900 else f"{seconds / 3600:.1f} h"
