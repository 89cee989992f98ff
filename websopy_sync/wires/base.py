"""The seam between this package and a service: what a wire is, and what it is asked for.

A wire knows one service's paths, header names and fields, and nothing else does. It does no I/O,
reads no clock and holds no key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import attrs

from ..chunks import DoneChunk, StreamChunk
from ..errors import ConfigError

__all__ = [
    "GRACE",
    "ChatRequest",
    "ReadResult",
    "Reader",
    "Wire",
    "check_one_answer",
    "chunks_of",
]

GRACE = 2.0
"""Seconds to wait for what follows the reason why a response ended: usage, an end mark."""

ReadResult = StreamChunk | Sequence[StreamChunk] | None
"""What one event gives; see `Reader.read`."""


class Reader(Protocol):
    """Turns the events of one response into chunks.

    A stream has one reader and calls it from one thread at a time. When the response is resumed on
    a new connection, the same reader goes on. A reader does no I/O, reads no clock and knows no
    secret.

    One rule makes plain text cheap (see `fast_path`): two events that differ in their text alone
    give chunks that differ in their text alone, and leave the reader in the same state.

    Attributes:
        done: The chunk that ends the response if its bytes end now. None while the response is not
            complete: bytes that end then are an interruption. Once there is one, the stream waits
            a short while (`GRACE`) for what may still follow, such as the usage. More text after
            it shows that it meant nothing: then the stream waits for the end of the bytes.

    A reader that holds more than a character back, such as a tool call in pieces, says by an
    attribute `held` how many characters it holds, so that `max_answer_size` limits them.
    """

    @property
    def done(self) -> DoneChunk | None:
        """What ends the response if its bytes end now."""
        ...

    def read(self, data: str) -> ReadResult:
        """Read the data of one event.

        Args:
            data: The event's data, any text at all; of NDJSON, one line.

        Returns:
            One chunk, or several in order. An empty sequence when the data is held back until more
            comes, or says nothing to the user: it counts as progress. None for a ping, which does
            not. A DoneChunk or ErrorChunk ends the response.

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
            - what a service must get back with its answer: `"state": {format: …}`, such as
              `{"anthropic": …}`; a wire reads that of its own format and sends no other;
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
    threads: it holds options, and nothing of one response. It does no I/O and holds no key.

    Attributes:
        name: The service's name.
        base_url: The service's address, for users who pass none; "" when it has none of its own.
        path: The path of a chat, after the base URL. `{model}` stands for the model's name, which
            the client quotes.
        framing: How a response is cut into events: as server-sent events, or "ndjson", one JSON
            value a line.
        error_field: A field of server-sent events that is none of the standard's, in which a server
            sends the JSON of an error. It is read as an event with the data `{"error": …}`. With
            it, a JSON object with an error that has no field's name before it is an event, too.
        key_header: The header that carries the key, and the text before the key in it: a pair, such
            as `("X-Api-Key", "")`.
        key_variable: The environment variable that the provider's own tools read the key from. It
            is read only for requests to `base_url`, so that a key goes to no other server.
        models_path: The path of the list of models, after the base URL; "" when the service has
            none, or when the names in it are not those that a request takes.
        needs_key: Whether every server needs a key. If not, only the provider's own does, at
            `base_url`, and only if there is a `key_variable`: a local server mostly needs none.
        headers: Further headers of each request; an `Accept` for another framing, say. The user's
            own replace them.
        request_id_headers: Response headers that may name the request, in lower case; the first
            that is there counts.
        idempotent: Whether the service honours Idempotency-Key. If not, a request that may have
            reached it is not sent again.
        resumable: Whether the service honours Last-Event-ID. If not, a lost connection ends the
            stream: a service that ignores it would send the text again.

    Args:
        **differences: Attributes that are others at one server, such as `base_url`.

    Raises:
        TypeError: A wire has no such attribute.
    """

    name: str
    base_url: str = ""
    path: str
    framing: Literal["sse", "ndjson"] = "sse"
    error_field: str | None = None
    key_header: tuple[str, str] = ("Authorization", "Bearer ")
    key_variable: str = ""
    models_path: str = ""
    needs_key: bool = False
    headers: Mapping[str, str] = {}
    request_id_headers: tuple[str, ...] = ("x-request-id",)
    idempotent: bool = False
    resumable: bool = False

    def __init__(self, **differences: Any) -> None:
        for name, value in differences.items():
            if name not in Wire.__annotations__:
                raise TypeError(f"{type(self).__name__}: expected no argument {name!r}")
            setattr(self, name, value)

    def body(self, request: ChatRequest) -> dict[str, Any]:
        """Build the request's JSON.

        Args:
            request: What the user asks for. It stays as it is.

        Returns:
            A new dict. Its values may be the request's own: the client copies them before a plugin
            may edit the body.

        Raises:
            ConfigError: The service cannot do what is asked. The message quotes no turn.
        """
        raise NotImplementedError

    def reader(self) -> Reader:
        """Make the reader of one response."""
        raise NotImplementedError

    def models_in(self, body: Any) -> Sequence[str]:
        """Read the names of the models in a page of their list, as a request takes them.

        Only for a wire that has a `models_path`. This one reads OpenAI's form, which many services
        took over.

        Args:
            body: The JSON of the response, any value at all. Its texts can be encoded.

        Returns:
            The names, in the service's order.

        Raises:
            Exception: Of any kind: the body is no such list.
        """
        # Together AI sends the list alone; Ollama's /v1 sends null when it has no model.
        models = body if isinstance(body, list) else body["data"]
        return [model["id"] for model in models or ()]

    def models_after(self, body: Any) -> Mapping[str, str]:
        """Read what to ask for after a page of the list of models.

        Args:
            body: As for `models_in`.

        Returns:
            Parameters to add to the query, for the next page; none after the last page.
        """
        return {}

    def text_of(self, data: str) -> str | None:
        """What an event's data adds to the message, to compare it with another event's.

        Only for a wire that is `resumable`.

        Args:
            data: The event's data.

        Returns:
            Some text; "" when the data adds nothing, None when it ends the message.
        """
        raise NotImplementedError


def chunks_of(result: ReadResult) -> Sequence[StreamChunk]:
    """What a reader returned, as a sequence."""
    if result is None:
        return ()
    return result if isinstance(result, Sequence) else (result,)


def check_one_answer(count: object) -> None:
    """Check how many answers a request asks for; None is not said.

    Raises:
        ConfigError: They are several.
    """
    if count not in (None, 1):
        raise ConfigError("n: expected 1, as a message is one answer")
