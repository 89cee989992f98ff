"""A stream as a Flask response.

Flask is no dependency: it is imported when a response is made.
"""

from __future__ import annotations

import sys
import warnings
from types import FrameType
from typing import TYPE_CHECKING, Unpack

from ..interrupts import discreet
from .answer_body import BodyOptions, body_of
from .body import EventStreamBody
from .opening import AnswerSource

if TYPE_CHECKING:
    import flask


ADAPTERS = {"a2wsgi.wsgi", "asgiref.wsgi", "hypercorn.app_wrappers", "uvicorn.middleware.wsgi"}
"""Modules that run a WSGI application on an ASGI server."""


@discreet
def flask_response(
    source: AnswerSource | EventStreamBody, **options: Unpack[BodyOptions]
) -> flask.Response:
    """A Flask response that streams the answer to the browser.

    Args:
        source: What `sse_body` takes, or a body, which brings its status. The response closes it.
        **options: `heartbeat`, `on_disconnect`, `buffer`, `wait_for_status` and `format`, as
            `sse_body` takes them.

    Returns:
        A response with the headers of the body, to return from the view. It is empty if the status
        of the body is not 200.

    Raises:
        ConfigError: An option has no meaning. A stream is still the caller's.
        BaseException: What failed within `wait_for_status`.
    """
    from flask import Response  # noqa: PLC0415  only a caller of this has Flask

    _warn_of_adapter()
    body = body_of(source, **options)
    headers = dict(body.headers)
    if body.status != 200:
        body.close()
        return Response(status=body.status, headers=headers)
    return Response(body, headers=headers)


def _warn_of_adapter() -> None:
    # The environ has nothing to tell an adapter by, but the adapter is among our callers.
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        module = frame.f_globals.get("__name__")
        if module in ADAPTERS:
            warnings.warn(
                f"{module} never notices a browser that has left, and its answer goes on; "
                "serve Flask with a WSGI server",
                RuntimeWarning,
                stacklevel=4,  # the view
            )
        frame = frame.f_back
