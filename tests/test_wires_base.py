"""The seam between the package and a service."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest
from faults import Conn, body, event, http_chunk, play
from tables import each

from websopy_sync import (
    APIConnectionError,
    APITimeoutError,
    ChatStream,
    ConfigError,
    Message,
    StreamInterruptedError,
    StreamProtocolError,
    Timeouts,
    WebsopyClient,
)
from websopy_sync.chunks import ContentChunk, DoneChunk, UnknownChunk
from websopy_sync.wires import ChatRequest, Reader, Wire
from websopy_sync.wires.base import GRACE, ReadResult, chunks_of


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
    """Its events are plain text, several words at once; "." ends the message, as may "!"."""

    done: DoneChunk | None = None

    def read(self, data: str) -> ReadResult:
        if data.startswith("#"):
            return None
        if data == "~":  # it says nothing
            return ()
        words = [ContentChunk(word) for word in data.split()]
        self.done = DoneChunk(None, "!") if data.endswith("!") else None
        return [*words, DoneChunk()] if data.endswith(".") else words


class Other(Wire):
    name = "other"
    path = "/talk"
    key_header = ("X-Other-Key", "")
    request_id_headers = ("x-nothing", "x-other-id")
    headers: Mapping[str, str] = MappingProxyType({"X-Version": "7"})

    def body(self, request: ChatRequest) -> dict[str, Any]:
        return {"say": [turn["content"] for turn in request.turns], "who": request.model}

    def reader(self) -> Reader:
        return Lines()

    def text_of(self, data: str) -> str | None:
        return data


def ask_other(url: str, **options: Any) -> ChatStream:
    """A stream of the other service."""
    return WebsopyClient("k3y", base_url=url, wire=Other(), plugins=[]).ai.chat_stream(
        "hello", **options
    )


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
    assert (request.header("x-version"), request.header("idempotency-key")) == (b"7", None)
    assert json.loads(request.body) == {"say": ["hello"], "who": "m", "loud": True}


def raising(*_: object) -> Any:
    raise LookupError("s3cret question")


@each(
    ("method", "does", "problem"),
    [
        ("body", raising, "wire 'other': body() raised LookupError"),
        ("body", lambda *_: ["s3cret"], "wire 'other': body() expected a dict, got list"),
        ("reader", raising, "wire 'other': reader() raised LookupError"),
    ],
)
def test_a_wire_that_does_not_work(method: str, does: Any, problem: str) -> None:
    """PROMISE 13: its faults are typed, say no word of the prompt, and nothing is sent."""
    wire = type("Faulty", (Other,), {method: does})()
    with play() as server, WebsopyClient("k", base_url=server.url, wire=wire, plugins=[]) as client:
        with pytest.raises(ConfigError) as caught:
            client.ai.chat("s3cret question")
        assert str(caught.value) == problem and not server.requests
    assert caught.value.__cause__ is None and caught.value.__context__ is None


def test_a_wire_that_is_not_resumable() -> None:
    """Its events may have ids; the service would send the text again all the same."""
    with play(body(event("good", id="1"), end=False)) as server:
        stream = ask_other(server.url)
        with pytest.raises(StreamInterruptedError) as caught:
            list(stream)
        assert len(server.requests) == 1
    assert caught.value.partial == Message("good")


@pytest.mark.timing
@each("said", ["good!", "good day!"])
@each("end", ["fin", "cut", "reset", "silence", "nothing"])
def test_a_response_that_may_end_here(end: str, said: str) -> None:
    """PROMISE 11: the reader says whether the message is complete when the bytes end, however."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head(headers={"Connection": "close", "Transfer-Encoding": "chunked"})
        conn.send(http_chunk(event(said)))
        if end == "fin":
            conn.send(b"0\r\n\r\n")
        elif end == "reset":
            conn.reset()
        elif end == "silence":
            conn.wait_gone(GRACE + 5)
        elif end == "nothing":  # events that say nothing, without end
            for _ in range(30):
                conn.send(http_chunk(event("~")))
                time.sleep(0.2)

    with play(script) as server:
        started = time.monotonic()
        stream = ask_other(server.url, timeout=Timeouts(idle=30))
        assert stream.get_final_message() == Message(said.replace(" ", ""), finish_reason="!")
        took = time.monotonic() - started
        assert (took > GRACE) is (end in ("silence", "nothing")) and took < GRACE + 2
    assert stream.state == "done"


