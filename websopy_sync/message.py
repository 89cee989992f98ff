"""The message that chunks add up to, and the builder that adds them.

Pure. Knows nothing of where chunks come from.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from typing import Any

import attrs

from .chunks import DoneChunk, StreamChunk, ToolCall, ToolCallChunk, Usage

__all__ = ["MAX_ANSWER_SIZE", "Message", "MessageBuilder", "size_of"]

MAX_ANSWER_SIZE = 64 * 1024 * 1024
"""Default limit for the characters of one message."""

SMALLEST_CALL = 64
"""Characters that each tool call counts for at least: an empty one takes memory too."""


def _as_tuple(tool_calls: Iterable[ToolCall]) -> tuple[ToolCall, ...]:
    return tuple(tool_calls)


@attrs.frozen
class Message:
    """The model's message, complete or as far as it came; `Message()` before the first chunk.

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
    """The characters that a chunk counts for in `max_answer_size`."""
    if isinstance(chunk, ToolCallChunk):
        tool = chunk.tool
        return max(len(tool.name) + len(tool.arguments) + len(tool.id or ""), SMALLEST_CALL)
    return len(chunk.content) if chunk.type == "content" else 0


class MessageBuilder:
    """Adds chunks up to a message.

    Args:
        keep: False keeps only the usage, so that memory stays flat.

    Attributes:
        add_text: Adds the text of a content chunk: the fast path of `add`.
    """

    def __init__(self, *, keep: bool = True) -> None:
        self._text = io.StringIO()  # a list of pieces takes about 60 bytes more a chunk
        self._tool_calls: list[ToolCall] = []
        self._usage: Usage | None = None
        self._keep = keep
        self.add_text: Callable[[str], int] = self._text.write if keep else len

    def add(self, chunk: StreamChunk) -> None:
        """Add the next chunk."""
        if chunk.type == "content":
            self.add_text(chunk.content)
        elif isinstance(chunk, ToolCallChunk) and self._keep:
            self._tool_calls.append(chunk.tool)
        elif isinstance(chunk, DoneChunk):
            self._usage = chunk.usage

    @property
    def message(self) -> Message:
        """The message so far; each access copies the text."""
        return Message(self._text.getvalue(), tuple(self._tool_calls), self._usage)
