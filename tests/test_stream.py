"""What the user holds: chunks, messages and texts, errors, properties."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from streams import read_until_error

from websopy_sync import (
    APIStatusError,
    APITimeoutError,
    CancelToken,
    ChatStream,
    ContentChunk,
    DoneChunk,
    ErrorChunk,
    Message,
    StreamInterruptedError,
    StreamProtocolError,
    StreamServerError,
    Timeouts,
    ToolCall,
    ToolCallChunk,
    UnknownChunk,
    Usage,
    WebsopyClient,
)
from websopy_sync.sandbox import (
    Sandbox,
    Steps,
    before_headers,
    chunk,
    comment,
    cut,
    done,
    error,
    event,
    headers,
    pause,
    ping,
    raw,
    reset,
    retry,
    say,
    silence,
    status,
    tool,
    wait,
)

GUIDE_QUESTION = "写一篇关于 AI 的文章"
GUIDE_CHUNKS = [
    ContentChunk("AI"),
    ContentChunk(" 正在"),
    ContentChunk("改变"),
    ContentChunk("世界..."),
    DoneChunk(Usage(20, 150)),
]
SOON = 5.0
"""Seconds in which what happens at once has happened on a busy machine, too."""


Ask = Callable[..., ChatStream]


# --- chunks --------------------------------------------------------------------------------------


def test_the_guides_example(client: WebsopyClient) -> None:
    """The five-line loop gives the guide's own chunks, and ends."""
    assert list(client.ai.chat_stream(GUIDE_QUESTION)) == GUIDE_CHUNKS


def test_every_kind_of_chunk(ask: Ask) -> None:
    """In the order they came; an unknown type is handed over, not an error."""
    stream = ask(
        say("a"),
        tool("f", {"x": 1}, "t1"),
        chunk("thinking", {"content": "hm"}),
        chunk("ping"),
        say(""),
        done(),
    )
    assert list(stream) == [
        ContentChunk("a"),
        ToolCallChunk(ToolCall("f", '{"x":1}', "t1")),
        UnknownChunk("thinking", {"type": "thinking", "content": "hm"}),
        UnknownChunk("ping", {"type": "ping"}),
        ContentChunk(""),
        DoneChunk(),
    ]
    assert stream.current_message == Message("a", (ToolCall("f", '{"x":1}', "t1"),))


def test_pings_and_comments_are_no_chunks(ask: Ask) -> None:
    """Events named ping are skipped, whatever is in them."""
    script = [comment("c"), ping(), event("no json", event="ping"), say("a"), comment(), done()]
    assert list(ask(*script)) == [ContentChunk("a"), DoneChunk()]


def test_a_chunk_is_handed_over_while_the_next_is_held_back(ask: Ask) -> None:
    """PROMISE 9, shown without a clock: the server goes on at the client's word."""
    word = threading.Event()
    stream = ask(say("a"), wait(word), say("b"), done())
    assert next(stream) == ContentChunk("a")
    word.set()
    assert list(stream) == [ContentChunk("b"), DoneChunk()]


def test_characters_cut_in_two_are_joined(ask: Ask) -> None:
    """PROMISE 14: halves of a surrogate pair in two chunks, as JavaScript cuts them."""
    half, rest = (f'{{"type":"content","content":"\\u{code}"}}' for code in ("d83d", "de00"))
    stream = ask(event(half), event(rest), event(half), done())
    assert list(stream) == [ContentChunk("😀"), ContentChunk("\ufffd"), DoneChunk()]
    assert stream.get_final_text() == "😀\ufffd"


def test_long_answers_arrive_whole(ask: Ask) -> None:
    """Many chunks, some large."""
    texts = [str(number) * (1 + number % 7 * 3000) for number in range(200)]
    stream = ask(*map(say, texts), done())
    assert [each.content for each in stream if each.type == "content"] == texts


# --- the end: done -------------------------------------------------------------------------------


@pytest.mark.timing
def test_done_ends_without_waiting_for_the_body(ask: Ask) -> None:
    """PROMISE 10: the server keeps the body open; nobody waits for it."""
    stream = ask(say("a"), done(1, 2), silence())
    start = time.monotonic()
    assert len(list(stream)) == 2
    assert time.monotonic() - start < SOON
    assert stream.state == "done"


def test_nothing_after_done_is_read(ask: Ask) -> None:
    """Not even what came in the same packet."""
    stream = ask(raw(b"".join(b'data: {"type":"%b"}\n\n' % kind for kind in (b"done", b"x"))))
    assert list(stream) == [DoneChunk()]


