"""Whatever a viewer sends, the training goes on with the same bits, and others see the page."""

import asyncio
import gc
import http.client
import json
import logging
import random
import resource
import socket
import struct
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest
import viewer as viewers
from bokeh.server.views.ws import WSHandler
from chromium import needs_browser
from test_live_page import _token, _websocket
from tornado.websocket import WebSocketClosedError
from viewer import SECONDS, Viewer, finish, served, settled, until

import tinytensor as tt
from tinytensor.datasets.drawn import MAX_POINTS, render_strokes
from tinytensor.live.server import MAX_CONNECTIONS, MAX_MESSAGE

browser = viewers.browser


def get(server, path="/"):
    """The status and the text of a page."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=SECONDS)
    with closing(connection):
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()


def frame(payload: bytes | str, size: int | None = None) -> bytes:
    """A frame of the websocket protocol; size: the size that it claims."""
    kind = 0x81 if isinstance(payload, str) else 0x82
    data = payload.encode() if isinstance(payload, str) else payload
    mask = b"mask"
    masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))
    return bytes([kind, 0x80 | 127]) + struct.pack(">Q", size or len(data)) + mask + masked


def opened(server, token=None):
    """A viewer's connection, after the first bytes of the server; token: of an open page."""
    stream = _websocket(server, token=token)
    stream.settimeout(SECONDS)
    assert stream.recv(100).startswith(b"HTTP/1.1 101")
    return stream


def is_closed(stream) -> bool:
    """Whether the server closes the connection, after all that it sent."""
    try:
        while stream.recv(2**16):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


HEADER = '{"msgid": "1", "msgtype": "PATCH-DOC", "num_buffers": 10000}'
PATCH = json.dumps(
    {"events": [{"kind": "ModelChanged", "model": {"id": "p1"}, "attr": "x", "new": 1}]}
)
MESSAGES = {
    "no JSON": [frame("{"), frame("}"), frame("[")],
    "binary": [frame(b"\0" * 100)],
    "an unknown message": [frame('{"msgid": "1", "msgtype": "EXEC"}'), frame("{}"), frame("{}")],
    "a change of an unknown model": [frame(HEADER[:-20] + "}"), frame("{}"), frame(PATCH)],
    "deep nesting": [frame("[" * 100_000), frame("{}"), frame("{}")],
    "a frame that claims 4 GiB": [frame(b"x", 2**32)],
    "a frame that claims 2**63 bytes": [frame(b"x", 2**63)],
    "too long": [frame("x" * (MAX_MESSAGE + 1))],
    "too many parts": [frame(HEADER), frame("{}"), frame('{"events": []}')]
    + [frame('{"id": "1"}'), frame(bytes(2**18))] * 5,
    "noise": [random.Random(0).randbytes(5000)],
}


@pytest.mark.full
@pytest.mark.parametrize("messages", MESSAGES.values(), ids=MESSAGES)
def test_a_malformed_message_closes_only_its_connection(messages):
    with served(steps=30, seed=3) as (run, server):
        with closing(opened(server)) as stream:
            with suppress(OSError):
                for message in messages:
                    stream.sendall(message)
            assert is_closed(stream)
        assert get(server)[0] == 200
        finish(run)
        losses = run.training.model.state_dict()
    with served(steps=30, seed=3) as (run, _):
        finish(run)
        for name, x in run.training.model.state_dict().items():
            np.testing.assert_array_equal(x.numpy(), losses[name].numpy())


@pytest.mark.full
def test_viewers_beyond_the_limit_get_a_sentence(monkeypatch):
    monkeypatch.setattr("tinytensor.live.server.MAX_VIEWERS", 5)
    # On a busy machine the first pages must not be dropped before the last ones are requested.
    monkeypatch.setattr("tinytensor.live.server.UNUSED_SECONDS", 25)
    with served(steps=1) as (_, server):
        answers = [get(server) for _ in range(7)]
        assert [status for status, _ in answers] == [200] * 5 + [503] * 2
        assert "5 viewers have this page open" in answers[-1][1]
        until(lambda: get(server)[0] == 200)  # sessions without a browser end


def test_half_open_connections_do_not_stop_the_page():
    with served(steps=20) as (run, server):
        idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(50)]
        for stream in idle:
            stream.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1")
        assert get(server)[0] == 200
        idle += [
            socket.create_connection(("127.0.0.1", server.port)) for _ in range(MAX_CONNECTIONS)
        ]
        finish(run)
        for stream in idle:
            stream.close()
        until(lambda: _works(server))


