"""The script language: what the sandbox does with one request, step by step, as small values.

Says what each step is and which bytes it stands for. Opens no socket and waits for nothing: the
steps are played by `exchange`.

    [say("AI"), pause(0.1), say(" 正在"), cut(), say("改变"), done(20, 150)]

is an answer that pauses, breaks off after two chunks, and goes on when the client asks to resume.
The answer's headers go out before the first step; `before_headers` holds what comes earlier.
"""

from __future__ import annotations

import http
import json
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

import attrs

from ..chunks import ContentChunk, DoneChunk, ErrorChunk, StreamChunk, ToolCall, ToolCallChunk, Usage
from ..sse import ServerSentEvent, encode
from ..wire import dump_chunk

__all__ = [
    "Framing",
    "Script",
    "Step",
    "Steps",
    "before_headers",
    "chunk",
    "comment",
    "cut",
    "done",
    "error",
    "event",
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
    "tool",
    "wait",
]

Framing = Literal["chunked", "content-length", "close", "gzip", "trickle"]
"""How the end of a body is told; `exchange` says what each is."""


@attrs.frozen
class Event:
    """One event; `id` None is numbered by the sandbox, "" is sent without one."""

    data: str
    event: str = "message"
    id: str | None = None


@attrs.frozen
class Raw:
    """Bytes as they are."""

    data: bytes


@attrs.frozen
class Pause:
    """Nothing for so many seconds."""

    seconds: float


@attrs.frozen
class Wait:
    """Nothing until `word` is set; a word that is later than `timeout` seconds is a cut."""

    word: threading.Event
    timeout: float


@attrs.frozen
class Silence:
    """Nothing until the client leaves; a client that stays `timeout` seconds is cut off."""

    timeout: float


@attrs.frozen
class Cut:
    """The connection's orderly end (FIN), whatever was promised."""


@attrs.frozen
class Reset:
    """The connection's rude end (RST)."""


@attrs.frozen
class NoIds:
    """From here on events are not numbered."""


@attrs.frozen
class Headers:
    """Status, more headers and framing; None is the sandbox's own framing."""

    headers: Mapping[str, str]
    status: int
    framing: Framing | None


@attrs.frozen
class BeforeHeaders:
    """Steps that happen before the answer's headers."""

    steps: tuple[Step, ...]


Step = Event | Raw | Pause | Wait | Silence | Cut | Reset | NoIds | Headers | BeforeHeaders
Steps = Sequence["Step | Steps"]
"""A script as it is written: steps in order; nested sequences are laid out flat."""


# What is said


def say(content: str, *, id: str | None = None) -> Event:
    """A content chunk."""
    return _chunk(ContentChunk(content), id)


def tool(
    name: str,
    arguments: Mapping[str, Any] | str,
    *,
    tool_id: str | None = None,
    id: str | None = None,
) -> Event:
    """A tool call chunk. A str is sent as it is: a model can write broken arguments."""
    text = arguments if isinstance(arguments, str) else _json(arguments)
    return _chunk(ToolCallChunk(ToolCall(name, text, tool_id)), id)


def done(
    prompt_tokens: int | None = None,
    completion_tokens: int | None = None,
    *,
    id: str | None = None,
) -> Event:
    """The done chunk, with the usage when both numbers are given."""
    if prompt_tokens is None or completion_tokens is None:
        return _chunk(DoneChunk(), id)
    return _chunk(DoneChunk(Usage(prompt_tokens, completion_tokens)), id)


def error(
    message: str,
    code: str | None = None,
    *,
    shape: Literal["object", "string", "message", "content"] = "object",
    id: str | None = None,
) -> Event:
    """An error chunk, in each shape that is read.

    object: `{"error": {"message", "code"}}`, what the sandbox itself sends. string:
    `{"error": "…"}`. message: `{"message": "…"}`. content: `{"content": "…"}`.
    Only the first has room for a code.
    """
    if shape == "object":
        return _chunk(ErrorChunk(message, code), id)
    return chunk("error", {"error" if shape == "string" else shape: message}, id=id)


def chunk(type: str, fields: Mapping[str, Any] | None = None, *, id: str | None = None) -> Event:
    """A chunk of any type, known or not, with these fields of the service's JSON."""
    return event(_json({"type": type, **(fields or {})}), id=id)


def event(data: str, *, event: str = "message", id: str | None = None) -> Event:
    """Any event, its data as given."""
    return Event(data, event, id)


def comment(text: str = "") -> Raw:
    """A comment line, which servers send to keep a connection alive."""
    return Raw(f": {text}\n\n".encode())


def ping() -> Event:
    """An event named ping, without an id."""
    return Event('{"type": "ping"}', "ping", "")


def retry(milliseconds: int) -> Raw:
    """The reconnection delay that the client is to use."""
    return Raw(f"retry: {milliseconds}\n\n".encode())


def raw(data: bytes) -> Raw:
    """Bytes as they are, in the body's framing (before the headers: bare)."""
    return Raw(data)


