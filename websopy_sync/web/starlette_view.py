"""A stream as a Starlette response, which FastAPI takes too.

Starlette is no dependency: it is imported when a response is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from ..run import ToolRun
from ..stream import ChatStream
from .answer_body import BodyOptions, body_of
from .body import EventStreamBody

if TYPE_CHECKING:
    from starlette.responses import Response


def starlette_response(
    source: ChatStream | ToolRun | EventStreamBody, **options: Unpack[BodyOptions]
) -> Response:
    """A Starlette response that streams the answer to the browser, for FastAPI too.

    Args:
        source: What `sse_body` takes, or a body, which brings its status. The response closes it.
        **options: `heartbeat`, `on_disconnect` and `buffer`, as `sse_body` takes them.

    Returns:
        A `StreamingResponse` with `SSE_HEADERS`, for sync and async views. It is an empty
        `Response` if the status of the body is not 200.

    Raises:
        ConfigError: An option has no meaning. The stream is still the caller's.
    """
    from starlette.responses import (  # noqa: PLC0415  only a caller of this has Starlette
        Response,
        StreamingResponse,
    )

    body = body_of(source, **options)
    if body.status != 200:
        body.leave()
        return Response(status_code=body.status, headers=body.headers)
    return StreamingResponse(body, headers=body.headers)
