"""The live page in a headless browser shows the values of the run."""

import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing, suppress
from dataclasses import replace

import numpy as np
import pytest
import viewer as viewers
from chromium import needs_browser
from viewer import SECONDS, Viewer, command, finish, served, settled, until

import tinytensor as tt
from tinytensor.lessons import find, lessons
from tinytensor.live.frame import MILLISECONDS
from tinytensor.live.run_file import load
from tinytensor.live.training_page import TrainingPage

browser = viewers.browser


# In the browser


@needs_browser
@pytest.mark.parametrize(
    ("lesson", "steps", "names"),
    [
        ("softmax", 200, ["weights", "biases"]),
        ("batchnorm-relu", 30, ["activations", "logits"]),
    ],
)
def test_six_panels_are_filled(browser, lesson, steps, names):
    with served(lesson, steps=steps) as (run, server):
        viewer = Viewer(browser, server.address)
        reports = finish(run)
        until(lambda: viewer.column("test digits data", "image") and viewer.step() == steps)
        assert [viewer.title(name) for name in names] == [name.capitalize() for name in names]
        steps_shown = viewer.column("accuracy test", "step")
        assert steps_shown == [point.step for point in run.history.test]
        assert set(report.step for report in reports) <= set(steps_shown)
        accuracies = dict(zip(steps_shown, viewer.column("accuracy test", "y"), strict=True))
        losses = dict(zip(steps_shown, viewer.column("loss test", "y"), strict=True))
        for report in reports:
            assert accuracies[report.step] == pytest.approx(100 * report.test_accuracy)
            assert losses[report.step] == pytest.approx(100 * report.test_loss)
        for name in names:
            last = [viewer.column(f"{name} data", f"q{k}")[-1] for k in range(8)]
            np.testing.assert_allclose(last, run.latest.bands[name])
        shot = settled(viewer)
        for panel in ("accuracy", "loss", "training digits", *names, "test digits"):
            x, y, width, height = map(round, viewer.place(panel))
            assert width > 200, panel
            assert height > 200, panel
            inside = shot[y + 2 : y + height - 2, x + 2 : x + width - 2].reshape(-1, 3)
            assert len(np.unique(inside, axis=0)) > 3, f"{panel} is empty"
        assert viewer.complaints() == []


@needs_browser
def test_status_line_matches_the_json(browser, tmp_path):
    file = tmp_path / "run.json"
    with command("--steps", "100", "--json", str(file)) as (process, address):
        viewer = Viewer(browser, address)
        until(file.is_file)
        until(lambda: viewer.step() == 100)
        until(lambda: file.read_text().endswith("}\n"))
        result, figures = json.loads(file.read_text()), viewer.figures()
        assert figures["test accuracy"] == f"{result['test_accuracy']:.4f}"
        assert figures["test loss"] == f"{result['test_loss']:.4f}"
        assert figures["backend"] == result["backend"]
        assert figures["learning rate"] == "0.5"
        shown = dict(
            zip(
                viewer.column("loss training", "step"),
                viewer.column("loss training", "y"),
                strict=True,
            )
        )
        for point in result["history"]:
            assert shown[point["step"]] == pytest.approx(100 * point["train_loss"])
        hosts = {re.match(r"\w+://([^/]*)", url)[1] for url in viewer.requests() if "://" in url}
        assert hosts == {address.split("/")[2]}, "everything is loaded from this machine"
        assert viewer.complaints() == []
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        assert process.wait(SECONDS) == 0
        print(f"it took {time.monotonic() - began:.2f} s to end")


@needs_browser
def test_pause_step_resume_stop(browser):
    with served(steps=10**6, evaluate_every=10**6) as (run, server):
        viewer = Viewer(browser, server.address)
        run.start()
        until(lambda: viewer.step() > 1)
        viewer.click("pause")
        until(lambda: run.state == "paused" and viewer.figures().get("") == "paused")
        paused_at = run.training.step
        until(lambda: viewer.step() == paused_at)
        viewer.click("step")
        until(lambda: viewer.step() == paused_at + 1)
        assert run.training.step == paused_at + 1, "exactly one step"
        assert viewer.column("accuracy test", "step")[-1] == paused_at + 1, "with a test"
        viewer.choose("speed", "10 steps/s")
        until(lambda: run.speed == 10)
        viewer.click("pause")
        until(lambda: viewer.step() > paused_at + 3)
        viewer.click("stop")
        (last,) = list(run)
        until(lambda: viewer.figures()[""] == "ended")
        assert viewer.step() == last.step < 10**6
        assert viewer.complaints() == []


