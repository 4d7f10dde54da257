"""The server of the live page: on this machine only, for this page only.

It listens on 127.0.0.1, and answers only who has asked for that address: a page from elsewhere can
have its visitor's browser ask here too (by a name of its own that leads to 127.0.0.1, or from its
own origin), and is refused. All that the page loads comes from here.
"""

from __future__ import annotations

import asyncio
import errno
import re
import secrets
import socket
import threading
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from bokeh.application import Application
from bokeh.application.handlers.function import FunctionHandler
from bokeh.document import Document
from bokeh.resources import Resources
from bokeh.server.connection import ServerConnection
from bokeh.server.server import BaseServer
from bokeh.server.session import ServerSession
from bokeh.server.tornado import BokehTornado
from bokeh.server.views.static_handler import StaticHandler
from bokeh.server.views.ws import WSHandler
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders, HTTPServerRequest
from tornado.ioloop import IOLoop
from tornado.netutil import bind_sockets
from tornado.web import ErrorHandler, OutputTransform
from tornado.websocket import WebSocketClosedError

from tinytensor.errors import SettingError

ADDRESS = "127.0.0.1"
FIRST_PORT = 5006
PORTS = 100  # that are tried from there on
POLICY = (
    "default-src 'none'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

FillDocument = Callable[[Document], None]  # fills the document of a viewer


class Viewer:
    """A viewer's browser: does it keep up with what it is sent?

    Behind a picture it is asked by a ping, which browsers answer when they come to it: not while
    their tab is suspended. So what waits for one is a picture or two.
    """

    def __init__(self) -> None:
        self._socket: WSHandler | None = None
        self._asked = 0

    def connect(self, socket: WSHandler) -> None:
        """It has come, or come again."""
        self._socket, self._asked = socket, 0

    def ask(self) -> None:
        """Have it answer, when it has taken all that was sent before."""
        if self._socket is not None:
            self._asked += 1
            with suppress(WebSocketClosedError):
                self._socket.ping(str(self._asked).encode())

    @property
    def is_behind(self) -> bool:
        """Is there no answer yet?"""
        return self._socket is not None and self._socket.latest_pong < self._asked > 0


_viewers: WeakKeyDictionary[Document, Viewer] = WeakKeyDictionary()


def viewer_of(document: Document) -> Viewer:
    """Who sees a document."""
    return _viewers.setdefault(document, Viewer())


class Protection(OutputTransform):
    """Tells the browser with each answer what it may load and run: what comes from here, only.

    Scripts that stand in the page itself are allowed by their hashes. Bokeh writes styles into the
    page as it goes, which have none, and its icons are data.
    """

    def __init__(self, request: HTTPServerRequest) -> None:
        self._host = request.host

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        """The answer, with these headers."""
        scripts = re.findall(b"<script>(.*?)</script>", chunk, re.DOTALL)
        hashes = (f"'sha256-{b64encode(sha256(script).digest()).decode()}'" for script in scripts)
        headers["Content-Security-Policy"] = (
            f"{POLICY}; connect-src 'self' ws://{self._host}; script-src 'self' {' '.join(hashes)}"
        )
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Referrer-Policy"] = "no-referrer"
        return status_code, headers, chunk


class LocalOnly(BokehTornado):
    """Bokeh's web application, which refuses requests that were made under another address."""

    def __init__(self, page: FillDocument, port: int) -> None:
        self.hosts = {f"{name}:{port}" for name in (ADDRESS, "localhost")}
        super().__init__(
            {"/": Application(FunctionHandler(page))},
            extra_websocket_origins=sorted(self.hosts),
            secret_key=secrets.token_bytes(32),
            sign_sessions=True,
            include_headers=[],
            include_cookies=[],
            check_unused_sessions_milliseconds=2000,
            unused_session_lifetime_milliseconds=4000,
            keep_alive_milliseconds=0,  # Viewer does that
            use_index=False,
        )
        self.add_transform(Protection)

    def new_connection(
        self, protocol: Any, socket: WSHandler, application_context: Any, session: ServerSession
    ) -> ServerConnection:
        """The connection of a viewer who has come."""
        viewer_of(session.document).connect(socket)
        return super().new_connection(protocol, socket, application_context, session)

    def find_handler(self, request: HTTPServerRequest, **arguments: Any) -> Any:
        """Who answers a request; 403 Forbidden to one with a foreign Host or Origin."""
        origin = request.headers.get("Origin")
        is_foreign = origin is not None and (
            urlsplit(origin).scheme != "http" or urlsplit(origin).netloc not in self.hosts
        )
        if request.host not in self.hosts or is_foreign:
            return self.get_handler_delegate(request, ErrorHandler, {"status_code": 403})
        return super().find_handler(request, **arguments)

    def resources(self, absolute_url: str | bool | None = None) -> Resources:
        """Where the page's scripts come from: this server, whatever the environment says."""
        return Resources(mode="server", root_url="/", path_versioner=StaticHandler.append_version)


class Server:
    """Serves a page from a thread of its own, from start() to close().

    page: makes a document for each viewer. port: where to listen; by default the first that is free
    from 5006 on.

    Raises SettingError where the port is in use.
    """

    def __init__(self, page: FillDocument, port: int | None = None) -> None:
        self._page = page
        self._sockets = _bound(port)
        self.port = self._sockets[0].getsockname()[1]
        self.address = f"http://{ADDRESS}:{self.port}/"
        self._thread = threading.Thread(target=self._serve, name="live page", daemon=True)
        self._ready = threading.Event()

    def start(self) -> None:
        """Begin to serve; returns when a browser may come."""
        self._thread.start()
        self._ready.wait()

    def _serve(self) -> None:
        asyncio.set_event_loop(asyncio.new_event_loop())
        self._loop = IOLoop.current()
        application = LocalOnly(self._page, self.port)
        self._http = HTTPServer(application)
        self._server = BaseServer(self._loop, application, self._http)
        self._server.start()
        self._http.add_sockets(self._sockets)
        self._loop.add_callback(self._ready.set)
        self._loop.start()
        self._loop.close()

    async def _stop(self) -> None:
        self._server.stop(wait=False)
        await self._http.close_all_connections()  # or a browser would wait for answers on them
        self._loop.stop()

    def close(self, seconds: float = 1.0) -> None:
        """End, at the latest after so many seconds."""
        self._loop.add_callback(self._stop)
        self._thread.join(seconds)


def _bound(port: int | None) -> list[socket.socket]:
    if port is not None:
        try:
            return bind_sockets(port, ADDRESS)
        except OSError as error:
            why = "is in use" if error.errno == errno.EADDRINUSE else f"({error.strerror})"
            raise SettingError(
                f"--port: {port} {why}; choose another, or leave it out for the next free one"
            ) from None
    for candidate in range(FIRST_PORT, FIRST_PORT + PORTS):
        try:
            return bind_sockets(candidate, ADDRESS)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    raise SettingError(
        f"--live: ports {FIRST_PORT} to {FIRST_PORT + PORTS - 1} are all in use; "
        "--port chooses another"
    )
