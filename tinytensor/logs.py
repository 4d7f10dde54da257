"""Logs: the reports of a training as CSV, as JSON lines or for TensorBoard, while it runs.

A log is a function of a report, so it is given where reports are shown:

    with log_to("run.csv") as log:
        tt.fit(model, data, show=log)

A log of your own is any function of a report. If it has a file to close, derive it from Log.

The first report creates the file, complete (see atomic_file.py), and each later one is appended in
one write. So a run that crashed leaves whole rows.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, Self

from tinytensor import atomic_file, json_text, regular_file
from tinytensor.errors import DataError, NotSupported, SettingError
from tinytensor.extras import check_installed

Values = dict[str, Any]


def log_to(name: str | Path, after: int | None = None) -> Log:
    """Return the log for a name: run.csv, run.jsonl, or a folder for TensorBoard.

    Args:
        name: the name of a file that ends in .csv or .jsonl. Any other name is that of a folder; it
            has no ending, or a slash at its end, such as runs/lr0.1/.
        after: the number of steps of the checkpoint from which the training was resumed. Its log
            continues: reports of later steps are removed, because the training makes these steps
            again. By default the training is new, and an existing log is an error.

    Returns:
        a CsvLog, a JsonLog or a TensorBoardLog.

    Raises:
        SettingError: the ending is unknown, the log exists, or tensorboardX is not installed.
        DataError: the file can't be written, or an existing one is no such log.
    """
    ending = "/" if str(name).endswith("/") else Path(name).suffix
    if not str(name) or ending not in LOGS:
        raise SettingError(
            f"log: got {name!s:.200}; a name that ends in .csv or .jsonl is needed, or the name of "
            "a folder for TensorBoard, such as runs/1"
        )
    return LOGS[ending](name, after)


class Log:
    """The base class of logs: call it with each report, and close it at the end.

    A report that can't be written ends the log, but not the training. `close` raises the error. A
    `with` block closes the log.

    Args:
        name: the name of the file or of the folder.
    """

    def __init__(self, name: str | Path) -> None:
        self.name = name
        self._error: OSError | DataError | SettingError | None = None
        self._is_closed = False

    def __call__(self, report: Any) -> None:
        """Write a report.

        Args:
            report: a dataclass of numbers, such as a StepReport. Its first field is the step.

        Raises:
            SettingError: the log is closed.
        """
        if self._is_closed:
            raise SettingError(f"log: {self.name} is closed; call it inside of the with block")
        if self._error is None:
            try:
                self.write(_values(report))
            except (OSError, DataError, SettingError) as error:
                self._error = error

    def write(self, values: Values) -> None:
        """Write the fields of a report by name; a subclass defines it.

        Args:
            values: numbers, or None for a number that was not measured.

        Raises:
            OSError: the disk is full, or failed.
            DataError: the fields are not those of the earlier reports.
        """
        raise NotImplementedError

    def end(self) -> None:
        """Close what the subclass has opened."""

    def close(self) -> None:
        """End the log; a second call does nothing.

        Raises:
            DataError: a report could not be written.
            SettingError: another run has created the file in the meantime.
        """
        if self._is_closed:
            return
        self._is_closed, error = True, self._error
        try:
            self.end()
        except OSError as last:
            error = error or last
        if isinstance(error, OSError):
            raise DataError(
                f"log: {self.name} can't be written ({error.strerror}); the reports before the "
                "error can be read"
            )
        if error is not None:
            raise error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self.close()
        except (DataError, SettingError):
            if kind is None:  # an error of the training is more important
                raise

    def __deepcopy__(self, _: object) -> Self:
        return self  # such as in a grid search, which copies the callbacks of an estimator

    def __reduce__(self) -> Any:
        raise NotSupported(
            "pickle: a log can't be pickled, because two processes would write to one file; use "
            "one process, such as n_jobs=1"
        )


class TextLog(Log):
    """A log with one row of text for each report; a subclass defines `row` and `step_of`.

    Args:
        name: the name of the file.
        after: as in log_to.

    Raises:
        SettingError: the file exists, and the training is new.
        DataError: the file can't be written, or it is no such log.
    """

    def __init__(self, name: str | Path, after: int | None = None) -> None:
        super().__init__(name)
        self._is_new = after is None
        self._begin = b""  # the reports that stay, until the first new one
        self._opened: BinaryIO | None = None  # the file, after the first new report
        self._size = 0  # bytes of complete rows in it
        if self._is_new:
            _refuse_existing(name)
        try:
            atomic_file.check(name)
            if os.path.exists(name):
                self._begin = self._kept(regular_file.checked(name).read_bytes(), after or 0)
        except OSError as error:
            raise DataError(
                f"log: {name} can't be written ({error.strerror}); choose another file"
            ) from None

    def _kept(self, content: bytes, after: int) -> bytes:
        """The complete rows of an earlier run up to step `after`."""
        rows = [row for row in content.splitlines(keepends=True) if row.endswith(b"\n")]
        try:
            return b"".join(row for row in rows if self.step_of(row.decode()) <= after)
        except (ValueError, AttributeError, TypeError):  # many errors, because it can be any file
            raise DataError(
                f"log: {self.name} is not a log of a training; choose another file"
            ) from None

    def row(self, values: Values) -> str:
        """The text of a report, which ends with a newline."""
        raise NotImplementedError

    def step_of(self, row: str) -> int:
        """The step of a row; 0 for a header.  Raises ValueError if it is no row of a log."""
        raise NotImplementedError

    def write(self, values: Values) -> None:
        """Append a row.  Raises OSError if the disk is full or failed."""
        row = self.row(values).encode()
        if self._opened is None:
            if self._is_new:
                _refuse_existing(self.name)  # again, because another run may have created it
            self._opened = atomic_file.replace(self.name, self._begin + row)
            self._size = len(self._begin + row)
            return
        try:
            atomic_file.write_all(self._opened, row)
        except OSError:
            os.truncate(self._opened.fileno(), self._size)  # without half a row
            raise
        self._size += len(row)

    def end(self) -> None:
        """Wait until the disk has stored the rows, and close the file."""
        if self._opened is not None:
            with self._opened as opened:
                atomic_file.sync(opened)
            self._opened = None


class CsvLog(TextLog):
    """A log as comma-separated values, with the names of the fields in its first row."""

    def row(self, values: Values) -> str:
        """The values, after the header if this is the first row."""
        header = _csv_row(list(values))
        begin = self._begin.decode()
        if begin and not begin.startswith(header):
            raise DataError(
                f"log: {self.name} has other columns, {begin.splitlines()[0]}; choose another file"
            )
        is_first = self._opened is None and not begin
        return (header if is_first else "") + _csv_row(list(values.values()))

    def step_of(self, row: str) -> int:
        """The first value; 0 for the header, whose first value is a name."""
        first = row.split(",")[0]
        return 0 if first.isidentifier() else int(first)


class JsonLog(TextLog):
    """A log as JSON lines: one JSON object in each row."""

    def row(self, values: Values) -> str:
        """The object; null for what was not measured, and for NaN and infinities."""
        finite = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in values.items()
        }
        return json.dumps(finite) + "\n"

    def step_of(self, row: str) -> int:
        """The value of the first field."""
        return int(next(iter(json_text.parsed(row).values()), 0))


class TensorBoardLog(Log):
    """A log for TensorBoard: one curve for each field, in a folder of event files.

    tensorboardX writes the files. `tensorboard --logdir FOLDER` shows them.

    Args:
        name: the name of the folder, which is created.
        after: as in log_to.

    Raises:
        SettingError: tensorboardX is not installed, or the folder isn't empty and the training is
            new.
        DataError: the folder can't be written.
    """

    def __init__(self, name: str | Path, after: int | None = None) -> None:
        super().__init__(name)
        check_installed("log", "tensorboard", "tensorboardX")
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import SessionLog

        if after is None and not (os.path.isdir(name) and not os.listdir(name)):
            _refuse_existing(name)
        try:
            os.makedirs(name, exist_ok=True)
            # The number in the name, because two files of one second would have the same name.
            number = len(os.listdir(name))
            self._events = EventsWriter(os.path.join(name, "events"), f".{number}")
            if after is not None:  # TensorBoard hides the events from this step on
                self._write(after + 1, session_log=SessionLog(status=SessionLog.START))
            self._events.flush()
        except OSError as error:
            raise DataError(
                f"log: {name} can't be written ({error.strerror}); choose another folder"
            ) from None

    def write(self, values: Values) -> None:
        """Write one point of each curve.  Raises OSError if the disk is full or failed."""
        from tensorboardX.proto.summary_pb2 import Summary

        step, *curves = values.items()
        points = [
            Summary.Value(tag=name, simple_value=value)
            for name, value in curves
            if value is not None
        ]
        self._write(step[1], summary=Summary(value=points))
        self._events.flush()

    def _write(self, step: int, **content: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self._events.write_event(Event(wall_time=time.time(), step=step, **content))

    def end(self) -> None:
        """Close the event file."""
        self._events.close()


LOGS: dict[str, type[CsvLog | JsonLog | TensorBoardLog]] = {
    ".csv": CsvLog,
    ".jsonl": JsonLog,
    "": TensorBoardLog,
    "/": TensorBoardLog,
}


def _refuse_existing(name: str | Path) -> None:
    if os.path.lexists(name):
        raise SettingError(f"log: {name} exists; remove it, or choose another name")


def _values(report: Any) -> Values:
    """The fields of a report; a nested field's name is behind that of the outer one."""
    values: Values = {}
    for name, value in asdict(report).items():
        if isinstance(value, dict):
            values |= {f"{name}_{inner}": number for inner, number in value.items()}
        else:
            values[name] = value
    return values


def _csv_row(values: list[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()
