"""The turns, parts and tools of a chat in the form of Anthropic Messages.

Pure. What is in that form already stays as it is. Knows nothing of responses.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...errors import ConfigError
from ...interrupts import is_interrupt
from ..turn_fields import calls_in, in_places, is_system, object_in, state_in, with_ids

__all__ = ["STATE", "input_of", "messages_of", "output_config", "system_of", "tool_of"]

STATE = "anthropic"
"""The name of this format in the state of a message."""

Block = dict[str, Any]


def system_of(given: Any, turns: Sequence[Mapping[str, Any]]) -> Any:
    """The system prompt: the parameter `system`, then the system turns.

    Returns:
        The text if it is the only one, else a list of blocks; None without any.
    """
    contents = [turn.get("content") for turn in turns if is_system(turn)]
    contents = [content for content in (given, *contents) if content]
    if len(contents) == 1 and isinstance(contents[0], str):
        return contents[0]
    return [block for content in contents for block in _blocks(content)] or None


def messages_of(turns: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The turns but those of the system. Results of tools become blocks of one user's turn."""
    messages: list[dict[str, Any]] = []
    results: list[Block] | None = None
    for turn in with_ids(turns, _fitting):
        role = turn.get("role")
        if is_system(turn):
            continue
        if role == "tool":
            if results is None:
                results = []
                messages.append({"role": "user", "content": results})
            results.append(_result(turn))
            continue
        results = None
        if role == "assistant":
            messages += _assistant(turn, list(_calls(turn)))
        elif isinstance(turn.get("content"), list):
            messages.append({**turn, "content": _blocks(turn["content"])})
        else:
            messages.append(dict(turn))
    return messages


def _fitting(identity: str) -> str:
    """An id of another service without what Anthropic refuses: Kimi's are "functions.name:0"."""
    return re.sub("[^a-zA-Z0-9_-]", "_", identity)


def _result(turn: Mapping[str, Any]) -> Block:
    identity, content = turn.get("tool_call_id"), turn.get("content")
    if isinstance(content, list):
        content = _blocks(content)
    return {"type": "tool_result", "tool_use_id": identity, "content": content}


def _calls(turn: Mapping[str, Any]) -> Iterator[Block]:
    """The tool calls of a turn as blocks."""
    for identity, name, arguments in calls_in(turn):
        yield {"type": "tool_use", "id": identity, "name": name, "input": input_of(arguments)}


def input_of(arguments: Any) -> dict[str, Any]:
    """The arguments of a tool call as an object.

    A model may write what is none. The service wants one all the same, and proposes this field.
    """
    value = object_in(arguments)
    return {"INVALID_JSON": arguments} if value is None else value


def _assistant(turn: Mapping[str, Any], calls: list[Block]) -> list[dict[str, Any]]:
    """An answer's turn; none for an empty one, which the service would refuse."""
    content = turn.get("content")
    kept = state_in(turn, STATE, "blocks")
    apart = ("content", "tool_calls", "state")
    rest = {name: value for name, value in turn.items() if name not in apart}
    if isinstance(content, str) and content.strip() and not (calls or kept):
        return [{**rest, "content": content}]
    blocks = in_places(kept, _blocks(content), calls, kind_of=_kind)
    return [{**rest, "content": blocks}] if blocks else []


def _kind(block: Mapping[str, Any]) -> str | None:
    return {"text": "text", "tool_use": "call"}.get(str(block.get("type")))


def _blocks(content: Any) -> list[Block]:
    """A content as blocks; no block for text that the service refuses, as there is none in it."""
    if content is None or isinstance(content, str):
        return [{"type": "text", "text": content}] if content and content.strip() else []
    parts = content if isinstance(content, list | tuple) else [content]
    return [_part(part) for part in parts if not _is_empty(part)]


def _is_empty(part: Any) -> bool:
    if not isinstance(part, Mapping) or part.get("type") != "text":
        return False
    return isinstance(part.get("text"), str) and not part["text"].strip()


def _part(part: Any) -> Any:
    if not isinstance(part, Mapping) or "source" in part:
        return part
    if part.get("type") == "image":
        url = part.get("url")
        source = {"type": "url", "url": url} if url else _base64(part.get("media_type"), part)
        return {"type": "image", "source": source}
    return _document(part) if part.get("type") == "file" and "data" in part else part


def _base64(media_type: Any, part: Mapping[str, Any]) -> Block:
    return {"type": "base64", "media_type": media_type, "data": part.get("data")}


def _document(part: Mapping[str, Any]) -> Block:
    media_type = str(part.get("media_type"))
    if media_type.startswith("image/"):
        return {"type": "image", "source": _base64(media_type, part)}
    source = _base64(media_type, part)
    if media_type != "application/pdf":
        text = _text_in(part.get("data"))
        if text is None:
            raise ConfigError(f"file: Anthropic takes PDF, text and images, got {media_type:.100}")
        source = {"type": "text", "media_type": "text/plain", "data": text}
    name = {"title": part["name"]} if part.get("name") else {}
    return {"type": "document", "source": source, **name}


def _text_in(data: Any) -> str | None:
    """The text that a file holds; None if it holds none."""
    try:
        text = base64.b64decode(data, validate=True).decode("utf-8-sig")
    except (ValueError, TypeError) as error:
        if is_interrupt(error):
            raise
        return None
    return None if "\0" in text else text


def tool_of(tool: Any) -> Any:
    """A tool, its parameters under the service's name."""
    if not isinstance(tool, Mapping) or "parameters" not in tool:
        return tool
    fields = {name: value for name, value in tool.items() if name != "parameters"}
    return {**fields, "input_schema": tool["parameters"]}


def output_config(given: Any, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The parameter that asks for JSON of a schema, beside what the user set in it."""
    others = given if isinstance(given, Mapping) else {}
    return {**others, "format": {"type": "json_schema", "schema": schema}}