@each("more", ["day!", "day to you!"])
@each("end", ["fin", "cut", "silence"])
def test_a_finish_in_each_event(more: str, end: str) -> None:
    """PROMISE 11: where text followed a reason to stop, only a whole body ends the message."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head(headers={"Connection": "close", "Transfer-Encoding": "chunked"})
        for said in ("good!", more, "Sir!"):
            conn.send(http_chunk(event(said)))
            time.sleep(GRACE * 1.2 if said == more and end == "fin" else 0)
        if end == "fin":
            conn.send(b"0\r\n\r\n")
        elif end == "silence":
            conn.wait_gone(5)

    content = f"good!{more}Sir!".replace(" ", "")
    with play(script) as server:
        stream = ask_other(server.url, timeout=Timeouts(idle=0.3 if end == "silence" else 30))
        if end == "fin":
            assert stream.get_final_message() == Message(content, finish_reason="!")
        else:
            with pytest.raises(
                APITimeoutError if end == "silence" else StreamInterruptedError
            ) as e:
                stream.until_done()
            assert e.value.partial == Message(content)


def test_a_finish_that_is_taken_back() -> None:
    """Text after the reason to stop makes the message incomplete again."""
    with play(body(event("good!"), event("day"))) as server:
        with pytest.raises(StreamInterruptedError) as caught:
            ask_other(server.url).until_done()
    assert caught.value.partial == Message("good!day")


class Broken(Other):
    def body(self, request: ChatRequest) -> dict[str, Any]:
        raise RuntimeError(request.turns)


def test_a_body_that_raises() -> None:
    """A fault of somebody else's wire is a ConfigError with its name, and without the prompt."""
    client = WebsopyClient("k3y", base_url="http://127.0.0.1:9", wire=Broken(), plugins=[])
    with pytest.raises(ConfigError, match="RuntimeError") as caught:
        client.ai.chat_stream("s3cret")
    assert "s3cret" not in repr(caught.value) and caught.value.__context__ is None


class Faulty(Lines):
    def read(self, data: str) -> ReadResult:
        return super().read(data) if data != "x" else [][1]


def test_a_reader_that_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """PROMISE 13: no foreign exception comes out of the loop."""
    monkeypatch.setattr(Other, "reader", lambda self: Faulty())
    with play(body(event("good"), event("x"))) as server:
        with pytest.raises(StreamProtocolError, match="IndexError") as caught:
            ask_other(server.url).until_done()
    assert caught.value.partial == Message("good") and caught.value.__context__ is None


class Holding(Lines):
    """Holds all back until "."."""

    held = 0

    def read(self, data: str) -> ReadResult:
        self.held += len(data)
        return [ContentChunk("x"), DoneChunk()] if data == "." else ()


def test_what_a_reader_holds_back_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """PROMISE 16: a tool call in pieces that never ends takes no more than an answer may."""
    monkeypatch.setattr(Other, "reader", lambda self: Holding())
    with play(body(*[event("y" * 100)] * 50, end=False)) as server:
        with pytest.raises(StreamProtocolError, match="max_answer_size"):
            ask_other(server.url, max_answer_size=1000).until_done()


@pytest.mark.timing
@pytest.mark.timing
def test_a_server_that_closes_after_each_response() -> None:
    """PROMISE 28: llama.cpp does, though it promises to keep the connection."""

    def closing(conn: Conn) -> None:
        conn.read_request()
        conn.head(headers={"Keep-Alive": "timeout=5", "Transfer-Encoding": "chunked"})
        conn.send(http_chunk(event("good.")), b"0\r\n\r\n")
        conn.pause(0.001)

    with play(*[closing] * 5) as server:
        with WebsopyClient("k", base_url=server.url, wire=Other(), plugins=[]) as client:
            for _ in range(5):
                assert client.ai.chat("hello").content == "good."
        assert len(server.requests) == 5


def test_a_request_that_may_have_been_taken_is_not_sent_again() -> None:
    """PROMISE 2: a service that knows no idempotency key would answer, and charge, twice."""

    def lost(conn: Conn) -> None:
        conn.read_request()
        conn.reset()

    with play(lost) as server:
        with pytest.raises(APIConnectionError) as caught:
            ask_other(server.url, max_retries=3)
        assert caught.value.sent and len(server.requests) == 1
