"""Checkpoints that a run writes while it trains, and after signals."""

import errno
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from test_datasets import write_folder

import tinytensor as tt
from tinytensor import atomic_file, checkpoint, door
from tinytensor.evaluation import OutOfTimeError, probabilities
from tinytensor.lessons import find
from tinytensor.live import run_file
from tinytensor.live.run import Run
from tinytensor.saved_model import load_model
from tinytensor.saver import Saver
from tinytensor.train import Training

DATA = tt.datasets.mnist()
TINY = DATA._replace(
    train_images=DATA.train_images[:500],
    train_labels=DATA.train_labels[:500],
    test_images=DATA.test_images[:50],
    test_labels=DATA.test_labels[:50],
)
VALIDATION = DATA.train_images[-300:], DATA.train_labels[-300:]


def small_training(steps=20, **settings):
    return Training(find("softmax"), TINY, steps=steps, batch=10, **settings)


def with_saver(training, *arguments, **named):
    saver = training.after_step = Saver(training, *arguments, **named)
    return saver


def steps_saved(monkeypatch):
    """Returns a list that gets (name, step) of each checkpoint that is written."""
    saved, save = [], Training.save

    def noted(training, file):
        save(training, file)
        saved.append((os.path.basename(file), int(checkpoint.about(file)["step"])))

    monkeypatch.setattr(Training, "save", noted)
    return saved


@pytest.mark.parametrize(
    ("every", "steps"), [(None, [20]), (8, [8, 16, 20]), (5, [5, 10, 15, 20]), (99, [20])]
)
def test_a_checkpoint_every_n_steps_and_after_the_last(tmp_path, monkeypatch, every, steps):
    saved = steps_saved(monkeypatch)
    training = small_training(evaluate_every=7)
    saver = with_saver(training, tmp_path / "run", every)
    list(training)
    saver.finish()
    assert saved == [("run", step) for step in steps]
    assert os.listdir(tmp_path) == ["run"]


def test_saving_changes_no_bit(tmp_path):
    losses = []
    for every in (None, 1):
        training = small_training(evaluate_every=4)
        if every:
            with_saver(training, tmp_path / "run", every, VALIDATION)
        losses.append([(r.step, r.train_loss, r.test_loss) for r in training])
    assert losses[0] == losses[1]


def test_a_stopped_training_is_saved_before_its_last_test(tmp_path, monkeypatch):
    training = small_training(evaluate_every=5)
    saver = with_saver(training, tmp_path / "run")
    reports = iter(training)
    assert next(reports).step == 5
    training.stop = True
    monkeypatch.setattr(training, "test", lambda: pytest.fail("tested"))
    with pytest.raises(pytest.fail.Exception):
        next(reports)
    assert saver.step == 6
    assert checkpoint.about(tmp_path / "run")["step"] == "6"


def test_a_test_that_takes_too_long_is_given_up(tmp_path):
    training = small_training(evaluate_every=5)
    saver = with_saver(training, tmp_path / "run", validation=VALIDATION)
    reports = iter(training)
    assert next(reports).step == 5
    training.stop, training.deadline = True, time.monotonic()
    assert list(reports) == []
    assert (training.step, saver.step, training.report.step) == (6, 6, 5)
    with pytest.raises(OutOfTimeError):
        training.test()
    training.save_weights(tmp_path / "weights")
    assert "test_accuracy" not in checkpoint.about(tmp_path / "weights")
    finished = small_training()
    finished.resume(tmp_path / "run")
    finished.go_to(20)
    finished.deadline = time.monotonic()
    assert list(finished) == []


def test_a_watched_training_is_saved_by_its_thread(tmp_path):
    """With the backend of the run, which is not that of this thread."""
    training = small_training(evaluate_every=5)
    saver = with_saver(training, tmp_path / "run", 7, VALIDATION)
    watched = Run(training, backend=door.load_backend("numpy"))
    watched.start()
    assert [report.step for report in watched] == [5, 10, 15, 20]
    watched.close()
    assert saver.step == 20
    for name in ("run", "best.safetensors"):
        assert checkpoint.about(tmp_path / name)["backend"] == "numpy"


