"""The live page: the six panels, the controls, and the tabs next to the panels.

The server's thread makes a TrainingPage for each viewer. The page reads the run twice a second and
shows what is new. The run has no reference to the page.
"""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

from bokeh.document import Document
from bokeh.events import DoubleTap, Tap
from bokeh.models import (
    Button,
    Column,
    Div,
    GlobalInlineStyleSheet,
    GridBox,
    InlineStyleSheet,
    Row,
    Select,
    TabPanel,
    Tabs,
    Toggle,
    UIElement,
)

from tinytensor import door
from tinytensor.live import style
from tinytensor.live.history import START
from tinytensor.live.panels import Digits, Panels
from tinytensor.live.run import Run
from tinytensor.live.server import viewer_of
from tinytensor.live.side_tabs import WIDTH, Confusion, Digit, Weights, lesson_text

MILLISECONDS = 500  # between two updates; more updates would slow the training
ALL = "six panels"
SPEEDS = {
    "full speed": None,
    "1000 steps/s": 1000,
    "100 steps/s": 100,
    "10 steps/s": 10,
    "1 step/s": 1,
}


def page(run: Run) -> Callable[[Document], None]:
    """A function that fills the document of one viewer of the run."""

    def fill(document: Document) -> None:
        TrainingPage(run, document)

    return fill


