"""The service's JSON ⇄ this package's values. The only file that knows the service's field names.

The source is the service's guide to streaming. Where it is silent we read leniently and write
strictly: unknown types and extra fields are no error, an error chunk's text is looked for in
every place it might be; but a known chunk whose own fields are missing or of another type is one,
since guessing would lose text. Knows nothing of SSE, HTTP or time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

import attrs

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
from ..errors import ConfigError, StreamProtocolError
from ..interrupts import is_interrupt
from ..sse import scalar_text

__all__ = [
    "ChunkReader",
    "Messages",
    "Request",
    "answer_in",
    "dump_chunk",
    "encode_body",
    "parse_chunk",
]

MAX_SHOWN = 65536
"""Characters of bad data that are looked through for secrets."""

SHOWN = 300
"""Characters of an error's text that shows what came."""

MAX_DEPTH = 100
"""Levels of nesting that are kept of a chunk: copying, pickling and showing a value take several
of Python's frames for each."""

_WHITE_SPACE = " \t\n\r"
"""What JSON allows around a value."""

Messages = str | list[dict[str, Any]]
"""One user message as text, or turns as `{"role": …, "content": …}`."""


@attrs.define(repr=False, eq=False)
class Request:
    """A question before it is sent, for `on_request` to look at and edit.

    method, url: where it goes; looking only.
    headers: name → value, without the key, which is added later.
    body: the JSON object to be sent; None for a question that has no body.
    idempotency_key: the same for every repeat of this question; looking only.

    Its repr shows no header and nothing of the body.
    """

    method: str = attrs.field(on_setattr=attrs.setters.frozen)
    url: str = attrs.field(on_setattr=attrs.setters.frozen)
    headers: dict[str, str]
    body: dict[str, Any] | None = None
    idempotency_key: str = attrs.field(default="", on_setattr=attrs.setters.frozen)

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.url}>"


def chat_body(
    messages: object, params: Mapping[str, Any], extra_body: object
) -> dict[str, Any] | ConfigError:
    """The JSON object that asks for an answer to these messages.

    A problem is returned, not raised: a traceback from here would hold the prompt.
    """
    turns = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
    problem = _messages_problem(turns)
    if problem or not isinstance(turns, list | tuple):
        return ConfigError(problem)
    if extra_body is not None and not isinstance(extra_body, Mapping):
        return ConfigError(f"extra_body: expected a dict, got {type(extra_body).__name__}")
    return {"messages": [dict(turn) for turn in turns], **params, **(extra_body or {})}


def _messages_problem(messages: object) -> str:
    if not isinstance(messages, list | tuple):
        return f"messages: expected a str or a list of dicts, got {type(messages).__name__}"
    if not messages:
        return "messages: expected at least one, got none"
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        if not isinstance(message, Mapping):
            return f"{where}: expected a dict with role and content, got {type(message).__name__}"
        for field, kinds in (("role", (str,)), ("content", (str, list))):
            if field not in message:
                return f"{where}: expected a {field!r}, got none"
            if not isinstance(message[field], kinds):
                return f"{where}: expected str {field!r}, got {type(message[field]).__name__}"
        if not message["role"]:
            return f"{where}: expected a role, got an empty one"
    return ""


def copied_body(body: dict[str, Any]) -> dict[str, Any]:
    """A body in which every dict and list may be edited, and no caller's object changes.

    Texts are shared, as they cannot be edited: a question of 20 MB costs no more than a short one.
    A tuple becomes a list, which is the same in JSON.
    """
    # A stack of its own: what JSON's encoder can nest is deeper than what Python can recurse.
    copy = dict(body)
    pending: list[Any] = [copy]
    while pending:
        parent = pending.pop()
        for key, value in parent.items() if isinstance(parent, dict) else enumerate(parent):
            if isinstance(value, dict | list | tuple):
                parent[key] = dict(value) if isinstance(value, dict) else list(value)
                pending.append(parent[key])
    return copy


def same_json(one: object, other: object) -> bool:
    """Whether two values are the same text in JSON, to its last sign and the order of its keys.

    What is not known for sure counts as different. An object that both share is not looked into.
    """
    pending: list[tuple[object, object]] = [(one, other)]
    while pending:
        one, other = pending.pop()
        parts = () if one is other else _parts(one, other)
        if parts is None:
            return False
        pending += parts
    return True


