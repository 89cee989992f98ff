"""The script language: the words that make the steps of a script.

Opens no socket and waits for nothing: http_handler.py plays the steps.

    [say("AI"), pause(0.1), say(" 正在"), cut(), say("改变"), done(20, 150)]

pauses, breaks off after two chunks, and continues when the client resumes. The headers go out
before the first step; `before_headers` holds what comes earlier.
"""

from __future__ import annotations

import http
import json
from collections.abc import Mapping
from typing import Any, Literal

from ..chunks import (
    ContentChunk,
    DoneChunk,
    ErrorChunk,
    ReasoningChunk,
    ToolCall,
    ToolCallChunk,
    Usage,
)
from .steps import (
    BeforeHeaders,
    Chunk,
    Cut,
    Event,
    ExpectToolResult,
    Headers,
    NoIds,
    Pause,
    Raw,
    Reset,
    Silence,
    Step,
    Wait,
)

__all__ = [
    "before_headers",
    "chunk",
    "comment",
    "cut",
    "done",
    "error",
    "event",
    "expect_tool_result",
    "headers",
    "no_ids",
    "pause",
    "ping",
    "raw",
    "reset",
    "retry",
    "say",
    "silence",
    "status",
    "think",
    "tool",
    "wait",
]

# A script reads as sentences, so the steps have lower-case names too.
event = Event
raw = Raw
pause = Pause
wait = Wait
silence = Silence
cut = Cut
reset = Reset
no_ids = NoIds
headers = Headers
expect_tool_result = ExpectToolResult


def before_headers(*steps: Step) -> BeforeHeaders:
    """Steps before the response's headers: `before_headers(silence())` never responds.

    Args:
        *steps: The steps.
    """
    return BeforeHeaders(steps)


def say(content: str, *, id: str | None = None) -> Chunk:
    """A content chunk.

    Args:
        content: Its text.
        id: The event's id; None has the sandbox number it, "" sends none.
    """
    return Chunk(ContentChunk(content), id=id)


def think(text: str, *, id: str | None = None) -> Chunk:
    """A reasoning chunk.

    Args:
        text: Its text.
        id: The event's id; None has the sandbox number it, "" sends none.
    """
    return Chunk(ReasoningChunk(text), id=id)


def tool(
    name: str,
    arguments: Mapping[str, Any] | str,
    tool_id: str | None = None,
    *,
    id: str | None = None,
) -> Chunk:
    """A tool call chunk.

    Args:
        name: The tool's name.
        arguments: Its arguments. A str is sent as it is: models write broken arguments too.
        tool_id: The id of the call.
        id: The event's id; None has the sandbox number it, "" sends none.
    """
    text = arguments if isinstance(arguments, str) else _json(arguments)
    return Chunk(ToolCallChunk(ToolCall(name, text, tool_id)), id=id)


def done(
    *usage: int,
    finish_reason: str | None = None,
    model: str | None = None,
    answer_id: str | None = None,
    cached: int = 0,
    reasoning: int = 0,
    state: Mapping[str, Any] | None = None,
    id: str | None = None,
) -> Chunk:
    """The done chunk: `done()`, or `done(20, 150)`.

    Args:
        *usage: Prompt tokens and completion tokens, or nothing.
        finish_reason: Why the answer ended: "stop", "length", "tool_calls", "content_filter", or
            any other word.
        model: The model that answered.
        answer_id: The id of the answer.
        cached: Tokens of the prompt that came from a cache. Needs the other two counts, as the
            next one does.
        reasoning: Tokens of the completion that went into reasoning.
        state: What the service must get back, as `DoneChunk.state` has it. A service without such
            a thing leaves it out.
        id: The event's id; None has the sandbox number it, "" sends none.
    """
    if (cached or reasoning) and not usage:
        raise TypeError("done: cached and reasoning need the other counts: done(20, 150, cached=5)")
    tokens = Usage(*usage, cached_tokens=cached, reasoning_tokens=reasoning) if usage else None
    return Chunk(DoneChunk(tokens, finish_reason, model, answer_id, state=state), id=id)


def error(
    message: str,
    code: str | None = None,
    *,
    shape: Literal["object", "string", "message", "content"] = "object",
    id: str | None = None,
) -> Chunk | Event:
    """An error chunk.

    Args:
        message: What happened.
        code: A code for it.
        shape: Where the message stands. "object": `{"error": {"message", "code"}}`, the only one
            with a code. "string": `{"error": "…"}`. "message": `{"message": "…"}`. "content":
            `{"content": "…"}`.
        id: The event's id; None has the sandbox number it, "" sends none.
    """
    if shape == "object":
        return Chunk(ErrorChunk(message, code), id=id)
    return chunk("error", {"error" if shape == "string" else shape: message}, id=id)


def chunk(type: str, fields: Mapping[str, Any] | None = None, *, id: str | None = None) -> Event:
    """A chunk of any type, known or not.

    Args:
        type: Its type.
        fields: Its other fields, in the service's JSON.
        id: The event's id; None has the sandbox number it, "" sends none.
    """
    return Event(_json({"type": type, **(fields or {})}), id=id)


def comment(text: str = "") -> Raw:
    """A comment line, which servers send to keep a connection alive.

    Args:
        text: The comment.
    """
    return Raw(f": {text}\n\n".encode())


def ping() -> Event:
    """An event named ping, without an id."""
    return Event('{"type": "ping"}', event="ping", id="")


def retry(milliseconds: int) -> Raw:
    """The reconnection delay that the client is to use.

    Args:
        milliseconds: The delay.
    """
    return Raw(f"retry: {milliseconds}\n\n".encode())


def status(
    code: int,
    body: Mapping[str, Any] | str | bytes | None = None,
    *,
    retry_after: float | str | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[Step, ...]:
    """A whole response that is no stream.

    Args:
        code: The HTTP status.
        body: The body, a dict as JSON; None sends an error in the service's form.
        retry_after: The `Retry-After` header.
        headers: Headers to add or replace.
    """
    fields = {"Content-Type": "application/json", **(headers or {})}
    if retry_after is not None:
        fields["Retry-After"] = str(retry_after)
    if body is None:
        body = "" if code in BODILESS else problem(_phrase(code))
    text = _json(body) if isinstance(body, Mapping) else body
    content = Raw(text.encode() if isinstance(text, str) else text)
    return Headers(fields, status=code, framing="content-length"), content


BODILESS = (204, 304)
"""Statuses without a body and without headers about one (RFC 9110 6.4.1)."""


def problem(message: str, code: str | None = None) -> dict[str, Any]:
    """An error body, in the form of most services; without a code, one made of the message."""
    return {"error": {"message": message, "code": code or message.lower().replace(" ", "_")}}


def _phrase(code: int) -> str:
    try:
        return http.HTTPStatus(code).phrase
    except ValueError:
        return f"Status {code}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
