"""The turns, parts and tools of a chat in the form of Gemini.

Pure. What is in that form already stays as it is. Knows nothing of responses.
"""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..errors import ConfigError
from ..interrupts import is_interrupt

__all__ = ["STATE", "contents_of", "system_of", "tools_of"]

STATE = "gemini"
"""The name of this format in the state of a message."""

Part = dict[str, Any]


def system_of(given: Any, turns: Sequence[Mapping[str, Any]]) -> Any:
    """The system instruction: the parameter of that name, then the system turns; None without."""
    contents = [turn.get("content") for turn in turns if _is_system(turn)]
    if not contents:
        return given
    first = given.get("parts") if isinstance(given, Mapping) else given
    return {"parts": [part for content in (first, *contents) for part in _parts(content)]}


def _is_system(turn: Mapping[str, Any]) -> bool:
    return turn.get("role") in ("system", "developer")


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
        if _is_system(turn):
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
            parts = _merged(_kept_parts(turn), _texts(turn), list(_calls(turn, names)))
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
    calls = turn.get("tool_calls")
    for call in calls if isinstance(calls, list | tuple) else ():
        if not isinstance(call, Mapping):
            raise ConfigError(f"tool_calls: expected dicts, got {type(call).__name__}")
        function = call.get("function")  # OpenAI's form
        fields = function if isinstance(function, Mapping) else call
        identity = {"id": call["id"]} if call.get("id") is not None else {}
        names[str(call.get("id"))] = fields.get("name")
        args = _args(fields.get("arguments"))
        yield {"functionCall": {**identity, "name": fields.get("name"), "args": args}}


def _args(arguments: Any) -> dict[str, Any]:
    """The arguments of a tool call as an object. A model may write what is none."""
    try:
        value = json.loads(arguments or "{}") if isinstance(arguments, str) else arguments
    except (ValueError, RecursionError) as error:
        if is_interrupt(error):
            raise
        value = None
    return value if isinstance(value, dict) else {}


def _kept_parts(turn: Mapping[str, Any]) -> list[Part]:
    """What the service must get back, in its order, with places for text and tool calls."""
    value: Any = turn.get("state")
    for name in (STATE, "parts"):
        value = value.get(name) if isinstance(value, Mapping) else None
    listed = value if isinstance(value, list | tuple) else ()
    return [dict(part) for part in listed if isinstance(part, Mapping)]


def _merged(kept: list[Part], texts: list[Part], calls: list[Part]) -> list[Part]:
    """The parts that were kept, with the text and the calls of the turn in their places."""
    first = next((place for place, part in enumerate(kept) if "functionCall" in part), len(kept))
    places = [place for place, part in enumerate(kept) if _is_text(part)]
    if not places:
        places = [first]
        kept.insert(first, {"text": ""})
    text_at = max((place for place in places if place <= first), default=places[-1])
    rest = iter(calls)
    parts: list[Part] = []
    for place, part in enumerate(kept):
        if "functionCall" in part:
            parts += [part | call for call in [next(rest, None)] if call]
        elif place == text_at and texts:  # the message has all its text in one
            parts += [*texts[:-1], part | texts[-1]]
        elif not _is_text(part) or "thoughtSignature" in part:
            parts.append(part)
    return [*parts, *rest]


def _is_text(part: Part) -> bool:
    return "text" in part and not part.get("thought")


def _parts(content: Any) -> list[Part]:
    """A content as parts."""
    if content is None:
        return []
    listed = content if isinstance(content, list | tuple) else [content]
    return [_part(part) for part in listed]


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
