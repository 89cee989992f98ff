"""PROMISE 49: the bytes of each wire, cut, slow, encrypted and mixed with what is no answer.

What an answer says is in test_faults_wires.py.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
import trustme
from endings import Endings
from every_wire import (  # noqa: F401  fixtures
    KEY,
    NOT_SAID,
    client,
    ends,
    play,
    service,
    wire,
    written,
)
from tables import each
from web_bodies import chunks_of

from websopy_sync import (
    APITimeoutError,
    CancelToken,
    ContentChunk,
    DoneChunk,
    ReasoningChunk,
    StreamCancelledError,
    StreamChunk,
    StreamInterruptedError,
    StreamProtocolError,
    Timeouts,
    ToolCall,
    ToolCallChunk,
    Usage,
    WebsopyClient,
    hookimpl,
)
from websopy_sync.sandbox import (
    Sandbox,
    chunk,
    comment,
    cut,
    done,
    pause,
    raw,
    reset,
    say,
    silence,
    think,
    tool,
)
from websopy_sync.web import sse_body
from websopy_sync.wires import find_wire

HIGH, LOW = "\ue000", "\ue001"
"""Stand for the halves of 😀 in a script: a writer cannot be told to cut a pair."""

ENDED = done(20, 150, finish_reason="stop", cached=5, reasoning=7)

SAID: list[StreamChunk] = [
    ReasoningChunk("hm"),
    ContentChunk("Hello "),
    ContentChunk("<b>世界</b>"),
    ToolCallChunk(ToolCall("f", '{"a": 1}', "call_1")),
]


def with_halves(wire: str, *steps: object) -> Any:
    """The body of an answer, in which the halves are real ones, as JSON writes them."""
    body = written(wire, *steps)
    return raw(body.replace(HIGH.encode(), rb"\ud83d").replace(LOW.encode(), rb"\ude00"))


# --- halves --------------------------------------------------------------------------------------


def test_halves_of_a_pair_are_joined(wire: str, service: Sandbox, client: WebsopyClient) -> None:
    """PROMISE 14: a character that is cut between two events is joined again."""
    # The writers that cut arguments cut these between the halves.
    arguments = '{"q":"' + HIGH + LOW + '"    }'
    play(
        service,
        with_halves(
            wire,
            *(think(HIGH), think(LOW), say("a" + HIGH), say(LOW + "b"), say(HIGH + LOW)),
            tool("f", arguments, "call_1"),
            done(finish_reason="tool_calls"),
        ),
    )
    message = client.ai.chat("x")
    assert (message.reasoning, message.content) == ("😀", "a😀b😀")
    assert message.tool_calls[0].parse_arguments() == {"q": "😀"}


@each(
    ("steps", "content"),
    [
        ([say("a" + HIGH), say("b")], "a\ufffdb"),
        ([say("a" + LOW), say("b")], "a\ufffdb"),
        ([say("a"), say(HIGH)], "a\ufffd"),
        ([say(HIGH), say(HIGH + LOW)], "\ufffd😀"),
        ([say("x")] * 3 + [say(HIGH), say(LOW), say("y")], "xxx😀y"),
    ],
)
def test_lone_halves_are_replaced(
    steps: list[Any], content: str, wire: str, service: Sandbox, client: WebsopyClient
) -> None:
    """PROMISE 14: half of a character that stays alone becomes U+FFFD."""
    play(service, with_halves(wire, *steps, done(finish_reason="stop")))
    assert client.ai.chat("x").content == content


# --- bytes ---------------------------------------------------------------------------------------


@each("size", [1, 7, 1000])
def test_cut_anywhere(size: int, wire: str, service: Sandbox, client: WebsopyClient) -> None:
    """PROMISE 15: however the network cuts the bytes, the answer is the same."""
    body = written(wire, think("hm"), say("Hé"), say("世 😀"), ENDED)
    play(service, *(raw(body[at : at + size]) for at in range(0, len(body), size)))
    message = client.ai.chat("x")
    assert (message.reasoning, message.content, message.finish_reason) == ("hm", "Hé世 😀", "stop")


GARBAGE = [b"{", b"[1]", b'"text"', b"12", b"NaN", b"[" * 100_000, b"\xff\xfe{}"]


@each("garbage", GARBAGE)
def test_garbage_in_the_middle(
    garbage: bytes, wire: str, service: Sandbox, client: WebsopyClient
) -> None:
    """PROMISE 13: an event that is no JSON, or JSON of another shape, is a typed error."""
    begin = b"data: " if find_wire(wire).framing == "sse" else b""
    play(service, say("a"), raw(begin + garbage + b"\n\n"))
    with pytest.raises(StreamProtocolError) as caught:
        client.ai.chat("x", resume=False)
    assert caught.value.partial is not None and caught.value.partial.content == "a"
    assert len(str(caught.value)) < 1000


def test_unknown_events(service: Sandbox, client: WebsopyClient) -> None:
    """PROMISE 13: events of a kind that this version does not know do no harm."""
    unknown = chunk("news.of.2031", {"delta": {"kind": "later"}, "value": [1, None]})
    play(service, unknown, say("a"), unknown, say("b"), unknown, ENDED)
    message = client.ai.chat("x")
    assert (message.content, message.finish_reason) == ("ab", "stop")


# --- signs of life -------------------------------------------------------------------------------


def sign_of_life(wire: str) -> Any:
    """What a service sends to keep a connection alive; where lines are JSON, an empty one."""
    return raw(b"\n") if find_wire(wire).framing == "ndjson" else comment("alive")


def test_comments_do_no_harm(wire: str, service: Sandbox, client: WebsopyClient) -> None:
    """PROMISE 6: what keeps a connection alive is no part of the answer."""
    alive = sign_of_life(wire)
    play(service, alive, say("a"), alive, alive, say("b"), alive, ENDED)
    assert client.ai.chat("x").content == "ab"


def test_comments_are_no_progress(wire: str, service: Sandbox, client: WebsopyClient) -> None:
    """PROMISE 6: what keeps a connection alive does not move the limit between chunks."""
    play(service, say("a"), *([sign_of_life(wire), pause(0.04)] for _ in range(40)), ENDED)
    began = time.monotonic()
    with pytest.raises(APITimeoutError) as caught:
        client.ai.chat("x", timeout=Timeouts(idle=0.3))
    assert caught.value.phase == "idle" and time.monotonic() - began < 1.2


@each(("limits", "phase"), [(Timeouts(idle=0.3), "idle"), (Timeouts(total=0.3), "total")])
def test_a_trickle_is_no_progress(
    limits: Timeouts, phase: str, wire: str, service: Sandbox, client: WebsopyClient
) -> None:
    """PROMISE 6: an event that comes byte by byte is late once its limit has passed."""
    event = written(wire, say("b" * 50))
    play(service, say("a"), *([raw(event[i : i + 1]), pause(0.04)] for i in range(40)), silence())
    began = time.monotonic()
    with pytest.raises(APITimeoutError) as caught:
        client.ai.chat("x", timeout=limits)
    assert caught.value.phase == phase and time.monotonic() - began < 1.2
    assert caught.value.partial is not None and caught.value.partial.content == "a"


# --- TLS -----------------------------------------------------------------------------------------


@pytest.fixture
def secure(wire: str, authority: trustme.CA) -> Iterator[Sandbox]:
    """The same service over https."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with Sandbox(wire=wire, api_key=KEY, ssl_context=context) as sandbox:
        yield sandbox


