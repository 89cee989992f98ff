"""Sends a request within the limits of a call, and stops once the server has refused it.

Knows sockets by their methods alone, and nothing of HTTP: a function that it is given recognizes a
refusal.

A server may refuse a large request (413, 401, 429) before it has all of it. Then it closes, which
resets the connection, or half-closes, or reads no more. A plain sendall() would lose the response,
so the writer looks for one between the pieces.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

from ..cancel import CancelScope
from ..interrupts import is_interrupt
from ..sockets import wait_for

__all__ = ["SocketWriter"]

PIECE = 16384
"""Bytes sent at a time, a TLS record. OpenSSL wants the same piece again until it is sent."""

MOST_RECEIVED = 65536
"""Bytes of a response that are received before all is sent; the rest stays in the socket."""

LOOK_EVERY = 16
"""Pieces after which the writer looks for a response while the server takes all it is sent."""

_TLS_IS_NOT_READY = (ssl.SSLWantReadError, ssl.SSLWantWriteError)


class SocketWriter:
    """Sends one request.

    Args:
        sock: The socket, plain or TLS.
        scope: Its limits hold for each wait.
        is_refusal: Whether this beginning of a response shows that the server wants no more of the
            request.
    """

    def __init__(self, sock: Any, scope: CancelScope, is_refusal: Callable[[bytes], bool]) -> None:
        self.socket = sock
        self._scope = scope
        self._is_refusal = is_refusal
        self._pieces = 0
        self.received: bytes = b""
        """What the server sent before it had the whole request."""
        self.stopped: bool = False
        """The rest was not sent: the server has refused it, or has ended the connection."""

    def send(self, data: bytes) -> None:
        """Send all of it, unless the server wants no more; from then on, nothing.

        Raises:
            TimeoutError: A limit passed.
            ConnectionAbortedError: The scope was aborted.
        """
        self.socket.settimeout(0)
        rest = memoryview(data)
        while rest and not self.stopped:
            seconds = self._scope.remaining()
            sent = self._attempt(self.socket.send, rest[:PIECE], ended=-1)
            if sent is None:
                wait_for(self.socket, seconds, also_readable=self._listens)
            elif sent < 0:
                self.stopped = True  # by the server, which may have sent a response before
            else:
                rest = rest[sent:]
                self._pieces += 1
            if rest and self._listens and (not sent or self._pieces % LOOK_EVERY == 0):
                self._look()
        self._scope.check()

    @property
    def _listens(self) -> bool:
        return len(self.received) < MOST_RECEIVED

    def _look(self) -> None:
        """Receive what the server has sent already."""
        room = MOST_RECEIVED - len(self.received)
        data = self._attempt(self.socket.recv, room, ended=b"")
        if data is not None:
            self.received += data
            self.stopped = self.stopped or not data or self._is_refusal(self.received)

    def _attempt(self, call: Callable[[Any], Any], argument: Any, *, ended: Any) -> Any:
        """The result of the call; None when the socket is not ready, `ended` when it is closed."""
        try:
            return call(argument)
        except _TLS_IS_NOT_READY:  # no signal handler raises these; is_interrupt() takes 0.2 ms
            return None
        except OSError as error:
            if is_interrupt(error):
                raise
            return None if isinstance(error, BlockingIOError) else ended
