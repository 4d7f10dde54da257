"""The layout of the live page: windows, presentation, help, keys, and the end of the server."""

from dataclasses import replace

import numpy as np
import pytest
import viewer as viewers
from chromium import needs_browser
from viewer import Viewer, finish, resize, served, settled, until

from tinytensor.lessons import OWN_SETTINGS, find
from tinytensor.live.names import PANELS
from tinytensor.live.run_settings import Settings

browser = viewers.browser

VISIBLE = """
const found = []
const visit = (root) => {
  for (const element of root.querySelectorAll("*")) {
    if (element.shadowRoot) visit(element.shadowRoot)
    const has_text = [...element.childNodes].some((node) => node.nodeType == 3 && node.data.trim())
    const box = element.getBoundingClientRect()
    if (has_text && box.width && element.checkVisibility() && !element.matches("style, option"))
      found.push([element.textContent.trim().slice(0, 60), box.left, box.right,
        element.scrollWidth - element.clientWidth, parseFloat(getComputedStyle(element).fontSize)])
  }
}
visit(document.body)
return found
"""

ROWS_OF_TABS = """
const tabs = Bokeh.index.find_one(Bokeh.documents[0].get_model_by_name("tabs"))
return tabs.header_els.map((element) => element.getBoundingClientRect().y)
"""


@pytest.fixture
def window(browser):
    """A function that sets the size of the window; afterwards it is 1280 x 800 again."""
    yield lambda width, height: resize(browser, width, height)
    resize(browser, 1280, 800)


@needs_browser
@pytest.mark.parametrize(("width", "height"), [(1280, 800), (1024, 768), (768, 1024), (390, 844)])
def test_no_text_is_cut(browser, window, width, height):
    with served(steps=20) as (run, server):
        window(width, height)
        viewer = Viewer(browser, server.address)
        finish(run)
        until(lambda: viewer.column("test digits data", "image") and viewer.step() == 20)
        settled(viewer)
        texts = browser.execute_script(VISIBLE)
        assert len(texts) > 20
        for text, left, right, cut, _ in texts:
            assert left >= 0, text
            assert right <= width, text
            assert cut <= 0, text
        for panel in ("accuracy", "loss", "training digits", "weights", "biases", "test digits"):
            *_, across, down = viewer.place(panel)
            assert across > 150, panel
            assert down > 150, panel


@needs_browser
@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
def test_no_text_is_cut_after_many_changes(browser, window, width, height):
    given = OWN_SETTINGS | {"lr": "0.01", "optimizer": "rmsprop", "keep_prob": "0.5"}
    with served(replace(find("dropout"), settings=given), steps=20, batch=50) as (run, server):
        window(width, height)
        run.training.changes[:] = ["learning rate 0.02 from step 10", "keep probability 1"]
        finish(run)
        run.may_restart = True
        run.change(Settings(lr=0.03, keep_prob=0.8))
        run.restart()
        viewer = Viewer(browser, server.address)
        until(lambda: viewer.column("test digits data", "image") and viewer.step() == 20)
        until(
            lambda: (
                "pale: 2.2 dropout, learning rate 0.02" in viewer.model("loss title", "model.text")
            )
        )
        settled(viewer)
        for text, left, right, cut, _ in browser.execute_script(VISIBLE):
            assert left >= 0, text
            assert right <= width, text
            assert cut <= 0, text
        rows = browser.execute_script(ROWS_OF_TABS)
        assert len(rows) == 7
        assert len(set(rows)) == 1


@needs_browser
def test_phone_has_one_column_and_scrolls(browser, window):
    with served(steps=20) as (run, server):
        window(390, 844)
        viewer = Viewer(browser, server.address)
        finish(run)
        until(lambda: viewer.column("test digits data", "image") and viewer.step() == 20)
        settled(viewer)
        assert browser.execute_script("return innerWidth") == 390, "not shrunk to fit"
        places = [viewer.place(name) for name in ("accuracy", "loss", "training digits", "weights")]
        tops = [y for _, y, *_ in places]
        assert tops == sorted(tops)
        assert np.diff(tops).min() > 200
        assert browser.execute_script("return document.documentElement.scrollHeight") > 2000
        assert viewer.complaints() == []


@needs_browser
def test_presentation_shows_one_panel_with_large_letters(browser):
    with served(steps=40) as (run, server):
        viewer = Viewer(browser, server.address)
        finish(run)
        until(lambda: viewer.column("test digits data", "image") and viewer.step() == 40)
        viewer.keys("p")
        until(lambda: viewer.model("present", "model.active"))
        until(lambda: viewer.place("training digits")[2] > 1100)
        settled(viewer)
        texts = browser.execute_script(VISIBLE)
        accuracy = f"{100 * run.latest.test_accuracy:.2f} %"
        sizes = {text: size for text, *_, size in texts}
        assert sizes[accuracy] == max(sizes.values()) >= 60
        controls = {"present", "?"}
        assert min(size for text, size in sizes.items() if text not in controls) >= 18
        viewer.keys("\ue014")  # the right arrow: the next panel
        until(lambda: viewer.model("show", "model.value") == "weights")
        until(lambda: viewer.place("weights")[2] > 1100)
        size = "(size => parseFloat(size.value ?? size))(model.below[0].major_label_text_font_size)"
        assert viewer.model("weights", size) >= 18
        viewer.keys("\ue00c")  # Escape
        until(lambda: not viewer.model("present", "model.active"))
        until(lambda: viewer.place("weights")[2] < 400)
        assert viewer.complaints() == []


