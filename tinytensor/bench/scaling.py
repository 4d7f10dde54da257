"""Scaling: the time of a training step against batch size, width, depth and number of threads.

The time of a step is a constant overhead (calls, the update of the weights) plus a cost per image,
neuron or layer:

    seconds = overhead + per_unit * x            x images, neurons or layers
    seconds = overhead + per_unit / x            x threads: serial work, and shared work

Where both parts are equal, arithmetic becomes the larger part. The network is
784 -> width -> ... -> width -> 10 with relu, on random images, with SGD, captured. One of its sizes
changes at a time. The points of all curves are measured in turns, so that a slow phase of the
machine affects all of them. The best round of each point counts.
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
from tinytensor.tensors import Tensor, from_numpy

INPUTS, CLASSES = 784, 10


class StepSizes(NamedTuple):
    """The sizes of a network and of its batch, and the number of threads."""

    batch: int = 100  # images
    width: int = 200  # neurons per hidden layer
    depth: int = 1  # hidden layers
    threads: int = 1


@dataclass(frozen=True)
class Curve:
    """A size that changes (a field of StepSizes), the name of its unit, and its values."""

    what: str
    unit: str
    points: tuple[int, ...]
    quick_points: tuple[int, ...]  # values in a quick benchmark


CURVES = (
    Curve(
        "batch", "image", (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000), (1, 10, 100, 1000, 10_000)
    ),
    Curve("width", "neuron", (16, 32, 64, 128, 256, 512, 1024, 2048), (16, 128, 512, 2048)),
    Curve("depth", "layer", (1, 2, 4, 8, 16), (1, 4, 16)),
)
UNITS = {curve.what: curve.unit for curve in CURVES} | {"threads": "thread"}
THREADS_BATCH = 1000  # images in the batch of the curve "threads", enough work to share
ROUNDS, TURN_SECONDS = 9, 0.02
ROUNDS_QUICK, TURN_SECONDS_QUICK = 3, 0.005


# The fit ----------------------------------------------------------------------------------------


class Fit(NamedTuple):
    """seconds = overhead + per_unit * x; for threads, overhead + per_unit / x."""

    overhead: float  # seconds
    per_unit: float  # seconds
    even_at: float | None  # the x where both parts are equal; None if one of them is 0
    exponent: float  # seconds grow as x^exponent in the upper half of the points


def fit(points: Sequence[tuple[float, float]], what: str = "batch") -> Fit:
    """Fit a line to at least two points (x, seconds) with x > 0.

    The fit is a least-squares fit of relative errors, so small times count as much as large ones.
    Both parts are at least 0, because no part of a step takes negative time.

    Args:
        points: pairs (x, seconds).
        what: the size that changes; "threads" fits overhead + per_unit / x.
    """
    x, seconds = np.array(points, np.float64).T
    term = 1 / x if what == "threads" else x
    # Relative errors: (overhead + per_unit * term) / seconds should be 1.
    columns = np.stack([1 / seconds, term / seconds], axis=1)
    ones = np.ones(len(x))
    overhead, per_unit = np.linalg.lstsq(columns, ones)[0]
    if min(overhead, per_unit) < 0:  # then the best fit has one part equal to 0
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
    """A captured training step of a network of these sizes, as a function without arguments."""
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
    """A training step that is timed: one point of a curve on one backend."""

    backend: Backend
    x: int  # the value of the size that changes
    sizes: StepSizes
    best: float = math.inf  # seconds per step
    count: int = 1  # steps per turn

    def prepare(self, turn: float) -> None:
        """Record the step, compile its kernels, and set `count` for turns of `turn` seconds."""
        with door.computing_with(self.backend):
            self._step = step_of(self.sizes)
            for _ in range(3):
                self._step()
            self.take_turn()
        self.count = max(1, round(turn / self.best))
        self.best = math.inf

    def take_turn(self) -> None:
        """Time `count` steps, after the threads of the last turn have gone to sleep."""
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
    """Measure and fit the curves of all backends.

    Args:
        backends: names of the backends.
        quick: True for fewer points and shorter turns.
        threads: number of threads; each backend's own number by default.

    Returns:
        a dict per curve and backend:
        {"what": "batch", "backend": "c", "threads": 2, "points": [[x, seconds], ...],
        "overhead": s, "per_unit": s, "even_at": x or None, "exponent": e}.
        "what" is "batch", "width" or "depth", and "threads" for backends with more than one thread.

    Raises:
        UnknownName: there is no backend of this name.
        BackendUnavailable: a backend does not work here.
    """
    loaded = {name: door.load_backend(name) for name in backends}
    with ExitStack() as after:
        max_threads = {}
        for name, backend in loaded.items():
            before = backend.num_threads
            after.callback(backend.module.set_num_threads, before)
            backend.module.set_num_threads(threads or before)
            max_threads[name] = backend.num_threads
        rows = []
        for curve in CURVES:
            points = [
                ScalingStep(
                    backend, x, StepSizes(threads=max_threads[name])._replace(**{curve.what: x})
                )
                for x in (curve.quick_points if quick else curve.points)
                for name, backend in loaded.items()
            ]
            rows += _measure_in_turns(curve.what, points, quick)
        points = [
            ScalingStep(backend, n, StepSizes(batch=THREADS_BATCH, threads=n))
            for name, backend in loaded.items()
            if max_threads[name] > 1
            for n in range(1, max_threads[name] + 1)
        ]
        return rows + _measure_in_turns("threads", points, quick)


def _measure_in_turns(
    what: str, points: Sequence[ScalingStep], quick: bool
) -> list[dict[str, Any]]:
    """Time the points in turns; return a dict per backend, see measure."""
    rounds, turn = (ROUNDS_QUICK, TURN_SECONDS_QUICK) if quick else (ROUNDS, TURN_SECONDS)
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


# As sentences -----------------------------------------------------------------------------------


def sentence(row: Mapping[str, Any]) -> str:
    """A row as a sentence: c, 2 threads: 21.0 µs + 1.4 µs per image, equal parts at 15 images..."""
    unit = UNITS[row["what"]]
    overhead, each = _microseconds(row["overhead"]), _microseconds(row["per_unit"])
    if row["what"] == "threads":
        (_, alone), (last, together) = row["points"][0], row["points"][-1]
        return (
            f"{row['backend']}: {overhead} serial + {each} shared by all threads; "
            f"{alone / together:.2f} times as fast on {last} threads as on 1"
        )
    threads = f"{row['threads']} thread{'s' if row['threads'] > 1 else ''}"
    even = ""
    if row["even_at"] is not None and row["even_at"] >= row["points"][0][0]:
        even = f", equal parts at {row['even_at']:,.3g} {unit}s"
    return (
        f"{row['backend']}, {threads}: {overhead} + {each} per {unit}{even}; "
        f"at the upper end it grows as {unit}s^{row['exponent']:.2f}"
    )


def _microseconds(seconds: float) -> str:
    micro = seconds * 1e6
    return f"{micro:,.0f} µs" if micro >= 99.95 else f"{micro:.2f} µs"
