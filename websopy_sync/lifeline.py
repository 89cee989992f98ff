"""What one question hangs on: its socket, its deadlines, and a way to end it from anywhere.

Knows sockets by their methods alone; nothing of HTTP. A reader asks it how long it may still
wait before each receive; another thread may abort it at any moment. There is no watcher thread:
who waits, waits with the right timeout.

Ending a blocked receive from another thread is one call, `shutdown` of the plain socket class:
closing would wait for the reader's lock, and `SSLSocket.shutdown` first drops the TLS layer, so
that the reader would take ciphertext for text (seen in 4 runs of 4).
"""

from __future__ import annotations

import math
import os
import queue
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, Literal

from .errors import Phase

__all__ = ["Lifeline"]


class Lifeline:
    """The deadlines and the off-switch of one question, over all its connections.

    total: seconds from now until everything must be over, None for no limit.
    idle: seconds a phase of that name may take that begins with progress.
    """

    def __init__(
        self,
        total: float | None,
        *,
        idle: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._idle = math.inf if idle is None else idle
        self._pid = os.getpid()
        self._total = math.inf if total is None else clock() + total
        self._phase: Phase = "connect"
        self._deadline = math.inf
        self.progress = False
        """Set by the reader when something came: the next wait begins the idle phase anew."""
        # Reentrant, as a signal handler may abort the very thread that is in here.
        self._lock = threading.RLock()
        self._socket: Any = None
        self._woken: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.aborted: Literal["", "cancelled", "closed"] = ""
        """Why it was ended on this side; "" while it was not."""
        self.expired: Phase | None = None
        """The limit that passed, once one has."""

    def limit(self, phase: Phase, seconds: float | None) -> None:
        """Begin a phase that may take so many seconds from now; None for no limit."""
        self.progress = False
        self._phase = phase
        self._deadline = math.inf if seconds is None else self._clock() + seconds

    def remaining(self) -> float:
        """Seconds that a wait may still take, infinity for no limit.

        Raises TimeoutError when a limit has passed; `expired` then says which.
        """
        now = self._clock()
        if self.progress:
            self.progress = False
            self._phase = "idle"
            self._deadline = now + self._idle
        seconds = min(self._deadline, self._total) - now
        if seconds <= 0:
            self.expire()
            raise TimeoutError(f"{self.expired} limit passed")
        return seconds

    def timeout(self) -> float | None:
        """The same as sockets want it: None for no limit."""
        seconds = self.remaining()
        return None if seconds == math.inf else seconds

    def expire(self) -> None:
        """Note that the nearest limit has passed."""
        self.expired = "total" if self._total < self._deadline else self._phase

    def check(self) -> None:
        """Raise ConnectionAbortedError once it was aborted."""
        if self.aborted:
            raise ConnectionAbortedError(f"{self.aborted} on this side")

    def allows(self, seconds: float) -> bool:
        """Whether a wait of so many seconds would end before the total limit."""
        return self._clock() + seconds < self._total

    def wait(self, seconds: float) -> None:
        """Sleep, but wake when aborted."""
        try:
            if not self.aborted:
                self._woken.get(timeout=max(seconds, 0.0))
        except queue.Empty:
            pass

    def hold(self, sock: Any) -> None:
        """Take the socket that an abort has to shut down; at once if it is too late already."""
        with self._lock:
            self._socket = sock
        if self.aborted and sock is not None:
            self._shut_down(sock)

    def let_go(self) -> bool:
        """Forget the socket, so that no abort reaches it. False when one already has."""
        with self._lock:
            self._socket = None
        return not self.aborted

    def abort(self, reason: Literal["cancelled", "closed"]) -> None:
        """End it: whoever waits for the socket or in wait() wakes. Never blocks, never raises."""
        with self._lock:
            self.aborted = self.aborted or reason
            if self._socket is not None:
                self._shut_down(self._socket)
        self._woken.put(None)

    def cut(self) -> None:
        """End the connection, if there still is one, and forget it."""
        with self._lock:
            sock, self._socket = self._socket, None
        if sock is not None:
            self._shut_down(sock)

    def _shut_down(self, sock: Any) -> None:
        if os.getpid() != self._pid:  # in a forked child, where it would end the parent's answer
            return
        # A TLS connection inside a TLS proxy is urllib3's SSLTransport, which holds the real one.
        while not isinstance(sock, socket.socket) and hasattr(sock, "socket"):
            sock = sock.socket
        try:
            socket.socket.shutdown(sock, socket.SHUT_RDWR)
        except OSError:  # not connected yet, or gone already
            pass
