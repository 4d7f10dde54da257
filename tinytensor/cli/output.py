"""How commands write: files checked before the work is done, JSON, tables, numbers in words."""

import errno
import json
import math
import os
from pathlib import Path
from typing import Any

import click

from tinytensor.errors import SettingError


def check_writable(option: str, name: str | None) -> None:
    """Say that a result can't be written before the work is done, not after."""
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
        if path.is_file():
            path.open("a").close()
        elif path.exists():  # not opened: the reader of a pipe would see its end
            if not os.access(path, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        else:
            file = Path(os.path.realpath(path))  # where a link leads
            file.open("x").close()
            file.unlink()  # until there is a result
    except OSError as error:
        raise SettingError(
            f"{option}: {name} can't be written to ({error.strerror}); choose another file"
        ) from None


def same_file(one: str | None, other: str | None) -> bool:
    """Whether two names, where both are given, lead to one file."""
    if one is None or other is None:
        return False
    return os.path.realpath(one) == os.path.realpath(other)


def write_json(json_file: str | None, result: dict[str, Any]) -> None:
    """What --json asks for: nothing where it isn't given, - is standard output."""
    if json_file is None:
        return
    write("--json", json_file, json.dumps(_without_nan(result), indent=2) + "\n")


def write(option: str, file: str, text: str) -> None:
    """Write the text that an option asks for; - is standard output."""
    if file == "-":
        click.echo(text, nl=False)
        return
    try:
        Path(file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise SettingError(f"{option}: {file}: {error.strerror}") from None


def _without_nan(value: Any) -> Any:
    """JSON has no NaN and no infinity: null stands for them."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def rendered(*parts: Any) -> str:
    """What rich makes of the parts, coloured on a terminal, without blanks at the ends of lines.

    A Text, such as code, keeps its lines.
    """
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    with console.capture() as captured:
        for part in parts:
            console.print(part, soft_wrap=isinstance(part, Text), markup=False)
    return "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def plural(count: int, thing: str) -> str:
    """1 step, 2,000 steps"""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def rounded(number: float, figures: int) -> str:
    """The number to so many figures, its whole part in full: 0.0026, 7.5, 1,408."""
    return f"{number:.{figures}g}" if number < 10**figures - 0.5 else f"{number:,.0f}"


def about_seconds(seconds: float) -> str:
    """9.4 s, 12 s"""
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
