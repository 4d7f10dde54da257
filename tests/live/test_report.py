"""The HTML page of a run file, in a browser without a network connection."""

import io
import json
import os
import re
import time
import webbrowser
from pathlib import Path

import numpy as np
import pytest
from chromium import chromium, needs_browser
from PIL import Image
from test_recording import DATA, SMALL, record

from tinytensor.live import drawing, picture, replay_page, run_file


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """The run file of a short run."""
    file = tmp_path_factory.mktemp("run") / "run"
    record(file, lesson="relu", data=DATA, steps=400, evaluate_every=100)
    return file


@pytest.fixture(scope="module")
def loaded(recorded):
    return run_file.load(recorded)


@pytest.fixture(scope="module")
def page(recorded, loaded):
    file = recorded.parent / "run.html"
    replay_page.write(file, loaded)
    return file


@pytest.fixture
def browser():
    """A headless Chromium without a network connection."""
    browser = chromium("--disable-dev-shm-usage")
    metrics = {"width": 1280, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    browser.execute_cdp_cmd("Network.enable", {})
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    yield browser
    browser.quit()


def opened(browser, page):
    browser.get(page.as_uri())
    until(lambda: browser.execute_script("return Bokeh.documents[0]?.is_idle"))


def until(what):
    end = time.monotonic() + 30
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


def model(browser, name, what):
    """The value of a JavaScript expression of the Bokeh model with this name."""
    script = f"return Bokeh.documents[0].get_model_by_name('{name}').{what}"
    return browser.execute_script(script)


def pixels(browser):
    """A screenshot (800, 1280, 3), after the last changes are painted."""
    browser.execute_async_script("setTimeout(arguments[0], 300)")
    screen = Image.open(io.BytesIO(browser.get_screenshot_as_png()))
    return np.asarray(screen.convert("RGB"), np.int32)


def is_like(pixels, colour, by=12):
    return (np.abs(pixels - colour) <= by).all(axis=-1)


def panel_of(browser, screen, name):
    """The pixels of a panel, inside its axes."""
    x, y, width, height = browser.execute_script(
        f"""
        const view = Bokeh.index.find_one(Bokeh.documents[0].get_model_by_name("{name}"))
        const {{left, top}} = view.el.getBoundingClientRect(), {{bbox}} = view.frame
        return [left + bbox.left, top + bbox.top, bbox.width, bbox.height].map(Math.round)
        """
    )
    return screen[y + 2 : y + height - 2, x + 2 : x + width - 2]


def digits_of(panel, columns, rows):
    """The part of a panel in which the square digits are."""
    height, width, _ = panel.shape
    side = min(width / columns, height / rows)
    return panel[: round(rows * side), : round(columns * side)]


PLAY = """
const find = (root) => {
  for (const element of root.querySelectorAll("*")) {
    if (element.matches("button")) return element
    const found = element.shadowRoot && find(element.shadowRoot)
    if (found) return found
  }
}
const [button, slider, line] = [find(document), ...["slider", "line"].map(
  (name) => Bokeh.documents[0].get_model_by_name(name)
)]
const seen = []
line.properties.text.change.connect(() => {
  seen.push([slider.value, line.text])
  if (slider.value == until) button.click()
})
button.click()
setTimeout(() => arguments[0](seen), seconds * 1000)
"""


def play(browser, until, seconds=2.5):
    """Pairs (slider value, status line) seen after a click on play, paused at value `until`."""
    script = f"const until = {until}, seconds = {seconds}\n{PLAY}"
    return browser.execute_async_script(script)


@needs_browser
def test_page_plays_without_a_network(browser, page, loaded):
    opened(browser, page)
    lines = [drawing.status_line(snapshot, 400) for snapshot in loaded.snapshots]
    assert model(browser, "slider", "value") == 3
    assert model(browser, "line", "text") == lines[-1]
    screen = pixels(browser)
    for name in ("accuracy", "loss", "train", "weights", "biases", "test"):
        panel = panel_of(browser, screen, name)
        assert min(panel.shape[:2]) > 250
        assert 0.02 < (~is_like(panel, 255)).mean() < 0.98, f"{name} is empty"

    assert play(browser, until=-1) == [[i, line] for i, line in enumerate(lines)]
    assert play(browser, until=1) == [[i, lines[i]] for i in (0, 1)], "paused"

    logged = [entry for entry in browser.get_log("browser") if entry["level"] != "INFO"]
    assert logged == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    kinds = {
        event["params"]["request"]["url"].partition(":")[0]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    }
    assert kinds <= {"file", "data", "blob"}
    assert page.stat().st_size < 3 * 2**20


@needs_browser
def test_digits_and_curves_follow_the_slider(browser, page, loaded):
    opened(browser, page)
    for now, snapshot in enumerate(loaded.snapshots):
        model(browser, "slider", f"value = {now}")
        screen = pixels(browser)
        panel = digits_of(panel_of(browser, screen, "train"), 10, 10)
        rows = np.array_split(is_like(panel, picture.RED), 10)
        tiles = [tile for row in rows for tile in np.array_split(row, 10, axis=1)]
        red = [tile.mean() > 0.2 for tile in tiles]
        assert red == (snapshot.train_labels != snapshot.train_predictions).tolist()

        panel = digits_of(panel_of(browser, screen, "test"), 35, 29)
        red, white = is_like(panel, picture.RED).mean(), is_like(panel, 255).mean()
        misclassified = (snapshot.test_labels != snapshot.test_predictions).mean()
        assert red / (red + white) == pytest.approx(misclassified, abs=0.03)

        for name, colour in (("accuracy", picture.TEST), ("loss", picture.TRAIN)):
            rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
            columns = is_like(panel_of(browser, screen, name), rgb, 40).any(axis=0)
            assert columns.any() == (now > 0), "one point is no line"
            if now:
                end = np.flatnonzero(columns).max() / len(columns)
                assert end == pytest.approx(snapshot.step / 400, abs=0.03)


TOOLTIP = """
const texts = (root) => [...root.querySelectorAll("*")].flatMap((element) => [
  ...(element.classList.contains("bk-tooltip-content") ? [element.textContent] : []),
  ...(element.shadowRoot ? texts(element.shadowRoot) : []),
])
return texts(document).join("").trim()
"""


@pytest.mark.full
@needs_browser
def test_the_mouse_shows_the_classes_of_an_image(browser, page, loaded):
    opened(browser, page)
    for now in (0, 3):
        model(browser, "slider", f"value = {now}")
        shot = loaded.snapshots[now]
        for name, part in (("train", "train"), ("test", "test")):
            x, y = browser.execute_script(
                f"""
                const view = Bokeh.index.find_one(Bokeh.documents[0].get_model_by_name("{name}"))
                const {{left, top}} = view.el.getBoundingClientRect(), {{bbox}} = view.frame
                return [left + bbox.left, top + bbox.top]
                """
            )
            moved = {"type": "mouseMoved", "x": x + 6, "y": y + 6}  # to the first image
            browser.execute_cdp_cmd("Input.dispatchMouseEvent", moved)
            label, computed = (
                getattr(shot, f"{part}_{what}")[0] for what in ("labels", "predictions")
            )
            words = f"{label}" if label == computed else f"{label}, taken for {computed}"
            until(lambda words=words: browser.execute_script(TOOLTIP) == words)


@needs_browser
@pytest.mark.parametrize("size", [(1280, 800), (1600, 700), (1024, 1000)])
def test_digits_are_square_in_windows_of_any_shape(browser, page, size):
    width, height = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    opened(browser, page)
    for name, rows, row_height in (("train", 10, 1), ("test", 29, 35 / 10_000)):
        end = model(browser, name, "x_range.end")
        low, high = (model(browser, name, f"y_range.{edge}") for edge in ("start", "end"))
        digit = model(browser, name, "inner_width") / end
        assert digit == pytest.approx(
            model(browser, name, "inner_height") * row_height / (high - low)
        )
        assert digit * rows > 200


@needs_browser
def test_page_is_dark_if_the_browser_prefers_dark(browser, page):
    dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)
    opened(browser, page)
    screen = pixels(browser)
    paper = screen[-1, 640]
    assert (paper < 50).all()
    for name in ("accuracy", "loss"):
        assert is_like(panel_of(browser, screen, name), paper).mean() > 0.8
    assert screen[100:410, 5:40].max() > 200, "light labels on dark"


