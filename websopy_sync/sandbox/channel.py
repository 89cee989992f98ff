"""A socket as two files with time limits, for `http.server`.

A socket's own timeout starts anew with each byte, so a client that trickles would never time out.
Knows nothing of HTTP.
"""

from __future__ import annotations

import io
import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

__all__ = ["DeadlineReader", "TimeoutWriter"]

SHORTEST = 0.001
"""Timeout of a receive after the deadline: settimeout(0) would make the socket non-blocking."""


class DeadlineReader(io.RawIOBase):
    """Reads what the client sends, until the deadline that `allow` sets.

    Attributes:
        ended: Whether the client has sent its FIN.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._deadline = 0.0
        self.ended: bool = False

    def allow(self, seconds: float) -> None:
        """Set the deadline for everything read from now on, in seconds from now."""
        self._deadline = time.monotonic() + seconds

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Read some bytes, none at the end.

        Raises:
            TimeoutError: The deadline has passed.
        """
        self._connection.settimeout(max(self._deadline - time.monotonic(), SHORTEST))
        count = self._connection.recv_into(buffer)
        self.ended = count == 0
        return count


class TimeoutWriter(io.BufferedIOBase):
    """Sends to the client; TimeoutError when one write takes longer than `seconds`."""

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self._connection = connection
        self._seconds = seconds

    def writable(self) -> bool:
        """True."""
        return True

    def write(self, data: ReadableBuffer) -> int:
        """Send all of the data."""
        self._connection.settimeout(self._seconds)
        self._connection.sendall(data)
        return memoryview(data).nbytes
