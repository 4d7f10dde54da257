"""The server of the live pages, for browsers on this machine only, unless a host is given.

The server listens on 127.0.0.1 and refuses requests with another Host or Origin. Otherwise a web
page from elsewhere could read it through its visitor's browser: from its own origin, or by a host
name that resolves to 127.0.0.1. The page loads everything from this server.

With a host, an address of this machine in its network, the server listens there instead. Then each
path starts with a random token, and the server refuses requests without it.

A viewer can send at most MAX_MESSAGE bytes as one message, and the numbers of viewers and of open
connections are limited, so that viewers can't fill the memory or use up the process's open files.

Through `ssh -L 8080:127.0.0.1:5006` a browser sends the host localhost:8080. The user allows this
host with --allow-origin localhost:8080.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import re
import secrets
import socket
import threading
from base64 import b64encode
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary, WeakSet

from bokeh.application import Application
from bokeh.application.handlers.function import FunctionHandler
from bokeh.document import Document
from bokeh.protocol.exceptions import ProtocolError
from bokeh.protocol.message import Message
from bokeh.protocol.receiver import Receiver
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
from tornado.iostream import IOStream
from tornado.netutil import bind_sockets
from tornado.web import ErrorHandler, OutputTransform, RequestHandler
from tornado.websocket import WebSocketClosedError

from tinytensor.errors import SettingError
from tinytensor.live import HOST_AND_PORT

ADDRESS = "127.0.0.1"
FIRST_PORT = 5006
PORTS = 100  # number of ports to try, starting at FIRST_PORT
MAX_MESSAGE = 2**20  # bytes; a drawn digit takes a hundredth of that
MAX_VIEWERS = 64
UNUSED_SECONDS = 4  # after which a page that no browser shows is dropped
MAX_CONNECTIONS = 256  # of all browsers; one uses up to 6 while it loads the page
SECONDS = 30.0  # for a request to arrive completely; a connection without one is closed
POLICY = (
    "default-src 'none'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

FillDocument = Callable[[Document], None]  # fills the document of a viewer


def _is_worth_printing(record: logging.LogRecord) -> bool:
    """False for Bokeh's warning, one per picture, that a browser has left the page."""
    return record.getMessage() != "Failed sending message as connection was closed"


logging.getLogger("bokeh.server.views.ws").addFilter(_is_worth_printing)


class Viewer:
    """A viewer's browser, with the state of its last ping.

    The server sends a ping after each picture. A browser answers the ping after it has processed
    the picture, and doesn't answer while its tab is suspended. So at most two pictures wait.
    """

    def __init__(self) -> None:
        self._socket: WSHandler | None = None
        self._pings = 0

    def connect(self, socket: WSHandler) -> None:
        """Store the connection of a browser that has connected or reconnected."""
        self._socket, self._pings = socket, 0

    def ping(self) -> None:
        """Send a ping, which the browser answers after it has processed all earlier messages."""
        if self._socket is not None:
            self._pings += 1
            with suppress(WebSocketClosedError):
                self._socket.ping(str(self._pings).encode())

    @property
    def is_behind(self) -> bool:
        """True if the browser has not answered the last ping."""
        return self._socket is not None and self._socket.latest_pong < self._pings > 0


_viewers: WeakKeyDictionary[Document, Viewer] = WeakKeyDictionary()


def viewer_of(document: Document) -> Viewer:
    """The viewer of a document."""
    return _viewers.setdefault(document, Viewer())


class Protection(OutputTransform):
    """Adds headers to each response so that the browser loads and runs only what this server sends.

    Inline scripts are allowed by their hashes. Inline styles and data: images are allowed because
    Bokeh inserts styles while the page runs, and its icons are data: images.
    """

    def __init__(self, request: HTTPServerRequest) -> None:
        self._host = request.host

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        """The response with the protection headers added."""
        scripts = re.findall(b"<script>(.*?)</script>", chunk, re.DOTALL)
        hashes = (f"'sha256-{b64encode(sha256(script).digest()).decode()}'" for script in scripts)
        headers["Content-Security-Policy"] = (
            f"{POLICY}; connect-src 'self' ws://{self._host}; script-src 'self' {' '.join(hashes)}"
        )
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Referrer-Policy"] = "no-referrer"
        return status_code, headers, chunk


