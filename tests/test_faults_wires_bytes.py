"""PROMISE 49: the bytes of each wire, cut, slow, encrypted and mixed with what is no answer.

What an answer says is in test_faults_wires.py.
"""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
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


LONG = "x" * 1000


def anthropic(block: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of a block."""
    pieces = [{"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas]
    start = {"type": "content_block_start", "index": 0, "content_block": block}
    return [start, *pieces, {"type": "content_block_stop", "index": 0}]


def gemini(part: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    """The event of a part."""
    return [{"candidates": [{"content": {"parts": [part]}, "index": 0, **more}]}]


BESIDE: list[tuple[str, Callable[[int], list[dict[str, Any]]]]] = [
    ("openai", lambda number: [{"choices": [], f"x{number}": LONG}]),
    ("openai", lambda number: [{"choices": [], "x": LONG * (number + 1)}]),
    (
        "anthropic",
        lambda number: anthropic(
            {"type": "thinking"}, {"type": "signature_delta", "signature": LONG}
        ),
    ),
    ("anthropic", lambda number: anthropic({"type": "redacted_thinking", "data": LONG})),
    (
        "anthropic",
        lambda number: anthropic(
            {"type": "server_tool_use"}, {"type": "input_json_delta", "partial_json": LONG}
        ),
    ),
    (
        "anthropic",
        lambda number: anthropic(
            {"type": "text", "text": ""}, {"type": "citations_delta", "citation": {"a": LONG}}
        ),
    ),
    ("anthropic", lambda number: [{"type": "message_delta", "usage": {f"x{number}": LONG}}]),
    ("anthropic", lambda number: [{"type": "message_delta", "delta": {f"x{number}": LONG}}]),
    ("gemini", lambda number: gemini({"text": "", "thoughtSignature": f"{number}{LONG}"})),
    ("gemini", lambda number: gemini({"inlineData": {"data": LONG}})),
    ("gemini", lambda number: gemini({"text": ""}, **{f"x{number}": LONG})),
    ("gemini", lambda number: [{"usageMetadata": {f"x{number}": LONG}}]),
    (
        "responses",
        lambda number: [
            {"type": "response.function_call_arguments.done", "item_id": "x", "arguments": LONG}
        ],
    ),
    (
        "openai",
        lambda number: [
            {"choices": [{"delta": {"reasoning_details": [{"data": f"{number}{LONG}"}]}}]}
        ],
    ),
]


@each(("wire", "events"), BESIDE)
def test_what_is_kept_beside_the_answer(
    wire: str, events: Callable[[int], list[dict[str, Any]]]
) -> None:
    """PROMISE 16: fields and signatures that are kept count, but for the few of a usual answer."""

    def event(fields: dict[str, Any]) -> Any:
        return raw(b"data: " + json.dumps(fields).encode() + b"\n\n")

    with Sandbox(wire=wire, pause=0) as service:
        with WebsopyClient(base_url=service.url, wire=wire, model="m", plugins=[]) as client:
            for count, fits in ((10, True), (200, False)):
                kept = [event(fields) for number in range(count) for fields in events(number)]
                service.play([say("a"), *kept, done(1, 1, finish_reason="stop")])
                if fits:
                    assert client.ai.chat("x", max_answer_size=50).content == "a"
                else:
                    with pytest.raises(StreamProtocolError, match="max_answer_size"):
                        client.ai.chat("x", max_answer_size=50_000)


# --- signs of life -------------------------------------------------------------------------------


def sign_of_life(wire: str) -> Any:
    """What a service sends to keep a connection alive; where lines are JSON, an empty one."""
    return raw(b"\n") if find_wire(wire).framing == "ndjson" else comment("alive")


def test_comments_do_no_harm(wire: str, service: Sandbox, client: WebsopyClient) -> None:
    """PROMISE 6: what keeps a connection alive is no part of the answer."""
    alive = sign_of_life(wire)
    play(service, alive, say("a"), alive, alive, say("b"), alive, ENDED)
    assert client.ai.chat("x").content == "ab"


@pytest.mark.timing
def test_comments_are_no_progress(wire: str, service: Sandbox, client: WebsopyClient) -> None:
    """PROMISE 6: what keeps a connection alive does not move the limit between chunks."""
    play(service, say("a"), *([sign_of_life(wire), pause(0.04)] for _ in range(40)), ENDED)
    began = time.monotonic()
    with pytest.raises(APITimeoutError) as caught:
        client.ai.chat("x", timeout=Timeouts(idle=0.3))
    assert caught.value.phase == "idle" and time.monotonic() - began < 1.2


@pytest.mark.timing
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
