"""PROMISE 49: the same faults, over every wire that the package has.

The sandbox plays each service. What holds for one format only is in the tests of its wire.
"""

from __future__ import annotations

import threading
import time

import attrs
import pytest
from endings import LEFT, Endings
from every_wire import (
    KEY,
    NOT_SAID,
    SIGNED,
    client,  # noqa: F401  a fixture, as the others
    ends,  # noqa: F401
    play,
    service,  # noqa: F401
    wire,  # noqa: F401
)
from tables import each

from websopy_sync import (
    APIConnectionError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    CancelToken,
    InternalServerError,
    Message,
    RateLimitError,
    StreamCancelledError,
    StreamInterruptedError,
    StreamProtocolError,
    StreamServerError,
    Timeouts,
    Usage,
    WebsopyClient,
)
from websopy_sync.sandbox import (
    Framing,
    Sandbox,
    Steps,
    before_headers,
    cut,
    done,
    error,
    expect_tool_result,
    headers,
    pause,
    reset,
    say,
    silence,
    status,
    think,
    tool,
)
from websopy_sync.sandbox.wires.registry import SERVICES
from websopy_sync.wires import find_wire

# --- whole answers -------------------------------------------------------------------------------


def test_a_whole_answer(wire: str, service: Sandbox, client: WebsopyClient, ends: Endings) -> None:
    """PROMISE 47: text, reasoning, tool calls, usage, finish reason and model are kept."""
    play(
        service,
        think("hm"),
        say("Hello "),
        say('世界 "q"\n'),
        tool("f", {"a": [1, "世"]}, "call_1"),
        tool("g", "{}", "call_2"),
        done(20, 150, finish_reason="tool_calls", model="m-1", cached=5, reasoning=7),
    )
    message = client.ai.chat("x")
    calls = [(call.name, call.parse_arguments(), call.id) for call in message.tool_calls]
    assert calls == [("f", {"a": [1, "世"]}, "call_1"), ("g", {}, "call_2")]
    usage = Usage(20, 150, cached_tokens=5, reasoning_tokens=7)
    assert message == Message(
        'Hello 世界 "q"\n',
        message.tool_calls,
        attrs.evolve(usage, **dict.fromkeys(NOT_SAID.get(wire, ()), 0)),
        "tool_calls",
        "m-1",
        message.id,
        "hm",
        state={"openai": {"reasoning_content": "hm"}} if wire == "openai" else None,
    )
    assert ends.ends == ["done"]


@each("reason", ["stop", "length", "content_filter"])
def test_finish_reasons(reason: str, service: Sandbox, client: WebsopyClient) -> None:
    """PROMISE 47: an answer that the service cut can be told from a whole one."""
    play(service, say("x"), done(1, 1, finish_reason=reason))
    message = client.ai.chat("x")
    assert (message.finish_reason, message.truncated) == (reason, reason != "stop")


FRAMINGS: list[Framing] = ["chunked", "content-length", "close", "gzip", "trickle"]


@each("framing", FRAMINGS)
def test_every_framing(framing: Framing, service: Sandbox, client: WebsopyClient) -> None:
    """PROMISE 9: a piece comes as soon as it is sent."""
    play(
        service,
        headers(framing=framing),
        say("a"),
        pause(0.1),
        say("b"),
        done(1, 2, finish_reason="stop"),
    )
    stream, came = client.ai.chat_stream("x"), []
    for chunk in stream:
        came.append((chunk.type, time.monotonic()))
    times = [at for kind, at in came if kind == "content"]
    assert times[1] - times[0] > 0.05 and stream.state == "done"


def test_tool_turns(service: Sandbox, client: WebsopyClient) -> None:
    """PROMISE 48: the result of a tool goes back, and the answer follows."""
    play(service, tool("add", {"a": 2, "b": 3}, "call_1"), done(finish_reason="tool_calls"))
    play(
        service, expect_tool_result("add", content="5"), say("It is 5."), done(finish_reason="stop")
    )

    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    run = client.ai.run("2 + 3?", tools=[add])
    assert "".join(chunk.content for chunk in run if chunk.type == "content") == "It is 5."


def test_state_of_another_wire_is_not_sent(
    service: Sandbox, client: WebsopyClient, wire: str
) -> None:
    """PROMISE 48: what one service must get back is sent to no other service."""
    answer = Message("a", state={name: SIGNED[name] for name in SIGNED if name != wire})
    assert client.ai.chat([{"role": "user", "content": "x"}, answer]).content
    assert b"s1gnature" not in service.requests[-1].body


