"""Gemini's streamGenerateContent as a service writes and reads it.

Does no I/O. The client's side is `websopy_sync.wires.gemini`.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...chunks import (
    ContentChunk,
    DoneChunk,
    ErrorChunk,
    ReasoningChunk,
    StreamChunk,
    ToolCallChunk,
)
from ...usage import Usage
from ...wires.base import Wire
from ...wires.gemini import Gemini
from .base import Service, Writer, WrittenEvent, json_text

__all__ = ["GeminiService", "GeminiWriter"]

_REASONS = {
    None: "STOP",  # the format has no other end
    "stop": "STOP",
    "length": "MAX_TOKENS",
    "tool_calls": "FUNCTION_CALL",
    "content_filter": "SAFETY",
}


class GeminiService(Service):
    """A server of Gemini's API; see `Service`."""

    wire: Wire = Gemini()

    def writer(self) -> GeminiWriter:
        """Make the writer of one response."""
        return GeminiWriter()

    def turns_in(self, body: Mapping[str, Any]) -> object:
        """The turns, in the form of `ChatRequest`; see `Service.turns_in`."""
        contents, system = body.get("contents"), body.get("systemInstruction")
        if not isinstance(contents, list):
            return contents
        first = [{"role": "system", **_content(system)}] if isinstance(system, dict) else []
        return [*first, *(turn for content in _joined(contents) for turn in _turns(content))]

    def models_as_json(self, names: Sequence[str]) -> dict[str, Any]:
        """The list of models; see `Service.models_as_json`."""
        methods = {"supportedGenerationMethods": ["generateContent"]}
        return {"models": [{"name": f"models/{name}", **methods} for name in names]}

    def tools_in(self, body: Mapping[str, Any]) -> Any:
        """The functions among the tools; see `Service.tools_in`."""
        tools = body.get("tools")
        if not isinstance(tools, list):
            return tools
        lists = [tool.get("functionDeclarations") for tool in tools if isinstance(tool, dict)]
        return [_function(each) for declared in lists for each in declared or ()]

    def max_tokens_in(self, body: Mapping[str, Any]) -> Any:
        """The limit for the length of the answer; see `Service.max_tokens_in`."""
        return _config(body).get("maxOutputTokens")

    def output_schema_in(self, body: Mapping[str, Any]) -> Any:
        """The JSON Schema of the answer; see `Service.output_schema_in`."""
        return _config(body).get("responseJsonSchema")


def _function(declared: Any) -> Any:
    names = ("parametersJsonSchema", "parameters_json_schema")  # Google's own client sends this one
    fields = declared if isinstance(declared, dict) else {}
    schema = next((fields[name] for name in names if name in fields), None)
    return declared if schema is None else fields | {"parameters": schema}


def _config(body: Mapping[str, Any]) -> dict[str, Any]:
    config = body.get("generationConfig")
    return config if isinstance(config, dict) else {}


class GeminiWriter(Writer):
    """Writes one response: an event for each chunk, the last one with the finish reason.

    Signatures in the state of the ending go to the tool calls, and one of text to an empty text.
    """

    def __init__(self) -> None:
        self._signed: Iterator[dict[str, Any]] | None = None

    def write(self, chunk: StreamChunk) -> Sequence[WrittenEvent]:
        """The event of a chunk; see `Writer.write`."""
        if isinstance(chunk, ErrorChunk):
            status = {"status": chunk.code} if chunk.code else {}
            return [_event({"error": {"message": chunk.message, **status}})]
        if isinstance(chunk, ContentChunk):
            return [_parts({"text": chunk.content})]
        if isinstance(chunk, ReasoningChunk):
            return [_parts({"text": chunk.text, "thought": True})]
        if isinstance(chunk, ToolCallChunk):
            return [_parts(self._call(chunk))]
        if isinstance(chunk, DoneChunk):
            return [_ending(chunk)]
        return [_parts(chunk.data)]

    def _call(self, chunk: ToolCallChunk) -> dict[str, Any]:
        if self._signed is None:
            self._signed = iter([part for part in _kept(self.ending) if "functionCall" in part])
        identity = {"id": chunk.tool.id} if chunk.tool.id is not None else {}
        call = {**identity, "name": chunk.tool.name, "args": _args(chunk.tool.arguments)}
        return {**next(self._signed, {}), "functionCall": call}


def _kept(done: DoneChunk | None) -> list[dict[str, Any]]:
    state = done.state if done else None
    parts: list[dict[str, Any]] = (state or {}).get("gemini", {}).get("parts", [])
    return parts


def _args(arguments: str) -> Any:
    try:
        return json.loads(arguments or "{}")
    except ValueError:  # a script plays a model that wrote no JSON
        return arguments