def _works(server) -> bool:
    try:
        return get(server)[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def test_a_picture_for_a_page_that_was_left_prints_no_warning(caplog):
    class Picture:
        async def send(self, _):
            raise WebSocketClosedError

    handler = WSHandler.__new__(WSHandler)
    asyncio.run(handler.send_message(Picture()))
    logging.getLogger("bokeh.server.views.ws").warning("another warning")
    assert caplog.messages == ["another warning"]


@pytest.mark.full
def test_connections_that_close_at_once_leave_no_session():
    with served(steps=1) as (_, server):
        token = _token(server)
        for _ in range(20):
            opened(server, token).close()
        until(lambda: not server._application.get_sessions("/"))


ROUNDS = 4  # memory is compared after each, because the first ones fill caches
MOST_GROWN = 8 * 2**20  # bytes from the first round to the last
HALF_OPEN = 20  # connections
HUGE = MAX_MESSAGE // 16  # points of a stroke, whose message is nearly as long as allowed


def patch(model, **data) -> list[bytes]:
    """The frames of a message that changes the data of a model."""
    header = '{"msgid": "1", "msgtype": "PATCH-DOC"}'
    event = {"kind": "ModelChanged", "model": {"id": model.id}, "attr": "data"}
    entries = [[name, values] for name, values in data.items()]
    changed = {"events": [event | {"new": {"type": "map", "entries": entries}}]}
    return [frame(header), frame("{}"), frame(json.dumps(changed))]


def attack(server, rng) -> None:
    """One page, and on it each bad message, half-open connections and a huge stroke."""
    token = _token(server)
    with closing(opened(server, token)) as stays:  # so that the page stays, too
        for messages in MESSAGES.values():
            with closing(opened(server, token)) as stream, suppress(OSError):
                for message in messages:
                    stream.sendall(message)
                assert is_closed(stream)
        idle = [opened(server, token) for _ in range(HALF_OPEN)]
        for stream in idle:
            stream.sendall(frame(rng.randbytes(1000), 2**19))  # the rest never comes
            stream.close()
        (session,) = server._application.get_sessions("/")
        strokes = session.document.get_model_by_name("strokes")
        xs = [round(rng.random(), 3) for _ in range(HUGE)]
        for message in patch(strokes, xs=[xs], ys=[xs]):
            stays.sendall(message)
        until(lambda: len(strokes.data["xs"]) == 1)
    until(lambda: not server._application.get_sessions("/"))


@pytest.mark.full
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_memory_stays_flat_under_a_hostile_viewer(request, monkeypatch):
    """--programs N: N pages, each with 10 bad messages, 20 half-open connections, a huge stroke."""
    count = max((request.config.getoption("--programs") or 12) // ROUNDS, 1)
    monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)  # pytest keeps messages
    rng = random.Random(0)
    with served(steps=10**7, evaluate_every=10**7) as (run, server):
        run.start()
        sizes = []
        for _ in range(ROUNDS):
            for _ in range(count):
                attack(server, rng)
            gc.collect()
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            sizes.append(pages * resource.getpagesize())
        assert run.state == "running"
        before = run.training.step
        until(lambda: run.training.step > before)
    grown = sizes[-1] - sizes[0]
    print(f"{count * ROUNDS:,} pages: {sizes[-1] / 2**20:.0f} MiB, {grown / 2**20:+.2f} MiB")
    assert grown <= MOST_GROWN, sizes


@pytest.mark.parametrize(
    "strokes",
    [
        [[(0.5, float("nan"))]],
        [[(0.5, 0.5), (1e308, -1e308)]],
        [[(float("inf"), 0.1)]],
        [[(0.1, 0.1)] * (MAX_POINTS + 1)],
        [],
        [[]],
    ],
)
def test_absurd_strokes_raise(strokes):
    with pytest.raises(tt.DataError):
        render_strokes(strokes)


@pytest.mark.full
@needs_browser
def test_markup_in_names_is_shown_as_text(browser):
    """The names of classes come from folders, so anybody may have written them."""
    names = [f"<img src=x onerror='window.ran={i}'>" for i in range(10)]
    data = tt.datasets.Dataset(*viewers.DATA[:4], names=tuple(names))
    with served(steps=20, data=data) as (run, server):
        viewer = Viewer(browser, server.address)
        finish(run)
        until(lambda: viewer.column("training digits data", "image") and viewer.step() == 20)
        settled(viewer)
        x, y, *_ = viewer.place("training digits")
        viewer.press((x + 10, y + 10))
        until(lambda: "&lt;img" in viewer.model("verdict", "model.text"))
        assert browser.execute_script("return window.ran === undefined")
        assert viewer.complaints() == []