@needs_browser
def test_training_begins_when_the_first_viewer_sees_the_untrained_network(browser):
    with command("--speed", "60", "--steps", "600") as (_, address):
        steps = []
        viewer = Viewer(browser, address)
        until(lambda: viewer.column("test digits data", "image"))
        untrained = viewer.column("accuracy test", "y")[0]
        assert viewer.column("accuracy test", "step")[0] == 0
        assert untrained < 30, "the untrained network guesses"
        selected = "Bokeh.index.find_one(model).input_el.selectedOptions[0].text"
        assert viewer.model("speed", selected) == "60 steps/s"
        began = time.monotonic()
        until(lambda: steps.append(viewer.step()) or steps[-1] == 600)
        assert len(set(steps)) > 2, "it can be followed"
        print(f"600 steps at 60 steps/s took {time.monotonic() - began:.1f} s")
        assert viewer.complaints() == []


@needs_browser
def test_training_waits_for_a_viewer_and_a_new_viewer_sees_its_speed(browser):
    with served(steps=10**6, for_viewer=True) as (run, server):
        run.set_speed(80)
        run.start()
        until(lambda: run.latest is not None)
        browser.get("about:blank")
        time.sleep(4 * MILLISECONDS / 1000)
        assert run.training.step == 0, "no viewer"
        viewer = Viewer(browser, server.address)
        until(lambda: viewer.step() > 1)
        selected = "Bokeh.index.find_one(model).input_el.selectedOptions[0].text"
        assert viewer.model("speed", selected) == "80 steps/s"
        run.set_speed(10)
        until(lambda: viewer.model("speed", selected) == "10 steps/s")
        assert Viewer(browser, server.address).model("speed", selected) == "10 steps/s"


@needs_browser
def test_change_of_backend(browser):
    others = [name for name in tt.available_backends() if name != tt.current_backend().name]
    with served(steps=10**6, evaluate_every=50) as (run, server):
        viewer = Viewer(browser, server.address)
        run.start()
        until(lambda: viewer.step() > 50)
        viewer.choose("backend", f"backend {others[-1]}")
        until(lambda: viewer.figures()["backend"] == others[-1])
        swapped_at = viewer.step()
        until(lambda: viewer.step() > swapped_at + 100)
        steps = viewer.column("loss test", "step")
        assert steps == sorted(steps), "the curve continues"
        assert tt.current_backend().name != others[-1], "the backend of this thread is unchanged"


@needs_browser
def test_drawn_digit_activates_the_neurons_during_training(browser):
    with served(steps=10**6) as (run, server):
        viewer = Viewer(browser, server.address)
        run.start()
        until(lambda: viewer.step() > 300)
        viewer.model("tabs", "model.active = 1")
        x, y, width, height = until(lambda: viewer.place("pad"))
        points = [(0.25, 0.2), (0.5, 0.2), (0.75, 0.22), (0.6, 0.5), (0.45, 0.85)]
        viewer.press(*((x + a * width, y + b * height) for a, b in points))
        first = until(lambda: _probabilities(viewer))
        assert sum(first) == pytest.approx(1, abs=1e-4)
        assert viewer.column("layers data", "name")[-1] == "logits 10"
        seen = viewer.picture("digit data")
        assert seen.shape == (28, 28)
        assert (seen > 0).any(axis=1).sum() == 20, "scaled to 20 x 20 pixels, as in MNIST"
        until(lambda: _probabilities(viewer) != first)  # because the network learns
        assert run.state == "running"
        x, y, width, height = viewer.place("test digits")
        viewer.press((x + 0.5 * width, y + 0.5 * height))
        until(lambda: not viewer.column("strokes", "xs"))  # the chosen digit replaces the drawn one
        assert not np.array_equal(viewer.picture("digit data"), seen)
        viewer.click("clear")
        until(lambda: not viewer.column("digit data", "image"))
        until(lambda: _probabilities(viewer) is None)
        assert viewer.complaints() == []


