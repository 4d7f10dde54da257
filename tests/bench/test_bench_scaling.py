"""Scaling: fits through made-up points, and the format of the measured curves."""

import itertools

import numpy as np
import pytest
from conftest import BACKENDS

import tinytensor as tt
from tinytensor import door
from tinytensor.bench import scaling
from tinytensor.bench.scaling import Curve, ScalingStep, StepSizes, fit, sentence, step_of


def test_fit_recovers_a_line():
    found = fit([(x, 20e-6 + 2e-6 * x) for x in (1, 10, 100, 1000, 10_000)])
    assert found.overhead == pytest.approx(20e-6)
    assert found.per_unit == pytest.approx(2e-6)
    assert found.even_at == pytest.approx(10)
    assert 0.9 < found.exponent < 1, "the overhead is small at the upper end"


def test_fit_weights_relative_errors():
    """The largest time is 10 % too long; a fit of absolute errors would lose the overhead."""
    points = [(x, 20e-6 + 2e-6 * x) for x in (1, 2, 4, 8, 10_000)]
    points[-1] = (10_000, 1.1 * points[-1][1])
    assert fit(points).overhead == pytest.approx(20e-6, rel=0.1)


def test_fit_recovers_shared_work():
    found = fit([(n, 3e-3 + 12e-3 / n) for n in (1, 2, 4)], "threads")
    assert found.overhead == pytest.approx(3e-3)
    assert found.per_unit == pytest.approx(12e-3)
    assert found.even_at == pytest.approx(4), "on 4 threads both parts are equal"
    assert -1 < found.exponent < 0


def test_exponent_is_that_of_the_upper_half():
    seconds = {1: 5.0, 10: 5.0, 100: 5.0, 1000: 5e3, 10_000: 5e5}  # flat, then quadratic
    assert fit(list(seconds.items())).exponent == pytest.approx(2.5, abs=0.01)  # of 100 to 10,000
    assert fit([(1, 3.0), (2, 12.0)]).exponent == pytest.approx(2)


@pytest.mark.parametrize(
    ("points", "overhead"),
    [
        (
            [(1, 1.0), (10, 30.0), (100, 500.0)],
            0.0,
        ),  # faster than linear: an unconstrained overhead is negative
        (
            [(1, 9.0), (10, 8.0), (100, 7.0)],
            None,
        ),  # decreasing: an unconstrained per_unit is negative
    ],
)
def test_fitted_parts_are_not_negative(points, overhead):
    found = fit(points)
    assert found.even_at is None
    if overhead == 0.0:
        assert found.overhead == 0
        assert found.per_unit > 0
    else:
        assert found.per_unit == 0
        assert found.overhead == pytest.approx(7.9, abs=0.2)


