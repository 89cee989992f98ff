"""Chunks as the bytes of server-sent events, safe for any browser.

Whatever the model writes, it cannot end a line, an event or a script: all of it is one line of
JSON with the dangerous characters escaped, and ids and event names are made here. A browser gets
the fields that this version knows: a later one may not be for visitors. Does no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import attrs

from ..chunks import DoneChunk, ErrorChunk, StreamChunk, UnknownChunk
from ..sse import ServerSentEvent, encode
from ..wires.websopy.writer import dump_chunk

# A page could take the first three for markup; the others end a line of JavaScript. In JSON all
# five occur in strings only, so an escape is right wherever one stands. JSON escapes CR, LF and
# NUL by itself, and the wire leaves no lone surrogate in a chunk.
_UNSAFE = re.compile("[<>&\u2028\u2029]")


def events(chunks: Iterable[StreamChunk]) -> Iterator[bytes]:
    """The events of a stream or a run, with ids from 1."""
    public = (known for chunk in _with_one_end(chunks) if (known := _public(chunk)))
    for number, chunk in enumerate(public, 1):
        yield encode_chunk(chunk, id=str(number))


def _with_one_end(chunks: Iterable[StreamChunk]) -> Iterator[StreamChunk]:
    """The chunks of a run without the done chunks between its answers: a page stops at the first.

    Another answer may follow one with tool calls, so its done chunk waits for that or for the end.
    """
    calls, held = False, None
    for chunk in chunks:
        calls, held = calls or chunk.type == "tool_call", None
        if chunk.type == "done" and calls:
            calls, held = False, chunk
        else:
            yield chunk
    if held:
        yield held


def _public(chunk: StreamChunk) -> StreamChunk | None:
    """What a visitor may see of a chunk; None for nothing.

    An error chunk has the service's own text. The stream raises after it, and that error becomes
    an event with a text of public_error().
    """
    if isinstance(chunk, DoneChunk):
        # Its model and id are the operator's business. Details of the usage are unknown fields.
        usage = chunk.usage and attrs.evolve(chunk.usage, details=None)
        return DoneChunk(usage, chunk.finish_reason)
    if isinstance(chunk, ErrorChunk | UnknownChunk):
        return None
    return attrs.evolve(chunk, extra=None) if chunk.extra else chunk


def encode_chunk(chunk: StreamChunk, *, event: str = "message", id: str = "") -> bytes:
    """One event.

    An error needs no id: a browser that resumes wants what follows the last chunk.
    """
    return encode(ServerSentEvent(event, _UNSAFE.sub(_escape, dump_chunk(chunk)), id))


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