def _probabilities(viewer):
    probabilities = viewer.column("neurons data", "probability")
    return probabilities if any(probabilities) else None


@needs_browser
def test_click_on_a_digit_shows_the_layer_outputs(browser):
    with served("conv", steps=3) as (run, server):
        viewer = Viewer(browser, server.address)
        finish(run)
        until(lambda: viewer.column("training digits data", "image") and viewer.step() == 3)
        settled(viewer)
        x, y, *_ = viewer.place("training digits")
        (columns,) = viewer.column("training digits data", "width")
        side = viewer.picture("training digits data").shape[1] / columns
        viewer.press((x + 2.5 * side, y + 1.5 * side))
        until(lambda: _probabilities(viewer))
        np.testing.assert_array_equal(
            viewer.picture("digit data"), run.latest.train_images[columns + 2]
        )
        kinds = [name.split()[0] for name in viewer.column("layers data", "name")]
        assert kinds == ["ReLU"] * 4 + ["Linear"]
        viewer.model("tabs", "model.active = 2")
        until(lambda: viewer.column("templates data", "image"))
        assert viewer.picture("templates data").shape == (5, 5 * 4 + 3), (
            "four filters, side by side"
        )
        viewer.model("tabs", "model.active = 3")
        until(lambda: viewer.column("confusion data", "text"))
        counts = [int(text or 0) for text in viewer.column("confusion data", "text")]
        assert sum(counts) == 10_000
        right = sum(counts[:: 10 + 1])
        assert right == round(run.history.test[-1].accuracy * 10_000)


@needs_browser
def test_choice_of_one_panel(browser):
    with served(steps=20) as (run, server):
        viewer = Viewer(browser, server.address)
        finish(run)
        until(lambda: viewer.column("test digits data", "image") and viewer.step() == 20)
        settled(viewer)
        *_, width, height = viewer.place("test digits")
        viewer.choose("show", "Test digits")
        until(lambda: viewer.place("test digits")[2] > 2 * width)
        assert viewer.place("test digits")[3] > 1.8 * height
        viewer.choose("show", "Six panels")
        until(lambda: viewer.place("test digits")[2] == width)


@needs_browser
def test_pause_and_step_by_keyboard(browser):
    from selenium.webdriver.common.keys import Keys

    with served(steps=10**6, evaluate_every=10**6) as (run, server):
        viewer = Viewer(browser, server.address)
        run.start()
        until(lambda: viewer.step() > 1)
        viewer.keys(Keys.TAB, Keys.SPACE)
        until(lambda: run.state == "paused" and viewer.model("step", "!model.disabled"))
        viewer.keys(Keys.SPACE)
        until(lambda: run.state == "running")
        viewer.keys(Keys.SPACE)
        until(lambda: run.state == "paused" and viewer.model("step", "!model.disabled"))
        before = run.training.step
        viewer.keys(Keys.TAB, Keys.ENTER)
        until(lambda: run.training.step == before + 1)
        outline = "getComputedStyle(Bokeh.index.find_one(model).button_el).outlineStyle"
        assert viewer.model("step", outline) == "solid", "the keyboard focus is visible"
        assert viewer.model("stop", outline) == "none"


@needs_browser
@pytest.mark.parametrize("lesson", [lesson.name for lesson in lessons()])
def test_lesson_text_is_not_cut(browser, lesson):
    with served(lesson, steps=1) as (_, server):
        viewer = Viewer(browser, server.address)
        cut = viewer.model(
            "lesson",
            "[...Bokeh.index.find_one(model).shadow_el.querySelectorAll('div, pre, p, li')]"
            ".map((element) => element.scrollWidth - element.clientWidth)",
        )
        assert len(cut) > 10, "there is text"
        assert max(cut) <= 0, "pixels cut off a line"


