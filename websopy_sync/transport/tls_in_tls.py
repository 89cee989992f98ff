"""TLS inside the TLS connection to a proxy: what urllib3's SSLTransport lacks as a socket.

Knows nothing of HTTP. Two things are mended: at an end without close_notify its recv() returns 0
instead of b"", and its timeout starts again with every piece of a record or of the handshake.
"""

from __future__ import annotations

import math
from typing import Any

from urllib3.util.ssltransport import SSLTransport

from ..cancel import CancelScope

__all__ = ["InnerTLS", "OuterTLS"]


class OuterTLS:
    """The TLS connection to the proxy, as SSLTransport reads and writes it.

    Every receive and send waits at most until the scope's limit.
    """

    def __init__(self, sock: Any, scope: CancelScope) -> None:
        self.socket = sock
        self.scope = scope
        self._timeout = math.inf

    def __getattr__(self, name: str) -> Any:
        return getattr(self.socket, name)

    @property
    def _io_refs(self) -> int:
        """How many files keep the socket open. SSLTransport.makefile() counts them in this one."""
        return int(self.socket._io_refs)

    @_io_refs.setter
    def _io_refs(self, count: int) -> None:
        self.socket._io_refs = count

    def settimeout(self, seconds: float | None) -> None:
        """Wait at most so long for one piece."""
        self._timeout = math.inf if seconds is None else seconds

    def recv(self, size: int) -> bytes:
        """The next bytes, b"" at the end."""
        self._wait_at_most(self._timeout)
        data: bytes = self.socket.recv(size)
        return data

    def sendall(self, data: bytes) -> None:
        """Send all of it; with a timeout of 0 too, as a part of a record would be lost."""
        if data:  # SSLTransport sends nothing with each receive, which may come after the limit
            self._wait_at_most(self._timeout or math.inf)
            self.socket.sendall(data)

    def _wait_at_most(self, seconds: float) -> None:
        # 0 is no wait: bytes that are here may be read after the limit too.
        seconds = seconds and min(seconds, self.scope.remaining())
        self.socket.settimeout(None if seconds == math.inf else seconds)


class InnerTLS(SSLTransport):
    """The TLS connection to the service, taken over from urllib3 after its handshake."""

    socket: OuterTLS  # type: ignore[assignment]  # it has what SSLTransport asks of a socket

    def __init__(self, transport: SSLTransport) -> None:
        vars(self).update(vars(transport))

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """The next bytes, b"" at the end."""
        return super().recv(buflen, flags) or b""  # type: ignore[return-value]  # 0 is the only int

    def obey(self, scope: CancelScope) -> None:
        """Bound each wait by this scope's limits from now on."""
        self.socket.scope = scope

    @property
    def has_unread(self) -> bool:
        """Whether bytes of a further record are here already, where select() can't see them."""
        return self.incoming.pending > 0
