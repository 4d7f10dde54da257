"""Cold starts: break-even points of made-up times, and measured starts of processes."""

import pytest
from conftest import BACKENDS

import tinytensor as tt
from tinytensor import door
from tinytensor.bench import start
from tinytensor.bench.start import break_even, sentences
from tinytensor.errors import BackendUnavailable, TinytensorError


def row(backend, seconds, step, cache=None, lesson="1.0"):
    """A row of start.measure, whose first step ends after `seconds` seconds."""
    about = {"lesson": lesson, "backend": backend, "cache": cache}
    parts = {"import": seconds / 4, "compile": seconds / 2, "first_step": seconds / 4}
    return about | parts | {"step": step}


@pytest.mark.parametrize(
    ("one", "other", "steps"),
    [
        (row("numba", 9.0, 0.5), row("numpy", 1.0, 1.0), 17),
        (row("numba", 9.1, 0.5), row("numpy", 1.0, 1.0), 18),
        (row("c", 1.0, 0.5), row("numpy", 1.0, 1.0), 1),
        (row("c", 0.5, 0.5), row("numpy", 1.0, 1.0), 1),
        (row("numba", 9.0, 1.0), row("numpy", 1.0, 1.0), None),
        (row("numba", 0.5, 1.5), row("numpy", 1.0, 1.0), None),
    ],
)
def test_break_even(one, other, steps):
    assert break_even(one, other) == steps
    if steps is not None:

        def ends(row, steps):
            return start.until_first_step(row) + (steps - 1) * row["step"]

        assert ends(one, steps) <= ends(other, steps)
        assert steps == 1 or ends(one, steps - 1) > ends(other, steps - 1)


def test_sentences():
    rows = [
        row("c", 1.0, 0.25),
        row("numba", 9.0, 0.5, "cold"),
        row("numpy", 0.5, 1.0),
        row("numpy", 0.5, 9.0, lesson="4.2"),
    ]
    assert list(sentences(rows)) == [
        "lesson 1.0: c overtakes numba (cold) by the end of the first step",
        "lesson 1.0: c overtakes numpy after 2 steps",
        "lesson 1.0: numba (cold) overtakes numpy after 18 steps",
    ]


@pytest.mark.full
def test_measured_starts_of_all_backends(monkeypatch):
    monkeypatch.setattr(start, "SECONDS_QUICK", 0.01)
    rows = start.measure(("softmax",), quick=True, threads=1)
    caches = {"c": [None], "numba": ["cold", "warm"], "numpy": [None]}
    wanted = [(name, cache) for name in BACKENDS for cache in caches[name]]
    assert [(row["backend"], row["cache"]) for row in rows] == wanted
    for row in rows:
        names = ["lesson", "backend", "cache", "import", "compile", "first_step", "step"]
        assert list(row) == [*names, "break_even_numpy"]
        assert row["lesson"] == "1.0"
        assert all(row[part] > 0 for part in ("import", "first_step", "step"))
        assert (row["compile"] > 0) == (row["backend"] == "numba")
        if row["backend"] == "numpy":
            assert row["break_even_numpy"] is None
        else:
            numpy = rows[-1]
            assert row["break_even_numpy"] == break_even(row, numpy)


def test_best_time_of_each_part_counts(monkeypatch):
    """For a backend that compiles; its first start is cold, the later ones are warm."""
    parts = iter(
        {"import": 1.0, "compile": c, "first_step": f, "step": s}
        for c, f, s in ((9.0, 3.0, 0.5), (0.3, 2.0, 0.7), (0.2, 3.0, 0.8))
    )
    started = []

    def fresh_process(lesson, backend, seconds, threads, cache):
        started.append((lesson, backend, threads, cache))
        return next(parts)

    numpy = door.load_backend("numpy")
    monkeypatch.setattr(numpy.module, "compiling", dict, raising=False)
    monkeypatch.setattr(start, "_fresh_process", fresh_process)
    monkeypatch.setattr(start, "ROUNDS", 2)
    cold, warm = start.measure(["1.0"], backends=["numpy"])
    assert (cold["cache"], warm["cache"]) == ("cold", "warm")
    assert (cold["compile"], warm["compile"]) == (9.0, 0.2)
    assert (cold["first_step"], warm["first_step"]) == (3.0, 2.0)
    assert cold["step"] == warm["step"] == 0.5, "cold and warm starts run the same code"
    assert len(set(started)) == 1, "all starts use the same cache"


def test_unknown_names_raise_before_a_process_starts(monkeypatch):
    def never(*_):
        raise AssertionError("a process was started")

    monkeypatch.setattr(start, "_fresh_process", never)
    with pytest.raises(tt.UnknownName, match=r"none named '9\.9'"):
        start.measure(("1.0", "9.9"), quick=True)
    with pytest.raises(tt.UnknownName, match="none named 'gpu'"):
        start.measure(("1.0",), quick=True, backends=["gpu"])

    def missing(name):
        raise BackendUnavailable(f"{name}: not here")

    monkeypatch.setattr(door, "load_backend", missing)
    with pytest.raises(BackendUnavailable, match="c: not here"):
        start.measure(("1.0",), quick=True, backends=["c"])


def test_failed_start_raises_with_the_reason(tmp_path):
    with pytest.raises(
        TinytensorError, match=r"start of lesson 9\.9 on numpy failed: .*none named"
    ):
        start._fresh_process("9.9", "numpy", 0.01, 1, str(tmp_path))
