"""The live page: the six panels, the controls, and the tabs next to the panels.

The server's thread makes a TrainingPage for each viewer. The page reads the run twice a second and
shows what is new. The run has no reference to the page.
"""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bokeh.document import Document
from bokeh.events import DoubleTap, Tap
from bokeh.models import (
    Div,
    GridBox,
    InlineStyleSheet,
    Row,
    TabPanel,
    Tabs,
    Toggle,
    UIElement,
)

from tinytensor.live import style
from tinytensor.live.coach_strip import coach_strip
from tinytensor.live.digit_tab import Digit
from tinytensor.live.digits import Digits
from tinytensor.live.drawing_panels import Drawing, WallPanel
from tinytensor.live.frame import Frame
from tinytensor.live.history import START, Earlier
from tinytensor.live.layer_signs import Layers
from tinytensor.live.microscope_tab import Microscope
from tinytensor.live.names import ALL, changed_settings, worded
from tinytensor.live.panel import WIDTH, Panel
from tinytensor.live.panels import Panels
from tinytensor.live.run import Run
from tinytensor.live.run_controls import RunControls, select, set_changed
from tinytensor.live.side_tabs import Confusion, Weights, lesson_text
from tinytensor.live.sights import Checklist
from tinytensor.live.wall import Wall

UNTRAINED_UPDATES = 5  # updates of a page with the untrained network before the first step
DOUBLE_CLICK = 300  # milliseconds between its two clicks, at most


Tab = Digit | Weights | Confusion | Layers | Checklist | Microscope


@dataclass(frozen=True)
class PageView:
    """How a viewer sees a run.

    may_control: False for viewers who can look, draw and click on digits, but can't change the run.
    present: True for one panel with large letters at first.
    """

    may_control: bool = True
    present: bool = False


def page(run: Run, wall: Wall, view: PageView) -> Callable[[Document], None]:
    """A function that fills the document of one viewer of the run.

    wall: of the digits that all viewers draw.
    """

    def fill(document: Document) -> None:
        frame = Frame(document)
        shown = TrainingPage(run, frame, wall, view)
        frame.show(*shown.contents)
        frame.update_regularly(shown.update)

    return fill


