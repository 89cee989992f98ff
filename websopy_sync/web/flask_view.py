"""A stream as a Flask response.

Flask is no dependency: it is imported when a response is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from ..run import ToolRun
from ..stream import ChatStream
from .body import SSE_HEADERS, BodyOptions, sse_body

if TYPE_CHECKING:
    import flask


def flask_response(stream: ChatStream | ToolRun, **options: Unpack[BodyOptions]) -> flask.Response:
    """A Flask response that streams the answer to the browser.

    Args:
        stream: The answer, or the run with tools, not read yet. The response closes it.
        **options: `heartbeat`, `on_disconnect` and `buffer`, as `sse_body` takes them.

    Returns:
        A response with `SSE_HEADERS`, to return from the view.

    Raises:
        ConfigError: An option has no meaning. The stream is still the caller's.
    """
    from flask import Response  # noqa: PLC0415  only a caller of this has Flask

    return Response(sse_body(stream, **options), headers=dict(SSE_HEADERS))
