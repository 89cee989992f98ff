"""The body of a response to a browser: an iterator of bytes over a feed.

Knows nothing of answers, requests, routes or frameworks, nor how a server writes.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Iterator, Mapping
from typing import Self

from ..errors import StreamError
from .async_steps import AsyncSteps
from .feed import JOIN_SECONDS, Feed
from .page_format import SSE_HEADERS


class EventStreamBody:
    """An iterator of bytes for a WSGI server, and an async one for an ASGI server.

    `sse_body` makes one of an answer. One thread or task reads it, in one of the two ways; any may
    close it. A second loop continues after the first. A task that is cancelled while it reads, or
    that drops the body, closes it. Once the body is exhausted, closed or garbage, no thread is
    left.

    Args:
        feed: Where the bytes come from. Closing the body leaves the feed.
        status: The HTTP status of the response. With another one than 200 the responses of this
            package are empty, and the feed is left unread.
        headers: The headers of the response.

    Raises:
        StreamError: It was read in both ways, or by two threads or tasks at once. The first
            reader goes on.
    """

    def __init__(
        self, feed: Feed, *, status: int = 200, headers: Mapping[str, str] = SSE_HEADERS
    ) -> None:
        self.status: int = status
        self.headers: Mapping[str, str] = headers
        self._feed = feed
        self._steps = AsyncSteps(feed.take, feed.leave)
        self._way = ""
        self._reading = threading.Lock()
        # A __del__ would run leave() again after close(); a finalizer runs it once. The reader
        # thread holds the feed and not the body, or a dropped body would never be collected.
        self._finalizer = weakref.finalize(self, feed.leave)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        with self._one_reader("next()"):
            piece = self._feed.take()
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
        self._feed.join(JOIN_SECONDS)

    async def aclose(self) -> None:
        """Do what `leave()` does, for `contextlib.aclosing`."""
        self.leave()