# The best network


def test_the_best_network_is_chosen_by_the_validation_images(tmp_path, monkeypatch):
    saved = steps_saved(monkeypatch)
    accuracies = iter([0.3, 0.5, 0.5, 0.4, 0.6])
    asked = []

    def accuracy(training, images, labels):
        asked.append((training.step, images is VALIDATION[0], labels is VALIDATION[1]))
        return next(accuracies)

    monkeypatch.setattr(Training, "accuracy", accuracy)
    training = small_training(steps=18, evaluate_every=4)
    saver = with_saver(training, tmp_path / "run", 9, VALIDATION)
    list(training)
    saver.finish()
    assert asked == [(step, True, True) for step in (4, 8, 12, 16, 18)]
    best = "best.safetensors"
    assert saved == [(best, 4), (best, 8), ("run", 9), ("run", 18), (best, 18)]
    assert training.best == (18, 0.6)
    about = checkpoint.about(tmp_path / best)
    assert json.loads(about["best"]) == [18, 0.6]


def test_a_resumed_run_keeps_the_best_network(tmp_path, monkeypatch):
    first = small_training(steps=8, evaluate_every=4)
    with_saver(first, tmp_path / "run", validation=VALIDATION)
    list(first)
    best = (tmp_path / "best.safetensors").read_bytes()
    second = small_training(steps=16, evaluate_every=4)
    second.resume(tmp_path / "run")
    accuracy = Training.accuracy
    monkeypatch.setattr(
        Training, "accuracy", lambda t, *rest: accuracy(t, *rest) if t.step == 8 else 0.0
    )
    with_saver(second, tmp_path / "run", validation=VALIDATION)
    list(second)
    assert second.best == first.best
    assert checkpoint.about(tmp_path / "run")["step"] == "16"
    if first.best.step == 4:
        assert (tmp_path / "best.safetensors").read_bytes() == best


def test_the_validation_accuracy_is_that_of_the_network(tmp_path):
    training = small_training()
    list(training)
    training.save(tmp_path / "run")
    _, model = load_model(tmp_path / "run")
    predicted = probabilities(model, VALIDATION[0]).argmax(axis=1)
    assert training.accuracy(*VALIDATION) == (predicted == VALIDATION[1]).mean()


def test_invalid_settings_of_a_saver(tmp_path):
    with pytest.raises(tt.SettingError, match=r"another name than best\.safetensors is needed"):
        Saver(small_training(), tmp_path / "best.safetensors", validation=VALIDATION)
    with pytest.raises(tt.SettingError, match="every: got 0; 1 or more is needed"):
        Saver(small_training(), tmp_path / "run", every=0)


# Errors


def test_a_checkpoint_that_can_not_be_written_ends_the_run(tmp_path, monkeypatch):
    """The earlier checkpoint stays, and the results so far are reported."""
    training = small_training(evaluate_every=5)
    saver = with_saver(training, tmp_path / "run", 6)
    write = atomic_file.write

    def full(file, content):
        if training.step > 6:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(file, content)

    monkeypatch.setattr(atomic_file, "write", full)
    assert [report.step for report in training] == [5, 10, 12]
    for _ in range(2):
        with pytest.raises(tt.DataError, match=r"run can't be written: No space left on device"):
            saver.finish()
    assert checkpoint.about(tmp_path / "run")["step"] == "6"


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("images"))