def no_ids() -> NoIds:
    """Events from here on carry no id unless they name their own, so nothing can be resumed."""
    return NoIds()


# What happens


def pause(seconds: float) -> Pause:
    """Nothing for so many seconds."""
    return Pause(seconds)


def wait(word: threading.Event, *, timeout: float = 5.0) -> Wait:
    """Nothing until the test sets `word`.

    A word that has not come after `timeout` seconds cuts the connection: a client that needed
    more than it was given fails, and does not pass late.
    """
    return Wait(word, timeout)


def silence(*, timeout: float = 30.0) -> Silence:
    """Nothing until the client leaves; after `timeout` seconds the connection is cut."""
    return Silence(timeout)


def cut() -> Cut:
    """The end of the connection (FIN) where more was promised. A resumed answer goes on here."""
    return Cut()


def reset() -> Reset:
    """The end of the connection as an error (RST). A resumed answer goes on here."""
    return Reset()


# How the answer begins


def headers(
    fields: Mapping[str, str] | None = None, *, status: int = 200, framing: Framing | None = None
) -> Headers:
    """Headers to add or replace, another status, another framing. Where it stands is no matter."""
    return Headers(fields or {}, status, framing)


def before_headers(*steps: Step) -> BeforeHeaders:
    """Steps before the headers: `before_headers(silence())` never answers."""
    return BeforeHeaders(steps)


def status(
    code: int,
    body: Mapping[str, Any] | str | bytes | None = None,
    *,
    retry_after: float | str | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[Step, ...]:
    """A whole answer that is no stream; without a body, an error in the service's form."""
    fields = {"Content-Type": "application/json", **(headers or {})}
    if retry_after is not None:
        fields["Retry-After"] = str(retry_after)
    if body is None and code not in BODILESS:
        body = {"error": {"message": _phrase(code), "code": _phrase(code).lower().replace(" ", "_")}}
    return Headers(fields, code, "content-length"), Raw(_body(body))


BODILESS = (204, 304)
"""Statuses that have no body and no header about one: RFC 9110 6.4.1."""


def _phrase(code: int) -> str:
    try:
        return http.HTTPStatus(code).phrase
    except ValueError:
        return f"Status {code}"


def _body(body: Mapping[str, Any] | str | bytes | None) -> bytes:
    if isinstance(body, bytes):
        return body
    return (body if isinstance(body, str) else _json(body) if body else "").encode()


def _chunk(chunk: StreamChunk, id: str | None) -> Event:
    return Event(dump_chunk(chunk), id=id)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def bytes_of(step: Step) -> bytes:
    """What a step adds to the body, before framing."""
    if isinstance(step, Event):
        return encode(ServerSentEvent(step.event, step.data, step.id or ""))
    return step.data if isinstance(step, Raw) else b""


@attrs.frozen
class Script:
    """A script made ready to be played: what is before the headers, the headers, the body.

    Every event in `body` has its id, "" for none.
    """

    before: tuple[Step, ...]
    headers: Headers
    body: tuple[Step, ...]

    @classmethod
    def of(cls, steps: Steps) -> Script:
        """The script of these steps. Raises TypeError for what is no step."""
        flat = tuple(_flat(steps))
        heads = [step for step in flat if isinstance(step, Headers)]
        return cls(
            before=tuple(s for step in flat if isinstance(step, BeforeHeaders) for s in step.steps),
            headers=Headers(
                {name: value for head in heads for name, value in head.headers.items()},
                next((head.status for head in heads if head.status != 200), 200),
                next((head.framing for head in heads if head.framing), None),
            ),
            body=tuple(_numbered(s for s in flat if not isinstance(s, Headers | BeforeHeaders))),
        )

    def after(self, last_event_id: str, *, played: int) -> list[tuple[int, Step]] | None:
        """What is left for a client that has all up to an id; None when there is no such id.

        Each step comes with its place in `body`. Steps before place `played` have happened once:
        of those only the events are sent again, so that a cut does not cut its own resumption.
        """
        ids = [step.id if isinstance(step, Event) else None for step in self.body]
        if last_event_id not in ids:
            return None
        start = ids.index(last_event_id) + 1
        return [
            (place, step)
            for place, step in enumerate(self.body)
            if place >= start and (place >= played or isinstance(step, Event))
        ]


def _flat(steps: Steps) -> Iterator[Step]:
    for step in steps:
        if isinstance(step, get_args(Step)):
            yield step
        elif isinstance(step, list | tuple):
            yield from _flat(step)
        else:
            raise TypeError(f"script: expected a step such as say('AI'), got {step!r:.200}")


def _numbered(steps: Iterable[Step]) -> Iterator[Step]:
    number, numbering = 0, True
    for step in steps:
        numbering = numbering and not isinstance(step, NoIds)
        if isinstance(step, Event) and step.id is None:
            number += numbering
            step = attrs.evolve(step, id=str(number) if numbering else "")
        yield step
