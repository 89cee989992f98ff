"""The turns of a chat in the words of the Websopy service.

Pure. What is in that form already stays as it is. Knows nothing of responses.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["call_fields", "turns_of"]


def turns_of(
    turns: Sequence[Mapping[str, Any]], *, schema: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    """The turns, and after those of the system one that asks for JSON of a schema."""
    sent = [_turn_fields(turn) for turn in turns]
    if schema is not None:
        sent.insert(_after_system(sent), _schema_turn(schema))
    return sent


def _turn_fields(turn: Mapping[str, Any]) -> dict[str, Any]:
    """A turn in the service's words. The guide has role and content only; see docs/wire.md."""
    fields: dict[str, Any] = {}
    for name, value in turn.items():
        if name == "content" and isinstance(value, list):
            fields[name] = [_renamed(part, "media_type", "mediaType") for part in value]
        elif name == "tool_calls" and _are_calls(value):
            fields["toolCalls"] = [call_fields(call) for call in value]
        elif name == "tool_call_id":
            fields |= {} if value is None else {"toolCallId": value}
        elif name != "state":  # another service's
            fields[name] = value
    return fields


def _are_calls(calls: Any) -> bool:
    """Whether these are tool calls in the form of `ChatRequest`, and not in another service's."""
    return isinstance(calls, list) and all(
        isinstance(call, Mapping) and isinstance(call.get("arguments"), str) for call in calls
    )


def _renamed(part: Mapping[str, Any], name: str, new: str) -> dict[str, Any]:
    return {new if key == name else key: value for key, value in part.items()}


def call_fields(call: Mapping[str, Any]) -> dict[str, Any]:
    """A tool call's fields, its id only when it has one."""
    return {name: value for name, value in call.items() if name != "id" or value is not None}


def _after_system(turns: list[dict[str, Any]]) -> int:
    """The index of the first turn that is not the system's."""
    roles = (index for index, turn in enumerate(turns) if turn["role"] != "system")
    return next(roles, len(turns))


def _schema_turn(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The guide has no parameter for the form of an answer, so the model is told in words."""
    text = json.dumps(schema, ensure_ascii=False, separators=(",", ":"))
    content = "Answer with one JSON value that matches this JSON Schema, and nothing else: "
    return {"role": "system", "content": content + text}
