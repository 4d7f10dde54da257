"""The page of a race in a headless browser shows the values of the race."""

import http.client
import json
import re
import signal
import subprocess
import sys

import pytest
import viewer as viewers
from chromium import needs_browser
from conftest import BACKENDS
from viewer import SECONDS, Viewer, until

import tinytensor as tt
from tinytensor.lessons import find
from tinytensor.live.race import Race, rows
from tinytensor.live.race_page import page
from tinytensor.live.server import Server

DATA = tt.datasets.mnist()
SMALL = DATA._replace(test_images=DATA.test_images[:200], test_labels=DATA.test_labels[:200])
browser = viewers.browser


@pytest.fixture
def served():
    """A race that is not started, and the server of its page."""
    race = Race(find("softmax"), SMALL, BACKENDS, steps=400, evaluate_every=20)
    server = Server(page(race))
    server.start()
    yield race, server
    server.close()


def shown(viewer, name):
    """Seconds and accuracies of a curve on the page."""
    return [viewer.column(name, column) for column in ("seconds", "accuracy")]


def cells(viewer):
    """The text of the table's cells, row by row."""
    text = viewer.model("table", "model.text")
    lines = re.findall("<tr>(.*?)</tr>", text)
    return [re.findall("<t[dh]>(.*?)</t[dh]>", line) for line in lines]


@needs_browser
def test_curves_and_table_follow_the_race(browser, served):
    race, server = served
    viewer = Viewer(browser, server.address)
    turns = iter(race)
    first = next(turns)
    until(lambda: len(shown(viewer, first.backend.name)[0]) == len(first.history) > 0)
    for _ in turns:
        pass
    for contestant in race.contestants:
        name = contestant.backend.name
        until(lambda name=name: len(shown(viewer, name)[0]) == 20)
        seconds, accuracies = shown(viewer, name)
        assert seconds == pytest.approx([standing.seconds for standing in contestant.history])
        wanted = [100 * standing.test_accuracy for standing in contestant.history]
        assert accuracies == pytest.approx(wanted)
    wanted = [list(rows(race)[0])] + [
        [f"<b>{text}</b>" if is_first else text for text, is_first in row.values()]
        for row in rows(race)
    ]
    until(lambda: cells(viewer) == wanted)
    x, y, width, height = map(round, viewer.place("race"))
    inside = viewer.screenshot()[y : y + height, x : x + width]
    orange = (abs(inside.astype(int) - (0xD5, 0x5E, 0x00)) < 12).all(axis=-1)
    assert orange.any(axis=0).sum() > 20, "the curve of the first contestant"
    assert viewer.complaints() == []


@needs_browser
def test_page_loads_everything_from_this_machine(browser, served):
    _, server = served
    viewer = Viewer(browser, server.address)
    hosts = {re.match(r"\w+://([^/]*)", url)[1] for url in viewer.requests() if "://" in url}
    assert hosts == {f"127.0.0.1:{server.port}"}


@pytest.mark.parametrize("header", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}])
def test_foreign_host_or_origin_is_refused(served, header):
    _, server = served
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=SECONDS)
    connection.request("GET", "/", headers=header)
    assert connection.getresponse().status == 403


# tinytensor race --live


@pytest.mark.full
@pytest.mark.parametrize(("steps", "code"), [(20, 0), (10**8, 130)])
def test_ctrl_c_closes_the_page_and_prints_the_results(tmp_path, steps, code):
    """Ctrl-C after the race closes the page; before its end it also stops the race."""
    file = tmp_path / "race.json"
    command = (
        *(sys.executable, "-m", "tinytensor", "race", "softmax", "--backends", "numpy"),
        *("--steps", str(steps), "--json", str(file), "--live", "--no-browser"),
    )
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        sign = "the page stays until Ctrl-C" if code == 0 else "numpy: "
        seen = [process.stderr.readline() for _ in range(2)]
        assert re.fullmatch(r"watch it at http://127.0.0.1:\d+/\n", seen[1])
        until(lambda: process.stderr.readline().startswith(sign))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
    assert process.returncode == code
    assert "Traceback" not in err
    assert "numpy" in out
    assert json.loads(file.read_text())["stopped"] is (code == 130)


def test_page_options_need_live(run):
    code, _, err = run("race", "softmax", "--port", 5100)
    assert (code, err) == (2, "tinytensor: --port: is an option of the live page; add --live\n")
