"""The keys of the live page: panels, tabs, the full screen, and where the focus is."""

import viewer as viewers
from chromium import needs_browser
from viewer import Viewer, finish, served, until

browser = viewers.browser

FOCUSED = """
let element = document.activeElement
while (element?.shadowRoot?.activeElement) element = element.shadowRoot.activeElement
return element && [element.className, element.innerText, getComputedStyle(element).outlineStyle]
"""


def is_full(browser):
    return browser.execute_script("return document.fullscreenElement !== null")


@needs_browser
def test_digits_choose_a_panel_and_all_again(browser):
    from selenium.webdriver.common.keys import Keys

    with served(steps=5) as (_, server):
        viewer = Viewer(browser, server.address)
        for key, panel in (("1", "accuracy"), ("3", "training digits"), ("7", "drawing")):
            viewer.keys(key)
            until(lambda panel=panel: viewer.model("show", "model.value") == panel)
        viewer.keys("7")
        until(lambda: viewer.model("show", "model.value") == "Six panels")
        viewer.keys("9")
        assert viewer.model("show", "model.value") == "Six panels", "there is no ninth panel"
        viewer.keys("p")
        until(lambda: viewer.model("show", "model.value") != "Six panels")  # the server chooses one
        viewer.keys("2")
        until(lambda: viewer.model("show", "model.value") == "loss")
        viewer.keys("2")
        until(lambda: viewer.model("show", "model.value") == "Six panels")
        assert not viewer.model("present", "model.active")
        viewer.keys("3")
        until(lambda: viewer.model("show", "model.value") == "training digits")
        viewer.keys(Keys.ESCAPE)
        until(lambda: viewer.model("show", "model.value") == "Six panels")
        assert viewer.complaints() == []


@needs_browser
def test_capital_f_is_one_panel_on_the_full_screen(browser):
    with served(steps=5) as (_, server):
        viewer = Viewer(browser, server.address)
        viewer.keys("F")
        until(lambda: is_full(browser))
        assert viewer.model("present", "model.active")
        until(lambda: not viewer.model("tabs", "model.visible"))
        until(lambda: viewer.place("training digits")[2] > 600)
        viewer.keys("F")
        until(lambda: not is_full(browser))
        until(lambda: viewer.model("tabs", "model.visible"))
        assert viewer.complaints() == []


NOTE_SHAPES = """
window.shapes = []
const named = (name) => Bokeh.documents[0].get_model_by_name(name)
const note = () => {
  for (const name of ["training digits", "test digits"]) {
    const view = Bokeh.index.find_one(named(name)), {height, rows} = named(`${name} data`).data
    if (!view || !rows.length) continue
    const {x_range, y_range} = view.model, frame = view.frame.bbox
    const across = frame.width / (x_range.end - x_range.start)
    const down = frame.height / (y_range.end - y_range.start) * height[0] / rows[0]
    window.shapes.push([name, frame.width, across / down])
  }
  requestAnimationFrame(note)
}
note()
"""


@needs_browser
def test_digits_stay_square_while_their_panel_changes_its_size(browser):
    """In every frame, also before the server has drawn a mosaic for the new size."""
    from selenium.webdriver.common.keys import Keys

    with served(steps=20) as (run, server):
        viewer = Viewer(browser, server.address)
        finish(run)
        until(lambda: viewer.column("test digits data", "image") and viewer.step() == 20)
        browser.execute_script(NOTE_SHAPES)
        for key, is_wide in (("p", True), (Keys.ESCAPE, False), ("p", True)):
            viewer.keys(key)
            until(lambda is_wide=is_wide: (viewer.place("training digits")[2] > 600) == is_wide)
        until(lambda: viewer.column("training digits data", "across")[0] > 600)
        shapes = browser.execute_script("return window.shapes")
        assert len({width for _, width, _ in shapes}) > 3
        for name, width, shape in shapes:
            assert 0.9 < shape < 1.1, (name, width)
        assert viewer.complaints() == []


@needs_browser
def test_t_goes_through_the_tabs_and_back(browser):
    with served(steps=5) as (_, server):
        viewer = Viewer(browser, server.address)
        viewer.keys("t", "t")
        until(lambda: viewer.model("tabs", "model.active") == 2)
        viewer.keys("T", "T", "T")
        last = viewer.model("tabs", "model.tabs.length") - 1
        until(lambda: viewer.model("tabs", "model.active") == last)
        assert viewer.complaints() == []


@needs_browser
def test_tab_reaches_the_tabs_and_the_focus_is_visible(browser):
    from selenium.webdriver.common.keys import Keys

    with served(steps=5) as (run, server):
        viewer = Viewer(browser, server.address)
        reached = []
        for _ in range(40):
            viewer.keys(Keys.TAB)
            name, text, outline = browser.execute_script(FOCUSED) or ("", "", "")
            reached.append((name, text))
            if name.startswith(("bk-tab", "bk-btn", "bk-input", "noUi-handle")):
                assert outline != "none", (name, text)
            if (name, text) == ("bk-tab", "weights"):
                break
        names = {name.split()[0] for name, _ in reached if name}
        assert {"bk-btn", "bk-input", "noUi-handle", "bk-tab"} <= names, reached
        for key in (Keys.ENTER, " "):
            viewer.model("tabs", "model.active = 0")
            viewer.keys(key)
            until(lambda: viewer.model("tabs", "model.active") == 2)
        assert not run.is_paused, "the space key belongs to the tab"
        assert viewer.complaints() == []
