"""The steps of a script: what the sandbox can be told to do for one request.

Frozen values. Knows neither a service's JSON nor how a step is played.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Literal

import attrs

from ..chunks import StreamChunk

__all__ = [
    "BeforeHeaders",
    "Chunk",
    "Cut",
    "Event",
    "ExpectToolResult",
    "Framing",
    "Headers",
    "NoIds",
    "Pause",
    "Raw",
    "Reset",
    "Silence",
    "Step",
    "Steps",
    "Wait",
]

Framing = Literal["chunked", "content-length", "close", "gzip", "trickle"]
"""How a body ends; `http_writer.framer` says what each means."""


@attrs.frozen
class Event:
    """Any event.

    Args:
        data: Its data, as it is.
        event: Its type.
        id: The event's id; None has the sandbox number it, "" sends none.
        on_request: Whether it goes only to a client that asks for it.
    """

    data: str
    event: str = attrs.field(default="message", kw_only=True)
    id: str | None = attrs.field(default=None, kw_only=True)
    on_request: bool = attrs.field(default=False, kw_only=True)


@attrs.frozen
class Chunk:
    """A chunk, in the form of the service that is played.

    Args:
        chunk: The chunk.
        id: The id of its event; None has the sandbox number it, "" sends none.
    """

    chunk: StreamChunk
    id: str | None = attrs.field(default=None, kw_only=True)


@attrs.frozen
class Raw:
    """Bytes as they are, in the body's framing; before the headers, bare.

    Args:
        data: The bytes.
    """

    data: bytes


@attrs.frozen
class Pause:
    """Nothing for a while.

    Args:
        seconds: How long.
    """

    seconds: float


@attrs.frozen
class Wait:
    """Nothing until the test sets an event.

    Args:
        word: The event.
        timeout: Seconds to wait at most. Then the connection is cut, so that a client which needs
            more than it was given fails, and does not pass late.
    """

    word: threading.Event
    timeout: float = attrs.field(default=5.0, kw_only=True)


@attrs.frozen
class Silence:
    """Nothing until the client leaves.

    Args:
        timeout: Seconds after which the connection is cut.
    """

    timeout: float = attrs.field(default=30.0, kw_only=True)


@attrs.frozen
class Cut:
    """End the connection (FIN) in the middle. A resumed response continues after this step."""


@attrs.frozen
class Reset:
    """Reset the connection (RST). A resumed response continues after this step."""


@attrs.frozen
class NoIds:
    """Number no event from here on, so that a client cannot resume."""


@attrs.frozen
class Headers:
    """Headers, status and framing of the response. Its place in the script does not matter.

    Args:
        headers: Headers to add or replace.
        status: The HTTP status.
        framing: How the end of the body is shown; the sandbox's own when None.
    """

    headers: Mapping[str, str] = attrs.field(factory=dict)
    status: int = attrs.field(default=200, kw_only=True)
    framing: Framing | None = attrs.field(default=None, kw_only=True)


@attrs.frozen
class BeforeHeaders:
    """Steps before the response's headers."""

    steps: tuple[Step, ...]


@attrs.frozen
class ExpectToolResult:
    """The request must have the result of a tool; if not, nothing is played and it gets a 400.

    Its place in the script does not matter.

    Args:
        name: The tool's name.
        content: The text of the result; None allows any.
    """

    name: str
    content: str | None = attrs.field(default=None, kw_only=True)


Step = (
    Event
    | Chunk
    | Raw
    | Pause
    | Wait
    | Silence
    | Cut
    | Reset
    | NoIds
    | Headers
    | BeforeHeaders
    | ExpectToolResult
)
Steps = Sequence["Step | Steps"]
"""A script as a test writes it: steps in order; nested sequences are flattened."""
