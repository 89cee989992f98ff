"""Streams an answer on to a browser: Flask, Django, FastAPI, and any WSGI or ASGI server.

Imports a framework only when its helper is called.
"""

from .answer_body import FormatName, OnDisconnect, sse_body
from .body import EventStreamBody
from .django_view import django_response
from .feed import Feed
from .flask_view import flask_response
from .opening import AnswerSource
from .page import ConversationTooLongError, page_messages
from .page_format import SSE_HEADERS
from .public_errors import public_error
from .starlette_view import starlette_response

__all__ = [
    "SSE_HEADERS",
    "AnswerSource",
    "ConversationTooLongError",
    "EventStreamBody",
    "Feed",
    "FormatName",
    "OnDisconnect",
    "django_response",
    "flask_response",
    "page_messages",
    "public_error",
    "sse_body",
    "starlette_response",
]
