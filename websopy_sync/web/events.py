"""The format "websopy": chunks as the service writes them, each as one event.

A browser gets the fields that this version knows: a later one may not be for visitors. Does no
I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import attrs

from ..chunks import DoneChunk, ErrorChunk, StreamChunk, UnknownChunk
from ..wires.websopy.writer import dump_chunk
from .json_event import encode_json
from .page_format import SSE_HEADERS
from .public_errors import public_error


class WebsopyFormat:
    """The format that the service's own guide has page code for."""

    headers: Mapping[str, str] = SSE_HEADERS

    def events(self, chunks: Iterable[StreamChunk]) -> Iterator[bytes]:
        """The events of a stream or a run."""
        return events(chunks)

    def failure(self, error: BaseException) -> bytes:
        """An event named `error`, with an error chunk. It needs no id: see `encode_chunk`."""
        return encode_chunk(public_error(error), event="error")


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
    return encode_json(dump_chunk(chunk), event=event, id=id)
