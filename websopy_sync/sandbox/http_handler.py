"""One connection of the sandbox: reads its requests and plays a script for each.

`http.server` parses the requests. Knows neither which script a request gets nor what the sandbox
remembers: dispatcher.py does.
"""

from __future__ import annotations

import contextlib
import io
import re
import selectors
import socket
import socketserver
import struct
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler
from typing import cast

from ..sockets import shut_down
from .channel import DeadlineReader, TimeoutWriter
from .dispatcher import Dispatcher, Playback
from .http_writer import Framer, framer
from .script import BODILESS
from .steps import Cut, Framing, Pause, Raw, Reset, Silence, Step, Wait

__all__ = ["HTTPHandler"]

MAX_BODY = 32 * 1024 * 1024
"""Most bytes of a request body; a longer one is refused. The largest image fits."""

MISSING_BYTES = 1024
"""Bytes that Content-Length announces beyond the script when the script breaks off."""

WORD_INTERVAL = 0.002
"""Seconds between two checks for a lost client while a `wait` step waits for its word."""

LINGER_SECONDS = 2.0
"""Most seconds for which the rest of a refused request is read and dropped.

Closing with unread data resets the connection, and the client might never read the refusal.
"""

TLS_HANDSHAKE = b"\x16"
"""The first byte that a TLS client sends."""


class ConnectionDone(Exception):
    """The connection ends here."""


class ClientLeft(ConnectionDone):
    """The client left."""