@needs_browser
def test_page_shows_what_the_coach_finds(browser):
    def model(classes=10):
        return tt.nn.Sequential(
            tt.nn.Flatten(), tt.nn.Linear(784, classes), tt.nn.Softmax()
        )  # fmt: skip

    with served(replace(find("softmax"), model=model), steps=50) as (run, server):
        coach = run.training.watch_mistakes(None)
        viewer = Viewer(browser, server.address)
        element = "Bokeh.index.find_one(model).shadow_el"
        until(lambda: "no mistake" in viewer.model("coach", f"{element}.textContent"))
        finish(run)
        until(lambda: "softmax is applied" in viewer.model("coach", f"{element}.textContent"))
        details = f"{element}.querySelector('details')"
        assert "layers.2: Softmax" in viewer.model("coach", f"{details}.innerText")
        assert "Cure:" not in viewer.model("coach", f"{details}.innerText")
        viewer.model("coach", f"{element}.querySelector('summary').click()")
        assert "Cure:" in viewer.model("coach", f"{details}.innerText")
        assert viewer.complaints() == []
        coach.close()


@needs_browser
def test_page_shows_the_error_that_ended_the_training(browser):
    bad = replace(find("softmax"), optimizer=lambda params: tt.optim.SGD(params, lr=1e38))
    with served(bad, steps=50) as (run, server):
        viewer = Viewer(browser, server.address)
        with pytest.raises(tt.AnomalyError, match="loss is") as caught:
            finish(run)
        until(lambda: viewer.model("problem", "model.visible"))
        element = "Bokeh.index.find_one(model).shadow_el.querySelector('.error').innerText"
        assert viewer.model("problem", element) == str(caught.value)
        assert viewer.complaints() == []


@needs_browser
def test_suspended_tab_gets_no_updates_until_it_resumes(browser, monkeypatch):
    updates, update = [], TrainingPage.update
    monkeypatch.setattr(TrainingPage, "update", lambda self: (updates.append(self), update(self)))
    with served(steps=10**6) as (run, server):
        viewer = Viewer(browser, server.address)
        run.start()
        until(lambda: viewer.step() > 1)
        browser.execute_cdp_cmd("Page.setWebLifecycleState", {"state": "frozen"})
        try:
            time.sleep(6 * MILLISECONDS / 1000)  # until the last messages have arrived
            before = len(updates)
            time.sleep(6 * MILLISECONDS / 1000)
            assert len(updates) <= before + 1
        finally:
            browser.execute_cdp_cmd("Page.setWebLifecycleState", {"state": "active"})
        step = run.training.step
        until(lambda: viewer.step() >= step)


@needs_browser
def test_only_scripts_of_the_page_run(browser):
    with served(steps=1) as (run, server):
        viewer = Viewer(browser, server.address)
        finish(run)
        until(lambda: viewer.step() == 1)
        assert viewer.complaints() == []
        browser.execute_script(
            "const script = document.createElement('script'); script.text = 'window.mine = 1';"
            "document.body.append(script);"
            "const image = document.createElement('img'); image.src = 'http://127.0.0.1:1/x.png';"
            "document.body.append(image)"
        )
        until(lambda: browser.execute_script("return document.images.length"))
        assert browser.execute_script("return window.mine") is None
        messages = []
        until(lambda: messages.extend(viewer.complaints()) or len(messages) >= 2)
        assert all("Content Security Policy" in entry["message"] for entry in messages)


@needs_browser
def test_dark_if_the_browser_prefers_dark(browser):
    with served(steps=20) as (run, server):
        finish(run)
        brightness = {}
        for scheme in ("dark", "light"):
            feature = {"name": "prefers-color-scheme", "value": scheme}
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
            viewer = Viewer(browser, server.address)
            until(lambda viewer=viewer: viewer.column("test digits data", "image"))
            x, y, width, height = map(round, viewer.place("loss"))
            shot = settled(viewer)
            brightness[scheme] = np.median(shot[y : y + height, x : x + width])
        assert brightness["dark"] < 60
        assert brightness["light"] > 220


