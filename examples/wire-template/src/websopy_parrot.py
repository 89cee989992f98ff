"""websopy-parrot: the wire of Parrot, an invented service that streams a JSON object a line."""

import json
from collections.abc import Mapping
from typing import Any

from websopy_sync import (
    ConfigError,
    ContentChunk,
    DoneChunk,
    ErrorChunk,
    ReasoningChunk,
    StreamChunk,
    ToolCall,
    ToolCallChunk,
    Usage,
)
from websopy_sync.surrogates import scalar_text
from websopy_sync.wires import ChatRequest, Reader, Wire

REASONS = {"complete": "stop", "limit": "length", "call": "tool_calls", "blocked": "content_filter"}
"""Parrot's words for why an answer ended, and those of websopy-sync."""


class Parrot(Wire):
    """Says where a request goes and what it says."""

    name = "parrot"
    base_url = "http://127.0.0.1:8600"
    path = "/talk/{model}"
    framing = "ndjson"
    headers: Mapping[str, str] = {"Accept": "application/x-ndjson"}

    def body(self, request: ChatRequest) -> dict[str, Any]:
        """The request's JSON."""
        if request.output_schema is not None:
            raise ConfigError("response_type: Parrot has no structured output")
        body: dict[str, Any] = {"turns": [line_of(turn) for turn in request.turns]}
        if request.tools:
            body["tools"] = request.tools
        return body | dict(request.params)

    def reader(self) -> Reader:
        """A new reader, for one response."""
        return ParrotReader()


def line_of(turn: Mapping[str, Any]) -> dict[str, Any]:
    """A turn as Parrot has it. Content may be a list of parts: Parrot takes text alone."""
    content = turn.get("content") or ""
    if isinstance(content, list):
        if any(part.get("type") != "text" for part in content):
            raise ConfigError("content: Parrot takes text only")
        content = "".join(part["text"] for part in content)
    line = {"who": turn["role"], "says": content}
    if turn.get("tool_calls"):
        line["calls"] = turn["tool_calls"]
    if turn["role"] == "tool":
        line["ref"] = turn.get("tool_call_id")
    return line


class ParrotReader:
    """Turns the lines of one response into chunks."""

    done: DoneChunk | None = None
    """Stays None: a line says that the answer ends."""

    def read(self, data: str) -> StreamChunk | tuple[()] | None:
        """The chunk of one line. Whatever fails here, the user gets a StreamProtocolError."""
        line = json.loads(data)
        match line["kind"]:
            case "text":
                return ContentChunk(scalar_text(line["text"]))
            case "thought":
                return ReasoningChunk(scalar_text(line["text"]))
            case "call":
                arguments = json.dumps(line["input"], ensure_ascii=False)
                return ToolCallChunk(ToolCall(line["tool"], arguments, line.get("ref")))
            case "end":
                tokens = line.get("tokens")
                return DoneChunk(
                    tokens and Usage(tokens["in"], tokens["out"]),
                    REASONS.get(line["why"], line["why"]),
                    line.get("model"),
                )
            case "problem":
                return ErrorChunk(line["message"], line.get("code"))
            case "alive":
                return None  # a ping: no progress
        return ()  # a kind that this version does not know
