"""The wire of Ollama's own API, which streams a JSON object a line.

Does no I/O. The source is docs/api.md of ollama/ollama.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from ..chunks import DoneChunk, StreamChunk
from ..errors import ConfigError
from .base import ChatRequest, ReadResult, Wire
from .lenient_json import cleaned
from .openai_form import function_tool
from .pieces import (
    Texts,
    collected,
    error_chunk,
    json_object,
    optional,
    text_in,
    unknown_fields,
    usage_of,
    whole_call,
)
from .turn_fields import calls_in, is_system, object_in

__all__ = ["Ollama", "OllamaReader"]

_TOP_LEVEL = frozenset({"format", "keep_alive", "logprobs", "options", "think", "top_logprobs"})
"""Parameters of the request itself. The model's are options: Ollama ignores them here."""

_OPTION_NAMES = {"max_tokens": "num_predict"}
"""Usual names of options that have another one here."""

_COUNTS = ("prompt_eval_count", "eval_count")
"""Tokens of a response. Older servers leave the first out when the prompt was in their cache."""

_KNOWN = {
    "model",
    "created_at",
    "message",
    "done",
    "done_reason",
    *_COUNTS,
    *("role", "content", "thinking", "tool_calls"),
}
"""Fields of a line and its message that are read, or say nothing about the answer."""


class Ollama(Wire):
    """Ollama's own API; see `Wire`. It is spoken to without `/v1`."""

    name = "ollama"
    base_url = "http://127.0.0.1:11434"
    path = "/api/chat"
    models_path = "/api/tags"
    framing: Literal["sse", "ndjson"] = "ndjson"
    headers: Mapping[str, str] = {"Accept": "application/x-ndjson"}

    def body(self, request: ChatRequest) -> dict[str, Any]:
        """Build the request's JSON; see `Wire.body`.

        Args:
            request: What the user asks for. Parameters of the model go into `options`.

        Raises:
            ConfigError: A part is of a kind that Ollama cannot take, or `options` is no dict.
        """
        body: dict[str, Any] = {"messages": [_turn(turn) for turn in request.turns]}
        if request.model is not None:
            body["model"] = request.model
        body["stream"] = True
        if request.tools:
            body["tools"] = [function_tool(tool) for tool in request.tools]
        if request.output_schema is not None:
            body["format"] = request.output_schema
        body |= {name: value for name, value in request.params.items() if name in _TOP_LEVEL}
        options = body.get("options") or {}
        if not isinstance(options, Mapping):
            raise ConfigError(f"options: expected a dict, got {type(options).__name__}")
        named = {
            _OPTION_NAMES.get(name, name): value
            for name, value in request.params.items()
            if name not in _TOP_LEVEL
        }
        options = named | dict(options)
        if isinstance(options.get("stop"), str):
            options["stop"] = [options["stop"]]
        return body | ({"options": options} if options else {})

    def models_in(self, body: Any) -> Sequence[str]:
        """Read the names of the models on this server; see `Wire.models_in`.

        Args:
            body: The JSON of the response.
        """
        return [model["name"] for model in body["models"] or ()]

    def reader(self) -> OllamaReader:
        """Make the reader of one response."""
        return OllamaReader()


class OllamaReader:
    """Reads the lines of one response; see `Reader`."""

    done: DoneChunk | None = None
    """None: a last line says that the response is complete."""

    def __init__(self) -> None:
        self._texts = Texts()

    def read(self, data: str) -> ReadResult:
        """Read one line; see `Reader.read`."""
        fields = json_object(data)
        if fields.get("error"):
            return [*self._texts.flush(), error_chunk(fields)]
        return collected(self._line(fields), data)

    def _line(self, fields: dict[str, Any]) -> Iterator[StreamChunk]:
        message = optional(fields, "message", dict)
        yield from self._texts.think(optional(message, "thinking", str))
        last = fields.get("done") is True
        extra = unknown_fields({**message, **({} if last else fields)}, _KNOWN)
        yield from self._texts.say(optional(message, "content", str), extra)
        for call in optional(message, "tool_calls", list):
            function = optional(call, "function", dict)
            yield whole_call(function, function.get("arguments"), text_in(call, "id"))
        if last:
            yield from self._texts.flush()
            yield _done_of(fields)


def _done_of(fields: dict[str, Any]) -> DoneChunk:
    usage = usage_of(*map(fields.get, _COUNTS))
    known = _KNOWN if usage else _KNOWN - {*_COUNTS}  # one of them may be missing
    extra = {name: cleaned(value) for name, value in fields.items() if name not in known}
    reason, model = text_in(fields, "done_reason"), text_in(fields, "model")
    return DoneChunk(usage, reason, model, extra=extra or None)


# --- what is sent --------------------------------------------------------------------------------


def _turn(turn: Mapping[str, Any]) -> dict[str, Any]:
    """A turn in Ollama's form: arguments as objects, results by name, images apart."""
    fields = {name: value for name, value in turn.items() if name not in ("tool_call_id", "state")}
    if fields.get("role") == "tool" and "tool_call_id" in turn and "name" in fields:
        fields["tool_name"] = fields.pop("name")
    if isinstance(fields.get("tool_calls"), list):
        fields["tool_calls"] = [_call(call) for call in fields["tool_calls"]]
    if is_system(fields):  # "developer" is no role here: templates leave its turns out
        fields["role"] = "system"
    if fields.get("content") is None:
        fields["content"] = ""
    if isinstance(fields["content"], list):
        fields |= _content(fields["content"])
    return fields


def _call(call: Any) -> Any:
    if not isinstance(call, Mapping) or _is_own(call.get("function")):
        return call
    _, name, arguments = next(calls_in({"tool_calls": [call]}))
    # A model wrote the arguments; Ollama wants an object.
    return {"function": {"name": name, "arguments": object_in(arguments) or {}}}


def _is_own(function: Any) -> bool:
    """Whether a call is in Ollama's form, which refuses arguments that are text, as in OpenAI's."""
    return isinstance(function, Mapping) and not isinstance(function.get("arguments"), str)


def _content(parts: list[Any]) -> dict[str, Any]:
    texts, images = [], []
    for part in parts:
        if part.get("type") == "text":
            texts.append(str(part.get("text", "")))
        elif part.get("type") == "image" and part.get("data"):
            images.append(part["data"])
        else:
            kind = f"{part.get('type')!r:.50}"
            raise ConfigError(f"content: Ollama takes text and images with their data, got {kind}")
    return {"content": "\n".join(texts)} | ({"images": images} if images else {})
