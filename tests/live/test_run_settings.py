"""Learning rate and keep probability of a run, changed by a viewer while it trains."""

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import viewer as viewers
from bokeh.models import InlineStyleSheet
from chromium import needs_browser
from test_live import SMALL, until
from viewer import Viewer, served

import tinytensor as tt
from tinytensor.lessons import OWN_MODEL, changed, find, with_scaled_rate
from tinytensor.live.names import differing, name_of_run
from tinytensor.live.run import Run
from tinytensor.live.run_controls import RunControls
from tinytensor.live.run_settings import OWN, ChangingSettings, Settings
from tinytensor.live.setting_sliders import number
from tinytensor.nn import Dropout
from tinytensor.train import Training

browser = viewers.browser
DROPOUT = find("dropout")


def weights(training):
    return [x.numpy().copy() for x in training.model.parameters()]


def reports(training):
    return [(report.test_loss, report.rate) for report in training]


def test_a_change_before_the_first_step_is_that_of_the_command():
    here = Training(DROPOUT, SMALL, steps=20, evaluate_every=5)
    ChangingSettings(here).set(Settings(lr=0.01, keep_prob=0.5))
    assert here.changes == ["learning rate 0.01", "keep probability 0.5"]
    assert name_of_run(here) == "2.2 dropout, learning rate 0.01, keep probability 0.5"
    seen = reports(here)
    there = Training(changed(DROPOUT, lr=0.01, keep_prob=0.5), SMALL, steps=20, evaluate_every=5)
    assert reports(there) == seen


def test_a_change_in_the_middle_is_that_of_a_loop_by_hand():
    def train(change):
        training = Training(DROPOUT, SMALL, steps=20)
        for step, _ in enumerate(range(20), 1):
            training.model.train()
            training.make_step()
            if step == 10:
                change(training)
        return weights(training)

    def by_hand(training):
        training.optimizer.lr = 0.03
        for layer in training.model.modules():
            if isinstance(layer, Dropout):
                layer.keep_prob = 0.25

    def nothing(training):
        ChangingSettings(training).set(OWN)
        assert training.changes == []

    def back(training):
        changing = ChangingSettings(training)
        changing.set(Settings(lr=0.03, keep_prob=0.25))
        changing.set(OWN)
        assert training.changes == [
            "learning rate of the lesson from step 11",
            "keep probability of the lesson from step 11",
        ]

    ours = train(lambda training: ChangingSettings(training).set(Settings(0.03, None, 0.25)))
    theirs, unchanged = train(by_hand), train(lambda training: None)
    assert all(map(np.array_equal, ours, theirs))
    assert not all(map(np.array_equal, ours, unchanged))
    for change in (nothing, back):
        assert all(map(np.array_equal, train(change), unchanged))


def test_a_schedule_goes_on_after_its_rate_comes_back():
    training = Training(find("relu"), SMALL, steps=20)
    changing, rates = ChangingSettings(training), []
    for step in range(20):
        changing.set(Settings(lr=0.5) if 5 <= step < 10 else OWN)
        rates.append(training.make_step().rate)
    untouched = Training(find("relu"), SMALL, steps=20)
    own = [untouched.make_step().rate for _ in range(20)]
    assert rates[:5] + rates[10:] == own[:5] + own[10:]
    assert set(rates[5:10]) == {0.5}
    assert len(set(own)) == 20


def test_only_the_last_changes_are_in_the_name():
    training = Training(find("softmax"), SMALL, steps=20)
    changing = ChangingSettings(training)
    for lr in (0.1, 0.2, 0.3):
        training.make_step()
        changing.set(Settings(lr=lr))
    assert len(training.changes) == 3
    assert name_of_run(training) == (
        "1.0 softmax, ..., learning rate 0.2 from step 3, learning rate 0.3 from step 4"
    )


def test_the_command_in_a_file_of_weights_names_the_changes(tmp_path):
    training = Training(find("softmax"), SMALL, steps=3)
    training.make_step()
    ChangingSettings(training).set(Settings(lr=0.1))
    list(training)
    training.save_weights(tmp_path / "weights")
    about = tt.checkpoint.about(tmp_path / "weights")
    assert about["command"].endswith("  # learning rate 0.1 from step 2")


