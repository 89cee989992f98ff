"""The seam between the package and a service."""

from __future__ import annotations

import json
from typing import Any

import pytest
from faults import Conn, body, event, play

from websopy_sync import ChatStream, Message, StreamInterruptedError
from websopy_sync.calls import Calls
from websopy_sync.chunks import ContentChunk, DoneChunk, UnknownChunk
from websopy_sync.hooks import Hooks
from websopy_sync.options import ClientOptions
from websopy_sync.transport import Transport
from websopy_sync.wires import ChatRequest, Reader, Wire
from websopy_sync.wires.base import ReadResult, chunks_of


@pytest.mark.parametrize(
    ("result", "chunks"),
    [
        (None, []),
        ((), []),
        ([], []),
        (ContentChunk("a"), [ContentChunk("a")]),
        (UnknownChunk("x", {}), [UnknownChunk("x", {})]),
        ((ContentChunk("a"), DoneChunk()), [ContentChunk("a"), DoneChunk()]),
        ([DoneChunk()], [DoneChunk()]),
    ],
    ids=range(7),
)
def test_a_result_is_a_sequence_of_chunks(result: object, chunks: list[object]) -> None:
    """A reader may return one chunk, several or none."""
    assert list(chunks_of(result)) == chunks  # type: ignore[arg-type]  # any form of a result


def test_a_request_shows_nothing_of_the_prompt() -> None:
    """Error reporters show it among the local variables."""
    request = ChatRequest([{"role": "user", "content": "s3cret"}], params={"note": "s3cret"})
    assert "s3cret" not in repr(request)


def test_a_wire_says_what_is_missing() -> None:
    """A wire that lacks a method fails where it is used."""
    for use in (lambda: Wire().body(ChatRequest([])), Wire().reader, lambda: Wire().text_of("")):
        with pytest.raises(NotImplementedError):
            use()


# --- a service that differs in everything --------------------------------------------------------


class Lines:
    """Its events are plain text, several words at once; "." ends the message."""

    def read(self, data: str) -> ReadResult:
        if data.startswith("#"):
            return None
        words = [ContentChunk(word) for word in data.split()]
        return [*words, DoneChunk()] if data.endswith(".") else words


class Other(Wire):
    name = "other"
    path = "/talk"
    key_header = ("X-Other-Key", "")
    request_id_header = "x-other-id"

    def body(self, request: ChatRequest) -> dict[str, Any]:
        return {"say": [turn["content"] for turn in request.turns], "who": request.model}

    def reader(self) -> Reader:
        return Lines()

    def text_of(self, data: str) -> str | None:
        return data


def ask_other(url: str, **options: Any) -> ChatStream:
    """A stream of the other service."""
    client_options = ClientOptions("k3y", base_url=url)
    wire, hooks = Other(), Hooks([], strict=True)
    transport = Transport(key_header=wire.key_header)
    return Calls(client_options, wire, transport, hooks).chat("hello", options)


def test_the_wire_says_what_is_sent_and_how_it_is_read() -> None:
    """Path, headers and body of the request; request id and chunks of the response."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head(headers={"X-Other-Id": "r-1", "Connection": "close"})
        conn.body(*map(event, ("# hum", "good", " ", "day to", "you .")))
        conn.end()

    with play(script) as server:
        stream = ask_other(server.url, model="m", extra_body={"loud": True})
        texts = [chunk.content for chunk in stream if chunk.type == "content"]
        (request,) = server.requests
    assert texts == ["good", "day", "to", "you", "."]
    assert (stream.state, stream.request_id) == ("done", "r-1")
    assert request.target.endswith("/talk")
    assert (request.header("x-other-key"), request.header("authorization")) == (b"k3y", None)
    assert json.loads(request.body) == {"say": ["hello"], "who": "m", "loud": True}


def test_a_wire_that_is_not_resumable() -> None:
    """Its events may have ids; the service would send the text again all the same."""
    with play(body(event("good", id="1"), end=False)) as server:
        stream = ask_other(server.url)
        with pytest.raises(StreamInterruptedError) as caught:
            list(stream)
        assert len(server.requests) == 1
    assert caught.value.partial == Message("good")
