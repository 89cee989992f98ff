"""The body of a response to a browser: an iterator of bytes over a stream.

Knows nothing of requests, routes or frameworks, nor how a server writes.
"""

from __future__ import annotations

import contextlib
import math
import threading
import weakref
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Literal, Self, TypedDict, get_args

from ..errors import ConfigError, StreamError
from ..run import ToolRun
from ..stream import ChatStream
from .async_steps import AsyncSteps
from .buffer import EventBuffer

OnDisconnect = Literal["cancel", "finish"]


class BodyOptions(TypedDict, total=False):
    """The options of `sse_body`, which the helpers for frameworks take too."""

    heartbeat: float
    on_disconnect: OnDisconnect
    buffer: int


SSE_HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "Content-Type": "text/event-stream; charset=utf-8",
        "Cache-Control": "no-store, no-transform",
        "X-Accel-Buffering": "no",
        "X-Content-Type-Options": "nosniff",
    }
)
"""The headers of a response to a browser.

No cache stores it, no proxy compresses it (which would delay it), nginx does not buffer it, and no
browser takes it for another type.
"""

BUFFER = 64 * 1024
"""Bytes that wait for a slow browser, by default, before the stream is held back."""

COMMENTS_PER_HEARTBEAT = 3
"""Comments within one heartbeat while the model is silent.

The first write to a closed browser succeeds; the browser's reset fails a later one. gunicorn and
Django's own server raise at the second comment, waitress at the third (measured;
docs/how-to/views.md has the table).
"""

JOIN_SECONDS = 1.0
"""Longest wait of close() for the reader thread, which ends in 50 ms unless a plugin is slow."""


def sse_body(
    stream: ChatStream | ToolRun,
    *,
    heartbeat: float = 15.0,
    on_disconnect: OnDisconnect = "cancel",
    buffer: int = BUFFER,
) -> EventStreamBody:
    """The body of a response: the answer as an event stream, each event as it comes.

    The body owns the stream: closing the body closes the stream.

    Args:
        stream: The answer, or the run with tools, not read yet. A failure becomes the last event,
            named `error`, with the text of `public_error`. Of a run, only the last answer has a
            done chunk.
        heartbeat: Seconds in which a browser that closed its connection is noticed. While the
            model is silent, comments, which browsers skip, go out three times as often.
        on_disconnect: What to do when the browser has left. "cancel" ends the answer at the
            service. "finish" reads it to its end for the plugins and drops it; the process must
            live that long.
        buffer: Bytes that may wait for a slow browser. Above that (and one event) the stream is
            not read until the browser catches up.

    Returns:
        An iterator of bytes, for `for` and `async for`, with a `close()`.

    Raises:
        ConfigError: An option has no meaning. The stream is still the caller's.
    """
    _check_positive("heartbeat", heartbeat, most=threading.TIMEOUT_MAX)
    _check_positive("buffer", buffer, most=math.inf)
    if on_disconnect not in get_args(OnDisconnect):
        raise ConfigError(f"on_disconnect: expected cancel or finish, got {on_disconnect!r:.200}")
    interval = heartbeat / COMMENTS_PER_HEARTBEAT
    finish = on_disconnect == "finish"
    return EventStreamBody(EventBuffer(stream, limit=buffer, finish=finish, interval=interval))


def _check_positive(name: str, value: object, *, most: float) -> None:
    if not isinstance(value, int | float) or not 0 < value <= most:
        raise ConfigError(f"{name}: expected a number above 0, got {value!r:.200}")


class EventStreamBody:
    """An iterator of bytes for a WSGI server, and an async one for an ASGI server.

    `sse_body` makes it. One thread or task reads it, in one of the two ways; any may close it. A
    second loop continues after the first. A task that is cancelled while it reads, or that drops
    the body, closes it. Once the body is exhausted, closed or garbage, no thread is left.

    Raises:
        StreamError: It was read in both ways, or by two threads or tasks at once. The first
            reader goes on.
    """

    def __init__(self, events: EventBuffer) -> None:
        self._events = events
        self._steps = AsyncSteps(events.take, events.leave)
        self._way = ""
        self._reading = threading.Lock()
        # A __del__ would run leave() again after close(); a finalizer runs it once. The reader
        # thread holds the buffer and not the body, or a dropped body would never be collected.
        self._finalizer = weakref.finalize(self, events.leave)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        with self._one_reader("next()"):
            piece = self._events.take()
        if piece is None:
            self.close()
            raise StopIteration
        return piece

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        with self._one_reader("async for"):
            return await anext(self._steps)

    @contextlib.contextmanager
    def _one_reader(self, way: str) -> Iterator[None]:
        if self._way not in ("", way):
            raise StreamError(f"the body was read with {self._way} and cannot be with {way}")
        if not self._reading.acquire(blocking=False):
            raise StreamError("the body is being read already, in another thread or task")
        try:
            self._way = way
            yield
        finally:
            self._reading.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def leave(self) -> None:
        """Do what `close()` does, without waiting for the reader thread: for event loops."""
        self._finalizer()
        self._steps.close()

    def close(self) -> None:
        """End the answer, or with `on_disconnect="finish"` let the reader thread finish it."""
        self.leave()
        self._events.join(JOIN_SECONDS)

    async def aclose(self) -> None:
        """Do what `leave()` does, for `contextlib.aclosing`."""
        self.leave()
