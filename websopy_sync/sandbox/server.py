"""The sandbox: the service played on this machine, over real HTTP.

Listens, hands out scripts, remembers what happened. What a script means on the wire is
`exchange`'s business, what is answered without one `service`'s.
"""

from __future__ import annotations

import collections
import contextlib
import selectors
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from .exchange import Answer, Exchange
from .script import Framing, Script, Steps, headers, status
from .service import Request, answer, refusal

__all__ = ["Sandbox"]

REMEMBERED = 10_000
"""Requests, and answers that may be resumed, that are kept; the oldest go first."""


class Sandbox:
    """The service, played on this machine; no model is behind it.

        with Sandbox() as sandbox:
            client = WebsopyClient(api_key="test", base_url=sandbox.url)

    script: what answers every question, steps (see `script`) or a function from `Request` to
    steps. None: the guide's own answer to the guide's own question, and to any other an answer
    that says what this is (see `service.answer`).
    api_key: the only key let in; None lets any in.
    pause: seconds between the pieces of the answers of its own. A script has its own pauses.
    framing: chunked, content-length, close, gzip or trickle (one HTTP chunk for all).
    port: 0 picks a free one. ssl_context: serve https with it.
    log: called with one line for each answer, from the sandbox's threads.

    A request that comes with the `Idempotency-Key` of an earlier one and a `Last-Event-ID` is
    given the rest of that one's answer: events behind that id, and no pause or cut a second time.

    It may be used from any thread, and runs in threads of its own, which are gone after close().
    """

    def __init__(
        self,
        script: Steps | Callable[[Request], Steps] | None = None,
        *,
        api_key: str | None = None,
        pause: float = 0.03,
        framing: Framing = "chunked",
        host: str = "127.0.0.1",
        port: int = 0,
        ssl_context: ssl.SSLContext | None = None,
        log: Callable[[str], None] | None = None,
    ) -> None:
        self.framing: Framing = framing
        self._script = Script.of(script) if isinstance(script, list | tuple) else script
        self._api_key = api_key
        self._pause = pause
        self._address = (host, port)
        self._ssl_context = ssl_context
        self._log = log
        self._news = threading.Condition()  # guards everything below
        self._queue: collections.deque[Script] = collections.deque()
        self._answers: collections.OrderedDict[str, Answer] = collections.OrderedDict()
        self._requests: collections.deque[Request] = collections.deque(maxlen=REMEMBERED)
        self._disconnects: collections.deque[Request] = collections.deque(maxlen=REMEMBERED)
        self._request_count = 0
        self._connection_count = 0
        self._open: dict[threading.Thread, socket.socket] = {}
        self._listener: socket.socket | None = None
        self._closing = False

    # Its life

    def start(self) -> Self:
        """Listen. Raises OSError when the port is taken. Whoever starts it, closes it."""
        host, port = self._address
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), family=family)
        self._address = self._listener.getsockname()[:2]
        self._bell, bell = socket.socketpair()
        self._acceptor = threading.Thread(
            target=self._accept, args=(self._listener, bell), name="sandbox", daemon=True
        )
        self._acceptor.start()
        return self

    def close(self) -> None:
        """Stop listening and end every connection; no thread or socket is left."""
        if self._listener is None or self._closing:
            return
        self._closing = True
        self._bell.close()
        self._acceptor.join()
        with self._news:
            still_open = dict(self._open)
        for connection in still_open.values():
            _shut(connection)
        for thread in still_open:
            thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def port(self) -> int:
        """The port it listens on, once it does."""
        return self._address[1]

    @property
    def url(self) -> str:
        """What a client takes as its base_url; ends in /v1."""
        host = f"[{self._address[0]}]" if ":" in self._address[0] else self._address[0]
        return f"{'https' if self._ssl_context else 'http'}://{host}:{self.port}/v1"

    # What it will do

    def play(self, script: Steps) -> None:
        """Answer the next question with this script, or the one after those already queued.

        A request that is turned away (wrong key, wrong path) uses up no script; any other does,
        a repeated or resuming one too.
        """
        with self._news:
            self._queue.append(Script.of(script))

    # What has happened

    @property
    def requests(self) -> list[Request]:
        """Every request so far (the last 10,000), those that were turned away too."""
        with self._news:
            return list(self._requests)

    @property
    def disconnects(self) -> list[Request]:
        """The requests whose client left before the end of the answer's script."""
        with self._news:
            return list(self._disconnects)

    @property
    def connections(self) -> int:
        """How many connections have been accepted."""
        return self._connection_count

    @property
    def open_connections(self) -> int:
        """How many connections are open now."""
        return len(self._open)

    def wait_request(self, count: int = 1, *, timeout: float = 5.0) -> bool:
        """Wait until so many requests have come in all; False when `timeout` seconds pass."""
        with self._news:
            return self._news.wait_for(lambda: self._request_count >= count, timeout)

    def wait_disconnect(self, count: int = 1, *, timeout: float = 5.0) -> bool:
        """Wait until so many clients have left early; False when `timeout` seconds pass.

        End the script in `silence()`, or the answer may be out before the client can leave.
        """
        with self._news:
            return self._news.wait_for(lambda: len(self._disconnects) >= count, timeout)

    def wait_closed(self, *, timeout: float = 5.0) -> bool:
        """Wait until no connection is open; False when `timeout` seconds pass."""
        with self._news:
            return self._news.wait_for(lambda: not self._open, timeout)

    # The desk of `exchange`

    def receive(
        self, *, connection: int, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[Request, Answer]:
        """Write a request down and choose its answer."""
        with self._news:
            self._request_count += 1
            number = self._request_count
            request = Request(number, connection, method, target, headers, body)
            self._requests.append(request)
            self._news.notify_all()
            refused = refusal(request, api_key=self._api_key)
            return request, _whole(Script.of(refused)) if refused else self._choose(request)

    def client_left(self, request: Request) -> None:
        """Write down that the client left before the end of its answer."""
        with self._news:
            if not self._closing:
                self._disconnects.append(request)
                self._news.notify_all()

    def log(self, line: str) -> None:
        """Tell whoever watches."""
        if self._log:
            self._log(line)