def test_the_command_reports_a_full_disk_in_one_line(run, tmp_path, monkeypatch, images):
    file, result = tmp_path / "run", tmp_path / "result.json"
    file.write_bytes(b"an earlier file")
    write = atomic_file.write

    def full(name, content):
        if name == str(file):
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
        write(name, content)

    monkeypatch.setattr(atomic_file, "write", full)
    code, out, err = run(
        "train", "softmax", "--data", images, "--steps", 9, "--batch", 5,
        "--save", file, "--save-every", 3, "--json", result,
    )  # fmt: skip
    assert code == 2
    assert err.splitlines()[-1] == (
        f"tinytensor: save: {file} can't be written: Disk quota exceeded; choose another file"
    )
    assert "Traceback" not in err
    assert " after 3 steps\n" in out
    assert json.loads(result.read_text())["steps"] == 3
    assert file.read_bytes() == b"an earlier file"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--save-every", 5), "--save-every: needs a checkpoint; add --save FILE"),
        (("--save-best",), "--save-best: needs a checkpoint; add --save FILE"),
        (("--save", "run", "--save-every", 0), "'--save-every': got '0'; an integer from 1 to"),
        (("--save", "no/run"), "--save: there is no folder no; make it first"),
        (("--save", "best.safetensors", "--save-best"), r"another name than best\.safetensors"),
        (("--save", "a", "--save-best", "--json", "best.safetensors"), r"ends with \.json"),
        (("--save", "net.py"), r"--save: got net\.py; a file name that ends with \.safetensors"),
        (("--save-weights", "net.onnx"), r"--save-weights: got .* ends with \.safetensors is"),
        (("--record", "run.html"), r"--record: got run\.html; a file name that ends with \.tt is"),
        (("--save", "/dev/null"), "--save: /dev/null is a pipe or a device; a regular file is"),
        (("--resume", "run"), "load: run can't be read: No such file or directory"),
    ],
)
def test_wrong_options(run, tmp_path, monkeypatch, images, options, words):
    monkeypatch.chdir(tmp_path)
    settings = ("--data", images, "--batch", 5, "--steps", 2)
    code, out, err = run("train", "softmax", *settings, *options)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert re.search(words, err), err
    assert os.listdir(tmp_path) == []


# The command


def test_the_command_resumes_with_the_same_bits(run, tmp_path, monkeypatch, images):
    """The line "to continue" is a command that works."""
    monkeypatch.chdir(tmp_path)
    options = ("--data", images, "--batch", 5, "--save-best", "--eval-every", 3, "--seed", 2)
    assert run("train", "dropout", "--steps", 12, *options, "--save", "whole")[0] == 0
    code, _, err = run("train", "dropout", "--steps", 6, *options, "--save", "half run")
    assert code == 0
    assert "best validation accuracy: " in err
    (command,) = re.findall(r"saved after step 6; to continue: tinytensor (.*)", err)
    code, out, err = run(*shlex.split(command))
    assert code == 0
    assert " after 12 steps\n" in out
    whole, half = checkpoint.read("whole"), checkpoint.read("half run")
    assert half[1] == whole[1]
    for name, x in whole[0].items():
        np.testing.assert_array_equal(half[0][name].numpy(), x.numpy(), name)


def test_a_resumed_run_replaces_no_recording(run, tmp_path, monkeypatch, images):
    monkeypatch.chdir(tmp_path)
    settings = ("train", "softmax", "--data", images, "--batch", 5, "--record", "run.tt")
    assert run(*settings, "--steps", 2, "--save", "half")[0] == 0
    before = (tmp_path / "run.tt").read_bytes()
    code, out, err = run(*settings, "--steps", 4, "--resume", "half")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "--record: run.tt exists, and may have the first part of the resumed run" in err
    assert (tmp_path / "run.tt").read_bytes() == before


def test_the_validation_images_are_not_trained_on(run, tmp_path, monkeypatch):
    trainings = []
    init = Training.__init__
    monkeypatch.setattr(
        Training, "__init__", lambda t, *a, **n: init(t, *a, **n) or trainings.append(t)
    )
    code, _, _ = run("train", "softmax", "--steps", 2, "--save", tmp_path / "run", "--save-best")
    assert code == 0
    training = trainings[-1]
    images, labels = training.after_step._validation
    assert (len(images), len(labels)) == (5000, 5000)
    assert len(training.data.train_images) == 55_000
    pixels = [each.reshape(len(each), -1) for each in (training.data.train_images, images)]
    rows = [np.ascontiguousarray(each).view("V784").ravel().tolist() for each in pixels]
    everything = DATA.train_images.reshape(-1, 784).view("V784").ravel().tolist()
    assert sorted(rows[0] + rows[1]) == sorted(everything)
    np.testing.assert_array_equal(training.data.test_images, DATA.test_images)