def test_done_is_settled_when_its_chunk_is_handed_over(ask: Ask) -> None:
    """A loop that is left at the done chunk has a whole answer."""
    stream = ask(say("a"), done(1, 2))
    for each in stream:
        if each.type == "done":
            assert stream.state == "done"
            break
    assert stream.state == "done"
    assert stream.get_final_message() == Message("a", (), Usage(1, 2))


def test_done_stays_done(ask: Ask) -> None:
    """Nothing that comes later changes the end."""
    token = CancelToken()
    stream = ask(say("a"), done(), cancel_token=token)
    with stream:
        list(stream)
    stream.cancel()
    token.cancel()
    stream.close()
    assert stream.state == "done"
    assert stream.get_final_text() == "a"


def test_finished_answers_share_a_connection(ask: Ask, sandbox: Sandbox) -> None:
    """PROMISE 28."""
    for _ in range(4):
        list(ask(say("a"), done()))
    assert sandbox.connections == 1


# --- lenses --------------------------------------------------------------------------------------


def test_text_stream_is_text_only(ask: Ask) -> None:
    """Pieces as they came; what is no text is passed over."""
    stream = ask(say("a"), tool("f", {}), say("b"), done())
    assert list(stream.text_stream) == ["a", "b"]
    assert stream.state == "done"


def test_text_stream_raises_as_the_loop_does(ask: Ask) -> None:
    """An error behind text is an error here too."""
    texts = []
    with pytest.raises(StreamServerError):  # the loop is the test
        for text in ask(say("a"), error("no")).text_stream:
            texts.append(text)
    assert texts == ["a"]


def test_leaving_the_text_stream_leaves_the_stream(ask: Ask, sandbox: Sandbox) -> None:
    """The same as leaving the loop: at once."""
    stream = ask(say("a"), silence())
    for _ in stream.text_stream:
        break
    assert stream.state == "closed"
    assert sandbox.wait_disconnect()


def test_looking_at_text_stream_reads_nothing(ask: Ask) -> None:
    """A debugger that shows all properties does not use the stream up."""
    stream = ask(say("a"), done())
    stream.text_stream  # noqa: B018  # that is the test
    assert list(stream) == [ContentChunk("a"), DoneChunk()]


@pytest.mark.parametrize("read", [0, 1, 3])
def test_final_message_reads_what_is_left(ask: Ask, read: int) -> None:
    """From wherever the reading is."""
    stream = ask(say("a"), say("b"), done(1, 2))
    for _ in range(read):
        next(stream)
    assert stream.get_final_message() == Message("ab", (), Usage(1, 2))
    assert stream.get_final_text() == "ab"


def test_final_message_after_the_loop(client: WebsopyClient) -> None:
    """Loop first, message then."""
    stream = client.ai.chat_stream(GUIDE_QUESTION)
    assert list(stream) == GUIDE_CHUNKS
    assert stream.get_final_message() == Message("AI 正在改变世界...", (), Usage(20, 150))


def test_until_done_gives_the_stream_back(ask: Ask) -> None:
    """So that it can be chained; again is fine."""
    stream = ask(say("a"), done())
    assert stream.until_done() is stream
    assert stream.until_done().state == "done"


def test_current_message_grows(ask: Ask) -> None:
    """It holds each chunk once the loop has it, and a copy taken stays as it was."""
    stream = ask(say("a"), tool("f", {}), say("b"), done(1, 2))
    assert stream.current_message == Message()
    seen = [stream.current_message for _ in stream]
    call = ToolCall("f", "{}")
    assert seen == [
        Message("a"),
        Message("a", (call,)),
        Message("ab", (call,)),
        Message("ab", (call,), Usage(1, 2)),
    ]


def test_without_keeping_only_usage_stays(ask: Ask) -> None:
    """keep_message=False: chunks come, nothing is kept."""
    stream = ask(say("a"), tool("f", {}), done(1, 2), keep_message=False)
    assert len(list(stream)) == 3
    assert stream.current_message == Message("", (), Usage(1, 2))


# --- the end: error ------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["object", "string", "message", "content"])
def test_an_error_chunk_is_handed_over_and_then_raised(ask: Ask, shape: Any) -> None:
    """Who looks at it can; who does not cannot miss it."""
    stream = ask(say("a"), error("too busy", "503", shape=shape), say("never"))
    chunks, failure = read_until_error(stream)
    code = "503" if shape == "object" else None
    assert chunks == [ContentChunk("a"), ErrorChunk("too busy", code)]
    assert type(failure) is StreamServerError
    assert (failure.message, failure.code) == ("too busy", code)
    assert failure.partial == Message("a")
    assert (failure.request_id, failure.attempts) == ("sandbox-1", 1)
    assert stream.state == "error"


