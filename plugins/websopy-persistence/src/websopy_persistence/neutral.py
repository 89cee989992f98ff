"""Reads the turns of a request's body, in the form of this package: docs/wire.md of websopy-sync.

Pure. Knows how the services write a turn, and nothing of databases. What it does not know stays as
it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from websopy_sync.interrupts import is_interrupt

__all__ = ["part_of", "turns_in", "with_messages"]

_NAMES = {"toolCalls": "tool_calls", "toolCallId": "tool_call_id"}


def with_messages(body: Mapping[str, Any]) -> dict[str, Any]:
    """A body with all its turns as `messages`; Anthropic, Gemini and Responses have other places.

    Reasoning is left out. A body of an unknown form stays as it is.
    """
    rest = dict(body)
    for name, turns_of in (("contents", _of_gemini), ("input", _of_responses)):
        turns = None if "messages" in rest else turns_of(rest.get(name))
        if turns:
            rest["messages"] = turns
            del rest[name]
    for name in ("system", "systemInstruction"):
        if rest.get(name) and isinstance(rest.get("messages"), list):
            given = rest.pop(name)
            content = _content(given.get("parts")) if isinstance(given, dict) else given
            rest["messages"] = [{"role": "system", "content": content}, *rest["messages"]]
    return rest


def _of_gemini(contents: Any) -> list[dict[str, Any]]:
    turns: list[dict[str, Any]] = []
    for content in _dicts(contents):
        parts = [part for part in _dicts(content.get("parts")) if not part.get("thought")]
        calls = _dicts([part.get("functionCall") for part in parts])
        results = _dicts([part.get("functionResponse") for part in parts])
        said = [part for part in parts if not part.keys() & {"functionCall", "functionResponse"}]
        role = "assistant" if content.get("role") == "model" else "user"
        for result in results:
            output = _object(result, "response").get("output", result.get("response"))
            turns.append(_result(result.get("id"), output) | {"name": result.get("name")})
        if said or calls:
            turns.append({"role": role, "content": _content(said)})
        if calls:
            turns[-1]["tool_calls"] = [
                _call(call.get("id"), call.get("name"), _dumped(call.get("args") or {}))
                for call in calls
            ]
    return turns


def _of_responses(items: Any) -> list[dict[str, Any]]:
    if isinstance(items, str):
        return [{"role": "user", "content": items}]
    turns: list[dict[str, Any]] = []
    for item in _dicts(items):
        if item.get("type") == "function_call":
            if not (turns and turns[-1]["role"] == "assistant"):
                turns.append({"role": "assistant", "content": ""})
            call = _call(item.get("call_id"), item.get("name"), item.get("arguments"))
            turns[-1].setdefault("tool_calls", []).append(call)
        elif item.get("type") == "function_call_output":
            turns.append(_result(item.get("call_id"), item.get("output")))
        elif "role" in item:
            turns.append({"role": item["role"], "content": _content(item.get("content"))})
    return turns


def _dicts(values: Any) -> list[dict[str, Any]]:
    return [each for each in values if isinstance(each, dict)] if isinstance(values, list) else []


def _content(parts: Any) -> Any:
    """Parts as a content: one that is a text alone as this text."""
    if parts == [] or parts is None:
        return ""
    single = parts[0] if isinstance(parts, list) and len(parts) == 1 else None
    if isinstance(single, dict) and single.keys() - {"type", "annotations"} == {"text"}:
        return single["text"]
    return parts


def _call(identity: Any, name: Any, arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments, "id": identity}


def _result(identity: Any, output: Any) -> dict[str, Any]:
    content = output if isinstance(output, str | list) else _dumped(output)
    return {"role": "tool", "tool_call_id": identity, "content": content}


def _dumped(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except (ValueError, TypeError, RecursionError) as error:
        if is_interrupt(error):
            raise
        return ""  # such a request cannot be sent either


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
    if not isinstance(part, dict):
        return part
    text = part.get("text")
    if part.get("type") in ("input_text", "output_text", None) and isinstance(text, str):
        return {"type": "text", "text": text}
    found = _in_url(part) or _in_object(part)
    if found is None and "mediaType" in part:
        return {"media_type" if key == "mediaType" else key: part[key] for key in part}
    return found or part


def _in_url(part: dict[str, Any]) -> dict[str, Any] | None:
    """An image or a file in one of OpenAI's forms."""
    for url in (_object(part, "image_url").get("url"), part.get("image_url")):
        if isinstance(url, str):
            media_type, data = _data_url(url)
            return {"type": "image", "url": url} if data is None else _image(media_type, data)
    for file in (_object(part, "file"), part):
        if isinstance(file.get("file_data"), str):
            media_type, data = _data_url(file["file_data"])
            return None if data is None else _file(file.get("filename"), media_type, data)
    return None


def _in_object(part: dict[str, Any]) -> dict[str, Any] | None:
    """An image or a file in Anthropic's form or in Gemini's."""
    for inner in (_object(part, "source"), _object(part, "inlineData")):
        kind, data = inner.get("media_type") or inner.get("mimeType"), inner.get("data")
        if isinstance(kind, str) and inner.get("type") in ("base64", None):
            image = kind.startswith("image/")
            return _image(kind, data) if image else _file(part.get("title", "file"), kind, data)
    return None


def _image(media_type: str, data: Any) -> dict[str, Any]:
    return {"type": "image", "media_type": media_type, "data": data}


def _file(name: Any, media_type: str, data: Any) -> dict[str, Any]:
    return {"type": "file", "name": name, "media_type": media_type, "data": data}


def _object(value: Any, name: str) -> dict[str, Any]:
    inner = value.get(name) if isinstance(value, dict) else None
    return inner if isinstance(inner, dict) else {}


def _data_url(url: str) -> tuple[str, str | None]:
    """The type and the base64 of `data:image/png;base64,…`; no data for any other URL."""
    head, comma, data = url.partition(",")
    if not (comma and head.startswith("data:") and head.endswith(";base64")):
        return "", None
    return head.removeprefix("data:").removesuffix(";base64"), data
