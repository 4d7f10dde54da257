"""The server of the live page: on this machine only, for this page only.

It listens on 127.0.0.1, and answers only who has asked for that address: a page from elsewhere can
have its visitor's browser ask here too (by a name of its own that leads to 127.0.0.1, or from its
own origin), and is refused. All that the page loads comes from here.
"""

from __future__ import annotations

import asyncio
import errno
import secrets
import socket
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from bokeh.application import Application
from bokeh.application.handlers.function import FunctionHandler
from bokeh.document import Document
from bokeh.resources import Resources
from bokeh.server.server import BaseServer
from bokeh.server.tornado import BokehTornado
from bokeh.server.views.static_handler import StaticHandler
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest
from tornado.ioloop import IOLoop
from tornado.netutil import bind_sockets
from tornado.web import ErrorHandler

from tinytensor.errors import SettingError

ADDRESS = "127.0.0.1"
FIRST_PORT = 5006
PORTS = 100  # that are tried from there on

Page = Callable[[Document], None]  # fills the document of a viewer


class LocalOnly(BokehTornado):
    """Bokeh's web application, which refuses requests that were made under another address."""

    def __init__(self, page: Page, port: int) -> None:
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
            use_index=False,
        )

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

    def __init__(self, page: Page, port: int | None = None) -> None:
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
