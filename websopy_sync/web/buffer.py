"""The bounded buffer between the model and a browser, and the thread that fills it.

The thread reads the stream, so that the server's thread or task can send comments while the model
is silent. A failed write is the only sign of a lost browser: no WSGI server looks for one.
Knows neither the body (body.py) nor a framework.
"""

from __future__ import annotations

import contextvars
import logging
import threading
from collections import deque

from ..errors import WebsopyError
from ..run import ToolRun
from ..stream import ChatStream
from .page_format import PageFormat

KEEP_ALIVE = b": keep-alive\n\n"
"""A comment, which a browser skips."""

logger: logging.Logger = logging.getLogger("websopy_sync.web")


class EventBuffer:
    """The events of a stream that wait for a browser; the body takes, the reader thread puts.

    Args:
        stream: Read in the reader thread, which starts at the first `take()`.
        page_format: Writes its events.
        limit: Bytes that may wait. At the limit the reader thread stops until some are taken.
        finish: Whether the reader thread reads on when the browser has left.
        interval: Seconds without an event after which `take()` returns a comment.
    """

    def __init__(
        self,
        stream: ChatStream | ToolRun,
        page_format: PageFormat,
        *,
        limit: int,
        finish: bool,
        interval: float,
    ) -> None:
        self._stream = stream
        self._format = page_format
        self._limit = limit
        self._finish = finish
        self._interval = interval
        # Hooks see the context variables of the view that made the body.
        self._context = contextvars.copy_context()
        # Its lock is an RLock: the garbage collector may call leave() in a thread that holds it.
        self._changed = threading.Condition()
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._left = False  # take() is not called any more
        self._complete = False  # _put() is not called any more
        self._reader: threading.Thread | None = None

    # Called by the body

    def take(self) -> bytes | None:
        """Wait for events.

        Returns:
            All events that wait, or a comment when none came within the interval. None at the end.
        """
        with self._changed:
            if not (self._reader or self._complete or self._left):
                self._start()
            self._changed.wait_for(
                lambda: self._pieces or self._complete or self._left, self._interval
            )
            taken = b"".join(self._pieces)
            self._clear()
            return None if not taken and (self._complete or self._left) else taken or KEEP_ALIVE

    def leave(self) -> None:
        """End the stream, or let the reader thread finish it; nobody takes its events any more.

        Returns at once. Any thread may call it, again too.
        """
        with self._changed:
            self._left = True
            self._clear()
            if not (self._reader or self._complete) and self._finish:
                self._start()
            reader = self._reader
        if reader is None:
            self._stream.close()
        elif not self._finish:
            self._stream.cancel()

    def join(self, seconds: float) -> None:
        """Wait for the reader thread, unless it finishes the stream or is the caller."""
        reader = self._reader
        finishing = self._finish and not self._complete
        if reader and not finishing and reader is not threading.current_thread():
            reader.join(seconds)

    def _start(self) -> None:
        # A daemon: a process that exits does not wait for a model.
        reader = threading.Thread(
            target=self._context.run, args=(self._read,), name="websopy-sse-body", daemon=True
        )
        try:
            reader.start()
        except RuntimeError as error:  # the system has no thread left: the last event says so
            self._stream.close()
            self._put(self._failure(error))
            self._complete = True
        else:
            self._reader = reader

    def _clear(self) -> None:
        self._pieces.clear()
        self._size = 0
        self._changed.notify_all()

    # Called in the reader thread

    def _read(self) -> None:
        try:
            with self._stream:
                for data in self._format.events(self._stream):
                    self._put(data)
        except BaseException as error:  # noqa: BLE001  a plugin's SystemExit too: none above here
            self._put(self._failure(error))
        finally:
            with self._changed:
                self._complete = True
                self._changed.notify_all()

    def _put(self, data: bytes) -> None:
        """Add an event once there is room; drop it when the browser has left."""
        with self._changed:
            self._changed.wait_for(lambda: self._left or self._size < self._limit)
            if not self._left:
                self._pieces.append(data)
                self._size += len(data)
                self._changed.notify_all()

    def _failure(self, error: BaseException) -> bytes:
        if not self._left:
            bug = not isinstance(error, WebsopyError)
            logger.warning("answer ended early: %s", type(error).__name__, exc_info=bug)
        return self._format.failure(error)
