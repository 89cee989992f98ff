"""The two directions of a connection as files, each with a time limit.

`http.server` reads and writes files. A socket's own time limit begins again with each byte, so a
client that sends one byte now and then would never be too late. Knows nothing of HTTP.
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
"""Seconds that a receive is given when its time is over: with 0 the socket would not block."""


class DeadlineReader(io.RawIOBase):
    """What a client sends, until a deadline that `allow` sets; TimeoutError after that.

    ended: whether the client has said that no more will come.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._deadline = 0.0
        self.ended: bool = False

    def allow(self, seconds: float) -> None:
        """Give what is read from now on so many seconds in all."""
        self._deadline = time.monotonic() + seconds

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Read some bytes; none at the end. Raises TimeoutError at the deadline."""
        self._connection.settimeout(max(self._deadline - time.monotonic(), SHORTEST))
        count = self._connection.recv_into(buffer)
        self.ended = count == 0
        return count


class TimeoutWriter(io.BufferedIOBase):
    """What a client is sent; TimeoutError when one write takes longer than `seconds`."""

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self._connection = connection
        self._seconds = seconds

    def writable(self) -> bool:
        """True."""
        return True

    def write(self, data: ReadableBuffer) -> int:
        """Send all of it."""
        self._connection.settimeout(self._seconds)
        self._connection.sendall(data)
        return memoryview(data).nbytes
