"""The page of the course in a headless browser: lessons, sliders, pale curves, drawing, wall."""

import signal
import time
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import pytest
import viewer as viewers
from chromium import needs_browser
from test_course import running
from test_page_layout import VISIBLE
from viewer import SECONDS, Viewer, command, resize, settled, until

from tinytensor.live.course_page import page
from tinytensor.live.picture import MISCLASSIFIED
from tinytensor.live.server import Server
from tinytensor.live.training_page import PageView

browser = viewers.browser
HOST = "127.0.0.2"  # another address of this machine, as far as browsers and sockets know
SEVEN = [(0.25, 0.2), (0.5, 0.2), (0.75, 0.22), (0.6, 0.5), (0.45, 0.85)]


@contextmanager
def served(**settings):
    """A course that runs, and the server of its page."""
    with running(**settings) as shown:
        server = Server(page(shown, PageView()))
        server.start()
        try:
            yield shown, server
        finally:
            server.close()


def shows(viewer, text, step):
    """True if the page shows the run with this text in its title, after this step."""
    return text in viewer.model("title", "model.text") and viewer.step() == step


def draw(viewer, pad="large pad"):
    """Draw a seven on a pad."""
    x, y, width, height = until(lambda: viewer.place(pad)[2] > 50 and viewer.place(pad))
    viewer.press(*((x + a * width, y + b * height) for a, b in SEVEN))
    until(lambda: viewer.column("digit data", "image"))


def click_answer(viewer, label):
    """Click the button of the group "it is a" with this label."""
    button = viewer.model(
        "it is a",
        "[...Bokeh.index.find_one(model).shadow_el.querySelectorAll('button')]"
        f".find((button) => button.innerText == '{label}')",
    )
    button.click()


@needs_browser
def test_next_and_back_begin_other_lessons(browser):
    with served(steps=40, speed=None) as (shown, server):
        viewer = Viewer(browser, server.address)
        until(lambda: viewer.step() == 40)
        assert viewer.model("back", "model.disabled")
        viewer.click("next")
        until(lambda: viewer.model("title", "model.text").startswith("<h1>Lesson 2.0: "))
        until(lambda: viewer.figures()[""] == "ready")
        assert viewer.step() == 0, "it begins untrained, as the first lesson did"
        assert (viewer.picture("test digits data") % 32 >= MISCLASSIFIED).mean() > 0.8, "red"
        assert "2.0: five layers" in viewer.model("lesson", "model.text"), "with its chapter"
        assert browser.title == "tinytensor: lesson 2.0 sigmoid"
        until(lambda: viewer.step() == 40)
        viewer.keys("n")
        until(lambda: viewer.model("lessons", "model.active") == 2)
        until(lambda: shown.present.index == 2)
        viewer.keys("b")
        until(lambda: shown.present.index == 1)
        viewer.model("lessons", "model.active = 6")
        until(lambda: shows(viewer, "Lesson 4.0", 40))
        assert viewer.title("activations") == "Activations"
        assert viewer.column("logits data", "step")[-1] == 40
        assert viewer.complaints() == []


@needs_browser
def test_curves_of_the_run_before_are_pale_behind(browser):
    with served(steps=60, first=1) as (_, server):
        viewer = Viewer(browser, server.address)
        until(lambda: viewer.step() == 60)
        before = viewer.column("loss test", "y")
        assert len(before) > 1
        viewer.click("next")
        until(lambda: shows(viewer, "Lesson 2.1", 60))
        assert viewer.column("loss earlier test", "y") == before
        heading = viewer.model(
            "loss title", "Bokeh.index.find_one(model).shadow_el.querySelector('h3').innerText"
        )
        assert "2.1 relu, pale: 2.0 sigmoid" in heading
        shot = settled(viewer)
        x, y, width, height = map(round, viewer.place("loss"))
        inside = shot[y + 2 : y + height - 2, x + 2 : x + width - 2].astype(int)
        orange = inside[..., 0] - inside[..., 2] > 40
        pale = orange & (inside[..., 2] > 120)
        assert pale.sum() > 100, "the curve before"
        assert (orange & ~pale).sum() > 100, "the curve of this run"
        assert viewer.complaints() == []