def _parts(one: Any, other: Any) -> Iterable[tuple[object, object]] | None:
    """What is to be compared within two values; None when they differ already."""
    sequences = (list, tuple)
    if type(one) is type(other) is dict and len(one) == len(other):
        return zip((*one, *one.values()), (*other, *other.values()), strict=True)
    if type(one) in sequences and type(other) in sequences and len(one) == len(other):
        return zip(one, other, strict=True)
    if type(one) is type(other) is float:
        return () if repr(one) == repr(other) else None  # -0.0 equals 0.0
    same = type(one) is type(other) and type(one) in (str, int, bool) and one == other
    return () if same else None


def encode_body(body: object) -> bytes | ConfigError:
    """A body as UTF-8 JSON; a problem is returned, not raised, as it would hold the prompt."""
    if not isinstance(body, dict):
        return ConfigError(f"body: expected a dict, got {type(body).__name__}")
    parts = []
    for name, value in body.items():
        try:
            key = json.dumps(str(name), ensure_ascii=False)
            part = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            parts.append(f"{key}:{part}".encode())
        except UnicodeEncodeError:
            return ConfigError(f"{name!a:.200}: holds a lone surrogate, which is no text")
        except (TypeError, ValueError, RecursionError) as error:
            if is_interrupt(error):
                raise
            why = "nested too deeply" if isinstance(error, RecursionError) else type(error).__name__
            return ConfigError(f"{name!a:.200}: expected what JSON can hold ({why})")
    return b"{" + b",".join(parts) + b"}"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_decoder = json.JSONDecoder(parse_constant=_refuse_constant)
# What decode() is made of; decode() also looks for white space around the value, and takes twice as
# long. Python's documentation does not tell of it; raw_decode does the same in 15 bytecodes more.
_scan: Callable[[str, int], tuple[Any, int]] = getattr(_decoder, "scan_once", _decoder.raw_decode)


def _any_int(digits: str) -> int | float:
    """A whole number; one that is too long for Python's int (4,300 digits) becomes infinity."""
    try:
        return int(digits)
    except ValueError as error:
        if is_interrupt(error):
            raise
    return float(digits)


# For all that is no usual chunk: a field that we do not know may hold any number.
_any_number = json.JSONDecoder(parse_constant=_refuse_constant, parse_int=_any_int)
_BRACKETS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[\]{}]', re.DOTALL)


class ChunkReader:
    """Reads the data of one answer's events, in order, as chunks.

    redact: takes secrets out of the data that an error shows.

    It has a memory of one character: JavaScript cuts text between the halves of a surrogate pair,
    so a half at a chunk's end is held back and joined to the next chunk's text.
    """

    def __init__(self, redact: Callable[[str], str] = str) -> None:
        self._half = ""
        self._redact = redact

    def read(self, data: str) -> StreamChunk | None:
        """The chunk in an event's data; None when all of its text was held back.

        Raises StreamProtocolError for data that is no chunk.
        """
        try:
            fields, end = _scan(data, 0)
            content = fields["content"] if fields["type"] == "content" else None
        except (StopIteration, ValueError, RecursionError, LookupError, TypeError) as error:
            if is_interrupt(error):
                raise
            content = None
        if type(content) is not str or end != len(data):
            return self._other(data)
        # Only an escape can bring a surrogate: the bytes were decoded as UTF-8.
        if self._half or "\\u" in data:
            content = self._join(content)
        return None if content is None else ContentChunk(content)

    def _other(self, data: str) -> StreamChunk | None:
        """The chunk in data that is not as usual; an error shows a redacted piece of it."""
        stripped = data.strip(_WHITE_SPACE)
        if stripped != data:
            return self.read(stripped)
        try:
            return _chunk_in(data)
        except StreamProtocolError as error:
            ours, got, shown = error.message.partition(", got ")
            # Redacted first and cut then: a small piece of a secret would not be found.
            message = ours + got + self._redact(shown[:MAX_SHOWN])
        raise StreamProtocolError(message if len(message) <= SHOWN else message[:SHOWN] + "…")

    def flush(self) -> ContentChunk | None:
        """What was held back and will not be completed, as U+FFFD."""
        half, self._half = self._half, ""
        return ContentChunk("\ufffd") if half else None

    def _join(self, content: str) -> str | None:
        content, held = self._half + content, self._half
        self._half = ""
        if "\ud800" <= content[-1:] <= "\udbff":
            self._half, content = content[-1], content[:-1]
        return scalar_text(content) if content or not (held or self._half) else None


