"""The events that wait for a browser, and the thread that reads the answer behind them."""

from __future__ import annotations

import contextvars
import logging
import threading
from collections import deque

from ..errors import WebsopyError
from ..stream import ChatStream
from .events import encode_chunk, events
from .public_errors import public_error

logger: logging.Logger = logging.getLogger("websopy_sync.web")


HEARTBEAT = b": keep-alive\n\n"


class EventBuffer:
    """What the reader's thread and the body share; it does not know the body.

    The condition's lock may be taken again by the thread that has it: `leave` may be called by
    the garbage collector, at any moment and in any thread.
    """

    def __init__(self, stream: ChatStream, *, limit: int, finish: bool, interval: float) -> None:
        self._stream = stream
        self._limit = limit
        self._finish = finish
        self._interval = interval
        # Hooks see the context variables of the view that made the body, not of the reader thread.
        self._context = contextvars.copy_context()
        self._news = threading.Condition()
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._gone = False  # nobody takes any more
        self._over = False  # nothing will be put any more
        self._reader: threading.Thread | None = None

    # The body's side

    def take(self) -> bytes | None:
        """All that waits, a sign of life when nothing came for an interval, None at the end."""
        with self._news:
            if not (self._reader or self._over or self._gone):
                self._start()
            self._news.wait_for(lambda: self._pieces or self._over or self._gone, self._interval)
            taken = b"".join(self._pieces)
            self._drop()
            return None if not taken and (self._over or self._gone) else taken or HEARTBEAT

    def leave(self) -> None:
        """Nobody takes any more. Returns at once; a second call does nothing new."""
        with self._news:
            self._gone = True
            self._drop()
            if not (self._reader or self._over) and self._finish:
                self._start()
            reader = self._reader
        if reader is None:
            self._stream.close()
        elif not self._finish:
            self._stream.cancel()

    def join(self, seconds: float) -> None:
        """Wait for the reader, unless it is to finish, or is who calls."""
        reader = self._reader
        finishing = self._finish and not self._over
        if reader and not finishing and reader is not threading.current_thread():
            reader.join(seconds)

    def _start(self) -> None:
        # A daemon, as a process that ends does not wait for a model.
        reader = threading.Thread(
            target=self._context.run, args=(self._read,), name="websopy-sse-body", daemon=True
        )
        try:
            reader.start()
        except RuntimeError as error:  # no thread can be had: told as any late failure is
            self._stream.close()
            self._put(self._failure(error))
            self._over = True
        else:
            self._reader = reader

    def _drop(self) -> None:
        self._pieces.clear()
        self._size = 0
        self._news.notify_all()

    # The reader's side

    def _read(self) -> None:
        try:
            with self._stream:
                for data in events(self._stream):
                    self._put(data)
        except BaseException as error:  # noqa: BLE001  a plugin's SystemExit too: none above here
            self._put(self._failure(error))
        finally:
            with self._news:
                self._over = True
                self._news.notify_all()

    def _put(self, data: bytes) -> None:
        """Hand over, once there is room. Dropped when nobody takes any more."""
        with self._news:
            self._news.wait_for(lambda: self._gone or self._size < self._limit)
            if not self._gone:
                self._pieces.append(data)
                self._size += len(data)
                self._news.notify_all()

    def _failure(self, error: BaseException) -> bytes:
        if not self._gone:
            bug = not isinstance(error, WebsopyError)
            logger.warning("answer ended early: %s", type(error).__name__, exc_info=bug)
        return encode_chunk(public_error(error), event="error")
