"""EventFormat: how the events of a response are read.

A value. Knows nothing of connections: `event_source` reads by it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import attrs

from .ndjson import LineDecoder
from .resume import TextOf, event_as_text
from .sse import MAX_EVENT_SIZE, Decoder
from .whole_body import BodyDecoder

__all__ = ["EventFormat"]

_CONTENT_TYPES = {
    "sse": ("text/event-stream",),
    "ndjson": ("application/x-ndjson", "application/ndjson", "application/jsonl"),
    "json": ("application/json",),
}


@attrs.frozen
class EventFormat:
    """How the events of a response are to be read.

    Args:
        framing: How the bytes are cut into events: as server-sent events, one a line, or, when the
            body is one JSON value, as pieces of its text.
        text_of: The text that an event's data adds, so that `resume` recognizes a restart.
        may_end: Whether the response is complete though no event has said that it ends. Its
            argument tells whether the bytes have ended as they should.
        ignore: A type of events that are left out, such as pings.
        error_field: A field of server-sent events that holds an error; see `Decoder`.
        max_event_size: Bytes that one event may have; of "json", the whole body.
        request_id_headers: The response headers that may have the server's id for the request, in
            lower case; the first that is there counts.
    """

    framing: Literal["sse", "ndjson", "json"] = "sse"
    text_of: TextOf = event_as_text
    may_end: Callable[[bool], bool] = lambda whole: False
    ignore: str | None = None
    error_field: str | None = None
    max_event_size: int = MAX_EVENT_SIZE
    request_id_headers: tuple[str, ...] = ()

    def decoder(self, last_event_id: str = "") -> Decoder | LineDecoder | BodyDecoder:
        """A decoder for a new connection, which goes on after this event."""
        if self.framing == "ndjson":
            return LineDecoder(max_event_size=self.max_event_size)
        if self.framing == "json":
            return BodyDecoder(max_size=self.max_event_size)
        return Decoder(
            last_event_id,
            max_event_size=self.max_event_size,
            ignore=self.ignore,
            error_field=self.error_field,
        )

    @property
    def content_types(self) -> tuple[str, ...]:
        """The content types of such a response."""
        return _CONTENT_TYPES[self.framing]

    def request_id(self, headers: Mapping[str, str]) -> str | None:
        """The server's id for the request, None if it gave none."""
        return next(filter(None, map(headers.get, self.request_id_headers)), None)
