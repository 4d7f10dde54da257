"""The course's six panels, drawn while a network trains.

    run.py             a training thread with commands: pause, step, stop, change the backend
    details.py         digits and predictions of one step; quantiles of weights or activations
    snapshot.py        the data of the six panels at one step, as small arrays
    history.py         the points of all curves, and the ranges of their axes
    inside.py          activations for one digit, weights as images, confusion matrix
    picture.py         arrays to mosaics of digits; the colours of all pictures
    panels.py          the six panels as Bokeh figures
    side_tabs.py       tabs next to the panels: lesson text, one digit, weights, confusion matrix
    training_page.py   the live page: panels, tabs and controls
    race.py            several backends train the same network
    race_page.py       the live page of a race
    style.py           the colours of the pages, light and dark
    speed.py           images per second between two reports
    server.py          serves the pages, on this machine only
    run_file.py        reads and writes run files, which `tinytensor train --record` makes
    drawing.py         the six panels by matplotlib; functions for pages, movies and images
    movie.py           a run file as a movie or an image
    replay_page.py     a run file as an HTML page that plays without Python
    terminal.py        the curves and the training digits in a terminal
    notebook_panels.py the six panels under a notebook cell

The training never waits for a viewer, and computes the same bits with or without one.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import TYPE_CHECKING

from tinytensor.errors import SettingError

if TYPE_CHECKING:
    from tinytensor.train import StepReport, Training

__all__ = ["check_installed", "show"]

# An address as a browser sends it, such as localhost:8080 or [::1]:8080.
HOST_AND_PORT = re.compile(r"([A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\]):[0-9]{1,5}")


def show(training: Training) -> StepReport:
    """Train in a notebook, with the six panels under the cell.

    Args:
        training: the Training to run until its last step.

    Returns:
        the last StepReport.

    Raises:
        SettingError: this is not a notebook, or the training has already made all its steps.
        AnomalyError: the loss becomes NaN or infinite.
    """
    from tinytensor.live.notebook_panels import show_training

    return show_training(training)


def check_installed(feature: str, *libraries: str) -> None:
    """Raise SettingError if one of the libraries is not installed.

    feature: the name of the feature that needs the libraries, for the message.
    """
    for library in libraries:
        if find_spec(library) is None:
            raise SettingError(
                f"{feature}: {library} is not installed; "
                f"run: pip install 'tinytensor-engine[live]' (or pip install {library})"
            )