@needs_browser
def test_sliders_set_the_next_run(browser):
    from selenium.webdriver.common.keys import Keys

    with served(steps=30, first=3) as (shown, server):
        viewer = Viewer(browser, server.address)
        until(lambda: viewer.step() == 30)
        first = shown.present.run
        for name in ("learning rate", "batch", "keep probability"):
            viewer.slide(name, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
        until(lambda: viewer.model("keep probability", "model.value") == "0.5")
        assert shown.present.run is first, "the sliders change nothing until then"
        assert viewer.model("begin again", "model.label") == "begin again with"
        viewer.click("begin again")
        until(lambda: shows(viewer, "learning rate 0.0003", 30))
        assert shown.present.settings == (0.0003, 20, 0.5)
        assert viewer.figures()["learning rate"] == "0.0003"
        assert "batch 20" in viewer.model("title", "model.text")
        heading = viewer.model("accuracy title", "model.text")
        assert "2.2 dropout, learning rate 0.0003, keep probability 0.5, batch 20" in heading
        assert viewer.complaints() == []


@needs_browser
def test_bars_move_while_one_draws(browser):
    from selenium.webdriver.common.action_chains import ActionChains

    with served(steps=200) as (_, server):
        viewer = Viewer(browser, server.address)
        until(lambda: viewer.step() == 200)
        viewer.choose("show", "Draw a digit")
        x, y, width, height = until(
            lambda: viewer.place("large pad")[2] > 400 and viewer.place("large pad")
        )
        assert abs(width - height) <= 1, "a square"
        chain = ActionChains(browser, duration=30)
        mouse = chain.w3c_actions.pointer_action
        (a, b), *others = SEVEN
        mouse.move_to_location(round(x + a * width), round(y + b * height))
        mouse.pointer_down()
        chain.perform()
        seen = []
        for a, b in others:
            chain = ActionChains(browser, duration=30)
            mouse = chain.w3c_actions.pointer_action
            mouse.move_to_location(round(x + a * width), round(y + b * height))
            chain.perform()

            def moved():
                bars = viewer.column("neurons data", "probability")
                return any(bars) and bars not in seen and (seen.append(bars) or True)

            until(moved)  # while the button of the mouse is down
        chain = ActionChains(browser)
        chain.w3c_actions.pointer_action.pointer_up()
        chain.perform()
        assert len(seen) == len(others)
        assert "predicted" in until(lambda: viewer.model("large verdict", "model.text"))
        assert viewer.complaints() == []


@needs_browser
def test_drawn_digits_are_on_the_wall_of_all_viewers(browser):
    with served(steps=400) as (shown, server):
        onlookers = Server(page(shown, PageView(may_control=False)), host=HOST)
        onlookers.start()
        try:
            until(lambda: shown.present.run.state == "ended")
            phone = Viewer(browser, onlookers.address)
            until(lambda: phone.step() == 400)
            phone.choose("show", "Draw a digit")
            for answer in ("7", "1", "?"):
                draw(phone)
                click_answer(phone, answer)
                until(lambda: not phone.column("digit data", "image"))
            note = phone.model("note", "model.text")
            assert note == "It is on the wall. Draw the next one."
            click_answer(phone, "7")
            until(lambda: phone.model("note", "model.text") == "Draw a digit first.")
            viewer = Viewer(browser, server.address)
            viewer.choose("show", "Wall")
            until(lambda: viewer.place("wall")[2] > 0 and viewer.column("wall data", "image"))
            until(lambda: viewer.title("wall") == "Wall: 3 drawn, 1 of 2 recognised")
            assert viewer.column("wall marks", "correct") == ["7", "1", "?"]
            assert viewer.column("wall marks", "computed") == ["7", "7", "7"]
            (columns,) = viewer.column("wall data", "width")
            side = viewer.picture("wall data").shape[1] / columns
            assert 20 < side < 150, "small squares"
            settled(viewer)
            x, y, *_ = viewer.place("wall")
            viewer.press((x + 1.5 * side, y + 0.5 * side))  # "taken for 7, it is a 1"
            until(lambda: "it is a 1" in viewer.model("verdict", "model.text"))
            viewer.click("clear the wall")
            until(lambda: viewer.title("wall") == "Wall: 0 drawn, 0 of 0 recognised")
            assert viewer.complaints() == []
        finally:
            onlookers.close()


@needs_browser
def test_a_finger_draws_on_a_phone_and_does_not_scroll(browser):
    with served(steps=200) as (_, server):
        resize(browser, 390, 844)
        try:
            viewer = Viewer(browser, server.address)
            until(lambda: viewer.step() == 200)
            viewer.choose("show", "Draw a digit")
            until(lambda: viewer.place("large pad")[2] > 300)
            viewer.scroll_to("large pad")
            settled(viewer)
            scrolled = browser.execute_script("return scrollY")
            x, y, width, height = viewer.place("large pad")

            def touch(kind, *points):
                points = [{"x": x + a * width, "y": y + b * height} for a, b in points]
                browser.execute_cdp_cmd(
                    "Input.dispatchTouchEvent", {"type": kind, "touchPoints": points}
                )

            touch("touchStart", SEVEN[0])
            for before, after in pairwise(SEVEN):
                for part in np.linspace(0, 1, 6)[1:]:
                    a, b = (1 - part) * np.array(before) + part * np.array(after)
                    touch("touchMove", (a, b))
                    time.sleep(0.02)
            touch("touchEnd")
            until(lambda: "<b>7</b>" in (viewer.model("large verdict", "model.text") or ""))
            assert browser.execute_script("return scrollY") == scrolled
            assert viewer.complaints() == []
        finally:
            resize(browser, 1280, 800)


@needs_browser
def test_f_is_the_full_screen(browser):
    with served(steps=5) as (_, server):
        viewer = Viewer(browser, server.address)
        until(lambda: viewer.step() == 5)
        viewer.keys("f")
        until(lambda: browser.execute_script("return document.fullscreenElement !== null"))
        viewer.keys("f")
        until(lambda: browser.execute_script("return document.fullscreenElement === null"))


@needs_browser
@pytest.mark.parametrize(("width", "height"), [(1280, 800), (1024, 768), (768, 1024), (390, 844)])
def test_no_text_of_the_course_is_cut(browser, width, height):
    with served(steps=20, first=3) as (shown, server):
        resize(browser, width, height)
        try:
            until(lambda: shown.present.run.state == "ended")
            shown.begin(3)
            viewer = Viewer(browser, server.address)
            until(lambda: viewer.model("loss title", "model.text").count("2.2 dropout") == 2)
            until(lambda: viewer.step() == 20)
            for panel in ("Six panels", "Draw a digit", "Wall"):
                viewer.choose("show", panel)
                settled(viewer)
                for text, left, right, cut, _ in browser.execute_script(VISIBLE):
                    assert left >= 0, text
                    assert right <= width, text
                    assert cut <= 0, text
            assert viewer.complaints() == []
        finally:
            resize(browser, 1280, 800)


@needs_browser
def test_course_is_a_command(browser):
    browser.get("about:blank")  # the page of an earlier test would try to connect
    with command("--steps", "40", "conv", program="course") as (process, address):
        viewer = Viewer(browser, address)
        until(lambda: viewer.step() == 40)
        assert viewer.model("lessons", "model.labels[model.active]") == "3.0"
        viewer.click("next")
        until(lambda: shows(viewer, "Lesson 3.1", 40))
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 0
        assert "Traceback" not in process.stderr.read()
