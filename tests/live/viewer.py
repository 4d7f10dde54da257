"""A viewer's page in a headless browser, and the pages to view."""

import json
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from io import BytesIO

import numpy as np
import pytest
from chromium import LACKING, chromium
from PIL import Image

import tinytensor as tt
from tinytensor.lessons import find
from tinytensor.live.run import Run
from tinytensor.train import Training

if "bokeh" in LACKING:
    pytest.skip("a live page needs bokeh: pip install -e '.[test]'", allow_module_level=True)

from tinytensor.live.server import Server
from tinytensor.live.training_page import PageView, page
from tinytensor.live.wall import Wall

DATA = tt.datasets.mnist()
SECONDS = 60  # maximum wait, long enough for a busy machine


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium of 1280 x 800 pixels that logs its requests and messages."""
    driver = chromium("--hide-scrollbars", "--disable-gpu")
    resize(driver, 1280, 800)
    yield driver
    driver.quit()


def resize(browser, width, height):
    """Set the size of the window in pixels."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def until(condition):
    """Wait until condition() is true; return its value."""
    end = time.monotonic() + SECONDS
    while not (holds := condition()):
        assert time.monotonic() < end, f"still false after {SECONDS} s"
        time.sleep(0.05)
    return holds


class Viewer:
    """A page in a viewer's browser."""

    def __init__(self, browser, address):
        self.browser = browser
        browser.get("about:blank")  # the page of an earlier test may still try to connect
        for log in ("browser", "performance"):
            browser.get_log(log)
        browser.get(address)
        until(lambda: browser.execute_script("return !!(window.Bokeh && Bokeh.documents.length)"))

    def model(self, name, wanted):
        """The value of a JavaScript expression of the Bokeh model with this name."""
        return self.browser.execute_script(
            f"const model = Bokeh.documents[0].get_model_by_name(arguments[0]); return {wanted}",
            name,
        )

    def column(self, source, column):
        return self.model(source, f"Array.from(model.get('{column}'))")

    def picture(self, source):
        """The image of a data source, read from the browser."""
        pixels, shape = self.model(
            source, "[Array.from(model.get('image')[0]), model.get('image')[0].shape]"
        )
        return np.array(pixels).reshape(shape)

    def title(self, panel):
        """The title of a panel, without its legend."""
        return re.search(r"<h3>(.*?)(?: <span|</h3>)", self.model(f"{panel} title", "model.text"))[
            1
        ]

    def figures(self):
        """The values of the status line, by name."""
        text = self.model("figures", "model.text")
        return dict(re.findall(r"<span>(.*?)</span> <b>(.*?)</b>", text))

    def step(self):
        """The step shown on the page, 0 before the first."""
        return int(self.figures().get("step", "0").split(" of ")[0].replace(",", ""))

    def click(self, name):
        """Click the button with this name."""
        element = self.browser.execute_script(
            "return Bokeh.index.find_one(Bokeh.documents[0].get_model_by_name(arguments[0]))"
            ".button_el",
            name,
        )
        element.click()

    def choose(self, name, label):
        """Choose an option of a drop-down."""
        self.browser.execute_script(
            "const view = Bokeh.index.find_one("
            "Bokeh.documents[0].get_model_by_name(arguments[0]));"
            "const labels = Array.from(view.input_el.options).map((option) => option.text);"
            "view.input_el.selectedIndex = labels.indexOf(arguments[1]);"
            "view.input_el.dispatchEvent(new Event('change'))",
            name, label,
        )  # fmt: skip

    def slide(self, name, *keys):
        """Press keys on a slider."""
        self.model(
            name,
            "Bokeh.index.find_one(model).shadow_el.querySelector('.noUi-handle').focus()",
        )
        self.keys(*keys)

    def place(self, figure):
        """x, y, width and height of a figure's frame on the page, in pixels; 0 if not shown."""
        return self.browser.execute_script(
            "const view = Bokeh.index.find_one("
            "Bokeh.documents[0].get_model_by_name(arguments[0]));"
            "if (!view) return [0, 0, 0, 0];"
            "const of = view.el.getBoundingClientRect(), at = view.frame.bbox;"
            "return [of.x + at.x, of.y + at.y, at.width, at.height]",
            figure,
        )

    def scroll_to(self, figure):
        """Scroll the page so that a figure is visible."""
        self.browser.execute_script(
            "Bokeh.index.find_one(Bokeh.documents[0].get_model_by_name(arguments[0]))"
            ".el.scrollIntoView({block: 'center'})",
            figure,
        )

    def keys(self, *keys):
        """Press the keys, one after another."""
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.browser).send_keys(*keys).perform()

    def screenshot(self):
        return np.asarray(Image.open(BytesIO(self.browser.get_screenshot_as_png())).convert("RGB"))

    def press(self, *places):
        """Press the mouse at the first point, move it along the points, and release it."""
        from selenium.webdriver.common.action_chains import ActionChains

        chain = ActionChains(self.browser, duration=30)
        mouse = chain.w3c_actions.pointer_action
        for i, (x, y) in enumerate(places):
            mouse.move_to_location(round(x), round(y))
            if i == 0:
                mouse.pointer_down()
        mouse.pointer_up()
        chain.perform()

    def complaints(self):
        return [entry for entry in self.browser.get_log("browser") if entry["level"] == "SEVERE"]

    def requests(self):
        """The URLs that the browser requested."""
        for entry in self.browser.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                yield message["params"]["request"]["url"]
            elif message["method"] == "Network.webSocketCreated":
                yield message["params"]["url"]


@contextmanager
def served(
    lesson="softmax", for_viewer=False, present=False, may_control=True, host=None, data=DATA,
    **settings,
):  # fmt: skip
    """A run that is not started, and the server of its page."""
    found = find(lesson) if isinstance(lesson, str) else lesson
    run = Run(Training(found, data, **settings), for_viewer=for_viewer)
    wall = Wall(len(data.names))
    server = Server(page(run, wall, PageView(may_control, present)), host=host)
    server.start()
    try:
        yield run, server
    finally:
        run.close()
        server.close()


def finish(run):
    """Train until the last step."""
    run.start()
    return list(run)


def settled(viewer):
    """A screenshot, after two in a row are equal."""
    shots = [viewer.screenshot()]

    def is_settled():
        time.sleep(0.3)
        shots.append(viewer.screenshot())
        return np.array_equal(*shots[-2:])

    until(is_settled)
    return shots[-1]


@contextmanager
def command(*arguments, begin=(sys.executable, "-m", "tinytensor"), program="train softmax --live"):
    """A process `tinytensor train softmax --live`, and the address that it prints."""
    process = subprocess.Popen(
        [*begin, *program.split(), "--no-browser", "--speed", "max", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        address = None
        while address is None:
            line = process.stderr.readline()
            assert line, "the process has ended"
            if found := re.match(r"(?:watch it|waiting for a viewer) at (http://[^/]+/)", line):
                address = found[1]
        yield process, address
    finally:
        process.kill()
        process.communicate()
