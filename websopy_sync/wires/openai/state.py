"""What a service of OpenAI's format must get back with its message: its reasoning, signed.

Pure. Knows nothing of the rest of a response.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..lenient_json import cleaned
from ..turn_fields import own_state

__all__ = ["BLOCKS", "DETAILS", "MARK", "THOUGHTS", "SentBack", "with_state"]

THOUGHTS = "reasoning_content"
"""A field that DeepSeek and others demand back with later requests. OpenAI itself has none."""

DETAILS = "reasoning_details"
"""Reasoning with signatures, from OpenRouter and MiniMax."""

BLOCKS = "thinking_blocks"
"""The same of LiteLLM, in Anthropic's form: a signature ends each block."""

MARK = "extra_content"
"""A field of tool calls with the signature that Gemini's compatible service demands back."""

SMALLEST = 64
"""Characters that a block counts for at least: an empty one takes memory too."""

_IN_PIECES = ("text", "summary", "thinking")


class SentBack:
    """Collects what goes back, from the deltas of one response.

    Attributes:
        size: Characters of it, but for the thoughts, which are handed over as they come.
    """

    def __init__(self) -> None:
        self.size: int = 0
        self._thoughts: list[str] = []
        self._details: list[dict[str, Any]] = []
        self._places: dict[str, dict[str, Any]] = {}
        self._blocks: list[dict[str, Any]] = []
        self._marks: dict[str, Any] = {}
        self._last_call = ""

    def think(self, text: str) -> None:
        """Add a piece of the thoughts."""
        self._thoughts.append(text)

    def read_details(self, details: Any) -> None:
        """Note the details of a delta. A service checks that a text belongs to its signature.

        So pieces of the same kind and index are joined; what is encrypted comes whole.
        """
        for detail in details if isinstance(details, list) else ():
            if not isinstance(detail, dict):
                continue
            place = repr((detail.get("type"), detail.get("index")))
            if "data" in detail or place not in self._places:
                self._details.append({})
                self._places[place] = self._details[-1]
                self.size += len(place)
            self._join(self._places[place], detail)

    def read_blocks(self, blocks: Any) -> None:
        """Note the blocks of a delta, likewise."""
        for block in blocks if isinstance(blocks, list) else ():
            if not isinstance(block, dict):
                continue
            last = self._blocks[-1] if self._blocks else {}
            if last.get("signature") or not last.get("type") == block.get("type") == "thinking":
                self._blocks.append({})
                self.size += SMALLEST
            last = self._blocks[-1]
            if block.get("signature") and block.get("thinking") == "".join(
                last.get("thinking", ())
            ):
                last["thinking"] = []  # some repeat all of the text beside its signature
            self._join(last, block)

    def read_call(self, call: Mapping[str, Any]) -> None:
        """Note what a piece of a tool call says beside the call, by its id or that of the last."""
        mark, identity = call.get(MARK), call.get("id")
        if isinstance(identity, str) and identity:
            self._last_call = identity
        if isinstance(mark, dict):
            self.size += len(repr(mark))
            self._marks[self._last_call] = cleaned(mark)

    def state(self) -> dict[str, Any]:
        """All that goes back; empty if nothing does."""
        self._thoughts = ["".join(self._thoughts)]  # joined once, however often this is asked for
        fields: dict[str, Any] = {
            THOUGHTS: self._thoughts[0],
            DETAILS: [_whole(detail) for detail in self._details],
            BLOCKS: [_whole(block) for block in self._blocks],
            MARK: dict(self._marks),
        }
        return {name: value for name, value in fields.items() if value}

    def _join(self, known: dict[str, Any], detail: Mapping[str, Any]) -> None:
        for name, value in detail.items():
            if name in _IN_PIECES:
                if isinstance(value, str):
                    known.setdefault(name, []).append(value)
                    self.size += len(value)
            elif value is not None and (name == "signature" or name not in known):
                known[name] = value
                self.size += len(repr(value))


def _whole(detail: dict[str, Any]) -> dict[str, Any]:
    for name in _IN_PIECES:
        if name in detail:
            detail[name] = ["".join(detail[name])]
    whole = {name: value[0] if name in _IN_PIECES else value for name, value in detail.items()}
    fields: dict[str, Any] = cleaned(whole)
    return fields


def with_state(turn: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A turn with what its service must get back, in the fields in which that sent it.

    Args:
        turn: The turn. What the user set in it stays.
        name: The wire's name: a turn that another service wrote gets nothing.
    """
    fields = {field: value for field, value in turn.items() if field != "state"}
    own = own_state(turn, name)
    if isinstance(own.get(THOUGHTS), str):
        fields.setdefault(THOUGHTS, own[THOUGHTS])
    for field in (DETAILS, BLOCKS):
        if isinstance(own.get(field), list | tuple):
            fields.setdefault(field, own[field])
    marks, calls = own.get(MARK), fields.get("tool_calls")
    if isinstance(marks, Mapping) and isinstance(calls, list):
        fields["tool_calls"] = [_marked(call, marks) for call in calls]
    return fields


def _marked(call: Any, marks: Mapping[str, Any]) -> Any:
    mark = marks.get(str(call.get("id"))) if isinstance(call, Mapping) else None
    return call if mark is None else {MARK: mark, **call}
