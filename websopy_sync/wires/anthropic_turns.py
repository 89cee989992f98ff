"""The turns, parts and tools of a chat in the form of Anthropic Messages.

Pure. What is in that form already stays as it is. Knows nothing of responses.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..errors import ConfigError
from ..interrupts import is_interrupt

__all__ = ["STATE", "input_of", "messages_of", "output_config", "system_of", "tool_of"]

STATE = "anthropic"
"""The name of this format in the state of a message."""

Block = dict[str, Any]


def system_of(given: Any, turns: Sequence[Mapping[str, Any]]) -> Any:
    """The system prompt: the parameter `system`, then the system turns.

    Returns:
        The text if it is the only one, else a list of blocks; None without any.
    """
    contents = [turn.get("content") for turn in turns if _is_system(turn)]
    contents = [content for content in (given, *contents) if content]
    if len(contents) == 1 and isinstance(contents[0], str):
        return contents[0]
    return [block for content in contents for block in _blocks(content)] or None


def _is_system(turn: Mapping[str, Any]) -> bool:
    return turn.get("role") in ("system", "developer")


def messages_of(turns: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The turns but those of the system. Results of tools become blocks of one user's turn.

    A call that another service gave no id gets one: here each result names its call.
    """
    messages: list[dict[str, Any]] = []
    unnamed: list[tuple[Any, str]] = []
    results: list[Block] | None = None
    for place, turn in enumerate(turns):
        role = turn.get("role")
        if _is_system(turn):
            continue
        if role == "tool":
            if results is None:
                results = []
                messages.append({"role": "user", "content": results})
            results.append(_result(turn, unnamed))
            continue
        results = None
        if role == "assistant":
            unnamed = []
            messages += _assistant(turn, list(_calls(turn, place, unnamed)))
        elif isinstance(turn.get("content"), list):
            messages.append({**turn, "content": _blocks(turn["content"])})
        else:
            messages.append(dict(turn))
    return messages


def _result(turn: Mapping[str, Any], unnamed: list[tuple[Any, str]]) -> Block:
    identity, content = turn.get("tool_call_id"), turn.get("content")
    if identity is None:
        named = next((call for call in unnamed if call[0] == turn.get("name")), None)
        if named:
            unnamed.remove(named)
            identity = named[1]
    if isinstance(content, list):
        content = _blocks(content)
    return {"type": "tool_result", "tool_use_id": identity, "content": content}


def _calls(turn: Mapping[str, Any], place: int, unnamed: list[tuple[Any, str]]) -> Iterator[Block]:
    """The tool calls of a turn as blocks."""
    calls = turn.get("tool_calls")
    for number, call in enumerate(calls if isinstance(calls, list | tuple) else ()):
        if not isinstance(call, Mapping):
            raise ConfigError(f"tool_calls: expected dicts, got {type(call).__name__}")
        function = call.get("function")  # OpenAI's form
        fields = function if isinstance(function, Mapping) else call
        identity, name = call.get("id"), fields.get("name")
        if identity is None:
            identity = f"call_{place}_{number}"
            unnamed.append((name, identity))
        arguments = input_of(fields.get("arguments"))
        yield {"type": "tool_use", "id": identity, "name": name, "input": arguments}


def input_of(arguments: Any) -> Any:
    """The arguments of a tool call as an object.

    A model may write what is none. The service wants one all the same, and proposes this field.
    """
    if not isinstance(arguments, str):
        return {} if arguments is None else arguments
    try:
        value = json.loads(arguments) if arguments else {}
    except (ValueError, RecursionError) as error:
        if is_interrupt(error):
            raise
        value = None
    return value if isinstance(value, dict) else {"INVALID_JSON": arguments}


def _assistant(turn: Mapping[str, Any], calls: list[Block]) -> list[dict[str, Any]]:
    """An answer's turn; none for an empty one, which the service would refuse."""
    content = turn.get("content")
    kept = _kept_blocks(turn)
    apart = ("content", "tool_calls", "state")
    rest = {name: value for name, value in turn.items() if name not in apart}
    if isinstance(content, str) and content.strip() and not (calls or kept):
        return [{**rest, "content": content}]
    blocks = _merged(kept, _blocks(content), calls)
    return [{**rest, "content": blocks}] if blocks else []


def _kept_blocks(turn: Mapping[str, Any]) -> list[Block]:
    """What the service must get back, in its order, with places for text and tool calls."""
    value: Any = turn.get("state")
    for name in (STATE, "blocks"):
        value = value.get(name) if isinstance(value, Mapping) else None
    listed = value if isinstance(value, list | tuple) else ()
    return [dict(block) for block in listed if isinstance(block, Mapping)]


def _merged(kept: list[Block], texts: list[Block], calls: list[Block]) -> list[Block]:
    """The blocks that were kept, with the text and the calls of the turn in their places."""
    kinds = [block.get("type") for block in kept]
    text_at = max((place for place, kind in enumerate(kinds) if kind == "text"), default=None)
    if text_at is None:  # before the first call
        text_at = kinds.index("tool_use") if "tool_use" in kinds else len(kinds)
        kept.insert(text_at, {"type": "text"})
    rest = iter(calls)
    blocks: list[Block] = []
    for place, block in enumerate(kept):
        if block.get("type") == "tool_use":
            blocks += [call for call in [next(rest, None)] if call]
        elif block.get("type") != "text":
            blocks.append(block)
        elif place == text_at:  # the message has all its text in one
            blocks += texts
    return [*blocks, *rest]


def _blocks(content: Any) -> list[Block]:
    """A content as blocks; no block for text that the service refuses, as there is none in it."""
    if content is None or isinstance(content, str):
        return [{"type": "text", "text": content}] if content and content.strip() else []
    return [_part(part) for part in (content if isinstance(content, list | tuple) else [content])]


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
