"""Parrot's wire, held against the service played on this machine."""

from collections.abc import Iterator

import pytest
from websopy_parrot_service import ParrotService

from websopy_sync import (
    Message,
    StreamInterruptedError,
    StreamProtocolError,
    StreamServerError,
    Usage,
    WebsopyClient,
)
from websopy_sync.sandbox import (
    Sandbox,
    cut,
    done,
    error,
    expect_tool_result,
    raw,
    say,
    think,
    tool,
)


@pytest.fixture
def parrot() -> Iterator[Sandbox]:
    """A Parrot server."""
    with Sandbox(wire=ParrotService()) as server:
        yield server


@pytest.fixture
def client(parrot: Sandbox) -> Iterator[WebsopyClient]:
    """A client of it. The entry point has made the name known."""
    with WebsopyClient(wire="parrot", base_url=parrot.url, model="grey", plugins=[]) as client:
        yield client


def test_a_whole_answer(parrot: Sandbox, client: WebsopyClient) -> None:
    """Every kind of chunk there and back."""
    parrot.play([think("hm"), say("Hel"), say("lo 世界"), done(3, 2, finish_reason="length")])
    answer = client.ai.chat("Hi", pitch=2)
    assert answer == Message("Hello 世界", (), Usage(3, 2), "length", reasoning="hm")
    (request,) = parrot.requests
    assert request.path.endswith("/talk/grey")
    assert request.json == {"turns": [{"who": "user", "says": "Hi"}], "pitch": 2}


def test_tools(parrot: Sandbox, client: WebsopyClient) -> None:
    """A tool call, its result, and the answer."""
    parrot.play([tool("add", {"a": 2, "b": 3}, "call_1"), done(finish_reason="tool_calls")])
    parrot.play([expect_tool_result("add", content="5"), say("5."), done(finish_reason="stop")])

    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    run = client.ai.run("2 + 3?", tools=[add])
    assert "".join(chunk.content for chunk in run if chunk.type == "content") == "5."


@pytest.mark.parametrize(
    ("end", "error"),
    [
        (cut(), StreamInterruptedError),
        (error("no seeds", "tired"), StreamServerError),
        (raw(b"squawk!\n"), StreamProtocolError),
        (raw(b'{"kind": "text"}\n'), StreamProtocolError),
        (raw(b"[1]\n"), StreamProtocolError),
    ],
)
def test_what_fails(
    end: object, error: type[StreamServerError], parrot: Sandbox, client: WebsopyClient
) -> None:
    """Each failure is an error of websopy-sync, with what had come."""
    parrot.play([say("Hel"), end])
    with pytest.raises(error) as failed:
        client.ai.chat("Hi")
    assert failed.value.partial.content == "Hel"


def test_lines_that_say_nothing(parrot: Sandbox, client: WebsopyClient) -> None:
    """Pings and kinds of a later version do no harm."""
    lines = raw(b'{"kind": "alive"}\n{"kind": "mood", "mood": "good"}\n')
    parrot.play([lines, say("Hello"), lines, done(finish_reason="stop")])
    assert client.ai.chat("Hi").content == "Hello"
