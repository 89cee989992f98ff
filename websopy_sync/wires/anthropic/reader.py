"""Reads the events of Anthropic Messages.

Does no I/O. Knows nothing of requests. Blocks are put together by `blocks`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...chunks import DoneChunk, StreamChunk
from ...usage import Usage
from ..base import ReadResult
from ..lenient_json import cleaned
from ..pieces import (
    Noted,
    Texts,
    beyond_allowance,
    collected,
    error_chunk,
    event_object,
    optional,
    text_in,
    unknown_fields,
    usage_of,
)
from .blocks import AnthropicBlocks
from .turns import STATE

__all__ = ["AnthropicReader"]

_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}

_KNOWN = {
    *("type", "index", "delta", "text"),
    *("id", "role", "content", "model", "stop_reason", "usage"),
}
"""Fields of an event, its delta and its message that are read, or say nothing about the answer."""


class AnthropicReader:
    """Reads the events of one response; see `Reader`."""

    def __init__(self) -> None:
        self._texts = Texts()
        self._blocks = AnthropicBlocks()
        self._reason: str | None = None
        self._model: str | None = None
        self._id: str | None = None
        self._has_begun = False  # whether a block has
        self._counts, self._extra, self._citations = Noted(), Noted(), Noted()

    @property
    def done(self) -> DoneChunk | None:
        """What ends the response if its bytes end now; see `Reader`."""
        return self._done() if self._reason else None

    @property
    def held(self) -> int:
        """Characters of blocks, and of other fields, that are not handed over; see `Reader`."""
        noted = self._counts.size + self._extra.size + self._citations.size
        return self._blocks.held + beyond_allowance(self._blocks.kept_size + noted)

    def _done(self) -> DoneChunk:
        blocks = self._blocks.kept
        citations = list(self._citations.fields.values())
        extra = self._extra.fields | ({"citations": citations} if citations else {})
        return DoneChunk(
            _usage(self._counts.fields),
            self._reason,
            self._model,
            self._id,
            state={STATE: {"blocks": blocks}} if blocks else None,
            extra=extra or None,
        )

    def read(self, data: str) -> ReadResult:
        """Read the data of one event; see `Reader.read`."""
        fields = event_object(data)
        if fields is None or (kind := fields.get("type")) == "ping":
            return None
        if kind == "error" or fields.get("error"):
            return [*self._texts.flush(), error_chunk(fields)]  # no call: it may lack its end
        return collected(self._event(kind, fields), data)

    def _event(self, kind: Any, fields: dict[str, Any]) -> Iterator[StreamChunk]:
        index = optional(fields, "index", int)
        if kind == "content_block_delta":
            yield from self._delta(index, fields, optional(fields, "delta", dict))
        elif kind == "content_block_start":
            yield from self._start(index, optional(fields, "content_block", dict))
        elif kind == "content_block_stop":
            yield from self._texts.flush()
            yield from self._blocks.close(index)
        elif kind == "message_start":
            yield from self._begin(optional(fields, "message", dict))
        elif kind == "message_delta":
            delta = optional(fields, "delta", dict)
            reason = text_in(delta, "stop_reason")
            self._note(fields | delta, fields.get("usage"))
            if reason:
                self._reason = _REASONS.get(reason, reason)
                yield from self._end()
        elif kind == "message_stop":
            yield from self._end()
            yield self._done()

    def _begin(self, message: dict[str, Any]) -> Iterator[StreamChunk]:
        """Begin the message. It may have calls already, which a program of the model's made.

        Text in it would come twice: some gateways put there what follows in pieces.
        """
        if self._has_begun and text_in(message, "id") != self._id:
            raise TypeError("expected one message, got the start of another")
        self._model, self._id = text_in(message, "model"), text_in(message, "id")
        self._note(message, message.get("usage"), without="output_tokens")  # it is 1 or so
        content = message.get("content")
        for index, block in enumerate(content if isinstance(content, list) else ()):
            if isinstance(block, dict) and block.get("type") == "tool_use":
                yield from self._start(index, block)
                yield from self._blocks.close(index)

    def _note(self, fields: dict[str, Any], usage: Any, *, without: str = "") -> None:
        """Note the tokens, and the fields that this version does not know."""
        for name, value in usage.items() if isinstance(usage, dict) else ():
            # 0 is no news: some gateways count the prompt in one of two events only.
            known = value == 0 and self._counts.fields.get(name)
            if value is not None and name != without and not known:
                self._counts.note({name: cleaned(value)})
        self._extra.note(unknown_fields(fields, _KNOWN))

    def _start(self, index: int, block: dict[str, Any]) -> Iterator[StreamChunk]:
        self._has_begun = True
        yield from self._blocks.close(index)
        self._blocks.start(index, block)
        kind = block.get("type")
        if kind in ("text", "thinking") and block.get(kind):  # mostly "": pieces follow
            yield from self._delta(index, {}, {"type": f"{kind}_delta", kind: block[kind]})

    def _delta(
        self, index: int, fields: dict[str, Any], delta: dict[str, Any]
    ) -> Iterator[StreamChunk]:
        kind, self._has_begun = delta.get("type"), True
        if kind == "text_delta":
            extra = unknown_fields(fields, _KNOWN) | unknown_fields(delta, _KNOWN)
            yield from self._texts.say(optional(delta, "text", str), extra)
        elif kind == "thinking_delta":
            thinking = optional(delta, "thinking", str)
            self._blocks.add(index, "thinking", thinking)
            yield from self._texts.think(thinking)
        elif kind == "signature_delta":
            self._blocks.add(index, "signature", optional(delta, "signature", str))
        elif kind == "input_json_delta":
            self._blocks.add(index, "input", optional(delta, "partial_json", str))
        elif kind == "compaction_delta":
            for name in ("content", "encrypted_content"):
                self._blocks.add(index, name, optional(delta, name, str))
        elif kind == "citations_delta" and delta.get("citation"):
            number = str(len(self._citations.fields))
            self._citations.note({number: cleaned(delta["citation"])})

    def _end(self) -> Iterator[StreamChunk]:
        """The text and the calls that were held back. Nothing more comes of them."""
        yield from self._texts.flush()
        yield from self._blocks.close_all()


def _usage(counts: dict[str, Any]) -> Usage | None:
    """The tokens. The service counts those of its cache apart from the others of the prompt."""
    rest = dict(counts)
    prompt, completion = rest.pop("input_tokens", None), rest.pop("output_tokens", None)
    names = ("cache_read_input_tokens", "cache_creation_input_tokens")
    cache = [count if type(count) is int else 0 for count in map(counts.get, names)]
    details = rest.pop("output_tokens_details", None)
    thinking = details.get("thinking_tokens") if isinstance(details, dict) else None
    rest.pop(names[0], None)
    total = prompt + sum(cache) if type(prompt) is int else None
    return usage_of(total, completion, cached=cache[0], reasoning=thinking, details=rest)
