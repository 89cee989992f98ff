"""One connection of the sandbox: requests are read from it, and scripts are played on it.

`http.server` reads the requests. Which script answers which request, and what is remembered of
it, is the desk's business (`server`).
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import socketserver
import struct
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from typing import Protocol, cast

import attrs

from .framing import Framer, framer
from .script import (
    BODILESS,
    Cut,
    Framing,
    Pause,
    Reset,
    Script,
    Silence,
    Step,
    Wait,
    bytes_of,
    status,
)
from .service import Request

__all__ = ["Answer", "Desk", "Exchange"]

MAX_BODY = 16 * 1024 * 1024
"""Bytes of a request's body that are read; a longer one is refused."""

PROMISED_MORE = 1024
"""Bytes that a body's size claims beyond its script when the script breaks off."""

HEARING = 0.002
"""Seconds between two looks for a client that has left while a word is waited for."""

HEADERS = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}


@attrs.define
class Answer:
    """A script chosen for a request, and how far it has been played.

    steps: what of the script's body is to be played, with places. played: the place behind the
    last step that has begun.
    """

    script: Script
    steps: list[tuple[int, Step]]
    played: int = 0


class Desk(Protocol):
    """Who knows what to answer, and remembers."""

    @property
    def framing(self) -> Framing:
        """The framing of answers whose script names none."""

    def receive(
        self, *, connection: int, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[Request, Answer]:
        """Write a request down and choose its answer."""

    def client_left(self, request: Request) -> None:
        """Write down that the client left before the end of its answer."""

    def log(self, line: str) -> None:
        """Tell whoever watches."""


class Over(Exception):
    """The connection is done with."""


class Gone(Over):
    """The client left."""


class Exchange(BaseHTTPRequestHandler):
    """One connection, from its first request to its end; the constructor runs all of it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    _resetting = False

    def __init__(self, connection: socket.socket, number: int, desk: Desk) -> None:
        self._number = number
        self._desk = desk
        with selectors.DefaultSelector() as self._arrivals:
            self._arrivals.register(connection, selectors.EVENT_READ)
            # The third argument is kept by http.server for its users, and used by nobody here.
            super().__init__(connection, ("", number), cast(socketserver.BaseServer, None))

    def respond(self) -> None:
        """Answer the request that http.server has just read the headers of."""
        body = self._body()
        if body is None:
            return
        request, answer = self._desk.receive(
            connection=self._number,
            method=self.command,
            target=self.path,
            headers=_joined(self.headers.items()),
            body=body,
        )
        try:
            self._play(answer, request.request_id)
        except Gone:
            self.close_connection = True
            self._desk.client_left(request)
        except Over:
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = respond

    def _body(self) -> bytes | None:
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not length.isdecimal():
            self.send_error(411, "the sandbox reads bodies with a Content-Length only")
        elif int(length) > MAX_BODY:
            self.send_error(413, f"the sandbox reads bodies of at most {MAX_BODY} bytes")
        else:
            return self.rfile.read(int(length))
        return None

    def _play(self, answer: Answer, request_id: str) -> None:
        for step in answer.script.before:
            self._do(step, None)
        out = self._begin(answer, request_id)
        for place, step in answer.steps:
            answer.played = max(answer.played, place + 1)
            self._do(step, out)
        try:
            self.wfile.write(out.end())
        except OSError:  # it has all events, so it did not leave early
            self.close_connection = True

    def _begin(self, answer: Answer, request_id: str) -> Framer:
        head = answer.script.headers
        framing = head.framing or self._desk.framing
        if self.request_version != "HTTP/1.1" and framing != "content-length":
            framing = "close"
        out = framer(framing, size=_size([step for _, step in answer.steps]))
        fields = {**HEADERS, "x-request-id": request_id}
        if head.status not in BODILESS:
            fields |= _lowered(out.headers)
        if self.close_connection:
            fields["connection"] = "close"
        self.send_response(head.status)
        for name, value in (fields | _lowered(head.headers)).items():
            self.send_header(name.title(), value)
        try:
            self.end_headers()
        except OSError:
            raise Gone from None
        return out

    def _do(self, step: Step, out: Framer | None) -> None:
        match step:
            case Pause(seconds):
                self._hold(seconds)
            case Wait():
                self._await(step)
            case Silence(timeout):
                self._hold(timeout)
                raise Over
            case Cut():
                raise Over
            case Reset():
                # An RST instead of a FIN, as soon as the connection is closed.
                self.connection.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
                self._resetting = True
                raise Over
            case _:
                self._send(bytes_of(step), out)

    def _send(self, data: bytes, out: Framer | None) -> None:
        if not data:  # an HTTP chunk of nothing would be the last one
            return
        self._hold(0)
        try:
            self.wfile.write(out.frame(data) if out else data)
        except OSError:
            raise Gone from None

    def _hold(self, seconds: float) -> None:
        if self._leaves(seconds):
            raise Gone

    def _await(self, step: Wait) -> None:
        until = time.monotonic() + step.timeout
        while not step.word.wait(HEARING):
            self._hold(0)
            if time.monotonic() > until:
                raise Over

    def _leaves(self, seconds: float) -> bool:
        """Wait for so many seconds, or less: whether the client leaves meanwhile."""
        until = time.monotonic() + seconds
        if not self._arrivals.select(seconds):
            return False
        try:
            if not self.rfile.peek(1):
                return True
        except OSError:
            return True
        # It sent its next question already. Behind that its leaving cannot be seen any more.
        time.sleep(max(0.0, until - time.monotonic()))
        return False

    # What http.server calls

    def version_string(self) -> str:
        """The `Server` header."""
        return "websopy-sync-sandbox"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """One line for each answer, without the query: it may hold the question."""
        self._desk.log(f"{self.command} {self.path.partition('?')[0]} {int(code)}")

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Turn away what cannot be read as a request, and the connection with it."""
        self.close_connection = True
        error = {"message": message or "this is no request", "code": "bad_request"}
        script = Script.of(status(code, {"error": error}))
        with contextlib.suppress(Over):
            self._play(Answer(script, list(enumerate(script.body))), "sandbox-0")

    def finish(self) -> None:
        """Say that nothing more will come. Left to close(), a forked child would hold it back."""
        super().finish()
        if not self._resetting:
            with contextlib.suppress(OSError):
                # Not the TLS socket's own shutdown(): that one only forgets about TLS.
                socket.socket.shutdown(self.connection, socket.SHUT_WR)


def _lowered(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _joined(headers: list[tuple[str, str]]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in headers:
        joined[name.lower()] = ", ".join(filter(None, [joined.get(name.lower()), value]))
    return joined


def _size(steps: list[Step]) -> int:
    breaks_off = any(isinstance(step, Cut | Reset | Silence) for step in steps)
    return sum(len(bytes_of(step)) for step in steps) + PROMISED_MORE * breaks_off
