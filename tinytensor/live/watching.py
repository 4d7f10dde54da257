"""Serves the page of a training while it runs: for `tinytensor train --live` and tt.live.watch."""

from __future__ import annotations

import math
import time
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from tinytensor.live.frame import MILLISECONDS
from tinytensor.live.run import Run
from tinytensor.live.server import FillDocument, Server
from tinytensor.live.speed import watchable
from tinytensor.live.training_page import page
from tinytensor.train import Training

Say = Callable[[str], None]  # shows a line to the user


@contextmanager
def served(
    fill: FillDocument,
    port: int | None,
    browser: bool,
    allowed: tuple[str, ...],
    say: Say,
    message: str = "watch it at {}",
) -> Iterator[None]:
    """Serve a page inside a `with` block.

    fill: fills the page of each viewer. browser: True to open the page in a browser. allowed:
    more hosts of the page, as HOST:PORT. message: said first, with the address for {}.

    Raises SettingError if the port is in use.
    """
    server = Server(fill, port, allowed)
    server.start()
    say(message.format(server.address))
    try:
        if browser:
            webbrowser.open(server.address)
        yield
    finally:
        server.close()


@contextmanager
def watched(
    training: Training,
    *,
    port: int | None,
    browser: bool,
    speed: float | None,
    present: bool,
    host: str | None,
    allowed: tuple[str, ...] = (),
    say: Say,
) -> Iterator[Run]:
    """A Run of the training, not started, whose page is served inside a `with` block.

    speed: steps per second. By default a viewer can follow the run, and it waits for a viewer. At
    infinite speed it starts at once. present: True to show one panel with large letters. host: an
    address of this machine where other machines can look at the run, without controls.

    Raises SettingError if the port is in use, or `host` is no address of this machine.
    """
    waits = speed != math.inf
    run = Run(training, for_viewer=waits)
    if waits:
        run.set_speed(speed or watchable(training))
    message = "waiting for a viewer at {}; Ctrl-C stops" if waits else "watch it at {}"
    with ExitStack() as stack:
        if host is not None:
            onlookers = Server(page(run, may_control=False), host=host)
            onlookers.start()
            stack.callback(onlookers.close)
            say(f"for other machines, to look only: {onlookers.address}")
        stack.enter_context(served(page(run, present), port, browser, allowed, say, message))
        try:
            yield run
        finally:
            run.close()
            run.join(1)


def finish(run: Run) -> None:
    """Start the run, and return when it has ended and the pages show its last step."""
    run.start()
    for _ in run:
        pass
    time.sleep(3 * MILLISECONDS / 1000)