@needs_browser
def test_dark_if_chosen_or_if_the_system_changes(browser):
    def has(figure, brightness):
        x, y, width, height = map(round, viewer.place(figure))
        inside = viewer.screenshot()[y + 5 : y + height - 5, x + 5 : x + width - 5]
        return abs(np.median(inside) - brightness) < 50

    def emulate(scheme):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    with served(steps=20) as (run, server):
        finish(run)
        emulate("light")
        viewer = Viewer(browser, server.address)
        until(lambda: viewer.column("test digits data", "image"))
        viewer.model("tabs", "model.active = 1")
        for figure in ("loss", "pad", "neurons"):
            until(lambda figure=figure: has(figure, 250))
        emulate("dark")
        until(lambda: has("loss", 20))
        for chosen, brightness in (("light", 250), ("dark", 20)):
            viewer.choose("colours", chosen)
            for figure in ("loss", "pad", "neurons"):
                until(lambda figure=figure, brightness=brightness: has(figure, brightness))
        assert viewer.complaints() == []


@needs_browser
def test_viewers_connect_and_disconnect(browser):
    with served(steps=10**6) as (run, server):
        viewer = Viewer(browser, server.address)
        run.start()
        until(lambda: viewer.step() > 1)
        first = browser.current_window_handle
        browser.switch_to.new_window("tab")
        second = Viewer(browser, server.address)
        until(lambda: second.step() > 1)
        assert len(second.column("accuracy test", "step")) > 0, (
            "with the points before it connected"
        )
        browser.close()
        browser.switch_to.window(first)
        step = viewer.step()
        until(lambda: viewer.step() > step)
        browser.get("about:blank")
        before = run.training.step
        until(lambda: run.training.step > before)


# Without a browser


def status_of(server, path="/", method="GET", **headers):
    """The status code of the response to a request."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=SECONDS)
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status


@pytest.mark.full
def test_foreign_hosts_and_origins_are_refused():
    with served(steps=1) as (_, server):
        own = f"127.0.0.1:{server.port}"
        assert status_of(server) == 200
        assert status_of(server, Host=f"localhost:{server.port}") == 200
        assert status_of(server, Host=own, Origin=f"http://{own}") == 200
        for host in ("evil.example", f"evil.example:{server.port}", "127.0.0.1:1", ""):
            assert status_of(server, Host=host) == 403, host
        for origin in ("http://evil.example", "null", f"https://{own}", f"http://127.0.0.1:{1}"):
            assert status_of(server, Host=own, Origin=origin) == 403, origin
        websocket = {
            "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        }  # fmt: skip
        assert status_of(server, "/ws", Host=own, Origin="http://evil.example", **websocket) == 403
        assert status_of(server, "/ws", Host="evil.example", **websocket) == 403
        addresses = {address[4][0] for address in socket.getaddrinfo(socket.gethostname(), None)}
        for address in addresses - {"127.0.0.1", "127.0.1.1", "::1"}:
            with pytest.raises(OSError, match="refused"):
                socket.create_connection((address, server.port), timeout=5)


def answer_of(server, **headers):
    """The status and the text of the response to a request."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=SECONDS)
    connection.request("GET", "/", headers=headers)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, text


def test_a_refused_request_names_the_option():
    with served(steps=1) as (_, server):
        own = f"127.0.0.1:{server.port}"
        for headers in ({"Host": "localhost:1"}, {"Host": own, "Origin": "http://localhost:1"}):
            status, text = answer_of(server, **headers)
            assert status == 403
            assert "start it with the option --allow-origin localhost:1" in text
        status, text = answer_of(server, Host=own, Origin="http://<b>x</b>")
        assert status == 403
        assert "the request is for another host" in text
        assert "--allow-origin HOST:PORT" in text


def test_an_allowed_address_has_the_page_and_its_websocket():
    from tinytensor.live.server import Server

    server = Server(lambda document: None, allowed=["localhost:8080"])
    server.start()
    try:
        allowed = {"Host": "localhost:8080", "Origin": "http://localhost:8080"}
        assert answer_of(server, **allowed)[0] == 200
        assert answer_of(server, Host="localhost:8081")[0] == 403
        assert status_of(server, "/static/js/bokeh.min.js", **allowed) == 200
        with closing(_websocket(server, "localhost:8080")) as stream:
            assert stream.recv(1000).startswith(b"HTTP/1.1 101 Switching")
        with closing(_websocket(server, "localhost:8081")) as stream:
            assert stream.recv(1000).startswith(b"HTTP/1.1 403")
    finally:
        server.close()