def test_default_answers(service: Sandbox, client: WebsopyClient) -> None:
    """The sandbox answers without a script on every wire; a limit cuts the answer."""
    whole = client.ai.chat("hello")
    assert "sandbox" in whole.content and whole.finish_reason == "stop"
    cut_short = client.ai.chat("hello", max_tokens=5)
    assert cut_short.truncated and whole.content.startswith(cut_short.content)


# --- cuts ----------------------------------------------------------------------------------------


@each("end", [cut(), reset()])
@each("begun", [[say("a")], [think("hm"), say("a")], [tool("f", "{}", "call_1"), say("a")]])
def test_an_answer_that_is_cut(
    end: Steps,
    begun: list[Steps],
    service: Sandbox,
    client: WebsopyClient,
    ends: Endings,
) -> None:
    """PROMISE 11: an answer that is cut is never taken for complete, nor asked for again."""
    play(service, headers(framing="close"), *begun, end)
    asked = ends.asked
    with pytest.raises(StreamInterruptedError) as caught:
        client.ai.chat("x", resume=False)
    assert caught.value.partial is not None and caught.value.partial.content == "a"
    assert ends.asked == asked + 1 == len(service.requests)
    assert ends.ends[-1] == "StreamInterruptedError"


def test_a_good_end_of_the_bytes_without_an_end(service: Sandbox, client: WebsopyClient) -> None:
    """PROMISE 11: bytes that end politely, but without an end of the answer, are a cut."""
    play(service, say("a"))
    with pytest.raises(StreamInterruptedError):
        client.ai.chat("x", resume=False)


def test_an_empty_answer(service: Sandbox, client: WebsopyClient) -> None:
    """PROMISE 12: a response without any event is no answer."""
    play(service)
    with pytest.raises(StreamInterruptedError):
        client.ai.chat("x", resume=False)


def test_an_error_in_the_answer(service: Sandbox, client: WebsopyClient, ends: Endings) -> None:
    """The text before it is there, and its code; the key in it is not."""
    play(service, say("a"), error(f"overloaded, {KEY}", "overloaded_error"))
    with pytest.raises(StreamServerError) as caught:
        client.ai.chat("x")
    assert caught.value.code == "overloaded_error" and "overloaded" in str(caught.value)
    assert KEY not in repr(caught.value)
    assert caught.value.partial is not None and caught.value.partial.content == "a"
    assert ends.ends == ["StreamServerError"]


# --- statuses and retries ------------------------------------------------------------------------


def test_refusals_are_retried(service: Sandbox, client: WebsopyClient) -> None:
    """PROMISE 3: 429 and 529 say that nothing was begun, and are retried."""
    for code in (429, 529):
        play(service, status(code, retry_after=0))
    play(service, say("a"), done(finish_reason="stop"))
    assert client.ai.chat("x").content == "a"
    assert len(service.requests) == 3


def test_a_server_error_is_retried_where_keys_are_known(
    wire: str, service: Sandbox, client: WebsopyClient
) -> None:
    """PROMISE 2: a request is sent again after a status 500."""
    play(service, status(500, retry_after=0))
    play(service, say("a"), done(finish_reason="stop"))
    if find_wire(wire).idempotent:
        assert client.ai.chat("x").content == "a"
    else:
        with pytest.raises(InternalServerError):
            client.ai.chat("x")
        assert len(service.requests) == 1


def test_a_connection_lost_before_the_head(
    wire: str, service: Sandbox, client: WebsopyClient
) -> None:
    """PROMISE 2: a request is sent again when its connection was lost before the headers."""
    play(service, before_headers(reset()))
    play(service, say("a"), done(finish_reason="stop"))
    if find_wire(wire).idempotent:
        assert client.ai.chat("x").content == "a"
    else:
        with pytest.raises(APIConnectionError) as caught:
            client.ai.chat("x")
        assert caught.value.sent and len(service.requests) == 1


def test_errors_by_status(wire: str, service: Sandbox, client: WebsopyClient) -> None:
    """A refused key is AuthenticationError, too many requests RateLimitError with its wait."""
    play(service, status(429, retry_after=100))
    with pytest.raises(RateLimitError) as limited:
        client.ai.chat("x")
    assert limited.value.retry_after == 100 and limited.value.code is not None
    with WebsopyClient("wrong", base_url=service.url, wire=wire, model="m", plugins=[]) as other:
        with pytest.raises(AuthenticationError):
            other.ai.chat("x")


