"""Chunks as the bytes of server-sent events, safe for any browser.

Whatever the model writes, it cannot end a line, an event or a script: all of it is one line of
JSON with the dangerous characters escaped, and ids and event names are made here. Does no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from ..chunks import StreamChunk
from ..sse import ServerSentEvent, encode
from ..wires.websopy_writer import dump_chunk

# A page could take the first three for markup; the others end a line of JavaScript. In JSON all
# five occur in strings only, so an escape is right wherever one stands. JSON escapes CR, LF and
# NUL by itself, and the wire leaves no lone surrogate in a chunk.
_UNSAFE = re.compile("[<>&\u2028\u2029]")


def events(chunks: Iterable[StreamChunk]) -> Iterator[bytes]:
    """The events of a stream, with ids from 1."""
    for number, chunk in enumerate(chunks, 1):
        # An error chunk has the service's own text. The stream raises after it, and that error
        # becomes an event with a text of public_error().
        if chunk.type != "error":
            yield encode_chunk(chunk, id=str(number))


def encode_chunk(chunk: StreamChunk, *, event: str = "message", id: str = "") -> bytes:
    """One event.

    An error needs no id: a browser that resumes wants what follows the last chunk.
    """
    return encode(ServerSentEvent(event, _UNSAFE.sub(_escape, dump_chunk(chunk)), id))


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