class Refused(RequestHandler):
    """Answers each request with 403 Forbidden, and a text that says why."""

    def initialize(self, foreign: str) -> None:
        """foreign: the host or origin of the request that is not allowed."""
        self._foreign = foreign

    def prepare(self) -> None:
        """Send the answer, for each method."""
        # Without markup, and only if it looks like a host, because the request can have any text.
        is_host = HOST_AND_PORT.fullmatch(self._foreign) is not None
        asked, option = (self._foreign,) * 2 if is_host else ("another host", "HOST:PORT")
        self.set_status(403)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(
            f"403 Forbidden: the request is for {asked}, and this page is only for browsers that "
            "open the address it was started with. If you reach it through a tunnel with another "
            f"host or port, start it with the option --allow-origin {option}\n"
        )


class TooMany(RequestHandler):
    """Answers each request with 503 Service Unavailable."""

    def prepare(self) -> None:
        """Send the answer, for each method."""
        self.set_status(503)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(
            f"503 Service Unavailable: {MAX_VIEWERS} viewers have this page open, and more are not "
            "served; close one of them and reload\n"
        )


class BoundedReceiver(Receiver):
    """Puts the fragments of a viewer's message together, up to MAX_MESSAGE bytes."""

    _size = 0

    async def consume(self, fragment: str | bytes) -> Message[Any] | None:
        """Add a fragment; return the message if it is complete."""
        self._size += len(fragment)
        if self._size > MAX_MESSAGE:
            raise ProtocolError(f"a message has more than {MAX_MESSAGE:,} bytes")
        message = await super().consume(fragment)
        if message is not None:
            self._size = 0
        return message


class BoundedServer(HTTPServer):
    """Closes each connection beyond MAX_CONNECTIONS at once."""

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        """Serve a new connection."""
        if len(self._connections) >= MAX_CONNECTIONS:
            stream.close()
        else:
            super().handle_stream(stream, address)


class LocalOnly(BokehTornado):
    """Bokeh's web application, restricted to requests with this server's Host and Origin.

    hosts: as HOST:PORT, by which a browser may reach this server. token: if not empty, the first
    part of the path of each request.
    """

    def __init__(self, page: FillDocument, hosts: set[str], token: str) -> None:
        self.hosts, self.token = hosts, token
        super().__init__(
            {"/": Application(FunctionHandler(page))},
            prefix=f"/{token}" if token else "",
            extra_websocket_origins=sorted(self.hosts),
            secret_key=secrets.token_bytes(32),
            sign_sessions=True,
            include_headers=[],
            include_cookies=[],
            check_unused_sessions_milliseconds=2000,
            unused_session_lifetime_milliseconds=UNUSED_SECONDS * 1000,
            keep_alive_milliseconds=0,  # Viewer sends the pings
            use_index=False,
            websocket_max_message_size_bytes=MAX_MESSAGE,
        )
        self.add_transform(Protection)
        self.sockets: WeakSet[WSHandler] = WeakSet()  # of the viewers

    def new_connection(
        self, protocol: Any, socket: WSHandler, application_context: Any, session: ServerSession
    ) -> ServerConnection:
        """The connection of a new viewer."""
        socket.receiver = BoundedReceiver(protocol)
        viewer_of(session.document).connect(socket)
        self.sockets.add(socket)
        connection = super().new_connection(protocol, socket, application_context, session)
        if socket.ws_connection is None:
            # The browser has closed the connection already. Without this call, the session would
            # wait permanently for its end.
            self.client_lost(connection)
        return connection

    def find_handler(self, request: HTTPServerRequest, **arguments: Any) -> Any:
        """The handler of a request; 403 Forbidden for a foreign Host or Origin, or no token."""
        origin = request.headers.get("Origin")
        is_foreign = origin is not None and (
            urlsplit(origin).scheme != "http" or urlsplit(origin).netloc not in self.hosts
        )
        if request.host not in self.hosts or is_foreign:
            foreign = request.host if request.host not in self.hosts else urlsplit(origin).netloc
            return self.get_handler_delegate(request, Refused, {"foreign": str(foreign)})
        first = "".join((request.path or "").split("/")[1:2])
        if self.token and not secrets.compare_digest(first.encode(), self.token.encode()):
            return self.get_handler_delegate(request, ErrorHandler, {"status_code": 403})
        is_page = request.path == f"{self.prefix}/"
        if is_page and len(self.get_sessions("/")) >= MAX_VIEWERS:
            return self.get_handler_delegate(request, TooMany)
        return super().find_handler(request, **arguments)

    def resources(self, absolute_url: str | bool | None = None) -> Resources:
        """The source of the page's scripts: this server, whatever Bokeh's environment variables."""
        root_url = f"/{self.token}/" if self.token else "/"
        return Resources(
            mode="server", root_url=root_url, path_versioner=StaticHandler.append_version
        )


