"""Readers of wires as a stream uses them, without a stream: bytes in, chunks and an ending out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from websopy_sync.chunks import (
    ContentChunk,
    DoneChunk,
    ErrorChunk,
    ReasoningChunk,
    StreamChunk,
    ToolCallChunk,
)
from websopy_sync.errors import StreamProtocolError
from websopy_sync.ndjson import LineDecoder
from websopy_sync.sse import Decoder
from websopy_sync.wires import Reader, Wire
from websopy_sync.wires.base import chunks_of

DATA = Path(__file__).parent / "data" / "wires"

STEPS = (10**6, 7, 1)
"""Sizes of the pieces in which bytes are read."""


def datas(wire: Wire, stream: bytes, step: int) -> Iterator[str]:
    """The data of each event, read in pieces of `step` bytes."""
    decoder = LineDecoder() if wire.framing == "ndjson" else Decoder(ignore="ping")
    for start in range(0, len(stream), step):
        for _, data, *_ in decoder.take(stream[start : start + step]):
            yield data


def play(events: Iterable[str], reader: Reader) -> tuple[list[StreamChunk], str | None]:
    """The chunks that a stream would give, and the name of the error that would follow."""
    chunks: list[StreamChunk] = []
    try:
        for data in events:
            chunks += chunks_of(reader.read(data))
            if chunks and isinstance(chunks[-1], DoneChunk):
                return chunks, None
            if chunks and isinstance(chunks[-1], ErrorChunk):
                return chunks, "StreamServerError"
    except StreamProtocolError:
        return chunks, "StreamProtocolError"
    if reader.done is None:
        return chunks, "StreamInterruptedError"
    return [*chunks, reader.done], None


def shown(chunk: StreamChunk) -> list[Any]:
    """A chunk as the tables of cases write it."""
    if isinstance(chunk, ContentChunk):
        return ["content", chunk.content]
    if isinstance(chunk, ReasoningChunk):
        return ["reasoning", chunk.text]
    if isinstance(chunk, ToolCallChunk):
        return ["tool_call", [chunk.tool.name, chunk.tool.arguments, chunk.tool.id]]
    if isinstance(chunk, ErrorChunk):
        return ["error", [chunk.message, chunk.code]]
    assert isinstance(chunk, DoneChunk)
    return ["done", [chunk.finish_reason, chunk.usage and chunk.usage.total_tokens]]


def cases(name: str) -> list[dict[str, Any]]:
    """The cases of a table in tests/data/wires."""
    lines = (DATA / f"{name}_cases.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]
