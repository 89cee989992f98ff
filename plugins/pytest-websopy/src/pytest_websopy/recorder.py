"""Records the real service's responses, as a server between the app and the service.

The app's base_url is the recorder's, and the recorder sends the requests on to the service. Each
piece is passed on at once, so the app sees the same stream. Knows nothing of pytest or of files.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from .recordings import Piece, Recording, kept_headers

__all__ = ["Recorder"]

PIECE = 65536
"""Most bytes in one piece."""

BODILESS = (204, 304)
"""Statuses that have no body (RFC 9110 6.4.1)."""

OF_THE_CONNECTION = frozenset(
    {"connection", "host", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"}
)
"""Headers of a request that are not passed on (RFC 9110 7.6.1)."""


class Recorder:
    """Records every response that passes through it; a context manager.

        with Recorder("https://api.websopy.com/v1") as recorder:
            client = WebsopyClient(base_url=recorder.url)

    The key goes to the service and is not stored. When the app leaves early, the response is
    recorded as far as it came; one that never began is not recorded.

    Args:
        upstream: The base_url of the service.
        timeout: Seconds that the service may be silent.

    Raises:
        ValueError: The upstream is no http or https URL.
    """

    def __init__(self, upstream: str, *, timeout: float = 120.0) -> None:
        self._upstream = urlsplit(upstream)
        if self._upstream.scheme not in ("http", "https") or not self._upstream.hostname:
            raise ValueError("upstream: expected an http or https URL with a host")
        self._timeout = timeout
        self._lock = threading.Lock()
        self._recordings: list[Recording] = []
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._server = _Server(self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), name="websopy-recorder", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every connection. The recordings stay; no thread and no socket is left."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.hang_up()
            self._server.server_close()
            self._thread.join()
            self._server = None

    @property
    def url(self) -> str:
        """The base_url for the app."""
        if self._server is None:
            raise RuntimeError("the recorder is not running: use it in a with statement")
        return f"http://127.0.0.1:{self._server.server_port}{self._upstream.path.rstrip('/')}"

    @property
    def recordings(self) -> list[Recording]:
        """The responses that have ended so far, in the order of their ends."""
        with self._lock:
            return list(self._recordings)

    def _add(self, recording: Recording) -> None:
        with self._lock:
            self._recordings.append(recording)

    def _connection(self) -> http.client.HTTPConnection:
        host, port = str(self._upstream.hostname), self._upstream.port
        secure = self._upstream.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        return kind(host, port, timeout=self._timeout)


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # server_close() joins them

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self._open: set[socket.socket] = set()
        self._closing = False
        super().__init__(("127.0.0.1", 0), _Exchange)

    @contextlib.contextmanager
    def watched(self, connection: socket.socket) -> Iterator[None]:
        """Let hang_up() end a wait on this socket."""
        self._open.add(connection)
        try:
            if self._closing:
                self._wake(connection)
            yield
        finally:
            self._open.discard(connection)

    def hang_up(self) -> None:
        """End every wait on a socket, and with it the connection."""
        self._closing = True
        for connection in list(self._open):
            self._wake(connection)

    def _wake(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            # Not SSLSocket.shutdown(): it drops TLS, and the reader would get ciphertext.
            socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """Print nothing: a lost connection is normal here."""


class _Exchange(BaseHTTPRequestHandler):
    """One connection of the app, and for each of its requests one to the service."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server
    _keep = False

    def handle(self) -> None:
        with self.server.watched(self.connection):
            super().handle()

    def do_POST(self) -> None:
        """Pass a request on, and its response back."""
        # Kept open only when the app wants that and the whole response was passed on.
        self._keep, self.close_connection = not self.close_connection, True
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        connection = self.server.recorder._connection()
        hung_up = contextlib.suppress(OSError, http.client.HTTPException)
        with contextlib.closing(connection), hung_up:
            connection.connect()
            with self.server.watched(connection.sock):
                connection.request(self.command, self.path, body or None, self._request_headers())
                self._pass_on(connection.getresponse())

    do_GET = do_POST  # noqa: N815  # http.server needs this name

    def _request_headers(self) -> Mapping[str, str]:
        kept = {n: v for n, v in self.headers.items() if n.lower() not in OF_THE_CONNECTION}
        # http.client adds this header unless it is given; the app's own value must win.
        return {"Accept-Encoding": "identity", **kept}

    def _pass_on(self, answer: http.client.HTTPResponse) -> None:
        headers = kept_headers(dict(answer.getheaders()))
        self.send_response_only(answer.status, answer.reason)
        for name, value in headers.items():
            self.send_header(name, value)
        if answer.status not in BODILESS:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        started, pieces = time.monotonic(), list[Piece]()
        complete = False
        try:
            for data in _pieces(answer):
                pieces.append(Piece(time.monotonic() - started, data))
                self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
            complete = True
            self.wfile.write(b"" if answer.status in BODILESS else b"0\r\n\r\n")
            self.close_connection = not self._keep
        finally:
            seconds = time.monotonic() - started
            recorder = self.server.recorder
            recorder._add(Recording(answer.status, headers, tuple(pieces), complete, seconds))

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing into pytest's output."""


def _pieces(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    """The pieces of a body as they come; HTTPException or OSError when it is cut."""
    missing = int(answer.getheader("Content-Length") or 0)
    while data := answer.read1(PIECE):
        missing -= len(data)
        yield data
    if missing > 0:  # read1() does not raise for it
        raise http.client.IncompleteRead(b"", missing)
