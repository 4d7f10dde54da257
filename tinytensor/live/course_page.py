"""The live page of the course: the page of the present run below a row with the lessons.

The row has buttons for the lessons, and sliders for the settings of the next run. Each viewer's
page follows the present run.
"""

from __future__ import annotations

from collections.abc import Callable

from bokeh.document import Document
from bokeh.models import CategoricalSlider, InlineStyleSheet, RadioButtonGroup, Row, UIElement

from tinytensor.live import style
from tinytensor.live.course import Course, Present, Settings
from tinytensor.live.frame import Frame
from tinytensor.live.run_controls import button
from tinytensor.live.training_page import PageView, TrainingPage
from tinytensor.nn import Dropout

OWN = "the lesson's"
LEARNING_RATES = ("0.0001", "0.0003", "0.001", "0.003", "0.01", "0.03", "0.1", "0.3", "1")
BATCHES = ("10", "20", "50", "100", "200", "500", "1000")
KEEP_PROBABILITIES = ("0.25", "0.5", "0.6", "0.75", "0.9", "1")


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
        self.rate = self._slider("learning rate", LEARNING_RATES, 160)
        self.batch = self._slider("batch", BATCHES, 160)
        self.keep = self._slider("keep probability", KEEP_PROBABILITIES, 185)
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
        for slider, value in zip((self.rate, self.batch, self.keep), settings, strict=True):
            slider.value = OWN if value is None else f"{value:g}"

    def _slider(self, name: str, values: tuple[str, ...], width: int) -> CategoricalSlider:
        return CategoricalSlider(
            title=name, name=name, categories=[OWN, *values], value=OWN, width=width,
            margin=(5, 10, 5, 8), stylesheets=[self.sheet],
        )  # fmt: skip

    def _begin_again(self) -> None:
        batch = _number(self.batch)
        settings = Settings(
            _number(self.rate), None if batch is None else int(batch), _number(self.keep)
        )
        self.course.begin(self._wanted, settings)


def _number(slider: CategoricalSlider) -> float | None:
    """The number that a slider shows; None for the lesson's own."""
    value = slider.value
    return float(value) if value in slider.categories and value != OWN else None
