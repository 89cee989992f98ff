"""What a request asks for, as the service itself reads it.

For the sandbox, which plays the service. Checks nothing and does no I/O.
"""

from __future__ import annotations

from typing import Any

__all__ = ["max_tokens_in", "turns_in"]

_TURN_NAMES = {"toolCalls": "tool_calls", "toolCallId": "tool_call_id"}
_PART_NAMES = {"mediaType": "media_type"}


def turns_in(body: object) -> object:
    """The turns in a request's JSON, in the form of `ChatRequest`; None when it has none.

    What is no turn, call or part stays as it is.
    """
    turns = body.get("messages") if isinstance(body, dict) else None
    return [_turn(turn) for turn in turns] if isinstance(turns, list) else turns


def _turn(turn: Any) -> Any:
    fields = _renamed(turn, _TURN_NAMES)
    if isinstance(turn, dict) and isinstance(turn.get("content"), list):
        fields["content"] = [_renamed(part, _PART_NAMES) for part in turn["content"]]
    return fields


def _renamed(fields: Any, names: dict[str, str]) -> Any:
    if not isinstance(fields, dict):
        return fields
    return {names.get(name, name): value for name, value in fields.items()}


def max_tokens_in(body: object) -> Any:
    """The limit for the length of the answer, unchecked; None when the request has none.

    The guide names no such parameter. These are the usual names.
    """
    fields = body if isinstance(body, dict) else {}
    return fields.get("maxTokens", fields.get("max_tokens"))
