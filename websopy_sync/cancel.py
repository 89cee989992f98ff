"""One switch, off until somebody throws it, that ends streams from any thread.

Knows nothing of sockets: whoever can be cancelled leaves a callback here.

cancel() waits for no lock, because a signal handler that interrupted this very code, or a
destructor, may call it. A subscriber that arrives while cancel() runs may be called twice, never
not at all, so callbacks bear repeating.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from .interrupts import is_interrupt

__all__ = ["CancelToken", "Wake"]


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
