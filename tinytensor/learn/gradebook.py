"""The student's results in a file, their report, and the table of a class.

The file learn-results.json is in the folder where the student works. It goes with the folder to
another machine, and a teacher can collect it. Nothing is sent anywhere.
"""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from tinytensor import atomic_file, json_text
from tinytensor.errors import DataError
from tinytensor.learn.exercises import EXERCISES, Exercise
from tinytensor.learn.sandbox import Verdict

FILE = "learn-results.json"
VERSION = 1
LONGEST_NAME = 60
NAME_COLUMNS = 24  # of a student in the table as text
STATES = {"": "·", "started": "o", "wrong": "x", "slow": "~", "passed": "+"}
LEGEND = "+ passed   ~ right, but too slow   x wrong   o started   · not started"


@dataclass
class ExerciseResult:
    """The result of one exercise.

    Attributes:
        state: "", "started", "wrong", "slow" (right, but not as fast as needed) or "passed".
        language, right, total: of the last check, or of the best passed one.
        gflops, rung, share: its speed, see pace.py; 0 and "" if it was not measured.
        checks, hints: how many checks were made, and how many hints were shown.
        started, passed: times in ISO format, or "".
    """

    state: str = ""
    language: str = ""
    right: int = 0
    total: int = 0
    gflops: float = 0.0
    rung: str = ""
    share: float | None = None
    checks: int = 0
    hints: int = 0
    started: str = ""
    passed: str = ""

    def add(self, verdict: Verdict, language: str) -> None:
        """Add a check. A passed exercise stays passed, with its fastest answer."""
        self.checks += 1
        self.started = self.started or now()
        state = "passed" if verdict.is_passed else "slow" if verdict.is_right else "wrong"
        gflops = verdict.pace.get("gflops", 0.0)
        if self.state == "passed" and (state != "passed" or gflops < self.gflops):
            return
        if state == "passed":
            self.passed = self.passed or now()
        self.state, self.language = state, language
        self.right, self.total = verdict.right, verdict.total
        self.gflops, self.rung = gflops, verdict.pace.get("rung", "")
        self.share = verdict.pace.get("share")


@dataclass
class Results:
    """The results of a student: the name, and a result for each exercise that was started."""

    student: str = ""
    exercises: dict[str, ExerciseResult] = field(default_factory=dict)

    def of(self, exercise: Exercise) -> ExerciseResult:
        """Return the ExerciseResult of an exercise."""
        return self.exercises.setdefault(exercise.name, ExerciseResult())

    def passed(self) -> int:
        """Return the number of passed exercises."""
        found = (self.exercises.get(exercise.name) for exercise in EXERCISES)
        return sum(result is not None and result.state == "passed" for result in found)

    def json(self) -> str:
        """Return the results as the text of a file."""
        return json.dumps({"version": VERSION, **asdict(self)}, indent=2) + "\n"


def now() -> str:
    """Return the time in ISO format, in seconds."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def _local(time: str) -> str:
    """Return a time in ISO format as local time, such as 2026-11-30 17:18 CET; "" for none."""
    try:
        return datetime.fromisoformat(time).astimezone().strftime("%Y-%m-%d %H:%M %Z")
    except (ValueError, OverflowError, OSError):  # changed by hand, or of a year before 1970
        return time


def one_line(name: str) -> str:
    """Return a student's name on one line, of at most LONGEST_NAME characters."""
    return " ".join(name.split())[:LONGEST_NAME]


def load(folder: Path) -> Results:
    """Return the results in a folder; empty ones if there are none."""
    file = folder / FILE
    return read(file) if file.exists() else Results()


