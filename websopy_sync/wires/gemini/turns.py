"""The turns, parts and tools of a chat in the form of Gemini.

Pure. What is in that form already stays as it is. Knows nothing of responses.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..turn_fields import calls_in, in_places, is_system, object_in, state_in

__all__ = ["STATE", "contents_of", "system_of", "tools_of"]

STATE = "gemini"
"""The name of this format in the state of a message."""

Part = dict[str, Any]


def system_of(given: Any, turns: Sequence[Mapping[str, Any]]) -> Any:
    """The system instruction: the parameter of that name, then the system turns; None without."""
    contents = [turn.get("content") for turn in turns if is_system(turn)]
    if not contents:
        return given
    first = given.get("parts") if isinstance(given, Mapping) else given
    return {"parts": [part for content in (first, *contents) for part in _parts(content)]}


def contents_of(turns: Sequence[Mapping[str, Any]], *, model: Any) -> list[dict[str, Any]]:
    """The turns but those of the system. Results of tools that follow one another share a turn.

    Args:
        turns: The turns.
        model: The model's name. Gemini 3 refuses tool calls without a signature, such as those of
            another service.
    """
    sign = str(model).rpartition("/")[2].startswith("gemini-3")
    contents: list[dict[str, Any]] = []
    names: dict[str, Any] = {}
    results: list[Part] | None = None
    for turn in turns:
        if is_system(turn):
            continue
        if turn.get("role") == "tool":
            if results is None:
                results = []
                contents.append({"role": "user", "parts": results})
            results.append(_result(turn, names))
            continue
        results = None
        role = "model" if turn.get("role") == "assistant" else turn.get("role")
        if "parts" in turn:
            parts = turn["parts"]
        elif role == "model":
            kept = state_in(turn, STATE, "parts")
            parts = in_places(kept, _texts(turn), _calls(turn, names), kind_of=_kind)
            if sign:
                _sign(parts)
        else:
            parts = _parts(turn.get("content"))
        if parts:  # the service refuses a turn without any
            contents.append({"role": role, "parts": parts})
    return contents


def _sign(parts: list[Part]) -> None:
    """Give the first tool call the signature that Google documents for calls that have none."""
    call = next((part for part in parts if "functionCall" in part), None)
    if call:
        call.setdefault("thoughtSignature", "skip_thought_signature_validator")


def _texts(turn: Mapping[str, Any]) -> list[Part]:
    content = turn.get("content")
    return _parts(content) if content else []


def _result(turn: Mapping[str, Any], names: Mapping[str, Any]) -> Part:
    """The result of a tool. It goes by the name of the tool, which only its call may have."""
    identity, content = turn.get("tool_call_id"), turn.get("content")
    parts = _parts(content) if isinstance(content, list) else []
    texts = [part["text"] for part in parts if _is_said(part)]
    rest = [part for part in parts if not _is_said(part)]
    result: dict[str, Any] = {"id": identity} if identity is not None else {}
    result["name"] = turn.get("name") or names.get(str(identity))
    result["response"] = {"output": "\n".join(texts) if parts else content}
    return {"functionResponse": result | ({"parts": rest} if rest else {})}


def _is_said(part: Any) -> bool:
    return isinstance(part, Mapping) and isinstance(part.get("text"), str)


def _calls(turn: Mapping[str, Any], names: dict[str, Any]) -> Iterator[Part]:
    """The tool calls of a turn as parts. `names` gets their names, by their ids."""
    for identity, name, arguments in calls_in(turn):
        names[str(identity)] = name
        call = {} if identity is None else {"id": identity}
        yield {"functionCall": {**call, "name": name, "args": object_in(arguments) or {}}}


def _kind(part: Mapping[str, Any]) -> str | None:
    if "functionCall" in part:
        return "call"
    return "text" if "text" in part and not part.get("thought") else None


def _parts(content: Any) -> list[Part]:
    """A content as parts."""
    if content is None:
        return []
    listed = content if isinstance(content, list | tuple) else [content]
    parts = [_part(part) for part in listed]
    # Vertex refuses a text without anything in it, beside an image say.
    return [part for part in parts if part != {"text": ""}] or parts


def _part(part: Any) -> Any:
    if isinstance(part, str):
        return {"text": part}
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind == "text":
        return {"text": part.get("text")}
    if kind == "image" and part.get("url"):
        media_type, _ = mimetypes.guess_type(str(part["url"]).partition("?")[0])
        known = {"mimeType": media_type} if media_type else {}
        return {"fileData": {**known, "fileUri": part["url"]}}
    if kind in ("image", "file"):
        return {"inlineData": {"mimeType": part.get("media_type"), "data": part.get("data")}}
    return part


def tools_of(tools: Sequence[Any]) -> list[Any]:
    """The tools: functions under one name, the service's own as they are."""
    declared = [_declaration(tool) for tool in tools if _is_function(tool)]
    others = [tool for tool in tools if not _is_function(tool)]
    return [*([{"functionDeclarations": declared}] if declared else []), *others]


def _is_function(tool: Any) -> bool:
    return isinstance(tool, Mapping) and "name" in tool


def _declaration(tool: Mapping[str, Any]) -> dict[str, Any]:
    """A function. Its `parameters` would be of OpenAPI, which knows less than JSON Schema."""
    fields = {name: value for name, value in tool.items() if name != "parameters"}
    return fields | ({"parametersJsonSchema": tool["parameters"]} if "parameters" in tool else {})
