"""`tinytensor train --live`: the run on a page in the browser."""

from __future__ import annotations

import time
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from tinytensor.errors import SettingError
from tinytensor.train import Training

if TYPE_CHECKING:
    from tinytensor.live.run import Run


@contextmanager
def watched(training: Training, port: int | None, browser: bool) -> Iterator[Run]:
    """A run of the training, and its page for as long as the `with` block lasts.

    Raises SettingError where Bokeh isn't there, or the port is in use.
    """
    try:
        from tinytensor.live.page import page
        from tinytensor.live.server import Server
    except ImportError as error:
        raise SettingError(
            f"--live: {error.name} is needed: pip install 'tinytensor-engine[live]'"
        ) from None
    from tinytensor.live.run import Run

    run = Run(training)
    server = Server(page(run), port)
    server.start()
    click.echo(f"watch it at {server.address}", err=True)
    try:
        run.start()
        if browser:
            webbrowser.open(server.address)
        yield run
    except Exception:
        if run.error is not None:  # the training's: whoever looks at the page is to see it
            click.echo(f"the training has ended by an error: {run.error}", err=True)
            linger(run)
        raise
    finally:
        run.close()
        server.close()
        run.join(1)


def linger(run: Run) -> None:
    """Leave the page where it is until Ctrl-C."""
    run.may_begin_again = True
    click.echo("the page stays until Ctrl-C", err=True)
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        return
