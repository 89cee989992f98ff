"""Makes sure that no connection of this process is open while it forks.

SQLite has a list of locks for each process. A child that inherits an open connection inherits that
list, with locks that it does not hold and never releases. It finds the file locked for ever, or
writes where it must not (https://www.sqlite.org/howtocorrupt.html, 2.6). A server's connection
would be one socket for two processes. So a fork waits, within bounds, for the threads that use a
connection, and closes idle ones; parent and child then open their own.

The state is the module's, as a process forks as a whole. Knows neither databases nor the writer.
"""

from __future__ import annotations

import atexit
import functools
import multiprocessing.util
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

__all__ = ["ForkWaitsError", "at_exit", "connected", "fork_waits", "register"]

LONGEST_FORK = 10.0
"""Seconds after which connections open anyway: a fork may end without notice."""


class Holder(Protocol):
    """An object that keeps a connection open between uses."""

    def disconnect(self) -> None:
        """Close the connection, which is not in use."""

    def start_over(self) -> None:
        """Forget the inherited connection, in a forked child."""


class ForkWaitsError(Exception):
    """A thread waits to fork. Try again after the fork."""


class _Gate:
    """The threads that use a connection now, and those that wait to fork."""

    def __init__(self) -> None:
        # Reentrant: the garbage collector may run a destructor here that uses it too.
        self._changed = threading.Condition(threading.RLock())
        self._inside: dict[int, float] = {}  # thread → seconds that a fork waits for it
        self._forks = 0
        self._shut_at = 0.0

    @property
    def is_shut(self) -> bool:
        return self._forks > 0 and time.monotonic() < self._shut_at + LONGEST_FORK

    @contextmanager
    def passed(self, patience: float) -> Iterator[None]:
        me = threading.get_ident()
        if me in self._inside:
            yield
            return
        with self._changed:
            while self.is_shut:
                self._changed.wait(LONGEST_FORK)
            self._inside[me] = patience
        try:
            yield
        finally:
            with self._changed:
                self._inside.pop(me, None)
                self._changed.notify_all()

    def shut(self) -> bool:
        """Refuse new uses, and wait for the current ones; False when some did not end in time."""
        me, begun = threading.get_ident(), time.monotonic()
        with self._changed:
            self._forks += 1
            self._shut_at = begun
            while others := [seconds for who, seconds in self._inside.items() if who != me]:
                left = begun + max(others) - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            return not self._inside

    def open(self) -> None:
        with self._changed:
            self._forks -= 1
            self._changed.notify_all()


_gate = _Gate()
_holders: weakref.WeakSet[Holder] = weakref.WeakSet()
_holders_lock = threading.RLock()


@contextmanager
def connected(patience: float) -> Iterator[None]:
    """A context manager around each use of a connection, also around opening it.

    Args:
        patience: Seconds that a fork waits for the end of this use.
    """
    with _gate.passed(patience):
        yield


def at_exit(function: Callable[[], object]) -> Callable[[], object]:
    """Call a function when this process ends; returns a function that cancels this.

    Before Python 3.13, a multiprocessing child runs only finalizers, and no atexit function.

    Args:
        function: The function.
    """
    atexit.register(function)
    if multiprocessing.parent_process() is None:
        return functools.partial(atexit.unregister, function)
    finalizer = multiprocessing.util.Finalize(None, function, exitpriority=0)

    def cancel() -> None:
        atexit.unregister(function)
        finalizer.cancel()

    return cancel


def fork_waits() -> bool:
    """Whether a thread waits to fork or forks now."""
    return _gate.is_shut


def register(holder: Holder) -> None:
    """Notify a holder of forks, as long as it exists."""
    _listen()
    with _holders_lock:
        _holders.add(holder)


@functools.cache
def _listen() -> None:
    # Once per process: it cannot be undone, so one per holder would keep each holder for ever.
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=_before, after_in_parent=_gate.open, after_in_child=_after_in_child
        )


def _before() -> None:
    if _gate.shut():
        for holder in _held():
            holder.disconnect()


def _after_in_child() -> None:
    # Threads that held the locks do not exist in the child.
    global _holders_lock
    _holders_lock = threading.RLock()
    _gate.__init__()  # type: ignore[misc]  # in place: threads refer to this object
    for holder in _held():
        holder.start_over()


def _held() -> list[Holder]:
    with _holders_lock:
        return list(_holders)