@pytest.fixture
def changed_run(run, tmp_path, monkeypatch):
    """The messages of a run that is changed after step 20 and stopped after step 30."""
    make_step = Training.make_step

    def change_and_stop(training):
        result = make_step(training)
        if training.step == 20:
            ChangingSettings(training).set(Settings(lr=0.0003, keep_prob=1))
        training.stop = training.step == 30
        return result

    with monkeypatch.context() as patch:
        patch.setattr(Training, "make_step", change_and_stop)
        patch.chdir(tmp_path)
        options = ("--steps", 60, "--batch", 50, "--scale-rate", "--keep-prob", 0.5)
        code, _, err = run("train", "dropout", *options, "--save", "half")
    assert code == 0
    monkeypatch.chdir(tmp_path)
    return err


def test_a_changed_run_resumes_by_the_command_that_it_prints(run, changed_run, tmp_path):
    command = shlex.split(re.findall(r"to continue: tinytensor (.*)", changed_run)[0])
    assert command[command.index("--lr") + 1] == "0.0003"
    assert command[command.index("--keep-prob") + 1] == "1.0"
    assert "--scale-rate" not in command  # the value of the slider is not scaled
    code, _, err = run(*command[:-1], "rest")
    assert code == 0, err

    lesson = with_scaled_rate(changed(DROPOUT, keep_prob=0.5), 50)
    whole = Training(lesson, tt.datasets.mnist(), steps=60, batch=50)
    whole.model.train()
    for step in range(60):
        if step == 20:
            ChangingSettings(whole).set(Settings(lr=0.0003, keep_prob=1))
        whole.make_step()
    rest = tt.load(tmp_path / "rest")
    for name, x in whole.model.state_dict().items():
        np.testing.assert_array_equal(rest[f"model.{name}"].numpy(), x.numpy(), err_msg=name)


def test_a_changed_run_does_not_resume_with_the_settings_of_the_lesson(run, changed_run):
    code, _, err = run("train", "dropout", "--batch", 50, "--resume", "half", "--keep-prob", 1)
    assert code == 2
    assert "half is of a run with lr 0.0003; got lr own; --lr 0.0003 is needed" in err


def test_a_resumed_run_reports_the_changes_before_it(run, changed_run):
    options = ("--batch", 50, "--lr", 0.0003, "--keep-prob", 1.0, "--resume", "half", "--steps", 40)
    code, out, err = run("train", "dropout", *options, "--json", "result.json")
    assert code == 0
    changes = ["learning rate 0.0003 from step 21", "keep probability 1 from step 21"]
    assert f"changed: {', '.join(changes)}\n" in err
    assert all(f"changed        {change}\n" in out for change in changes)
    assert json.loads(Path("result.json").read_text())["changes"] == changes


@pytest.mark.parametrize("text", ["learning rate", "{}", "[1]"])
def test_malformed_changes_of_a_checkpoint(tmp_path, text):
    training = Training(DROPOUT, SMALL, steps=20)
    training.save(tmp_path / "run")
    tensors, about = tt.checkpoint.read(tmp_path / "run")
    tt.checkpoint.save(tmp_path / "run", tensors, about | {"changes": text})
    with pytest.raises(tt.DataError, match=r"got changes .*; a list of texts is needed"):
        training.resume(tmp_path / "run")


def test_settings_that_came_back_to_the_lesson_resume_without_options(tmp_path):
    first = Training(DROPOUT, SMALL, steps=20)
    changing = ChangingSettings(first)
    first.model.train()
    for settings in (Settings(lr=0.0003, keep_prob=1), OWN):
        changing.set(settings)
        first.make_step()
    first.save(tmp_path / "run")
    losses = [first.make_step().loss for _ in range(3)]
    second = Training(DROPOUT, SMALL, steps=20)
    second.resume(tmp_path / "run")
    second.model.train()
    assert [second.make_step().loss for _ in range(3)] == losses


def test_a_run_follows_and_restarts_with_the_settings():
    run = Run(Training(DROPOUT, SMALL, steps=10**6, evaluate_every=10))
    run.start()
    try:
        until(lambda: run.training.step > 5)
        run.pause()
        until(lambda: run.state == "paused")
        run.change(Settings(lr=0.002, keep_prob=0.5))
        run.step()
        until(lambda: run.training.changes)
        at = run.submit(lambda model: run.training.step).result(60)
        since = f"from step {at}"
        assert run.training.changes == [
            f"learning rate 0.002 {since}",
            f"keep probability 0.5 {since}",
        ]
        run.resume()
        until(lambda: run.training.step > at + 20)
        first = run.training
        run.stop()
        list(run)
        run.may_restart = True
        first.steps = 20  # of the restarted training
        run.restart()
        until(lambda: run.training is not first and run.state == "ended")
        again = Training(
            changed(DROPOUT, lr=0.002, keep_prob=0.5), SMALL, steps=20, evaluate_every=10
        )
        assert [report.test_loss for report in again] == [x.loss for x in run.history.test[1:]]
        assert run.earlier.name == name_of_run(first)
        assert run.earlier.new_name == name_of_run(run.training)
        assert run.earlier.test[0].step == 0
        assert run.earlier.test[-1].step == first.step
    finally:
        run.close()