def test_fit_is_optimal():
    """No line nearby without negative parts has smaller relative errors."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        x = np.array([1, 5, 20, 100])
        seconds = rng.random(4) * (1 + x)

        def error(overhead, per_unit, x=x, seconds=seconds):
            return np.sum(((overhead + per_unit * x) / seconds - 1) ** 2)

        found = fit(list(zip(x, seconds, strict=True)))
        best = error(found.overhead, found.per_unit)
        for more, steeper in itertools.product((-1e-3, 0, 1e-3), repeat=2):
            other = max(found.overhead + more, 0), max(found.per_unit + steeper, 0)
            assert error(*other) >= best - 1e-12


def test_step_has_the_given_sizes(monkeypatch):
    seen = []
    original = scaling.optim.SGD

    def sgd(params, lr):
        seen.append([x.shape for x in params])
        return original(params, lr)

    monkeypatch.setattr(scaling.optim, "SGD", sgd)
    loss = step_of(StepSizes(batch=7, width=5, depth=3))()
    assert seen == [[(784, 5), (5,), (5, 5), (5,), (5, 5), (5,), (5, 10), (10,)]]
    assert 1 < loss.item() < 5


@pytest.fixture
def short(monkeypatch):
    """Curves of two points, and one turn per point."""
    curves = tuple(Curve(c.what, c.unit, (1, 3, 4), (1, 3)) for c in scaling.CURVES)
    monkeypatch.setattr(scaling, "CURVES", curves)
    for name, value in (("THREADS_BATCH", 10), ("ROUNDS_QUICK", 1), ("TURN_SECONDS_QUICK", 1e-6)):
        monkeypatch.setattr(scaling, name, value)
    monkeypatch.setattr(scaling.machine, "settle", lambda: None)


def test_rows_of_all_curves_and_backends(short):
    threads = {name: door.load_backend(name).num_threads for name in BACKENDS}
    rows = scaling.measure(BACKENDS, quick=True)
    for what in ("batch", "width", "depth"):
        assert [row["backend"] for row in rows if row["what"] == what] == BACKENDS
    for row in rows:
        names = ["what", "backend", "threads", "points", "overhead", "per_unit", "even_at"]
        assert list(row) == [*names, "exponent"]
        assert row["threads"] == threads[row["backend"]]
        xs = list(range(1, row["threads"] + 1)) if row["what"] == "threads" else [1, 3]
        assert [x for x, _ in row["points"]] == xs
        assert all(seconds > 0 for _, seconds in row["points"])
        assert sentence(row).startswith(row["backend"])
    more = [name for name in BACKENDS if threads[name] > 1]
    assert [row["backend"] for row in rows if row["what"] == "threads"] == more
    assert {name: door.load_backend(name).num_threads for name in BACKENDS} == threads


def test_threads_argument(short):
    before = door.load_backend("numpy").num_threads
    rows = scaling.measure(["numpy"], quick=True, threads=1)
    assert [(row["what"], row["threads"]) for row in rows] == [
        ("batch", 1), ("width", 1), ("depth", 1)
    ]  # fmt: skip
    assert door.load_backend("numpy").num_threads == before


def test_contestants_take_turns(short, monkeypatch):
    turns = []
    monkeypatch.setattr(scaling, "ROUNDS_QUICK", 2)
    monkeypatch.setattr(scaling, "CURVES", (Curve("batch", "image", (), (1, 3)),))
    monkeypatch.setattr(ScalingStep, "prepare", lambda self, turn: None)

    def take_turn(self):
        turns.append((self.backend.name, self.x))
        self.best = min(self.best, float(len(turns)))

    monkeypatch.setattr(ScalingStep, "take_turn", take_turn)
    rows = scaling.measure(BACKENDS, quick=True, threads=1)
    round_ = [(name, x) for x in (1, 3) for name in BACKENDS]
    assert turns == 2 * round_
    assert rows[0]["points"] == [[1, 1.0], [3, 1.0 + len(BACKENDS)]], "the best round counts"


def test_unknown_backend():
    with pytest.raises(tt.UnknownName, match="none named 'gpu'"):
        scaling.measure(["gpu"])


def test_sentences():
    row = {"what": "batch", "backend": "c", "threads": 2, "overhead": 21e-6, "per_unit": 1.4e-6}
    row |= {"even_at": 15.0, "exponent": 0.98, "points": [[1, 1.0], [2, 2.0]]}
    assert sentence(row) == (
        "c, 2 threads: 21.00 µs + 1.40 µs per image, equal parts at 15 images; "
        "at the upper end it grows as images^0.98"
    )
    row |= {"what": "threads", "points": [[1, 3.0], [2, 2.0]], "per_unit": 1.2345}
    assert sentence(row) == (
        "c: 21.00 µs serial + 1,234,500 µs shared by all threads; "
        "1.50 times as fast on 2 threads as on 1"
    )
    row |= {"what": "depth", "even_at": None, "threads": 1}
    assert "c, 1 thread: " in sentence(row)
    assert "equal parts" not in sentence(row)
