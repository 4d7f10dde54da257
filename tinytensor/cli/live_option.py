"""The option --live of `tinytensor train` and `race`: a page in the browser."""

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


def check_page(live: bool, port: int | None, no_browser: bool, allowed: tuple[str, ...]) -> None:
    """Raise SettingError for options of the page without --live, and if Bokeh is not installed."""
    if live:
        check_installed("--live", "bokeh")
    elif port is not None or no_browser or allowed:
        option = "--no-browser" if no_browser else "--port" if port else "--allow-origin"
        raise SettingError(f"{option}: is an option of the live page; add --live")


@contextmanager
def served(
    page: Callable[[Document], None], port: int | None, browser: bool, allowed: tuple[str, ...]
) -> Iterator[None]:
    """Serve a page inside a `with` block.

    browser: True to open the page in a browser. allowed: more hosts of the page, as HOST:PORT.

    Raises SettingError if the port is in use.
    """
    from tinytensor.live.server import Server

    server = Server(page, port, allowed)
    server.start()
    click.echo(f"watch it at {server.address}", err=True)
    try:
        if browser:
            webbrowser.open(server.address)
        yield
    finally:
        server.close()


@contextmanager
def watched(
    training: Training, port: int | None, browser: bool, allowed: tuple[str, ...] = ()
) -> Iterator[Run]:
    """A Run of the training, not started, whose page is served inside a `with` block."""
    from tinytensor.live.run import Run
    from tinytensor.live.training_page import page

    run = Run(training)
    with served(page(run), port, browser, allowed):
        try:
            yield run
        except Exception:
            if run.error is not None:  # keep the page, because it shows the error
                click.echo(f"the training stopped with an error: {run.error}", err=True)
                linger()
            raise
        finally:
            run.close()
            run.join(1)


def linger() -> None:
    """Keep the page until Ctrl-C."""
    try:
        click.echo("the page stays until Ctrl-C", err=True)
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        return