def test_leaving_at_the_error_chunk_is_an_error_still(ask: Ask) -> None:
    """Break or not, the answer has failed."""
    stream = ask(say("a"), error("no"))
    for each in stream:
        if each.type == "error":
            break
    assert stream.state == "error"
    with pytest.raises(StreamServerError):
        stream.get_final_message()


@pytest.mark.parametrize("end", [[], [cut()], [reset()]], ids=["clean", "cut", "reset"])
@pytest.mark.parametrize("framing", ["chunked", "content-length", "close"])
def test_an_end_without_done_is_an_error(ask: Ask, framing: Any, end: list[Any]) -> None:
    """PROMISE 11: truncation never looks like an answer."""
    stream = ask(headers(framing=framing), say("a"), say("b"), *end, resume=False)
    chunks, failure = read_until_error(stream)
    assert chunks == [ContentChunk("a"), ContentChunk("b")]
    assert type(failure) is StreamInterruptedError
    assert failure.partial == Message("ab")
    assert failure.last_event_id == stream.last_event_id == "2"
    assert stream.state == "error"


def test_the_event_that_was_not_whole_is_not_given(ask: Ask) -> None:
    """The standard drops it; so is half a chunk no chunk."""
    stream = ask(say("a"), raw(b'data: {"type":"content","content":"half"}\n'), resume=False)
    chunks, _ = read_until_error(stream)
    assert chunks == [ContentChunk("a")]


@pytest.mark.parametrize(
    "bad",
    [
        event("no json"),
        event("[DONE]"),
        event("[]"),
        event(""),
        event('{"type":"content"}'),
        event('{"type":"content","content":7}'),
        event('{"type":"done","usage":7}'),
        event('{"type":"content","content":' + "9" * 5000 + "}"),
        event('{"type":"x","n":' + "[" * 50_000 + "}"),
    ],
    ids=range(9),
)
def test_what_is_no_chunk_is_a_protocol_error(ask: Ask, bad: Any) -> None:
    """PROMISE 13: typed, with the partial message; not resumed, as it would come again."""
    stream = ask(say("a"), bad, say("b"), done())
    chunks, failure = read_until_error(stream)
    assert chunks == [ContentChunk("a")]
    assert type(failure) is StreamProtocolError
    assert failure.partial == Message("a")
    assert failure.__cause__ is None
    assert stream.state == "error" and stream.retries_taken == 0


def test_an_event_above_the_limit_is_a_protocol_error(sandbox: Sandbox) -> None:
    """PROMISE 16: those before it are given."""
    sandbox.play([say("a"), say("x" * 5000), done()])
    with WebsopyClient("k", base_url=sandbox.url, plugins=[], max_event_size=1000) as client:
        stream = client.ai.chat_stream("x")
        chunks, failure = read_until_error(stream)
    assert chunks == [ContentChunk("a")]
    assert type(failure) is StreamProtocolError and "1000" in failure.message


def test_the_error_stays(ask: Ask) -> None:
    """Whoever asks for the whole answer later gets the same error."""
    stream = ask(say("a"), error("no"))
    _, failure = read_until_error(stream)
    for call in (stream.get_final_message, stream.get_final_text, stream.until_done):
        with pytest.raises(StreamServerError) as caught:
            call()
        assert caught.value == failure


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        ([headers({"Content-Type": "application/json"}), raw(b'{"a": 1}')], "json", '{"a": 1}'),
        ([headers({"Content-Type": "text/html"}), raw(b"<p>hi")], "html", "<p>hi"),
        ([headers({"Content-Type": "text/event-streams"}), done()], "streams", ""),
        (status(204), "204", ""),
        (status(206, "x"), "206", ""),
    ],
    ids=["json", "html", "almost", "204", "206"],
)
def test_what_is_no_stream_is_a_protocol_error(
    ask: Ask, answer: Steps, kind: str, says: str
) -> None:
    """PROMISE 12: at the call, with a snippet."""
    with pytest.raises(StreamProtocolError, match=kind) as caught:
        ask(*answer)
    assert says in caught.value.message


