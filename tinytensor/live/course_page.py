"""The live page of the course: the page of the present run below a row with the lessons.

The row has buttons for the lessons, and sliders for the settings of the next run. Each viewer's
page follows the present run.
"""

from __future__ import annotations

from collections.abc import Callable

from bokeh.document import Document
from bokeh.models import InlineStyleSheet, RadioButtonGroup, Row, UIElement

from tinytensor.live import style
from tinytensor.live.course import Course, Present
from tinytensor.live.frame import Frame
from tinytensor.live.run_controls import button
from tinytensor.live.run_settings import Settings
from tinytensor.live.setting_sliders import (
    BATCHES,
    KEEP_PROBABILITIES,
    LEARNING_RATES,
    number,
    position,
    slider,
)
from tinytensor.live.training_page import PageView, TrainingPage
from tinytensor.nn import Dropout


def page(course: Course, view: PageView) -> Callable[[Document], None]:
    """A function that fills the document of one viewer of the course."""

    def fill(document: Document) -> None:
        shown = CoursePage(course, Frame(document), view)
        shown.frame.update_regularly(shown.update)

    return fill


class CoursePage:
    """One viewer's page of the course."""

    def __init__(self, course: Course, frame: Frame, view: PageView) -> None:
        self.course, self.frame, self.present = course, frame, course.present
        self.row = CourseRow(course) if view.may_control else None
        self.page = TrainingPage(
            self.present.run, frame, course.wall, view, restarts=False,
            above=() if self.row is None else (self.row.content,),
        )  # fmt: skip
        self._follow(self.present)
        frame.show(*self.page.contents)

    def _follow(self, present: Present) -> None:
        """Show this run from now on."""
        self.present = present
        if self.row is not None:
            self.row.follow(present)
        self.page.follow(present.run, present.earlier)

    def update(self) -> None:
        """Show what is new: another run, or more of the present one."""
        if (present := self.course.present) is not self.present:
            self._follow(present)
        self.page.update()


class CourseRow:
    """The lessons, with back and next, and the settings of the next run."""

    def __init__(self, course: Course) -> None:
        self.course = course
        self._wanted = course.present.index  # the lesson that runs, or will run soon
        self.sheet = InlineStyleSheet(css=style.CONTROLS)
        self.lessons = RadioButtonGroup(
            name="lessons", labels=[lesson.number for lesson in course.lessons],
            active=self._wanted, stylesheets=[self.sheet, InlineStyleSheet(css=style.GROUP)],
        )  # fmt: skip
        self.lessons.on_change("active", lambda _, __, chosen: self._begin(chosen))
        self.back = button("back", lambda: self._begin(self._wanted - 1), self.sheet)
        self.next = button("next", lambda: self._begin(self._wanted + 1), self.sheet)
        again = button("begin again", self._begin_again, self.sheet)
        again.label, again.width = "begin again with", 120
        self.rate = slider("learning rate", LEARNING_RATES, 160, self.sheet)
        self.batch = slider("batch", BATCHES, 160, self.sheet)
        self.keep = slider("keep probability", KEEP_PROBABILITIES, 185, self.sheet)
        elements: list[UIElement] = [
            self.back, self.lessons, self.next, again, self.rate, self.batch, self.keep
        ]  # fmt: skip
        self.content = Row(
            *elements, name="course", sizing_mode="stretch_width", styles={"flex-wrap": "wrap"}
        )

    def follow(self, present: Present) -> None:
        """Show the lesson and the settings of this run."""
        self._show(present.index, present.settings)
        layers = present.run.training.model.modules()
        self.keep.visible = any(isinstance(layer, Dropout) for layer in layers)

    def _begin(self, index: int | None) -> None:
        is_another = index != self._wanted  # not if a page that follows the run has set it
        if index is not None and is_another and 0 <= index < len(self.course.lessons):
            self._show(index, Settings())  # another lesson begins with its own settings
            self.course.begin(index)

    def _show(self, index: int, settings: Settings) -> None:
        self._wanted = index
        self.lessons.active = index
        self.back.disabled = index == 0
        self.next.disabled = index == len(self.course.lessons) - 1
        for shown, value in zip((self.rate, self.batch, self.keep), settings, strict=True):
            shown.value = position(shown, value)

    def _begin_again(self) -> None:
        batch = number(self.batch)
        settings = Settings(
            number(self.rate), None if batch is None else int(batch), number(self.keep)
        )
        self.course.begin(self._wanted, settings)
