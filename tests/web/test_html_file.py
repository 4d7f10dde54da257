"""The page of an export: its steps are those of the C backend, and a browser runs it offline."""

import importlib.util
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from chromium import chromium, needs_browser
from conftest import instructions

import tinytensor as tt
from tinytensor import nn
from tinytensor.datasets import to_float
from tinytensor.datasets.drawn import render_strokes
from tinytensor.errors import NotSupported, SettingError
from tinytensor.lessons import find
from tinytensor.train import evaluation_mode
from tinytensor.web.html_file import export_lesson

HERE = Path(__file__).parent
CSRC = HERE.parents[1] / "csrc"
SEVEN = [[(0.3, 0.25), (0.65, 0.22), (0.6, 0.4), (0.45, 0.8)], [(0.4, 0.5), (0.7, 0.5)]]
STEPS = 20
SOME = 600  # test images, so that a test takes less time

lacking = [
    *(["ziglang"] if importlib.util.find_spec("ziglang") is None else []),
    *(["node"] if shutil.which("node") is None else []),
    *(["the C backend"] if "c" not in tt.available_backends() else []),
]


def needs_node(test):
    reason = f"to run a page without a browser, {', '.join(lacking)} is missing"
    return pytest.mark.full(pytest.mark.skipif(bool(lacking), reason=reason)(test))


def some(data):
    return data._replace(test_images=data.test_images[:SOME], test_labels=data.test_labels[:SOME])


def run_page(file, steps=STEPS, rate_factor=1.0):
    command = ["node", HERE / "run_page.js", file, steps, rate_factor, json.dumps(SEVEN)]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def shaded(images):
    return (np.rint(images / 85) * 85).astype(np.uint8)


