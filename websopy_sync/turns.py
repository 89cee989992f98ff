"""The turns of a chat as the user passes them, checked.

Pure. Knows no service's format: a turn has a role and a content, and may have more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from .errors import ConfigError

__all__ = ["Messages", "turns_of"]

Messages = str | list[Any]
"""One user message as text, or turns: `{"role": …, "content": …}` each, or a `Message`."""


def turns_of(messages: object) -> list[dict[str, Any]] | ConfigError:
    """The turns in what the user passed; a copy of each, so that an edit stays here.

    A value of this package stands for its `to_dict`: a message for a turn, an image for a part.

    A problem is returned, not raised: a traceback from here would hold the prompt.
    """
    turns = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
    if not isinstance(turns, list | tuple):
        return ConfigError(
            f"messages: expected a str or a list of dicts, got {type(turns).__name__}"
        )
    if not turns:
        return ConfigError("messages: expected at least one, got none")
    copied = [_turn_of(turn) for turn in turns]
    for index, turn in enumerate(copied):
        problem = turn if isinstance(turn, str) else _problem(turn)
        if problem:
            return ConfigError(f"messages[{index}]{problem}")
    return [turn for turn in copied if isinstance(turn, dict)]


def _turn_of(turn: object) -> dict[str, Any] | str:
    """A turn with its parts as dicts, or why it is none."""
    fields = _fields_of(turn)
    if fields is None:
        return f": expected a dict with role and content, got {type(turn).__name__}"
    content, calls = fields.get("content"), fields.get("tool_calls")
    if isinstance(content, list | tuple):
        fields["content"] = [_part_of(part) for part in content]
    elif attrs.has(type(content)):  # one image, say, without a list around it
        fields["content"] = [_part_of(content)]
    if isinstance(calls, list | tuple):
        fields["tool_calls"] = [_fields_of(call) or call for call in calls]
    return fields


def _part_of(part: object) -> object:
    """A part as its dict; what is none stays as it is."""
    if isinstance(part, str):
        return {"type": "text", "text": part}
    fields = _fields_of(part)
    return part if fields is None else fields


def _fields_of(value: object) -> dict[str, Any] | None:
    """A new dict of the value's fields, None if it has none."""
    if attrs.has(type(value)) and hasattr(value, "to_dict"):  # a message, a tool call, an image
        value = value.to_dict()
    return dict(value) if isinstance(value, Mapping) else None


def _problem(turn: Mapping[str, Any]) -> str:
    """Why this is no turn; "" if it is one. No text is quoted."""
    role, content = turn.get("role"), turn.get("content")
    if "role" not in turn:
        return ": expected a 'role', got none"
    if not isinstance(role, str):
        return f": expected str 'role', got {type(role).__name__}"
    if not role:
        return ": expected a role, got an empty one"
    if turn.get("tool_calls") and content is None:
        return ""
    if "content" not in turn:
        return ": expected a 'content', got none"
    if not isinstance(content, str | list):
        return f": expected str 'content' or a list of parts, got {type(content).__name__}"
    for index, part in enumerate(content if isinstance(content, list) else ()):
        if not isinstance(part, dict):
            return f".content[{index}]: expected a part, got {type(part).__name__}"
    return ""
