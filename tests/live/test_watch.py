"""tt.live.watch: the live page of one's own Training."""

import math
import os
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import viewer as viewers
from chromium import needs_browser
from viewer import DATA, SECONDS, Viewer, until

import tinytensor as tt
from tinytensor.cli import live_option
from tinytensor.lessons import find
from tinytensor.live.run_settings import Settings
from tinytensor.train import Training

browser = viewers.browser
SMALL = DATA._replace(test_images=DATA.test_images[:200], test_labels=DATA.test_labels[:200])

PROGRAM = """
import sys
import tinytensor as tt
from tinytensor.cli import live_option
from tinytensor.lessons import find
from tinytensor.live.run_settings import Settings
from tinytensor.train import Training

training = Training(find("softmax"), tt.datasets.mnist(), steps=60)
tt.live.watch(training, browser=False, speed=30)
print(training.report)
sys.stdin.read()
"""


FIT = """
import sys
import numpy as np
import tinytensor as tt
from tinytensor import nn

images = np.random.default_rng(0).integers(0, 256, (300, 12, 10, 3)).astype(np.uint8)
model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(480, 26))
report = tt.fit(model, (images, np.arange(300) % 26), epochs=4, batch=50, validation=0.2, live=True)
sys.stdin.read()
"""


def test_a_fit_on_the_live_page_has_the_same_bits(monkeypatch, tmp_path):
    pages = []
    monkeypatch.setattr("tinytensor.live.run.Run._wait_for_viewer", lambda run: None)
    monkeypatch.setattr("tinytensor.live.watching.watchable", lambda training: 1e6)
    monkeypatch.setattr("webbrowser.open", pages.append)
    settings = {"epochs": 9, "batch": 20, "validation": 40, "patience": 1, "show": None}

    def fitted(**live):
        tt.manual_seed(0)
        model = tt.nn.Sequential(tt.nn.Flatten(), tt.nn.Linear(784, 10))
        images, labels = DATA.train_images[:140], DATA.train_labels[:140]
        return model, tt.fit(model, (images, labels), **settings, **live)

    alone, report = fitted()
    file = tmp_path / "run.safetensors"
    watched, seen = fitted(live=True, save=file, coach=True)
    assert len(pages) == 1
    assert (seen.step, seen.test_loss) == (report.step, report.test_loss)
    for name, x in alone.state_dict().items():
        np.testing.assert_array_equal(x.numpy(), watched.state_dict()[name].numpy())
    assert file.exists()


@pytest.mark.parametrize("speed", [math.inf, 1000])
def test_watched_training_has_the_same_bits(capsys, speed, monkeypatch):
    if speed < math.inf:  # a viewer is there
        monkeypatch.setattr("tinytensor.live.run.Run._wait_for_viewer", lambda run: None)
    alone = Training(find("dropout"), SMALL, steps=20, batch=10)
    *_, last = alone
    watched = Training(find("dropout"), SMALL, steps=20, batch=10)
    assert tt.live.watch(watched, browser=False, speed=speed) is None
    assert watched.report.test_loss == last.test_loss
    for name, x in alone.model.state_dict().items():
        np.testing.assert_array_equal(x.numpy(), watched.model.state_dict()[name].numpy())
    out, err = capsys.readouterr()
    assert out == ""
    assert re.search(r"at http://127\.0\.0\.1:\d+/", err)
    with pytest.raises(tt.SettingError, match="already made its 20 steps"):
        tt.live.watch(watched)


def test_errors_of_a_watched_training_reach_the_caller():
    training = Training(find("softmax"), SMALL, steps=50)
    training.optimizer.lr = 1e38
    with pytest.raises(tt.AnomalyError):
        tt.live.watch(training, browser=False, speed=math.inf)


@needs_browser
def test_the_page_of_a_fit(browser):
    """A model of one's own, images in colour, 26 classes without names."""
    process = subprocess.Popen(
        [sys.executable, "-c", FIT], env=os.environ | {"BROWSER": "true"},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        address = re.search("http://[^;]+", process.stderr.readline())[0]
        viewer = Viewer(browser, address)
        until(lambda: viewer.step() > 0)
        assert viewer.column("neurons data", "digit") == [str(i) for i in range(26)]
        until(lambda: viewer.title("test digits").startswith("Test images: "))
        assert viewer.complaints() == []
    finally:
        process.kill()
        process.communicate()


@needs_browser
def test_watch_returns_when_the_training_has_ended_and_the_page_says_so(browser):
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        address = re.search("http://[^;]+", process.stderr.readline())[0]
        viewer = Viewer(browser, address)
        until(lambda: viewer.step() == 60)
        assert process.stdout.readline().startswith("StepReport(step 60, test 0.8")
        gone = "return document.getElementById('gone').innerText"
        until(lambda: "has ended" in browser.execute_script(gone))
        assert viewer.step() == 60
        process.stdin.close()
        assert process.wait(SECONDS) == 0
    finally:
        process.kill()
        process.wait()


def test_after_nan_the_page_can_restart_with_another_learning_rate(monkeypatch):
    bad = replace(find("softmax"), optimizer=lambda params: tt.optim.SGD(params, lr=1e38))
    training = Training(bad, SMALL, steps=20, evaluate_every=10)
    runs, errors = [], []

    def linger():
        (run,) = runs
        errors.append(run.error)
        run.change(Settings(lr=0.1))
        run.restart()
        until(lambda: run.training is not training and run.state == "ended")
        errors.append(run.error)

    def train():
        with live_option.watched(training, None, False, math.inf, False, None, ()) as run:
            runs.append(run)
            run.start()
            list(run)

    monkeypatch.setattr(live_option, "linger", linger)
    with pytest.raises(tt.AnomalyError) as caught:
        train()
    assert errors == [str(caught.value), None]
    assert runs[0].latest_tested.step == 20
