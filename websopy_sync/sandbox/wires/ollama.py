"""Ollama's own API as a server writes and reads it.

Does no I/O. The client's side is `websopy_sync.wires.ollama`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ...chunks import (
    ContentChunk,
    DoneChunk,
    ErrorChunk,
    ReasoningChunk,
    StreamChunk,
    ToolCallChunk,
    UnknownChunk,
)
from ...wires.base import Wire
from ...wires.ollama import Ollama
from .base import Service, Writer, WrittenEvent, field_at, functions_in, json_text

__all__ = ["OllamaService", "OllamaWriter"]


class OllamaService(Service):
    """An Ollama server; see `Service`."""

    wire: Wire = Ollama()
    stream_default: bool | None = True

    def writer(self) -> OllamaWriter:
        """Make the writer of one response."""
        return OllamaWriter()

    def turns_in(self, body: Mapping[str, Any]) -> object:
        """The turns, in the form of `ChatRequest`; see `Service.turns_in`."""
        turns = body.get("messages")
        return [_turn(turn) for turn in turns] if isinstance(turns, list) else turns

    def models_as_json(self, names: Sequence[str]) -> dict[str, Any]:
        """The list of models; see `Service.models_as_json`."""
        return {"models": [{"name": name, "model": name} for name in names]}

    def tools_in(self, body: Mapping[str, Any]) -> Any:
        """The functions among the tools; see `Service.tools_in`."""
        return functions_in(body.get("tools"))

    def max_tokens_in(self, body: Mapping[str, Any]) -> Any:
        """The limit for the length of the answer; see `Service.max_tokens_in`."""
        return field_at(body, "options", "num_predict")

    def output_schema_in(self, body: Mapping[str, Any]) -> Any:
        """The JSON Schema of the answer; see `Service.output_schema_in`."""
        return body.get("format")


class OllamaWriter(Writer):
    """Writes one response: a line for each chunk."""

    def write(self, chunk: StreamChunk) -> Sequence[WrittenEvent]:
        """The line of a chunk; see `Writer.write`."""
        fields: Mapping[str, Any] = {}
        if isinstance(chunk, ErrorChunk):
            code = {"code": chunk.code} if chunk.code else {}
            return [_line({"error": chunk.message, **code})]
        if isinstance(chunk, ContentChunk):
            fields = {"content": chunk.content}
        elif isinstance(chunk, ReasoningChunk):
            fields = {"content": "", "thinking": chunk.text}
        elif isinstance(chunk, ToolCallChunk):
            fields = {"content": "", "tool_calls": [_call(chunk)]}
        elif isinstance(chunk, DoneChunk):
            return [_line(_ending(chunk))]
        elif isinstance(chunk, UnknownChunk):
            return [_line(chunk.data)]
        return [_line({"message": {"role": "assistant", **fields}, "done": False})]


def _call(chunk: ToolCallChunk) -> dict[str, Any]:
    identity = {"id": chunk.tool.id} if chunk.tool.id is not None else {}
    arguments = json.loads(chunk.tool.arguments or "{}")
    return {**identity, "function": {"name": chunk.tool.name, "arguments": arguments}}


def _ending(chunk: DoneChunk) -> dict[str, Any]:
    fields: dict[str, Any] = {"message": {"role": "assistant", "content": ""}, "done": True}
    fields |= {"done_reason": chunk.finish_reason} if chunk.finish_reason else {}
    fields |= {"model": chunk.model} if chunk.model else {}
    if chunk.usage:
        fields["prompt_eval_count"] = chunk.usage.prompt_tokens
        fields["eval_count"] = chunk.usage.completion_tokens
    return fields | chunk.extra


def _line(fields: Mapping[str, Any]) -> WrittenEvent:
    return WrittenEvent(json_text(fields))


def _turn(turn: Any) -> Any:
    """A turn in the form of `ChatRequest`. Calls have no ids: a result belongs to a name."""
    if not isinstance(turn, dict):
        return turn
    fields = dict(turn)
    if fields.get("role") == "tool" and "tool_name" in fields:
        fields["name"] = fields.pop("tool_name")
    if isinstance(fields.get("tool_calls"), list):
        fields["tool_calls"] = [_flat(call) for call in fields["tool_calls"]]
    return fields


def _flat(call: Any) -> Any:
    function = call.get("function") if isinstance(call, dict) else None
    return function if isinstance(function, dict) else call
