"""The message that chunks add up to, and the builder that adds them.

Pure. Knows nothing of where chunks come from.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from .chunks import DoneChunk, ReasoningChunk, StreamChunk, ToolCall, ToolCallChunk, Usage
from .errors import ConfigError
from .value_fields import copied, given

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
        finish_reason: Why the model stopped: "stop", "length" (it reached the limit of its length),
            "tool_calls", "content_filter", or the service's own word. None before the done chunk,
            and when the service did not say.
        model: The model that answered, None when the service did not say.
        id: The service's id of the answer, None when it gave none.
        reasoning: What the model thought before it answered. It is not sent back.
        state: What the service must get back with the message, such as the signatures of its
            reasoning. Only the wire that wrote it reads it. Mostly None.
    """

    content: str = ""
    tool_calls: tuple[ToolCall, ...] = attrs.field(default=(), converter=_as_tuple)
    usage: Usage | None = None
    finish_reason: str | None = None
    model: str | None = None
    id: str | None = None
    reasoning: str = ""
    _state: Mapping[str, Any] | None = attrs.field(
        default=None, alias="state", kw_only=True, hash=False, repr=False
    )

    @property
    def state(self) -> dict[str, Any] | None:
        """What the service must get back with the message; each access gives a new copy."""
        return copied(self._state) or None

    @property
    def truncated(self) -> bool:
        """Whether the service cut the answer: at the limit of its length, or by its filter."""
        return self.finish_reason in ("length", "content_filter")

    def to_dict(self) -> dict[str, Any]:
        """The turn to send back: `{"role": "assistant", "content": …}`, and its tool calls.

        These are `"tool_calls": [{"name", "arguments", "id"}]`, only when there are any. So is
        `"state"`.
        """
        turn: dict[str, Any] = {"role": "assistant", "content": self.content}
        if self.tool_calls:
            turn["tool_calls"] = [call.to_dict() for call in self.tool_calls]
        return turn | given(state=self.state)

    @classmethod
    def from_dict(cls, turn: Mapping[str, Any]) -> Message:
        """The message of a turn that `to_dict` made.

        Args:
            turn: What `to_dict` returned. Its content may be None when it has tool calls.

        Raises:
            ConfigError: It is no assistant's turn.
        """
        if not isinstance(turn, Mapping):
            raise ConfigError(f"message: expected a dict, got {type(turn).__name__}")
        if turn.get("role") != "assistant":
            raise ConfigError("message: expected the role 'assistant'")
        content, calls = turn.get("content"), turn.get("tool_calls") or ()
        state = turn.get("state")
        if not isinstance(calls, list | tuple):
            raise ConfigError(f"message: expected a list of tool_calls, got {type(calls).__name__}")
        if content is None and calls:
            content = ""
        if not isinstance(content, str):
            raise ConfigError(f"message: expected str content, got {type(content).__name__}")
        if state is not None and not isinstance(state, Mapping):
            raise ConfigError(f"message: expected a dict as state, got {type(state).__name__}")
        return cls(
            content, [ToolCall.from_dict(call) for call in calls], state=copied(state) or None
        )

    def _repr_markdown_(self) -> str:
        """The text, which a notebook renders as Markdown."""
        return self.content


def size_of(chunk: StreamChunk) -> int:
    """The characters that a chunk counts for in `max_answer_size`."""
    if isinstance(chunk, ToolCallChunk):
        tool = chunk.tool
        return max(len(tool.name) + len(tool.arguments) + len(tool.id or ""), SMALLEST_CALL)
    if isinstance(chunk, ReasoningChunk):
        return len(chunk.text)
    return len(chunk.content) if chunk.type == "content" else 0


class MessageBuilder:
    """Adds chunks up to a message.

    Args:
        keep: False keeps only what the done chunk says, so that memory stays flat.

    Attributes:
        add_text: Adds the text of a content chunk: the fast path of `add`.
    """

    def __init__(self, *, keep: bool = True) -> None:
        self._text = io.StringIO()  # a list of pieces takes about 60 bytes more a chunk
        self._reasoning = io.StringIO()
        self._tool_calls: list[ToolCall] = []
        self._done = DoneChunk()
        self._keep = keep
        self.add_text: Callable[[str], int] = self._text.write if keep else len

    def add(self, chunk: StreamChunk) -> None:
        """Add the next chunk."""
        if chunk.type == "content":
            self.add_text(chunk.content)
        elif isinstance(chunk, ToolCallChunk) and self._keep:
            self._tool_calls.append(chunk.tool)
        elif isinstance(chunk, ReasoningChunk) and self._keep:
            self._reasoning.write(chunk.text)
        elif isinstance(chunk, DoneChunk):
            self._done = chunk

    @property
    def message(self) -> Message:
        """The message so far; each access copies the text."""
        done = self._done
        return Message(
            self._text.getvalue(),
            self._tool_calls,
            done.usage,
            done.finish_reason,
            done.model,
            done.id,
            self._reasoning.getvalue(),
            state=done.state,
        )
