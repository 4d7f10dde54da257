"""Sweeps: each setting is tried once, also if several processes share the journal, or one ends."""

import errno
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from chromium import chromium, needs_browser

import tinytensor as tt
from tinytensor.errors import DataError, SettingError, UnknownName
from tinytensor.lessons import changed, find
from tinytensor.sweep import Sweep, Trial, scatter, sweep
from tinytensor.train import Training

optuna = pytest.importorskip(
    "optuna", reason="needs optuna: pip install 'tinytensor-engine[sweep]'"
)

MNIST = tt.datasets.mnist()
DATA = tt.datasets.Dataset(
    MNIST.train_images[:1200],
    MNIST.train_labels[:1200],
    MNIST.test_images[:100],
    MNIST.test_labels[:100],
)
SETTINGS = {"rate": (1e-3, 1.0), "batch": (20, 50), "trials": 10, "steps": 5}
OPTIONS = ["--rate", "1e-3..1", "--trials", "3", "--steps", "2", "--backend", "numpy"]


@pytest.fixture(autouse=True)
def numpy():
    with tt.backend("numpy"):
        yield


@pytest.fixture(scope="module")
def browser():
    browser = chromium()
    yield browser
    browser.quit()


def without_time(trials: list[Trial]) -> list[Trial]:
    return sorted((replace(trial, seconds=0.0) for trial in trials), key=lambda each: each.number)


@pytest.fixture(scope="module")
def undisturbed() -> list[Trial]:
    with tt.backend("numpy"):
        return without_time(sweep("softmax", DATA, show=None, **SETTINGS))


def test_a_sweep_draws_the_settings_and_the_training_from_its_seed(undisturbed):
    again = sweep("softmax", DATA, show=None, **SETTINGS)
    assert without_time(again) == undisturbed
    other = sweep("softmax", DATA, show=None, seed=1, **SETTINGS)
    assert without_time(other) != undisturbed
    assert len({trial.seed for trial in undisturbed}) == 10
    rates = [trial.settings["lr"] for trial in undisturbed]
    assert min(rates) < 0.03 < max(rates)
    assert {trial.settings["batch"] for trial in undisturbed} == {20, 50}
    accuracies = [trial.accuracy for trial in again]
    assert accuracies == sorted(accuracies, reverse=True)


def test_a_trial_is_a_training_on_the_validation_part(undisturbed):
    trial = undisturbed[3]
    lesson = changed(find("softmax"), lr=trial.settings["lr"])
    part = tt.datasets.split(DATA, 100, seed=0)
    training = Training(lesson, part, steps=5, batch=trial.settings["batch"], seed=trial.seed)
    *_, report = training
    assert (report.test_accuracy, report.test_loss) == (trial.accuracy, trial.loss)


def test_the_test_images_do_not_matter(undisturbed):
    empty = DATA._replace(test_images=DATA.test_images[:0], test_labels=DATA.test_labels[:0])
    assert without_time(sweep("softmax", empty, show=None, **SETTINGS)) == undisturbed


def test_an_interrupted_sweep_resumes_with_the_same_trials(tmp_path, monkeypatch, undisturbed):
    made, make_step = 0, Training.make_step

    def interrupted(self):
        nonlocal made
        made += 1
        if made == 18:  # in the fourth trial
            raise KeyboardInterrupt
        return make_step(self)

    monkeypatch.setattr(Training, "make_step", interrupted)
    settings = {**SETTINGS, "storage": tmp_path / "journal"}
    first = []
    with pytest.raises(KeyboardInterrupt):
        sweep("softmax", DATA, show=first.append, **settings)
    second = []
    every = sweep("softmax", DATA, show=second.append, **settings)
    assert [trial.number for trial in first] == [0, 1, 2]
    assert [trial.number for trial in second] == [3, 4, 5, 6, 7, 8, 9]
    assert without_time(every) == undisturbed
    third = []
    assert sweep("softmax", DATA, show=third.append, **settings) == every
    assert third == []