class TrainingPage:
    """One viewer's page.

    The next update is sent after the viewer's browser has processed the last one. A suspended
    browser gets no updates; when it resumes, it gets the current state only.
    """

    def __init__(self, run: Run, document: Document) -> None:
        self.run = run
        self.sheet = InlineStyleSheet(css=style.CONTROLS)
        self.panels = Panels(len(run.training.data.test_labels), run.training.data.names)
        self._position = START
        for panel in self.panels:
            panel.figure.on_event(DoubleTap, self._enlarge_or_not(panel.figure.name))
        for digits in (self.panels.training, self.panels.test):
            digits.figure.on_event(Tap, self._choose_digit(digits))
        self.grid = GridBox(sizing_mode="stretch_both", name="panels", spacing=4)
        self.figures = self._div(
            "", name="figures", sizing_mode="stretch_width", height=20, margin=(0, 5, 0, 5)
        )
        self.show = self._select("show", [ALL, *(panel.figure.name for panel in self.panels)])
        self.show.on_change("value", lambda _, __, chosen: self._arrange(chosen))
        self._arrange(ALL)
        self.digit = Digit(run, self.sheet)
        self.weights, self.confusion = Weights(run, self.sheet), Confusion(run, self.sheet)
        self.tabs = Tabs(
            name="tabs",
            tabs=[
                TabPanel(title="lesson", child=lesson_text(run.training.lesson, self.sheet)),
                TabPanel(title="a digit", child=self.digit.content),
                TabPanel(title="weights", child=self.weights.content),
                TabPanel(title="confusions", child=self.confusion.content),
            ],
            width=WIDTH,
            sizing_mode="stretch_height",
            stylesheets=[self.sheet],
        )
        body = Row(self.grid, self.tabs, sizing_mode="stretch_both", spacing=8)
        self.problem = self._div("", name="problem", sizing_mode="stretch_width", visible=False)
        self.root = Column(
            self._controls(),
            self.figures,
            self.problem,
            body,
            sizing_mode="stretch_both",
            margin=(6, 8, 6, 8),
            spacing=4,
            stylesheets=[GlobalInlineStyleSheet(css=style.PAGE)],
        )
        document.add_root(self.root)
        document.title = f"tinytensor: lesson {run.training.lesson.number}"
        self.update()
        self.viewer, self.document = viewer_of(document), document
        document.add_periodic_callback(self._update_if_it_keeps_up, MILLISECONDS)

    # Updates

    def _update_if_it_keeps_up(self) -> None:
        if not self.viewer.is_behind:
            self.update()
            self.document.add_next_tick_callback(self.viewer.ping)  # after the update is sent

    def update(self) -> None:
        """Show what is new since the last update."""
        new_points = self.run.history.since(self._position)
        self._position = new_points.position
        self.panels.update(new_points, self.run.latest, self.run.latest_tested)
        for tab in self._open_tabs():
            tab.update(self.run.latest)
        self._update_figures()
        self._update_controls()

    def _open_tabs(self) -> list[Digit | Weights | Confusion]:
        """The open tab, if it needs updates; hidden tabs are not computed."""
        tabs: dict[int, Digit | Weights | Confusion]
        tabs = {1: self.digit, 2: self.weights, 3: self.confusion}
        return [tabs[self.tabs.active]] if self.tabs.active in tabs else []

    def _update_figures(self) -> None:
        shot, run = self.run.latest, self.run
        problem = html.escape(run.error or "")
        self._set(self.problem, text=f'<p class="error">{problem}</p>', visible=bool(problem))
        if shot is None or (tested := run.latest_tested) is None:
            self._set(self.figures, text="" if problem else "waiting for the first step")
            return
        pace = f"{shot.images_per_second:,.0f}" if shot.images_per_second else "-"
        pairs = {
            "step": f"{shot.step:,} of {run.training.steps:,}",
            "test accuracy": f"{tested.test_accuracy:.4f}",
            "test loss": f"{tested.test_loss:.4f}",
            "learning rate": f"{shot.rate:.3g}",
            "images per second": pace,
            "backend": shot.backend,
            "": run.state,
        }
        parts = (f"<div><span>{name}</span> <b>{value}</b></div>" for name, value in pairs.items())
        self._set(self.figures, text=f'<div class="figures">{"".join(parts)}</div>')

    def _update_controls(self) -> None:
        state = self.run.state
        ended = state == "ended"
        paused = self.run.is_paused
        self._set(self.pause_button, active=paused, disabled=ended)
        self._set(self.step_button, disabled=ended or not paused)
        self._set(self.stop_button, disabled=ended)
        self._set(self.restart_button, disabled=not (ended and self.run.may_restart))

    @staticmethod
    def _set(model: UIElement, **values: Any) -> None:
        """Set only the values that differ, because each change is sent to the browser."""
        for name, value in values.items():
            if getattr(model, name) != value:
                setattr(model, name, value)

    # Controls

    def _controls(self) -> Row:
        run, lesson = self.run, self.run.training.lesson
        # The label never changes, because Bokeh would make a new button without keyboard focus.
        self.pause_button = Toggle(label="pause", name="pause", width=64, stylesheets=[self.sheet])
        self.pause_button.on_change("active", lambda _, __, active: self._pause_or_resume(active))
        self.step_button = self._button("step", run.step)
        self.stop_button = self._button("stop", run.stop)
        self.restart_button = self._button("restart", run.restart)
        self.speed = self._select("speed", list(SPEEDS))
        self.speed.on_change("value", lambda _, __, chosen: run.set_speed(SPEEDS[chosen]))
        backends = [(name, f"backend {name}") for name in door.available_backends()]
        self.backend = self._select("backend", backends, run.backend.name)
        self.backend.on_change("value", lambda _, __, chosen: run.set_backend(chosen))
        self.scheme = self._select("colours", list(style.SCHEMES))
        self.scheme.on_change("value", lambda _, __, chosen: self._colour(chosen))
        title = f"<h1>lesson {lesson.number}: {html.escape(lesson.title)}</h1>"
        return Row(
            self._div(title, sizing_mode="stretch_width", margin=(4, 5, 0, 5)),
            self.pause_button, self.step_button, self.stop_button, self.restart_button,
            self.speed, self.backend, self.show, self.scheme,
            sizing_mode="stretch_width",
        )  # fmt: skip

    def _button(self, label: str, clicked: Callable[[], None]) -> Button:
        button = Button(label=label, name=label, width=64, stylesheets=[self.sheet])
        button.on_click(clicked)
        return button

    def _select(self, name: str, options: list[Any], value: str | None = None) -> Select:
        return Select(
            name=name, options=options, value=value or options[0], width=122,
            stylesheets=[self.sheet],
        )  # fmt: skip

    def _div(self, text: str, **settings: Any) -> Div:
        return Div(text=text, stylesheets=[self.sheet], **settings)

    def _pause_or_resume(self, is_to_pause: bool) -> None:
        if is_to_pause:
            self.run.pause()
        else:
            self.run.resume()
        self._update_controls()

    def _choose_digit(self, digits: Digits) -> Callable[[Any], None]:
        """A function that shows the clicked digit in the tab "a digit"."""

        def choose(tap: Any) -> None:
            if (image := digits.at(tap.x, tap.y)) is not None:
                self.digit.choose(image)
                self.tabs.active = 1

        return choose

    def _colour(self, scheme: str) -> None:
        self.root.css_classes = style.SCHEMES[scheme]

    # Which panels are shown

    def _enlarge_or_not(self, name: str) -> Callable[[Any], None]:
        def choose(_: Any) -> None:
            self.show.value = ALL if self.show.value == name else name

        return choose

    def _arrange(self, chosen: str) -> None:
        """Show all panels, three per row, or only the chosen one."""
        shown = [panel for panel in self.panels if chosen in (ALL, panel.figure.name)]
        self.grid.children = [(panel.figure, *divmod(i, 3)) for i, panel in enumerate(shown)]
        for digits in (self.panels.training, self.panels.test):
            digits.enlarge(len(shown) == 1)
