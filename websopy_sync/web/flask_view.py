"""An answer as a Flask response. Flask is imported when one is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from ..stream import ChatStream
from .body import SSE_HEADERS, BodyOptions, sse_body

if TYPE_CHECKING:
    import flask


def flask_response(stream: ChatStream, **options: Unpack[BodyOptions]) -> flask.Response:
    """The answer as a Flask response.

    Args:
        stream: The answer, as for `sse_body`.
        **options: Those of `sse_body`.
    """
    from flask import Response  # noqa: PLC0415  only who calls this needs Flask

    return Response(sse_body(stream, **options), headers=dict(SSE_HEADERS))
