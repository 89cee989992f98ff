"""An answer on its way to the browser: chunks in, the bytes of an event stream out."""

from __future__ import annotations

import contextlib
import math
import threading
import weakref
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Literal, Self, TypedDict, get_args

from ..errors import ConfigError, StreamError
from ..stream import ChatStream
from .async_steps import AsyncSteps
from .buffer import EventBuffer

OnDisconnect = Literal["cancel", "finish"]


class BodyOptions(TypedDict, total=False):
    """The options of `sse_body`, as the helpers for frameworks take them."""

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
"""The headers of an answer on its way to a browser.

No cache keeps it, no proxy compresses it (and so waits for more of it), nginx does not buffer it,
and no browser takes it for anything else.
"""

BUFFER = 64 * 1024
"""Bytes that wait for a slow browser, by default, before the model's answer is held back."""


SIGNS_PER_HEARTBEAT = 3
"""Signs of life within one heartbeat.

What is written to a browser that has closed is lost without a word at first: its answer, a reset,
is what fails the next write. gunicorn and Django's own server raise at the second sign, waitress at
the third (measured; docs/how-to/views.md has the table).
"""

JOIN_SECONDS = 1.0
"""Longest that close() waits for the reader: it is out within 50 ms unless a plugin dawdles."""


def sse_body(
    stream: ChatStream,
    *,
    heartbeat: float = 15.0,
    on_disconnect: OnDisconnect = "cancel",
    buffer: int = BUFFER,
) -> EventStreamBody:
    """The bytes of an event stream that tells a browser this answer, as they come.

    The body now owns the stream: whoever closes the body closes it.

    Args:
        stream: The answer, not read yet. What fails in it becomes the last event, named `error`,
            with the text of `public_error`.
        heartbeat: Seconds within which a browser that closed its connection is noticed. Comments,
            which browsers skip, go out three times as often while the model is silent.
        on_disconnect: What a browser that has gone means for the answer. "cancel" ends it at the
            service. "finish" reads it to its end, for the plugins' sake, and drops it; that takes
            a process that lives as long.
        buffer: Bytes that may wait for a slow browser. Above that (and one event) the answer is
            not read any further until it catches up.

    Returns:
        An iterator of bytes, for `for` and `async for`, with a `close()`.

    Raises:
        ConfigError: An option means nothing. The stream is still the caller's.
    """
    _check_positive("heartbeat", heartbeat, most=threading.TIMEOUT_MAX)
    _check_positive("buffer", buffer, most=math.inf)
    if on_disconnect not in get_args(OnDisconnect):
        raise ConfigError(f"on_disconnect: expected cancel or finish, got {on_disconnect!r:.200}")
    interval = heartbeat / SIGNS_PER_HEARTBEAT
    finish = on_disconnect == "finish"
    return EventStreamBody(EventBuffer(stream, limit=buffer, finish=finish, interval=interval))


def _check_positive(name: str, value: object, *, most: float) -> None:
    if not isinstance(value, int | float) or not 0 < value <= most:
        raise ConfigError(f"{name}: expected a number above 0, got {value!r:.200}")


class EventStreamBody:
    """An iterator of bytes for a WSGI server, and an async one for an ASGI server.

    One thread or task reads it, in one of the two ways; any may close it. A second loop goes on
    where the first one stopped. A task that is cancelled in a step leaves the body, and so does
    one that drops it. No thread is left once it is exhausted, closed or garbage. Made by
    `sse_body`.

    Raises:
        StreamError: Both ways were used, or two threads or tasks read at once. Who reads rightly
            goes on.
    """

    def __init__(self, events: EventBuffer) -> None:
        self._events = events
        self._steps = AsyncSteps(events.take, events.leave)
        self._way = ""
        self._reading = threading.Lock()
        # Not a __del__: that could not be called off, and the reader must not keep the body alive.
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
        """What close() does, without waiting for the reader: for event loops."""
        self._finalizer()
        self._steps.close()

    def close(self) -> None:
        """The browser has gone, or has all: end the answer, or let it finish, as was asked for."""
        self.leave()
        self._events.join(JOIN_SECONDS)

    async def aclose(self) -> None:
        """What leave() does, for `contextlib.aclosing`."""
        self.leave()