@pytest.mark.parametrize(
    "content_type",
    ["text/event-stream", "text/event-stream;", "Text/Event-Stream; Charset=latin-1"],
)
def test_content_types_of_streams(ask: Ask, content_type: str) -> None:
    """Whatever the charset says, it is UTF-8."""
    stream = ask(headers({"Content-Type": content_type}), say("世界"), done())
    assert stream.get_final_text() == "世界"


def test_redirects_are_not_followed(ask: Ask, sandbox: Sandbox) -> None:
    """PROMISE 20: the question stays where it was sent."""
    with pytest.raises(APIStatusError) as caught:
        ask(*status(307, "", headers={"Location": sandbox.url + "/ai/chat"}))
    assert caught.value.status_code == 307
    assert len(sandbox.requests) == 1


# --- time ----------------------------------------------------------------------------------------


def test_first_chunk_limit_before_the_headers(ask: Ask, sandbox: Sandbox) -> None:
    """Not repeated: the server may be at work on it."""
    with pytest.raises(APITimeoutError) as caught:
        ask(before_headers(silence()), timeout=Timeouts(first_chunk=0.1))
    assert (caught.value.phase, caught.value.sent) == ("first_chunk", True)
    assert sandbox.wait_disconnect() and len(sandbox.requests) == 1


@pytest.mark.parametrize("noise", [ping, comment, lambda: chunk("ping")], ids=range(3))
def test_noise_does_not_move_the_limits(ask: Ask, noise: Callable[[], Any]) -> None:
    """PROMISE 6: pings and comments reset neither first_chunk nor idle."""
    trickle = [step for _ in range(60) for step in (noise(), pause(0.02))]
    stream = ask(*trickle, timeout=Timeouts(first_chunk=0.15))
    _, failure = read_until_error(stream)
    assert isinstance(failure, APITimeoutError) and failure.phase == "first_chunk"
    stream = ask(say("a"), *trickle, timeout=Timeouts(idle=0.15))
    _, failure = read_until_error(stream)
    assert isinstance(failure, APITimeoutError) and failure.phase == "idle"
    assert failure.partial == Message("a")


def test_chunks_move_the_idle_limit(ask: Ask) -> None:
    """A slow answer that goes on is no idle one."""
    slow = [step for _ in range(8) for step in (say("a"), pause(0.05))]
    stream = ask(*slow, done(), timeout=Timeouts(idle=0.2))
    assert stream.get_final_text() == "a" * 8


def test_text_that_is_held_back_moves_the_idle_limit(ask: Ask) -> None:
    """Half of a character is a sign of life, though there is no chunk to hand over yet."""
    half = event('{"type":"content","content":"\\ud83d"}')
    held = [
        step for _ in range(8) for step in (event('{"type":"content","content":""}'), pause(0.05))
    ]
    rest = event('{"type":"content","content":"\\ude00"}')
    stream = ask(say("a"), half, *held, rest, done(), timeout=Timeouts(idle=0.2))
    assert stream.get_final_text() == "a😀"


def test_bad_data_is_shown_without_secrets_and_in_short(ask: Ask) -> None:
    """A word as short as a password is removed too, and before the message is truncated."""
    data = "no json: hunter " + "x" * 100_000
    with pytest.raises(StreamProtocolError) as caught:
        list(ask(say("a"), event(data), extra_body={"prompt": "hunter"}))
    message = str(caught.value)
    assert "no json: *** xxx" in message and len(message) < 310
    assert caught.value.partial == Message("a")


@pytest.mark.timing
def test_the_total_limit_ends_any_trickle(ask: Ask) -> None:
    """However alive it is."""
    trickle = [step for _ in range(100) for step in (say("a"), pause(0.02))]
    start = time.monotonic()
    _, failure = read_until_error(ask(*trickle, timeout=0.2))
    assert isinstance(failure, APITimeoutError) and failure.phase == "total"
    assert 0.15 < time.monotonic() - start < SOON


def test_the_readers_own_time_is_not_the_servers(ask: Ask) -> None:
    """A loop that works 0.25 s on a chunk does not run into idle=0.1 when the next is here."""
    stream = ask(say("a"), say("b"), done(), timeout=Timeouts(idle=0.1))
    next(stream)
    time.sleep(0.25)
    assert next(stream) == ContentChunk("b")
    time.sleep(0.25)
    assert next(stream) == DoneChunk()


# --- repeating and resuming ----------------------------------------------------------------------


