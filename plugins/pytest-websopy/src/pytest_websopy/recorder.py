"""Stands between an app and the real service, passes everything on, and writes down the answers.

A small HTTP server on this machine: the app's base_url is the recorder's, and the recorder asks
the service. What comes is handed on at once, so the app sees the stream as it would without.
Knows nothing of pytest or of files.
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
"""Bytes that are passed on at once, at most."""

BODILESS = (204, 304)
"""Statuses that have no body (RFC 9110 6.4.1)."""

OF_THE_CONNECTION = frozenset(
    {"connection", "host", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"}
)
"""Headers of a question that are not passed on (RFC 9110 7.6.1)."""


class Recorder:
    """Records every answer that is asked for through it; a context manager.

        with Recorder("https://api.websopy.com/v1") as recorder:
            client = WebsopyClient(base_url=recorder.url)

    upstream: the base_url of the service. timeout: seconds that the service may be silent.

    The key goes to the service and is kept nowhere. An answer whose app leaves early is recorded
    as far as it came; one that never began is not recorded.
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
        """Hang up on everybody; what was recorded stays. No thread and no socket is left."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.hang_up()
            self._server.server_close()
            self._thread.join()
            self._server = None

    @property
    def url(self) -> str:
        """What the app takes as its base_url."""
        if self._server is None:
            raise RuntimeError("the recorder is not running: use it in a with statement")
        return f"http://127.0.0.1:{self._server.server_port}{self._upstream.path.rstrip('/')}"

    @property
    def recordings(self) -> list[Recording]:
        """The answers that have ended so far, in the order of their ends."""
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
    daemon_threads = False  # so that server_close() joins them

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self._open: set[socket.socket] = set()
        self._closing = False
        super().__init__(("127.0.0.1", 0), _Exchange)

    @contextlib.contextmanager
    def watched(self, connection: socket.socket) -> Iterator[None]:
        """Have hang_up() wake whoever waits on this socket."""
        self._open.add(connection)
        try:
            if self._closing:
                self._wake(connection)
            yield
        finally:
            self._open.discard(connection)

    def hang_up(self) -> None:
        """Wake everybody who waits on a socket; it is the end for them."""
        self._closing = True
        for connection in list(self._open):
            self._wake(connection)

    def _wake(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            # Not the TLS socket's own shutdown(): its reader would take noise for text.
            socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: whoever hung up knows it."""


class _Exchange(BaseHTTPRequestHandler):
    """One connection of the app, and for each of its questions one to the service."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server
    _keep = False

    def handle(self) -> None:
        with self.server.watched(self.connection):
            super().handle()

    def do_POST(self) -> None:
        """Pass a question on, and its answer back."""
        # Kept open when the app wants that, and the answer is passed on to its end.
        self._keep, self.close_connection = not self.close_connection, True
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        connection = self.server.recorder._connection()
        hung_up = contextlib.suppress(OSError, http.client.HTTPException)
        with contextlib.closing(connection), hung_up:
            connection.connect()
            with self.server.watched(connection.sock):
                connection.request(self.command, self.path, body or None, self._asked())
                self._pass_on(connection.getresponse())

    do_GET = do_POST  # noqa: N815  # http.server asks for this name

    def _asked(self) -> Mapping[str, str]:
        kept = {n: v for n, v in self.headers.items() if n.lower() not in OF_THE_CONNECTION}
        # One that http.client adds unless it is given: what comes must be what was asked for.
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
        """Say nothing: pytest's output is not the place."""


def _pieces(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    """A body in the pieces it comes in. Raises HTTPException or OSError when it is cut."""
    missing = int(answer.getheader("Content-Length") or 0)
    while data := answer.read1(PIECE):
        missing -= len(data)
        yield data
    if missing > 0:  # read1() says nothing of that
        raise http.client.IncompleteRead(b"", missing)
