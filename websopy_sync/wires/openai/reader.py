"""Reads the events of OpenAI Chat Completions, as the servers compatible with it send them.

Does no I/O. Knows what has come so far; what one event says is in `dialects`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...chunks import DoneChunk, StreamChunk
from ...usage import Usage
from ..base import ReadResult
from ..lenient_json import WHITE_SPACE
from ..openai_form import usage_in
from ..pieces import (
    Noted,
    Texts,
    arguments_text,
    beyond_allowance,
    collected,
    error_chunk,
    event_object,
    optional,
    text_in,
    unknown_fields,
)
from ..tool_pieces import ToolCallPieces
from .dialects import (
    failure_in,
    finish_reason,
    is_failure,
    is_thought,
    others_in,
    texts_in,
    told_in,
)
from .state import BLOCKS, DETAILS, THOUGHTS, SentBack

__all__ = ["OpenAIReader"]

_KNOWN = {
    *("id", "object", "created", "model", "choices", "usage", "obfuscation"),
    *("system_fingerprint", "service_tier", "index", "delta", "message", "finish_reason"),
    *("role", "content", "refusal", "reasoning", "reasoning_content", "tool_calls"),
    *("function_call", "audio", "images"),
}
"""Fields of an event, its choice and its delta that are read, or say nothing about the answer."""


class OpenAIReader:
    """Reads the events of one response; see `Reader`.

    Args:
        name: The wire's name, under which the state of the message is kept.
    """

    def __init__(self, name: str = "openai") -> None:
        self._name = name
        self._sent_back = SentBack()
        self._texts = Texts()
        self._calls = ToolCallPieces()
        self._reason: str | None = None
        self._model: str | None = None
        self._id: str | None = None
        self._usage: Usage | None = None
        self._extra, self._sources = Noted(), Noted()
        self._in_deltas = False
        self._in_thought = False
        self._has_thought = False  # whether reasoning has come but for details

    @property
    def done(self) -> DoneChunk | None:
        """What ends the response if its bytes end now; see `Reader`."""
        return self._done() if self._reason and not self._calls.size else None

    def _done(self) -> DoneChunk:
        fields = self._sent_back.state()
        state = {self._name: fields} if fields else None
        sources = list(self._sources.fields.values())
        extra = self._extra.fields | ({"annotations": sources} if sources else {})
        end = (self._usage, self._reason, self._model, self._id)
        return DoneChunk(*end, state=state, extra=extra or None)

    def read(self, data: str) -> ReadResult:
        """Read the data of one event; see `Reader.read`."""
        if data.strip(WHITE_SPACE) == "[DONE]":
            return [*self._held(), self._done()]
        fields = event_object(data)
        if fields is None:
            return None
        failure = failure_in(fields)
        if failure is not None:
            last = [*self._last_words(fields), *self._texts.flush()]
            return [*last, error_chunk(failure)]  # a call in pieces is none
        return collected(self._event(fields), data)

    def _last_words(self, fields: dict[str, Any]) -> list[StreamChunk]:
        """The text beside an error. Whatever is there, it must not hide the error."""
        choices = fields.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        delta = choice.get("delta") if isinstance(choice, dict) else None
        text = delta.get("content") if isinstance(delta, dict) else None
        return self._texts.say(text) if isinstance(text, str) else []

    def _event(self, fields: dict[str, Any]) -> Iterator[StreamChunk]:
        self._count(fields)
        if "x_groq" in fields:
            self._count(fields["x_groq"])
        self._model = self._model or text_in(fields, "model")
        self._id = self._id or text_in(fields, "id")
        for choice in optional(fields, "choices", list):
            if optional(choice, "index", int) == 0:  # another one is another answer
                self._count(choice)  # Moonshot
                choice = self._with_delta(choice)
                delta = optional(choice, "delta", dict)
                levels = (fields, choice, delta)
                extra = {n: v for each in levels for n, v in unknown_fields(each, _KNOWN).items()}
                yield from self._delta(delta, extra)
                yield from self._finish(choice, text_in(choice, "finish_reason"))
                return
        self._extra.note(unknown_fields(fields, _KNOWN))

    def _count(self, fields: Any) -> None:
        usage = fields.get("usage") if isinstance(fields, dict) else None
        if usage:
            self._usage = usage_in(usage, "prompt_tokens", "completion_tokens") or self._usage

    def _finish(self, choice: dict[str, Any], reason: str | None) -> Iterator[StreamChunk]:
        if choice.get("error") or is_failure(reason):
            yield from self._texts.flush()
            yield error_chunk({"code": reason, **choice})
        elif reason and reason != "null":  # DashScope says it so until there is one
            self._reason = finish_reason(reason)
            yield from self._held()

    def _with_delta(self, choice: dict[str, Any]) -> dict[str, Any]:
        """A choice whose delta is its message, where a server sends messages and no deltas.

        After deltas a message has what they had.
        """
        self._in_deltas = self._in_deltas or choice.get("delta") is not None
        if self._in_deltas or "message" not in choice:
            return choice
        return {**choice, "delta": choice["message"]}

    def _delta(self, delta: dict[str, Any], extra: dict[str, Any]) -> Iterator[StreamChunk]:
        reasoning, text = texts_in(delta)
        if is_thought(delta):
            reasoning, text, self._in_thought = text.removeprefix("<thought>"), "", True
        elif text and self._in_thought:
            text, self._in_thought = text.removeprefix("</thought>"), False
        self._has_thought = self._has_thought or reasoning != ""
        if not self._has_thought:
            reasoning = told_in(delta.get(DETAILS))
        thoughts = self._texts.think(reasoning)
        if delta.get(THOUGHTS):
            self._sent_back.think("".join(chunk.text for chunk in thoughts))
        self._sent_back.read_details(delta.get(DETAILS))
        self._sent_back.read_blocks(delta.get(BLOCKS))
        yield from thoughts
        said = self._texts.say(text, extra)
        yield from said
        self._extra.note({} if said else extra)
        notes = extra.get("annotations")  # sources: OpenRouter names one an event
        for note in notes if isinstance(notes, list) else ():
            self._sources.note({repr(note): note})
        yield from others_in(delta)
        for piece in optional(delta, "tool_calls", list):
            function = optional(piece, "function", dict)  # first: the piece may be no object
            self._piece(piece.get("index"), piece, function)
            self._sent_back.read_call(piece)
        if delta.get("function_call"):  # before tool_calls there was one call an answer
            self._piece("function_call", {}, optional(delta, "function_call", dict))

    def _piece(self, key: object, piece: Mapping[str, Any], function: dict[str, Any]) -> None:
        name = optional(function, "name", str)
        self._calls.add(
            key,
            id=optional(piece, "id", str),
            name="" if name == "null" else name,  # LiteLLM says it so in the later pieces
            arguments=arguments_text(function.get("arguments")),
        )

    def _held(self) -> list[StreamChunk]:
        """The text and the calls that were held back. Nothing more comes of them."""
        return [*self._texts.flush(), *self._calls.take()]

    @property
    def held(self) -> int:
        """Characters of tool calls that are not whole yet, and of other fields; see `Reader`."""
        beside = self._extra.size + self._sources.size + self._sent_back.size
        return self._calls.size + beyond_allowance(beside)
