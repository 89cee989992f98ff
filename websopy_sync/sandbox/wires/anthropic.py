"""Anthropic Messages as a service writes and reads it.

Does no I/O. The client's side is `websopy_sync.wires.anthropic`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
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
from ...surrogates import scalar_text
from ...usage import Usage
from ...wires.anthropic import Anthropic
from ...wires.base import Wire
from .base import Service, Writer, WrittenEvent, field_at, json_text

__all__ = ["AnthropicService", "AnthropicWriter"]

_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}


class AnthropicService(Service):
    """A server of Messages; see `Service`."""

    wire: Wire = Anthropic()
    stream_default: bool | None = False

    def writer(self) -> AnthropicWriter:
        """Make the writer of one response."""
        return AnthropicWriter()

    def turns_in(self, body: Mapping[str, Any]) -> object:
        """The turns, in the form of `ChatRequest`; see `Service.turns_in`."""
        turns, system = body.get("messages"), body.get("system")
        if not isinstance(turns, list):
            return turns
        first = [{"role": "system", "content": system}] if system else []
        return [*first, *(part for turn in turns for part in _turns(turn))]

    def models_as_json(self, names: Sequence[str]) -> dict[str, Any]:
        """The list of models; see `Service.models_as_json`."""
        models = [{"type": "model", "id": name, "display_name": name} for name in names]
        return {"data": models, "has_more": False, "first_id": names[0], "last_id": names[-1]}

    def tools_in(self, body: Mapping[str, Any]) -> Any:
        """The tools, with their parameters; see `Service.tools_in`."""
        tools = body.get("tools")
        if not isinstance(tools, list):
            return tools
        return [
            tool | {"parameters": tool["input_schema"]}
            if isinstance(tool, dict) and "input_schema" in tool
            else tool
            for tool in tools
        ]

    def output_schema_in(self, body: Mapping[str, Any]) -> Any:
        """The JSON Schema of the answer; see `Service.output_schema_in`."""
        return field_at(body, "output_config", "format", "schema")


class AnthropicWriter(Writer):
    """Writes one response: each run of text and of reasoning is a block, and so is a tool call."""

    def __init__(self) -> None:
        self._begun = False
        self._index = -1
        self._kind = ""
        self._calls = 0
        self._signatures: Iterator[Any] = iter(())

    def write(self, chunk: StreamChunk) -> Sequence[WrittenEvent]:
        """The events of a chunk; see `Writer.write`."""
        events = [] if self._begun else self._begin()
        self._begun = True
        if isinstance(chunk, ContentChunk):
            block = {"type": "text", "text": ""}
            return [*events, *self._piece(block, "text_delta", "text", chunk.content)]
        if isinstance(chunk, ReasoningChunk):
            block = {"type": "thinking", "thinking": "", "signature": ""}
            return [*events, *self._piece(block, "thinking_delta", "thinking", chunk.text)]
        if isinstance(chunk, UnknownChunk):
            return [*events, _event({**chunk.data, "type": chunk.type})]
        if isinstance(chunk, ErrorChunk):
            error = {"type": chunk.code or "api_error", "message": chunk.message}
            return [*events, _event({"type": "error", "error": error})]
        events += self._stop()
        return [*events, *(self._call(chunk) if isinstance(chunk, ToolCallChunk) else _end(chunk))]

    def _begin(self) -> list[WrittenEvent]:
        done = self.ending or DoneChunk()
        state = (done.state or {}).get("anthropic", {}).get("blocks", ())
        self._signatures = iter([b["signature"] for b in state if b.get("type") == "thinking"])
        message: dict[str, Any] = {
            "id": done.id or "msg_sandbox",
            "type": "message",
            "role": "assistant",
            "content": [],
            "model": done.model or "sandbox",
            "stop_reason": None,
            "stop_sequence": None,
            "usage": _prompt_usage(done.usage or Usage(0, 0)) | {"output_tokens": 1},
        }
        return [_event({"type": "message_start", "message": message})]

    def _piece(self, block: Mapping[str, Any], kind: str, name: str, text: str) -> list[Any]:
        events = []
        if self._kind != block["type"]:
            events = [*self._stop(), self._start(block)]
        return [*events, self._delta({"type": kind, name: text})]

    def _call(self, chunk: ToolCallChunk) -> list[WrittenEvent]:
        tool, half = chunk.tool, len(chunk.tool.arguments) // 2
        self._calls += 1
        identity = tool.id or f"toolu_{self._calls}"
        block = {"type": "tool_use", "id": identity, "name": tool.name, "input": {}}
        pieces = ("", tool.arguments[:half], tool.arguments[half:])
        deltas = ({"type": "input_json_delta", "partial_json": piece} for piece in pieces)
        return [self._start(block), *map(self._delta, deltas), *self._stop()]

    def _start(self, block: Mapping[str, Any]) -> WrittenEvent:
        self._index += 1
        self._kind = block["type"]
        event = {"type": "content_block_start", "index": self._index, "content_block": block}
        return _event(event)

    def _delta(self, delta: Mapping[str, Any]) -> WrittenEvent:
        return _event({"type": "content_block_delta", "index": self._index, "delta": delta})

    def _stop(self) -> list[WrittenEvent]:
        """End the block that is open."""
        kind, self._kind = self._kind, ""
        if not kind:
            return []
        signature = next(self._signatures, None) if kind == "thinking" else None
        signed = {"type": "signature_delta", "signature": signature}
        stop = _event({"type": "content_block_stop", "index": self._index})
        return [self._delta(signed), stop] if signature else [stop]


def _end(chunk: DoneChunk) -> list[WrittenEvent]:
    reason = chunk.finish_reason and _REASONS.get(chunk.finish_reason, chunk.finish_reason)
    usage = chunk.usage or Usage(0, 0)
    counts: dict[str, Any] = {"output_tokens": usage.completion_tokens}
    if usage.reasoning_tokens:
        counts["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    delta = {"stop_reason": reason, "stop_sequence": None, **chunk.extra}
    return [
        _event({"type": "message_delta", "delta": delta, "usage": counts}),
        _event({"type": "message_stop"}),
    ]


def _prompt_usage(usage: Usage) -> dict[str, Any]:
    """The counts of the prompt, with those of the cache apart from the others."""
    cached = min(usage.cached_tokens, usage.prompt_tokens)
    return {
        "input_tokens": usage.prompt_tokens - cached,
        "cache_read_input_tokens": cached,
        "cache_creation_input_tokens": 0,
    }


def _event(fields: Mapping[str, Any]) -> WrittenEvent:
    return WrittenEvent(json_text(fields), event=scalar_text(str(fields["type"])))


# --- what a request says -------------------------------------------------------------------------


def _turns(turn: Any) -> Iterator[Any]:
    """A turn in the form of `ChatRequest`; several where it has results of tools."""
    content = turn.get("content") if isinstance(turn, dict) else None
    if not isinstance(content, list):
        yield turn
        return
    blocks = [block for block in content if isinstance(block, dict)]
    for block in blocks:
        if block.get("type") == "tool_result":
            result = {"role": "tool", "tool_call_id": block.get("tool_use_id")}
            yield result | {"content": block.get("content") or ""}
    calls = [_flat(block) for block in blocks if block.get("type") == "tool_use"]
    rest = [_part(part) for part in content if _kind(part) not in ("tool_use", "tool_result")]
    if rest or not blocks:
        yield {**turn, "content": rest, **({"tool_calls": calls} if calls else {})}
    elif calls:
        yield {**turn, "content": None, "tool_calls": calls}


def _kind(part: Any) -> Any:
    return part.get("type") if isinstance(part, dict) else None


def _flat(block: Mapping[str, Any]) -> dict[str, Any]:
    arguments = json.dumps(block.get("input"), ensure_ascii=False)
    return {"name": block.get("name"), "arguments": arguments, "id": block.get("id")}


def _part(part: Any) -> Any:
    """An image or a document in the form of `ChatRequest`."""
    source = part.get("source") if isinstance(part, dict) else None
    if not isinstance(source, dict):
        return part
    if source.get("type") == "url":
        return {"type": "image", "url": source.get("url")}
    if source.get("type") != "base64":
        return {"type": "text", "text": str(source.get("data", ""))}
    data = {"media_type": source.get("media_type"), "data": source.get("data")}
    if part.get("type") == "image":
        return {"type": "image", **data}
    return {"type": "file", "name": str(part.get("title", "")), **data}
