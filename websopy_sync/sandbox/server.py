"""The sandbox: a server that plays the service on this machine, over real HTTP.

Listens, and runs each connection in its own thread. Knows neither what a request gets
(dispatcher.py) nor HTTP (http_handler.py).
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from ..sockets import shut_down
from ..transport.proxies import add_own_service, remove_own_service
from .dispatcher import Dispatcher
from .http_handler import HTTPHandler
from .recorded_request import RecordedRequest
from .service import PREFIX
from .steps import Framing, Steps
from .wires import Service, find_service

__all__ = ["Sandbox"]

MOST_CONNECTIONS = 2000
"""Most connections at once: each takes a thread of the testing process."""

RETRY_SECONDS = 0.05
"""Seconds until the next try to accept a connection, after a failed one."""


class Sandbox:
    """A server that plays the service on this machine, without a model.

        with Sandbox() as sandbox:
            client = WebsopyClient(api_key="test", base_url=sandbox.url)

    A request with a `Last-Event-ID` and the `Idempotency-Key` of an earlier request gets the rest
    of that one's script: the events after that id, and no pause or cut a second time.

    Any thread may use it. It runs in its own daemon threads; after `close()` none of its threads
    and sockets is left. It serves 2,000 connections at once; further ones wait to be accepted.

    Args:
        script: The steps for every request, or a function from `RecordedRequest` to steps. None:
            the guide's answer to the guide's question, and for any other question a text that
            says that this is the sandbox.
        wire: The service that is played, by the name of its wire, or as a `Service`.
        api_key: The only valid key; None accepts any.
        pause: Seconds between two pieces when `script` is None. A script has its own pauses.
        framing: chunked, content-length, close, gzip, or trickle (one HTTP chunk for the whole
            body).
        host: Address to listen on.
        port: Port to listen on; 0 picks a free one.
        ssl_context: Serve https with it.
        read_timeout: Seconds for the head of a request, for its body, and for the next request of
            a kept connection. After that the connection ends, with 408 when a request had begun.
        write_timeout: Seconds in which a client must read what one step sends. A slower one counts
            as a client that left.
        log: Called with one line per response, in the sandbox's threads.
    """

    def __init__(
        self,
        script: Steps | Callable[[RecordedRequest], Steps] | None = None,
        *,
        wire: str | Service = "websopy",
        api_key: str | None = None,
        pause: float = 0.03,
        framing: Framing = "chunked",
        host: str = "127.0.0.1",
        port: int = 0,
        ssl_context: ssl.SSLContext | None = None,
        read_timeout: float = 10.0,
        write_timeout: float = 60.0,
        log: Callable[[str], None] | None = None,
    ) -> None:
        self._dispatcher = Dispatcher(
            script, service=find_service(wire), api_key=api_key, pause=pause, log=log
        )
        self._framing: Framing = framing
        self._read_timeout = read_timeout
        self._write_timeout = write_timeout
        self._address = (host, port)
        self._ssl_context = ssl_context
        self._connections = 0
        self._open: set[socket.socket] = set()  # guarded by the dispatcher's condition
        self._threads: list[threading.Thread] = []
        self._waker: socket.socket | None = None  # None while it does not listen
        self._listening: threading.Thread
        self._opened: contextlib.ExitStack

    # Its life

    def start(self) -> Self:
        """Start to listen. Call `close()` afterwards, or use `with`.

        Raises:
            OSError: The port is taken, or no socket can be had.
        """
        with contextlib.ExitStack() as opened:
            family = socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET
            server = socket.create_server(self._address, family=family, backlog=MOST_CONNECTIONS)
            listener = opened.enter_context(server)
            listener.setblocking(False)  # a client may be gone again before it is accepted
            waker, wakened = map(opened.enter_context, socket.socketpair())
            selector = opened.enter_context(selectors.DefaultSelector())
            selector.register(listener, selectors.EVENT_READ)
            selector.register(wakened, selectors.EVENT_READ)
            self._address = listener.getsockname()[:2]
            add_own_service(*self._address)
            opened.callback(remove_own_service, *self._address)
            self._listening = self._start_thread(self._listen, listener, selector)
            self._waker = waker
            self._opened = opened.pop_all()
        return self

    def close(self) -> None:
        """Stop listening and end every connection; no thread or socket is left."""
        waker, self._waker = self._waker, None
        if waker is None:
            return
        self._dispatcher.closing.set()
        waker.close()
        self._listening.join()  # no connection is accepted after this
        self._opened.close()
        with self._dispatcher.news:
            for connection in self._open:
                shut_down(connection)
        for thread in self._threads:
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
        """The `base_url` for a client; ends in /v1."""
        host = f"[{self._address[0]}]" if ":" in self._address[0] else self._address[0]
        return f"{'https' if self._ssl_context else 'http'}://{host}:{self.port}{PREFIX}"

    # What it sends

    def play(self, script: Steps) -> None:
        """Answer the next request with this script, or the one after those already queued.

        A request that is turned away (wrong key, wrong path) uses up no script, and neither does
        one for the list of models. Any other does, a retry or a resuming one too.

        Args:
            script: The steps.

        Raises:
            TypeError: Something in it is no step.
        """
        self._dispatcher.queue.append(self._dispatcher.compiled(script))

    # What happened

    @property
    def requests(self) -> list[RecordedRequest]:
        """The requests so far, refused ones too: the last 10,000, and 32 MiB at most."""
        with self._dispatcher.news:
            return self._dispatcher.requests.all()

    @property
    def disconnects(self) -> list[RecordedRequest]:
        """The requests whose client left before the end of the script."""
        with self._dispatcher.news:
            return self._dispatcher.disconnects.all()

    @property
    def connections(self) -> int:
        """How many connections have been accepted."""
        return self._connections

    @property
    def open_connections(self) -> int:
        """How many connections are open now."""
        return len(self._open)

    def wait_request(self, count: int = 1, *, timeout: float = 5.0) -> bool:
        """Wait until requests have come.

        Args:
            count: How many, of all since the start.
            timeout: Seconds to wait at most.

        Returns:
            Whether they have come.
        """
        return self._wait(lambda: self._dispatcher.request_count >= count, timeout)

    def wait_disconnect(self, count: int = 1, *, timeout: float = 5.0) -> bool:
        """Wait until clients have left early.

        End the script in `silence()`, or the answer may be out before the client can leave.

        Args:
            count: How many, of all since the start.
            timeout: Seconds to wait at most.

        Returns:
            Whether they have left.
        """
        return self._wait(lambda: self._dispatcher.disconnect_count >= count, timeout)

    def wait_closed(self, *, timeout: float = 5.0) -> bool:
        """Wait until no connection is open.

        Args:
            timeout: Seconds to wait at most.

        Returns:
            Whether all are closed.
        """
        return self._wait(lambda: not self._open, timeout)

    def _wait(self, happened: Callable[[], bool], timeout: float) -> bool:
        with self._dispatcher.news:
            return self._dispatcher.news.wait_for(happened, timeout)

    # Its threads

    def _start_thread(self, work: Callable[..., None], *args: object) -> threading.Thread:
        thread = threading.Thread(target=work, args=args, name="websopy-sandbox", daemon=True)
        thread.start()
        return thread

    def _listen(self, listener: socket.socket, selector: selectors.BaseSelector) -> None:
        while not self._dispatcher.closing.is_set():
            if len(self._open) >= MOST_CONNECTIONS:
                self._dispatcher.closing.wait(RETRY_SECONDS)
                continue
            for key, _ in selector.select():
                if key.fileobj is listener:
                    self._accept(listener)

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection = listener.accept()[0]
        except (BlockingIOError, ConnectionError):  # the client has left already
            return
        except OSError:  # out of file descriptors or memory, until a connection ends
            self._dispatcher.closing.wait(RETRY_SECONDS)
            return
        try:
            self._serve_in_thread(connection)
        except (OSError, RuntimeError):  # the client has left, or no thread can be started
            connection.close()

    def _serve_in_thread(self, connection: socket.socket) -> None:
        if self._ssl_context:
            # When the client has left, wrap_socket() raises and leaks the socket to the garbage
            # collector (CPython 3.11.7). getpeername() raises first.
            connection.getpeername()
            # The first read makes the handshake, in the connection's own thread.
            connection = self._ssl_context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        with self._dispatcher.news:
            self._open.add(connection)
            self._connections += 1
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        try:
            self._threads.append(self._start_thread(self._serve, connection, self._connections))
        except RuntimeError:
            self._forget(connection)
            raise

    def _serve(self, connection: socket.socket, number: int) -> None:
        try:
            with contextlib.suppress(OSError):  # the client has left, or speaks no TLS
                HTTPHandler(
                    connection,
                    number,
                    dispatcher=self._dispatcher,
                    framing=self._framing,
                    read_timeout=self._read_timeout,
                    write_timeout=self._write_timeout,
                )
        finally:
            self._forget(connection)

    def _forget(self, connection: socket.socket) -> None:
        with self._dispatcher.news:
            self._open.remove(connection)
            self._dispatcher.news.notify_all()
        connection.close()
