"""The Websopy service's own side of its wire.

Does no I/O. The client's side is `websopy_sync.wires.websopy`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ...chunks import StreamChunk
from ...wires.base import ChatRequest, Wire
from ...wires.websopy import Websopy
from ...wires.websopy.writer import dump_chunk
from .base import Service, Writer, WrittenEvent

__all__ = ["WebsopyService"]

_TURN_NAMES = {"toolCalls": "tool_calls", "toolCallId": "tool_call_id"}
_PART_NAMES = {"mediaType": "media_type"}


class WebsopyService(Service):
    """The service itself; see `Service`."""

    wire: Wire = Websopy()
    methods: Sequence[str] = ("GET", "POST")

    def writer(self) -> Writer:
        """Make the writer of one response."""
        return WebsopyWriter()

    def turns_in(self, body: Mapping[str, Any]) -> object:
        """The turns, in the form of `ChatRequest`; see `Service.turns_in`."""
        turns = body.get("messages")
        return [_turn(turn) for turn in turns] if isinstance(turns, list) else turns

    def max_tokens_in(self, body: Mapping[str, Any]) -> Any:
        """The limit for the length of the answer; see `Service.max_tokens_in`.

        The guide names no such parameter. These are the usual names.
        """
        return body.get("maxTokens", body.get("max_tokens"))

    def output_schema_in(self, body: Mapping[str, Any]) -> Any:
        """The JSON Schema of the answer; see `Service.output_schema_in`.

        The wire gives it in a turn of the system's.
        """
        asked = self.wire.body(ChatRequest([], output_schema={}))["messages"][0]["content"]
        begin = asked.removesuffix("{}")
        texts = [turn.get("content") for turn in body.get("messages", ())]
        given = [text for text in texts if isinstance(text, str) and text.startswith(begin)]
        try:
            return json.loads(given[0].removeprefix(begin)) if given else None
        except (ValueError, RecursionError):  # a turn of the user's own begins like this
            return None


class WebsopyWriter(Writer):
    """Writes one response: an event for each chunk."""

    def write(self, chunk: StreamChunk) -> Sequence[WrittenEvent]:
        """The event of a chunk; see `Writer.write`."""
        return [WrittenEvent(dump_chunk(chunk))]


def _turn(turn: Any) -> Any:
    fields = _renamed(turn, _TURN_NAMES)
    if isinstance(turn, dict) and isinstance(turn.get("content"), list):
        fields["content"] = [_renamed(part, _PART_NAMES) for part in turn["content"]]
    return fields


def _renamed(fields: Any, names: dict[str, str]) -> Any:
    if not isinstance(fields, dict):
        return fields
    return {names.get(name, name): value for name, value in fields.items()}
