"""An answer on its way to the browser: chunks in, the bytes of an event stream out.

Has a helper for Flask and one for Django, and imports neither until it is called; FastAPI and
Starlette need none. Knows nothing of requests, of routes or of how a server writes.

Upstream is read in a thread behind a bounded buffer, because whoever waits for the model cannot
do anything else: here the server's thread (or task) can still send a sign of life while the model
is silent, and that is how a browser that has gone is noticed, as no WSGI server looks for it.

Nothing that the model writes can end a line, an event or a script: all of it travels in one line
of JSON, in which `<`, `>`, `&` and the two line ends of Unicode are escaped, under ids and names
that are made here.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import math
import re
import threading
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, Self, TypedDict, Unpack, get_args

from .chunks import ErrorChunk, StreamChunk
from .errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    ConfigError,
    InternalServerError,
    RateLimitError,
    StreamCancelledError,
    StreamError,
    StreamInterruptedError,
    StreamProtocolError,
    StreamServerError,
    WebsopyError,
)
from .sse import ServerSentEvent, encode
from .stream import ChatStream
from .wires.websopy import dump_chunk

if TYPE_CHECKING:
    import flask
    from django.http import StreamingHttpResponse

__all__ = [
    "SSE_HEADERS",
    "EventStreamBody",
    "django_response",
    "flask_response",
    "public_error",
    "sse_body",
]

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

HEARTBEAT = b": keep-alive\n\n"

SIGNS_PER_HEARTBEAT = 3
"""Signs of life within one heartbeat.

