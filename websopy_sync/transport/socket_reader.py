"""Receives the bytes of a connection, each wait bounded by the scope's limits.

Knows sockets by their methods alone, and nothing of HTTP.

A receive of a Python socket is three calls: set the timeout, poll(), recv(). Each releases the GIL,
and re-acquiring it is what costs: with 200 threads 10 of 105 µs a chunk for settimeout(), 20 for
poll(). `receive` leaves out the first two where it can.
"""

from __future__ import annotations

import errno
import io
import math
import socket
import struct
import sys
import threading
import types
from threading import get_ident
from typing import Any

from ..cancel import CancelScope
from ..interrupts import is_interrupt

__all__ = ["SocketReader"]

SHORT = 0.1
"""Seconds below which a timeout is the limit itself; above, it is half of it when it is set."""

# Only where its struct is known for sure: two longs of 64 bits.
_KERNEL_WAITS = sys.platform == "linux" and struct.calcsize("l") == 8


class SocketReader(io.RawIOBase):
    """Reads from a socket. It is also a raw file, from which lines can be read.

    Args:
        sock: The socket, plain or TLS.
        scope: Its limits hold for each receive.
        received: Bytes that were received before; the file begins with them. At most 64 KiB, which
            a buffered file takes at once.
    """

    def __init__(self, sock: Any, scope: CancelScope, *, received: bytes = b"") -> None:
        self._socket = sock
        self._received = received
        self._scope = scope
        self._timeout = math.inf  # what the socket's timeout is set to
        self._thread = 0  # the thread it was set in; 0 to set it again
        # A plain socket's recv is C code. That of TLS and of gevent is Python code, which needs
        # settimeout().
        self._plain = _KERNEL_WAITS and isinstance(sock.recv, types.BuiltinMethodType)
        # Keeps the socket open after http.client's connection has closed it, which it does when the
        # body ends with the connection.
        self._keeper = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer with what `receive` returns. Returns the number of bytes."""
        data, self._received = self._received[: len(buffer)], self._received[len(buffer) :]
        data = data or self.receive(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def receive(self, size: int) -> bytes:
        """The next bytes, at most so many, as soon as there are any; b"" at the end.

        Bytes that are here already are returned even when a limit has passed meanwhile.

        Args:
            size: The most bytes to return.

        Raises:
            TimeoutError: A limit passed.
            ConnectionAbortedError: The scope was aborted.
            OSError: Whatever else the socket raises.
        """
        scope = self._scope
        while True:
            try:
                seconds = scope.remaining()
            except TimeoutError as passed:
                late = None if is_interrupt(passed) else self._receive_late(size)
                if late is None:
                    raise
                return late
            # The timeout stays as it is while it is shorter than the limit: a receive that wakes
            # early looks at the clock and waits again.
            if seconds < self._timeout or self._thread != get_ident():
                self._wait_at_most(seconds)
            try:
                data: bytes = self._socket.recv(size)
            except (TimeoutError, BlockingIOError) as error:
                # settimeout() raises TimeoutError without errno, SO_RCVTIMEO raises EAGAIN: both
                # mean that our timeout passed. With ETIMEDOUT, TCP gave the connection up.
                if error.errno not in (None, errno.EAGAIN) or is_interrupt(error):
                    raise
                self._thread = 0
                continue
            if scope.aborted:
                # A shutdown looks like an end of the data, so trust nothing after it.
                scope.check()
            return data

    def _receive_late(self, size: int) -> bytes | None:
        """The bytes that are here without a wait, None when there are none or too many."""
        self._thread = 0
        self._socket.settimeout(0)
        try:
            data: bytes = self._socket.recv(size)
            self._scope.allow_late(len(data))
        except OSError as error:  # no bytes, half a TLS record, or more than allow_late() allows
            if is_interrupt(error):
                raise
            return None
        self._scope.check()
        return data

    def _wait_at_most(self, seconds: float) -> None:
        """Set the timeout of this thread's receives to at most so many seconds."""
        self._timeout = seconds if seconds < SHORT else seconds / 2
        self._thread = get_ident()
        # SO_RCVTIMEO needs no poll(). Not in the main thread, which signals interrupt: the kernel
        # starts its wait again after each, and a timer's signals would postpone the limit for ever.
        if self._plain and threading.current_thread() is not threading.main_thread():
            try:
                self._socket.setsockopt(
                    socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(self._timeout)
                )
                self._socket.settimeout(None)
                return
            except OSError as error:  # a sandboxed kernel without the option
                if is_interrupt(error):
                    raise
                self._plain = False
        self._socket.settimeout(None if self._timeout == math.inf else self._timeout)

    def close(self) -> None:
        """Allow the socket to close."""
        if not self.closed:
            self._keeper.close()
        super().close()


def _timeval(seconds: float) -> bytes:
    """C's `struct timeval`, never zero for a finite time: the kernel reads zero as no limit."""
    if seconds == math.inf:
        return struct.pack("ll", 0, 0)
    whole, part = divmod(seconds, 1)
    return struct.pack("ll", int(whole), max(int(part * 1_000_000), 1))
