"""The wire of the Websopy service: its path, its headers, and what a request says.

Does no I/O. Only the files of this folder know the service's field names. The source is the
service's guide to streaming. Where the guide is silent, reading is lenient and writing is strict.
"""

from __future__ import annotations

from typing import Any

from ...chunks import ContentChunk, ReasoningChunk, ToolCallChunk, UnknownChunk
from ...errors import StreamProtocolError
from ..base import ChatRequest, Wire
from .reader import WebsopyReader, parse_chunk
from .turns import turns_of

__all__ = ["Websopy", "WebsopyReader", "parse_chunk"]


class Websopy(Wire):
    """The wire of the Websopy service; see `Wire`."""

    name = "websopy"
    base_url = "https://api.websopy.com/v1"
    path = "/ai/chat"
    needs_key = True
    idempotent = True
    resumable = True

    def body(self, request: ChatRequest) -> dict[str, Any]:
        """Build the request's JSON; see `Wire.body`."""
        turns = turns_of(request.turns, schema=request.output_schema)
        body: dict[str, Any] = {"messages": turns}
        if request.model is not None:
            body["model"] = request.model
        if request.tools is not None:
            body["tools"] = request.tools
        return body | dict(request.params)

    def reader(self) -> WebsopyReader:
        """Make the reader of one response."""
        return WebsopyReader()

    def text_of(self, data: str) -> str | None:
        """What an event's data adds to the message; see `Wire.text_of`.

        A tool call's id is left out: a service that starts again may make a new one.
        """
        try:
            chunk = parse_chunk(data)
        except StreamProtocolError:  # raised when the reader comes to it
            return None
        if isinstance(chunk, ContentChunk):
            return chunk.content
        if isinstance(chunk, ReasoningChunk):
            return chunk.text
        if isinstance(chunk, ToolCallChunk):
            return f"{chunk.tool.name}({chunk.tool.arguments})"
        return "" if isinstance(chunk, UnknownChunk) else None
