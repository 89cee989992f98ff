"""Makes the body of a response from an answer: `sse_body`, and the options of it.

Knows nothing of requests, routes or frameworks.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal, TypedDict, Unpack, get_args

from ..errors import ConfigError
from ..interrupts import discreet
from .ai_sdk import AISDKFormat
from .async_steps import in_event_loop
from .body import EventStreamBody
from .buffer import EventBuffer
from .events import WebsopyFormat
from .opening import AnswerSource, Opening
from .page_format import PageFormat

OnDisconnect = Literal["cancel", "finish"]
FormatName = Literal["websopy", "ai-sdk"]

FORMATS: Mapping[FormatName, Callable[[], PageFormat]] = MappingProxyType(
    {"websopy": WebsopyFormat, "ai-sdk": AISDKFormat}
)


class BodyOptions(TypedDict, total=False):
    """The options of `sse_body`, which the helpers for frameworks take too."""

    heartbeat: float
    on_disconnect: OnDisconnect
    buffer: int
    wait_for_status: float
    format: FormatName


BUFFER = 64 * 1024
"""Bytes that wait for a slow browser, by default, before the stream is held back."""

COMMENTS_PER_HEARTBEAT = 3
"""Comments within one heartbeat while the model is silent.

The first write to a closed browser succeeds; the browser's reset fails a later one. gunicorn and
Django's own server raise at the second comment, waitress at the third (measured;
docs/how-to/views.md has the table).
"""


@discreet
def sse_body(
    source: AnswerSource,
    *,
    heartbeat: float = 15.0,
    on_disconnect: OnDisconnect = "cancel",
    buffer: int = BUFFER,
    wait_for_status: float = 0.0,
    format: FormatName = "websopy",
) -> EventStreamBody:
    """The body of a response: the answer as an event stream, each event as it comes.

    The body owns the answer: closing the body ends it.

    Args:
        source: A function that gets a cancel token and opens the answer with it:
            `lambda cancel: client.ai.chat_stream(messages, cancel_token=cancel)`. The body calls it
            in its own thread when it is read for the first time, with the context variables that
            are set now. Heartbeats go out from then on, and a visitor who leaves cancels the
            request before the service has answered. It may return a run with tools. An answer that
            was opened before, and not read, is a source too. A failure becomes the last event,
            named `error`, with the text of `public_error`. Of a run, only the last answer has a
            done chunk.
        heartbeat: Seconds in which a browser that closed its connection is noticed. While the
            model is silent, comments, which browsers skip, go out three times as often.
        on_disconnect: What to do when the browser has left. "cancel" ends the answer at the
            service. "finish" reads it to its end for the plugins and drops it, and opens it
            first if need be; the process must live that long.
        buffer: Bytes that may wait for a slow browser. Above that (and one event) the answer is
            not read until the browser catches up.
        wait_for_status: Open the answer now, and wait so many seconds for the service to answer.
            What fails by then is raised here, where you can still choose an HTTP status; what
            fails later is the last event. For a function that opens the answer.
        format: What the events are: "websopy" for the service's own chunks, "ai-sdk" for the UI
            message stream that `useChat` of the AI SDK reads (docs/how-to/use-the-ai-sdk.md).

    Returns:
        An iterator of bytes, for `for` and `async for`, with a `close()`.

    Raises:
        ConfigError: The source or an option has no meaning, or `wait_for_status` would block an
            event loop. An answer that was opened before is still the caller's.
        BaseException: What failed within `wait_for_status`, as it is.
    """
    _check_number("heartbeat", heartbeat, most=threading.TIMEOUT_MAX)
    if wait_for_status != 0:
        _check_number("wait_for_status", wait_for_status, most=threading.TIMEOUT_MAX)
    _check_number("buffer", buffer, most=math.inf)
    if on_disconnect not in get_args(OnDisconnect):
        raise ConfigError(f"on_disconnect: expected cancel or finish, got {on_disconnect!r:.200}")
    if wait_for_status and in_event_loop():
        raise ConfigError("wait_for_status: would block the event loop; call this in a thread")
    interval = heartbeat / COMMENTS_PER_HEARTBEAT
    finish = on_disconnect == "finish"
    page_format = FORMATS[checked_format(format)]()
    opening = Opening(source)
    feed = EventBuffer(opening, page_format, limit=buffer, finish=finish, interval=interval)
    if wait_for_status:
        feed.open(wait_for_status)
    return EventStreamBody(feed, headers=page_format.headers)


def checked_format(name: FormatName) -> FormatName:
    """The name of a format. Raises ConfigError when it is none."""
    if name not in get_args(FormatName):
        raise ConfigError(f"format: expected {' or '.join(FORMATS)}, got {name!r:.200}")
    return name


def _check_number(name: str, value: object, *, most: float) -> None:
    if not isinstance(value, int | float) or not 0 < value <= most:
        raise ConfigError(f"{name}: expected a number above 0, got {value!r:.200}")


def body_of(
    source: AnswerSource | EventStreamBody, **options: Unpack[BodyOptions]
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
