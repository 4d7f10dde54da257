"""The course's six panels, drawn while a network trains.

    run_settings.py    learning rate and keep probability, which viewers change
    run.py             a training thread with commands: pause, step, stop, change the backend
    details.py         digits and predictions of one step; quantiles of weights or activations
    snapshot.py        the data of the six panels at one step, as small arrays
    history.py         the points of all curves, and the ranges of their axes
    inside.py          activations for one digit, weights as images, confusion matrix
    picture.py         arrays to mosaics of digits; the colours of all pictures
    names.py           the names and the explanations of the panels
    panel.py           a figure with its title and its explanation
    curves.py          the panels of curves and of bands
    digits.py          the two panels of digits
    panels.py          the six panels together
    pending_call.py    a function that a page submits to a run
    digit_tab.py       the tab of one digit: drawing, probabilities, layer outputs
    side_tabs.py       the other tabs next to the panels: lesson text, weights, confusion matrix
    microscope_tab.py  the tab of the microscope: one sum of the next step
    sights.py          the tab of the claims that the run has shown
    layer_signs.py     the tab of the layers: dead neurons, and the size of the gradients
    drawing_panels.py  two more panels: a large pad to draw on, and the wall
    wall.py            the digits that viewers have drawn
    setting_sliders.py the sliders of learning rate, batch and keep probability
    run_controls.py    the controls: pause, step, stop, restart, speed, backend
    training_page.py   the live page: panels, tabs and controls
    frame.py           the frame of a page: its colours and its regular updates
    course.py          the lessons of the course, one run after another
    course_page.py     the live page of the course
    template.py        the HTML around the page: keys, and a message when the server ends
    watching.py        serves the page of a training while it runs, or of the course
    race.py            several backends train the same network
    race_page.py       the live page of a race
    style.py           the colours of the pages, light and dark
    speed.py           images per second between two reports
    server.py          serves the pages, on this machine only unless a host is given
    run_file.py        reads and writes run files, which `tinytensor train --record` makes
    drawing.py         the six panels by matplotlib; functions for pages, movies and images
    movie.py           a run file as a movie or an image
    replay_page.py     a run file as an HTML page that plays without Python
    comparison.py      two run files as one image or HTML page
    terminal.py        the curves and the training digits in a terminal
    notebook_panels.py the six panels under a notebook cell

The training may wait for its first viewer, never later, and computes the same bits without one.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from tinytensor.errors import SettingError
from tinytensor.extras import check_installed

if TYPE_CHECKING:
    from tinytensor.train import Training

__all__ = ["show", "watch"]

# An address as a browser sends it, such as localhost:8080 or [::1]:8080.
HOST_AND_PORT = re.compile(r"([A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\]):[0-9]{1,5}")


def show(training: Training) -> None:
    """Train in a notebook, with the six panels under the cell.

    Afterwards `training.report` is the last StepReport, and `training.model` the trained network.

    Args:
        training: the Training to run until its last step.

    Raises:
        SettingError: this is not a notebook, the examples are no images, or the training has
            already made all its steps.
        AnomalyError: the loss becomes NaN or infinite.
    """
    _check_images("show", training)
    from tinytensor.live.notebook_panels import show_training

    show_training(training)


def _check_images(name: str, training: Training) -> None:
    if not training.data.has_images:
        raise SettingError(
            f"live.{name}: the examples are no images in classes, which the panels show; print the "
            "reports instead"
        )


def watch(
    training: Training,
    *,
    port: int | None = None,
    browser: bool = True,
    speed: float | None = None,
    present: bool = False,
    host: str | None = None,
) -> None:
    """Train while the live page shows the six panels; return when the training has ended.

    The training starts when a viewer has the page open. Afterwards `training.report` is the last
    StepReport, and `training.model` the trained network. The page changes no bit of them.

    Args:
        training: the Training to run until its last step.
        port: the port of the page; a free one by default.
        browser: True opens the page in a browser. The address is printed on standard error.
        speed: steps per second, at most; by default all steps take about 25 seconds. math.inf
            removes the limit, and starts without a viewer.
        present: True shows one panel with large letters.
        host: an IPv4 address of this machine. Other machines in its network can look at the run, at
            an address with a random token, which is printed. They can't change the run.

    Raises:
        SettingError: Bokeh is not installed, the port is in use, `host` is no address of this
            machine, or the training has already made all its steps.
        AnomalyError: the loss becomes NaN or infinite.
    """
    check_installed("live.watch", "live", "bokeh")
    _check_images("watch", training)
    if training.step >= training.steps:
        raise SettingError(
            f"live.watch: the training has already made its {training.steps} steps; "
            "make a new Training"
        )
    from tinytensor.live.watching import finish, watched

    def say(line: str) -> None:
        print(line, file=sys.stderr)

    with watched(
        training, port=port, browser=browser, speed=speed, present=present, host=host, say=say
    ) as run:
        finish(run)
