"""The wire of OpenAI Responses, and of the servers compatible with it.

Does no I/O. The source is OpenAI's API reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..chunks import DoneChunk, StreamChunk
from .base import ChatRequest, ReadResult, Wire
from .lenient_json import cleaned
from .openai_form import data_url, usage_in
from .pieces import (
    Texts,
    beyond_allowance,
    collected,
    error_chunk,
    json_object,
    optional,
    text_in,
    whole_call,
)
from .turn_fields import calls_in, in_places, state_in

__all__ = ["Responses", "ResponsesReader"]

STATE = "responses"
"""The name of this format in the state of a message."""

_CALL = "function_call"

_PLACES = {"message": "text", _CALL: "call"}
"""Items that a message has whole: of these only the place is kept."""

_SENT_BACK = ("type", "id", "summary", "encrypted_content")
"""Fields of a reasoning item that the service takes back. It refuses others that it sends."""

_PARAMETER_NAMES = {"max_tokens": "max_output_tokens"}
"""Usual names of parameters that have another one here."""

_REASONS = {"max_output_tokens": "length"}
"""Why a response is incomplete, in the words of `DoneChunk`."""


class Responses(Wire):
    """OpenAI Responses; see `Wire`."""

    name = "responses"
    base_url = "https://api.openai.com/v1"
    path = "/responses"
    models_path = "/models"
    key_variable = "OPENAI_API_KEY"
    request_id_headers: tuple[str, ...] = ("x-request-id", "apim-request-id")

    def body(self, request: ChatRequest) -> dict[str, Any]:
        """Build the request's JSON; see `Wire.body`.

        Args:
            request: What the user asks for.
        """
        body: dict[str, Any] = {"input": [item for turn in request.turns for item in _items(turn)]}
        if request.model is not None:
            body["model"] = request.model
        body["stream"] = True
        if request.tools:
            body["tools"] = [_tool(tool) for tool in request.tools]
        if request.output_schema is not None:
            form = {"type": "json_schema", "name": "answer", "schema": request.output_schema}
            body["text"] = {"format": form}
        names = _PARAMETER_NAMES
        return body | {names.get(name, name): value for name, value in request.params.items()}

    def reader(self) -> ResponsesReader:
        """Make the reader of one response."""
        return ResponsesReader()


class ResponsesReader:
    """Reads the events of one response; see `Reader`. An event's type stands in its data, too."""

    done: DoneChunk | None = None
    """None: an event says that the response is complete."""

    def __init__(self) -> None:
        self._texts = Texts()
        self._kept: list[dict[str, Any]] = []
        self._size = 0
        self._said: set[str] = set()  # the parts whose text has come

    @property
    def held(self) -> int:
        """Characters of what the service must get back, and of names of parts; see `Reader`."""
        return beyond_allowance(self._size)

    def read(self, data: str) -> ReadResult:
        """Read the data of one event; see `Reader.read`."""
        fields = json_object(data)
        kind = fields.get("type")
        if kind in ("keepalive", "ping"):
            return None
        read = _EVENTS.get(kind) if isinstance(kind, str) else None
        if read is None and "error" in fields:
            return [*self._texts.flush(), error_chunk(fields)]
        return collected(read(self, fields) if read else (), data)

    def _say(self, fields: dict[str, Any]) -> Iterator[StreamChunk]:
        part = _part_of(fields)
        if part not in self._said:
            self._said.add(part)
            self._size += len(part)
        yield from self._texts.say(optional(fields, "delta", str))

    def _said_whole(self, fields: dict[str, Any]) -> Iterator[StreamChunk]:
        """The text of a part once more; some servers send it only now."""
        if _part_of(fields) not in self._said:
            yield from self._say({**fields, "delta": _whole_text(fields)})

    def _think(self, fields: dict[str, Any]) -> Iterator[StreamChunk]:
        yield from self._texts.think(optional(fields, "delta", str))

    def _item(self, fields: dict[str, Any]) -> Iterator[StreamChunk]:
        """An item that is complete: a tool call stands there as a whole."""
        item = optional(fields, "item", dict)
        kind = item.get("type")
        if kind == _CALL:
            yield whole_call(item, item.get("arguments"), text_in(item, "call_id"))
        if kind == "reasoning" and text_in(item, "encrypted_content"):
            fields = {name: item[name] for name in _SENT_BACK if name in item}
            self._keep({"summary": [], **cleaned(fields)})
        elif kind in tuple(_PLACES):
            self._keep({"type": kind})

    def _keep(self, item: dict[str, Any]) -> None:
        self._kept.append(item)
        self._size += len(str(item))

    def _end(self, fields: dict[str, Any]) -> Iterator[StreamChunk]:
        response = optional(fields, "response", dict)
        if response.get("error"):
            yield from self._fail(fields)
            return
        yield from self._not_said(optional(response, "output", list))
        yield from self._texts.flush()
        kinds = {item["type"] for item in self._kept}
        yield DoneChunk(
            usage_in(response.get("usage"), "input_tokens", "output_tokens"),
            _cut(fields["type"], response) or ("tool_calls" if _CALL in kinds else "stop"),
            text_in(response, "model"),
            text_in(response, "id"),
            state={STATE: {"items": self._kept}} if "reasoning" in kinds else None,
        )

    def _not_said(self, output: list[Any]) -> Iterator[StreamChunk]:
        """What the whole response has, and has not come before: some servers send it only now."""
        came = {item["type"] for item in self._kept}
        for item in output:
            kind = optional(item, "type", str)
            if kind not in came:
                yield from self._item({"item": item})
            for part in optional(item, "content", list) if kind == "message" else ():
                if not self._said:
                    yield from self._texts.say(_whole_text(part))

    def _fail(self, fields: dict[str, Any]) -> Iterator[StreamChunk]:
        yield from self._texts.flush()
        yield error_chunk(optional(fields, "response", dict) or fields)