def test_repeated_questions_are_counted(ask: Ask, sandbox: Sandbox) -> None:
    """Behind the headers of a good answer it is known how often it was tried."""
    for _ in range(2):
        sandbox.play(status(503, retry_after=0))
    stream = ask(say("a"), done())
    assert stream.get_final_text() == "a"
    assert stream.retries_taken == 2
    assert stream.request_id == "sandbox-3"


@pytest.mark.parametrize("end", [cut(), reset()], ids=["cut", "reset"])
@pytest.mark.parametrize("framing", ["chunked", "content-length", "close", "gzip", "trickle"])
def test_a_lost_answer_is_resumed_by_its_id(
    ask: Ask, sandbox: Sandbox, end: Any, framing: Any
) -> None:
    """Each chunk once, none twice, none lost; the same key and question."""
    stream = ask(retry(1), headers(framing=framing), say("a"), say("b"), end, say("c"), done(1, 2))
    assert list(stream) == [*map(ContentChunk, "abc"), DoneChunk(Usage(1, 2))]
    assert (stream.state, stream.retries_taken) == ("done", 1)
    first, second = sandbox.requests
    assert (first.last_event_id, second.last_event_id) == ("", "2")
    assert first.idempotency_key == second.idempotency_key == stream.idempotency_key
    assert first.body == second.body


def test_events_already_handed_over_are_dropped(ask: Ask, sandbox: Sandbox) -> None:
    """A server that begins again from the start, with the same ids."""
    stream = ask(retry(1), say("a"), say("b"), cut())
    sandbox.play([say("a"), say("b"), say("c"), done()])
    assert stream.get_final_text() == "abc"


def test_204_ends_for_good(ask: Ask, sandbox: Sandbox) -> None:
    """PROMISE 5: the server has nothing more."""
    stream = ask(retry(1), say("a"), cut())
    sandbox.play(status(204))
    _, failure = read_until_error(stream)
    assert isinstance(failure, StreamInterruptedError)
    assert len(sandbox.requests) == 2


def test_reconnections_without_progress_end(ask: Ask, sandbox: Sandbox) -> None:
    """Three, then it is given up."""
    stream = ask(retry(1), say("a"), cut())
    for _ in range(10):
        sandbox.play([cut()])
    _, failure = read_until_error(stream)
    assert isinstance(failure, StreamInterruptedError)
    assert len(sandbox.requests) == 4


# --- what there is to know -----------------------------------------------------------------------


def test_what_is_known_of_the_exchange(ask: Ask) -> None:
    """At once when the call returns."""
    stream = ask(headers({"X-Extra": "1"}), say("a"), say("b"), done())
    assert stream.status_code == 200
    assert stream.request_id == "sandbox-1"
    assert stream.headers["x-extra"] == "1"
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert all(name == name.lower() for name in stream.headers)
    assert stream.retries_taken == 0
    assert str(uuid.UUID(stream.idempotency_key)) == stream.idempotency_key
    assert stream.state == "open"
    assert stream.last_event_id == ""
    assert repr(stream) == "<ChatStream open>"


def test_headers_are_a_copy(ask: Ask) -> None:
    """Changing them changes nothing."""
    stream = ask(done())
    stream.headers["x"] = "y"  # type: ignore[index]  # a Mapping to the type checker
    assert "x" not in stream.headers


def test_request_id_may_be_missing(ask: Ask) -> None:
    """None, then."""
    stream = ask(headers({"X-Request-Id": ""}), done())
    assert not stream.request_id


def test_last_event_id_is_of_what_was_handed_over(ask: Ask) -> None:
    """Who stores it to go on later has everything up to it, though more has arrived."""
    stream = ask(raw(b"".join(
        b'id: %d\ndata: {"type":"content","content":"%d"}\n\n' % (number, number)
        for number in (1, 2, 3)
    )), done(id="4"))  # fmt: skip
    seen = [(each.type, stream.last_event_id) for each in stream]
    assert seen == [("content", "1"), ("content", "2"), ("content", "3"), ("done", "4")]


def test_states_in_their_order(ask: Ask) -> None:
    """open until the end, then for good one of the four."""
    stream = ask(say("a"), done())
    states = [stream.state, *(stream.state for _ in stream), stream.state]
    assert states == ["open", "open", "done", "done"]


def test_reading_in_another_thread(ask: Ask) -> None:
    """A stream may be made here and read there."""
    stream = ask(say("a"), pause(0.02), done())
    read: list[Any] = []
    thread = threading.Thread(target=lambda: read.extend(stream))
    thread.start()
    thread.join()
    assert read == [ContentChunk("a"), DoneChunk()]
