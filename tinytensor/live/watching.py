"""Serves the page of a training while it runs, and that of the course."""

from __future__ import annotations

import math
import time
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from tinytensor.door import Backend
from tinytensor.live.frame import MILLISECONDS
from tinytensor.live.run import Run
from tinytensor.live.server import FillDocument, Server
from tinytensor.live.speed import watchable
from tinytensor.live.training_page import PageView, page
from tinytensor.live.wall import Wall
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
def pages_served(
    page_of: Callable[[PageView], FillDocument],
    *,
    port: int | None,
    browser: bool,
    present: bool,
    host: str | None,
    allowed: tuple[str, ...],
    say: Say,
    message: str,
) -> Iterator[None]:
    """Serve a page to this machine and, with a host, to others, who can't change the run.

    page_of: returns the function that fills the page of a viewer.
    """
    with ExitStack() as stack:
        if host is not None:
            onlookers = Server(page_of(PageView(may_control=False)), host=host)
            onlookers.start()
            stack.callback(onlookers.close)
            say(f"for other machines, to look and to draw: {onlookers.address}")
        own = page_of(PageView(present=present))
        stack.enter_context(served(own, port, browser, allowed, say, message))
        yield


def run_to_watch(training: Training, speed: float | None, backend: Backend | None = None) -> Run:
    """A Run that waits for a viewer, at a speed at which a viewer can follow it.

    speed: steps per second, at most. At infinite speed the run waits for nobody.
    """
    run = Run(training, backend, for_viewer=speed != math.inf)
    if speed != math.inf:
        run.set_speed(speed or watchable(training))
    return run


def invitation(speed: float | None) -> str:
    """The line that says where a run can be watched, with {} for the address of its page."""
    waits = speed != math.inf
    return "waiting for a viewer at {}; Ctrl-C stops" if waits else "watch it at {}"


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
    run = run_to_watch(training, speed)
    wall = Wall(len(training.data.names))
    with pages_served(
        lambda view: page(run, wall, view), port=port, browser=browser, present=present,
        host=host, allowed=allowed, say=say, message=invitation(speed),
    ):  # fmt: skip
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