def _ending(chunk: DoneChunk) -> WrittenEvent:
    signed = [part for part in _kept(chunk) if "text" in part and "thoughtSignature" in part]
    reason = chunk.finish_reason
    candidate = {
        "content": {"parts": signed or [{"text": ""}], "role": "model"},
        "finishReason": _REASONS.get(reason, reason),
        "index": 0,
    }
    fields: dict[str, Any] = {"candidates": [candidate]}
    fields |= {"usageMetadata": _usage(chunk.usage)} if chunk.usage else {}
    fields |= {"modelVersion": chunk.model} if chunk.model else {}
    fields |= {"responseId": chunk.id} if chunk.id else {}
    return _event(fields | chunk.extra)


def _usage(usage: Usage) -> dict[str, Any]:
    """The counts, without those that are 0; thoughts apart."""
    thoughts = min(usage.reasoning_tokens, usage.completion_tokens)
    counts = {
        "promptTokenCount": usage.prompt_tokens,
        "candidatesTokenCount": usage.completion_tokens - thoughts,
        "totalTokenCount": usage.total_tokens,
        "cachedContentTokenCount": usage.cached_tokens,
        "thoughtsTokenCount": thoughts,
    }
    return {name: count for name, count in counts.items() if count} or {"totalTokenCount": 0}


def _parts(*parts: Mapping[str, Any]) -> WrittenEvent:
    content = {"parts": list(parts), "role": "model"}
    return _event({"candidates": [{"content": content, "index": 0}]})


def _event(fields: Mapping[str, Any]) -> WrittenEvent:
    return WrittenEvent(json_text(fields))


# --- what a request says -------------------------------------------------------------------------


def _joined(contents: list[Any]) -> Iterator[Any]:
    """The contents; those of the model that follow one another as one.

    Google's own client sends each event of an answer back as a content.
    """
    for role, group in itertools.groupby(contents, _role):
        several = list(group)
        if role == "model" and len(several) > 1:
            yield {"role": role, "parts": [part for content in several for part in _list(content)]}
        else:
            yield from several


def _role(content: Any) -> Any:
    return content.get("role") if isinstance(content, dict) else None


def _turns(content: Any) -> Iterator[Any]:
    """A content as turns in the form of `ChatRequest`: several where it has results of tools."""
    if not isinstance(content, dict):
        yield content
        return
    role = "assistant" if content.get("role") == "model" else content.get("role", "user")
    results = [_result(part["functionResponse"]) for part in _list(content) if _has_result(part)]
    yield from results
    if not results:
        yield {"role": role, **_content(content)}


def _list(content: Mapping[str, Any]) -> list[Any]:
    parts = content.get("parts")
    return parts if isinstance(parts, list) else []


def _has_result(part: Any) -> bool:
    return _is_dict(part) and _is_dict(part.get("functionResponse"))


def _is_dict(value: Any) -> bool:
    return isinstance(value, dict)


def _result(result: Mapping[str, Any]) -> dict[str, Any]:
    response = result.get("response")
    text = response.get("output") if isinstance(response, dict) else None
    if not isinstance(text, str):
        text = json.dumps(response, ensure_ascii=False)
    identity = result.get("id")
    return {"role": "tool", "tool_call_id": identity, "name": result.get("name"), "content": text}


def _content(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content and the calls of a turn."""
    parts = _list(content)
    calls = [_flat(part["functionCall"]) for part in parts if _is_dict(_call_in(part))]
    rest = [_part(part) for part in parts if not _is_dict(_call_in(part))]
    return {"content": rest or None} | ({"tool_calls": calls} if calls else {})


def _call_in(part: Any) -> Any:
    return part.get("functionCall") if isinstance(part, dict) else None


def _flat(call: Mapping[str, Any]) -> dict[str, Any]:
    arguments = json.dumps(call.get("args"), ensure_ascii=False)
    return {"name": call.get("name"), "arguments": arguments, "id": call.get("id")}


def _part(part: Any) -> Any:
    """A part in the form of `ChatRequest`; what it has no form for says its type alone."""
    if not isinstance(part, dict):
        return part
    data, file = part.get("inlineData"), part.get("fileData")
    if isinstance(data, dict):
        kind = "image" if str(data.get("mimeType")).startswith("image/") else "file"
        fields = {"media_type": data.get("mimeType"), "data": data.get("data")}
        return {"type": kind, **fields} | ({"name": ""} if kind == "file" else {})
    if isinstance(file, dict):
        return {"type": "image", "url": file.get("fileUri")}
    if "text" in part:
        return {"type": "text", "text": part["text"]}
    return {**part, "type": next(iter(part), "")}