@pytest.fixture
def trusting(
    wire: str, secure: Sandbox, authority: trustme.CA, no_ca_in_the_environment: None
) -> Iterator[WebsopyClient]:
    """A client that trusts it."""
    options = {"base_url": secure.url, "wire": wire, "model": "m", "plugins": []}
    with (
        authority.cert_pem.tempfile() as path,
        WebsopyClient(KEY, verify=path, **options) as client,
    ):
        yield client


def test_tls(secure: Sandbox, trusting: WebsopyClient) -> None:
    """PROMISE 8: over TLS an answer is whole, cut, or cancelled as it is without."""
    play(secure, say("a"), say("世"), ENDED)
    assert trusting.ai.chat("x").content == "a世"
    for end in (cut(), reset()):
        play(secure, say("a"), end)
        with pytest.raises(StreamInterruptedError) as caught:
            trusting.ai.chat("x", resume=False)
        assert caught.value.partial is not None and caught.value.partial.content == "a"
    play(secure, say("a"), silence())
    token = CancelToken()
    with trusting.ai.chat_stream("x", cancel_token=token) as stream:
        assert next(stream) == ContentChunk("a")
        threading.Timer(0.05, token.cancel).start()
        with pytest.raises(StreamCancelledError):
            next(stream)
    assert secure.wait_disconnect()


