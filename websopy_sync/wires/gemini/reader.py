"""Reads the events of Gemini's streamGenerateContent.

Does no I/O. Knows nothing of requests.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...chunks import DoneChunk, StreamChunk
from ...surrogates import scalar_text
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
    unknown_chunk,
    unknown_fields,
    usage_of,
    whole_call,
)
from .turns import STATE

__all__ = ["GeminiReader"]

_REASONS = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "FUNCTION_CALL": "tool_calls",  # of compatible servers; Google says STOP
    **dict.fromkeys(
        (
            *("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII"),
            *("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "MODEL_ARMOR"),
        ),
        "content_filter",
    ),
}

_KNOWN = {
    *("candidates", "usageMetadata", "modelVersion", "responseId", "createTime"),
    *("content", "finishReason", "index", "tokenCount"),
}
"""Fields of an event and its candidate that are read, or say nothing about the answer."""

_IN_PLACE = {"text", "functionCall", "thoughtSignature", "thought"}
"""Fields of a part that a message has, and of its place in the state."""

_TEXT = repr({"text": ""})
"""The place of text without a signature."""

_THOUGHTS, _CACHED = "thoughtsTokenCount", "cachedContentTokenCount"


class GeminiReader:
    """Reads the events of one response; see `Reader`. It has no event that ends it."""

    def __init__(self) -> None:
        self._texts = Texts()
        self._reason: str | None = None
        self._model: str | None = None
        self._id: str | None = None
        self._counts, self._extra = Noted(), Noted()
        self._kept_size = 0
        self._kept: list[dict[str, Any]] = []
        self._places: set[str] = set()

    @property
    def done(self) -> DoneChunk | None:
        """What ends the response if its bytes end now; see `Reader`."""
        if not self._reason:
            return None
        must = any("thoughtSignature" in part or not _is_place(part) for part in self._kept)
        return DoneChunk(
            _usage(self._counts.fields),
            self._reason,
            self._model,
            self._id,
            state={STATE: {"parts": list(self._kept)}} if must else None,
            extra=self._extra.fields or None,
        )

    @property
    def held(self) -> int:
        """Characters of what goes back to the service, and of other fields; see `Reader`."""
        return beyond_allowance(self._kept_size + self._counts.size + self._extra.size)

    def read(self, data: str) -> ReadResult:
        """Read the data of one event; see `Reader.read`."""
        fields = event_object(data)
        if fields is None:
            return None
        if fields.get("error"):
            return [*self._texts.flush(), error_chunk(fields)]
        return collected(self._event(fields), data)

    def _event(self, fields: dict[str, Any]) -> Iterator[StreamChunk]:
        usage = fields.get("usageMetadata")
        self._counts.note(cleaned(usage) if isinstance(usage, dict) else {})
        self._model = self._model or text_in(fields, "modelVersion")
        self._id = self._id or text_in(fields, "responseId")
        self._extra.note(unknown_fields(fields, _KNOWN))
        candidates = optional(fields, "candidates", list)
        for candidate in candidates:
            if optional(candidate, "index", int) == 0:  # another one is another answer
                yield from self._candidate(candidate)
        feedback = fields.get("promptFeedback")
        if not candidates and isinstance(feedback, dict) and feedback.get("blockReason"):
            self._reason = "content_filter"  # the service refused the prompt: there is no answer

    def _candidate(self, candidate: dict[str, Any]) -> Iterator[StreamChunk]:
        self._extra.note(unknown_fields(candidate, _KNOWN))
        for part in optional(optional(candidate, "content", dict), "parts", list):
            yield from self._part(part)
        reason = text_in(candidate, "finishReason")
        if reason and reason != "FINISH_REASON_UNSPECIFIED":  # some send it until there is one
            self._reason = _REASONS.get(reason, reason)
            yield from self._texts.flush()

    def _part(self, part: Any) -> Iterator[StreamChunk]:
        text = optional(part, "text", str)
        self._keep(part)
        if part.get("functionCall"):
            call = optional(part, "functionCall", dict)
            if call.get("willContinue"):
                raise TypeError("expected a whole tool call (no streamFunctionCallArguments)")
            yield whole_call(call, call.get("args"), text_in(call, "id"))
        elif part.get("thought"):
            yield from self._texts.think(text)
        elif _is_place(part):
            yield from self._texts.say(text, unknown_fields(part, _IN_PLACE))
        else:
            kind = next((name for name in part if name != "thoughtSignature"), "part")
            yield unknown_chunk(scalar_text(kind), part)

    def _keep(self, part: dict[str, Any]) -> None:
        """Note what the service must get back: signatures, and parts that a message has not.

        Text and tool calls are in the message: they have a place here, without what they say.
        """
        if len(part) == 1 and part.get("text") and _TEXT in self._places:
            return  # as most parts: text whose place is there
        signature = part.get("thoughtSignature")
        silent = part.get("thought") or part.get("text") == ""
        if part.get("functionCall"):
            kept: dict[str, Any] = {"functionCall": {}}
        elif silent and not signature:
            return
        elif _is_place(part) and not silent:
            kept = {"text": ""}
        else:
            kept = cleaned(part)
        kept |= {"thoughtSignature": cleaned(signature)} if signature else {}
        # Each text has one place, as the message has all its text in one. That also keeps the rule
        # of `Reader`: an event that differs in its text alone leaves the same state.
        if "text" in kept:
            if repr(kept) in self._places:
                return
            self._places.add(repr(kept))
        self._kept.append(kept)
        self._kept_size += len(repr(kept))


def _is_place(part: dict[str, Any]) -> bool:
    """Whether a part is text, a tool call, or a signature alone. Any may have fields of later."""
    return part.get("text") is not None or part.keys() <= _IN_PLACE


def _usage(counts: Mapping[str, Any]) -> Usage | None:
    """The tokens. The service leaves out counts that are 0, and counts thoughts apart."""
    names = ("promptTokenCount", "toolUsePromptTokenCount")
    prompt, tools = (_count(counts, name) for name in names)
    answer, thoughts = (_count(counts, name) for name in ("candidatesTokenCount", _THOUGHTS))
    total = counts.get("totalTokenCount")
    if not counts or None in (prompt, tools, answer, thoughts):
        return None
    completion = answer + thoughts
    if total == prompt + tools + answer:  # some count thoughts among the others
        completion = answer
    known = {*names, _THOUGHTS, "candidatesTokenCount", "totalTokenCount", _CACHED}
    details = {name: value for name, value in counts.items() if name not in known}
    return usage_of(
        prompt + tools,
        completion,
        total,
        cached=counts.get(_CACHED),
        reasoning=thoughts,
        details=details | ({names[1]: tools} if tools else {}),
    )


def _count(counts: Mapping[str, Any], name: str) -> Any:
    """A count; 0 when it is left out, None when it is none."""
    value = counts.get(name)
    return 0 if value is None else value if type(value) is int else None