def test_stop_gives_up_the_current_trial(tmp_path, monkeypatch, undisturbed):
    settings = {**SETTINGS, "storage": tmp_path / "journal"}
    make_step = Training.make_step
    with Sweep(find("softmax"), DATA, **settings) as running:
        monkeypatch.setattr(
            Training, "make_step", lambda self: (running.stop(), make_step(self))[1]
        )
        assert list(running) == running.trials == []
    monkeypatch.undo()
    assert without_time(sweep("softmax", DATA, show=None, **settings)) == undisturbed


def test_more_trials_are_added(tmp_path, undisturbed):
    settings = {**SETTINGS, "storage": tmp_path / "journal"}
    sweep("softmax", DATA, show=None, **{**settings, "trials": 2})
    assert without_time(sweep("softmax", DATA, show=None, **settings)) == undisturbed


def test_half_a_line_of_a_killed_process_is_removed(tmp_path, undisturbed):
    settings = {**SETTINGS, "storage": tmp_path / "journal"}
    sweep("softmax", DATA, show=None, **{**settings, "trials": 2})
    with open(tmp_path / "journal", "ab") as journal:
        journal.write(b'{"op_code": 5, "work')
    assert without_time(sweep("softmax", DATA, show=None, **settings)) == undisturbed


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_settings_that_diverge_are_a_result():
    trials = sweep("dropout", DATA, rate=(1e36, 1e38), trials=2, steps=9, show=None)
    assert [(trial.number, trial.accuracy, trial.loss) for trial in trials] == [
        (0, None, None),
        (1, None, None),
    ]


def test_the_random_state_is_restored():
    tt.manual_seed(3)
    expected = tt.rand(2).numpy().tolist()
    tt.manual_seed(3)
    sweep("dropout", DATA, keep=(0.5, 0.9), trials=1, steps=2, show=None)
    assert tt.rand(2).numpy().tolist() == expected


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({}, SettingError, "no setting to vary"),
        ({"rate": (1, 0.1)}, SettingError, "the smaller one first"),
        ({"rate": 0.1}, SettingError, "two numbers"),
        ({"keep": (0.5, 2)}, SettingError, "up to 1"),
        ({"keep": (0.5, 0.9)}, SettingError, "lesson 1.0 has no Dropout layer"),
        ({"batch": (50, 1101)}, SettingError, "from 1 to 1100 is needed"),
        ({"optimizer": ("sgd", "adan")}, UnknownName, "did you mean 'adam'"),
        ({"rate": (0.1, 1), "trials": 0}, SettingError, "trials=0"),
    ],
)
def test_wrong_settings_raise_before_anything_is_written(tmp_path, settings, error, words):
    with pytest.raises(error, match=words):
        sweep("softmax", DATA, storage=tmp_path / "journal", **settings)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rate": (1e-3, 2.0)}, "rate 0.001, 1.0; got 0.001, 2.0"),
        ({"steps": 6}, "steps 5; got 6"),
        ({"seed": 1}, "seed 0; got 1"),
        ({"batch": None}, "batch 20, 50; got of the lesson"),
    ],
)
def test_a_storage_of_other_settings_is_refused(tmp_path, change, words):
    settings = {**SETTINGS, "trials": 1, "storage": tmp_path / "journal"}
    sweep("softmax", DATA, show=None, **settings)
    with pytest.raises(DataError, match=words):
        sweep("softmax", DATA, show=None, **{**settings, **change})
    with pytest.raises(DataError, match=r"lesson 1.0; got 2.2"):
        sweep("dropout", DATA, show=None, **settings)


def test_a_file_of_another_format_stays_unchanged(tmp_path):
    file = tmp_path / "notes.txt"
    file.write_text("no newline at the end")
    with pytest.raises(DataError, match="is not the journal of a sweep"):
        sweep("softmax", DATA, storage=file, **SETTINGS)
    assert file.read_text() == "no newline at the end"


def test_a_damaged_journal_is_named(tmp_path):
    settings = {**SETTINGS, "trials": 1, "storage": tmp_path / "journal"}
    sweep("softmax", DATA, show=None, **settings)
    lines = (tmp_path / "journal").read_bytes().splitlines(keepends=True)
    (tmp_path / "journal").write_bytes(b"".join([*lines[:4], b"{half\n", *lines[4:]]))
    with pytest.raises(DataError, match="the journal is damaged"):
        sweep("softmax", DATA, **settings)


