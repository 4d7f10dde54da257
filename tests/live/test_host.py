"""The page for other machines: an address with a token, and no controls."""

import http.client
import re

import pytest
import viewer as viewers
from chromium import needs_browser
from viewer import SECONDS, Viewer, served, until

import tinytensor as tt
from tinytensor.live.server import Server

browser = viewers.browser
HOST = "127.0.0.2"  # another address of this machine, as far as browsers and sockets know
WEBSOCKET = {
    "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}  # fmt: skip


def answer(server, path, **headers):
    """Status code, headers and text of the response to a request."""
    connection = http.client.HTTPConnection(HOST, server.port, timeout=SECONDS)
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, response.headers, text


@pytest.fixture
def server():
    with served(steps=1, may_control=False, host=HOST) as (_, server):
        yield server


def test_address_has_a_long_random_token(server):
    assert server.address == f"http://{HOST}:{server.port}/{server.token}"
    assert re.fullmatch(r"[\w-]{22}", server.token)
    with served(steps=1, host=HOST) as (_, other):
        assert other.token != server.token
    with served(steps=1) as (_, local):
        assert local.address == f"http://127.0.0.1:{local.port}/", "no token without a host"


def test_requests_without_the_token_are_refused(server):
    token = server.token
    assert answer(server, f"/{token}")[0] == 200
    assert answer(server, f"/{token}/static/js/bokeh.min.js")[0] == 200
    wrong = ("A" if token[0] != "A" else "B") + token[1:]
    paths = ["", "static/js/bokeh.min.js", "ws", "autoload.js", wrong, f"{wrong}/ws", token[:-1]]
    paths += [f"{token}x", f"x/{token}", f"?{token}", f"?token={token}", f"%2f{token}", f"/{token}"]
    for path in paths:
        assert answer(server, f"/{path}")[0] == 403, path
    assert answer(server, "/ws", **WEBSOCKET)[0] == 403
    assert answer(server, f"/{wrong}/ws", **WEBSOCKET)[0] == 403


def test_foreign_hosts_and_origins_are_refused_with_the_token(server):
    own, path = f"{HOST}:{server.port}", f"/{server.token}"
    assert answer(server, path, Host=own, Origin=f"http://{own}")[0] == 200
    hosts = ("evil.example", f"evil.example:{server.port}", f"localhost:{server.port}", "")
    for host in (*hosts, f"127.0.0.1:{server.port}"):
        assert answer(server, path, Host=host)[0] == 403, host
    for origin in ("http://evil.example", "null", f"https://{own}", "http://127.0.0.1:1"):
        assert answer(server, path, Host=own, Origin=origin)[0] == 403, origin
        assert answer(server, f"{path}/ws", Host=own, Origin=origin, **WEBSOCKET)[0] == 403


def test_listens_only_at_the_host(server):
    assert [each.getsockname()[0] for each in server._sockets] == [HOST]


def test_paths_below_the_token_do_not_read_files(server):
    for path in (
        "static/../../../../etc/passwd",
        "static/%2e%2e/%2e%2e/x",
        "..%2f..%2fetc%2fpasswd",
    ):
        assert answer(server, f"/{server.token}/{path}")[0] in (403, 404), path


def test_policy_allows_only_this_server(server):
    _, headers, text = answer(server, f"/{server.token}")
    parts = headers["Content-Security-Policy"].split("; ")
    policy = dict(part.split(" ", 1) for part in parts)
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert policy["connect-src"] == f"'self' ws://{HOST}:{server.port}"
    assert headers["Referrer-Policy"] == "no-referrer", "the token stays here"
    assert all(
        src.startswith(f"/{server.token}/")
        for src in re.findall(r'<script[^>]* src="([^"]+)"', text)
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "localhost", "::", "", "127.0.0.1/8"])
def test_other_hosts_are_errors(host):
    with pytest.raises(tt.SettingError, match=r"--host: .*an IPv4 address of this machine"):
        Server(lambda document: None, host=host)


def test_host_is_an_option_of_the_page(run):
    code, _, err = run("train", "softmax", "--host", HOST)
    assert (code, err) == (2, "tinytensor: --host: is an option of the live page; add --live\n")
    code, _, err = run("train", "softmax", "--live", "--no-browser", "--host", "192.0.2.1")
    assert code == 2
    assert err.splitlines()[-1].startswith("tinytensor: --host: got '192.0.2.1'; an IPv4 address")


@needs_browser
def test_onlookers_see_the_run_without_controls(browser):
    with served(steps=10**6, may_control=False, host=HOST) as (run, server):
        viewer = Viewer(browser, server.address)
        run.start()
        until(lambda: viewer.step() > 1)
        names = "Bokeh.documents[0].all_models.size && [...Bokeh.documents[0].all_models]"
        found = browser.execute_script(f"return ({names}).map((model) => model.name)")
        assert not {"pause", "step", "stop", "restart", "speed", "backend"} & set(found)
        assert "show" in found
        viewer.keys(" ")
        step = viewer.step()
        until(lambda: viewer.step() > step)
        assert run.state == "running"
        paths = {re.match(r"\w+://(.*)", url)[1] for url in viewer.requests() if "://" in url}
        own = f"{HOST}:{server.port}/"
        assert all(path.startswith(own + server.token) for path in paths - {f"{own}favicon.ico"})
        assert viewer.complaints() == []
