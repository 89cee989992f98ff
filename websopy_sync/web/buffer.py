"""The bounded buffer between the model and a browser, and the thread that fills it.

The thread opens the answer and reads it, so that the server's thread or task can send comments
while the model is silent. A failed write is the only sign of a lost browser: no WSGI server looks
for one. Knows neither the body (body.py) nor a framework.
"""

from __future__ import annotations

import contextvars
import logging
import os
import threading
from collections import deque

from ..errors import ConfigError, WebsopyError
from ..threads import start_thread
from .feed import JOIN_SECONDS
from .opening import Opening
from .page_format import PageFormat

KEEP_ALIVE = b": keep-alive\n\n"
"""A comment, which a browser skips."""

logger: logging.Logger = logging.getLogger("websopy_sync.web")


class EventBuffer:
    """The events of an answer that wait for a browser; the body takes, the reader thread puts.

    Args:
        opening: Opened and read in the reader thread, which starts at the first `take()`.
        page_format: Writes its events.
        limit: Bytes that may wait. At the limit the reader thread stops until some are taken.
        finish: Whether the reader thread reads on when the browser has left.
        interval: Seconds without an event after which `take()` returns a comment.
    """

    def __init__(
        self,
        opening: Opening,
        page_format: PageFormat,
        *,
        limit: int,
        finish: bool,
        interval: float,
    ) -> None:
        self._opening = opening
        self._format = page_format
        self._limit = limit
        self._finish = finish
        self._interval = interval
        # The source and hooks see the context variables of the view that made the body.
        self._context = contextvars.copy_context()
        # Its lock is an RLock: the garbage collector may call leave() in a thread that holds it.
        self._changed = threading.Condition()
        self._pid = os.getpid()
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._greeted = False  # take() was called
        self._left = False  # take() is not called any more
        self._complete = False  # _put() is not called any more
        self._reader: threading.Thread | None = None
        self._awaited = False  # open() waits, and raises what fails
        self._error: BaseException | None = None

    # Called by the body

    def open(self, seconds: float) -> None:
        """Open the answer now, and wait for it.

        Args:
            seconds: Wait no longer than this. What fails later becomes the last event.

        Raises:
            BaseException: What failed.
        """
        with self._changed:
            self._awaited = True
            try:
                self._start()
                self._changed.wait_for(lambda: self._opening.done or self._complete, seconds)
            except BaseException:  # Ctrl-C, a time limit of the view
                self.leave()
                raise
            finally:
                self._awaited = False
        if self._error is not None:
            self.join(JOIN_SECONDS)
            try:
                raise self._error
            finally:
                self._error = None  # its traceback holds this buffer

    def take(self) -> bytes | None:
        """Wait for events.

        Returns:
            All events that wait, or a comment when none came within the interval. None at the end.
        """
        with self._changed:
            if not (self._reader or self._complete or self._left):
                self._start()
            # Most servers send the headers with the first piece, so a comment goes out at once.
            greet, self._greeted = not (self._greeted or self._opening.done), True
            self._changed.wait_for(
                lambda: self._pieces or self._complete or self._left, 0 if greet else self._interval
            )
            taken = b"".join(self._pieces)
            self._clear()
            return None if not taken and (self._complete or self._left) else taken or KEEP_ALIVE

    def leave(self) -> None:
        """End the answer, or let the reader thread finish it; nobody takes its events any more.

        Returns at once. Any thread may call it, again too.
        """
        if os.getpid() != self._pid:
            return  # a forked child has a copy, whose lock a thread of the parent may hold
        with self._changed:
            self._left = True
            self._clear()
            if not (self._reader or self._complete) and self._finish:
                self._start()
            reader = self._reader
        if reader is None:
            self._opening.close()
        elif not self._finish:
            self._opening.cancel()

    def join(self, seconds: float) -> None:
        """Wait for the reader thread, unless it finishes the answer or is the caller."""
        reader = self._reader
        finishing = self._finish and not self._complete
        if reader and not finishing and reader is not threading.current_thread():
            reader.join(seconds)

    def _start(self) -> None:
        # A daemon: a process that exits does not wait for a model.
        reader = threading.Thread(
            target=self._context.run, args=(self._read,), name="websopy-sse-body", daemon=True
        )
        error = start_thread(reader)
        if error is None:
            self._reader = reader
        else:  # the last event says so
            self._opening.close()
            self._fail(error)
            self._complete = True

    def _clear(self) -> None:
        self._pieces.clear()
        self._size = 0
        self._changed.notify_all()

    # Called in the reader thread

    def _read(self) -> None:
        try:
            with self._opening.open() as answer:
                with self._changed:
                    self._changed.notify_all()
                for data in self._format.events(answer):
                    self._put(data)
        except BaseException as error:  # noqa: BLE001  a plugin's SystemExit too: none above here
            self._fail(error)
        finally:
            with self._changed:
                self._complete = True
                self._changed.notify_all()

    def _put(self, data: bytes) -> None:
        """Add an event once there is room; drop it when the browser has left."""
        with self._changed:
            # Cancelled from elsewhere, it goes on although the browser is slow: the connection to
            # the service stays open until the stream has raised.
            while self._size >= self._limit and not (self._left or self._opening.cancelled):
                self._changed.wait(self._interval)
            if not self._left:
                self._pieces.append(data)
                self._size += len(data)
                self._changed.notify_all()

    def _fail(self, error: BaseException) -> None:
        """Hand an error to the view that waits in open(), or else to the browser."""
        with self._changed:
            if self._awaited and not self._opening.done:
                self._error = error
                return
        if not self._left:
            # A ConfigError is the view's: only its text says what is wrong there.
            bug = isinstance(error, ConfigError) or not isinstance(error, WebsopyError)
            logger.warning(
                "answer ended early: %s", type(error).__name__, exc_info=error if bug else None
            )
        self._put(self._format.failure(error))
