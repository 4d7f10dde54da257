"""Races: each backend trains as if it were alone, and the command prints the standings."""

import itertools
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import BACKENDS

import tinytensor as tt
from tinytensor import door, random
from tinytensor.lessons import find
from tinytensor.live import race
from tinytensor.live.race import GOALS, Race, Standing
from tinytensor.run_state import tensors
from tinytensor.train import Training
from tinytensor_command import main

DATA = tt.datasets.mnist()
SMALL = DATA._replace(test_images=DATA.test_images[:200], test_labels=DATA.test_labels[:200])


@pytest.fixture
def short_turns(monkeypatch):
    """Turns of one step, without waiting for threads to sleep."""
    monkeypatch.setattr(race, "TURN_SECONDS", 1e-9)
    monkeypatch.setattr(race.machine, "settle", lambda: None)


def metrics(reports):
    """The metrics that a Training's reports and a contestant's history both have."""
    return [(r.step, r.train_loss, r.test_accuracy, r.test_loss) for r in reports]


@pytest.mark.full
@pytest.mark.parametrize("lesson", ["softmax", "dropout", "batchnorm-sigmoid"])
def test_each_contestant_trains_as_if_it_were_alone(short_turns, lesson):
    both = Race(find(lesson), SMALL, BACKENDS, steps=12, seed=3, evaluate_every=5)
    turns = [contestant.backend.name for contestant in both]
    assert len(turns) == 12 * len(BACKENDS)
    if len(BACKENDS) > 1:
        assert any(one != other for one, other in itertools.pairwise(turns))
    for contestant in both.contestants:
        with tt.backend(contestant.backend.name):
            alone = Training(find(lesson), SMALL, steps=12, seed=3, evaluate_every=5)
            assert metrics(contestant.history) == metrics(alone)
        for mine, its in zip(
            tensors(contestant.training).items(), tensors(alone).items(), strict=True
        ):
            if mine[0] != "masks":  # which Contestant restores in each turn
                np.testing.assert_equal(mine[1].numpy(), its[1].numpy(), mine[0])


def test_losses_agree_across_backends(short_turns):
    both = Race(find("dropout"), SMALL, BACKENDS, steps=5, evaluate_every=1)
    list(both)
    losses = [[s.train_loss for s in each.history] for each in both.contestants]
    for other in losses:
        np.testing.assert_allclose(other, losses[0], rtol=1e-4)


def test_random_state_of_waiting_contestants_is_unchanged(short_turns):
    tt.manual_seed(8)
    before = random.state().copy()
    list(Race(find("dropout"), SMALL, BACKENDS[:1], steps=3))
    np.testing.assert_array_equal(random.state(), before)


def test_contestant_with_the_least_time_has_the_next_turn(short_turns):
    both = Race(find("softmax"), SMALL, BACKENDS, steps=6)
    seconds = {each.backend.name: each.seconds for each in both.contestants}
    for contestant in both:
        others = [each for each in both.contestants if each is contestant or not each.is_done]
        assert seconds[contestant.backend.name] == min(seconds[x.backend.name] for x in others)
        seconds = {each.backend.name: each.seconds for each in both.contestants}


def test_threads_settle_between_contestants(short_turns, monkeypatch):
    settled = []
    monkeypatch.setattr(race.machine, "settle", lambda: settled.append(None))
    turns = [each.backend.name for each in Race(find("softmax"), SMALL, BACKENDS, steps=6)]
    assert len(settled) == sum(one != other for one, other in itertools.pairwise(turns))


def test_seconds_limit_each_contestant():
    both = Race(find("softmax"), SMALL, BACKENDS, seconds=1e-9)
    list(both)
    assert [each.steps for each in both.contestants] == [1] * len(BACKENDS), "at least one step"
    for each in both.contestants:
        assert [standing.step for standing in each.history] == [1], "the last step is evaluated"
        assert each.progress == 1
        assert each.seconds == each.load_seconds + each.compile_seconds + each.train_seconds


def test_evaluation_time_is_not_counted(monkeypatch):
    """A fake clock advances only during patched methods."""
    now = 0.0
    monkeypatch.setattr(race.time, "perf_counter", lambda: now)

    def takes(seconds, method):
        def slow(*arguments):
            nonlocal now
            now += seconds
            return method(*arguments)

        return slow

    monkeypatch.setattr(Training, "make_step", takes(1.0, Training.make_step))
    monkeypatch.setattr(Training, "test", takes(100.0, Training.test))
    (contestant,) = (alone := Race(find("softmax"), SMALL, ["numpy"], steps=4)).contestants
    list(alone)
    assert contestant.seconds == contestant.train_seconds == 4
    assert contestant.images_per_second == 100
    assert [standing.seconds for standing in contestant.history] == [4]