@needs_browser
def test_page_of_one_snapshot(browser, tmp_path):
    record(tmp_path / "run", data=SMALL, steps=1, batch=3)
    replay_page.write(tmp_path / "run.html", run_file.load(tmp_path / "run"))
    opened(browser, tmp_path / "run.html")
    assert model(browser, "slider", "disabled")
    assert "step 1 of 1" in model(browser, "line", "text")
    screen = pixels(browser)
    for name in ("accuracy", "loss", "weights", "biases"):
        panel = panel_of(browser, screen, name)
        assert (panel.max(axis=-1) - panel.min(axis=-1) > 60).any(), f"no colour in {name}"
    assert [e for e in browser.get_log("browser") if e["level"] != "INFO"] == []


@pytest.mark.full
def test_number_of_frames(loaded):
    two, all_frames = replay_page.page(loaded, frames=2), replay_page.page(loaded)
    images = [len(re.findall("data:image/webp;base64,", page)) for page in (two, all_frames)]
    assert images == [4, 8]


@pytest.mark.full
def test_curves_are_complete_with_two_frames(loaded):
    layout = replay_page._layout(loaded, [loaded.snapshots[0], loaded.snapshots[-1]], "")
    for name in ("train", "test", "bands"):
        source = layout.select_one({"name": f"{name}, complete"})
        assert source.data["step"].tolist() == [100, 200, 300, 400]


# tinytensor report -o, tinytensor replay


def test_report_writes_the_page(run, recorded, page, tmp_path):
    file = tmp_path / "page.html"
    code, out, err = run("report", recorded, "-o", file)
    assert code == 0
    assert re.fullmatch(r".*page\.html: \d\.\d MiB\n", out)
    assert "lesson 2.1 relu, seed 0: 4 snapshots, the last of step 400 of 400" in err
    assert file.stat().st_size == pytest.approx(page.stat().st_size, rel=1e-3)


@pytest.mark.full
@pytest.mark.parametrize("has_browser", [True, False])
def test_replay_opens_a_browser(run, recorded, monkeypatch, has_browser):
    seen = []
    monkeypatch.setattr(webbrowser, "open", lambda url: seen.append(url) or has_browser)
    code, out, err = run("replay", recorded)
    assert code == 0
    file = Path(out.strip())
    assert seen == [file.as_uri()]
    assert ("no browser was found" in err) is not has_browser
    code, out, _ = run("replay", recorded, "--no-browser")
    assert code == 0
    assert len(seen) == 1
    assert "<title>Lesson 2.1" in Path(out.strip()).read_text("utf-8")
    os.unlink(file)
    os.unlink(out.strip())
    code, _, err = run("replay", __file__)
    assert (code, err.count("\n")) == (2, 1)
    assert "one that tinytensor train --record wrote is needed" in err
