"""The course's picture, live: six panels in which one sees a network learn.

    run.py             trains in its own thread and takes orders: pause, step, stop, another backend
    details.py         the digits of a moment, and quantiles of weights or activations
    snapshot.py        what the panels show at one moment, as small arrays
    history.py         the curves so far, and how long their axes are
    inside.py          looks into the network between two steps: a digit's activations, its weights
    picture.py         arrays to mosaics of digits, and the colours of all pictures
    panels.py          the six figures
    side_tabs.py       next to them: the lesson's text, a digit's way, the weights, the confusions
    training_page.py   the page: all that, and the controls
    race.py            backends side by side, and how far each has come
    race_page.py       the page of a race
    style.py           the pages' colours, light and dark
    speed.py           the speed between two reports
    server.py          serves the pages, on this machine only
    run_file.py        a recorded run in a file
    drawing.py         what pages in files, films and images share; the six panels by matplotlib
    movie.py           a recorded run as a film or an image
    replay_page.py     a recorded run as a page that plays without Python
    terminal.py        a run as it goes on, in a terminal
    notebook_panels.py the same in a notebook

Training knows nothing of who watches, and never waits for it.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from tinytensor.errors import SettingError

if TYPE_CHECKING:
    from tinytensor.train import StepReport, Training

__all__ = ["check_installed", "show"]


def show(training: Training) -> StepReport:
    """Train, in a notebook, with the six panels under the cell; the last report.

    Raises SettingError outside of a notebook, and what the training raises.
    """
    from tinytensor.live.notebook_panels import show_training

    return show_training(training)


def check_installed(what: str, *libraries: str) -> None:
    """Raise SettingError if one of the libraries isn't there; what: that needs it."""
    for library in libraries:
        if find_spec(library) is None:
            raise SettingError(
                f"{what} needs {library}: pip install 'tinytensor-engine[live]', or {library} alone"
            )
