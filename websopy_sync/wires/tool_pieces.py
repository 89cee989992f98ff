"""Puts tool calls together that come in pieces, and tells them apart.

Pure. Knows no service's field names.
"""

from __future__ import annotations

import attrs

from ..chunks import ToolCall, ToolCallChunk
from ..errors import StreamProtocolError
from ..surrogates import scalar_text

__all__ = ["ToolCallPieces"]

SMALLEST_CALL = 64
"""Characters that a call counts for at least: an empty one takes memory too."""


@attrs.define
class _Call:
    key: object
    id: str = ""
    name: str = ""
    arguments: list[str] = attrs.field(factory=list)


class ToolCallPieces:
    """Puts tool calls together that come in pieces, in the order in which they began."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self.size: int = 0
        """Characters of the calls, each counted for 64 at least."""

    def add(self, key: object, *, id: str, name: str, arguments: str) -> None:
        """Add a piece.

        A new id begins another call, also under a known key: some servers give every call the
        same index. Where there are no ids, another name does. Without a key, each name does.

        Args:
            key: What the service tells the calls of one answer apart by; None without it.
            id: The call's id, "" when the piece has none.
            name: The tool's name, "" when the piece has none.
            arguments: A piece of the arguments' text.
        """
        known = [call for call in self._calls if key is None or call.key == key]
        call = known[-1] if known else None
        if call is None or self._begins_another(call, key, id, name):
            call = _Call(key)
            self._calls.append(call)
            self.size += SMALLEST_CALL
        call.id, call.name = call.id or id, call.name or name
        call.arguments.append(arguments)
        self.size += len(arguments)

    def _begins_another(self, call: _Call, key: object, id: str, name: str) -> bool:
        if id and call.id:
            return id != call.id
        return bool(name and call.name) and (key is None or name != call.name)

    def take(self) -> list[ToolCallChunk]:
        """The calls, which are complete now.

        Raises:
            StreamProtocolError: One has no name.
        """
        calls, self._calls, self.size = self._calls, [], 0
        if not all(call.name for call in calls):
            raise StreamProtocolError("tool call: expected a name, got none")
        return [
            ToolCallChunk(
                ToolCall(
                    scalar_text(call.name),
                    scalar_text("".join(call.arguments)),
                    scalar_text(call.id) or None,
                )
            )
            for call in calls
        ]