def test_compile_time_is_counted_separately(monkeypatch):
    """The fake backend compiles during its first step and during the test."""
    now, spent = 0.0, 0.0
    numpy = door.load_backend("numpy").module
    monkeypatch.setattr(race.time, "perf_counter", lambda: now)
    monkeypatch.setattr(
        numpy, "compiling", lambda: {"compile_seconds": spent, "load_seconds": 0.0}, raising=False
    )

    def compiles(seconds, method):
        def slow(training):
            nonlocal now, spent
            now += seconds + 1
            spent += seconds if training.step == 0 or method is test else 0
            return method(training)

        return slow

    test = Training.test
    monkeypatch.setattr(Training, "make_step", compiles(8.0, Training.make_step))
    monkeypatch.setattr(Training, "test", compiles(2.0, test))
    (contestant,) = (alone := Race(find("softmax"), SMALL, ["numpy"], steps=2)).contestants
    list(alone)
    assert contestant.compile_seconds == 8 + 2
    assert contestant.train_seconds == 1 + 9, "the second step didn't compile"


def test_goals_count_from_the_first_evaluation():
    (contestant,) = Race(find("softmax"), SMALL, BACKENDS[:1], steps=1).contestants
    assert contestant.reached(0.0) is None
    for step, accuracy in ((1, 0.5), (2, 0.93), (3, 0.91), (4, 0.97)):
        contestant.history.append(Standing(step, step / 10, 0.1, accuracy, 0.2))
    found = [contestant.reached(goal) for goal in GOALS]
    assert [standing and standing.seconds for standing in found] == [0.2, 0.4, None]


@pytest.mark.parametrize(
    ("backends", "settings", "words"),
    [
        ([], {}, "got no backends"),
        (["numpy", "numpy"], {}, "got numpy, numpy; each backend once"),
        (["numpy"], {"seconds": 0}, "got 0 seconds; more than 0"),
        (["numpy"], {"steps": 0}, "got 0 steps; at least 1"),
    ],
)
def test_invalid_settings_raise(backends, settings, words):
    with pytest.raises(tt.SettingError, match=f"race: {words}"):
        Race(find("softmax"), SMALL, backends, **settings)


# The command


def run(capsys, *arguments: object) -> tuple[int, str, str]:
    code = 0
    try:
        main(["race", *map(str, arguments)])
    except SystemExit as error:
        code = int(error.code or 0)
    return code, *capsys.readouterr()


@pytest.mark.full
def test_command_prints_the_standings(capsys, tmp_path):
    file = tmp_path / "race.json"
    names = ",".join(BACKENDS)
    arguments = (
        "softmax",
        "--backends",
        names,
        "--steps",
        300,
        "--eval-every",
        100,
        "--json",
        file,
    )
    code, out, err = run(capsys, *arguments)
    assert code == 0
    assert "lesson 1.0 softmax: ten neurons and a softmax; 300 steps\n" in err
    assert "\r" not in err
    result = json.loads(file.read_text())
    assert [each["backend"] for each in result["contestants"]] == BACKENDS
    for each in result["contestants"]:
        assert f"\n {each['backend']} " in out or f"\n{each['backend']} " in out
        assert each["steps"] == 300
        assert [standing["step"] for standing in each["history"]] == [100, 200, 300]
        assert each["test_accuracy"] == each["history"][-1]["test_accuracy"] > 0.85
        assert list(each["reached"]) == ["0.92", "0.97", "0.99"]
        assert each["reached"]["0.97"] is None
        assert list(each["seconds"]) == ["load", "compile", "train"]
    assert all(len(line) <= 80 for line in out.splitlines())


def test_lines_without_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr("tinytensor.cli.race_command.SECONDS_PER_LINE", 0)
    code, _, err = run(capsys, "softmax", "--backends", "numpy", "--steps", 5)
    assert code == 0
    assert "numpy: 5 steps in " in err
    assert ", test accuracy 0." in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sofmax"], "did you mean 'softmax'"),
        (["softmax", "--backends", "c,gpu"], "'gpu' is not one of 'c', 'numba', 'numpy'"),
        (["softmax", "--backends", "c,c"], "got 'c,c'; give each value once"),
        (["softmax", "--seconds", 0], "0 is not in the range"),
        (["softmax", "--steps", 0], "got '0'; an integer from 1"),
        (["softmax", "--json", "no/such/folder/file"], "there is no folder no/such/folder"),
    ],
)
def test_wrong_arguments_are_one_line_errors(capsys, arguments, words):
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1


def test_ctrl_c_ends_with_the_table_so_far(tmp_path):
    file = tmp_path / "race.json"
    script = "import tinytensor_command; from tinytensor.cli import race_command; "
    script += "race_command.SECONDS_PER_LINE = 0; tinytensor_command.main()"
    command = ("race", "softmax", "--backends", "numpy", "--steps", "10000000", "--json", str(file))
    process = subprocess.Popen(
        [sys.executable, "-c", script, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    process.stderr.readline()  # the lesson
    assert process.stderr.readline().startswith("numpy: ")
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "numpy" in out
    result = json.loads(file.read_text())
    assert result["stopped"] is True
    assert 0 < result["contestants"][0]["steps"] < 10_000_000
