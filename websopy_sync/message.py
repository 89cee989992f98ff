"""Chunks → Message: what an answer has come to so far.

Knows nothing of where chunks come from.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from typing import Any

import attrs

from .chunks import DoneChunk, StreamChunk, ToolCall, ToolCallChunk, Usage

__all__ = ["MAX_ANSWER_SIZE", "Message", "MessageBuilder", "size_of"]

MAX_ANSWER_SIZE = 64 * 1024 * 1024
"""Characters that one answer may have unless told otherwise."""

SMALLEST_CALL = 64
"""Characters that a tool call counts for at least: an empty one takes memory as well."""


def _as_tuple(tool_calls: Iterable[ToolCall]) -> tuple[ToolCall, ...]:
    return tuple(tool_calls)


@attrs.frozen
class Message:
    """An answer, whole or as far as it came. Without any chunk it is `Message()`.

    Attributes:
        content: All its text.
        tool_calls: Its tool calls, in the order they came.
        usage: Its tokens; None before the done chunk, and when the service did not say.
    """

    content: str = ""
    tool_calls: tuple[ToolCall, ...] = attrs.field(default=(), converter=_as_tuple)
    usage: Usage | None = None

    def to_dict(self) -> dict[str, Any]:
        """`{"role": "assistant", "content": …}`, ready to be sent back as a turn."""
        return {"role": "assistant", "content": self.content}


def size_of(chunk: StreamChunk) -> int:
    """What a chunk counts for in `max_answer_size`."""
    if isinstance(chunk, ToolCallChunk):
        tool = chunk.tool
        return max(len(tool.name) + len(tool.arguments) + len(tool.id or ""), SMALLEST_CALL)
    return len(chunk.content) if chunk.type == "content" else 0


class MessageBuilder:
    """Adds chunks up to a message.

    keep: False lets text and tool calls go as they pass, so that memory stays flat; only the
    usage is kept then.

    `add_text(text)` is what add() does with a content chunk's text. A StringIO holds the text in
    one growing buffer: a list of pieces would cost some 60 bytes more a chunk.
    """

    def __init__(self, *, keep: bool = True) -> None:
        self._text = io.StringIO()
        self._tool_calls: list[ToolCall] = []
        self._usage: Usage | None = None
        self._keep = keep
        self.add_text: Callable[[str], int] = self._text.write if keep else len

    def add(self, chunk: StreamChunk) -> None:
        """Take the next chunk."""
        if chunk.type == "content":
            self.add_text(chunk.content)
        elif isinstance(chunk, ToolCallChunk) and self._keep:
            self._tool_calls.append(chunk.tool)
        elif isinstance(chunk, DoneChunk):
            self._usage = chunk.usage

    @property
    def message(self) -> Message:
        """The message so far. It costs a copy of the text."""
        return Message(self._text.getvalue(), tuple(self._tool_calls), self._usage)