_EVENTS: Mapping[str, Callable[[ResponsesReader, dict[str, Any]], Iterator[StreamChunk]]] = {
    "response.output_text.delta": ResponsesReader._say,
    "response.output_text.done": ResponsesReader._said_whole,
    "response.refusal.delta": ResponsesReader._say,
    "response.refusal.done": ResponsesReader._said_whole,
    "response.reasoning_text.delta": ResponsesReader._think,
    "response.reasoning_summary_text.delta": ResponsesReader._think,
    "response.output_item.done": ResponsesReader._item,
    "response.completed": ResponsesReader._end,
    "response.incomplete": ResponsesReader._end,
    "response.failed": ResponsesReader._fail,
    "error": ResponsesReader._fail,
}
"""What says something. All other events tell of the response's structure."""


def _whole_text(part: Mapping[str, Any]) -> str:
    text: str = optional(part, "text", str) or optional(part, "refusal", str)
    return text


def _part_of(fields: Mapping[str, Any]) -> str:
    """What names the part that a piece of text belongs to. Some servers change the item's id."""
    names = ("item_id" if fields.get("output_index") is None else "output_index", "content_index")
    return repr([fields.get(name) for name in names])


def _cut(event: str, response: Mapping[str, Any]) -> str | None:
    """Why a response is incomplete, None if it is complete."""
    reason = text_in(optional(response, "incomplete_details", dict), "reason")
    cut = "incomplete" in (event.rpartition(".")[2], response.get("status"))
    return _REASONS.get(reason, reason) if reason else "length" if cut else None


# --- what is sent --------------------------------------------------------------------------------


def _items(turn: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The items of a turn; one in the service's own form stays as it is."""
    if turn.get("role") == "tool":
        identity, content = turn.get("tool_call_id"), turn.get("content")
        yield {"type": "function_call_output", "call_id": identity, "output": content}
        return
    texts = [_message(turn)] if turn.get("content") else []
    kept = state_in(turn, STATE, "items")
    items = in_places(kept, texts, map(_call, calls_in(turn)), kind_of=_kind)
    while items and items[-1].get("type") == "reasoning":
        items.pop()  # refused: the service wants to see what it led to
    yield from items or [_message(turn)]


def _kind(item: Mapping[str, Any]) -> str | None:
    return _PLACES.get(str(item.get("type")))


def _call(call: tuple[Any, Any, Any]) -> dict[str, Any]:
    identity, name, arguments = call
    fields = {"call_id": identity, "name": name, "arguments": arguments}
    return {"type": "function_call", **fields}


def _message(turn: Mapping[str, Any]) -> dict[str, Any]:
    fields = {name: value for name, value in turn.items() if name not in ("tool_calls", "state")}
    out, content = turn.get("role") == "assistant", turn.get("content")
    if out and isinstance(content, str):  # llama.cpp takes an answer in this form only
        content = [{"type": "text", "text": content}]
    if isinstance(content, list):
        fields["content"] = [_part(part, out=out) for part in content]
    return {"type": "message", **fields} if out else fields


def _part(part: Any, *, out: bool) -> Any:
    if part.get("type") == "text":
        return {"type": "output_text" if out else "input_text", "text": part.get("text")}
    if part.get("type") == "image":
        return {"type": "input_image", "image_url": part.get("url") or data_url(part)}
    if part.get("type") == "file":
        return {"type": "input_file", "filename": part.get("name"), "file_data": data_url(part)}
    return part


def _tool(tool: Any) -> Any:
    known = isinstance(tool, Mapping) and "parameters" in tool and "type" not in tool
    return {"type": "function", **tool} if known else tool
