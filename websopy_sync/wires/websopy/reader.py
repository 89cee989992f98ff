"""Reads what the Websopy service sends: JSON to chunks.

Does no I/O. Knows nothing of SSE, HTTP or time.

Unknown types and extra fields are no error, and an error chunk's text is looked for in every likely
field. But a known chunk is an error when one of its own fields is missing or has another type:
guessing would lose text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...chunks import (
    ContentChunk,
    DoneChunk,
    ErrorChunk,
    ReasoningChunk,
    StreamChunk,
    ToolCall,
    ToolCallChunk,
    UnknownChunk,
    plain_text,
)
from ...errors import StreamProtocolError
from ...interrupts import is_interrupt
from ...surrogates import SurrogateJoiner
from ...usage import MAX_COUNT, Usage
from ..base import ReadResult
from ..lenient_json import WHITE_SPACE, cleaned, decoded, scan

__all__ = ["WebsopyReader", "parse_chunk"]


class WebsopyReader:
    """Reads the events of one response; see `Reader`.

    Of each kind of text it may hold one character: the first half of a surrogate pair.
    """

    done: DoneChunk | None = None
    """None: the service ends each response by a done chunk."""

    def __init__(self) -> None:
        self._text = SurrogateJoiner()
        self._reasoning = SurrogateJoiner()

    def read(self, data: str) -> ReadResult:
        """Read the data of one event; see `Reader.read`."""
        # Fast path: a plain text chunk (docs/benchmarks.md).
        try:
            fields, end = scan(data, 0)
            content = fields["content"] if fields["type"] == "content" else None
        except (StopIteration, ValueError, RecursionError, LookupError, TypeError) as error:
            if is_interrupt(error):
                raise
            content = None
        if type(content) is not str or end != len(data):
            return self._read_other(data)
        # Only an escape can bring a surrogate: the bytes were decoded as UTF-8.
        if len(fields) != 2 or "\\u" in data or self._text.half:
            return _joined(self._text, ContentChunk, content, fields)
        return plain_text(content)

    def _read_other(self, data: str) -> ReadResult:
        """Read data that is not plain text. A half that is held has lost its other one."""
        stripped = data.strip(WHITE_SPACE)
        if stripped != data:
            return self.read(stripped)
        fields = _decoded(data)
        if type(fields) is dict and fields.get("type") == "reasoning":
            return _joined(self._reasoning, ReasoningChunk, _reasoning_in(fields), fields)
        chunk = _chunk_of(cleaned(fields))
        lost: list[StreamChunk] = [
            ReasoningChunk(half) for half in [self._reasoning.flush()] if half
        ]
        lost += [ContentChunk(half) for half in [self._text.flush()] if half]
        return (*lost, chunk) if lost else chunk


def _joined(
    joiner: SurrogateJoiner,
    kind: type[ContentChunk] | type[ReasoningChunk],
    text: str,
    fields: dict[str, Any],
) -> ReadResult:
    """Text with the half that was held; nothing while all of it is held back."""
    held = joiner.half
    joined = joiner.join(text)
    extra = _others(cleaned(fields), "type", "content")
    if not joined and (held or joiner.half) and not extra:
        return ()
    return kind(joined, extra=extra)


def parse_chunk(data: str) -> StreamChunk:
    """Read a chunk of any kind on its own; a lone surrogate half becomes U+FFFD.

    Raises:
        StreamProtocolError: The data is no chunk. The message quotes it whole.
    """
    return _chunk_of(cleaned(_decoded(data)))


def _decoded(data: str) -> Any:
    try:
        return decoded(data)
    except (ValueError, RecursionError) as error:
        if is_interrupt(error):
            raise
        why = "nested too deeply" if isinstance(error, RecursionError) else str(error)
    raise StreamProtocolError(f"chunk: expected JSON ({why:.100}), got {data!r}")


def _chunk_of(fields: Any) -> StreamChunk:
    kind = _field(fields, "type", str, "chunk")
    if kind == "content":
        content = _field(fields, "content", str, "content chunk")
        return ContentChunk(content, extra=_others(fields, "type", "content"))
    if kind == "reasoning":
        return ReasoningChunk(_reasoning_in(fields), extra=_others(fields, "type", "content"))
    if kind == "tool_call":
        return _tool_call_of(fields)
    if kind == "done":
        return _done_of(fields)
    if kind == "error":
        return _error_of(fields)
    return UnknownChunk(kind, fields)


def _others(fields: Mapping[str, Any], *known: str) -> dict[str, Any] | None:
    """The fields that are none of the known ones; None when there are none."""
    return {name: value for name, value in fields.items() if name not in known} or None


def _reasoning_in(fields: dict[str, Any]) -> str:
    """The text of a reasoning chunk. The guide has no such chunk, so nothing in it is required."""
    text = fields.get("content")
    return text if isinstance(text, str) else ""


def _field(fields: Any, name: str, kind: type, where: str) -> Any:
    """A field that must be there, of this type. `where` is what an error calls the object."""
    if type(fields) is not dict:
        raise StreamProtocolError(f"{where}: expected a JSON object, got {_shown(fields)}")
    if type(fields.get(name)) is not kind:
        what = {str: "a string", dict: "an object", int: "a whole number"}[kind]
        raise StreamProtocolError(
            f"{where}: expected {what} for {name!r}, got {_shown(fields.get(name))}"
        )
    return fields[name]


def _shown(value: Any) -> str:
    """A value for an error's message; its type when it is too large or too deep for repr()."""
    try:
        return repr(value)
    except (RecursionError, ValueError):
        return type(value).__name__