@each("wire", [name for name in SERVICES if not find_wire(name).needs_key])
def test_no_key_where_none_is_needed(wire: str) -> None:
    """A local server needs none, and gets no header. The Websopy service always needs one."""
    with Sandbox([say("a"), done(finish_reason="stop")], wire=wire) as service:
        with WebsopyClient(base_url=service.url, wire=wire, model="m", plugins=[]) as client:
            assert client.ai.chat("x").content == "a"
        (request,) = service.requests
    sent = {"authorization", "x-api-key", "api-key", "x-goog-api-key"} & set(request.headers)
    assert not sent


def test_an_echo_in_a_refusal(service: Sandbox, client: WebsopyClient) -> None:
    """PROMISE 21: whatever a body calls the texts that were sent, no error shows them."""
    system, prompt = (
        "You are the lawyer of Foo, act so",
        "the merger of Foo and Bar costs 7 million",
    )
    play(service, status(400, {"error": {"message": f"no: {prompt}; {system}; {KEY}"}}))
    turns = [
        {"role": "system", "content": system},
        {"role": "user", "content": [{"type": "text", "text": prompt}]},
    ]
    with pytest.raises(BadRequestError) as caught:
        client.ai.chat(turns)
    shown = f"{caught.value!r} {vars(caught.value)}"
    assert "no: ***" in shown
    assert not [secret for secret in (system, prompt, KEY) if secret in shown]


# --- time, cancelling, leaving -------------------------------------------------------------------


@each(
    ("steps", "limits", "phase"),
    [
        ([before_headers(silence())], Timeouts(first_chunk=0.2), "first_chunk"),
        ([silence()], Timeouts(first_chunk=0.2), "first_chunk"),
        ([say("a"), silence()], Timeouts(idle=0.2), "idle"),
        ([say("a"), silence()], Timeouts(total=0.3), "total"),
        ([tool("f", "{}", "call_1"), silence()], Timeouts(idle=0.2), "idle"),
    ],
)
def test_limits(
    steps: list[Steps],
    limits: Timeouts,
    phase: str,
    service: Sandbox,
    client: WebsopyClient,
    ends: Endings,
) -> None:
    """PROMISE 6: the first chunk, each pause and the whole answer have their limits."""
    play(service, *steps)
    with pytest.raises(APITimeoutError) as caught:
        client.ai.chat("x", timeout=limits)
    assert caught.value.phase == phase and ends.ends[-1] == "APITimeoutError"


def test_held_back_pieces_are_progress(service: Sandbox, client: WebsopyClient) -> None:
    """PROMISE 6: a long tool call that comes in pieces is no silence."""
    play(
        service,
        *(step for _ in range(4) for step in (think("hm"), pause(0.15))),
        tool("f", "{}", "call_1"),
        done(finish_reason="tool_calls"),
    )
    assert client.ai.chat("x", timeout=Timeouts(idle=0.4)).tool_calls


def test_cancel(service: Sandbox, client: WebsopyClient, ends: Endings) -> None:
    """PROMISE 7: another thread can cancel in the middle of the answer."""
    play(service, say("a"), silence())
    token = CancelToken()
    with client.ai.chat_stream("x", cancel_token=token) as stream:
        assert next(stream).type == "content"
        threading.Timer(0.05, token.cancel).start()
        with pytest.raises(StreamCancelledError):
            next(stream)
    assert ends.ends == ["StreamCancelledError cancelled"] and service.wait_disconnect()


def test_leaving_the_loop(service: Sandbox, client: WebsopyClient, ends: Endings) -> None:
    """PROMISE 25: leaving the loop ends the answer at the service."""
    play(service, say("a"), silence())
    for _ in client.ai.chat_stream("x"):
        break
    assert service.wait_disconnect(timeout=1) and ends.ends == LEFT


def test_connections_are_kept(service: Sandbox, client: WebsopyClient) -> None:
    """PROMISE 28: answers that follow each other share one connection."""
    for _ in range(3):
        play(service, say("a"), done(1, 1, finish_reason="stop"))
        client.ai.chat("x")
    assert service.connections == 1


def test_an_answer_that_is_too_large(service: Sandbox, client: WebsopyClient) -> None:
    """PROMISE 16: `max_answer_size` counts text, reasoning and tool calls together."""
    play(service, say("a" * 60), think("b" * 60), done(finish_reason="stop"))
    with pytest.raises(StreamProtocolError, match="max_answer_size"):
        client.ai.chat("x", max_answer_size=100)
