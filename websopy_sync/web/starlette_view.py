"""A stream as a Starlette response, which FastAPI takes too.

Starlette is no dependency: it is imported when a response is made.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Unpack

from ..interrupts import discreet
from .answer_body import BodyOptions, body_of
from .body import EventStreamBody
from .opening import AnswerSource

if TYPE_CHECKING:
    from starlette.responses import Response, StreamingResponse
    from starlette.types import Receive, Scope, Send


@discreet
def starlette_response(
    source: AnswerSource | EventStreamBody, **options: Unpack[BodyOptions]
) -> Response:
    """A Starlette response that streams the answer to the browser, for FastAPI too.

    Args:
        source: What `sse_body` takes, or a body, which brings its status. The response closes it.
        **options: `heartbeat`, `on_disconnect`, `buffer`, `wait_for_status` and `format`, as
            `sse_body` takes them.

    Returns:
        A `StreamingResponse` with the headers of the body, for sync and async views. Its
        `Content-Encoding` is `identity`, so that GZipMiddleware leaves it alone: before Starlette
        0.46 that would hold the answer back to its end. It is an empty `Response` if the status of
        the body is not 200.

    Raises:
        ConfigError: An option has no meaning. A stream is still the caller's.
        BaseException: What failed within `wait_for_status`.
    """
    from starlette.responses import Response  # noqa: PLC0415  only a caller of this has Starlette

    body = body_of(source, **options)
    if body.status != 200:
        body.leave()
        return Response(status_code=body.status, headers=body.headers)
    headers = {**body.headers, "Content-Encoding": "identity"}
    return _response_class()(body, headers)


@functools.cache  # one class: each would be in reference cycles, and have its body wait for them
def _response_class() -> Callable[..., StreamingResponse]:
    """Starlette's streaming response, except that it always leaves the body.

    A task that is cancelled before its first step would leave it to the garbage collector. A HEAD
    request, for which Starlette calls the view too, reads no body and would wait for its end.
    """
    from starlette.responses import Response, StreamingResponse  # noqa: PLC0415

    class EventStreamResponse(StreamingResponse):
        def __init__(self, body: EventStreamBody, headers: Mapping[str, str]) -> None:
            super().__init__(body, headers=headers)
            self._body = body

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            try:
                if scope.get("method") == "HEAD":
                    head = Response(status_code=self.status_code, background=self.background)
                    head.raw_headers = self.raw_headers
                    await head(scope, receive, send)
                else:
                    await super().__call__(scope, receive, send)
            finally:
                self._body.leave()

    return EventStreamResponse
