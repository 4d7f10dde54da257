"""The option --live of `tinytensor train` and `race`: a page in the browser."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from tinytensor.errors import AnomalyError, SettingError
from tinytensor.extras import check_installed
from tinytensor.train import Training

if TYPE_CHECKING:
    from tinytensor.live.run import Run


def check_page(live: str | None, options: Mapping[str, object]) -> None:
    """Raise SettingError for options of the page without --live, and if Bokeh is not installed.

    live: "browser", "terminal", or None without --live.
    options: the values of the page's options by name; None or False if an option is not given.
    """
    if live == "browser":
        check_installed("--live", "live", "bokeh")
        return
    cure = "add --live" if live is None else f"write --live instead of --live {live}"
    for name, value in options.items():
        if value:
            raise SettingError(f"{name}: is an option of the live page; {cure}")


@contextmanager
def watched(
    training: Training,
    port: int | None,
    browser: bool,
    speed: float | None,
    present: bool,
    host: str | None,
    allowed: tuple[str, ...],
) -> Iterator[Run]:
    """A Run of the training, not started, whose page is served inside a `with` block.

    If an error ends the run, the page stays until Ctrl-C, unless it is an error of one rank. See
    tinytensor.live.watching.watched.
    """
    from tinytensor.live import watching

    with watching.watched(
        training,
        port=port,
        browser=browser,
        speed=speed,
        present=present,
        host=host,
        allowed=allowed,
        say=say,
    ) as run:
        try:
            yield run
        except Exception as error:
            is_of_all = training.world.size == 1 or isinstance(error, AnomalyError)
            if run.error is not None and is_of_all:  # keep the page, because it shows the error
                click.echo(f"the training stopped with an error: {run.error}", err=True)
                run.may_restart = True  # with another learning rate, for example
                linger()
            raise


def say(line: str) -> None:
    """Print a line for the user on standard error."""
    click.echo(line, err=True)


def linger() -> None:
    """Keep the page until Ctrl-C."""
    try:
        click.echo("the page stays until Ctrl-C", err=True)
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        return
