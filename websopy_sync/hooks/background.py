"""A plugin whose hooks run in its own thread.

Knows nothing of clients or of other plugins.

No code here takes a lock: a stream's destructor may call it in the middle of any line, in the same
thread. SimpleQueue is reentrant, and only the thread that pops `_rights` may start the worker.
"""

from __future__ import annotations

import atexit
import contextvars
import functools
import logging
import os
import queue
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import Literal

from ..errors import ConfigError, PluginError
from ..threads import start_thread

_log = logging.getLogger("websopy_sync.plugins")

LOOK_SECONDS = 0.02
"""Seconds between two checks whether a stream that waits for room is still wanted."""


def _always() -> bool:
    return True


class BackgroundPlugin:
    """Runs another plugin's hooks in its own thread, so that it delays no stream.

    `on_request` and `load_conversation` still run in the caller's thread, as the caller needs what
    they do. All other calls are made one at a time and in order, each in a copy of the reader's
    context variables. The end of a stream does not wait for them. The client's `close()` and the
    program's exit wait for queued calls, at most `exit_seconds` each. The thread ends with
    `close()`, or when the plugin is garbage. A forked child starts with an empty queue.

    If no thread can be started, that is the plugin's failure, not the stream's. The queued calls
    then wait for a thread, or for `flush()`, `close()` or the program's exit.

    Args:
        plugin: The plugin.
        queue_size: Most calls that wait. The ends of streams, on_done and on_error, come on top,
            at most one for each stream, and are never dropped.
        when_full: What happens to a chunk when the queue is full. "block" waits until there is
            room, at most for the stream's total limit and until cancel() or close(); a new request
            waits too. "drop" counts the chunk in `dropped`. "error" raises in the stream's thread,
            which counts as the plugin's failure.
        exit_seconds: Longest wait of `close()`, and of the program's exit.

    Raises:
        ConfigError: An option has no meaning.
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
        self.dropped: int = 0
        """Calls that were dropped because the queue was full."""
        self._queue_size = queue_size
        self._when_full = when_full
        self._exit_seconds = exit_seconds
        self._worker = _Worker(queue_size)
        flush_at_exit = functools.partial(self._worker.flush, exit_seconds)
        atexit.register(flush_at_exit)
        # Not at exit: the flush comes first there, and the thread ends with the process.
        weakref.finalize(self, _leave, self._worker, flush_at_exit).atexit = False

    def submit(self, call: Callable[[], object], *, wanted: Callable[[], bool] = _always) -> None:
        """Queue a call for the background thread.

        Args:
            call: The call.
            wanted: Checked while the call waits for room; when it returns False, the call is
                dropped.

        Raises:
            PluginError: The queue is full and `when_full` is "error", or no thread can be started.
        """
        if sys.is_finalizing():  # the thread is frozen, and no other can be started
            self.dropped += 1
            return
        worker = self._worker_here()
        room = worker.take_room()
        if not room and self._when_full == "block":
            room = worker.wait_for_room(wanted)
        if room or worker.is_here():
            worker.put(call, room=room)
        else:
            self.dropped += 1
        self._expect_thread()
        if self._when_full == "error" and not (room or worker.is_here()):
            raise PluginError(
                f"background queue: {self._queue_size} calls wait, one more was refused"
            )

    def submit_end(self, call: Callable[[], object]) -> None:
        """Queue a call that never waits for room and is never dropped.

        Args:
            call: The call.

        Raises:
            PluginError: No thread can be started; the call waits for one.
        """
        worker = self._worker_here()
        worker.put(call, room=worker.take_room())
        if not sys.is_finalizing():
            self._expect_thread()

    def wait_for_room(self, wanted: Callable[[], bool] = _always) -> None:
        """Wait until a call would find room, if the policy is "block".

        Args:
            wanted: Called now and then; once it returns False, the wait is over.
        """
        if self._when_full == "block":
            worker = self._worker_here()
            if worker.take_room() or worker.wait_for_room(wanted):
                worker.give_room()

    def flush(self, seconds: float | None = None) -> bool:
        """Wait until all calls so far are made.

        Args:
            seconds: The longest wait; `exit_seconds` when None.

        Returns:
            Whether they are made.
        """
        return self._worker.flush(self._exit_seconds if seconds is None else seconds)

    def close(self) -> None:
        """Flush and end the thread; the next call starts another."""
        end = time.monotonic() + self._exit_seconds
        self.flush()
        self._worker.stop(end - time.monotonic())

    def _worker_here(self) -> _Worker:
        self._worker.leave_parent()
        return self._worker

    def _expect_thread(self) -> None:
        if not self._worker.start():
            raise PluginError("background queue: no thread can be started to make the calls")


class _Worker:
    """The queue and the thread that makes its calls. It does not refer to the plugin."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._start_over()

    def _start_over(self) -> None:
        self._pid = os.getpid()
        # Each call, and whether it holds a place in `_room`; None ends the thread.
        self._calls: queue.SimpleQueue[tuple[Callable[[], object], bool] | None]
        self._calls = queue.SimpleQueue()
        self._unused_room = iter(range(self._size))
        self._room: queue.SimpleQueue[None] = queue.SimpleQueue()  # places given back
        self._rights = [True]  # the thread that pops it makes the calls
        self._thread: threading.Thread | None = None

    def leave_parent(self) -> None:
        """In a forked child, begin with an empty queue and no thread."""
        if self._pid != os.getpid():
            self._start_over()

    def is_here(self) -> bool:
        """Whether the caller is a hook that it runs: waiting would never end."""
        return self._thread is threading.current_thread()

    def take_room(self) -> bool:
        """Take a place in the queue; False when there is none."""
        if next(self._unused_room, None) is not None:
            return True
        try:
            self._room.get_nowait()
        except queue.Empty:
            return False
        return True

    def wait_for_room(self, wanted: Callable[[], bool]) -> bool:
        """Wait for a place, as long as it is wanted and another thread makes the calls."""
        while not self.is_here() and self.start() and wanted():
            try:
                self._room.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                continue
            return True
        return False

    def give_room(self) -> None:
        """Give a place back."""
        self._room.put(None)

    def put(self, call: Callable[[], object], *, room: bool) -> None:
        """Queue a call, with a copy of the current context variables."""
        self._calls.put((functools.partial(contextvars.copy_context().run, call), room))

    def start(self) -> bool:
        """Start the thread unless there is one; False when none can be started."""
        try:
            self._rights.pop()
        except IndexError:  # it is running, or another thread is starting it
            return True
        thread = threading.Thread(target=self._work, name="websopy-plugin", daemon=True)
        self._thread = thread
        try:
            return start_thread(thread) is None
        finally:
            if thread.ident is None:  # it never ran, whatever was raised
                self._thread = None
                self._rights.append(True)

    def _work(self) -> None:
        while (queued := self._calls.get()) is not None:
            self._make(*queued)
            del queued  # it may hold the last reference to a stream
        self._thread = None
        self._rights.append(True)
        if not self._calls.empty():  # queued after the None, before the rights came back
            self.start()

    def _make(self, call: Callable[[], object], room: bool) -> None:
        """Make one call, which the manager has isolated already."""
        try:
            call()
        except BaseException:  # noqa: BLE001  # a plugin's SystemExit must not end this thread
            _log.debug("a background call ended its thread's work", exc_info=True)
        if room:
            self.give_room()

    def flush(self, seconds: float) -> bool:
        """Wait until the queued calls are made, at most so many seconds; False if some are not."""
        idle = self._thread is None and self._calls.empty()
        if idle or self._pid != os.getpid():
            return True
        if self.is_here():
            return False
        end = time.monotonic() + seconds
        done = threading.Event()
        self._calls.put((done.set, False))
        if self.start():
            return done.wait(min(seconds, threading.TIMEOUT_MAX))
        self._make_all(end)
        return done.is_set()

    def _make_all(self, end: float) -> None:
        """Make the calls in this thread, until `end`, as no other can be started."""
        try:
            self._rights.pop()
        except IndexError:
            return
        try:
            while time.monotonic() < end and not self._calls.empty():
                queued = self._calls.get()
                if queued is not None:
                    self._make(*queued)
                del queued
        finally:
            self._rights.append(True)

    def leave(self) -> None:
        """Let the thread end after the queued calls. Never blocks."""
        if self._thread is not None and self._pid == os.getpid():
            self._calls.put(None)

    def stop(self, seconds: float) -> None:
        """Let the thread end, and wait for it at most so many seconds."""
        thread = self._thread
        self.leave()
        # A thread that is not started yet cannot be joined.
        if thread is not None and thread.is_alive() and thread is not threading.current_thread():
            thread.join(min(max(seconds, 0.0), threading.TIMEOUT_MAX))


def _leave(worker: _Worker, flush_at_exit: Callable[[], object]) -> None:
    worker.leave()
    atexit.unregister(flush_at_exit)


def _check_number(
    name: str, value: object, kinds: type | tuple[type, ...], *, at_least: int
) -> None:
    number = isinstance(value, kinds) and not isinstance(value, bool)
    if not number or not value >= at_least:  # type: ignore[operator]
        raise ConfigError(f"{name}: expected a number of {at_least} or more")