def read(file: Path) -> Results:
    """Return the results in a file.

    Raises:
        DataError: it can't be read, or is no file of results.
    """
    needed = (
        f"a file of results is needed, as {FILE} or `--report FILE.json`; a damaged one may be "
        "renamed, and a new one is started"
    )
    try:
        data = json_text.parsed(file.read_text(encoding="utf-8-sig"))
        if data["version"] != VERSION:
            raise ValueError(f"version {data['version']}")
        found = {str(name): _result(each) for name, each in data["exercises"].items()}
        return Results(one_line(str(data["student"])), found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError.unread(file, error, needed) from None


def _result(data: dict[str, Any]) -> ExerciseResult:
    result = ExerciseResult(**data)
    for each in fields(ExerciseResult):
        value, default = getattr(result, each.name), each.default
        is_number = isinstance(default, int | float) or default is None
        right = (int, float, type(None)) if default is None else (int, float) if is_number else str
        if not isinstance(value, right) or isinstance(value, bool):
            raise ValueError(f"{each.name} is {value!r}")
    if result.state not in STATES:
        raise ValueError(f"state is {result.state!r}")
    return result


def save(results: Results, folder: Path) -> None:
    """Write the results into a folder.

    Raises:
        DataError: the file can't be written.
    """
    try:
        atomic_file.write(str(folder / FILE), results.json().encode())
    except OSError as error:
        raise DataError(f"learn: {FILE} can't be written: {error.strerror}") from None


# Reports as HTML ---------------------------------------------------------------------------------

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 75rem; margin: auto; padding: 1rem }}
p {{ white-space: pre-wrap }}
div {{ overflow-x: auto }}
table {{ border-collapse: collapse }}
td, th {{ border-bottom: 1px solid #8886; padding: .3rem .7rem; white-space: nowrap }}
th {{ text-align: left }}
.wraps :is(td, th) {{ white-space: normal }}
.name {{ writing-mode: vertical-rl; padding: .7rem .3rem }}
.state {{ text-align: center }}
.number {{ text-align: right; font-variant-numeric: tabular-nums }}
[scope=row] {{ font-weight: normal; position: sticky; left: 0; background: Canvas }}
@media (max-width: 700px) {{
  body {{ font-size: 14px; padding: .5rem }}
  h1 {{ font-size: 1.4rem }}
  td, th {{ padding: .3rem .16rem }}
  [scope=row] {{ white-space: normal; overflow-wrap: anywhere; min-width: 4.9rem }}
  .name, .state {{ padding: .3rem .05rem; line-height: 1.15 }}
  .wraps tr {{ display: block; border-bottom: 1px solid #8886; padding: .4rem 0 }}
  .wraps tr:first-child, .wraps td:empty {{ display: none }}
  .wraps :is(td, th) {{ display: inline-block; border: 0; padding: 0 .9rem 0 0 }}
  .wraps th {{ position: static; min-width: 0 }}
  .wraps td::before {{ content: attr(data-column) " "; opacity: .65 }}
}}
</style>
<h1>{title}</h1>
<p>{text}</p>
<div><table{wraps}>
<tr>{head}</tr>
{rows}
</table></div>
"""


def page(results: Results) -> str:
    """Return the report of a student as one HTML page."""
    rows = []
    for exercise in EXERCISES:
        result = results.exercises.get(exercise.name, ExerciseResult())
        speed = f"{result.gflops:.3g}" if result.gflops else ""
        share = f"{100 * result.share:.2g} %" if result.share else ""
        cases = f"{result.right} of {result.total}" if result.total else ""
        rows.append(
            [
                *(str(exercise.number), exercise.name, result.state or "not started", cases),
                *(result.language, speed, result.rung, share, str(result.checks)),
                _local(result.passed),
            ]
        )
    head = [
        *("", "exercise", "verdict", "right cases", "language", "GFLOP/s", "rung"),
        *("of the roofline", "checks", "passed at"),
    ]
    text = f"{results.passed()} of {len(EXERCISES)} exercises passed."
    return _page(f"Exercises of {results.student}", text, head, rows, heading=1, wraps=True)


def class_page(students: Sequence[Results]) -> str:
    """Return the table of a class as one HTML page."""
    rows = [
        [student.student, str(student.passed()), *_states(student)]
        for student in sorted(students, key=lambda each: each.student)
    ]
    names = ["passed", *(exercise.name for exercise in EXERCISES)]
    return _page("Exercises of a class", LEGEND, ["student", *names], rows, names)


def _states(student: Results) -> list[str]:
    found = (student.exercises.get(exercise.name, ExerciseResult()) for exercise in EXERCISES)
    return [STATES[result.state] for result in found]


def _page(
    title: str,
    text: str,
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    vertical: Sequence[str] = (),
    heading: int = 0,
    wraps: bool = False,
) -> str:
    """Return a page with a table.

    vertical: the names in the head that are written downwards. heading: the column that names the
    row, which stays in view if a narrow window scrolls. wraps: True if each row is a paragraph in a
    narrow window, where each value has the name of its column.
    """

    def cell(tag: str, value: str, column: int = -1) -> str:
        is_number = value.replace(".", "").isdigit() or value.endswith("%")
        kind = "number" if is_number else "state" if value in STATES.values() else ""
        if tag == "th" and value in vertical:
            kind = "name"
        if column == heading:
            return f'<th scope="row">{html.escape(value)}</th>'
        column_name = f' data-column="{html.escape(head[column])}"' if wraps and column >= 0 else ""
        return f'<{tag} class="{kind}"{column_name}>{html.escape(value)}</{tag}>'

    def row_of(row: Sequence[str]) -> str:
        return f"<tr>{''.join(cell('td', each, i) for i, each in enumerate(row))}</tr>"

    return _PAGE.format(
        title=html.escape(title),
        text=html.escape(text),
        wraps=' class="wraps"' if wraps else "",
        head="".join(cell("th", name) for name in head),
        rows="\n".join(map(row_of, rows)),
    )


def class_table(students: Sequence[Results]) -> str:
    """Return the table of a class as text: a column for each exercise."""
    numbers = [str(exercise.number) for exercise in EXERCISES]
    head = "student".ljust(NAME_COLUMNS)
    lines = [f"{head} passed  {' '.join(f'{number:>2}' for number in numbers)}"]
    for student in sorted(students, key=lambda each: each.student):
        states = " ".join(f"{state:>2}" for state in _states(student))
        lines.append(f"{_cut(student.student)} {student.passed():6}  {states}")
    return "\n".join([*lines, "", LEGEND, ""])


def _cut(name: str) -> str:
    """Return the name in NAME_COLUMNS columns. The end of a file's name tells students apart."""
    half = NAME_COLUMNS // 2
    return (name if len(name) <= NAME_COLUMNS else f"{name[: half - 1]}…{name[-half:]}").ljust(
        NAME_COLUMNS
    )
