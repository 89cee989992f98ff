"""The turns of a chat in the form of OpenAI Chat Completions.

Pure. What is in that form already stays as it is. Knows nothing of responses.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..openai_form import data_url
from ..turn_fields import shortened, with_ids
from .state import with_state

__all__ = ["turns_for"]


def turns_for(turns: Sequence[Mapping[str, Any]], name: str) -> list[Mapping[str, Any]]:
    """The turns that a request has.

    Args:
        turns: In the form of `ChatRequest`.
        name: The wire's name: Mistral takes less than others, and OpenAI only short ids.
    """
    # The state names calls by the ids that they had.
    if name in ("openai", "azure"):
        return list(with_ids((_turn(turn, name) for turn in turns), _forty_characters))
    if name != "mistral":
        return list(with_ids(_turn(turn, name) for turn in turns))
    said = [_turn(turn, name) for turn in turns if not _is_nothing(turn)]
    return list(with_ids(said, _nine_characters))


def _turn(turn: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A turn in OpenAI's form. What is in that form already stays as it is."""
    fields = dict(turn)
    if isinstance(fields.get("tool_calls"), list | tuple):
        fields["tool_calls"] = [_call(call) for call in fields["tool_calls"]]
    if isinstance(fields.get("content"), list):
        fields["content"] = [_part(part) for part in fields["content"]]
    return with_state(fields, name)


def _is_nothing(turn: Mapping[str, Any]) -> bool:
    """Whether a turn is an answer without any content, which Mistral refuses."""
    said = turn.get("content") or turn.get("tool_calls")
    return turn.get("role") == "assistant" and not said


def _forty_characters(identity: str) -> str:
    """An id as OpenAI wants it; those of vLLM have 45 characters."""
    return shortened(identity, 40)


def _nine_characters(identity: str) -> str:
    """An id as Mistral wants it: nine letters or digits."""
    if re.fullmatch("[a-zA-Z0-9]{9}", identity):
        return identity
    return hashlib.sha256(identity.encode("utf-8", "replace")).hexdigest()[:9]


def _call(call: Any) -> Any:
    if not isinstance(call, Mapping) or "function" in call:
        return call
    # Servers parse the arguments, and refuse an empty text.
    function = {"name": call.get("name"), "arguments": call.get("arguments") or "{}"}
    return {"id": call.get("id"), "type": "function", "function": function}


def _part(part: Any) -> Any:
    if part.get("type") == "image":
        return {"type": "image_url", "image_url": {"url": part.get("url") or data_url(part)}}
    if part.get("type") == "file" and "file" not in part:
        file = {"filename": part.get("name"), "file_data": data_url(part)}
        return {"type": "file", "file": file}
    return part
