"""The turns, parts and tools of a chat in the form of OpenAI Responses.

Pure. What is in that form already stays as it is. Knows nothing of responses.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..openai_form import data_url
from ..turn_fields import calls_in, in_places, shortened, state_in, with_ids

__all__ = ["CALL", "PLACES", "STATE", "items_of", "tool_of"]

STATE = "responses"
"""The name of this format in the state of a message."""

CALL = "function_call"
"""The type of an item that calls a tool."""

PLACES = {"message": "text", CALL: "call"}
"""Items that a message has whole: of these only the place is kept."""


def items_of(turns: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The items that turns are here; one in the service's own form stays as it is."""
    numbered = enumerate(with_ids(turns, lambda identity: shortened(identity, 64)))
    return [item for place, turn in numbered for item in _items(turn, place)]


def _items(turn: Mapping[str, Any], place: int) -> Iterator[Mapping[str, Any]]:
    if turn.get("role") == "tool":
        identity, content = turn.get("tool_call_id"), turn.get("content")
        if isinstance(content, list):
            content = [_part(part, out=False) for part in content]
        yield {"type": "function_call_output", "call_id": identity, "output": content}
        return
    texts = [_message(turn, place)] if turn.get("content") else []
    kept = state_in(turn, STATE, "items")
    items = in_places(kept, texts, map(_call, calls_in(turn)), kind_of=_kind)
    # The turn has all its text in one, so that another place of text has none.
    items = [item for item in items if _kind(item) != "text" or "content" in item]
    while items and items[-1].get("type") == "reasoning":
        items.pop()  # refused: the service wants to see what it led to
    yield from items or [_message(turn, place)]


def _kind(item: Mapping[str, Any]) -> str | None:
    return PLACES.get(str(item.get("type")))


def _call(call: tuple[Any, Any, Any]) -> dict[str, Any]:
    identity, name, arguments = call
    # Servers parse the arguments, and refuse an empty text.
    fields = {"call_id": identity, "name": name, "arguments": arguments or "{}"}
    return {"type": CALL, **fields}


def _message(turn: Mapping[str, Any], place: int) -> dict[str, Any]:
    fields = {name: value for name, value in turn.items() if name not in ("tool_calls", "state")}
    out, content = turn.get("role") == "assistant", turn.get("content")
    if out and isinstance(content, str):  # llama.cpp takes an answer in this form only
        content = [{"type": "text", "text": content}]
    if isinstance(content, list):
        fields["content"] = [_part(part, out=out) for part in content]
    if not out:
        return fields
    # vLLM and Azure refuse an answer without these, which OpenAI itself can do without.
    identity = hashlib.sha256(f"{place} {content}".encode("utf-8", "replace")).hexdigest()[:32]
    return {"type": "message", "id": f"msg_{identity}", "status": "completed", **fields}


def _part(part: Any, *, out: bool) -> Any:
    if part.get("type") == "text":
        text = part.get("text")
        if out:
            return {"type": "output_text", "text": text, "annotations": []}
        return {"type": "input_text", "text": text}
    if part.get("type") == "image":
        url = part.get("url") or data_url(part)
        # Servers that check by OpenAI's own types, such as vLLM, refuse an image without a detail.
        return {"type": "input_image", "image_url": url, "detail": part.get("detail", "auto")}
    if part.get("type") == "file":
        return {"type": "input_file", "filename": part.get("name"), "file_data": data_url(part)}
    return part


def tool_of(tool: Any) -> Any:
    """A tool of `ChatRequest` as a function; one in another form stays as it is."""
    known = isinstance(tool, Mapping) and "parameters" in tool and "type" not in tool
    return {"type": "function", **tool} if known else tool
