"""The option --live of `tinytensor train` and `race`: a page in the browser."""

from __future__ import annotations

import math
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


def check_page(live: bool, options: dict[str, object]) -> None:
    """Raise SettingError for options of the page without --live, and if Bokeh is not installed.

    options: the values of the page's options by name; None or False if an option is not given.
    """
    if live:
        check_installed("--live", "bokeh")
        return
    for name, value in options.items():
        if value:
            raise SettingError(f"{name}: is an option of the live page; add --live")


@contextmanager
def served(
    page: Callable[[Document], None],
    port: int | None,
    browser: bool,
    message: str = "watch it at {}",
) -> Iterator[None]:
    """Serve a page inside a `with` block.

    browser: True to open the page in a browser. message: printed, with the address for {}.

    Raises SettingError if the port is in use.
    """
    from tinytensor.live.server import Server

    server = Server(page, port)
    server.start()
    click.echo(message.format(server.address), err=True)
    try:
        if browser:
            webbrowser.open(server.address)
        yield
    finally:
        server.close()


@contextmanager
def watched(
    training: Training, port: int | None, browser: bool, speed: float | None, present: bool
) -> Iterator[Run]:
    """A Run of the training, not started, whose page is served inside a `with` block.

    speed: steps per second. By default a viewer can follow the run, and it waits for a viewer. At
    infinite speed it starts at once. present: True to show one panel with large letters.
    """
    from tinytensor.live.run import Run
    from tinytensor.live.speed import watchable
    from tinytensor.live.training_page import page

    waits = speed != math.inf
    run = Run(training, for_viewer=waits)
    if waits:
        run.set_speed(speed or watchable(training))
    message = "waiting for a viewer at {}; Ctrl-C stops" if waits else "watch it at {}"
    with served(page(run, present), port, browser, message):
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
