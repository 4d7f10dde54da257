"""The number of threads of a program: fewer if they are as fast, and what the user has set."""

import itertools

import numpy as np
import pytest
from conftest import BACKENDS

import tinytensor as tt
from tinytensor import door
from tinytensor.capture import threads
from tinytensor.capture.threads import ThreadTrials


class Calls:
    """Calls whose step takes seconds[threads] on their own clock."""

    def __init__(self, seconds, monkeypatch):
        self.seconds, self.now, self.used = seconds, 0.0, []
        monkeypatch.setattr(threads.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(door, "_num_threads", None)

    def replay(self, trials, steps=1):
        trials.begin()
        self.used.append(self.threads)
        self.now += steps * self.seconds.get(self.threads, 1.0)
        trials.end(steps)


@pytest.mark.parametrize(
    ("seconds", "best"),
    [
        ({8: 1.0, 4: 2.0}, 8),
        ({8: 1.0, 4: 1.02, 2: 1.5}, 4),
        ({8: 3.0, 4: 2.0, 2: 1.0, 1: 1.2}, 2),
        ({8: 8.0, 4: 4.0, 2: 2.0, 1: 1.0}, 1),
    ],
)
def test_halves_are_tried_while_they_are_as_fast(seconds, best, monkeypatch):
    calls = Calls(seconds, monkeypatch)
    trials = ThreadTrials(calls, 8)
    assert (trials.best, str(trials)) == (8, "")
    while not trials.seconds:
        calls.replay(trials)
    calls.used.clear()
    for _ in range(10):
        calls.replay(trials)
    assert set(calls.used) == {trials.best} == {best}
    assert str(trials).startswith(f"{best} thread")
    assert trials.seconds == {n: pytest.approx(seconds[n]) for n in trials.seconds}


def test_trials_are_repeated_when_the_steps_have_doubled(monkeypatch):
    calls = Calls({2: 1.0, 1: 0.5}, monkeypatch)
    trials = ThreadTrials(calls, 2)
    for _ in range(40):
        calls.replay(trials)
    assert trials.best == 1
    calls.seconds = {2: 0.25, 1: 0.5}  # the machine has become idle
    for _ in range(40):
        calls.replay(trials)
    assert trials.best == 2
    used = [(n, len(list(group))) for n, group in itertools.groupby(calls.used)]
    assert used[:8] == [(2, 3), (1, 3)] * 3 + [(2, 3), (1, 3 + 24)], "a pause as long as before"


def test_one_slow_replay_decides_nothing(monkeypatch):
    calls = Calls({2: 1.0, 1: 1.5}, monkeypatch)
    trials = ThreadTrials(calls, 2)
    for i in range(30):
        calls.seconds[2] = 9.0 if i % 6 == 0 else 1.0  # a sleeping thread wakes up
        calls.replay(trials)
    assert trials.best == 2


def test_a_number_that_is_set_is_used(monkeypatch):
    calls = Calls({2: 1.0, 1: 0.1}, monkeypatch)
    trials = ThreadTrials(calls, 2)
    for _ in range(30):
        calls.replay(trials)
    assert trials.best == 1
    monkeypatch.setattr(door, "_num_threads", 2)
    calls.used.clear()
    for _ in range(30):
        calls.replay(trials)
    assert set(calls.used) == {door.MOST_THREADS}, "C takes the smaller number, which is set"


def test_one_core_needs_no_trials(monkeypatch):
    calls = Calls({1: 1.0}, monkeypatch)
    trials = ThreadTrials(calls, 1)
    for _ in range(30):
        calls.replay(trials)
    assert (trials.best, trials.seconds) == (1, {})


@pytest.mark.skipif("c" not in BACKENDS, reason="the C backend isn't compiled here")
def test_the_bits_do_not_depend_on_the_trials(monkeypatch):
    def losses(most):
        monkeypatch.setattr(door, "_num_threads", None)
        monkeypatch.setattr(door.Backend, "num_threads", property(lambda _: most))
        tt.manual_seed(0)
        w = tt.rand(784, 200)
        w.requires_grad = True
        optimizer = tt.optim.SGD([w], lr=0.1)

        @tt.capture
        def step(x):
            optimizer.zero_grad()
            loss = (x @ w).relu().mean()
            loss.backward()
            optimizer.step()
            return loss

        x = np.random.default_rng(0).random((100, 784), np.float32)
        found = [step(x).item() for _ in range(200)]
        found += step.run(np.repeat(x[np.newaxis], 200, axis=0)).numpy().tolist()
        trials = step.program.threads
        assert {4, 2} <= trials.seconds.keys() if most > 1 else not trials.seconds
        assert ("because a step takes" in str(step.program)) == (most > 1)
        return found

    with tt.backend("c"):
        before = door.load_backend("c").module.num_threads()
        door.load_backend("c").module.set_num_threads(4)
        try:
            assert losses(4) == losses(1)
        finally:
            door.load_backend("c").module.set_num_threads(before)
