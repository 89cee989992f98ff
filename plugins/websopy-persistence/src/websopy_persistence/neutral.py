"""Reads the turns of a request's body, in the form of this package: docs/wire.md of websopy-sync.

Pure. Knows how the services write a turn, and nothing of databases. What it does not know stays as
it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["part_of", "turns_in"]

_NAMES = {"toolCalls": "tool_calls", "toolCallId": "tool_call_id"}


def turns_in(body: Mapping[str, Any] | None) -> list[dict[str, Any]] | None:
    """The turns of a body; None when it has none, or not in a form that is known here."""
    turns = (body or {}).get("messages")
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        return None
    return [_turn_of(turn) for turn in turns]


def _turn_of(turn: Mapping[str, Any]) -> dict[str, Any]:
    fields = {_NAMES.get(name, name): value for name, value in turn.items()}
    for name, form in (("content", part_of), ("tool_calls", _call_of)):
        if isinstance(fields.get(name), list):
            fields[name] = [form(value) for value in fields[name]]
    return fields


def _call_of(call: Any) -> Any:
    """A tool call; OpenAI has its name and its arguments in an object `function`."""
    function = _object(call, "function")
    if not {"name", "arguments"} <= function.keys():
        return call
    return {"name": function["name"], "arguments": function["arguments"], "id": call.get("id")}


def part_of(part: Any) -> Any:
    """A part of a turn: a text, an image, a file, or whatever it was."""
    url, file = _object(part, "image_url").get("url"), _object(part, "file")
    if isinstance(url, str):
        media_type, data = _data_url(url)
        if data is None:
            return {"type": "image", "url": url}
        return {"type": "image", "media_type": media_type, "data": data}
    if isinstance(file.get("file_data"), str):
        media_type, data = _data_url(file["file_data"])
        name = file.get("filename")
        if data is not None:
            return {"type": "file", "name": name, "media_type": media_type, "data": data}
    if isinstance(part, dict) and "mediaType" in part:
        return {"media_type" if key == "mediaType" else key: part[key] for key in part}
    return part


def _object(value: Any, name: str) -> dict[str, Any]:
    inner = value.get(name) if isinstance(value, dict) else None
    return inner if isinstance(inner, dict) else {}


def _data_url(url: str) -> tuple[str, str | None]:
    """The type and the base64 of `data:image/png;base64,…`; no data for any other URL."""
    head, comma, data = url.partition(",")
    if not (comma and head.startswith("data:") and head.endswith(";base64")):
        return "", None
    return head.removeprefix("data:").removesuffix(";base64"), data
