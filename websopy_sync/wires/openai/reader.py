"""Reads the events of OpenAI Chat Completions, as the servers compatible with it send them.

Does no I/O. What those servers really send, and how it is read here, is in the tests.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...chunks import DoneChunk, StreamChunk, UnknownChunk
from ...usage import Usage
from ..base import ReadResult
from ..lenient_json import WHITE_SPACE, cleaned
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
from .state import BLOCKS, DETAILS, MARK, THOUGHTS, SentBack

__all__ = ["OpenAIReader"]

_KNOWN = {
    *("id", "object", "created", "model", "choices", "usage", "obfuscation"),
    *("system_fingerprint", "service_tier", "index", "delta", "message", "finish_reason"),
    *("role", "content", "refusal", "reasoning", "reasoning_content", "tool_calls"),
    *("function_call", "audio", "images"),
}
"""Fields of an event, its choice and its delta that are read, or say nothing about the answer."""

_MEDIA = ("audio", "images")
"""Fields of a delta with what is no text. Each may come in several events."""

_REASONS = {
    "function_call": "tool_calls",
    "eos": "stop",  # Together AI
    "eos_token": "stop",  # TGI
    "stop": "stop",  # gateways to Gemini, in capitals
    "end_turn": "stop",  # gateways to Anthropic
    "tool_use": "tool_calls",
    "model_length": "length",  # Mistral
    "model_context_window_exceeded": "length",  # Zhipu
    "max_tokens": "length",  # gateways to Anthropic and Gemini
    "sensitive": "content_filter",  # Zhipu
    **dict.fromkeys(("safety", "recitation", "prohibited_content"), "content_filter"),  # Gemini
    **dict.fromkeys(("content_filtered", "guardrail_intervened"), "content_filter"),  # Bedrock
}
"""Finish reasons of services in the words of `DoneChunk`."""

_FAILURES = frozenset(
    {"error", "abort", "insufficient_system_resource", "network_error", "timeout"}
)
"""Finish reasons of an answer that the server could not finish: of OpenRouter and Mistral, of vLLM
and SGLang, of DeepSeek, of Zhipu, of Cohere (in capitals)."""

_NO_ERROR = frozenset({"none", "", "0", "200", "ok", "success"})
"""Codes beside a message that is none of an error."""


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
        failure = _failure_in(fields)
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
        if choice.get("error") or (reason and reason.lower() in _FAILURES):
            yield from self._texts.flush()
            yield error_chunk({"code": reason, **choice})
        elif reason and reason != "null":  # DashScope says it so until there is one
            # Gemini's compatible service adds its own word: "content_filter: SPII".
            filtered = reason.startswith("content_filter:")
            self._reason = "content_filter" if filtered else _REASONS.get(reason.lower(), reason)
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
        reasoning, text = _texts(delta)
        if _is_thought(delta):
            reasoning, text, self._in_thought = text.removeprefix("<thought>"), "", True
        elif text and self._in_thought:
            text, self._in_thought = text.removeprefix("</thought>"), False
        self._has_thought = self._has_thought or reasoning != ""
        if not self._has_thought:
            reasoning = _told_in(delta.get(DETAILS))
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
        yield from _others_in(delta)
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


def _failure_in(fields: dict[str, Any]) -> Mapping[str, Any] | None:
    """What says that the service failed, as `error_chunk` reads it; None if nothing does."""
    groq = fields.get("x_groq")
    if isinstance(groq, dict) and groq.get("error"):
        return groq
    named = fields.get("error") or fields.get("object") == "error"
    if named or (fields.get("choices") and "base_resp" not in fields):
        return fields if named else None
    status = fields.get("base_resp")  # MiniMax
    if isinstance(status, dict) and status.get("status_code"):
        return {"message": status.get("status_msg"), "code": status["status_code"]}
    if fields.get("error_code"):  # FastChat and Qianfan
        told = fields.get("error_msg", fields.get("text"))
        return {"message": told, "code": fields["error_code"]}
    if fields.get("choices"):
        return None
    # Gateways name no error: they send a code and a message, a type, or FastAPI's detail.
    coded = str(fields.get("code")).lower() not in _NO_ERROR or fields.get("type") == "error"
    told = fields.get("message" if coded else "detail")
    several = fields.get("errors")  # Cloudflare
    first = several[0] if isinstance(several, list) and several else told
    return first if isinstance(first, dict) else fields if isinstance(first, str) else None


def _texts(delta: dict[str, Any]) -> tuple[str, str]:
    """The reasoning and the text of a delta."""
    # Some servers send the same reasoning under both names; `reasoning` may be an object, too.
    other = delta.get("reasoning")
    reasoning = optional(delta, "reasoning_content", str) or (
        other if isinstance(other, str) else ""
    )
    content = delta.get("content")
    if isinstance(content, list):  # parts of text and of thinking
        parts = [part if isinstance(part, dict) else {"text": part} for part in content]
        reasoning += "".join(map(_thoughts_in, parts))
        text = "".join("" if _thinks(part) else optional(part, "text", str) for part in parts)
    else:
        text = optional(delta, "content", str)
    return reasoning, text + optional(delta, "refusal", str)


def _told_in(details: Any) -> str:
    """The reasoning in details, where a server sends it nowhere else."""
    known = (
        [each for each in details if isinstance(each, dict)] if isinstance(details, list) else []
    )
    texts = [each.get("text") or each.get("summary") for each in known]
    return "".join(text for text in texts if isinstance(text, str))


def _others_in(delta: Mapping[str, Any]) -> Iterator[UnknownChunk]:
    """What is neither text nor reasoning: sound, images, parts such as references."""
    content = delta.get("content")
    for part in content if isinstance(content, list) else ():
        if isinstance(part, dict) and not part.keys() & {"text", "thinking", "summary"}:
            yield _unknown(text_in(part, "type") or "part", part)
    for name in _MEDIA:
        if delta.get(name):
            yield _unknown(name, {name: delta[name]})


def _unknown(kind: str, fields: Mapping[str, Any]) -> UnknownChunk:
    return UnknownChunk(kind, cleaned(fields))  # type: ignore[arg-type]  # any text


def _is_thought(delta: Mapping[str, Any]) -> bool:
    """Whether Gemini's compatible service says that the text of a delta is reasoning."""
    mark = delta.get(MARK)
    google = mark.get("google") if isinstance(mark, dict) else None
    return isinstance(google, dict) and google.get("thought") is True


def _thoughts_in(part: dict[str, Any]) -> str:
    """The reasoning in a part: Mistral says thinking, Databricks the summary of a reasoning."""
    name = "summary" if part.get("type") == "reasoning" else "thinking"
    if _thinks(part) and name not in part:
        name = "text"
    if isinstance(part.get(name), str):
        return str(part[name])
    return "".join(optional(piece, "text", str) for piece in optional(part, name, list))


def _thinks(part: Mapping[str, Any]) -> bool:
    return part.get("type") in ("reasoning", "thinking")
