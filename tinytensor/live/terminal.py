"""A training shown in a terminal while it runs: two curves, training digits, and a status line.

Curves and digits are drawn with braille characters, each of 2 x 4 dots.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from tinytensor.arrays import Array
from tinytensor.datasets import MNIST_SHAPE
from tinytensor.errors import SettingError
from tinytensor.live.history import accuracy_start, loss_end
from tinytensor.live.names import PANELS, digits_title, short_names
from tinytensor.live.picture import within
from tinytensor.live.snapshot import TRAIN_SHOWN, misclassified_first
from tinytensor.live.speed import Speed
from tinytensor.step_report import Predictions, StepReport
from tinytensor.train import Training

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

WIDTH, HEIGHT = 80, 24  # characters; a smaller terminal is refused
REFRESHES_PER_SECOND = 4
BLANK = 0x2800  # the braille character without dots
DOTS = 2 ** np.array([[0, 3], [1, 4], [2, 5], [6, 7]])  # the bit of each dot, added to BLANK
AXIS = 7  # characters left of a curve
DIGIT = 6, 3  # characters: columns and rows of a digit
IMAGE = 12, 6  # of an image in colour, with two pixels in each character
DIGIT_DOTS = 12  # height and width of a digit
MARGIN = 2  # pixels around the digits of MNIST
STYLES = {"train": "bright_blue", "test": "bold dark_orange"}
MISCLASSIFIED = "bold white on dark_red"


def terminal() -> Console:
    """The console on standard error.

    Raises SettingError if standard error is not a terminal, or if the terminal is smaller than
    80 x 24 characters.
    """
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    if not console.is_terminal or console.is_dumb_terminal:
        raise SettingError(
            "--live terminal: standard error is not a terminal that can be drawn on; run the "
            "command in a terminal, or leave --live out"
        )
    if console.width < WIDTH or console.height < HEIGHT:
        raise SettingError(
            f"--live terminal: the terminal has {console.width} x {console.height} characters; "
            f"{WIDTH} x {HEIGHT} are needed: enlarge the window"
        )
    return console


@contextmanager
def view(
    training: Training, backend: str, console: Console
) -> Iterator[Callable[[StepReport], None]]:
    """Show a training at the bottom of the terminal inside a `with` block.

    The block receives a function, to be called with each report. The function stores the report,
    and a separate thread redraws REFRESHES_PER_SECOND times per second.
    """
    from rich.live import Live

    screen = _Screen(training, backend, console)
    with Live(get_renderable=screen.draw, console=console, refresh_per_second=REFRESHES_PER_SECOND):
        yield screen.take


class _Screen:
    """The reports so far, and the functions that draw them."""

    def __init__(self, training: Training, backend: str, console: Console) -> None:
        self._training, self._backend, self._console = training, backend, console
        self._measure = Speed(training)
        self._speed = 0.0
        self._curves: list[StepReport] = []
        self._predictions: Predictions | None = None

    def take(self, report: StepReport) -> None:
        """Store a report."""
        self._speed = self._measure(report)
        self._curves.append(report)
        self._predictions = self._training.predictions

    def draw(self) -> Text:
        """The text to show, one line shorter than the terminal."""
        from rich.text import Text

        lesson, predictions = self._training.lesson, self._predictions
        lines = [Text(lesson.heading, "bold")]
        if predictions is None:
            return Text("\n").join([*lines, Text("waiting for the first step")])
        lines.append(Text(self._status(self._curves[-1])))
        width, height = self._console.width, self._console.height - 1 - len(lines)
        left = width * 46 // 100
        curves = self._accuracy(left, height // 2) + self._loss(left, height - height // 2)
        digits = _digits(predictions, self._training.data.names, width - left - 2, height)
        for one, other in zip(curves, digits, strict=True):
            one.pad_right(left + 2 - one.cell_len)
            lines.append(one + other)
        return Text("\n", no_wrap=True, overflow="crop").join(lines)

    def _status(self, last: StepReport) -> str:
        return (
            f"step {last.step:,}/{self._training.steps:,}  test {100 * last.test_accuracy:.2f} %  "
            f"lr {last.rate:.3g}  {self._speed:,.0f} images/s on {self._backend}"
        )

    def _accuracy(self, width: int, height: int) -> list[Text]:
        bottom = accuracy_start([report.test_accuracy for report in self._curves])
        ticks = {1.0: "100 %", bottom: f"{100 * bottom:.0f} %"}
        return self._panel("accuracy", ticks, 1.0, width, height)

    def _loss(self, width: int, height: int) -> list[Text]:
        top = loss_end([100 * report.test_loss for report in self._curves])
        return self._panel("loss", {top: f"{top:.0f}", 0.0: "0"}, 100, width, height)

    def _panel(
        self, name: str, ticks: dict[float, str], scale: float, width: int, height: int
    ) -> list[Text]:
        """The title of panel `name`, and its training and test curves.

        ticks: the labels of the largest and of the smallest value on the y axis, in this order.
        """
        from rich.text import Text

        top, bottom = ticks
        across = 2 * (width - AXIS), 4 * (height - 1)
        lines_of = {
            part: _line(
                [report.step / max(self._training.steps, 1) for report in self._curves],
                [
                    (scale * getattr(report, f"{part}_{name}") - bottom) / (top - bottom)
                    for report in self._curves
                ],
                *across,
            )
            for part in STYLES
        }
        head = Text.assemble(
            (PANELS[name].title, "bold"),
            "  ",
            ("training", STYLES["train"]),
            " ",
            ("test", STYLES["test"]),
        )
        lines = [head]
        labels = [ticks[top], *[""] * (height - 3), ticks[bottom]]
        test = np.any(_cells(lines_of["test"]), axis=(2, 3))
        rows = _braille(lines_of["train"] | lines_of["test"])
        for label, row, is_test in zip(labels, rows, test, strict=True):
            colours = [STYLES["test" if of_test else "train"] for of_test in is_test]
            dots = zip(row, colours, strict=True)
            lines.append(Text.assemble((f"{label:>{AXIS - 2}} │", "dim"), *dots))
        return lines


def _digits(made: Predictions, names: tuple[str, ...], width: int, height: int) -> list[Text]:
    """The training digits that fit into width x height characters, misclassified digits first.

    Below each misclassified digit are the correct class (left) and the computed class (right), in
    three characters each.
    """
    from rich.text import Text

    in_colour = made.images.shape[-1] >= 3
    short = short_names(names, 3)
    shown = misclassified_first(made.labels, made.predictions, TRAIN_SHOWN)
    count = int((made.labels != made.predictions).sum())
    lines = [Text(digits_title("training digits", count, len(made.labels), names), "bold")]
    columns, rows = IMAGE if in_colour else DIGIT
    left = iter(shown)
    while len(lines) + rows + 1 <= height:
        band: list[list[Text]] = [[] for _ in range(rows + 1)]
        for i in islice(left, (width + 1) // (columns + 1)):
            right, computed = made.labels[i], made.predictions[i]
            misclassified = right != computed
            marks = f"{short[right]:<3}{short[computed]:>{columns - 3}}"
            style = MISCLASSIFIED if misclassified else ""
            below = Text(marks if misclassified else " " * columns, style)
            image = made.images[i]
            if in_colour:
                parts = _blocks(image)
            else:
                parts = [Text(text, style) for text in _half_size(image)]
            for line, part in zip(band, [*parts, below], strict=True):
                line.append(part)
        lines += [Text(" ").join(line) for line in band]
    return lines + [Text()] * (height - len(lines))


def _half_size(image: Array) -> list[str]:
    """An image (H, W, C) with values from 0 to 1 as dots; MNIST's without its margin, halved.

    Dark images on light paper are inverted.
    """
    grey = image.mean(axis=2)
    if image.shape == MNIST_SHAPE:
        grey = grey[MARGIN:-MARGIN, MARGIN:-MARGIN]
    edge = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    levels = np.rint(255 * (1 - grey if np.median(edge) > 0.5 else grey)).astype(np.uint8)
    return _braille(within(levels[None], (DIGIT_DOTS, DIGIT_DOTS))[0] > 0.3 * 255)


def _blocks(image: Array) -> list[Text]:
    """An image (H, W, C) in colour, with values from 0 to 1, as lines of half blocks."""
    from rich.style import Style
    from rich.text import Text

    columns, rows = IMAGE
    levels = np.rint(255 * image[..., :3]).astype(np.uint8).transpose(2, 0, 1)
    pixels = within(levels, (2 * rows, columns)).transpose(1, 2, 0)
    lines = []
    for upper, lower in zip(pixels[::2], pixels[1::2], strict=True):
        line = Text()
        for above, below in zip(upper.tolist(), lower.tolist(), strict=True):
            line.append("▀", Style(color=_rgb(above), bgcolor=_rgb(below)))
        lines.append(line)
    return lines


def _rgb(levels: list[int]) -> str:
    return "#" + "".join(f"{level:02x}" for level in levels)


def _line(xs: Sequence[float], ys: Sequence[float], width: int, height: int) -> Array:
    """The dots (height, width) bool of a line through the points (x, y).

    (0, 0) is the lower left corner and (1, 1) the upper right corner.
    """
    dots = np.zeros((height, width), bool)
    first, last = (round(x * (width - 1)) for x in (xs[0], xs[-1]))
    columns = np.arange(first, last + 1)
    rows = np.rint((1 - np.interp(columns / (width - 1), xs, ys)) * (height - 1)).astype(int)
    for column, row, before in zip(columns, rows, [rows[0], *rows[:-1]], strict=True):
        low, high = min(row, before + 1), max(row, before - 1)
        dots[max(low, 0) : max(high + 1, 0), column] = True
    return dots


def _cells(dots: Array) -> Array:
    """Dots (4 * rows, 2 * columns) by character: (rows, columns, 4, 2)."""
    height, width = dots.shape
    return dots.reshape(height // 4, 4, width // 2, 2).transpose(0, 2, 1, 3)


def _braille(dots: Array) -> list[str]:
    """Lines of braille characters for dots (4 * rows, 2 * columns) bool."""
    codes = BLANK + (_cells(dots) * DOTS).sum(axis=(2, 3))
    return ["".join(map(chr, line)) for line in codes]
