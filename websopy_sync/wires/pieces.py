"""What the readers of several wires do alike: JSON objects, texts, errors, counts, whole calls.

Pure. Knows no service: each wire passes the names of its own fields.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Set
from typing import Any

from ..chunks import (
    ContentChunk,
    ErrorChunk,
    ReasoningChunk,
    StreamChunk,
    ToolCall,
    ToolCallChunk,
    UnknownChunk,
)
from ..errors import StreamProtocolError
from ..interrupts import is_interrupt
from ..surrogates import SurrogateJoiner, scalar_text
from ..usage import MAX_COUNT, Usage
from .base import ReadResult
from .lenient_json import WHITE_SPACE, cleaned, decoded

__all__ = [
    "Noted",
    "Texts",
    "arguments_text",
    "beyond_allowance",
    "collected",
    "error_chunk",
    "event_object",
    "json_object",
    "optional",
    "text_in",
    "unknown_chunk",
    "unknown_fields",
    "usage_of",
    "whole_call",
]

ALLOWANCE = 64 * 1024
"""Characters that a reader may keep beside the answer: signatures, counts, fields of services."""


def json_object(data: str) -> dict[str, Any]:
    """Read the data of an event as a JSON object. Texts may hold halves of surrogate pairs.

    Raises:
        StreamProtocolError: It is none.
    """
    why = "got another value"
    try:
        value = decoded(data, constants=True)
        if isinstance(value, dict):
            return value
    except (ValueError, RecursionError) as error:
        if is_interrupt(error):
            raise
        why = "nested too deeply" if isinstance(error, RecursionError) else str(error)
    raise StreamProtocolError(f"event: expected a JSON object ({why:.100}), got {data!r}")


def event_object(data: str) -> dict[str, Any] | None:
    """Read the data of a server-sent event as a JSON object.

    Returns:
        None for what gateways send besides: nothing, a comment as data, the end mark of OpenAI's
        format in another one.

    Raises:
        StreamProtocolError: It is something else.
    """
    data = data.strip(WHITE_SPACE)
    return None if not data or data.startswith(":") or data == "[DONE]" else json_object(data)


def collected(chunks: Iterable[StreamChunk], data: str) -> ReadResult:
    """Read an event to its end: its chunk, or all of them.

    Args:
        chunks: They may be made as they are read, by `optional` and others that raise TypeError.
        data: The event's data, for the error.

    Raises:
        StreamProtocolError: A field has the wrong type.
    """
    try:
        found = list(chunks)
    except TypeError as error:
        if is_interrupt(error):
            raise
        problem = str(error)
    else:
        return found[0] if len(found) == 1 else found
    raise StreamProtocolError(f"event: {problem}, got {data!r}")


def optional(fields: Mapping[str, Any], name: str, kind: type) -> Any:
    """A field that may be missing or null.

    Args:
        fields: The object.
        name: The field.
        kind: The type that it must have otherwise.

    Returns:
        Its value; an empty value of that type when it is missing or null.

    Raises:
        TypeError: It has another type, or `fields` is no object.
    """
    if not isinstance(fields, Mapping):
        raise TypeError(f"expected an object with {name!r}, got {type(fields).__name__}")
    value = fields.get(name)
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise TypeError(f"expected {kind.__name__} for {name!r}, got {type(value).__name__}")
    return value


def text_in(fields: Mapping[str, Any], name: str) -> str | None:
    """A text that the answer does not depend on; None when it is missing, empty or no text."""
    value = fields.get(name)
    return scalar_text(value) if isinstance(value, str) and value else None


def unknown_fields(fields: Mapping[str, Any], known: Set[str]) -> dict[str, Any]:
    """The fields that are none of the known ones, but for those that say nothing."""
    if fields.keys() <= known:
        return {}
    unknown = {name: value for name, value in fields.items() if name not in known}
    return {name: cleaned(value) for name, value in unknown.items() if value is not None}


def beyond_allowance(size: int) -> int:
    """What counts of the characters that a reader keeps beside the answer; see `Reader`.

    A usual answer has a few of them, which `max_answer_size` is not meant for.
    """
    return max(size - ALLOWANCE, 0)


class Noted:
    """Fields of one response, the last value of each name, and how large they are together."""

    def __init__(self) -> None:
        self.fields: dict[str, Any] = {}
        self.size: int = 0
        """Characters of the fields, as `repr` shows them."""

    def note(self, fields: Mapping[str, Any]) -> None:
        """Note some fields."""
        for name, value in fields.items():
            if name not in self.fields:
                self.size += len(name) + len(repr(value))
            elif type(value) is not int and value != self.fields[name]:  # else as short as it was
                self.size += len(repr(value)) - len(repr(self.fields[name]))
            self.fields[name] = value


class Texts:
    """The text and the reasoning of one response. Each may be cut within a character."""

    def __init__(self) -> None:
        self._text, self._reasoning = SurrogateJoiner(), SurrogateJoiner()

    def say(self, piece: str, extra: dict[str, Any] | None = None) -> list[StreamChunk]:
        """The chunk of a piece of text; none while all of it is held back, or it is empty."""
        text = self._text.join(piece)
        return [ContentChunk(text, extra=extra or None)] if text else []

    def think(self, piece: str) -> list[ReasoningChunk]:
        """The chunk of a piece of reasoning, likewise."""
        text = self._reasoning.join(piece)
        return [ReasoningChunk(text)] if text else []

    def flush(self) -> list[StreamChunk]:
        """The halves of characters whose other half has not come."""
        lost: list[StreamChunk] = []
        for kind, joiner in ((ReasoningChunk, self._reasoning), (ContentChunk, self._text)):
            lost += [kind(half) for half in [joiner.flush()] if half]
        return lost


def error_chunk(fields: Mapping[str, Any]) -> ErrorChunk:
    """The error in a JSON object, wherever a service puts its message and its code.

    The code is a word if there is one, else the number.
    """
    inner = fields.get("error")
    outer: Mapping[str, Any] = inner if isinstance(inner, Mapping) else fields
    texts = (inner, outer.get("message"), fields.get("message"), outer.get("detail"))
    codes = (outer.get("code"), outer.get("status"), outer.get("type"), fields.get("code"))
    message = next((text for text in texts if isinstance(text, str) and text), None)
    words = [code for code in codes if isinstance(code, str) and code not in ("", "error")]
    numbers = [str(code) for code in codes if type(code) is int]
    code = next(iter(words + numbers), None)
    return ErrorChunk(
        scalar_text(message or "the service gave no reason"), code and scalar_text(code)
    )


def usage_of(
    prompt: Any,
    completion: Any,
    total: Any = None,
    *,
    cached: Any = None,
    reasoning: Any = None,
    details: Mapping[str, Any] | None = None,
) -> Usage | None:
    """The counts of a usage; None when they are none, as some servers send null or floats.

    Args:
        prompt: Tokens of what was sent, those from a cache among them.
        completion: Tokens of what the model wrote, its reasoning among them.
        total: The service's own sum, None without one.
        cached: Tokens from a cache.
        reasoning: Tokens of reasoning.
        details: The service's other counts.
    """
    if total is None and _is_count(prompt) and _is_count(completion):
        total = prompt + completion
    if not all(map(_is_count, (prompt, completion, total))):
        return None
    return Usage(
        prompt,
        completion,
        total,
        cached_tokens=cached if _is_count(cached) else 0,
        reasoning_tokens=reasoning if _is_count(reasoning) else 0,
        details=details,
    )


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_COUNT


def arguments_text(arguments: Any) -> str:
    """The arguments of a tool call as text; some services send the object itself."""
    if isinstance(arguments, str):
        return arguments
    return json.dumps(cleaned(arguments), ensure_ascii=False) if arguments is not None else ""


def unknown_chunk(kind: str, fields: Mapping[str, Any]) -> UnknownChunk:
    """What a service sent beside the known chunks, such as an item or a part of its own."""
    return UnknownChunk(kind, cleaned(fields))  # type: ignore[arg-type]  # any text


def whole_call(function: Mapping[str, Any], arguments: Any, identity: str | None) -> ToolCallChunk:
    """A tool call that came as a whole.

    Args:
        function: The object with its `name`.
        arguments: Its arguments, as text or as the object itself.
        identity: Its id, None when it has none.

    Raises:
        TypeError: It has no name.
    """
    name = optional(function, "name", str)
    if not name:
        raise TypeError("expected a name for the tool call, got none")
    text = scalar_text(arguments_text(arguments))
    return ToolCallChunk(ToolCall(scalar_text(name), text, identity))
