"""The service's side of a wire: what the sandbox needs to know to play a service.

Does no I/O. The client's side is in the package's `wires`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from ...chunks import DoneChunk, StreamChunk
from ...sse import ServerSentEvent, encode
from ...surrogates import scalar_text
from ...wires import Wire

__all__ = ["Service", "Writer", "WrittenEvent", "field_at", "file_in", "functions_in", "json_text"]


@attrs.frozen
class WrittenEvent:
    """An event of a response.

    Attributes:
        data: Its data.
        event: Its type.
        on_request: Whether it goes only to a client that asks for it; see `Service.asks_for_usage`.
    """

    data: str
    event: str = "message"
    on_request: bool = False


class Writer:
    """Writes the chunks of one response as a service does.

    Attributes:
        ending: The done chunk that will come, for a service that says some of it first; None when
            none will.
    """

    ending: DoneChunk | None = None

    def write(self, chunk: StreamChunk) -> Sequence[WrittenEvent]:
        """The events that a chunk becomes; a service may send several for one, or none.

        Args:
            chunk: The chunk. A done chunk ends the response.
        """
        raise NotImplementedError


class Service:
    """A service as the sandbox plays it. Inherit from it and set what differs.

    Attributes:
        wire: The client's side.
        methods: The HTTP methods of a chat.
        stream_default: Whether a request that does not say so wants its response streamed; None
            if every response is.
    """

    wire: Wire
    methods: Sequence[str] = ("POST",)
    stream_default: bool | None = None

    @property
    def content_type(self) -> str:
        """The content type of a response that is streamed."""
        sse = self.wire.framing == "sse"
        return "text/event-stream; charset=utf-8" if sse else "application/x-ndjson"

    def writer(self) -> Writer:
        """Make the writer of one response."""
        raise NotImplementedError

    def framed(self, event: ServerSentEvent) -> bytes:
        """The bytes of one event."""
        if self.wire.framing == "ndjson":
            return f"{event.data}\n".encode("utf-8", "replace")
        return encode(event)

    def asks_for_a_stream(self, body: Mapping[str, Any]) -> bool:
        """Whether a request wants its response streamed: only such ones are played."""
        default = self.stream_default
        return default is None or body.get("stream", default) is True

    def asks_for_usage(self, body: Mapping[str, Any]) -> bool:
        """Whether a request wants the usage in an event that other clients do not get."""
        return True

    def turns_in(self, body: Mapping[str, Any]) -> object:
        """The turns in a request's JSON, in the form of `ChatRequest`; what is none stays."""
        return body.get("messages")

    def models_as_json(self, names: Sequence[str]) -> dict[str, Any]:
        """The list of models, in OpenAI's form; only for a wire that has a `models_path`."""
        return {"object": "list", "data": [{"id": name, "object": "model"} for name in names]}

    def tools_in(self, body: Mapping[str, Any]) -> Any:
        """The tools in a request's JSON, each with its name and its parameters."""
        return body.get("tools")

    def max_tokens_in(self, body: Mapping[str, Any]) -> Any:
        """The limit for the length of the answer, unchecked; None when there is none."""
        return body.get("max_tokens")

    def output_schema_in(self, body: Mapping[str, Any]) -> Any:
        """The JSON Schema that the answer must match, unchecked; None for free text."""
        return None


def json_text(fields: Mapping[str, Any]) -> str:
    """JSON in one line, as services send it; a lone surrogate half is U+FFFD."""
    return scalar_text(json.dumps(fields, ensure_ascii=False, separators=(",", ":")))


def functions_in(tools: Any) -> Any:
    """The functions among tools in OpenAI's form; what is none stays."""
    if not isinstance(tools, list):
        return tools
    return [tool.get("function", tool) if isinstance(tool, dict) else tool for tool in tools]


def file_in(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A file in OpenAI's form as a part in the form of `ChatRequest`; it may be an id alone."""
    kind, _, data = str(fields.get("file_data", "")).partition(";base64,")
    name, media_type = fields.get("filename", "file"), kind.removeprefix("data:")
    return {"type": "file", "name": name, "media_type": media_type, "data": data}


def field_at(body: Any, *names: str) -> Any:
    """The value of a field inside of others; None when one of them is missing."""
    for name in names:
        body = body.get(name) if isinstance(body, dict) else None
    return body
