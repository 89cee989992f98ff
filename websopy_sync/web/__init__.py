"""Streams an answer on to a browser: for WSGI and ASGI servers, Flask and Django.

Imports a framework only when its helper is called. FastAPI and Starlette need no helper.
"""

from .body import SSE_HEADERS, EventStreamBody, OnDisconnect, sse_body
from .django_view import django_response
from .flask_view import flask_response
from .page import page_messages
from .public_errors import public_error

__all__ = [
    "SSE_HEADERS",
    "EventStreamBody",
    "OnDisconnect",
    "django_response",
    "flask_response",
    "page_messages",
    "public_error",
    "sse_body",
]
