"""An answer as a Django response, live under WSGI and ASGI. Django is imported when one is made."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import TYPE_CHECKING, Unpack

from ..stream import ChatStream
from .async_steps import AsyncSteps
from .body import SSE_HEADERS, BodyOptions, sse_body

if TYPE_CHECKING:
    from django.http import StreamingHttpResponse


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
    content = AsyncSteps(partial(next, body, None), body.leave) if _in_event_loop() else body
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
                content = AsyncSteps(partial(next, content, None), leave)
            async with contextlib.aclosing(content):
                async for piece in content:
                    yield piece

    return EventStreamResponse
