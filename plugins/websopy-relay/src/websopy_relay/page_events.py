"""The events that the relay itself writes, and the numbers that all of them carry.

Does no I/O. The chunks of a stream become events in websopy_sync.web.
"""

from __future__ import annotations

import json
import re

from websopy_sync.chunks import ErrorChunk
from websopy_sync.web.events import encode_chunk
from websopy_sync.web.json_event import encode_json

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

_ID_LINE = re.compile(rb"^id: .*\n", re.MULTILINE)


def numbered(event: bytes, seq: int) -> bytes:
    """An event with this number as its id, in the place of any other id."""
    return b"id: %d\n" % seq + _ID_LINE.sub(b"", event)


def naming(answer_id: str) -> bytes:
    """The first event of an answer, which tells the page its id."""
    return encode_json(json.dumps({"id": answer_id}), event="answer")


def ending(code: str) -> bytes:
    """The last event of an answer that the relay ends."""
    return encode_chunk(ErrorChunk(TEXTS[code], code), event="error")


def restarting() -> bytes:
    """The last event of a body whose worker stops. It has no number: the answer goes on."""
    event = encode_chunk(ErrorChunk("The server restarts.", "restarting"), event="error")
    return b"retry: %d\n" % RETRY_MS + event