@pytest.mark.parametrize("path", ["/", "/static/js/bokeh.min.js", "/nothing"])
def test_content_security_policy_allows_only_this_server(path):
    with served(steps=1) as (_, server):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=SECONDS)
        connection.request("GET", path)
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
    parts = response.headers["Content-Security-Policy"].split("; ")
    policy = dict(part.split(" ", 1) for part in parts)
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["connect-src"] == f"'self' ws://127.0.0.1:{server.port}"
    scripts = policy["script-src"].split()
    assert scripts[0] == "'self'"
    assert bool(scripts[1:]) == (path == "/")
    assert all(script.startswith("'sha256-") for script in scripts[1:])
    assert "://" not in " ".join(re.findall(r"src=\S+", text)) or path != "/"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.full
def test_next_update_is_sent_after_the_pong():
    with served(steps=10**6) as (run, server):
        run.start()
        until(lambda: run.latest is not None)
        stream, sent = _websocket(server), b""

        def receive():
            nonlocal sent
            with suppress(TimeoutError):
                while len(sent) < 10**8:
                    sent += stream.recv(2**20)

        def pictures():
            return sent.count(b"images per second")

        for _ in range(8):
            receive()  # for more than half a second
        before = pictures()
        assert before <= 1  # 0 if the update was due just before the viewer connected
        ping = bytes([0x89, 1]) + b"1"
        assert ping in sent
        mask = b"mask"
        stream.sendall(bytes([0x8A, 0x80 | 1]) + mask + bytes([ord("1") ^ mask[0]]))
        until(lambda: receive() or pictures() > before)
        stream.close()


def _token(server):
    """The token of a new page, which its websocket sends."""
    connection = http.client.HTTPConnection(f"127.0.0.1:{server.port}", timeout=SECONDS)
    connection.request("GET", "/")
    token = re.search(r'"token":"([^"]+)"', connection.getresponse().read().decode())[1]
    connection.close()
    return token


def _websocket(server, host=None, token=None):
    """A viewer's connection, before anything was read; host: that the browser sends.

    token: of a page; by default of a new one.
    """
    host = host or f"127.0.0.1:{server.port}"
    token = token or _token(server)
    stream = socket.create_connection(("127.0.0.1", server.port))
    headers = {
        "Host": host, "Origin": f"http://{host}", "Upgrade": "websocket", "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Protocol": f"bokeh, {token}",
    }  # fmt: skip
    lines = ["GET /ws HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    stream.sendall("\r\n".join([*lines, "", ""]).encode())
    stream.settimeout(MILLISECONDS / 1000)
    return stream


@pytest.mark.parametrize(
    "path",
    [
        "/static/../../../../../../etc/passwd",
        "/static/%2e%2e/%2e%2e/%2e%2e/server/server.py",
        "/static//etc/passwd",
        "/etc/passwd",
        "/static/extensions/x/../../../../etc/passwd",
        "/..%2f..%2fetc%2fpasswd",
    ],
)
def test_paths_do_not_read_files(path):
    with served(steps=1) as (_, server):
        assert status_of(server, path) in (403, 404)


@pytest.mark.full
def test_port_in_use():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "tinytensor", "train", "softmax", "--live", "--port", str(port)],
            capture_output=True, text=True, timeout=SECONDS,
        )  # fmt: skip
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1] == (
        f"tinytensor: --port: {port} is in use; "
        "choose another port, or leave --port out for a free one"
    )
    with served(steps=1) as (_, one), served(steps=1) as (_, two):
        assert one.port != two.port, "without --port, the next free port"


@pytest.mark.full
def test_ctrl_c_during_training_writes_the_outputs(tmp_path):
    model, result = tmp_path / "model.safetensors", tmp_path / "run.json"
    options = ("--steps", "1000000", "--save", str(model), "--json", str(result))
    with command(*options) as (process, _):
        until(lambda: process.stderr.readline().startswith("step"))
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 130
        assert "stopped" in process.stderr.read()
    assert model.stat().st_size > 0
    assert json.loads(result.read_text())["steps"] < 10**6


def test_ctrl_c_before_the_first_step_makes_and_saves_no_step(tmp_path):
    file = tmp_path / "model.safetensors"
    with command("--speed", "100", "--save", str(file)) as (process, _):
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 130
        assert process.stderr.read().strip() == "tinytensor: stopped"
    assert not file.exists()


