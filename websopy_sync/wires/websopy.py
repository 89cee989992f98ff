"""The Websopy service: its path, its headers, and its JSON ⇄ chunks.

The only file that knows the service's field names. Knows nothing of SSE, HTTP or time.

The source is the service's guide to streaming. Where the guide is silent, reading is lenient and
writing is strict. Unknown types and extra fields are no error, and an error chunk's text is looked
for in every likely field. But a known chunk is an error when one of its own fields is missing or
has another type: guessing would lose text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..chunks import (
    MAX_COUNT,
    ContentChunk,
    DoneChunk,
    ErrorChunk,
    StreamChunk,
    ToolCall,
    ToolCallChunk,
    UnknownChunk,
    Usage,
)
from ..errors import StreamProtocolError
from ..interrupts import is_interrupt
from ..surrogates import scalar_text, split_half
from .base import ChatRequest, ReadResult, Wire
from .lenient_json import WHITE_SPACE, parse, scan

__all__ = [
    "Websopy",
    "WebsopyReader",
    "dump_chunk",
    "error_body",
    "parse_chunk",
    "turns_in",
]


class Websopy(Wire):
    """The wire of the Websopy service; see `Wire`."""

    name = "websopy"
    base_url = "https://api.websopy.com/v1"
    path = "/ai/chat"
    resumable = True

    def body(self, request: ChatRequest) -> dict[str, Any]:
        """Build the request's JSON; see `Wire.body`."""
        body: dict[str, Any] = {"messages": request.turns}
        if request.model is not None:
            body["model"] = request.model
        if request.tools is not None:
            body["tools"] = request.tools
        return body | dict(request.params)

    def reader(self) -> WebsopyReader:
        """Make the reader of one response."""
        return WebsopyReader()

    def text_of(self, data: str) -> str | None:
        """What an event's data adds to the message; see `Wire.text_of`.

        A tool call's id is left out: a service that starts again may make a new one.
        """
        try:
            chunk = parse_chunk(data)
        except StreamProtocolError:  # raised when the reader comes to it
            return None
        if isinstance(chunk, ContentChunk):
            return chunk.content
        if isinstance(chunk, ToolCallChunk):
            return f"{chunk.tool.name}({chunk.tool.arguments})"
        return "" if isinstance(chunk, UnknownChunk) else None


class WebsopyReader:
    """Reads the events of one response; see `Reader`.

    It holds one character: the first half of a surrogate pair at the end of a chunk's text, until
    the next chunk.
    """

    def __init__(self) -> None:
        self._half = ""

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
        if self._half or "\\u" in data:
            return self._joined(content)
        return ContentChunk(content)

    def _read_other(self, data: str) -> ReadResult:
        """Read data that is not plain text. A half that is held has lost its other one."""
        stripped = data.strip(WHITE_SPACE)
        if stripped != data:
            return self.read(stripped)
        chunk = parse_chunk(data)
        half, self._half = self._half, ""
        return (ContentChunk("\ufffd"), chunk) if half else chunk

    def _joined(self, content: str) -> ReadResult:
        """The text with the half that was held; nothing while all of it is held back."""
        held = self._half
        text, self._half = split_half(held + content)
        if not text and (held or self._half):
            return ()
        return ContentChunk(scalar_text(text))


def parse_chunk(data: str) -> StreamChunk:
    """Read a chunk of any kind on its own; a lone surrogate half becomes U+FFFD.

    Raises:
        StreamProtocolError: The data is no chunk. The message quotes it whole.
    """
    try:
        fields = parse(data)
    except (ValueError, RecursionError) as error:
        if is_interrupt(error):
            raise
        why = "nested too deeply" if isinstance(error, RecursionError) else str(error)
    else:
        return _chunk_of(fields)
    raise StreamProtocolError(f"chunk: expected JSON ({why:.100}), got {data!r}")


def _chunk_of(fields: Any) -> StreamChunk:
    kind = _field(fields, "type", str, "chunk")
    if kind == "content":
        return ContentChunk(_field(fields, "content", str, "content chunk"))
    if kind == "tool_call":
        return ToolCallChunk(_tool_of(_field(fields, "tool", dict, "tool_call chunk")))
    if kind == "done":
        return DoneChunk(_usage_of(fields.get("usage")))
    if kind == "error":
        return _error_of(fields)
    return UnknownChunk(kind, fields)


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


def _tool_of(tool: dict[str, Any]) -> ToolCall:
    name = _field(tool, "name", str, "tool")
    arguments = _field(tool, "arguments", str, "tool")
    identity = tool.get("id")
    return ToolCall(name, arguments, None if identity is None else _field(tool, "id", str, "tool"))


def _usage_of(usage: Any) -> Usage | None:
    """The usage of a done chunk; None when it has no counts."""
    if usage is None or usage == {}:
        return None
    prompt = _count(usage, "promptTokens")
    completion = _count(usage, "completionTokens")
    if usage.get("totalTokens") is None and prompt + completion <= MAX_COUNT:
        return Usage(prompt, completion)
    return Usage(prompt, completion, _count(usage, "totalTokens"))


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
    return ErrorChunk(message, None if code is None else str(code))


def dump_chunk(chunk: StreamChunk) -> str:
    """Write a chunk as the service does.

    Args:
        chunk: The chunk.

    Returns:
        JSON in one line. `parse_chunk` gives the chunk back.
    """
    written = json.dumps(_fields_of(chunk), ensure_ascii=False, separators=(",", ":"))
    if isinstance(chunk, UnknownChunk):  # it may hold infinity, read from 1e999, which is no JSON
        fields = json.loads(written, parse_constant=lambda name: None)
        written = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    return scalar_text(written)


def _fields_of(chunk: StreamChunk) -> Mapping[str, Any]:
    if isinstance(chunk, ContentChunk):
        return {"type": "content", "content": chunk.content}
    if isinstance(chunk, ToolCallChunk):
        tool = {"name": chunk.tool.name, "arguments": chunk.tool.arguments}
        if chunk.tool.id is not None:
            tool["id"] = chunk.tool.id
        return {"type": "tool_call", "tool": tool}
    if isinstance(chunk, DoneChunk):
        return {"type": "done"} | ({"usage": _usage_fields(chunk.usage)} if chunk.usage else {})
    if isinstance(chunk, ErrorChunk):
        error = {"message": chunk.message} | ({"code": chunk.code} if chunk.code else {})
        return {"type": "error", "error": error}
    return {**chunk.data, "type": chunk.type}


def _usage_fields(usage: Usage) -> dict[str, int]:
    fields = {"promptTokens": usage.prompt_tokens, "completionTokens": usage.completion_tokens}
    if usage.total_tokens != usage.prompt_tokens + usage.completion_tokens:
        fields["totalTokens"] = usage.total_tokens
    return fields


# --- the service's side, for the sandbox ---------------------------------------------------------


def error_body(message: str, code: str) -> dict[str, Any]:
    """The body of a refused request."""
    return {"error": {"message": message, "code": code}}


def turns_in(body: object) -> object:
    """The turns in a request's JSON, unchecked; None when it has no place for them."""
    return body.get("messages") if isinstance(body, dict) else None
