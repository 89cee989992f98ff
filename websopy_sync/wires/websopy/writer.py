"""What the service itself writes: its chunks.

For the sandbox, which plays the service, and for the events that a browser gets. Does no I/O.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ...chunks import (
    ContentChunk,
    DoneChunk,
    ReasoningChunk,
    StreamChunk,
    ToolCallChunk,
    UnknownChunk,
)
from ...surrogates import scalar_text
from ...usage import Usage
from ...value_fields import given
from .turns import call_fields

__all__ = ["dump_chunk"]


def dump_chunk(chunk: StreamChunk) -> str:
    """Write a chunk as the service does.

    Args:
        chunk: The chunk.

    Returns:
        JSON in one line. `parse_chunk` gives the chunk back.
    """
    written = json.dumps(_fields_of(chunk), ensure_ascii=False, separators=(",", ":"))
    if isinstance(chunk, UnknownChunk) or chunk.extra:
        # It may hold infinity, read from 1e999, which is no JSON.
        fields = json.loads(written, parse_constant=lambda name: None)
        written = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    return scalar_text(written)


def _fields_of(chunk: StreamChunk) -> Mapping[str, Any]:
    if isinstance(chunk, UnknownChunk):
        return {**chunk.data, "type": chunk.type}
    fields: dict[str, Any] = {"type": chunk.type}
    if isinstance(chunk, ContentChunk):
        fields["content"] = chunk.content
    elif isinstance(chunk, ReasoningChunk):
        fields["content"] = chunk.text
    elif isinstance(chunk, ToolCallChunk):
        fields["tool"] = call_fields(chunk.tool.to_dict())
    elif isinstance(chunk, DoneChunk):
        fields |= _done_fields(chunk)
    else:
        fields["error"] = {"message": chunk.message} | given(code=chunk.code)
    return _merged(fields, chunk.extra)


def _done_fields(chunk: DoneChunk) -> dict[str, Any]:
    return given(
        usage=chunk.usage and _usage_fields(chunk.usage),
        finishReason=chunk.finish_reason,
        model=chunk.model,
        id=chunk.id,
    )


def _usage_fields(usage: Usage) -> dict[str, Any]:
    fields = {"promptTokens": usage.prompt_tokens, "completionTokens": usage.completion_tokens}
    if usage.total_tokens != usage.prompt_tokens + usage.completion_tokens:
        fields["totalTokens"] = usage.total_tokens
    cached, reasoning = usage.cached_tokens, usage.reasoning_tokens
    return usage.details | fields | given(cachedTokens=cached, reasoningTokens=reasoning)


def _merged(fields: dict[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """Known fields, and beside or inside of them the unknown ones."""
    for name, value in extra.items():
        if name not in fields:
            fields[name] = value
        elif isinstance(value, dict) and isinstance(fields[name], dict):
            fields[name] = value | fields[name]
    return fields
