"""Makes the turns of a conversation from a stored request and its answer.

Pure. Knows the names that the service has for the parts of a turn, and nothing of databases.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from websopy_sync.message import Message

__all__ = ["turns_with"]

# The service's names → those of this package's turns (docs/wire.md of websopy-sync).
_OF_A_TURN = {"toolCalls": "tool_calls", "toolCallId": "tool_call_id"}
_OF_A_PART = {"mediaType": "media_type"}
_LISTS = {"content": _OF_A_PART, "tool_calls": {}}


def turns_with(request: Mapping[str, Any] | None, answer: Message) -> list[dict[str, Any]] | None:
    """The turns of a request and the turn of its answer; None when its prompts are not stored.

    Args:
        request: The body that was sent.
        answer: What came.
    """
    turns = (request or {}).get("messages")
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        return None
    return [*map(_turn, turns), answer.to_dict()]


def _turn(turn: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = _renamed(turn, _OF_A_TURN)
    for name, names in _LISTS.items():
        if isinstance(fields.get(name), list):
            fields[name] = [_renamed(it, names) for it in fields[name]]
    return fields


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    if not isinstance(value, dict):
        return value
    return {names.get(name, name): inner for name, inner in value.items()}
