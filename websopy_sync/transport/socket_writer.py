"""Sends bytes within the limits of a call, and no more of them once the server has answered.

A server may refuse a large question (413, 401, 429) before it has all of it. Then it closes, which
resets the connection, or half-closes, or just reads no more. Whoever only sends learns nothing of
the answer, so this looks for it in between. Knows sockets by their methods alone, and nothing of
HTTP: what an answer is, it is told.
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
"""Bytes sent at a time, a TLS record. OpenSSL wants a piece again as it was until it is sent."""

MOST_RECEIVED = 65536
"""Bytes of an answer that are taken before all is sent; what follows stays in the socket."""

LOOK_EVERY = 16
"""Pieces after which an answer is looked for while the server takes all that is sent."""

_TLS_IS_NOT_READY = (ssl.SSLWantReadError, ssl.SSLWantWriteError)


class SocketWriter:
    """Sends one request.

    is_final(received): whether this beginning of an answer shows that the server wants no more of
    the request.
    """

    def __init__(self, sock: Any, scope: CancelScope, is_final: Callable[[bytes], bool]) -> None:
        self.socket = sock
        self._scope = scope
        self._is_final = is_final
        self._pieces = 0
        self.received: bytes = b""
        """What the server sent before it had the whole request."""
        self.stopped: bool = False
        """The rest was not sent: the server has answered for good, or has ended the connection."""

    def send(self, data: bytes) -> None:
        """Send all of it, unless the server wants no more; then, and from then on, nothing.

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
                wait_for(self.socket, seconds, answer=self._listens)
            elif sent < 0:
                self.stopped = True  # by the server, which may have answered before
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
        """Take what the server has sent already."""
        room = MOST_RECEIVED - len(self.received)
        data = self._attempt(self.socket.recv, room, ended=b"")
        if data is not None:
            self.received += data
            self.stopped = self.stopped or not data or self._is_final(self.received)

    def _attempt(self, call: Callable[[Any], Any], argument: Any, *, ended: Any) -> Any:
        """What the socket gives; None when it is not ready, `ended` when there is no connection."""
        try:
            return call(argument)
        except _TLS_IS_NOT_READY:  # no handler raises these: is_interrupt() would take 0.2 ms
            return None
        except OSError as error:
            if is_interrupt(error):
                raise
            return None if isinstance(error, BlockingIOError) else ended
