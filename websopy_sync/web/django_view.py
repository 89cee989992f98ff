"""A stream as a Django response, live under WSGI and ASGI.

Django is no dependency: it is imported when a response is made.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import TYPE_CHECKING, Unpack

from ..run import ToolRun
from ..stream import ChatStream
from .async_steps import AsyncSteps
from .body import SSE_HEADERS, BodyOptions, sse_body

if TYPE_CHECKING:
    from django.http import StreamingHttpResponse


def django_response(
    stream: ChatStream | ToolRun, **options: Unpack[BodyOptions]
) -> StreamingHttpResponse:
    """A Django response that streams the answer to the browser, for sync and async views.

    Args:
        stream: The answer, or the run with tools, not read yet. The response closes it.
        **options: `heartbeat`, `on_disconnect` and `buffer`, as `sse_body` takes them.

    Returns:
        A `StreamingHttpResponse` with `SSE_HEADERS`. Its `Content-Encoding` is `identity`, so that
        GZipMiddleware leaves it alone: before Django 6 that would hold the answer back to its end.

    Raises:
        ConfigError: An option has no meaning. The stream is still the caller's.
    """
    body = sse_body(stream, **options)
    # Django looks for a sync iterator first. In an async view the response gets an async one only.
    content = AsyncSteps(partial(next, body, None), body.leave) if _in_event_loop() else body
    headers = {**SSE_HEADERS, "Content-Encoding": "identity"}
    return _response_class(body.leave)(content, headers=headers)


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _response_class(leave: Callable[[], None]) -> type[StreamingHttpResponse]:
    """Django's streaming response, except that a sync body stays live under ASGI.

    Under ASGI, Django reads a sync body to its end before it sends anything. A sync view runs in a
    thread and cannot tell ASGI from WSGI, so this class decides when the response is iterated.
    Until then the body is sync, as most middleware wraps only sync bodies.
    """
    from django.http import StreamingHttpResponse  # noqa: PLC0415  only a caller of this has Django

    class EventStreamResponse(StreamingHttpResponse):  # type: ignore[misc]  # Django has no types
        async def __aiter__(self) -> AsyncIterator[bytes]:
            content = self.streaming_content
            if not self.is_async:
                content = AsyncSteps(partial(next, content, None), leave)
            async with contextlib.aclosing(content):
                async for piece in content:
                    yield piece

    return EventStreamResponse