class HTTPHandler(BaseHTTPRequestHandler):
    """One connection, from its first request to its end; the constructor runs all of it."""

    protocol_version = "HTTP/1.1"
    connection: socket.socket
    rfile: io.BufferedReader
    wfile: io.BufferedIOBase
    close_connection: bool
    command = path = ""  # http.server sets them once it has read the request line
    _resetting = False
    _refusing = False

    def __init__(
        self,
        connection: socket.socket,
        number: int,
        *,
        dispatcher: Dispatcher,
        framing: Framing,
        read_timeout: float,
        write_timeout: float,
    ) -> None:
        self._number = number
        self._dispatcher = dispatcher
        self._framing = framing
        self._read_timeout = read_timeout
        self._write_timeout = write_timeout
        with _make_selector() as self._selector:
            self._selector.register(connection, selectors.EVENT_READ)
            # http.server only stores its third argument, the server.
            super().__init__(connection, ("", number), cast(socketserver.BaseServer, None))

    def respond(self) -> None:
        """Play a script for the request whose head http.server has read."""
        body = self._read_body()
        if body is None:
            return
        request, playback = self._dispatcher.receive(
            connection=self._number,
            method=self.command,
            target=self.path,
            headers=_by_name(self.headers.items()),
            body=body,
        )
        try:
            self._play(playback, request.request_id)
        except ClientLeft:
            self.close_connection = True
            self._dispatcher.client_left(request)
        except ConnectionDone:
            self.close_connection = True

    # http.server calls the method of the request's name.
    do_GET: Callable[[HTTPHandler], None] = respond
    do_POST: Callable[[HTTPHandler], None] = respond
    do_PUT: Callable[[HTTPHandler], None] = respond
    do_PATCH: Callable[[HTTPHandler], None] = respond
    do_DELETE: Callable[[HTTPHandler], None] = respond
    do_OPTIONS: Callable[[HTTPHandler], None] = respond

    def _read_body(self) -> bytes | None:
        lengths = set(self.headers.get_all("Content-Length", ["0"]))
        length = lengths.pop()
        if "Transfer-Encoding" in self.headers or not re.fullmatch("[0-9]+", length):
            self.send_error(411, "the sandbox reads bodies with a Content-Length only")
        elif lengths:
            self.send_error(400, "two headers Content-Length that differ")
        elif len(length) > len(str(MAX_BODY)) or int(length) > MAX_BODY:
            self.send_error(413, f"the sandbox reads bodies of at most {MAX_BODY} bytes")
        else:
            self._reader.allow(self._read_timeout)
            body = self.rfile.read(int(length))
            if len(body) == int(length):
                return body
            self.close_connection = True  # the client left in the middle
        return None

    def _play(self, playback: Playback, request_id: str) -> None:
        for step in playback.script.before:
            self._play_step(step, step.data if isinstance(step, Raw) else b"")
        out = self._send_head(playback, request_id)
        for place in playback.places:
            playback.played = max(playback.played, place + 1)
            data = playback.script.data[place]
            # An empty piece is not framed: an HTTP chunk without data ends the body.
            self._play_step(playback.script.body[place], data and out.frame(data))
        try:
            self.wfile.write(out.end())
        except OSError:  # the client has every event, so it did not leave early
            self.close_connection = True

    def _send_head(self, playback: Playback, request_id: str) -> Framer:
        head = playback.script.headers
        framing = head.framing or self._framing
        if self.request_version != "HTTP/1.1" and framing != "content-length":
            framing = "close"
        out = framer(framing, size=_body_size(playback))
        service = self._dispatcher.service
        fields = {
            "content-type": service.content_type,
            "cache-control": "no-cache",
            service.wire.request_id_headers[0]: request_id,
        }
        if head.status not in BODILESS:
            fields |= _lower_case(out.headers)
        if self.close_connection:
            fields["connection"] = "close"
        self.send_response(head.status)
        for name, value in (fields | _lower_case(head.headers)).items():
            self.send_header(name.title(), value)
        try:
            self.end_headers()
        except OSError:
            raise ClientLeft from None
        return out

    def _play_step(self, step: Step, data: bytes) -> None:
        match step:
            case Pause(seconds):
                self._pause(seconds)
            case Wait():
                self._wait_for_word(step)
            case Silence(timeout=timeout):
                self._pause(timeout)
                raise ConnectionDone
            case Cut():
                raise ConnectionDone
            case Reset():
                self._resetting = True
                raise ConnectionDone
            case _:
                self._send(data)

    def _send(self, data: bytes) -> None:
        try:
            self.wfile.write(data)
        except OSError:
            raise ClientLeft from None

    def _pause(self, seconds: float) -> None:
        if self._client_leaves(seconds):
            raise ClientLeft

    def _wait_for_word(self, step: Wait) -> None:
        until = time.monotonic() + step.timeout
        while not step.word.wait(WORD_INTERVAL):
            self._pause(0)
            if time.monotonic() > until:
                raise ConnectionDone

    def _client_leaves(self, seconds: float) -> bool:
        """Wait for so many seconds; True at once when the client leaves."""
        until = time.monotonic() + seconds
        if not self._selector.select(seconds):
            return False
        self._reader.allow(until - time.monotonic())
        try:
            if not self.rfile.peek(1):
                return True
        except TimeoutError:  # a part of a TLS record came
            return False
        except OSError:
            return True
        # The client pipelined its next request. Its FIN would come after that, out of sight.
        return self._dispatcher.closing.wait(max(0.0, until - time.monotonic()))

    # What http.server calls

    def setup(self) -> None:
        """Make the files that http.server reads and writes."""
        self.connection = self.request
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = DeadlineReader(self.connection)
        self.rfile = io.BufferedReader(self._reader)
        self.wfile = TimeoutWriter(self.connection, self._write_timeout)

    def handle_one_request(self) -> None:
        """Read one request and respond to it, if it comes in time."""
        self.close_connection = True
        self._reader.allow(self._read_timeout)
        with contextlib.suppress(TimeoutError):  # no request came, so no response is due
            first = self.rfile.peek(1)[:1]
            if first and first != TLS_HANDSHAKE:
                self._reader.allow(self._read_timeout)
                super().handle_one_request()

    def parse_request(self) -> bool:
        """Whether a whole head came: http.server takes a cut head for a whole one."""
        whole = super().parse_request() and not self._reader.ended
        self.close_connection = self.close_connection or not whole
        return whole

    def log_error(self, format: str, *args: object) -> None:
        """Refuse a request that began and did not come in time."""
        self.send_error(408, f"the request did not come within {self._read_timeout:g} s")
        self._refusing = False  # the client is silent: there is nothing to drain

    def version_string(self) -> str:
        """The `Server` header."""
        return "websopy-sync-sandbox"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log one line per response, without the query, which may hold the prompt."""
        self._dispatcher.log(f"{self.command or '?'} {self.path.partition('?')[0]} {int(code)}")

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what is no valid request, and end the connection."""
        self.close_connection = True
        if self._reader.ended:  # the client left in the middle of its head
            return
        self._refusing = True
        self.request_version = "HTTP/1.1"  # http.server assumes 0.9, which has no headers
        with contextlib.suppress(ConnectionDone):
            self._play(self._dispatcher.refuse(code, message), "sandbox-0")

    def finish(self) -> None:
        """Send a FIN, or arrange that close() sends an RST."""
        super().finish()
        with contextlib.suppress(OSError):
            if self._resetting:
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            else:
                # Not left to close(): a forked child has a copy, and no FIN would go out.
                shut_down(self.connection, socket.SHUT_WR)
            if self._refusing:
                self._drain()

    def _drain(self) -> None:
        """Read and drop what the client still sends."""
        dropped = bytearray(65536)
        self._reader.allow(LINGER_SECONDS)
        while self._reader.readinto(dropped):
            pass


def _make_selector() -> selectors.BaseSelector:
    """A selector that needs no file descriptor: the connection may have got the last one.

    So poll() and not epoll. gevent and eventlet replace the default selector; theirs is used.
    """
    if selectors.DefaultSelector is getattr(selectors, "EpollSelector", None):
        return selectors.PollSelector()
    return selectors.DefaultSelector()


def _lower_case(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _by_name(headers: list[tuple[str, str]]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in headers:
        joined[name.lower()] = ", ".join(filter(None, [joined.get(name.lower()), value]))
    return joined


def _body_size(playback: Playback) -> int:
    steps = [playback.script.body[place] for place in playback.places]
    breaks_off = any(isinstance(step, Cut | Reset | Silence) for step in steps)
    size = sum(len(playback.script.data[place]) for place in playback.places)
    return size + MISSING_BYTES if breaks_off else size
