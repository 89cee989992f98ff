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
from .base import Service, Writer, WrittenEvent, field_at, file_in, json_text

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

_ROLES: dict[str, dict[str, Any]] = {
    "message": {"role": "assistant", "content": []},
    "reasoning": {"summary": []},
}
"""The first fields of an item, by its type."""


class ResponsesWriter(Writer):
    """Writes one response, each text and each tool call as an item with its events.

    Encrypted reasoning in the state of the ending becomes items, in the order of that state.
    """

    def __init__(self) -> None:
        self._begun = False
        self._items: list[dict[str, Any]] = []  # those that are done
        self._open: dict[str, Any] = {}  # the one that is not
        self._pieces: list[str] = []  # its text
        self._kept: list[dict[str, Any]] = []  # of the state, what is not written

    def write(self, chunk: StreamChunk) -> Sequence[WrittenEvent]:
        """The events of a chunk; see `Writer.write`."""
        return [*([] if self._begun else self._begin()), *self._events(chunk)]

    def _begin(self) -> list[WrittenEvent]:
        self._begun = True
        done = self.ending or DoneChunk()
        self._kept = [*(done.state or {}).get("responses", {}).get("items", ())]
        response = {"status": "in_progress", "output": [], **_names(done)}
        return [_event("response.created", response=response)]

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
        return [*self._before("end"), _ending(chunk, self._items)]

    def _delta(self, kind: str, text: str) -> list[WrittenEvent]:
        events = []
        if self._open.get("type") != kind:
            events = self._before(kind)
            kept = self._kept.pop(0) if kind == "reasoning" and self._next(kind) else {}
            events.append(self._start({"type": kind, **_ROLES[kind], **kept}))
            events.append(self._placed("content_part.added", part=_part(kind, "")))
        self._pieces.append(text)
        return [*events, self._placed(f"{_PARTS[kind]}.delta", delta=text)]

    def _placed(self, kind: str, **fields: Any) -> WrittenEvent:
        place = {"item_id": self._open["id"], "content_index": 0}
        return self._indexed(f"response.{kind}", **place, **fields)

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
        self._open = {"id": f"item-{len(self._items) + 1}", **fields}
        item = {name: value for name, value in self._open.items() if name != "encrypted_content"}
        return self._indexed("response.output_item.added", item=item | _status(item, "in_progress"))

    def _stop(self, **fields: Any) -> list[WrittenEvent]:
        """End the item that is open, if one is."""
        if not self._open:
            return []
        item, text = self._open | fields, "".join(self._pieces)
        self._open, self._pieces = {}, []
        if text:
            item["content"] = [_part(item["type"], text)]
        item |= _status(item, "completed")
        event = self._indexed("response.output_item.done", item=item)
        self._items.append(item)
        return [event]

    def _indexed(self, kind: str, **fields: Any) -> WrittenEvent:
        return _event(kind, output_index=len(self._items), **fields)


_STATUSES = {"length": "max_output_tokens", "content_filter": "content_filter"}


def _ending(chunk: DoneChunk, items: list[dict[str, Any]]) -> WrittenEvent:
    reason = _STATUSES.get(chunk.finish_reason or "")
    fields: dict[str, Any] = {"status": "incomplete" if reason else "completed"}
    fields |= {"incomplete_details": {"reason": reason}} if reason else {}
    fields |= {"output": items, **_names(chunk)}
    if chunk.usage:
        fields["usage"] = {
            "input_tokens": chunk.usage.prompt_tokens,
            "input_tokens_details": {"cached_tokens": chunk.usage.cached_tokens},
            "output_tokens": chunk.usage.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": chunk.usage.reasoning_tokens},
            "total_tokens": chunk.usage.total_tokens,
        }
    return _event(f"response.{fields['status']}", response=fields)


def _names(chunk: DoneChunk) -> dict[str, Any]:
    model = {"model": chunk.model} if chunk.model else {}
    return {"object": "response", **model} | ({"id": chunk.id} if chunk.id else {})


def _status(item: Mapping[str, Any], status: str) -> dict[str, Any]:
    return {} if item["type"] == "reasoning" else {"status": status}


def _part(kind: str, text: str) -> dict[str, Any]:
    annotations: dict[str, Any] = {"annotations": []} if kind == "message" else {}
    return {"type": _PARTS[kind], "text": text, **annotations}


def _event(kind: str, **fields: Any) -> WrittenEvent:
    return WrittenEvent(json_text({"type": kind, **fields}), kind)


def _turns(items: Sequence[Any]) -> list[Any]:
    """Turns again: the calls of one answer belong to the turn before them."""
    turns: list[Any] = []
    for item in items:
        kind = item.get("type") if isinstance(item, dict) else None
        if kind == "function_call":
            call = {**item, "id": item.get("call_id")}
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
            content = field_at(item, "content")
            several = isinstance(content, list)
            turns.append(item | {"content": [*map(_input, content)]} if several else item)
    return turns


def _input(part: Any) -> Any:
    kind = field_at(part, "type")
    if kind == "input_file":
        return file_in(part)
    return part | {"type": "text"} if kind == "input_text" else part