def trained(lesson, images, labels, batches, rate_factor=1.0):
    """The losses and predictions of these batches on the C backend, and the model."""
    tt.manual_seed(3)
    model = lesson.new_model()
    optimizer = lesson.optimizer(model.parameters())
    schedule = optimizer.schedule
    losses, predictions = [], []
    for step, chosen in enumerate(batches):
        optimizer.lr = schedule(step) * rate_factor
        logits = model(tt.from_numpy(to_float(images, np.array(chosen))))
        loss = lesson.loss(logits, labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        predictions.append(logits.argmax(axis=1).numpy())
    return losses, predictions, model


@needs_node
@pytest.mark.parametrize(
    ("number", "steps", "rate_factor"),
    [("1.0", STEPS, 0.25), ("2.2", STEPS, 1.0), ("3.1", STEPS, 1.0), ("4.2", 4, 1.0)],
)
def test_the_first_losses_are_those_of_the_c_backend(tmp_path, number, steps, rate_factor):
    lesson, data, file = find(number), some(tt.datasets.mnist()), tmp_path / "net.html"
    written = export_lesson(lesson, data, file, seed=3, images=1500, steps=100)
    assert written == (1500, SOME, file.stat().st_size)
    made = run_page(file, steps, rate_factor)
    order = np.random.default_rng(3).permutation(len(data.train_images))[:1500]
    images, labels = shaded(data.train_images[order]), data.train_labels[order]
    assert made["firstImage"] == images[0].ravel().tolist()
    batches = [step["chosen"] for step in made["steps"]]
    assert len({i for chosen in batches for i in chosen}) == min(steps, 15) * 100  # in an epoch
    with (
        tt.backend("c"),
        instructions("baseline"),
    ):  # without a * b + c in one instruction, as there
        losses, predictions, model = trained(lesson, images, labels, batches, rate_factor)
        np.testing.assert_allclose([step["loss"] for step in made["steps"]], losses, atol=1e-5)
        assert np.mean(np.array([s["predictions"] for s in made["steps"]]) == predictions) > 0.999
        with evaluation_mode(model), tt.no_grad():
            logits = model(tt.from_numpy(to_float(shaded(data.test_images)))).numpy()
            drawn = np.array(made["drawn"], np.uint8).reshape(1, 28, 28)
            probabilities = tt.softmax(model(tt.from_numpy(to_float(drawn)))).numpy()
    assert np.mean(logits.argmax(axis=1) == made["test"]) > 0.995
    assert made["labels"] == data.test_labels.tolist()
    np.testing.assert_allclose(made["probabilities"], probabilities[0], atol=1e-4)
    assert made["again"] == made["steps"][0]["loss"]  # after a reset


@needs_node
def test_a_drawn_digit_becomes_the_image_of_predict(tmp_path):
    file = tmp_path / "net.html"
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    before = {name: x.numpy().copy() for name, x in model.state_dict().items()}
    state = tt.random.state().copy()
    tt.export_html(model, some(tt.datasets.mnist()), file, images=100)
    assert all((x.numpy() == before[name]).all() for name, x in model.state_dict().items())
    assert (tt.random.state() == state).all()
    image = np.array(run_page(file, 1)["drawn"]).reshape(28, 28)
    wanted = render_strokes(SEVEN).astype(float)
    assert np.abs(image - wanted).mean() < 8  # of 255; half of a shade is 42
    assert set(np.unique(image)) <= {0, 85, 170, 255}


@needs_node
def test_a_page_starts_with_the_given_weights(tmp_path):
    lesson, data, file = find("1.0"), some(tt.datasets.mnist()), tmp_path / "net.html"
    tt.manual_seed(0)
    weights = lesson.new_model()
    weights.weight.data += 0.01
    export_lesson(lesson, data, file, images=200, weights=weights)
    assert run_page(file, 0)["test"] == [0] * SOME  # equal weights: all classes are equal
    weights.bias.data += np.eye(10, dtype=np.float32)[4]
    export_lesson(lesson, data, file, images=200, weights=weights)
    assert run_page(file, 0)["test"] == [4] * SOME


@pytest.mark.browser
@needs_browser
@pytest.mark.skipif("ziglang" in lacking, reason="ziglang is not installed")
def test_a_browser_trains_without_a_network(tmp_path):
    file = tmp_path / "net.html"
    steps = 1_000_000  # more than a fast machine makes before the page is told to pause
    export_lesson(
        find("1.0"), tt.datasets.mnist(), file, steps=steps, images=3000, note="<i>made</i> up"
    )
    browser = chromium()
    try:
        browser.execute_cdp_cmd("Network.enable", {})
        offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
        browser.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
        browser.get("about:blank")
        browser.get_log("performance")
        browser.get(file.as_uri())
        status = Status(browser)
        status.until("step 0 of 1,000,000")
        browser.find_element("id", "play").click()
        wait_for_step(browser, 500)
        browser.find_element("id", "play").click()  # pause
        assert browser.find_element("id", "play").text == "Play"
        step = browser.execute_script("return network.step")
        browser.find_element("id", "one").click()
        assert browser.execute_script("return network.step") == step + 1
        browser.execute_script(
            "const rate = document.getElementById('rate'); rate.value = 1;"
            "rate.dispatchEvent(new Event('input'))"
        )
        assert browser.find_element("id", "rateText").text == "5"
        title = browser.find_element("id", "testTitle").text
        wrong = int(title.partition(": ")[2].partition(" of 10,000")[0].replace(",", ""))
        assert wrong < 1500
        assert f"{100 - wrong / 100:.2f} %" in browser.find_element("id", "status").text
        draw_a_one(browser)
        assert browser.find_element("css selector", "#classes .best").text == "1"
        browser.find_element("id", "clear").click()
        assert not browser.find_elements("css selector", "#classes .best")
        assert browser.find_element("id", "note").text == "<i>made</i> up"
        browser.find_element("id", "play").click()
        time.sleep(0.1)
        browser.find_element("id", "again").click()
        status.until("step 0 of 1,000,000")
        messages = [json.loads(e["message"])["message"] for e in browser.get_log("performance")]
        sent = [m["params"]["request"]["url"] for m in messages if m["method"] == SENT]
        assert sent == [file.as_uri()]
        assert browser.get_log("browser") == []
    finally:
        browser.quit()


SENT = "Network.requestWillBeSent"


class Status:
    """The status line of a page."""

    def __init__(self, browser):
        self.browser = browser

    def until(self, words, seconds=60):
        end = time.monotonic() + seconds
        while words not in (text := self.browser.find_element("id", "status").text):
            assert time.monotonic() < end, text
            time.sleep(0.05)


def wait_for_step(browser, step, seconds=60):
    end = time.monotonic() + seconds
    while browser.execute_script("return network.step") < step:
        assert time.monotonic() < end, browser.find_element("id", "status").text
        time.sleep(0.05)


def draw_a_one(browser):
    from selenium.webdriver.common.action_chains import ActionChains

    pad = browser.find_element("id", "pad")
    chain = ActionChains(browser).move_to_element_with_offset(pad, 5, -60).click_and_hold()
    chain.move_by_offset(-3, 60).move_by_offset(-3, 60).release().perform()


def test_steps_that_need_python_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("tinytensor.web.webassembly.compiled_kernels", lambda caller: b"")
    data, file = some(tt.datasets.mnist()), tmp_path / "net.html"
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))

    class Own(tt.optim.Optimizer):
        def _update(self, i, grad, param):
            param -= self.lr * grad

    for number in ("small", "best"):
        with pytest.raises(NotSupported, match="distorts the images in Python"):
            export_lesson(find(number), data, file)
    if "c" in tt.available_backends():
        with pytest.raises(NotSupported, match="calls the Python function"):
            tt.export_html(model, data, file, optimizer=Own(model.parameters(), 0.1))
    for wrong in ({"images": 99}, {"images": 60_001}, {"batch": 0}, {"steps": 0}, {"seed": -1}):
        with pytest.raises(SettingError, match=next(iter(wrong))):
            tt.export_html(model, data, file, **wrong)
    assert not file.exists()


def test_without_ziglang_one_sentence_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ziglang", None)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    with pytest.raises(SettingError, match=r"tinytensor-engine\[compiler\]"):
        tt.export_html(model, some(tt.datasets.mnist()), tmp_path / "net.html")


def test_the_webassembly_has_all_kernels():
    sys.path.insert(0, str(CSRC.parent))
    from csrc.build import KERNEL_FILES

    sys.path.remove(str(CSRC.parent))
    text = (CSRC / "wasm.c").read_text()
    included = [line.split('"')[1] for line in text.splitlines() if line.startswith('#include "')]
    wanted = [name for name in KERNEL_FILES if "ladder/" not in name and name != "probe.c"]
    assert included == wanted
