"""A plugin whose hooks run in a thread of its own. Knows nothing of clients or of other plugins."""

from __future__ import annotations

import atexit
import contextvars
import functools
import logging
import os
import queue
import threading
import time
import weakref
from collections.abc import Callable
from typing import Literal

from ..errors import ConfigError, PluginError

_log = logging.getLogger("websopy_sync.plugins")


class BackgroundPlugin:
    """Runs another plugin's hooks in a thread of its own, so that it delays no stream.

    plugin: the plugin; its on_request still runs in the stream's thread, as it may edit.
    queue_size: how many calls may wait. when_full: "block" the stream until there is room,
    "drop" the call and count it in `dropped`, or "error": raise in the stream's thread, which
    counts as the plugin's failure.

    The calls are made one at a time and in order, each in a copy of the context variables of the
    thread that reads the stream at that moment. The end of a stream does not wait for them, as
    that would delay it; what waits is done at the client's close() and at exit, each for at most
    `exit_seconds`. A forked child starts with an empty queue and a thread of its own.
    """

    def __init__(
        self,
        plugin: object,
        *,
        queue_size: int = 1000,
        when_full: Literal["block", "drop", "error"] = "block",
        exit_seconds: float = 5.0,
    ) -> None:
        if when_full not in ("block", "drop", "error"):
            raise ConfigError(f"when_full: expected block, drop or error, got {when_full!r:.200}")
        _check_number("queue_size", queue_size, int, at_least=1)
        _check_number("exit_seconds", exit_seconds, (int, float), at_least=0)
        self.plugin = plugin
        self.dropped = 0
        """Calls that were dropped because the queue was full."""
        self._queue_size = queue_size
        self._when_full = when_full
        self._exit_seconds = exit_seconds
        self._start_over()
        atexit.register(_flush_at_exit, weakref.ref(self))

    def _start_over(self) -> None:
        # A stream's ending may be told out of a destructor, in the middle of any line here in the
        # same thread: so only what is reentrant is used, RLock and SimpleQueue.
        self._pid = os.getpid()
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._room: queue.SimpleQueue[None] = queue.SimpleQueue()  # a place for each call to wait
        for _ in range(self._queue_size):
            self._room.put(None)
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None

    def submit(self, call: Callable[[], None]) -> None:
        """Have a call made in the background; what happens when the queue is full is the policy."""
        if self._pid != os.getpid():
            self._start_over()
        with self._lock:
            if self._thread is None:
                work = (self._calls, self._room)
                self._thread = threading.Thread(
                    target=_work, args=work, name="websopy-plugin", daemon=True
                )
                self._thread.start()
        try:
            self._room.get(block=self._when_full == "block")
            self._calls.put(functools.partial(contextvars.copy_context().run, call))
        except queue.Empty:
            self.dropped += 1
            if self._when_full == "error":
                raise PluginError(
                    f"background queue: {self._queue_size} calls wait, one more was refused"
                ) from None

    def flush(self, seconds: float | None = None) -> bool:
        """Wait until all calls so far are made, at most so many seconds; whether they were."""
        if self._thread is None or self._pid != os.getpid():
            return True
        limit = self._exit_seconds if seconds is None else seconds
        begun = time.monotonic()
        done = threading.Event()
        try:
            self._room.get(timeout=limit)
        except queue.Empty:
            return False
        self._calls.put(done.set)
        return done.wait(max(limit - (time.monotonic() - begun), 0.0))

    def close(self) -> None:
        """Flush and end the thread; the next call starts another."""
        if self._pid != os.getpid():
            return
        self.flush()
        with self._lock:
            thread, self._thread = self._thread, None
            if thread is not None:
                self._calls.put(None)
        if thread is not None and thread is not threading.current_thread():
            thread.join(self._exit_seconds)


def _work(
    calls: queue.SimpleQueue[Callable[[], None] | None], room: queue.SimpleQueue[None]
) -> None:
    """Make calls until told to stop. They were isolated by whoever submitted them."""
    while True:
        call = calls.get()
        if call is None:
            return
        try:
            call()
        except BaseException:  # noqa: BLE001  # a plugin's SystemExit: no use for it here
            _log.debug("a background call ended its thread's work", exc_info=True)
        room.put(None)
        del call  # it may hold the last reference to a stream


def _flush_at_exit(plugin: weakref.ref[BackgroundPlugin]) -> None:
    background = plugin()
    if background is not None:
        background.flush()


def _check_number(
    name: str, value: object, kinds: type | tuple[type, ...], *, at_least: int
) -> None:
    if not isinstance(value, kinds) or not value >= at_least:  # type: ignore[operator]
        raise ConfigError(f"{name}: expected a number of {at_least} or more")