@needs_browser
def test_page_can_start_with_the_presentation(browser):
    with served(steps=20, present=True) as (run, server):
        viewer = Viewer(browser, server.address)
        finish(run)
        until(lambda: viewer.place("training digits")[2] > 1100)
        assert viewer.model("present", "model.active")


@needs_browser
def test_every_panel_has_two_sentences_of_help(browser):
    with served(steps=20) as (run, server):
        viewer = Viewer(browser, server.address)
        finish(run)
        until(lambda: viewer.step() == 20)
        for panel in ("accuracy", "loss", "training digits", "weights", "biases", "test digits"):
            assert PANELS[panel].help.count(". ") == 1
            details = "Bokeh.index.find_one(model).shadow_el.querySelector('details')"
            assert not viewer.model(f"{panel} help", f"{details}.open")
            viewer.model(f"{panel} help", f"{details}.querySelector('summary').click()")
            assert viewer.model(f"{panel} help", f"{details}.open")
            text = viewer.model(f"{panel} help", f"{details}.querySelector('p').innerText")
            assert text == PANELS[panel].help
            left, right = viewer.model(
                f"{panel} help",
                f"(({{left, right}}) => [left, right])"
                f"({details}.querySelector('p').getBoundingClientRect())",
            )
            assert 0 <= left < right <= 1280
            assert viewer.title(panel).startswith(PANELS[panel].title)
        options = [name for _, name in viewer.model("show", "model.options")]
        assert options[1:] == [
            PANELS[name].title
            for name in (
                "accuracy", "loss", "training digits", "weights", "biases", "test digits",
                "drawing", "wall",
            )
        ]  # fmt: skip


@needs_browser
def test_no_legend_covers_a_curve(browser):
    with served(steps=20) as (run, server):
        viewer = Viewer(browser, server.address)
        finish(run)
        until(lambda: viewer.step() == 20)
        for panel in ("accuracy", "loss"):
            kinds = viewer.model(panel, "model.center.map((part) => part.type)")
            assert "Legend" not in kinds
            assert "training" in viewer.model(f"{panel} title", "model.text")


@needs_browser
@pytest.mark.parametrize("focus", ["nothing", "stop", "speed"])
def test_space_pauses_wherever_the_focus_is(browser, focus):
    with served(steps=10**6) as (run, server):
        viewer = Viewer(browser, server.address)
        run.start()
        until(lambda: viewer.step() > 0)
        if focus != "nothing":
            element = (
                "(({button_el, input_el}) => button_el ?? input_el)(Bokeh.index.find_one(model))"
            )
            viewer.model(focus, f"{element}.focus()")
        viewer.keys(" ")
        until(lambda: run.state == "paused")
        viewer.keys(" ")
        until(lambda: run.state == "running")
        assert not run.was_stopped


@needs_browser
def test_double_click_only_enlarges(browser):
    from selenium.webdriver.common.action_chains import ActionChains

    with served(steps=20) as (run, server):
        viewer = Viewer(browser, server.address)
        finish(run)
        until(lambda: viewer.column("test digits data", "image") and viewer.step() == 20)
        settled(viewer)
        x, y, *_ = viewer.place("training digits")
        chain = ActionChains(browser, duration=10)
        mouse = chain.w3c_actions.pointer_action
        mouse.move_to_location(round(x + 40), round(y + 40))
        for _ in range(2):
            mouse.pointer_down()
            mouse.pointer_up()
        chain.perform()
        until(lambda: viewer.model("show", "model.value") == "training digits")
        settled(viewer)
        assert viewer.model("tabs", "model.active") == 0, "no digit was chosen"


@needs_browser
def test_page_says_in_words_that_the_server_has_ended(browser):
    gone = "return document.getElementById('gone').innerText"
    with served(steps=20) as (run, server):
        viewer = Viewer(browser, server.address)
        finish(run)
        until(lambda: viewer.step() == 20)
        assert browser.execute_script(gone) == ""
    until(lambda: "has ended" in browser.execute_script(gone))
    page = browser.execute_script("return document.body.innerText")
    assert "connection was lost" not in page


@needs_browser
def test_bands_are_visible_in_the_dark(browser):
    feature = {"name": "prefers-color-scheme", "value": "dark"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    try:
        with served(steps=100) as (run, server):
            viewer = Viewer(browser, server.address)
            finish(run)
            until(lambda: viewer.step() == 100)
            shot = settled(viewer).astype(int)
            x, y, width, height = map(round, viewer.place("weights"))
            column = shot[y + 5 : y + height - 5, x + width - 30]
            ground = shot[y + 5, x + 5]
            outer = column[(column[:, 2] > ground[2] + 5)]
            assert len(outer) > height / 3
            assert np.median(outer.max(axis=1) - ground.max()) > 40
    finally:
        browser.execute_cdp_cmd(
            "Emulation.setEmulatedMedia",
            {"features": [{"name": "prefers-color-scheme", "value": "light"}]},
        )
