"""Puts the content blocks of an Anthropic response together, which come in pieces.

Pure. Knows nothing of events: it is told where a block begins and ends.
"""

from __future__ import annotations

from typing import Any

import attrs

from ...chunks import ToolCall, ToolCallChunk
from ...surrogates import scalar_text
from ..lenient_json import cleaned
from ..pieces import arguments_text, optional, text_in
from .turns import input_of

__all__ = ["AnthropicBlocks"]

_IN_MESSAGE = ("text", "tool_use")
"""Blocks that a message has whole: of these only the place is kept."""


@attrs.define
class _Block:
    fields: dict[str, Any]
    kept: dict[str, Any]
    pieces: dict[str, list[str]] = attrs.field(factory=dict)

    @property
    def kind(self) -> Any:
        return self.fields.get("type")

    def text(self, name: str) -> str:
        """A field that came in pieces."""
        return scalar_text("".join(self.pieces.get(name, ())))


class AnthropicBlocks:
    """The content blocks of one response."""

    def __init__(self) -> None:
        self._open: dict[int, _Block] = {}
        self._kept: list[dict[str, Any]] = []
        self.held: int = 0
        """Characters of tools' input that came and are not handed over yet."""
        self.kept_size: int = 0
        """Characters of all else that came and is not handed over."""

    @property
    def kept(self) -> list[dict[str, Any]]:
        """The blocks that the service must get back, in order; none if a message has all of them.

        Text and tool calls are in the message: only their places are here.
        """
        kept = [block for block in self._kept if block]
        must = any(block["type"] not in _IN_MESSAGE or len(block) > 1 for block in kept)
        return kept if must else []

    def start(self, index: int, fields: dict[str, Any]) -> None:
        """Begin a block.

        Raises:
            TypeError: It calls a tool and has no name.
        """
        kind = fields.get("type")
        if kind == "tool_use" and not optional(fields, "name", str):
            raise TypeError("expected the name of the tool, got none")
        block = _Block(fields, _place_of(fields) if kind in _IN_MESSAGE else {})
        self._open[index] = block
        self.kept_size += len(repr(fields))
        self._kept.append(block.kept)

    def add(self, index: int, name: str, piece: str) -> None:
        """Add a piece of a block's field.

        Raises:
            TypeError: It is a piece of a tool's input, and the block calls none.
        """
        if index not in self._open:
            if name == "input":
                raise TypeError("expected the start of the tool call before its input")
            self.start(index, {"type": "thinking"})
        block = self._open[index]
        if name == "input" and block.kind in ("text", "thinking"):
            raise TypeError(f"expected a piece of {block.kind}, got input of a tool")
        block.pieces.setdefault(name, []).append(piece)
        if name == "input" and block.kind == "tool_use":
            self.held += len(piece)
        elif name != "thinking":  # that is handed over as it comes
            self.kept_size += len(piece)

    def close_all(self) -> list[ToolCallChunk]:
        """End the blocks that a server left open."""
        return [chunk for index in list(self._open) for chunk in self.close(index)]

    def close(self, index: int) -> list[ToolCallChunk]:
        """End a block; the tool call that it is, if it is one."""
        block = self._open.pop(index, None)
        if block is None or block.kind == "text":
            return []
        if block.kind == "tool_use":
            self.held -= sum(map(len, block.pieces.get("input", ())))
            self.kept_size += len(repr(block.kept)) - len(repr(block.fields))
            return [_tool_call(block)]
        if isinstance(block.kind, str):
            block.kept |= _whole(block)
        return []


def _place_of(fields: dict[str, Any]) -> dict[str, Any]:
    """The place of text or a call, which goes back with the program of the model's that made it."""
    caller = fields.get("caller")
    by_program = isinstance(caller, dict) and caller.get("type") != "direct"
    return {"type": fields["type"]} | ({"caller": cleaned(caller)} if by_program else {})


def _tool_call(block: _Block) -> ToolCallChunk:
    fields = block.fields
    arguments = block.text("input") or arguments_text(fields.get("input")) or "{}"
    return ToolCallChunk(ToolCall(scalar_text(fields["name"]), arguments, text_in(fields, "id")))


def _whole(block: _Block) -> dict[str, Any]:
    """A block as it is sent back; nothing for reasoning that is not signed, which is refused."""
    fields: dict[str, Any] = cleaned(block.fields)
    if block.kind == "thinking":
        signature = block.text("signature") or text_in(fields, "signature")
        thinking = {"thinking": block.text("thinking"), "signature": signature}
        return fields | thinking if signature else {}
    fields |= {
        name: block.text(name) for name in ("content", "encrypted_content") if block.text(name)
    }
    arguments = block.text("input")
    return fields | {"input": input_of(arguments)} if arguments else fields
