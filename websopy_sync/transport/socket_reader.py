"""The bytes of a connection as they come, each wait for them bounded by the scope.

Knows sockets by their methods alone, and nothing of HTTP.

A Python socket waits for its timeout in a poll() of its own before the recv(), and setting the
timeout is a third call. Each of them lets another thread have the interpreter, and when many want
it, getting it back is dear: of 105 µs that a chunk cost in 200 threads, setting took 10 and the
poll() 20. So:

- The timeout is not set anew for each receive. It is shorter than the limit, and a receive that
  wakes early looks at the clock and waits on.
- Plain sockets leave the wait to the kernel (SO_RCVTIMEO), which needs no poll(). Not in the main
  thread: it is the one that signals interrupt, the kernel then begins its wait anew, and a timer's
  signals would keep a limit from ever passing.
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
    """Reads from a socket; also a raw file, for what wants lines.

    received: what was received already; the file begins with it. At most 64 KiB, which a buffered
    file takes at once.
    """

    def __init__(self, sock: Any, scope: CancelScope, *, received: bytes = b"") -> None:
        self._socket = sock
        self._received = received
        self._scope = scope
        self._timeout = math.inf  # what a receive waits
        self._thread = 0  # in which thread; none when it is to be set anew
        # TLS, and what stands in for sockets elsewhere (gevent), receive in Python.
        self._plain = _KERNEL_WAITS and isinstance(sock.recv, types.BuiltinMethodType)
        # Keeps the socket open after the connection has let go of it, as http.client does when
        # the body ends with the connection.
        self._keeper = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer as far as `receive` gives something; how far."""
        data, self._received = self._received[: len(buffer)], self._received[len(buffer) :]
        data = data or self.receive(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def receive(self, size: int) -> bytes:
        """The next bytes, at most so many, as soon as there are any; b"" at the end.

        What is here already is given even when a limit has passed meanwhile.

        Raises TimeoutError when a limit has passed, ConnectionAbortedError after an abort, and
        whatever else the socket does.
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
            if seconds < self._timeout or self._thread != get_ident():
                self._wait_at_most(seconds)
            try:
                data: bytes = self._socket.recv(size)
            except (TimeoutError, BlockingIOError) as error:
                # The time is over, as Python says it and as the kernel does; else it is TCP's own
                # timeout, and the connection is lost.
                if error.errno not in (None, errno.EAGAIN) or is_interrupt(error):
                    raise
                self._thread = 0
                continue
            if scope.aborted:
                # A shutdown looks like an end: nothing may be believed that comes after it.
                scope.check()
            return data

    def _receive_late(self, size: int) -> bytes | None:
        """What is here without waiting, None when that is nothing or comes too late."""
        self._thread = 0
        self._socket.settimeout(0)
        try:
            data: bytes = self._socket.recv(size)
            self._scope.allow_late(len(data))
        except OSError as error:  # nothing is here, TLS wants more, or the limits allow no more
            if is_interrupt(error):
                raise
            return None
        self._scope.check()
        return data

    def _wait_at_most(self, seconds: float) -> None:
        """Have this thread's receives wait no longer than that, and wake early."""
        self._timeout = seconds if seconds < SHORT else seconds / 2
        self._thread = get_ident()
        if self._plain and threading.current_thread() is not threading.main_thread():
            try:
                self._socket.setsockopt(
                    socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(self._timeout)
                )
                self._socket.settimeout(None)
                return
            except OSError as error:  # a sandboxed kernel that does not have the option
                if is_interrupt(error):
                    raise
                self._plain = False
        self._socket.settimeout(None if self._timeout == math.inf else self._timeout)

    def close(self) -> None:
        """Let go of the socket."""
        if not self.closed:
            self._keeper.close()
        super().close()


def _timeval(seconds: float) -> bytes:
    """C's struct for a time; of no seconds at all the kernel would take it for no limit."""
    if seconds == math.inf:
        return struct.pack("ll", 0, 0)
    whole, part = divmod(seconds, 1)
    return struct.pack("ll", int(whole), max(int(part * 1_000_000), 1))
