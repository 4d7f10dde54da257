"""Claims of the course that one run can show; the page ticks each off when the run has shown it.

Each condition reads the points of the curves and nothing else. A claim that compares two networks
is not here, because one run can't show it: `tinytensor try` measures those with several runs.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from bokeh.models import Div, InlineStyleSheet

from tinytensor.arrays import Array
from tinytensor.live.history import Point
from tinytensor.live.panel import WIDTH
from tinytensor.live.run import Run
from tinytensor.live.snapshot import Snapshot
from tinytensor.nn import Dropout
from tinytensor.train import Training

RECENT = 10  # points of the training curve whose mean is compared with a test
RISE = 1.1  # times the lowest test loss: above it, the loss has risen
IN_A_ROW = 3  # tests that must all show a rise
FIRST_STEPS = 100  # within which a start is slow or fast
FAST = 0.8  # test accuracy of a fast start
ABOUT = f"""<p>Each claim is ticked when the curves of this run have shown it. The number is the
step of the test that showed it. The training accuracy is the mean of the last {RECENT} points of
its curve, and must differ by more than chance.</p>
<p>A claim that compares two networks needs several runs: <code>tinytensor try</code> lists and
measures these claims.</p>"""


class CurvesSeen:
    """The points of a run's curves as arrays.

    train, test: the points, in the order of their steps. batch: number of images of a training
    point.

    Attributes:
        step, accuracy, loss: (N,), of the N tests.
        train_accuracy, train_loss: (N,), means of the last RECENT training points before each test;
            NaN if there are fewer.
        chance: (N,), twice the standard error of train_accuracy.
    """

    def __init__(self, train: Sequence[Point], test: Sequence[Point], batch: int) -> None:
        self.step, self.accuracy, self.loss = _columns(test)
        steps, accuracy, loss = _columns([point for point in train if point.step > 0])
        ends = np.searchsorted(steps, self.step, side="right")
        self.train_accuracy, self.train_loss = _recent(accuracy, ends), _recent(loss, ends)
        p = self.train_accuracy
        self.chance = 2 * np.sqrt(p * (1 - p) / (RECENT * batch))

    def first(self, holds: Array) -> int | None:
        """The step of the first test at which `holds` (N,) is true, or None."""
        (found,) = np.nonzero(holds)
        return int(self.step[found[0]]) if found.size else None


def _columns(points: Sequence[Point]) -> tuple[Array, Array, Array]:
    step, accuracy, loss = np.array(points, np.float64).reshape(-1, 3).T
    return step, accuracy, loss


def _recent(values: Array, ends: Array) -> Array:
    """The means of the RECENT values before each end, NaN if there are fewer."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    means: Array = (sums[ends] - sums[np.maximum(ends - RECENT, 0)]) / RECENT
    return np.where(ends >= RECENT, means, np.nan)


@dataclass(frozen=True)
class Sight:
    """A claim that one run can show.

    claim: a sentence. seen: returns the step of the first test that shows it, or None.
    """

    claim: str
    seen: Callable[[CurvesSeen], int | None]


def sights(training: Training) -> list[Sight]:
    """The claims that a run of this lesson can show."""
    lesson, classes = training.lesson, len(training.data.names)
    found = [Sight(f"An untrained network guesses: it is right once in {classes}.", _guesses)]
    if lesson.name in _OF_LESSON:
        found.append(_OF_LESSON[lesson.name])
    found.append(Sight("The test accuracy passes 90 %.", _reaches(0.9)))
    if 0.9 < lesson.expected_accuracy < 1:
        reached = f"The test accuracy reaches the {100 * lesson.expected_accuracy:.4g} % of lesson "
        found.append(Sight(reached + f"{lesson.number}.", _reaches(lesson.expected_accuracy)))
    if any(isinstance(layer, Dropout) for layer in training.model.modules()):
        text = "The training accuracy, with dropout, is below the test accuracy."
        found.append(Sight(text, _stays_below))
    found.append(Sight("The training accuracy passes the test accuracy.", _passes))
    text = "The test loss rises while the training loss falls: the network memorises."
    found.append(Sight(text, _memorises))
    return found


def _reaches(accuracy: float) -> Callable[[CurvesSeen], int | None]:
    return lambda curves: curves.first(curves.accuracy >= accuracy)


def _guesses(curves: CurvesSeen) -> int | None:
    return curves.first((curves.step == 0) & (curves.accuracy < 0.2))


def _stays_below(curves: CurvesSeen) -> int | None:
    """After the start, the training accuracy is lower than that of the test."""
    is_below = curves.train_accuracy + curves.chance < curves.accuracy
    return curves.first(is_below & (curves.accuracy >= 0.9))


def _passes(curves: CurvesSeen) -> int | None:
    """The training accuracy is above that of the test."""
    return curves.first(curves.train_accuracy - curves.chance > curves.accuracy)


def _memorises(curves: CurvesSeen) -> int | None:
    """IN_A_ROW tests have a larger loss than the best test, and training has a smaller one."""
    if not curves.loss.size:
        return None
    tests = np.arange(len(curves.loss))
    best = np.array([int(np.argmin(curves.loss[: i + 1])) for i in tests])
    has_risen = curves.loss > RISE * curves.loss[best]
    has_risen &= curves.train_loss < curves.train_loss[best]
    in_a_row = np.convolve(has_risen, np.ones(IN_A_ROW, int))[: len(tests)] == IN_A_ROW
    return curves.first(in_a_row)


_OF_LESSON = {
    "sigmoid": Sight(
        f"The start is slow: after {FIRST_STEPS} steps fewer than 80 % are right.",
        lambda curves: curves.first((curves.step == FIRST_STEPS) & (curves.accuracy < FAST)),
    ),
    "batchnorm-sigmoid": Sight(
        f"The start is not slow: within {FIRST_STEPS} steps 80 % are right.",
        lambda curves: curves.first((curves.step <= FIRST_STEPS) & (curves.accuracy >= FAST)),
    ),
}


class Checklist:
    """The tab with the claims of a run, which stay ticked."""

    def __init__(self, run: Run, sheet: InlineStyleSheet) -> None:
        self.content = Div(
            name="claims", width=WIDTH - 10, sizing_mode="stretch_height", stylesheets=[sheet],
            styles={"overflow-y": "auto", "height": "100%"},
        )  # fmt: skip
        self.follow(run)

    def follow(self, run: Run) -> None:
        """Show the claims of this run, from now on."""
        self.run = run
        self._begin()

    def _begin(self) -> None:
        self._training = self.run.training
        self._sights = sights(self._training)
        self._seen: dict[str, int] = {}

    def update(self, shot: Snapshot | None) -> None:
        """Tick the claims that the curves show now."""
        if self._training is not self.run.training:  # the run has restarted
            self._begin()
        history = self.run.history
        curves = CurvesSeen(list(history.train), list(history.test), self._training.batch)
        for sight in self._sights:
            if sight.claim not in self._seen and (step := sight.seen(curves)) is not None:
                self._seen[sight.claim] = step
        text = f'<ul class="claims">{"".join(map(self._row, self._sights))}</ul>{ABOUT}'
        if self.content.text != text:
            self.content.text = text

    def _row(self, sight: Sight) -> str:
        claim = html.escape(sight.claim)
        if sight.claim not in self._seen:
            return f'<li><b title="not seen yet">☐</b> {claim}</li>'
        step = f"{self._seen[sight.claim]:,}"
        return f'<li class="seen"><b title="seen">☑</b> {claim} <span>step {step}</span></li>'