def test_a_storage_that_this_process_uses_is_refused(tmp_path):
    settings = {**SETTINGS, "storage": tmp_path / "journal"}
    with Sweep(find("softmax"), DATA, **settings), pytest.raises(SettingError, match="in use"):
        sweep("softmax", DATA, **settings)


# Several processes ------------------------------------------------------------------------------

# Prints the number of each trial. With a number as its second argument it hangs in that trial.
PROGRAM = """
import sys, time
import test_sweep as t
make_step = t.Training.make_step
made = 0
def step(self):
    global made
    made += 1
    if len(sys.argv) > 2 and made == 5 * int(sys.argv[2]) + 3:
        print("hangs", flush=True)
        time.sleep(1e6)
    return make_step(self)
t.Training.make_step = step
t.tt.set_backend("numpy")
show = lambda trial: print(trial.number, flush=True)
t.sweep("softmax", t.DATA, show=show, storage=sys.argv[1], **t.SETTINGS)
"""


@pytest.fixture
def start():
    """A function that starts a Python process; the test's end kills what still runs."""
    folders = [*Path(__file__).parents[:2], Path(tt.__file__).parents[1]]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}
    started: list[subprocess.Popen] = []

    def start(*arguments: object) -> subprocess.Popen:
        words = [sys.executable, *map(str, arguments)]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True, env=variables))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def finished(journal: Path) -> list[Trial]:
    """All trials in a journal, in a new process's view."""
    with Sweep(find("softmax"), DATA, storage=journal, **SETTINGS) as running:
        return running.trials


@pytest.mark.full
def test_two_processes_run_each_trial_once(tmp_path, start):
    both = [start("-c", PROGRAM, tmp_path / "journal") for _ in range(2)]
    printed = [process.communicate(timeout=300)[0].split() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(map(int, printed[0] + printed[1])) == list(range(10))
    assert [each.number for each in without_time(finished(tmp_path / "journal"))] == [*range(10)]


def test_the_trial_of_a_killed_process_is_run_by_another(tmp_path, start):
    journal = tmp_path / "journal"
    killed = start("-c", PROGRAM, journal, 2)
    assert [killed.stdout.readline().strip() for _ in range(3)] == ["0", "1", "hangs"]
    other = start("-c", PROGRAM, journal)
    before = [int(other.stdout.readline()) for _ in range(7)]
    killed.kill()  # with SIGKILL, while the other process waits for trial 2
    after, _ = other.communicate(timeout=300)
    assert other.returncode == 0
    assert before == [3, 4, 5, 6, 7, 8, 9]
    assert after.split() == ["2"]
    found = without_time(finished(journal))
    assert [trial.number for trial in found] == list(range(10))
    first = sweep("softmax", DATA, show=None, **{**SETTINGS, "trials": 3})
    assert found[:3] == without_time(first)  # with the settings and the seed of the killed one


# The command ------------------------------------------------------------------------------------


def test_the_command_prints_a_table_and_writes_plots(run, tmp_path):
    files = {name: tmp_path / f"plot.{name}" for name in ("html", "png", "json")}
    options = [word for name, file in files.items() for word in (f"--{name}", file)]
    code, out, err = run(
        *("sweep", "softmax", *OPTIONS, "--seed", 5, "--optimizer", "sgd,adam"),
        *("--batch", "20,50", *options),
    )
    assert code == 0, err
    trials = json.loads(files["json"].read_text())["trials"]
    rows = [line.split() for line in out.splitlines() if line.strip()[:1].isdecimal()]
    assert [int(row[0]) for row in rows] == [trial["number"] for trial in trials]
    assert [float(row[4]) for row in rows] == [round(t["accuracy"], 4) for t in trials]
    assert err.count("\ntrial ") == 3
    assert f"tinytensor train softmax --lr {trials[0]['settings']['lr']} --batch" in err
    assert " --steps 2 --seed 5 --backend numpy" in err
    assert files["png"].read_bytes().startswith(b"\x89PNG")
    page = files["html"].read_text()
    assert "lesson 1.0: 3 trials of 2 steps" in page
    assert "http" not in page.replace("http://www.w3.org", "").partition("<script")[0]


@needs_browser
@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (8.5e-5, 0.12, [1e-4, 1e-3, 1e-2, 0.1]),
        (8.5e-5, 0.02, [1e-4, 3e-4, 1e-3, 3e-3, 0.01]),
        (1.2e-4, 1.1e-3, [2e-4, 5e-4, 1e-3]),
        (1.1e-4, 1.9e-4, [1.2e-4, 1.4e-4, 1.6e-4, 1.8e-4]),
        (1e-8, 100, [1e-8, 1e-6, 1e-4, 0.01, 1, 100]),
    ],
)
def test_the_axis_of_the_learning_rate_has_ticks_in_each_part(low, high, ticks, browser):
    values = f"const cb_data = {{range: {{start: {low}, end: {high}}}}};"
    assert browser.execute_script(values + scatter.TICKS) == pytest.approx(ticks)


