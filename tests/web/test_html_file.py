"""The page of an export: its steps are those of the C backend, and a browser runs it offline."""

import importlib.util
import json
import re
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
from tinytensor.errors import DataError, LabelError, NotSupported, SettingError
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


def run_page(file, steps=STEPS, rate_factor=1.0, image=()):
    pixels = json.dumps(np.ravel(image).tolist())
    command = ["node", HERE / "run_page.js", file, steps, rate_factor, pixels]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def shaded(images, shades=4):
    step = 255 // (shades - 1)
    return (np.rint(images / step) * step).astype(np.uint8)


def batches_of(made, data):
    """The indices, among the training images, of the images of each step."""
    indices = [[image["index"] for image in step["images"]] for step in made["steps"]]
    return [np.array(each) - 1 - len(data.test_images) for each in indices]


def trained(lesson, images, labels, batches, rate_factor=1.0):
    """The losses and predictions of these batches on the C backend, and the model."""
    tt.manual_seed(3)
    model = lesson.new_model()
    optimizer = lesson.optimizer(model.parameters())
    schedule = optimizer.schedule
    losses, predictions = [], []
    for step, chosen in enumerate(batches):
        optimizer.lr = schedule(step) * rate_factor
        logits = model(tt.from_numpy(to_float(images, chosen)))
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
    written = export_lesson(lesson, data, file, seed=3, images=1550, steps=100)
    assert written == (1550, SOME, file.stat().st_size)
    made = run_page(file, steps, rate_factor, data.test_images[0])
    order = np.random.default_rng(3).permutation(len(data.train_images))[:1550]
    images, labels = shaded(data.train_images[order]), data.train_labels[order]
    assert made["firstImage"] == images[0].ravel().tolist()
    assert made["labels"] == [*data.test_labels.tolist(), *labels.tolist()]
    batches = batches_of(made, data)
    assert len(set(np.concatenate(batches[:15]).tolist())) == min(steps, 15) * 100  # of an epoch
    with (
        tt.backend("c"),
        instructions("baseline"),
    ):  # without a * b + c in one instruction, as there
        losses, predictions, model = trained(lesson, images, labels, batches, rate_factor)
        np.testing.assert_allclose([step["loss"] for step in made["steps"]], losses, atol=1e-5)
        for step, chosen, found in zip(made["steps"], batches, predictions, strict=True):
            predicted = [image["predicted"] for image in step["images"]]
            assert (predicted != found).sum() <= 1
            assert [image["label"] for image in step["images"]] == labels[chosen].tolist()
        with evaluation_mode(model), tt.no_grad():
            logits = model(tt.from_numpy(to_float(shaded(data.test_images)))).numpy()
            drawn = to_float(data.test_images[:1])
            probabilities = tt.softmax(model(tt.from_numpy(drawn))).numpy()
    assert (logits.argmax(axis=1) != made["test"]).sum() < 4
    np.testing.assert_allclose(made["probabilities"], probabilities[0], atol=1e-4)


