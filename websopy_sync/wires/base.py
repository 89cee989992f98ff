"""The seam between this package and a service: what a wire is, and what it is asked for.

A wire knows one service's paths, header names and fields, and nothing else does. It does no I/O,
reads no clock and holds no key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import attrs

from ..chunks import StreamChunk

__all__ = ["ChatRequest", "ReadResult", "Reader", "Wire", "chunks_of"]

ReadResult = StreamChunk | Sequence[StreamChunk] | None
"""What one event gives; see `Reader.read`."""


class Reader(Protocol):
    """Turns the events of one response into chunks.

    A stream has one reader and calls it from one thread at a time. When the response is resumed on
    a new connection, the same reader goes on. A reader knows no secret.
    """

    def read(self, data: str) -> ReadResult:
        """Read the data of one event.

        Args:
            data: The event's data, any text at all.

        Returns:
            One chunk, or several in order. An empty sequence when the data is held back until more
            comes: it counts as progress. None for data that counts for nothing, such as a ping. A
            DoneChunk or ErrorChunk ends the response.

        Raises:
            StreamProtocolError: The data is not what the service sends. The message may quote it
                whole after ", got ": the stream takes secrets out first and shortens it afterwards.
        """
        ...


@attrs.frozen(repr=False)
class ChatRequest:
    """What the user asks for, in no service's format.

    Attributes:
        turns: The conversation; each turn has a role and a content, and may have more. These have
            one form for all services, which a wire translates; all else goes out as it is:

            - tool calls of the model: `"tool_calls": [{"name", "arguments", "id"}]`;
            - the result of one: `{"role": "tool", "tool_call_id", "name", "content"}`;
            - parts in a content that is a list: `{"type": "text", "text"}`, `{"type": "image",
              "media_type", "data"}` with the data as base64, `{"type": "image", "url"}`, and
              `{"type": "file", "name", "media_type", "data"}`.
        model: The model to ask; None when the user named none.
        tools: The tools as the user described them; None when there are none.
        params: Further parameters, which go out as they are.
        output_schema: The JSON Schema that the answer must match; None for free text.
    """

    turns: Sequence[Mapping[str, Any]]
    model: Any = None
    tools: Any = None
    params: Mapping[str, Any] = attrs.field(factory=dict)
    output_schema: Mapping[str, Any] | None = None


class Wire:
    """How one service is spoken to: where a request goes, what it says, how the response reads.

    Inherit from it and set what differs. A wire belongs to one client and is used from many
    threads: it holds options, and nothing of one response.

    Attributes:
        name: The service's name.
        base_url: The service's address, for users who pass none.
        path: The path of a chat, after the base URL.
        key_header: The header that carries the key, and the text before the key in it.
        request_id_header: The response header that names the request, in lower case.
        resumable: Whether the service honours Last-Event-ID. If not, a lost connection ends the
            stream: a service that ignores it would send the text again.
    """

    name: str
    base_url: str
    path: str
    key_header: tuple[str, str] = ("Authorization", "Bearer ")
    request_id_header: str = "x-request-id"
    resumable: bool = False

    def body(self, request: ChatRequest) -> dict[str, Any]:
        """Build the request's JSON.

        Args:
            request: What the user asks for. It stays as it is.

        Returns:
            A new dict. Its values may be the request's own: the client copies them before a plugin
            may edit the body.
        """
        raise NotImplementedError

    def reader(self) -> Reader:
        """Make the reader of one response."""
        raise NotImplementedError

    def text_of(self, data: str) -> str | None:
        """What an event's data adds to the message, to compare it with another event's.

        Only for a wire that is `resumable`.

        Returns:
            Some text; "" when the data adds nothing, None when it ends the message.
        """
        raise NotImplementedError


def chunks_of(result: ReadResult) -> Sequence[StreamChunk]:
    """What a reader returned, as a sequence."""
    if result is None:
        return ()
    return result if isinstance(result, Sequence) else (result,)