def test_a_full_disk_keeps_the_table(run, tmp_path, monkeypatch):
    tell = optuna.Study.tell

    def tell_or_fail(study, trial, *values, **settings):
        if trial.number == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return tell(study, trial, *values, **settings)

    monkeypatch.setattr(optuna.Study, tell.__name__, tell_or_fail)
    storage, found = tmp_path / "journal", tmp_path / "found.json"
    code, out, err = run("sweep", "softmax", *OPTIONS, "--storage", storage, "--json", found)
    assert code == 2
    rows = [line.split() for line in out.splitlines() if line.strip()[:1].isdecimal()]
    assert sorted(int(row[0]) for row in rows) == [0, 1, 2]
    assert len(json.loads(found.read_text())["trials"]) == 3
    assert err.splitlines()[-1] == (
        f"tinytensor: sweep: {storage} can't be written (No space left on device); free space on "
        "the disk or choose another --storage"
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--rate", "1e-4"], "got '1e-4'; LOW..HIGH is needed"),
        (["--rate", "0..1"], "two numbers above 0 with LOW below HIGH"),
        (["--rate", "x..1"], "got 'x..1'"),
        (["--rate", "nan..1"], "got 'nan..1'"),
        (["--keep", "0.5..1.5"], "above 0 and up to 1"),
        (["--batch", "50,50"], "give each value once"),
        ([], "sweep: got no setting to vary"),
        (["--rate", "1e-4..1", "--storage", "no/file"], "there is no folder no"),
        (["--rate", "1e-4..1", "--storage", "."], "--storage: . is a folder"),
        (["--rate", "1e-4..1", "--png", "-"], "--png: got -; a file is needed"),
        (["--rate", "1e-4..1", "--json", "x", "--storage", "x"], "a separate file is needed"),
        (["--rate", "1e-4..1", "--png", "x.foo"], "a file name that ends with .png is needed"),
    ],
)
def test_an_error_is_one_line(run, options, words):
    code, out, err = run("sweep", "softmax", *options)
    assert (code, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1


def test_a_missing_optuna_is_one_line(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    code, _, err = run("sweep", "softmax", *OPTIONS)
    assert code == 2
    assert "optuna is not installed; run: pip install 'tinytensor-engine[sweep]'" in err


@pytest.mark.full
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_prints_the_table_and_the_same_command_continues(tmp_path, start, number):
    options = ["--rate", "1e-3..1", "--steps", 500, "--backend", "numpy"]
    command = ["-m", "tinytensor", "sweep", "softmax", *options, "--storage", tmp_path / "journal"]
    process = start(*command, "--trials", 10**6)
    lines = [process.stderr.readline() for _ in range(3)]
    process.send_signal(number)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 128 + number
    assert "tinytensor: stopped" in err
    assert "the same command continues" in err
    done = [line for line in lines[1:] + err.splitlines() if line.startswith("trial ")]
    assert len(out.splitlines()) == 4 + len(done)
    again = start(*command, "--trials", len(done) + 1)
    _, err = again.communicate(timeout=300)
    assert again.returncode == 0
    assert f"\ntrial {len(done)} " in err
    assert err.count("\ntrial ") == 1


def test_optuna_is_imported_by_a_sweep_only():
    program = "import sys, tinytensor, tinytensor.sweep; sys.exit('optuna' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