def _tool_call_of(fields: dict[str, Any]) -> ToolCallChunk:
    tool = _field(fields, "tool", dict, "tool_call chunk")
    name = _field(tool, "name", str, "tool")
    arguments = _field(tool, "arguments", str, "tool")
    identity = None if tool.get("id") is None else _field(tool, "id", str, "tool")
    extra = _others(fields, "type", "tool") or {}
    inner = _others(tool, "name", "arguments", "id")
    extra |= {"tool": inner} if inner else {}
    return ToolCallChunk(ToolCall(name, arguments, identity), extra=extra or None)


_REASONS = {
    "toolCalls": "tool_calls",
    "contentFilter": "content_filter",
    "maxTokens": "length",
    "max_tokens": "length",
}
"""Finish reasons in other words. The guide names none; these are common elsewhere."""


def _done_of(fields: dict[str, Any]) -> DoneChunk:
    """A done chunk. The guide has its usage only: another field of the wrong type is in extra."""
    rest = dict(fields)
    del rest["type"]
    usage = _usage_of(rest.pop("usage", None))
    reason, model, identity = (_taken(rest, name) for name in ("finishReason", "model", "id"))
    return DoneChunk(usage, reason and _REASONS.get(reason, reason), model, identity, extra=rest)


def _taken(fields: dict[str, Any], name: str) -> str | None:
    """Take a text out of the fields; None when it is missing, empty or no text."""
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        return None
    fields.pop(name, None)
    return value or None


def _usage_of(usage: Any) -> Usage | None:
    """The usage of a done chunk; None when it has no counts."""
    if usage is None or usage == {}:
        return None
    prompt = _count(usage, "promptTokens")
    completion = _count(usage, "completionTokens")
    summed = usage.get("totalTokens") is None and prompt + completion <= MAX_COUNT
    total = prompt + completion if summed else _count(usage, "totalTokens")
    rest = _others(usage, "promptTokens", "completionTokens", "totalTokens") or {}
    cached, reasoning = (_taken_count(rest, name) for name in ("cachedTokens", "reasoningTokens"))
    return Usage(
        prompt, completion, total, cached_tokens=cached, reasoning_tokens=reasoning, details=rest
    )


def _taken_count(details: dict[str, Any], name: str) -> int:
    """Take a count that the guide does not have out of the details; 0 when there is no such."""
    count = details.get(name)
    if count is not None and not (type(count) is int and 0 <= count <= MAX_COUNT):
        return 0
    details.pop(name, None)
    return count or 0


def _count(usage: Any, name: str) -> int:
    count: int = _field(usage, name, int, "usage")
    if not 0 <= count <= MAX_COUNT:
        expected = f"usage: expected 0 to {MAX_COUNT} for {name!r}"
        raise StreamProtocolError(f"{expected}, got {_shown(count)}")
    return count


def _error_of(fields: dict[str, Any]) -> ErrorChunk:
    """An error chunk. The guide names no field for its text: `error`, `message`, then `content`."""
    details = fields.get("error")
    inner: dict[str, Any] = details if isinstance(details, dict) else {}
    texts = (details, inner.get("message"), fields.get("message"), fields.get("content"))
    codes = (inner.get("code"), inner.get("type"), fields.get("code"))
    given = [text for text in texts if isinstance(text, str) and text]
    code = next((code for code in codes if isinstance(code, str | int) and code != ""), None)
    message = given[0] if given else "the service gave no reason"
    extra = _others(fields, "type", "error", "message", "content", "code") or {}
    rest = _others(inner, "message", "code", "type")
    extra |= {"error": rest} if rest else {}
    return ErrorChunk(message, None if code is None else str(code), extra=extra or None)
