"""Makes the body of a response from an answer: `sse_body`, and the options of it.

Knows nothing of requests, routes or frameworks.
"""

from __future__ import annotations

import math
import threading
from typing import Literal, TypedDict, Unpack, get_args

from ..errors import ConfigError
from ..run import ToolRun
from ..stream import ChatStream
from .body import EventStreamBody
from .buffer import EventBuffer
from .events import WebsopyFormat

OnDisconnect = Literal["cancel", "finish"]


class BodyOptions(TypedDict, total=False):
    """The options of `sse_body`, which the helpers for frameworks take too."""

    heartbeat: float
    on_disconnect: OnDisconnect
    buffer: int


BUFFER = 64 * 1024
"""Bytes that wait for a slow browser, by default, before the stream is held back."""

COMMENTS_PER_HEARTBEAT = 3
"""Comments within one heartbeat while the model is silent.

The first write to a closed browser succeeds; the browser's reset fails a later one. gunicorn and
Django's own server raise at the second comment, waitress at the third (measured;
docs/how-to/views.md has the table).
"""


def sse_body(
    stream: ChatStream | ToolRun,
    *,
    heartbeat: float = 15.0,
    on_disconnect: OnDisconnect = "cancel",
    buffer: int = BUFFER,
) -> EventStreamBody:
    """The body of a response: the answer as an event stream, each event as it comes.

    The body owns the stream: closing the body closes the stream.

    Args:
        stream: The answer, or the run with tools, not read yet. A failure becomes the last event,
            named `error`, with the text of `public_error`. Of a run, only the last answer has a
            done chunk.
        heartbeat: Seconds in which a browser that closed its connection is noticed. While the
            model is silent, comments, which browsers skip, go out three times as often.
        on_disconnect: What to do when the browser has left. "cancel" ends the answer at the
            service. "finish" reads it to its end for the plugins and drops it; the process must
            live that long.
        buffer: Bytes that may wait for a slow browser. Above that (and one event) the stream is
            not read until the browser catches up.

    Returns:
        An iterator of bytes, for `for` and `async for`, with a `close()`.

    Raises:
        ConfigError: An option has no meaning. The stream is still the caller's.
    """
    _check_positive("heartbeat", heartbeat, most=threading.TIMEOUT_MAX)
    _check_positive("buffer", buffer, most=math.inf)
    if on_disconnect not in get_args(OnDisconnect):
        raise ConfigError(f"on_disconnect: expected cancel or finish, got {on_disconnect!r:.200}")
    interval = heartbeat / COMMENTS_PER_HEARTBEAT
    finish = on_disconnect == "finish"
    page_format = WebsopyFormat()
    feed = EventBuffer(stream, page_format, limit=buffer, finish=finish, interval=interval)
    return EventStreamBody(feed, headers=page_format.headers)


def _check_positive(name: str, value: object, *, most: float) -> None:
    if not isinstance(value, int | float) or not 0 < value <= most:
        raise ConfigError(f"{name}: expected a number above 0, got {value!r:.200}")


def body_of(
    source: ChatStream | ToolRun | EventStreamBody, **options: Unpack[BodyOptions]
) -> EventStreamBody:
    """The body that a framework's response streams: one that was made before, or a new one.

    Args:
        source: A body, or what `sse_body` makes one of.
        **options: As `sse_body` takes them. A body that was made before has its own.

    Raises:
        ConfigError: An option has no meaning.
    """
    if not isinstance(source, EventStreamBody):
        return sse_body(source, **options)
    if options:
        raise ConfigError(f"expected no options beside a body, got {', '.join(options)}")
    return source
