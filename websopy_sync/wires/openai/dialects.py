"""What one event of OpenAI's format says, in the ways of the servers compatible with it.

Pure: each function reads one event, or a part of it, and remembers nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...chunks import UnknownChunk
from ..pieces import optional, text_in, unknown_chunk
from .state import MARK

__all__ = [
    "failure_in",
    "finish_reason",
    "is_failure",
    "is_thought",
    "others_in",
    "texts_in",
    "told_in",
]

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


def finish_reason(word: str) -> str:
    """The finish reason of a service in the words of `DoneChunk`; an unknown one as it is."""
    # Gemini's compatible service adds its own word: "content_filter: SPII".
    filtered = word.startswith("content_filter:")
    return "content_filter" if filtered else _REASONS.get(word.lower(), word)


def is_failure(reason: str | None) -> bool:
    """Whether a finish reason is that of an answer that the server could not finish."""
    return reason is not None and reason.lower() in _FAILURES


def failure_in(fields: dict[str, Any]) -> Mapping[str, Any] | None:
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


def texts_in(delta: dict[str, Any]) -> tuple[str, str]:
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


def told_in(details: Any) -> str:
    """The reasoning in details, where a server sends it nowhere else."""
    known = (
        [each for each in details if isinstance(each, dict)] if isinstance(details, list) else []
    )
    texts = [each.get("text") or each.get("summary") for each in known]
    return "".join(text for text in texts if isinstance(text, str))


def others_in(delta: Mapping[str, Any]) -> Iterator[UnknownChunk]:
    """What is neither text nor reasoning: sound, images, parts such as references."""
    content = delta.get("content")
    for part in content if isinstance(content, list) else ():
        if isinstance(part, dict) and not part.keys() & {"text", "thinking", "summary"}:
            yield unknown_chunk(text_in(part, "type") or "part", part)
    for name in _MEDIA:
        if delta.get(name):
            yield unknown_chunk(name, {name: delta[name]})


def is_thought(delta: Mapping[str, Any]) -> bool:
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
