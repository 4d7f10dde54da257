"""The page of a race: the accuracy of each backend against its seconds, and who reached what when.

As with the page of a training, a viewer's page looks twice a second, and the race doesn't know it.
What that costs falls on whoever has the turn, so on all alike.
"""

from __future__ import annotations

import html
from collections.abc import Callable

from bokeh.document import Document
from bokeh.models import (
    Column,
    ColumnDataSource,
    Div,
    GlobalInlineStyleSheet,
    InlineStyleSheet,
    Range1d,
    Span,
)

from tinytensor.live import style
from tinytensor.live.history import accuracy_from
from tinytensor.live.panels import FAINT, plain_figure
from tinytensor.live.picture import TEST, TRAIN
from tinytensor.live.race import GOALS, NOTES, Race, rows

MILLISECONDS = 500  # from one look to the next
LINES = ((TEST, "solid"), (TRAIN, "dashed"), ("#009e73", "dotted"))  # told apart without colour
TABLE = """
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { text-align: right; padding: 2px 12px; border-bottom: 1px solid var(--line) }
th:first-child, td:first-child { text-align: left; padding-left: 0 }
th { color: var(--faint); font-weight: normal }
dl { display: grid; grid-template-columns: max-content auto; gap: 2px 12px; color: var(--faint) }
dd { margin: 0 }
"""


def page(race: Race) -> Callable[[Document], None]:
    """What fills the document of each viewer of a race."""

    def fill(document: Document) -> None:
        RacePage(race, document)

    return fill


class RacePage:
    """One viewer's page."""

    def __init__(self, race: Race, document: Document) -> None:
        self.race = race
        lesson = race.lesson
        sheet = InlineStyleSheet(css=style.CONTROLS + TABLE)
        title = f"<h1>a race: lesson {lesson.number}, {html.escape(lesson.title)}</h1>"
        self.figure = plain_figure(
            name="race", title="test accuracy, %, against the seconds of each backend",
            x_range=Range1d(0, 1), y_range=Range1d(0, 100.5), x_axis_label="seconds",
        )  # fmt: skip
        for goal in GOALS:
            self.figure.add_layout(
                Span(dimension="width", location=100 * goal, line_color=FAINT, line_dash="dotdash")
            )
        self.sources = [self._line(i) for i in range(len(race.contestants))]
        self._style_legend()
        self.table = Div(name="table", stylesheets=[sheet])
        notes = "".join(f"<dt>{name}</dt><dd>{note}</dd>" for name, note in NOTES.items())
        document.add_root(
            Column(
                Div(text=title, stylesheets=[sheet]),
                self.figure,
                self.table,
                Div(text=f"<dl>{notes}</dl>", stylesheets=[sheet]),
                sizing_mode="stretch_both",
                margin=(6, 8, 6, 8),
                stylesheets=[GlobalInlineStyleSheet(css=style.PAGE)],
            )
        )
        document.title = f"tinytensor: a race, lesson {lesson.number}"
        self.update()
        document.add_periodic_callback(self.update, MILLISECONDS)

    def _line(self, number: int) -> ColumnDataSource:
        """The curve of a contestant, by its number."""
        name = self.race.contestants[number].backend.name
        source = ColumnDataSource({"seconds": [], "accuracy": []}, name=name)
        colour, dash = LINES[number % len(LINES)]
        look = {"source": source, "color": colour, "legend_label": name}
        self.figure.line("seconds", "accuracy", line_width=2.5, line_dash=dash, **look)
        self.figure.scatter("seconds", "accuracy", size=4, **look)
        return source

    def _style_legend(self) -> None:
        legend = self.figure.legend[0]
        legend.location = "bottom_right"
        legend.label_text_color = FAINT
        legend.background_fill_alpha = legend.border_line_alpha = 0
        legend.glyph_width = 45

    def update(self) -> None:
        """Show what has happened since the last look."""
        for contestant, source in zip(self.race.contestants, self.sources, strict=True):
            if new := contestant.history[len(source.data["seconds"]) :]:
                source.stream(
                    {
                        "seconds": [standing.seconds for standing in new],
                        "accuracy": [100 * standing.test_accuracy for standing in new],
                    }
                )
        seen = [each for source in self.sources for each in source.data["accuracy"]]
        self.figure.y_range.start = 100 * accuracy_from([each / 100 for each in seen])
        self.figure.x_range.end = max([1.0, *(each.seconds for each in self.race.contestants)])
        self.table.text = self._table()

    def _table(self) -> str:
        lines = rows(self.race)
        head = "".join(f"<th>{heading}</th>" for heading in lines[0])
        body = "".join(
            "<tr>{}</tr>".format(
                "".join(
                    f"<td>{f'<b>{text}</b>' if is_first else text}</td>"
                    for text, is_first in line.values()
                )
            )
            for line in lines
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
