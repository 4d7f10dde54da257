"""`tinytensor train --live` and `race --live`: a page in the browser."""

from __future__ import annotations

import time
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from tinytensor.errors import SettingError
from tinytensor.live import check_installed
from tinytensor.train import Training

if TYPE_CHECKING:
    from bokeh.document import Document

    from tinytensor.live.run import Run


def check_page(live: bool, port: int | None, no_browser: bool) -> None:
    """Raise SettingError for options of a page that isn't asked for, or can't be made here."""
    if live:
        check_installed("--live", "bokeh")
    elif port is not None or no_browser:
        raise SettingError(f"{'--no-browser' if no_browser else '--port'}: is of --live; add that")


@contextmanager
def served(page: Callable[[Document], None], port: int | None, browser: bool) -> Iterator[None]:
    """A page, and a browser that shows it if one is wanted, for as long as the `with` block lasts.

    Raises SettingError where the port is in use.
    """
    from tinytensor.live.server import Server

    server = Server(page, port)
    server.start()
    click.echo(f"watch it at {server.address}", err=True)
    try:
        if browser:
            webbrowser.open(server.address)
        yield
    finally:
        server.close()


@contextmanager
def watched(training: Training, port: int | None, browser: bool) -> Iterator[Run]:
    """A run of the training, not started yet, and its page, as served() does it."""
    from tinytensor.live.run import Run
    from tinytensor.live.training_page import page

    run = Run(training)
    with served(page(run), port, browser):
        try:
            yield run
        except Exception:
            if run.error is not None:  # the training's: whoever looks at the page is to see it
                click.echo(f"the training has ended by an error: {run.error}", err=True)
                linger()
            raise
        finally:
            run.close()
            run.join(1)


def linger() -> None:
    """Leave the page where it is until Ctrl-C."""
    try:
        click.echo("the page stays until Ctrl-C", err=True)
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        return