def test_ctrl_c_during_the_first_step_prints_what_was_saved(tmp_path):
    slow = (
        "import os, signal, sys, time, tinytensor.train as train\n"
        "make_step = train.Training.make_step\n"
        "def slow(training):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    while not training.stop: time.sleep(0.01)\n"
        "    return make_step(training)\n"
        "train.Training.make_step = slow\n"
        "from tinytensor_command import main\n"
        "main(sys.argv[1:])"
    )
    file = tmp_path / "model.safetensors"
    with command("--save", str(file), begin=[sys.executable, "-c", slow]) as (process, _):
        assert process.wait(SECONDS) == 130
        printed = process.stderr.read()
    assert file.exists()
    assert "saved after step 1; to continue: tinytensor train softmax" in printed
    assert "Traceback" not in printed


@pytest.mark.full
def test_ctrl_c_during_recording_leaves_a_complete_file(tmp_path):
    file = tmp_path / "run.tt"
    with command("--steps", "1000000", "--record", str(file)) as (process, _):
        until(lambda: process.stderr.readline().startswith("step"))
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 130
        print(f"it took {time.monotonic() - began:.2f} s to end")
    last = load(file).snapshots[-1]
    assert 0 < last.step < 10**6
    assert last.test_accuracy is not None


@pytest.mark.full
def test_page_stays_after_an_error_until_ctrl_c():
    fail = (
        "import sys, tinytensor.train as train\n"
        "def fail(*_): raise train.AnomalyError('the loss is nan')\n"
        "train.Training.train_step = fail\n"
        "from tinytensor_command import main\n"
        "main(sys.argv[1:])"
    )
    with command(begin=[sys.executable, "-c", fail]) as (process, address):
        until(lambda: "stopped with an error: the loss is nan" in process.stderr.readline())
        until(lambda: "until Ctrl-C" in process.stderr.readline())
        connection = http.client.HTTPConnection(address.split("/")[2], timeout=SECONDS)
        connection.request("GET", "/")
        assert connection.getresponse().status == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 2
        assert process.stderr.read() == "tinytensor: the loss is nan\n"


def test_ctrl_c_after_the_run_closes_the_page(tmp_path):
    with command("--steps", "20") as (process, _):
        until(lambda: "until Ctrl-C" in process.stderr.readline())
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 0


def test_waiting_for_a_viewer_is_one_line_and_ctrl_c_ends_it():
    process = subprocess.Popen(
        [sys.executable, "-m", "tinytensor", "train", "softmax", "--live", "--no-browser"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        until(lambda: "lesson 1.0" in process.stderr.readline())
        line = process.stderr.readline()
        assert re.fullmatch(r"waiting for a viewer at http://\S+; Ctrl-C stops\n", line)
        time.sleep(1)
        assert process.poll() is None, "it waits"
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 130
        assert "Traceback" not in process.stderr.read()
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("option", [("--port", "5100"), ("--speed", "20"), ("--no-browser",)])
def test_page_options_need_live(run, option):
    code, _, err = run("train", "softmax", *option)
    assert (code, err) == (
        2,
        f"tinytensor: {option[0]}: is an option of the live page; add --live\n",
    )
    code, _, err = run("train", "softmax", "--live", "terminal", *option)
    assert code == 2
    assert err.endswith("option of the live page; write --live instead of --live terminal\n")


@pytest.mark.parametrize("speed", ["0", "-1", "nan", "inf", "fast"])
def test_wrong_speed_is_one_line(run, speed):
    code, _, err = run("train", "softmax", "--live", "--speed", speed)
    assert code == 2
    assert err == (
        f"tinytensor: Invalid value for '--speed': got {speed!r}; steps per second, above 0, or "
        "max is needed\n"
    )


def test_lesson_after_live_is_an_error_with_advice():
    done = subprocess.run(
        [sys.executable, "-m", "tinytensor", "train", "--live", "softmax"],
        capture_output=True, text=True, timeout=SECONDS,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.endswith("the lesson comes first: tinytensor train LESSON --live\n")
    assert done.stderr.count("\n") == 1


def test_import_loads_no_drawing_library():
    code = "import tinytensor, tinytensor.cli.train_command, sys; print('bokeh' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "False\n"
