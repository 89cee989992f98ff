"""A stream as a Django response, live under WSGI and ASGI.

Django is no dependency: it is imported when a response is made.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Unpack

from ..interrupts import discreet
from .answer_body import BodyOptions, body_of
from .async_steps import AsyncSteps, in_event_loop
from .body import EventStreamBody
from .opening import AnswerSource

if TYPE_CHECKING:
    from django.http import StreamingHttpResponse
    from django.http.response import HttpResponseBase


@discreet
def django_response(
    source: AnswerSource | EventStreamBody, **options: Unpack[BodyOptions]
) -> HttpResponseBase:
    """A Django response that streams the answer to the browser, for sync and async views.

    Args:
        source: What `sse_body` takes, or a body, which brings its status. The response closes it.
        **options: `heartbeat`, `on_disconnect`, `buffer`, `wait_for_status` and `format`, as
            `sse_body` takes them.

    Returns:
        A `StreamingHttpResponse` with the headers of the body. Its `Content-Encoding` is
        `identity`, so that GZipMiddleware leaves it alone: before Django 6 that would hold the
        answer back to its end. It is an empty `HttpResponse` if the status of the body is not 200.

    Raises:
        ConfigError: An option has no meaning. A stream is still the caller's.
        BaseException: What failed within `wait_for_status`.
    """
    from django.http import HttpResponse  # noqa: PLC0415  only a caller of this has Django

    body = body_of(source, **options)
    if body.status != 200:
        body.leave()
        return HttpResponse(status=body.status, headers=dict(body.headers))
    # Django looks for a sync iterator first. In an async view the response gets an async one only.
    content = AsyncSteps(partial(next, body, None), body.leave) if in_event_loop() else body
    headers = {**body.headers, "Content-Encoding": "identity"}
    return _response_class()(body, content, headers)


@functools.cache  # one class: each would be in reference cycles, and have its body wait for them
def _response_class() -> Callable[..., StreamingHttpResponse]:
    """Django's streaming response, except that a sync body stays live under ASGI, and vice versa.

    Under ASGI, Django reads a sync body to its end before it sends anything, and under WSGI an
    async one. A view cannot tell ASGI from WSGI: a sync one runs in a thread, an async one in an
    event loop. So this class decides when the response is iterated. Until then the body of a sync
    view is sync, as most middleware wraps only sync bodies.
    """
    from django.http import StreamingHttpResponse  # noqa: PLC0415  only a caller of this has Django

    class EventStreamResponse(StreamingHttpResponse):  # type: ignore[misc]  # Django has no types
        def __init__(self, body: EventStreamBody, content: object, headers: object) -> None:
            super().__init__(content, headers=headers)
            self._body = body

        async def __aiter__(self) -> AsyncIterator[bytes]:
            content = self.streaming_content
            if not self.is_async:
                content = AsyncSteps(partial(next, content, None), self._body.leave)
            async with contextlib.aclosing(content):
                async for piece in content:
                    yield piece

        def __iter__(self) -> Iterator[bytes]:
            made = getattr(self, "_iterator", None)  # by us, unless a middleware has wrapped it
            return iter(self._body if isinstance(made, AsyncSteps) else super().__iter__())

    return EventStreamResponse
