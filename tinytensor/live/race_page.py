"""The live page of a race: accuracy of each backend against its seconds, and a table of times.

Each viewer's page reads the race twice a second. Drawing slows the backend whose turn it is, so on
average all backends equally.
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
from tinytensor.live.history import accuracy_start
from tinytensor.live.panel import FAINT, plain_figure
from tinytensor.live.picture import TEST, TRAIN
from tinytensor.live.race import GOALS, NOTES, Race, rows

MILLISECONDS = 500  # between two updates of the page
LINE_STYLES = ((TEST, "solid"), (TRAIN, "dashed"), ("#009e73", "dotted"))  # differ without colour
TABLE = """
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { text-align: right; padding: 2px 12px; border-bottom: 1px solid var(--line) }
th:first-child, td:first-child { text-align: left; padding-left: 0 }
th { color: var(--faint); font-weight: normal }
dl { display: grid; grid-template-columns: max-content auto; gap: 2px 12px; color: var(--faint) }
dd { margin: 0 }
"""


def page(race: Race) -> Callable[[Document], None]:
    """A function that fills the document of one viewer of the race."""

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
        """The data source of the curve of contestant `number`."""
        name = self.race.contestants[number].backend.name
        source = ColumnDataSource({"seconds": [], "accuracy": []}, name=name)
        colour, dash = LINE_STYLES[number % len(LINE_STYLES)]
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
        """Show what is new since the last update."""
        for contestant, source in zip(self.race.contestants, self.sources, strict=True):
            if new := contestant.history[len(source.data["seconds"]) :]:
                source.stream(
                    {
                        "seconds": [standing.seconds for standing in new],
                        "accuracy": [100 * standing.test_accuracy for standing in new],
                    }
                )
        seen = [each for source in self.sources for each in source.data["accuracy"]]
        self.figure.y_range.start = 100 * accuracy_start([each / 100 for each in seen])
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
