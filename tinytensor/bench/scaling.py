"""What grows how: the cost of a training step against the batch, the width, the depth, the threads.

A step costs something however small it is: calls, and, whatever the batch, the weights' update.
To that comes what each image, neuron or layer costs. So its time is

    seconds = overhead + per_unit * x            x images, neurons or layers
    seconds = overhead + per_unit / x            x threads: what one does alone, and what they share

and where both parts are equal, arithmetic begins to matter more than overhead. The network is
784 -> width -> ... -> width -> 10 with relu, on random images, updated by SGD, and captured; only
one of its sizes changes at a time. All points of a curve are measured by turns, round by round, so
that they see the same machine; the best round of each counts.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tinytensor import door, machine, nn, ops, optim
from tinytensor.arrays import Array
from tinytensor.capture.captured import capture
from tinytensor.door import Backend
from tinytensor.tensor import Tensor, from_numpy

INPUTS, CLASSES = 784, 10


class StepSizes(NamedTuple):
    """Of the network, and how many threads compute."""

    batch: int = 100
    width: int = 200
    depth: int = 1  # hidden layers
    threads: int = 1


@dataclass(frozen=True)
class Curve:
    """What grows, and what one more of it is called."""

    what: str
    unit: str
    points: tuple[int, ...]
    few: tuple[int, ...]  # points where there is little time


CURVES = (
    Curve(
        "batch", "image", (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000), (1, 10, 100, 1000, 10_000)
    ),
    Curve("width", "neuron", (16, 32, 64, 128, 256, 512, 1024, 2048), (16, 128, 512, 2048)),
    Curve("depth", "layer", (1, 2, 4, 8, 16), (1, 4, 16)),
)
UNITS = {curve.what: curve.unit for curve in CURVES} | {"threads": "thread"}
SHARED = 1000  # images, where threads are what changes: enough to be worth sharing
ROUNDS, TURN = 9, 0.02  # seconds of a turn
ROUNDS_QUICK, TURN_QUICK = 3, 0.005


# The fit ----------------------------------------------------------------------------------------


class Fit(NamedTuple):
    """seconds = overhead + per_unit * x, for threads / x."""

    overhead: float
    per_unit: float
    even_at: float | None  # the x where both parts are equal; None where one of them is 0
    exponent: float  # seconds grow as x^exponent in the upper half of the points


def fit(points: Sequence[tuple[float, float]], what: str = "batch") -> Fit:
    """The line through points (x, seconds), x above 0, at least two of them.

    Least squares of the relative errors, so that small times count as much as large ones; neither
    part is below 0, for no part of a step takes negative time.
    """
    x, seconds = np.array(points, np.float64).T
    grows = 1 / x if what == "threads" else x
    # Of relative errors: both columns, and what is to be met, divided by the seconds.
    columns = np.stack([1 / seconds, grows / seconds], axis=1)
    ones = np.ones(len(x))
    overhead, per_unit = np.linalg.lstsq(columns, ones)[0]
    if min(overhead, per_unit) < 0:  # then the best line lies on one of the two borders
        alone = [float(column @ ones / (column @ column)) for column in columns.T]
        errors = [
            float(np.sum((ones - a * column) ** 2))
            for a, column in zip(alone, columns.T, strict=True)
        ]
        overhead, per_unit = (alone[0], 0.0) if errors[0] < errors[1] else (0.0, alone[1])
    even_at = None
    if overhead > 0 and per_unit > 0:
        even_at = per_unit / overhead if what == "threads" else overhead / per_unit
    upper = slice(min(len(x) // 2, len(x) - 2), None)
    slope, _ = np.polyfit(np.log(x[upper]), np.log(seconds[upper]), 1)
    return Fit(float(overhead), float(per_unit), even_at and float(even_at), float(slope))


# The measurement --------------------------------------------------------------------------------


def step_of(sizes: StepSizes) -> Callable[[], Tensor]:
    """A captured training step of a network of these sizes, with its batch at hand."""
    widths = [INPUTS, *[sizes.width] * sizes.depth]
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(widths[-1], CLASSES))
    optimizer = optim.SGD(model.parameters(), lr=1e-3)
    rng = np.random.default_rng(0)
    images = rng.random((sizes.batch, INPUTS), np.float32)
    labels = rng.integers(CLASSES, size=sizes.batch)

    @capture
    def step(images: Array, labels: Array) -> Tensor:
        loss = ops.cross_entropy(model(from_numpy(images)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return lambda: step(images, labels)


@dataclass
class ScalingStep:
    """A step that is timed, on a backend and so many threads."""

    backend: Backend
    x: int
    sizes: StepSizes
    best: float = math.inf
    count: int = 1  # steps in a turn

    def prepare(self, turn: float) -> None:
        """Record the step, compile what it needs, and find out how many fit into a turn."""
        with door.computing_with(self.backend):
            self._step = step_of(self.sizes)
            for _ in range(3):
                self._step()
            self.take_turn()
        self.count = max(1, round(turn / self.best))
        self.best = math.inf

    def take_turn(self) -> None:
        """Time some steps, once the threads of whoever had the turn before sleep."""
        machine.settle()
        self.backend.module.set_num_threads(self.sizes.threads)
        with door.computing_with(self.backend):
            start = time.perf_counter()
            for _ in range(self.count):
                self._step()
            self.best = min(self.best, (time.perf_counter() - start) / self.count)


def measure(
    backends: Sequence[str], quick: bool = False, threads: int | None = None
) -> list[dict[str, Any]]:
    """The fitted curves of all backends.

    backends: names. quick: fewer points, and less time for each. threads: for each backend as many
    as it has, where None.

    [{"what": "batch", "backend": "c", "threads": 2, "points": [[x, seconds], ...], "overhead": s,
    "per_unit": s, "even_at": x or None, "exponent": e}, ...]; what is "batch", "width" or "depth",
    and "threads" for backends that can have more than one.

    Raises UnknownName and BackendUnavailable.
    """
    loaded = {name: door.load_backend(name) for name in backends}
    with ExitStack() as after:
        most = {}
        for name, backend in loaded.items():
            before = backend.num_threads
            after.callback(backend.module.set_num_threads, before)
            backend.module.set_num_threads(threads or before)
            most[name] = backend.num_threads
        rows = []
        for curve in CURVES:
            points = [
                ScalingStep(backend, x, StepSizes(threads=most[name])._replace(**{curve.what: x}))
                for x in (curve.few if quick else curve.points)
                for name, backend in loaded.items()
            ]
            rows += _measure_by_turns(curve.what, points, quick)
        points = [
            ScalingStep(backend, n, StepSizes(batch=SHARED, threads=n))
            for name, backend in loaded.items()
            if most[name] > 1
            for n in range(1, most[name] + 1)
        ]
        return rows + _measure_by_turns("threads", points, quick)


def _measure_by_turns(
    what: str, points: Sequence[ScalingStep], quick: bool
) -> list[dict[str, Any]]:
    """A row for each backend."""
    rounds, turn = (ROUNDS_QUICK, TURN_QUICK) if quick else (ROUNDS, TURN)
    for point in points:
        point.prepare(turn)
    for _ in range(rounds):
        for point in points:
            point.take_turn()
    names = dict.fromkeys(point.backend.name for point in points)
    return [_row(what, name, [p for p in points if p.backend.name == name]) for name in names]


def _row(what: str, backend: str, points: Sequence[ScalingStep]) -> dict[str, Any]:
    measured = [(point.x, point.best) for point in points]
    return {
        "what": what,
        "backend": backend,
        "threads": points[-1].sizes.threads,
        "points": [list(point) for point in measured],
        **fit(measured, what)._asdict(),
    }


# In words ---------------------------------------------------------------------------------------


def sentence(row: Mapping[str, Any]) -> str:
    """What a row says: c, 2 threads: 21.0 µs + 1.4 µs for each image, as much for both at 15 ..."""
    unit = UNITS[row["what"]]
    overhead, each = _microseconds(row["overhead"]), _microseconds(row["per_unit"])
    if row["what"] == "threads":
        (_, alone), (last, together) = row["points"][0], row["points"][-1]
        return (
            f"{row['backend']}: {overhead} for one thread alone + {each} shared among all; "
            f"{alone / together:.2f} times as fast on {last}"
        )
    threads = f"{row['threads']} thread{'s' if row['threads'] > 1 else ''}"
    even = ""
    if row["even_at"] is not None and row["even_at"] >= row["points"][0][0]:
        even = f", as much for both at {row['even_at']:,.3g} {unit}s"
    return (
        f"{row['backend']}, {threads}: {overhead} + {each} for each {unit}{even}; "
        f"at the upper end it grows as {unit}s^{row['exponent']:.2f}"
    )


def _microseconds(seconds: float) -> str:
    micro = seconds * 1e6
    return f"{micro:,.0f} µs" if micro >= 99.95 else f"{micro:.2f} µs"
