"""An answer on to a browser: bodies for WSGI and ASGI servers, helpers for Flask and Django.

Neither framework is imported before its helper is called; FastAPI and Starlette need none.
"""

from .body import SSE_HEADERS, EventStreamBody, OnDisconnect, sse_body
from .django_view import django_response
from .flask_view import flask_response
from .public_errors import public_error

__all__ = [
    "SSE_HEADERS",
    "EventStreamBody",
    "OnDisconnect",
    "django_response",
    "flask_response",
    "public_error",
    "sse_body",
]
