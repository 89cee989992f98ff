"""Chunks as the bytes of server-sent events that a browser may read."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..chunks import StreamChunk
from ..sse import ServerSentEvent, encode
from ..stream import ChatStream
from ..wires.websopy import dump_chunk


def events(stream: ChatStream) -> Iterator[bytes]:
    """The events of an answer, with ids from 1."""
    for number, chunk in enumerate(stream, 1):
        # Its text is the service's own. The error that follows is told in ours.
        if chunk.type != "error":
            yield encode_chunk(chunk, id=str(number))


def encode_chunk(chunk: StreamChunk, *, event: str = "message", id: str = "") -> bytes:
    """One event. An error has no id: who resumes wants what comes after the last chunk."""
    return encode(ServerSentEvent(event, _UNSAFE.sub(_escape, dump_chunk(chunk)), id))


# In JSON these stand in strings only, so that they may be escaped wherever they are. A page could
# take the first three for markup; the others end a line of JavaScript. JSON itself escapes CR, LF
# and NUL, and wire lets no half of a surrogate pair through.
_UNSAFE = re.compile("[<>&\u2028\u2029]")


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