def parse_chunk(data: str) -> StreamChunk:
    """The chunk in an event's data, on its own: a lone surrogate half becomes U+FFFD.

    Raises StreamProtocolError for data that is no chunk.
    """
    reader = ChunkReader()
    chunk = reader.read(data)
    half = reader.flush()
    if half is None:
        assert chunk is not None
        return chunk
    return half if chunk is None else ContentChunk(chunk.content + half.content)  # type: ignore[union-attr]  # only content is held


def answer_in(data: str) -> str | None:
    """What an event's data adds to the answer, to compare it; "" if nothing, None if it ends it.

    A tool call's id is left out, as a service may make a new one when it begins anew.
    """
    try:
        chunk = _chunk_in(data)
    except StreamProtocolError:  # it is told when the chunk is read
        return None
    if isinstance(chunk, ContentChunk):
        return chunk.content
    if isinstance(chunk, ToolCallChunk):
        return f"{chunk.tool.name}({chunk.tool.arguments})"
    return "" if isinstance(chunk, UnknownChunk) else None


def _chunk_in(data: str) -> StreamChunk:
    """The chunk of any kind in data."""
    try:
        fields = _cleaned(_json_of(data), MAX_DEPTH)
    except (ValueError, RecursionError) as error:
        if is_interrupt(error):
            raise
        why = "nested too deeply" if isinstance(error, RecursionError) else str(error)
    else:
        return _chunk_of(fields)
    raise StreamProtocolError(f"chunk: expected JSON ({why:.100}), got {data!r}")


def _json_of(data: str) -> Any:
    try:
        return _any_number.decode(data)
    except RecursionError as error:
        if is_interrupt(error):
            raise
    return _any_number.decode(_pruned(data))


def _pruned(data: str) -> str:
    """The same JSON with null for what is nested deeper than is kept."""
    kept: list[str] = []
    depth = start = 0
    for match in _BRACKETS.finditer(data):
        if match[0] in ("[", "{"):
            depth += 1
            if depth == MAX_DEPTH + 1:
                kept += [data[start : match.start()], "null"]
        elif match[0] in ("]", "}"):
            if depth == MAX_DEPTH + 1:
                start = match.end()
            depth -= 1
    return "".join([*kept, data[start:] if depth <= MAX_DEPTH else ""])


def _cleaned(value: Any, depth: int) -> Any:
    """The same JSON with every text encodable, down to a depth."""
    if isinstance(value, str):
        return scalar_text(value)
    if depth == 0 and isinstance(value, list | dict):
        return None
    if isinstance(value, list):
        return [_cleaned(item, depth - 1) for item in value]
    if isinstance(value, dict):
        return {scalar_text(name): _cleaned(item, depth - 1) for name, item in value.items()}
    return value


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
    if type(fields) is not dict:
        raise StreamProtocolError(f"{where}: expected a JSON object, got {_shown(fields)}")
    if type(fields.get(name)) is not kind:
        what = {str: "a string", dict: "an object", int: "a whole number"}[kind]
        raise StreamProtocolError(
            f"{where}: expected {what} for {name!r}, got {_shown(fields.get(name))}"
        )
    return fields[name]


def _shown(value: Any) -> str:
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
    """The usage of a done chunk; None when it says nothing of tokens."""
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
    """An error chunk, whose text the guide gives no field: `error`, `message`, then `content`."""
    details = fields.get("error")
    inner: dict[str, Any] = details if isinstance(details, dict) else {}
    texts = (details, inner.get("message"), fields.get("message"), fields.get("content"))
    codes = (inner.get("code"), inner.get("type"), fields.get("code"))
    given = [text for text in texts if isinstance(text, str) and text]
    code = next((code for code in codes if isinstance(code, str | int) and code != ""), None)
    message = given[0] if given else "the service gave no reason"
    return ErrorChunk(message, None if code is None else str(code))


def dump_chunk(chunk: StreamChunk) -> str:
    """A chunk as the service writes it: JSON in one line, such that reading gives it back."""
    written = json.dumps(_fields_of(chunk), ensure_ascii=False, separators=(",", ":"))
    if isinstance(chunk, UnknownChunk):  # may hold 1e999, which Python reads as Infinity
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