class TrainingPage:
    """One viewer's page of a run; `contents` are its rows, for the frame.

    above: more rows, at the top, which a presentation hides. restarts: False without the button
    that trains once more.
    """

    def __init__(
        self,
        run: Run,
        frame: Frame,
        wall: Wall,
        view: PageView,
        above: tuple[UIElement, ...] = (),
        restarts: bool = True,
    ) -> None:
        self.run, self.frame, self.wall, self.above = run, frame, wall, above
        self.sheet = InlineStyleSheet(css=style.CONTROLS)
        training = run.training
        self.panels = Panels(training)
        self._tap: Callable[[], None] | None = None  # a click that may become a double click
        self.digit = Digit(run, self.sheet, self._digit_is_ready)
        self.drawing = Drawing(self.digit, wall)
        self.wall_panel = WallPanel(wall, training.data.names, view.may_control)
        for panel in (*self.panels, self.wall_panel):
            panel.figure.on_event(DoubleTap, self._enlarge_or_not(panel))
        grid_sheet = InlineStyleSheet(css=style.GRID)
        self.grid = GridBox(
            sizing_mode="stretch_both", name="panels", spacing=4, stylesheets=[grid_sheet]
        )
        self.title = self._div("", name="title", margin=(0, 13, 0, 5))
        self.figures = self._div("", name="figures", margin=(1, 5, 0, 5))
        self.weights, self.confusion = Weights(run, self.sheet), Confusion(run, self.sheet)
        self.microscope = Microscope(run, self.sheet)
        self.layers, self.checklist = Layers(run, self.sheet), Checklist(run, self.sheet)
        for digits in (
            self.panels.training, self.panels.test, self.confusion.digits, self.wall_panel,
        ):  # fmt: skip
            digits.figure.on_event(Tap, self._choose_digit(digits))
        self.tabs = self._tabs()
        self.problem = self._div("", name="problem", sizing_mode="stretch_width", visible=False)
        self.coach = self._div("", name="coach", sizing_mode="stretch_width", visible=False)
        self.controls = RunControls(run, self.sheet, restarts) if view.may_control else None
        self.header = self._header()
        body = Row(
            self.grid, self.tabs, sizing_mode="stretch_both", spacing=8, css_classes=["body"],
            stylesheets=[InlineStyleSheet(css=style.BODY)],
        )  # fmt: skip
        self.contents: tuple[UIElement, ...] = (
            *above,
            self.header,
            Row(self.title, self.figures, styles={"flex-wrap": "wrap"}),
            self.problem,
            self.coach,
            body,
        )
        self.follow(run)
        self._arrange()
        self.present.active = view.present

    def _tabs(self) -> Tabs:
        self.lesson = self._div(
            "", name="lesson", width=WIDTH - 10, sizing_mode="stretch_height",
            styles={"overflow-y": "auto", "height": "100%"},
        )  # fmt: skip
        names = self.run.training.data.names
        self.updated: dict[str, Tab] = {
            worded("a digit", names).removeprefix("an "): self.digit,  # so that one row is enough
            "weights": self.weights,
            "confusions": self.confusion,
            "layers": self.layers,
            "claims": self.checklist,
            "microscope": self.microscope,
        }
        contents = {title: tab.content for title, tab in self.updated.items()}
        panels = [
            TabPanel(title=title, child=child)
            for title, child in {"lesson": self.lesson, **contents}.items()
        ]
        return Tabs(
            name="tabs",
            tabs=panels,
            width=WIDTH,
            sizing_mode="stretch_height",
            css_classes=["tabs"],
            stylesheets=[self.sheet],
        )

    def follow(self, run: Run, earlier: Earlier | None = None) -> None:
        """Show this run from now on, with the curves of an earlier run behind its own."""
        self.run = run
        self._position = START
        self._updates_seen = 0
        training, lesson = run.training, run.training.lesson
        self._earlier = run.earlier
        self._update_title()
        self.frame.document.title = f"tinytensor: {lesson.in_words}"
        self.lesson.text = lesson_text(lesson, training.model)
        before = [panel.name for panel in self._all_panels()]
        self.panels.follow(training, earlier or run.earlier)
        panels = {panel.name: panel.title for panel in self._all_panels()}
        self.show.options = [(ALL, ALL), *panels.items()]
        names = dict(zip(before, panels, strict=True))  # a band may have another name now
        self.show.value = names.get(self.show.value, ALL)
        for part in (*self.updated.values(), self.controls):
            if part is not None:
                part.follow(run)

    # Updates

    def update(self) -> None:
        """Show what is new since the last update."""
        if self.controls is not None:
            self._begin_if_seen()
            self.controls.update()
        self._update_title()
        if self.run.earlier is not self._earlier:  # the run has restarted
            self._earlier = self.run.earlier
            self.panels.follow(self.run.training, self._earlier)
        new_points = self.run.history.since(self._position)
        self._position = new_points.position
        self.panels.update(new_points, self.run.latest, self.run.latest_tested)
        if (tab := self._open_tab()) is not None:
            tab.update(self.run.latest)
        if self.show.value == self.drawing.name:
            self._update_digit()
        if self.show.value == self.wall_panel.name:
            self.wall.update(self.run)
            self.wall_panel.update()
        self._update_figures()
        text = coach_strip(self.run.training.coach)
        set_changed(self.coach, text=text, visible=bool(text) and not self.present.active)

    def _digit_is_ready(self) -> None:
        """Show what the network reads a digit as at once; called in the training thread."""
        self.frame.document.add_next_tick_callback(self._update_digit)

    def _update_digit(self) -> None:
        self.digit.update(self.run.latest)
        self.drawing.update()

    def _begin_if_seen(self) -> None:
        """Begin a training that waits for a viewer, a moment after the browser drew the panels."""
        if self.run.latest is not None and self.panels.training.size is not None:
            self._updates_seen += 1
            if self._updates_seen > UNTRAINED_UPDATES:
                self.run.begin()

    def _open_tab(self) -> Tab | None:
        """The open tab, if it needs updates; hidden tabs are not computed."""
        return self.updated.get(self.tabs.tabs[self.tabs.active].title)

    def _update_title(self) -> None:
        training = self.run.training
        title = "; ".join(filter(None, (training.lesson.heading, changed_settings(training))))
        set_changed(self.title, text=f"<h1>{html.escape(title)}</h1>")

    def _update_figures(self) -> None:
        run, shot, tested = self.run, self.run.latest, self.run.latest_tested
        problem = html.escape(run.error or "")
        set_changed(self.problem, text=f'<p class="error">{problem}</p>', visible=bool(problem))
        if shot is None or tested is None or tested.test_accuracy is None:
            set_changed(self.figures, text="" if problem else "testing the untrained network")
            return
        if self.present.active:
            set_changed(self.figures, text=self._headline(shot.step, tested.test_accuracy))
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
        set_changed(self.figures, text=f'<div class="figures">{"".join(parts)}</div>')

    def _headline(self, step: int, accuracy: float) -> str:
        """The line above a presented panel: the accuracy, large."""
        lesson = self.run.training.lesson
        return (
            f'<div class="accuracy"><b>{100 * accuracy:.2f} %</b><span>of the test images '
            f"recognised after {step:,} of {self.run.training.steps:,} steps</span>"
            f"<span>{html.escape(lesson.heading)}</span></div>"
        )

    # Controls

    def _header(self) -> Row:
        """The controls of the run, if this viewer may use them, and of the page."""
        self.scheme = select("colours", list(style.SCHEMES), self.sheet)
        self.scheme.on_change("value", lambda _, __, chosen: self.frame.colour(chosen))
        self.show = select("show", [ALL], self.sheet)
        self.show.on_change("value", lambda _, __, ___: self._arrange())
        # The label never changes, because Bokeh would make a new button without keyboard focus.
        self.present = Toggle(label="present", name="present", width=70, stylesheets=[self.sheet])
        self.present.on_change("active", lambda _, __, ___: self._present())
        of_run = [] if self.controls is None else self.controls.elements
        self.hidden_in_presentation: list[UIElement] = [*of_run, self.scheme, *self.above]
        return Row(
            *of_run, self.scheme, self.show, self.present, name="controls",
            sizing_mode="stretch_width", styles={"flex-wrap": "wrap"},
        )  # fmt: skip

    def _div(self, text: str, **settings: Any) -> Div:
        return Div(text=text, stylesheets=[self.sheet], **settings)

    def _choose_digit(self, digits: Digits) -> Callable[[Any], None]:
        """A function that shows the clicked digit in the tab "a digit".

        It waits for DOUBLE_CLICK, because a double click only enlarges the panel.
        """

        def choose(tap: Any) -> None:
            if self._tap is not None or (chosen := digits.at(tap.x, tap.y)) is None:
                return

            def show() -> None:
                self._tap = None
                self.digit.choose(chosen)
                self.tabs.active = 1

            self._tap = self.frame.document.add_timeout_callback(show, DOUBLE_CLICK)

        return choose

    # Which panels are shown

    def _all_panels(self) -> list[Panel]:
        return [*self.panels, self.drawing, self.wall_panel]

    def _enlarge_or_not(self, panel: Panel) -> Callable[[Any], None]:
        def choose(_: Any) -> None:
            if self._tap is not None:
                self.frame.document.remove_timeout_callback(self._tap)
                self._tap = None
            self.show.value = ALL if self.show.value == panel.name else panel.name

        return choose

    def _present(self) -> None:
        """Show one panel alone with large letters, or all panels again."""
        large = self.present.active
        if large == (self.show.value == ALL):
            self.show.value = self.panels.training.name if large else ALL
        for element in self.hidden_in_presentation:
            element.visible = not large
        self.tabs.visible = self.title.visible = not large
        for panel in self._all_panels():
            panel.enlarge(large)
        self._update_figures()

    def _arrange(self) -> None:
        """Show the six panels, three per row, or only the chosen one."""
        shown = [panel for panel in self._all_panels() if panel.name == self.show.value]
        shown = shown or list(self.panels)
        self.grid.children = [(panel.content, *divmod(i, 3)) for i, panel in enumerate(shown)]
