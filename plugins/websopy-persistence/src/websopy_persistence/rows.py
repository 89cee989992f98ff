"""Converts records to rows and back: which value goes into which column.

Raises nothing: a value that a column cannot hold is clipped or replaced. Knows nothing of
connections.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import attrs

from websopy_sync.chunks import (
    ContentChunk,
    DoneChunk,
    ReasoningChunk,
    StreamChunk,
    UnknownChunk,
    Usage,
    from_dict,
)
from websopy_sync.errors import ConfigError
from websopy_sync.message import Message, MessageBuilder

from .records import Begin, End, Piece, text_in
from .text import clipped, dumped, storable

__all__ = ["chunk_row", "chunks_of", "end_values", "message_of", "new_row", "text_values"]

USAGE = (
    *("prompt_tokens", "completion_tokens", "total_tokens"),
    *("cached_tokens", "reasoning_tokens"),
)
"""The fields of a usage that have a column of the same name."""

_SHORT = 255  # the length of the schema's String columns
_LONG = 65_536  # what a column of free text takes of a message or an id


def new_row(begin: Begin, *, writer: str) -> dict[str, Any]:
    """The stream's row before its request is sent."""
    return {
        "id": begin.stream,
        "status": "open",
        "started": begin.started,
        "seen": begin.started,
        "url": clipped(begin.url, _LONG),
        "model": clipped(begin.model, _SHORT),
        "request": begin.request,
        "question": None if begin.question is None else storable(begin.question),
        "idempotency_key": clipped(begin.idempotency_key, _LONG),
        "conversation": clipped(begin.conversation, _SHORT),
        "chunks": 0,
        "lost": 0,
        "writer": writer,
    }


def chunk_row(piece: Piece, *, seq: int) -> dict[str, Any]:
    """The piece's row, the seq-th of its stream from 0."""
    return {
        "stream": piece.stream,
        "seq": seq,
        "seconds": round(piece.seconds, 6),
        "data": _data(piece),
    }


def end_values(end: End, *, stored: int) -> dict[str, Any]:
    """The changes to the stream's row at its end; the text only if it is known."""
    values = {
        "status": end.status,
        "finished": end.finished,
        "seconds": end.seconds,
        "first_chunk_seconds": end.first_chunk_seconds,
        "lost": max(end.received - stored, 0),
        "request_id": clipped(end.request_id, _LONG),
        "status_code": end.status_code,
        "retries": end.retries,
        "finish_reason": clipped(end.finish_reason, _SHORT),
        "answer_model": clipped(end.model, _SHORT),
        "answer_id": clipped(end.answer_id, _LONG),
        **usage_values(end.usage),
    }
    if end.answer is not None:
        values |= text_values(end.answer, end.reasoning)
    if end.last_event_id:
        values["last_event_id"] = clipped(end.last_event_id, _LONG)
    if end.failure is not None:
        values["error_type"] = clipped(end.failure.type, _SHORT)
        values["error_code"] = clipped(end.failure.code, _SHORT)
        values["error_message"] = clipped(end.failure.message, _LONG)
    return values


def text_values(answer: str, reasoning: str) -> dict[str, Any]:
    """The two columns of a message's text."""
    return {"answer": storable(answer), "reasoning": storable(reasoning) or None}


def usage_values(usage: Usage | None) -> dict[str, int]:
    """The columns of a usage; none when the service did not report one."""
    return {} if usage is None else {name: getattr(usage, name) for name in USAGE}


def position_values(last: Piece | None, *, stored: int, now: datetime) -> dict[str, Any]:
    """The changes to the stream's row with each batch of chunks."""
    values: dict[str, Any] = {"seen": now, "chunks": stored}
    if last is not None and last.event_id:
        values["last_event_id"] = clipped(last.event_id, _LONG)
    return values


def chunk_of(data: str) -> StreamChunk | None:
    """The chunk whose row's data this is; None when somebody else wrote there.

    Of a row that holds several it is one with all their text.
    """
    try:
        return from_dict(json.loads(data))
    except (ConfigError, ValueError, RecursionError):
        return None


def chunks_of(data: str, seconds: float) -> Sequence[tuple[float, StreamChunk]]:
    """The chunks of a row as they came, each with its seconds."""
    chunk = chunk_of(data)
    if chunk is None:
        return ()
    if isinstance(chunk, ContentChunk | ReasoningChunk):
        text, fields = text_in(chunk) or "", json.loads(data)
        lengths, times = fields.get("lengths"), fields.get("seconds")
        if _is_division(lengths, times, len(text)):
            ends = itertools.accumulate(lengths)
            return [
                (time, type(chunk)(text[end - length : end]))
                for time, length, end in zip(times, lengths, ends, strict=True)
            ]
    return ((seconds, chunk),)


def _is_division(lengths: object, times: object, total: int) -> bool:
    """Whether these are valid lengths and times of several chunks."""
    return (
        isinstance(lengths, list)
        and isinstance(times, list)
        and len(lengths) == len(times)
        and all(isinstance(length, int) and length >= 0 for length in lengths)
        and all(isinstance(time, int | float) for time in times)
        and sum(lengths) == total
    )


def message_of(data: Iterable[str]) -> Message:
    """The message of these chunks."""
    builder = MessageBuilder()
    for line in data:
        chunk = chunk_of(line)
        if chunk is not None:
            builder.add(chunk)
    return builder.message


def _data(piece: Piece) -> str:
    chunk, lengths = piece.chunk, piece.lengths
    try:
        if not lengths:
            return dumped(chunk.to_dict())
        times = [round(seconds, 6) for seconds in piece.times]
        whole = ContentChunk if isinstance(chunk, ContentChunk) else ReasoningChunk
        return dumped(whole(piece.text).to_dict() | {"lengths": lengths, "seconds": times})
    except (ValueError, TypeError, RecursionError, RuntimeError):
        # An unknown chunk's data and a known one's extra fields are free JSON.
        return dumped(_without_free_json(chunk))


def _without_free_json(chunk: StreamChunk) -> dict[str, Any]:
    if isinstance(chunk, UnknownChunk):
        return {"type": str(chunk.type), "data": {}}
    if isinstance(chunk, DoneChunk):
        usage = chunk.usage and attrs.evolve(chunk.usage, details=None)
        chunk = attrs.evolve(chunk, usage=usage, state=None)
    return attrs.evolve(chunk, extra=None).to_dict()
