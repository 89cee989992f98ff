"""How a stream is ended from outside: the switch a user holds, and what it shuts down.

`CancelToken` is the user's. `CancelScope` is what one call hangs on: its socket, its deadlines
and a way to end it from any thread. Knows sockets by their methods alone, and nothing of HTTP.

There is no watcher thread: each wait takes the timeout that the deadlines leave.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, Literal

from .errors import StreamCancelledError, StreamError
from .interrupts import is_interrupt
from .sockets import shut_down
from .timeouts import Deadlines

__all__ = ["CancelScope", "CancelToken", "Wake"]


class Wake:
    """Wakes one sleeper, from any thread and from a signal handler; it stays set.

    A plain lock serves as the flag. `threading.Event` deadlocks when a signal handler that
    interrupted its set() sets it too, and eventlet does not replace `queue.SimpleQueue`, whose
    get() would stop all green threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def set(self) -> None:
        """Wake the sleeper, or the next one at once. Never blocks."""
        try:
            self._lock.release()
        except RuntimeError as error:  # set already
            if is_interrupt(error):
                raise

    def wait(self, seconds: float) -> None:
        """Sleep for so many seconds, or until set."""
        if self._lock.acquire(timeout=min(max(seconds, 0.0), threading.TIMEOUT_MAX)):
            self.set()


class CancelToken:
    """Ends every stream it was given to, from any thread, at any moment.

    One token may serve many streams, before, during and after their first byte. It is thrown
    once: a stream that is given a thrown token ends at once.

    cancel() waits for no lock, because a signal handler that interrupted this very code, or a
    destructor, may call it. A subscriber that arrives while cancel() runs may be called twice,
    never not at all, so callbacks bear repeating.
    """

    def __init__(self) -> None:
        self._cancelled = False
        self._callbacks: dict[object, Callable[[], None]] = {}

    def __repr__(self) -> str:
        return f"<CancelToken {'cancelled' if self._cancelled else 'open'}>"

    @property
    def cancelled(self) -> bool:
        """Whether cancel() was called."""
        return self._cancelled

    def cancel(self) -> None:
        """End the streams. Returns at once; a second call does nothing new."""
        self._cancelled = True
        for callback in list(self._callbacks.values()):
            callback()

    def wait(self, seconds: float) -> bool:
        """Sleep for so many seconds, or less when cancelled. Tells whether it was cancelled."""
        wake = Wake()
        key = self.subscribe(wake.set)
        try:
            wake.wait(seconds)
        finally:
            self.unsubscribe(key)
        return self._cancelled

    def subscribe(self, callback: Callable[[], None]) -> object:
        """Have `callback` called on cancel(), at once if that has been. Returns its key.

        It must neither block nor raise, and bear being called twice.
        """
        key = object()
        self._callbacks[key] = callback
        if self._cancelled:
            callback()
        return key

    def unsubscribe(self, key: object) -> None:
        """Forget the callback behind `key`; one that is not there is fine."""
        self._callbacks.pop(key, None)


class CancelScope(Deadlines):
    """The deadlines and the off-switch of one call, over all its connections.

    Args:
        total: Seconds from now until the whole call must be over, None for no limit.
        idle: Seconds that each idle phase may take, None for no limit.
        clock: Returns the time; it must never go backwards.
    """

    def __init__(
        self,
        total: float | None,
        *,
        idle: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(total, idle=idle, clock=clock)
        self._pid = os.getpid()
        # Reentrant, as a signal handler may abort the very thread that is in here.
        self._lock = threading.RLock()
        self._socket: Any = None
        self._wake = Wake()
        self.aborted: Literal["", "cancelled", "closed", "forked"] = ""
        """Why it was ended on this side; "" while it was not.

        "forked": this is a forked child's copy, and the answer goes on in the parent.
        """
        _scopes.add(weakref.ref(self, _scopes.discard))

    def check(self) -> None:
        """Raise ConnectionAbortedError once it was aborted."""
        if self.aborted:
            raise ConnectionAbortedError(f"{self.aborted} on this side")

    def abort_error(self) -> StreamError:
        """The error for whoever reads on after an abort."""
        if self.aborted == "forked":
            return StreamError("the stream belongs to the process that opened it, not to its fork")
        reason = self.aborted or "closed"
        return StreamCancelledError(f"the answer was {reason}", reason=reason)

    def raise_aborted(self) -> None:
        """Raise the error for whoever reads on, once it was aborted.

        Raises:
            StreamCancelledError: it was cancelled or closed.
            StreamError: this is a forked child, and the answer is the parent's.
        """
        if self.aborted:
            raise self.abort_error()

    def wait(self, seconds: float, wake: Wake | None = None) -> None:
        """Sleep, but wake when aborted, or when somebody sets `wake`."""
        self._wake = wake or Wake()
        if not self.aborted:  # looked at after the line above: abort() does it the other way round
            self._wake.wait(seconds)

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
        self._wake.set()

    def cut(self) -> None:
        """End the connection, if there still is one, and forget it."""
        with self._lock:
            sock, self._socket = self._socket, None
        if sock is not None:
            self._shut_down(sock)

    def _shut_down(self, sock: Any) -> None:
        if os.getpid() != self._pid:  # in a forked child, where it would end the parent's answer
            return
        shut_down(sock)

    def disown(self) -> None:
        """In a forked child: leave the connection to the parent, without a touch to it."""
        self._lock = threading.RLock()  # a thread that is not in the child may have had it
        self._socket = None
        self.aborted = self.aborted or "forked"


# A child that reads its parent's connection eats bytes that the parent then misses. To ask for the
# process at each chunk would cost more than the rest of the loop, so the fork itself tells.
_scopes: set[weakref.ref[CancelScope]] = set()


def _disown_all() -> None:
    for reference in _scopes.copy():
        scope = reference()
        if scope is not None:
            scope.disown()
    _scopes.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown_all)
