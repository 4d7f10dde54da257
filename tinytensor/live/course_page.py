"""The live page of the course: the page of the present run below a row with the lessons.

The row has buttons for the lessons, and sliders for the settings of the next run. When a run has
been replaced by another one, each viewer's page shows the new one.
"""

from __future__ import annotations

from collections.abc import Callable

from bokeh.document import Document
from bokeh.models import (
    CategoricalSlider,
    InlineStyleSheet,
    RadioButtonGroup,
    Row,
    UIElement,
)

from tinytensor.live import style
from tinytensor.live.course import Course, Present, Settings
from tinytensor.live.frame import Frame
from tinytensor.live.run_controls import button
from tinytensor.live.training_page import TrainingPage, View
from tinytensor.nn import Dropout, Module

OWN = "the lesson's"
LEARNING_RATES = ("0.0001", "0.0003", "0.001", "0.003", "0.01", "0.03", "0.1", "0.3", "1")
BATCHES = ("10", "20", "50", "100", "200", "500", "1000")
KEEP_PROBABILITIES = ("0.25", "0.5", "0.6", "0.75", "0.9", "1")


def page(course: Course, view: View) -> Callable[[Document], None]:
    """A function that fills the document of one viewer of the course.

    view: what the viewer sees at first.
    """

    def fill(document: Document) -> None:
        shown = CoursePage(course, Frame(document), view)
        shown.frame.update_regularly(shown.update)

    return fill


class CoursePage:
    """One viewer's page of the course."""

    def __init__(self, course: Course, frame: Frame, view: View) -> None:
        self.course, self.frame = course, frame
        self._show(course.present, view)

    def _show(self, present: Present, view: View) -> None:
        """Show the page of this run."""
        self.present = present
        row = [CourseRow(self.course, present).content] if view.may_control else []
        self.page = TrainingPage(
            present.run, self.frame, self.course.wall, view, present.earlier,
            above=tuple(row), restarts=False,
        )  # fmt: skip
        lesson = present.run.training.lesson
        self.frame.show(f"tinytensor: lesson {lesson.number}", *self.page.contents)

    def update(self) -> None:
        """Show what is new: another run, or more of the present one."""
        if (present := self.course.present) is not self.present:
            self._show(present, self.page.view)
        self.page.update()


class CourseRow:
    """The lessons, with back and next, and the settings of the next run."""

    def __init__(self, course: Course, present: Present) -> None:
        self.course, self.present = course, present
        self.sheet = InlineStyleSheet(css=style.CONTROLS)
        index = present.index
        self.lessons = RadioButtonGroup(
            name="lessons", labels=[lesson.number for lesson in course.lessons], active=index,
            stylesheets=[self.sheet, InlineStyleSheet(css=style.GROUP)],
        )  # fmt: skip
        self.lessons.on_change("active", lambda _, __, chosen: course.begin(chosen))
        back = button("back", lambda: course.begin(index - 1), self.sheet)
        after = button("next", lambda: course.begin(index + 1), self.sheet)
        back.disabled, after.disabled = index == 0, index == len(course.lessons) - 1
        settings = present.settings
        self.rate = self._slider("learning rate", LEARNING_RATES, settings.lr)
        self.batch = self._slider("batch", BATCHES, settings.batch)
        self.keep = self._slider("keep probability", KEEP_PROBABILITIES, settings.keep_prob)
        self.keep.visible = has_dropout(present.run.training.model)
        again = button("begin again", self._begin_again, self.sheet)
        again.label, again.width = "begin again with", 120
        elements: list[UIElement] = [
            back, self.lessons, after, again, self.rate, self.batch, self.keep
        ]  # fmt: skip
        self.content = Row(
            *elements, name="course", sizing_mode="stretch_width", styles={"flex-wrap": "wrap"}
        )

    def _slider(self, name: str, values: tuple[str, ...], value: float | None) -> CategoricalSlider:
        return CategoricalSlider(
            title=name, name=name, categories=[OWN, *values],
            value=OWN if value is None else f"{value:g}", width=160, stylesheets=[self.sheet],
            margin=(5, 12, 5, 8),
        )  # fmt: skip

    def _begin_again(self) -> None:
        batch = _number(self.batch)
        settings = Settings(
            _number(self.rate), None if batch is None else int(batch), _number(self.keep)
        )
        self.course.begin(self.present.index, settings)


def _number(slider: CategoricalSlider) -> float | None:
    """The number that a slider shows; None for the lesson's own."""
    value = slider.value
    return float(value) if value in slider.categories and value != OWN else None


def has_dropout(model: Module) -> bool:
    """True if a layer of the network is a Dropout."""
    return any(isinstance(layer, Dropout) for layer in model.modules())