# Signals


def accept_signals():
    """A background process ignores SIGINT, and one under nohup ignores SIGHUP."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def start(*arguments, folder):
    """Start a training that lasts until it gets a signal; return after its first test."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tinytensor", "train", *map(str, arguments), "--steps", "10000000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        preexec_fn=accept_signals,
    )
    assert "lesson" in process.stderr.readline()
    line = process.stderr.readline()
    assert "step" in (process.stderr.readline() if line.startswith("data ") else line)
    return process


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_signals_save_what_was_asked(tmp_path, images, number, code):
    options = ("--save", "run", "--save-best", "--save-weights", "weights", "--json", "result.json")
    process = start(
        "softmax", "--data", images, "--batch", 5, "--eval-every", 100, *options,
        "--record", "recorded", folder=tmp_path,
    )  # fmt: skip
    began = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    print(f"it took {time.monotonic() - began:.2f} s to end")
    assert process.returncode == code
    assert "Traceback" not in err
    assert err.endswith("tinytensor: stopped\n")
    steps = json.loads((tmp_path / "result.json").read_text())["steps"]
    assert 0 < steps < 10_000_000
    assert f" after {steps:,} steps" in out
    for name in ("run", "weights"):
        assert checkpoint.about(tmp_path / name)["step"] == str(steps)
    assert run_file.load(tmp_path / "recorded").snapshots[-1].step == steps
    names = {"run", "best.safetensors", "weights", "result.json", "recorded"}
    assert set(os.listdir(tmp_path)) == names
    command = re.findall(r"to continue: tinytensor (.*)", err)[0]
    assert "--steps 10000000" in command


def test_a_signal_before_the_first_step_ends_the_run_at_once(run, tmp_path, monkeypatch, images):
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    def interrupted(training, *_):
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the step was made")

    monkeypatch.setattr(Training, "train_step", interrupted)
    options = ("--data", images, "--batch", 5, "--eager", "--save", tmp_path / "run")
    code, out, err = run("train", "softmax", *options)
    assert (code, out) == (130, "")
    assert err.endswith("tinytensor: stopped\n")
    assert os.listdir(tmp_path) == []
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_a_second_signal_ends_the_run_at_once(run, tmp_path, monkeypatch, images):
    def interrupted(training):
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)
        pytest.fail("the step was made")

    def make_step(training, make=Training.make_step):
        return make(training) if training.step < 3 else interrupted(training)

    monkeypatch.setattr(Training, "make_step", make_step)
    options = ("--data", images, "--batch", 5, "--save", tmp_path / "run", "--save-every", 2)
    code, out, _ = run("train", "softmax", *options)
    assert (code, out) == (130, "")
    assert checkpoint.about(tmp_path / "run")["step"] == "2"


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.parametrize("kills", [40])
def test_a_training_is_killed_while_it_saves(tmp_path, images, kills):
    """It saves after each step. Each time, the next run resumes from its last checkpoint."""
    rng = np.random.default_rng(0)
    file, last, whole = tmp_path / "run", 0, 0
    options = ("--data", images, "--batch", 5, "--eval-every", 10**6, "--save", "run")
    for _ in range(kills):
        resumed = ("--resume", "run") if last else ()
        process = subprocess.Popen(
            [sys.executable, "-m", "tinytensor", "train", "dropout", *map(str, options), *resumed,
             "--steps", str(10**7), "--save-every", "1"],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        )  # fmt: skip
        assert "lesson" in process.stderr.readline()
        until = time.monotonic() + 60
        while not last and not file.exists() and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.5))
        process.send_signal(signal.SIGKILL)
        assert "tinytensor" not in process.communicate()[1], "no error"
        step = int(checkpoint.about(file)["step"])
        training = Training(find("dropout"), tt.datasets.load(images), steps=10**7, batch=5)
        training.resume(file)  # checks the outputs of the network, too
        assert training.step == step >= last
        last, whole = step, whole + 1
    print(f"{whole} of {kills} kills: a complete checkpoint, the last one of step {last:,}")