class Server:
    """Serves a page in a separate thread, from start() to close().

    Args:
        page: called with the empty document of each viewer, to fill it.
        port: the port to listen on; the first free port from 5006 on by default.
        allowed: more hosts, as HOST:PORT, by which a browser may reach this server.
        host: an IPv4 address of this machine. Browsers of the network can open the page there, and
            its address has a random token. By default only this machine can open the page.

    Raises:
        SettingError: the port is in use, or `host` is no address of this machine.
    """

    def __init__(
        self,
        page: FillDocument,
        port: int | None = None,
        allowed: Sequence[str] = (),
        host: str | None = None,
    ) -> None:
        self._page = page
        self._sockets = _bind(port, ADDRESS if host is None else _checked(host))
        self.port = self._sockets[0].getsockname()[1]
        self.token = "" if host is None else secrets.token_urlsafe(16)
        names = (ADDRESS, "localhost") if host is None else (host,)
        self._hosts = {f"{name}:{self.port}" for name in names} | set(allowed)
        self.address = f"http://{names[0]}:{self.port}/{self.token}"
        self._thread = threading.Thread(target=self._serve, name="live page", daemon=True)
        self._ready = threading.Event()

    def start(self) -> None:
        """Start the server; return when it accepts connections."""
        self._thread.start()
        self._ready.wait()

    def _serve(self) -> None:
        asyncio.set_event_loop(asyncio.new_event_loop())
        self._loop = IOLoop.current()
        application = self._application = LocalOnly(self._page, self._hosts, self.token)
        self._http = BoundedServer(
            application,
            idle_connection_timeout=SECONDS,
            body_timeout=SECONDS,
            max_body_size=MAX_MESSAGE,
        )
        self._server = BaseServer(self._loop, application, self._http)
        self._server.start()
        self._http.add_sockets(self._sockets)
        self._loop.add_callback(self._ready.set)
        self._loop.start()
        self._loop.close()

    async def _stop(self) -> None:
        for viewer in list(self._application.sockets):
            viewer.close(1001)  # "going away", so that the pages say that the run has ended
        self._server.stop(wait=False)
        await self._http.close_all_connections()  # otherwise browsers would wait for responses
        self._loop.stop()

    def close(self, seconds: float = 1.0) -> None:
        """Stop the server; wait at most `seconds` for its thread to end."""
        self._loop.add_callback(self._stop)
        self._thread.join(seconds)


def _checked(host: str) -> str:
    """The host, if it is an IPv4 address of this machine."""
    try:
        is_one = not ipaddress.IPv4Address(host).is_unspecified
        if is_one:
            socket.create_server((host, 0)).close()
            return host
    except (ValueError, OSError):
        pass
    raise SettingError(
        f"--host: got {host!r}; an IPv4 address of this machine is needed, such as 192.168.1.20"
    )


def _bind(port: int | None, address: str) -> list[socket.socket]:
    if port is not None:
        try:
            return bind_sockets(port, address)
        except OSError as error:
            why = "is in use" if error.errno == errno.EADDRINUSE else f"({error.strerror})"
            raise SettingError(
                f"--port: {port} {why}; choose another port, or leave --port out for a free one"
            ) from None
    for candidate in range(FIRST_PORT, FIRST_PORT + PORTS):
        try:
            return bind_sockets(candidate, address)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    raise SettingError(
        f"--live: ports {FIRST_PORT} to {FIRST_PORT + PORTS - 1} are all in use; "
        "choose another with --port"
    )
