"""OpenAI Chat Completions as a service writes and reads it.

Does no I/O. The client's side is `websopy_sync.wires.openai`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from ...chunks import (
    ContentChunk,
    DoneChunk,
    ErrorChunk,
    ReasoningChunk,
    StreamChunk,
    ToolCallChunk,
    UnknownChunk,
)
from ...usage import Usage
from ...wires.base import Wire
from ...wires.openai import OpenAI
from .base import Service, Writer, WrittenEvent, field_at, file_in, functions_in, json_text

__all__ = ["OpenAIService", "OpenAIWriter"]


class OpenAIService(Service):
    """A server of Chat Completions; see `Service`."""

    wire: Wire = OpenAI()
    stream_default: bool | None = False

    def writer(self) -> OpenAIWriter:
        """Make the writer of one response."""
        return OpenAIWriter()

    def asks_for_usage(self, body: Mapping[str, Any]) -> bool:
        """Whether `stream_options` ask for it; see `Service.asks_for_usage`."""
        return field_at(body, "stream_options", "include_usage") is True

    def turns_in(self, body: Mapping[str, Any]) -> object:
        """The turns, in the form of `ChatRequest`; see `Service.turns_in`."""
        turns = body.get("messages")
        return [_turn(turn) for turn in turns] if isinstance(turns, list) else turns

    def tools_in(self, body: Mapping[str, Any]) -> Any:
        """The functions among the tools; see `Service.tools_in`."""
        return functions_in(body.get("tools"))

    def max_tokens_in(self, body: Mapping[str, Any]) -> Any:
        """The limit for the length of the answer; see `Service.max_tokens_in`."""
        return body.get("max_completion_tokens", body.get("max_tokens"))

    def output_schema_in(self, body: Mapping[str, Any]) -> Any:
        """The JSON Schema of the answer; see `Service.output_schema_in`."""
        return field_at(body, "response_format", "json_schema", "schema")


class OpenAIWriter(Writer):
    """Writes one response. A tool call comes in pieces, the finish reason and the usage apart."""

    def __init__(self) -> None:
        self._calls = 0
        self._begun = False

    def write(self, chunk: StreamChunk) -> Sequence[WrittenEvent]:
        """The events of a chunk; see `Writer.write`."""
        if isinstance(chunk, ErrorChunk):
            return [_event({"error": {"message": chunk.message, "code": chunk.code}})]
        begin = [] if self._begun else [_delta({"role": "assistant", "content": None})]
        self._begun = True
        return [*begin, *self._events(chunk)]

    def _events(self, chunk: StreamChunk) -> list[WrittenEvent]:
        if isinstance(chunk, ContentChunk):
            return [_delta({"content": chunk.content, **chunk.extra})]
        if isinstance(chunk, ReasoningChunk):
            return [_delta({"reasoning_content": chunk.text})]
        if isinstance(chunk, ToolCallChunk):
            return self._call(chunk)
        if isinstance(chunk, DoneChunk):
            return _ending(chunk)
        return [_event(chunk.data)] if isinstance(chunk, UnknownChunk) else []

    def _call(self, chunk: ToolCallChunk) -> list[WrittenEvent]:
        index, self._calls = self._calls, self._calls + 1
        tool, half = chunk.tool, len(chunk.tool.arguments) // 2
        first: dict[str, Any] = {"function": {"name": tool.name, "arguments": ""}}
        first |= {"id": tool.id} if tool.id is not None else {}
        pieces = [tool.arguments[:half], tool.arguments[half:]]
        later = [{"function": {"arguments": piece}} for piece in pieces if piece]
        return [_delta({"tool_calls": [{"index": index, **piece}]}) for piece in (first, *later)]


def _ending(chunk: DoneChunk) -> list[WrittenEvent]:
    fields = {"model": chunk.model} if chunk.model else {}
    fields |= {"id": chunk.id} if chunk.id else {}
    events = []
    if chunk.finish_reason or fields or chunk.extra:
        choice = {"index": 0, "delta": {}, "finish_reason": chunk.finish_reason}
        events.append(_event({"choices": [choice], **fields, **chunk.extra}))
    if chunk.usage:
        usage = _event({"choices": [], "usage": _usage(chunk.usage)})
        events.append(attrs.evolve(usage, on_request=True))
    return [*events, WrittenEvent("[DONE]")]


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def _delta(delta: Mapping[str, Any]) -> WrittenEvent:
    return _event({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})


def _event(fields: Mapping[str, Any]) -> WrittenEvent:
    return WrittenEvent(json_text({"object": "chat.completion.chunk", **fields}))


def _turn(turn: Any) -> Any:
    calls, content = field_at(turn, "tool_calls"), field_at(turn, "content")
    fields = {"tool_calls": [_flat(call) for call in calls]} if isinstance(calls, list) else {}
    fields |= {"content": [_part(part) for part in content]} if isinstance(content, list) else {}
    return turn | fields if fields else turn


def _part(part: Any) -> Any:
    file = field_at(part, "file")
    return file_in(file) if isinstance(file, dict) else part


def _flat(call: Any) -> Any:
    function = call.get("function") if isinstance(call, dict) else None
    return call | function if isinstance(function, dict) else call
