"""The events that the relay itself writes, in each format, and the numbers that all carry.

Does no I/O. The chunks of a stream become events in websopy_sync.web.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

from websopy_sync.chunks import ErrorChunk
from websopy_sync.web import SSE_HEADERS, FormatName, ai_sdk
from websopy_sync.web.events import WebsopyFormat, encode_chunk
from websopy_sync.web.json_event import encode_json
from websopy_sync.web.page_format import PageFormat

KEEP_ALIVE = b": keep-alive\n\n"
"""A comment, which browsers skip."""

RETRY_MS = 1000
"""Milliseconds after which a browser asks again when its worker restarts."""

TEXTS = {
    "cancelled": "The answer was stopped.",
    "interrupted": "The answer broke off.",
    "too_long": "The answer is too long.",
}
"""What a visitor is told, by the code of an end that the relay decides."""

_END = b"\n\n"
_ID_LINE = re.compile(rb"^id: .*\n", re.MULTILINE)
_LAST = re.compile(rb"""^data: (\[DONE\]|\{"type":"done")""", re.MULTILINE)


def numbered(events: bytes, first: int) -> list[bytes]:
    """Each of these events with its number as its id, in the place of any other id.

    Args:
        events: Whole events. Only an empty line ends one: `encode_json` leaves no other.
        first: The number of the first.
    """
    single = [event + _END for event in _ID_LINE.sub(b"", events).split(_END)[:-1]]
    return [b"id: %d\n%b" % (seq, event) for seq, event in enumerate(single, first)]


def may_be_last(events: bytes) -> bool:
    """Whether an answer may end with these events, in either format."""
    return bool(_LAST.search(events))


class PageEvents(Protocol):
    """What the relay writes for a page that reads one format."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the response."""
        ...

    def chunk_format(self) -> PageFormat:
        """Writes the chunks of one answer, after its first event."""
        ...

    def naming(self, answer_id: str) -> bytes:
        """The first event of an answer, which tells the page its id."""
        ...

    def ending(self, code: str) -> bytes:
        """The last events of an answer that the relay ends."""
        ...

    def restarting(self) -> bytes:
        """The last event of a body whose worker stops; b"" for none.

        It has no number: the answer goes on.
        """
        ...


class WebsopyEvents:
    """The events for a page that reads the chunks of the service."""

    headers: Mapping[str, str] = SSE_HEADERS

    def chunk_format(self) -> PageFormat:
        """See `PageEvents.chunk_format`."""
        return WebsopyFormat()

    def naming(self, answer_id: str) -> bytes:
        """See `PageEvents.naming`."""
        return encode_json(json.dumps({"id": answer_id}), event=_NAMING)

    def ending(self, code: str) -> bytes:
        """See `PageEvents.ending`."""
        return encode_chunk(ErrorChunk(TEXTS[code], code), event="error")

    def restarting(self) -> bytes:
        """See `PageEvents.restarting`."""
        event = encode_chunk(ErrorChunk("The server restarts.", "restarting"), event="error")
        return b"retry: %d\n" % RETRY_MS + event


class AISDKEvents:
    """The events for `useChat` of the AI SDK.

    The answer's id is the message's. A page resumes an answer from its first event, and replaces
    the message that has this id.
    """

    headers: Mapping[str, str] = ai_sdk.AISDKFormat.headers

    def chunk_format(self) -> PageFormat:
        """See `PageEvents.chunk_format`."""
        return ai_sdk.AISDKFormat(is_started=True)

    def naming(self, answer_id: str) -> bytes:
        """See `PageEvents.naming`."""
        return ai_sdk.start(answer_id)

    def ending(self, code: str) -> bytes:
        """See `PageEvents.ending`. A stop, too, is an error: an `abort` part leaves no trace."""
        return ai_sdk.ending(TEXTS[code])

    def restarting(self) -> bytes:
        """None: to the AI SDK an error is the answer's own; without a finish part it is cut."""
        return b""


PAGES: Mapping[FormatName, PageEvents] = MappingProxyType(
    {"websopy": WebsopyEvents(), "ai-sdk": AISDKEvents()}
)

_NAMING = "answer"
_NAMED = b"\nevent: %s\n" % _NAMING.encode()


def page_of(events: Sequence[bytes]) -> PageEvents:
    """What an answer was written for, by its first event: the log has nothing else of it."""
    is_websopy = not events or _NAMED in events[0]
    return PAGES["websopy" if is_websopy else "ai-sdk"]
