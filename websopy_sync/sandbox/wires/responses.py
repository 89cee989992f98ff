"""OpenAI Responses as a service writes and reads it.

Does no I/O. The client's side is `websopy_sync.wires.responses`.
"""

from __future__ import annotations

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
from ...wires.responses import Responses
from .base import Service, Writer, WrittenEvent, field_at, json_text

__all__ = ["ResponsesService", "ResponsesWriter"]


class ResponsesService(Service):
    """A server of Responses; see `Service`."""

    wire: Wire = Responses()
    stream_default: bool | None = False

    def writer(self) -> ResponsesWriter:
        """Make the writer of one response."""
        return ResponsesWriter()

    def turns_in(self, body: Mapping[str, Any]) -> object:
        """The turns, in the form of `ChatRequest`; see `Service.turns_in`."""
        items = body.get("input")
        if isinstance(items, str):
            return [{"role": "user", "content": items}]
        return _turns(items) if isinstance(items, list) else items

    def max_tokens_in(self, body: Mapping[str, Any]) -> Any:
        """The limit for the length of the answer; see `Service.max_tokens_in`."""
        return body.get("max_output_tokens")

    def output_schema_in(self, body: Mapping[str, Any]) -> Any:
        """The JSON Schema of the answer; see `Service.output_schema_in`."""
        return field_at(body, "text", "format", "schema")


_PARTS = {"message": "output_text", "reasoning": "reasoning_text"}
"""The kind of the text in each item that has one."""


class ResponsesWriter(Writer):
    """Writes one response, each text and each tool call as an item with its events.

    Encrypted reasoning in the state of the ending becomes items, in the order of that state.
    """

    def __init__(self) -> None:
        self._begun = False
        self._items = 0
        self._open: dict[str, Any] = {}  # the item that is not done
        self._pieces: list[str] = []  # its text
        self._kept: list[dict[str, Any]] = []  # of the state, what is not written

    def write(self, chunk: StreamChunk) -> Sequence[WrittenEvent]:
        """The events of a chunk; see `Writer.write`."""
        return [*([] if self._begun else self._begin()), *self._events(chunk)]

    def _begin(self) -> list[WrittenEvent]:
        self._begun = True
        state = self.ending.state if self.ending else None
        self._kept = [*(state or {}).get("responses", {}).get("items", ())]
        return [_event("response.created", response=_response({}))]

    def _events(self, chunk: StreamChunk) -> list[WrittenEvent]:
        if isinstance(chunk, ContentChunk):
            return self._delta("message", chunk.content)
        if isinstance(chunk, ReasoningChunk):
            return self._delta("reasoning", chunk.text)
        if isinstance(chunk, ToolCallChunk):
            return [*self._before("function_call"), *self._call(chunk)]
        if isinstance(chunk, ErrorChunk):
            return [_event("error", code=chunk.code, message=chunk.message, param=None)]
        if isinstance(chunk, UnknownChunk):
            return [WrittenEvent(json_text(chunk.data))]
        return [*self._before("end"), _ending(chunk)]

    def _delta(self, kind: str, text: str) -> list[WrittenEvent]:
        events = []
        if self._open.get("type") != kind:
            events = self._before(kind)
            kept = self._kept.pop(0) if kind == "reasoning" and self._next(kind) else {}
            events.append(self._start({"type": kind, **kept}))
        self._pieces.append(text)
        place = {"item_id": self._open["id"], "content_index": 0}
        return [*events, self._indexed(f"response.{_PARTS[kind]}.delta", **place, delta=text)]

    def _call(self, chunk: ToolCallChunk) -> list[WrittenEvent]:
        tool, half = chunk.tool, len(chunk.tool.arguments) // 2
        identity = {"call_id": tool.id} if tool.id is not None else {}
        item = {"type": "function_call", "name": tool.name, "arguments": "", **identity}
        start, place = self._start(item), {"item_id": self._open["id"]}
        pieces = (tool.arguments[:half], tool.arguments[half:])
        delta = "response.function_call_arguments.delta"
        deltas = [self._indexed(delta, **place, delta=piece) for piece in pieces]
        return [start, *deltas, *self._stop(arguments=tool.arguments)]

    def _before(self, kind: str) -> list[WrittenEvent]:
        """End the item that is open, and write the reasoning that comes before one of this kind."""
        events = self._stop()
        while kind != "reasoning" and self._next("reasoning"):
            events += [self._start(self._kept.pop(0)), *self._stop()]
        if kind != "reasoning" and self._next(kind):
            self._kept.pop(0)
        return events

    def _next(self, kind: str) -> bool:
        return bool(self._kept) and self._kept[0].get("type") == kind

    def _start(self, fields: Mapping[str, Any]) -> WrittenEvent:
        self._items += 1
        self._open = {"id": f"item-{self._items}", **fields}
        item = {name: value for name, value in self._open.items() if name != "encrypted_content"}
        return self._indexed("response.output_item.added", item=item | {"status": "in_progress"})

    def _stop(self, **fields: Any) -> list[WrittenEvent]:
        """End the item that is open, if one is."""
        item, text = self._open | fields, "".join(self._pieces)
        self._open, self._pieces = {}, []
        if text:
            item["content"] = [{"type": _PARTS[item["type"]], "text": text}]
        done = item | {"status": "completed"}
        return [self._indexed("response.output_item.done", item=done)] if item else []

    def _indexed(self, kind: str, **fields: Any) -> WrittenEvent:
        return _event(kind, output_index=self._items - 1, **fields)


_STATUSES = {"length": "max_output_tokens", "content_filter": "content_filter"}


def _ending(chunk: DoneChunk) -> WrittenEvent:
    reason = _STATUSES.get(chunk.finish_reason or "")
    fields: dict[str, Any] = {"status": "incomplete" if reason else "completed"}
    fields |= {"incomplete_details": {"reason": reason}} if reason else {}
    fields |= {"model": chunk.model} if chunk.model else {}
    fields |= {"id": chunk.id} if chunk.id else {}
    if chunk.usage:
        fields["usage"] = {
            "input_tokens": chunk.usage.prompt_tokens,
            "input_tokens_details": {"cached_tokens": chunk.usage.cached_tokens},
            "output_tokens": chunk.usage.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": chunk.usage.reasoning_tokens},
            "total_tokens": chunk.usage.total_tokens,
        }
    return _event(f"response.{fields['status']}", response=_response(fields))


def _response(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {"object": "response", "status": "in_progress", **fields}


def _event(kind: str, **fields: Any) -> WrittenEvent:
    return WrittenEvent(json_text({"type": kind, **fields}), kind)


def _turns(items: Sequence[Any]) -> list[Any]:
    """Turns again: the calls of one answer belong to the turn before them."""
    turns: list[Any] = []
    for item in items:
        kind = item.get("type") if isinstance(item, dict) else None
        if kind == "function_call":
            call = {"id": item.get("call_id"), **item}
            asked = turns[-1] if turns and isinstance(turns[-1], dict) else {}
            if asked.get("role") == "assistant":
                earlier = asked.get("tool_calls")
                calls = [*earlier, call] if isinstance(earlier, list) else [call]
                turns[-1] = asked | {"tool_calls": calls}
            else:
                turns.append({"role": "assistant", "content": None, "tool_calls": [call]})
        elif kind == "function_call_output":
            identity, output = item.get("call_id"), item.get("output")
            turns.append({"role": "tool", "tool_call_id": identity, "content": output})
        elif kind != "reasoning":
            turns.append(item)
    return turns