# --- resuming and closing ------------------------------------------------------------------------


def test_a_cut_answer_goes_on_where_it_can(
    wire: str, service: Sandbox, client: WebsopyClient
) -> None:
    """PROMISE 46: an answer goes on after a lost connection, without text twice."""
    play(service, say("a"), cut(), say("b"), ENDED)
    if find_wire(wire).resumable:
        assert client.ai.chat("x").content == "ab"
        assert len(service.requests) == 2
    else:
        with pytest.raises(StreamInterruptedError) as caught:
            client.ai.chat("x")
        assert caught.value.partial is not None and caught.value.partial.content == "a"
        assert len(service.requests) == 1


def test_the_client_is_closed(service: Sandbox, client: WebsopyClient, ends: Endings) -> None:
    """PROMISE 44: closing the client ends what another thread reads."""
    play(service, say("a"), silence())
    stream = client.ai.chat_stream("x")
    assert next(stream) == ContentChunk("a")
    threading.Timer(0.05, client.close).start()
    with pytest.raises(StreamCancelledError):
        next(stream)
    assert service.wait_disconnect() and len(ends.ends) == 1


# --- the same chunks for everybody ---------------------------------------------------------------


class Chunks:
    """Notes each chunk."""

    def __init__(self) -> None:
        self.chunks: list[StreamChunk] = []

    @hookimpl
    def on_chunk(self, chunk: StreamChunk) -> None:
        self.chunks.append(chunk)


CALLED = done(20, 150, finish_reason="tool_calls", cached=5, reasoning=7)


def what_was_said(wire: str) -> list[StreamChunk]:
    """The chunks of SAID and its end, without what the wire cannot say."""
    usage = Usage(20, 150, cached_tokens=5, reasoning_tokens=7)
    missing = dict.fromkeys(NOT_SAID.get(wire, ()), 0)
    return [*SAID, DoneChunk(attrs.evolve(usage, **missing), "tool_calls")]


def without_names(chunks: list[StreamChunk]) -> list[StreamChunk]:
    """Without the id and the model that a service may give each answer."""
    last = chunks[-1]
    assert isinstance(last, DoneChunk)
    return [*chunks[:-1], DoneChunk(last.usage, last.finish_reason)]


def test_everybody_sees_the_same_chunks(wire: str, service: Sandbox) -> None:
    """PROMISE 29: the loop and a plugin see the same chunks, in order."""
    plugin = Chunks()
    play(service, *map(as_step, SAID), CALLED)
    with WebsopyClient(KEY, base_url=service.url, wire=wire, model="m", plugins=[plugin]) as client:
        chunks = list(client.ai.chat_stream("x"))
    assert chunks == plugin.chunks
    assert without_names(chunks) == what_was_said(wire)


def test_a_browser_gets_the_same_events(wire: str, service: Sandbox, client: WebsopyClient) -> None:
    """PROMISE 40: a page that reads the answer does not see which service wrote it."""
    play(service, *map(as_step, SAID), CALLED)
    with sse_body(client.ai.chat_stream("x")) as body:
        chunks = chunks_of(body)
    assert without_names(chunks) == what_was_said(wire)


def as_step(said: StreamChunk) -> Any:
    if isinstance(said, ReasoningChunk):
        return think(said.text)
    if isinstance(said, ToolCallChunk):
        return tool(said.tool.name, said.tool.arguments, said.tool.id)
    assert isinstance(said, ContentChunk)
    return say(said.content)