def colours(count, classes):
    """Images of 6 x 5 with three colours; the class is the brightness of the first colour."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % classes
    images = rng.integers(0, 64, (count, 6, 5, 3))
    images[..., 0] += (labels * (191 // classes))[:, None, None]
    return images.astype(np.uint8), labels


@needs_node
def test_a_captured_step_on_colour_images(tmp_path):
    train, test, file = colours(500, 12), colours(61, 12), tmp_path / "net.html"
    data = tt.datasets.Dataset(*train, *test, names=[f"<{i}>" for i in range(12)])
    tt.manual_seed(3)
    model = nn.Sequential(nn.Flatten(), nn.Linear(90, 12))
    optimizer = tt.optim.Adam(model.parameters(), lr=tt.optim.exponential(0.02, 0.002, steps=90))

    @tt.capture
    def step(images, labels):
        logits = model(images)
        loss = tt.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss, logits

    with tt.backend("c"), instructions("baseline"):
        before = model.layers[1].weight.numpy().copy()
        assert tt.export_html(step, data, file, batch=50, steps=90, seed=3)[:2] == (500, 61)
        assert (model.layers[1].weight.numpy() == before).all()
        assert model.layers[1].weight.grad is None
        made = run_page(file, 60, 1.0, test[0][0])
        order = np.random.default_rng(3).permutation(500)
        images, labels = shaded(train[0][order], 16), train[1][order]
        assert made["firstImage"] == images[0].ravel().tolist()
        losses = [
            step(to_float(images, chosen), labels[chosen])[0].item()
            for chosen in batches_of(made, data)
        ]
    np.testing.assert_allclose([each["loss"] for each in made["steps"]], losses, atol=1e-5)
    assert losses[-1] < losses[0]
    assert "<span>&lt;11&gt;</span>" in file.read_text()
    assert "<section hidden>" in file.read_text()  # no field to draw on


@needs_node
def test_a_page_starts_with_the_given_weights(tmp_path):
    lesson, data, file = find("1.0"), some(tt.datasets.mnist()), tmp_path / "net.html"
    tt.manual_seed(0)
    weights = lesson.new_model()
    weights.weight.data += 0.01
    for digit in (0, 4):
        weights.bias.data[:] = np.eye(10, dtype=np.float32)[digit]
        export_lesson(lesson, data, file, images=200, weights=weights)
        assert run_page(file, 0, image=np.zeros(784))["test"] == [digit] * SOME


@pytest.mark.browser
@needs_browser
@pytest.mark.skipif("ziglang" in lacking, reason="ziglang is not installed")
def test_a_browser_trains_without_a_network(tmp_path):
    file = tmp_path / "net.html"
    steps = 1_000_000  # more than a fast machine does before the page pauses
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
        before = places(browser)
        browser.execute_script(  # as on a machine that is five times as fast
            "const now = performance.now.bind(performance); performance.now = () => now() / 5"
        )
        # The button changes before the first step, which may take long.
        script = "element('play').click(); return [step, element('play').textContent]"
        assert browser.execute_script(script) == [0, "Pause"]
        wait_for_step(browser, 500)
        browser.find_element("id", "play").click()  # pause
        wait_until(browser, "!working")
        assert browser.find_element("id", "play").text == "Play"
        assert places(browser) == before
        for curve in ("train-accuracy", "test-accuracy", "train-loss", "test-loss"):
            assert browser.execute_script(f"return element('{curve}').points[0].x") == 0
        check_classes(browser)
        step = browser.execute_script("return step")
        browser.find_element("id", "one").click()
        wait_until(browser, "!working")
        assert browser.execute_script("return step") == step + 1
        browser.execute_script(
            "const rate = document.getElementById('rate'); rate.value = 1;"
            "rate.dispatchEvent(new Event('input'))"
        )
        assert browser.find_element("id", "factor").text == "10.00"
        assert browser.execute_script("return rateFactor") == 10
        count = browser.find_element("id", "test-count").text
        wrong = int(re.fullmatch(": ([0-9,]+) of 10,000 misclassified", count)[1].replace(",", ""))
        assert wrong < 1500
        assert f"{100 - wrong / 100:.2f} %" in browser.find_element("id", "status").text
        draw_a_one(browser)
        assert np.argmax(meters(browser)) == 1
        strokes = [[[560 * x, 560 * y] for x, y in stroke] for stroke in SEVEN]
        browser.execute_script("strokes = arguments[0]; classify()", strokes)
        image = np.reshape(browser.execute_script("return Array.from(image(0))"), (28, 28))
        wanted = render_strokes(SEVEN).astype(float)  # as predict makes it, up to a pixel
        moved = [np.roll(image, (y, x), (0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1)]
        assert min(np.abs(each - wanted).mean() for each in moved) < 8  # of 255
        browser.find_element("id", "clear").click()
        assert meters(browser) == [0] * 10
        assert browser.find_element("id", "note").text == "<i>made</i> up"
        browser.execute_script("step = about.steps - 1; trainUntil(step + 3)")
        wait_until(browser, "!working")
        assert browser.execute_script("return step") == steps  # and no step more
        assert not browser.find_element("id", "one").is_enabled()
        browser.execute_script("step = 0; draw()")
        browser.find_element("id", "play").click()
        browser.find_element("xpath", "//button[text()='Start again']").click()
        status.until("step 0 of 1,000,000")
        assert browser.find_element("id", "factor").text == "1.00"
        check_progress(browser)
        check_limits(browser)
        script = {"source": "WebAssembly.instantiate = () => new Promise(() => {})"}
        browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", script)
        browser.refresh()  # it stays at Loading
        assert places(browser) == before
        draw_a_one(browser)
        assert browser.find_element("id", "status").text == "Loading."
        messages = [json.loads(e["message"])["message"] for e in browser.get_log("performance")]
        sent = [m["params"]["request"]["url"] for m in messages if m["method"] == SENT]
        assert sent == [file.as_uri()] * 3
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
        script = "return document.getElementById('status')?.textContent ?? ''"
        while words not in (text := self.browser.execute_script(script)):
            assert time.monotonic() < end, text
            time.sleep(0.05)


def wait_until(browser, condition, seconds=60):
    end = time.monotonic() + seconds
    while not browser.execute_script(f"return {condition}"):
        assert time.monotonic() < end, browser.find_element("id", "status").text
        time.sleep(0.05)


def wait_for_step(browser, step):
    wait_until(browser, f"step >= {step}")


def places(browser):
    """The left and upper edges, widths and heights of the parts of a page."""
    return browser.execute_script(
        "return Array.from(document.querySelectorAll('button, section, canvas, footer'), part => {"
        "const {left, top, width, height} = part.getBoundingClientRect();"
        "return [left, top + scrollY, width, height]})"
    )


def check_progress(browser):
    """The status line has the number of images that a long test has classified."""
    browser.execute_script(
        "const now = performance.now.bind(performance); let later = 0;"
        "performance.now = () => now() + (later += 600); window.seen = [];"
        "const add = () => seen.push(element('testing').textContent);"
        "new MutationObserver(add).observe(element('testing'), {childList: true}); test()"
    )
    wait_until(browser, "seen.at(-1) === ''")
    browser.execute_script("delete performance.now")
    lines = browser.execute_script("return seen")[:-1]
    assert lines
    assert all(re.fullmatch("testing [0-9,]+ of 10,000", line) for line in lines)


def check_classes(browser):
    """The mouse points at the first test image and at the last training image."""
    for panel, place, is_right in (("test", 0.001, False), ("train", 0.999, True)):
        words = browser.execute_script(
            f"const canvas = element('{panel}'), x = {place} * canvas.clientWidth;"
            f"canvas.onpointermove({{offsetX: x, offsetY: {place} * canvas.clientHeight}});"
            f"return element('{panel}-class').textContent"
        )
        predicted, label = re.fullmatch("predicted: ([0-9]), label: ([0-9])", words).groups()
        assert (predicted == label) == is_right


def check_limits(browser):
    """Long curves and large images do not slow a page down; it is of no use afterwards."""
    script = "for (let i = 1; i <= 1e6; i++) addPoint('test', i); return curves.test"
    steps = [point["step"] for point in browser.execute_script(script)]
    assert len(steps) < 4000
    assert steps[-1] > 0.99 * 1e6
    assert np.diff(steps).max() < 0.01 * 1e6
    script = "about.shape = [200, 300, 3]; return [makeRoom('test', 1000, 40, 25), element('test')]"
    count, canvas = browser.execute_script(script)
    assert count == 12
    assert (canvas.get_attribute("width"), canvas.get_attribute("height")) == ("1800", "400")


def meters(browser):
    return browser.execute_script(
        "return Array.from(document.querySelectorAll('meter'), meter => meter.value)"
    )


def draw_a_one(browser):
    from selenium.webdriver.common.action_chains import ActionChains

    pad = browser.find_element("id", "pad")
    chain = ActionChains(browser).move_to_element_with_offset(pad, 5, -60).click_and_hold()
    chain.move_by_offset(-3, 60).move_by_offset(-3, 60).release().perform()


@pytest.fixture
def without_compiling(monkeypatch):
    monkeypatch.setattr("tinytensor.web.webassembly.compiled_kernels", lambda caller: b"")


def test_the_number_of_images_is_an_integer(tmp_path, without_compiling):
    data, model = some(tt.datasets.mnist()), nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    for images in (200.5, "200"):
        with pytest.raises(SettingError, match=f"images={images!r}; a whole number"):
            tt.export_html(model, data, tmp_path / "net.html", images=images)


def test_steps_that_need_python_are_refused(tmp_path, without_compiling):
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
        with pytest.raises(LabelError, match="label 9"):
            tt.export_html(nn.Sequential(nn.Flatten(), nn.Linear(784, 9)), data, file)
    for wrong in ({"images": 99}, {"images": 60_001}, {"batch": 0}, {"steps": 0}, {"seed": -1}):
        with pytest.raises(SettingError, match=next(iter(wrong))):
            tt.export_html(model, data, file, **wrong)
    assert not file.exists()


@pytest.mark.skipif("the C backend" in lacking, reason="the C backend does not work here")
def test_a_captured_step_must_keep_its_contract(tmp_path, without_compiling):
    data, file = some(tt.datasets.mnist()), tmp_path / "net.html"
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    other, before = nn.Linear(784, 10), model.layers[1].weight.numpy().copy()
    optimizer = tt.optim.SGD([*model.parameters(), *other.parameters()], lr=0.1)
    kept = []

    def made(clear=True, forward=model, result=lambda *both: both):
        def step(images, labels):
            logits = forward(images)
            loss = tt.cross_entropy(logits, labels)
            if clear:
                optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return result(loss, logits)

        return tt.capture(step)

    def store(loss, logits):
        kept[:] = [loss]
        return loss, logits

    for step, words in (
        (made(result=lambda loss, logits: loss), "return loss, logits"),
        (made(clear=False), "adds to gradients from before"),
        (made(result=store), "stores a tensor outside"),
        (made(forward=lambda x: x.reshape(-1, 784) @ model.layers[1].weight), "calls 0 models"),
        (made(forward=lambda x: model(x) + other(x.reshape(-1, 784))), "calls 2 models"),
        (made(forward=lambda x: model((x - 0.13) / 0.31)), r"not the result of model\(images\)"),
        (made(forward=lambda x: model(x).relu()), r"not the result of model\(images\)"),
        (tt.capture(lambda images: images), r"step\(images, labels\) is needed"),
    ):
        with pytest.raises(NotSupported, match=words):
            tt.export_html(step, data, file)
        assert (model.layers[1].weight.numpy() == before).all()

    @tt.capture
    def without_update(images, labels):
        logits = model(images)
        return tt.cross_entropy(logits, labels), logits

    with pytest.raises(NotSupported, match=r"calls no optimizer\.step"):
        tt.export_html(without_update, data, file)
    with pytest.raises(SettingError, match="the step has its own"):
        tt.export_html(made(), data, file, optimizer=optimizer)
    assert tt.export_html(made(), data, file, images=200).train_images == 200
    optimizer = tt.optim.SGD([model.layers[1].bias], lr=0.1)
    with pytest.raises(NotSupported, match=r"call model\.zero_grad\(\)"):
        tt.export_html(made(), data, file)
    written = tt.export_html(model, data, file, optimizer=optimizer, images=200)
    assert written.train_images == 200


def test_a_cache_folder_that_can_not_be_written_is_noticed_before_compiling(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TINYTENSOR_CACHE_DIR", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr("tinytensor.web.webassembly._compile", lambda *_: pytest.fail("compiles"))
    monkeypatch.setattr("tinytensor.web.webassembly.check_installed", lambda *_: None)
    monkeypatch.setattr("tinytensor.web.webassembly.version", lambda _: "0")
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    with pytest.raises(DataError, match="variable TINYTENSOR_CACHE_DIR"):
        tt.export_html(model, some(tt.datasets.mnist()), tmp_path / "net.html")


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
