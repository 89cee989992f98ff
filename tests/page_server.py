"""A server of the chat page that keeps its answers: what a relay does, with the test as the model.

Knows the page's protocol, and neither a framework nor this package. An answer is a list of events
with ids from 1; connections follow it, and can be cut, while it stays.
"""

from __future__ import annotations

import json
import mimetypes
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import attrs

ANSWER_ID = "an-answer"
NONE: Mapping[str, str] = {}


@attrs.frozen
class Refusal:
    """A response in the place of an answer."""

    status: int
    headers: Mapping[str, str] = attrs.field(factory=dict)
    code: str = "service_error"


@attrs.frozen
class Request:
    """What the page asked for."""

    method: str
    path: str
    last_event_id: str | None
    json: Any


class PageServer:
    """Serves the built page and one answer at a time. Attributes may be set at any time.

    Args:
        dist: The folder of the built page.
        heartbeat: Seconds that the page is told.
        keeps: Whether answers have names; without, they end with their connection.
    """

    def __init__(self, dist: Path, *, heartbeat: float = 15.0, keeps: bool = True) -> None:
        self.dist = dist
        self.heartbeat = heartbeat
        self.keeps = keeps
        self.requests: list[Request] = []
        self.refusals: list[Refusal] = []
        """Responses to the next requests to the answer."""
        self.comments = True
        """Whether a connection without events gets a comment now and then."""
        self.before_the_name: threading.Event | None = None
        """What an answer waits for before it says its name."""
        self.left = threading.Event()
        """Whether the page has closed the connection of an answer."""
        self.url = ""
        self._changed = threading.Condition()
        self._events: list[bytes] = []
        self._ended = False
        self._closed = False
        self._connections: list[socket.socket] = []

    # What the test does

    def say(self, *chunks: Mapping[str, Any], end: bool = False) -> None:
        """Append chunks to the answer, and perhaps end it."""
        with self._changed:
            self._events += [f"data: {json.dumps(chunk)}\n".encode() for chunk in chunks]
            self._ended = end
            self._changed.notify_all()

    def text(self, *texts: str) -> None:
        """Append texts to the answer."""
        self.say(*({"type": "content", "content": text} for text in texts))

    def done(self) -> None:
        """End the answer."""
        self.say({"type": "done", "finishReason": "stop"}, end=True)

    def cut(self) -> None:
        """Reset all connections of the answer, as a worker that is killed."""
        with self._changed:
            for connection in self._connections:
                with suppress(OSError):  # closed already
                    connection.shutdown(socket.SHUT_RDWR)
            self._connections.clear()

    def _close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self.cut()

    def forget(self) -> None:
        """Lose all events, as a log without its disk."""
        with self._changed:
            self._events.clear()

    @property
    def methods(self) -> list[str]:
        """The methods of the requests so far."""
        return [request.method for request in self.requests]

    @contextmanager
    def running(self) -> Iterator[PageServer]:
        """Serve until left."""
        page = self

        class Handler(_Handler):
            server_of_page = page

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            self._close()
            server.server_close()  # joins the threads of the connections
            thread.join()

    # What the handler does

    def begin(self) -> None:
        """Begin a new answer."""
        with self._changed:
            self._events, self._ended = [], False

    def status_for(self, last_event_id: str | None) -> int:
        """The status of a request to follow."""
        with self._changed:
            read = int(last_event_id or 0)
            if read > len(self._events):
                return 409
            return 204 if self._ended and read == len(self._events) else 200

    def pieces(self, connection: socket.socket, read: int) -> Iterator[bytes]:
        """The events after the one that was read last, as they come."""
        with self._changed:
            self._connections.append(connection)
        while True:
            with self._changed:
                came = self._changed.wait_for(
                    lambda read=read: len(self._events) > read or self._closed, self.heartbeat / 3
                )
                events, ended = self._events[read:], self._ended
            if came or self.comments:
                numbered = (b"id: %d\n%b\n" % (read + n, e) for n, e in enumerate(events, 1))
                yield b"".join(numbered) or b": keep-alive\n\n"
            read += len(events)
            if ended or self._closed:
                return


class _Handler(BaseHTTPRequestHandler):
    server_of_page: PageServer

    def do_GET(self) -> None:
        if not self.path.startswith("/api/"):
            self._file()
        elif not self._refused():
            last = self.headers["Last-Event-ID"]
            status = self.server_of_page.status_for(last)
            self._stream(int(last or 0)) if status == 200 else self._end(status)

    def do_POST(self) -> None:
        if self._refused():
            return
        self.server_of_page.begin()
        self._stream(0)

    def do_DELETE(self) -> None:
        self._note()
        self._end(204)

    def log_message(self, *args: object) -> None:
        pass

    def _file(self) -> None:
        page = self.server_of_page
        name = self.path.partition("?")[0].lstrip("/") or "index.html"
        path = page.dist / name
        if not path.is_file():
            return self._end(404)
        content = path.read_bytes()
        if name == "index.html":
            told = f'name="heartbeat" content="{page.heartbeat}"'
            content = content.replace(b'name="heartbeat" content="15"', told.encode())
        self._end(200, {"Content-Type": mimetypes.guess_type(name)[0] or ""}, content)

    def _note(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        last = self.headers["Last-Event-ID"]
        request = Request(self.command, self.path, last, json.loads(body) if body else None)
        self.server_of_page.requests.append(request)

    def _refused(self) -> bool:
        self._note()
        if not self.server_of_page.refusals:
            return False
        refusal = self.server_of_page.refusals.pop(0)
        body = json.dumps({"error": {"code": refusal.code, "message": "no"}}).encode()
        self._end(refusal.status, refusal.headers, body)
        return True

    def _end(
        self, status: int, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, read: int) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.end_headers()
        try:
            if gate := self.server_of_page.before_the_name:
                gate.wait(5)
            if self.command == "POST" and self.server_of_page.keeps:
                named = json.dumps({"id": ANSWER_ID})
                self.wfile.write(f"event: answer\ndata: {named}\n\n".encode())
            for piece in self.server_of_page.pieces(self.connection, read):
                self.wfile.write(piece)
        except OSError:  # cut, or the page has left
            self.server_of_page.left.set()