What is written to a browser that has closed is lost without a word at first: its answer, a reset,
is what fails the next write. gunicorn and Django's own server raise at the second sign, waitress at
the third (measured; docs/how-to/views.md has the table).
"""

JOIN_SECONDS = 1.0
"""Longest that close() waits for the reader: it is out within 50 ms unless a plugin dawdles."""

logger: logging.Logger = logging.getLogger("websopy_sync.web")


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
    return EventStreamBody(_Relay(stream, limit=buffer, finish=finish, interval=interval))


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

    def __init__(self, relay: _Relay) -> None:
        self._relay = relay
        self._steps = _Steps(relay.take, relay.leave)
        self._way = ""
        self._reading = threading.Lock()
        # Not a __del__: that could not be called off, and the reader must not keep the body alive.
        self._finalizer = weakref.finalize(self, relay.leave)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        with self._one_reader("next()"):
            piece = self._relay.take()
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
        self._relay.join(JOIN_SECONDS)

    async def aclose(self) -> None:
        """What leave() does, for `contextlib.aclosing`."""
        self.leave()


class _Relay:
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
                for data in _events(self._stream):
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
        return _encode(public_error(error), event="error")


def _events(stream: ChatStream) -> Iterator[bytes]:
    """The events of an answer, with ids from 1."""
    for number, chunk in enumerate(stream, 1):
        # Its text is the service's own. The error that follows is told in ours.
        if chunk.type != "error":
            yield _encode(chunk, id=str(number))


def _encode(chunk: StreamChunk, *, event: str = "message", id: str = "") -> bytes:
    """One event. An error has no id: who resumes wants what comes after the last chunk."""
    return encode(ServerSentEvent(event, _UNSAFE.sub(_escape, dump_chunk(chunk)), id))


# In JSON these stand in strings only, so that they may be escaped wherever they are. A page could
# take the first three for markup; the others end a line of JavaScript. JSON itself escapes CR, LF
# and NUL, and wire lets no half of a surrogate pair through.
_UNSAFE = re.compile("[<>&\u2028\u2029]")


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


_FAILURES: tuple[tuple[type[Exception], str, str], ...] = (
    # Subclasses before their parents.
    (StreamCancelledError, "cancelled", "The answer was stopped."),
    (APITimeoutError, "timeout", "The answer took too long."),
    (APIConnectionError, "unreachable", "The service could not be reached."),
    (RateLimitError, "rate_limited", "Too many questions at once. Please try again later."),
    (InternalServerError, "service_error", "The service could not answer."),
    (APIStatusError, "refused", "The service did not accept the question."),
    (StreamInterruptedError, "interrupted", "The answer broke off."),
    (StreamServerError, "service_error", "The service could not answer."),
    (StreamProtocolError, "unreadable", "The service's answer could not be read."),
)


def public_error(error: BaseException) -> ErrorChunk:
    """What a visitor may know of a failure: a fixed text and a code for each kind.

    No key, no URL, no word of the service and nothing of the error itself. The codes: cancelled,
    timeout, unreachable, rate_limited, service_error, refused, interrupted, unreadable, and
    internal for what is no failure of the answer.
    """
    for kind, code, text in _FAILURES:
        if isinstance(error, kind):
            return ErrorChunk(text, code)
    return ErrorChunk("Something went wrong.", "internal")


# Frameworks


def flask_response(stream: ChatStream, **options: Unpack[BodyOptions]) -> flask.Response:
    """The answer as a Flask response.

    Args:
        stream: The answer, as for `sse_body`.
        **options: Those of `sse_body`.
    """
    from flask import Response  # noqa: PLC0415  only who calls this needs Flask

    return Response(sse_body(stream, **options), headers=dict(SSE_HEADERS))


def django_response(stream: ChatStream, **options: Unpack[BodyOptions]) -> StreamingHttpResponse:
    """The answer as a Django response, under WSGI and ASGI.

    Args:
        stream: The answer, as for `sse_body`.
        **options: Those of `sse_body`.

    Returns:
        A `StreamingHttpResponse`. Its `Content-Encoding` (`identity`) has GZipMiddleware leave it
        alone: before Django 6 it would hold the answer back until its end.
    """
    body = sse_body(stream, **options)
    # Django asks for a sync iterator first, so in an async view it is given nothing else.
    content = _Steps(partial(next, body, None), body.leave) if _in_event_loop() else body
    headers = {**SSE_HEADERS, "Content-Encoding": "identity"}
    return _django_response_class(body.leave)(content, headers=headers)


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _django_response_class(leave: Callable[[], None]) -> type[StreamingHttpResponse]:
    """Django's streaming response, except that a sync body stays live under ASGI.

    A sync view runs in a thread and cannot tell whether WSGI or ASGI called it, so that is found
    out when the response is iterated: Django itself would then read a sync body to its end first.
    It also keeps the body sync for the middlewares, most of which wrap nothing else.
    """
    from django.http import StreamingHttpResponse  # noqa: PLC0415  only who calls this needs Django

    class EventStreamResponse(StreamingHttpResponse):  # type: ignore[misc]  # Django has no types
        async def __aiter__(self) -> AsyncIterator[bytes]:
            content = self.streaming_content
            if not self.is_async:
                content = _Steps(partial(next, content, None), leave)
            async with contextlib.aclosing(content):
                async for piece in content:
                    yield piece

    return EventStreamResponse


class _Steps:
    """A blocking step as an async iterator: each is waited for in the iterator's own thread.

    Not the loop's threads: those are few (six on two cores), and as many silent models would have
    them all.
    """

    def __init__(self, step: Callable[[], bytes | None], leave: Callable[[], None]) -> None:
        self._step = step
        self._leave = leave
        self._over = False
        self._thread: ThreadPoolExecutor | None = None
        self._reader: weakref.ref[asyncio.Task[object]] | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        self._watch(asyncio.current_task())
        try:
            piece = None if self._over else await self._begin_step()
        except BaseException:  # cancelled, most often, as the browser has gone
            self.close()
            raise
        if piece is None:
            self.close()
            raise StopAsyncIteration
        return piece

    def _watch(self, task: asyncio.Task[object] | None) -> None:
        """Leave when the task that reads is cancelled between two steps, while it writes.

        Starlette then drops the body, but a middleware of its own may keep it in a reference
        cycle, and the answer would go on until the garbage collector runs.
        """
        if task is not None and (self._reader is None or self._reader() is not task):
            self._reader = weakref.ref(task)
            task.add_done_callback(self._reader_done)

    def _reader_done(self, task: asyncio.Task[object]) -> None:
        if task.cancelled() and self._reader is not None and self._reader() is task:
            self.close()

    def _begin_step(self) -> asyncio.Future[bytes | None]:
        self._thread = self._thread or ThreadPoolExecutor(1, "websopy-sse-step")
        try:
            return asyncio.get_running_loop().run_in_executor(self._thread, self._step)
        except RuntimeError as error:
            raise StreamError(f"cannot wait in a thread: {error}") from None

    def close(self) -> None:
        """Take no step any more, and wake the one that may still wait."""
        self._over = True
        self._leave()
        if self._thread:
            self._thread.shutdown(wait=False)

    async def aclose(self) -> None:
        """close(), for `contextlib.aclosing`."""
        self.close()