@needs_browser
def test_sliders_of_a_training_change_it_and_its_restart(browser):
    from selenium.webdriver.common.keys import Keys

    with served("dropout", steps=400) as (run, server):
        viewer = Viewer(browser, server.address)
        run.set_speed(20)
        run.start()
        until(lambda: viewer.step() > 2)
        viewer.slide("learning rate", *[Keys.ARROW_RIGHT] * 5)
        viewer.slide("keep probability", Keys.ARROW_RIGHT)
        until(lambda: run.settings == Settings(lr=0.01, keep_prob=0.25))
        until(lambda: viewer.figures()["learning rate"] == "0.01")
        until(lambda: "keep probability 0.25 from step" in viewer.model("title", "model.text"))
        assert {layer.keep_prob for layer in run.training.model.modules()
                if isinstance(layer, Dropout)} == {0.25}  # fmt: skip
        run.stop()
        list(run)
        run.may_restart = True
        until(lambda: not viewer.model("restart", "model.disabled"))
        viewer.click("restart")
        until(lambda: run.earlier is not None)
        until(lambda: len(viewer.column("loss earlier test", "y")) > 1)
        title = viewer.model("loss title", "model.text")
        assert "2.2 dropout, learning rate 0.01, keep probability 0.25</b>" in title
        assert viewer.complaints() == []


@needs_browser
def test_a_lesson_without_dropout_has_one_slider(browser):
    with served(steps=5) as (_, server):
        viewer = Viewer(browser, server.address)
        assert viewer.model("learning rate", "model.visible")
        assert not viewer.model("keep probability", "model.visible")
    with served(steps=5, may_control=False) as (_, server):
        viewer = Viewer(browser, server.address)
        assert viewer.model("learning rate", "model") is None


@pytest.mark.parametrize(
    ("given", "rate", "keep"),
    [
        ({}, "the lesson's", "the lesson's"),
        ({"lr": 0.01}, "0.01, as given", "the lesson's"),
        ({"lr": 0.004, "keep_prob": 0.5}, "0.004, as given", "0.5, as given"),
    ],
)
def test_the_first_position_of_a_slider_is_what_the_run_has(given, rate, keep):
    run = Run(Training(changed(DROPOUT, **given), SMALL, steps=20))
    controls = RunControls(run, InlineStyleSheet(css=""))
    assert (controls.rate.value, controls.keep.value) == (rate, keep)
    assert len(set(controls.rate.categories)) == len(controls.rate.categories)
    run.settings = Settings(lr=0.03)  # of another viewer
    controls.update()
    assert (controls.rate.value, controls.keep.value) == ("0.03", keep)
    assert (number(controls.rate), number(controls.keep)) == (0.03, None)
    run.settings = OWN
    controls.update()
    assert (controls.rate.value, number(controls.rate)) == (rate, None)


def test_a_model_of_tt_fit_has_no_value_of_a_lesson():
    lesson = replace(DROPOUT, number=OWN_MODEL)
    controls = RunControls(Run(Training(lesson, SMALL)), InlineStyleSheet(css=""))
    assert controls.rate.value == "its own"


def test_a_change_back_names_the_value_that_was_given():
    training = Training(changed(DROPOUT, lr=0.01), SMALL, steps=20)
    changing = ChangingSettings(training)
    training.make_step()
    changing.set(Settings(lr=0.03))
    training.make_step()
    changing.set(OWN)
    assert training.changes[-1] == "learning rate 0.01 from step 3"
    assert training.make_step().rate == 0.01


def test_two_names_are_shown_without_what_both_have():
    assert differing("2.2 dropout, batch 50, keep probability 0.8", "2.2 dropout, batch 50") == (
        "2.2 dropout, keep probability 0.8",
        "2.2 dropout",
    )
    assert differing("1.0 softmax", "2.1 relu, batch 50") == ("1.0 softmax", "2.1 relu, batch 50")
