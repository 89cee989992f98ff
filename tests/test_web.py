"""The body of an answer on its way to a browser, without a server around it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from websopy_sync import errors
from websopy_sync.chunks import ContentChunk, DoneChunk, ErrorChunk, StreamChunk, Usage
from websopy_sync.client import WebsopyClient
from websopy_sync.errors import ConfigError, StreamError
from websopy_sync.hooks import hookimpl
from websopy_sync.sandbox import (
    Sandbox,
    Steps,
    chunk,
    cut,
    done,
    error,
    event,
    no_ids,
    say,
    silence,
    tool,
    wait,
)
from websopy_sync.sse import Decoder, ServerSentEvent
from websopy_sync.stream import ChatStream
from websopy_sync.web import (
    SSE_HEADERS,
    EventStreamBody,
    OnDisconnect,
    django_response,
    flask_response,
    public_error,
    sse_body,
)
from websopy_sync.wires.websopy import parse_chunk

KEY = "sk-secret-key"
QUESTION = "the question nobody else may see"

MANY = "x" * 1000
"""A content of which a few do not fill a small buffer."""


class Ends:
    """A plugin that writes down how answers end."""

    def __init__(self) -> None:
        self.ends: list[str] = []
        self.happened = threading.Event()

    @hookimpl
    def on_done(self, message: object, stream: ChatStream) -> None:
        self.ends.append(f"done: {stream.current_message.content}")
        self.happened.set()

    @hookimpl
    def on_error(self, error: Exception, stream: ChatStream) -> None:
        self.ends.append(type(error).__name__)
        self.happened.set()


@contextmanager
def asked(*script: Steps | object, plugin: object = None) -> Iterator[tuple[ChatStream, Sandbox]]:
    """A stream of the sandbox's answer by this script.

    It is not resumed: a chunk that was held back in vain must not come late all the same.
    """
    with (
        Sandbox(list(script)) as sandbox,  # type: ignore[arg-type]  # steps, nested or not
        WebsopyClient(
            api_key=KEY, base_url=sandbox.url, max_retries=0, plugins=[plugin] if plugin else []
        ) as client,
    ):
        yield client.ai.chat_stream(QUESTION, resume=False), sandbox


def events_of(pieces: Iterable[bytes]) -> list[ServerSentEvent]:
    """What a strict parser makes of the body."""
    decoder = Decoder()
    return [event for piece in pieces for event in decoder.feed(piece)]


def chunks_of(pieces: Iterable[bytes]) -> list[StreamChunk]:
    return [parse_chunk(event.data) for event in events_of(pieces)]


def until(condition: Callable[[], object], *, seconds: float = 5.0) -> bool:
    """Whether it came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


# --- what goes over the wire -----------------------------------------------------------------


def test_chunks_arrive_as_the_service_writes_them() -> None:
    """The browser reads what the service's own guide documents."""
    with asked(say("AI"), tool("search", '{"q":"猫"}'), done(20, 150)) as (stream, _):
        events = events_of(sse_body(stream))
    assert [event.event for event in events] == ["message"] * 3
    assert [json.loads(event.data) for event in events] == [
        {"type": "content", "content": "AI"},
        {"type": "tool_call", "tool": {"name": "search", "arguments": '{"q":"猫"}'}},
        {"type": "done", "usage": {"promptTokens": 20, "completionTokens": 150}},
    ]


def test_ids_count_from_one_whatever_the_service_called_its_events() -> None:
    """An id is ours, so that it can hold nothing; resuming in the browser can build on it."""
    with asked(say("a", id="evil"), no_ids(), say("b"), done()) as (stream, _):
        assert [event.id for event in events_of(sse_body(stream))] == ["1", "2", "3"]


def test_unknown_chunks_pass() -> None:
    """A later service's chunks reach a page that knows them."""
    with asked(chunk("thought", {"text": "hm", "depth": 3}), done()) as (stream, _):
        first = events_of(sse_body(stream))[0]
    assert json.loads(first.data) == {"type": "thought", "text": "hm", "depth": 3}


INJECTIONS = [
    "a\rb",
    "a\nb",
    "a\r\n\r\nb",
    "\n\ndata: forged\n\n",
    "\r\rid: 99\r\revent: error\rdata: {}\r\r",
    "data: x",
    "id: 7",
    "event: error",
    "retry: 1",
    ": comment",
    "\u2028data: forged\u2028\u2028",
    "\u2029",
    "\x85\x0b\x0c\x1c\x1d\x1e",
    "</script><script>alert(1)</script>",
    "<!-- <script>",
    "]]>&amp;&lt;",
    "\0",
    "a\0b",
    "\ufeffBOM",
    "\x1b]0;owned\x07",
    '"},{"type":"error"',
    "\\u003c\\n",
    "中文 🌱 👩‍👩‍👧",
    "\u202eright to left",
    "",
]


@pytest.mark.parametrize("text", INJECTIONS, ids=ascii)
def test_no_text_becomes_anything_but_itself(text: str) -> None:
    """Nothing the model writes can end a line, an event or a script."""
    with asked(say(text), done()) as (stream, _):
        data = b"".join(sse_body(stream))
    assert chunks_of([data]) == [ContentChunk(text), DoneChunk()]
    assert [event.id for event in events_of([data])] == ["1", "2"]
    assert not set("<>&\u2028\u2029\0\r") & set(data.decode())
    assert data.decode().count("\n") == 3 * 2  # id, data, blank: one line each


@pytest.mark.parametrize("text", INJECTIONS, ids=ascii)
def test_no_unknown_field_becomes_anything_but_itself(text: str) -> None:
    """The same for chunks that are passed on unread, their names included."""
    with asked(chunk("later", {"note": text, text: 1}), done()) as (stream, _):
        data = b"".join(sse_body(stream))
    assert json.loads(events_of([data])[0].data) == {"type": "later", "note": text, text: 1}
    assert not set("<>&\u2028\u2029\0\r") & set(data.decode())


def test_half_a_surrogate_pair_does_not_break_the_answer() -> None:
    """JSON can name what UTF-8 cannot hold, and a chunk that is passed on unread may do so."""
    with asked(event('{"type": "later", "\\ud83d": "\\ud83d"}'), done()) as (stream, _):
        first = events_of(sse_body(stream))[0]
    (half,) = json.loads(first.data).keys() - {"type"}
    assert half in ("\ud83d", "\ufffd")
    assert json.loads(first.data)[half] in ("\ud83d", "\ufffd")


def test_headers() -> None:
    """No cache, no proxy and no browser holds an answer back or takes it for something else."""
    assert dict(SSE_HEADERS) == {
        "Content-Type": "text/event-stream; charset=utf-8",
        "Cache-Control": "no-store, no-transform",
        "X-Accel-Buffering": "no",
        "X-Content-Type-Options": "nosniff",
    }


# --- when ------------------------------------------------------------------------------------


def test_a_piece_is_there_while_the_next_is_held_back() -> None:
    """Nothing waits for more."""
    more = threading.Event()
    with asked(say("AI"), wait(more), say("!"), done()) as (stream, _), sse_body(stream) as body:
        assert chunks_of([next(body)]) == [ContentChunk("AI")]
        more.set()
        assert chunks_of(body) == [ContentChunk("!"), DoneChunk()]


@pytest.mark.timing
def test_signs_of_life_while_the_model_is_silent() -> None:
    """Comments, which are no events, go out more often than a heartbeat asks."""
    more = threading.Event()
    with asked(wait(more), done()) as (stream, _), sse_body(stream, heartbeat=0.3) as body:
        began = time.monotonic()
        signs = [next(body) for _ in range(3)]
        took = time.monotonic() - began
        more.set()
        assert signs == [b": keep-alive\n\n"] * 3
        assert 0.25 < took < 1.0
        assert chunks_of(body) == [DoneChunk()]


def test_what_waits_goes_out_at_once() -> None:
    """A server that was busy writes everything that came meanwhile in one go."""
    more = threading.Event()
    with asked(say("a"), wait(more), [say("x")] * 50, done()) as (stream, _):
        with sse_body(stream) as body:
            next(body)
            more.set()
            assert until(lambda: stream.state == "done")
            assert len(chunks_of([next(body)])) == 51
            assert list(body) == []


def test_a_slow_browser_holds_the_answer_back() -> None:
    """At most the buffer and one event wait in memory; the rest is not read yet."""
    with asked([say(MANY)] * 2000, done()) as (stream, _):
        with sse_body(stream, buffer=4000) as body:
            pieces = [next(body)]
            assert until(lambda: len(stream.current_message.content) >= 4000)
            time.sleep(0.1)  # it would read on now
            assert len(stream.current_message.content) < 12_000
            pieces += body
        assert sum(len(c.content) for c in chunks_of(pieces) if c.type == "content") == 2_000_000


# --- how it fails ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ([say("a"), cut()], "interrupted"),
        (
            [say("a"), error(f"no capacity for {KEY} at http://10.0.0.7/", "overloaded")],
            "service_error",
        ),
        ([say("a"), event("no JSON: <b>")], "unreadable"),
    ],
    ids=["cut", "error chunk", "garbage"],
)
def test_a_late_failure_is_the_last_event(
    script: Steps, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    """After what had arrived; in a fixed text, with nothing of the service's own words."""
    with asked(script) as (stream, sandbox):
        data = b"".join(sse_body(stream))
        address = sandbox.url
    first, last = events_of([data])
    assert parse_chunk(first.data) == ContentChunk("a")
    assert (last.event, last.id) == ("error", "1")  # no id of its own: the last one stands
    told = parse_chunk(last.data)
    assert isinstance(told, ErrorChunk) and told.code == code
    for secret in (KEY, QUESTION, address, "10.0.0.7", "capacity", "Traceback", "<b>"):
        assert secret not in data.decode()
        assert secret not in caplog.text


def test_a_failure_is_logged_for_the_operator(caplog: pytest.LogCaptureFixture) -> None:
    """The visitor is told a code; who runs the server is told what was raised."""
    with asked(say("a"), cut()) as (stream, _):
        list(sse_body(stream))
    ours = [record for record in caplog.records if record.name == "websopy_sync.web"]
    assert [record.levelno for record in ours] == [logging.WARNING]
    assert "StreamInterruptedError" in ours[0].getMessage()


def test_a_cancel_from_elsewhere_is_told() -> None:
    """A stop that did not come from this browser is no silent end."""
    with asked(say("a"), silence()) as (stream, _), sse_body(stream) as body:
        pieces = [next(body)]
        stream.cancel()
        pieces += body
    assert [c.code for c in chunks_of(pieces) if c.type == "error"] == ["cancelled"]


class Quits:
    """A plugin that asks for what only the main thread can do."""

    @hookimpl
    def on_chunk(self, chunk: StreamChunk, stream: ChatStream) -> None:
        raise SystemExit


def test_a_plugin_that_quits_ends_the_answer_and_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The browser does not wait for what nobody reads any more; the log has the traceback."""
    with asked(say("a"), done(), plugin=Quits()) as (stream, _):
        (told,) = chunks_of(sse_body(stream))
    assert isinstance(told, ErrorChunk) and told.code == "internal"
    assert "raise SystemExit" in caplog.text


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (errors.StreamCancelledError("x"), "cancelled"),
        (errors.APITimeoutError("x", phase="idle"), "timeout"),
        (errors.APIConnectionError("x"), "unreachable"),
        (errors.RateLimitError("x", status_code=429), "rate_limited"),
        (errors.InternalServerError("x", status_code=503), "service_error"),
        (errors.AuthenticationError("x", status_code=401), "refused"),
        (errors.BadRequestError("x", status_code=400), "refused"),
        (errors.StreamInterruptedError("x"), "interrupted"),
        (errors.StreamServerError("x", code="x"), "service_error"),
        (errors.StreamProtocolError("x"), "unreadable"),
        (errors.PluginError("x", plugin="x"), "internal"),
        (errors.ConfigError("x"), "internal"),
        (ZeroDivisionError("x"), "internal"),
        (KeyboardInterrupt("x"), "internal"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else value,
)
def test_each_kind_of_failure_has_its_fixed_text(raised: BaseException, code: str) -> None:
    """It depends on the kind alone."""
    told = public_error(raised)
    assert told.code == code
    assert told.message.endswith(".") and "x" not in told.message.split()
    assert public_error(pickle.loads(pickle.dumps(raised))) == told


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"heartbeat": 0}, "heartbeat"),
        ({"heartbeat": -1.0}, "heartbeat"),
        ({"heartbeat": float("nan")}, "heartbeat"),
        ({"heartbeat": float("inf")}, "heartbeat"),
        ({"heartbeat": 1e20}, "heartbeat"),  # more than a clock can hold
        ({"heartbeat": None}, "heartbeat"),
        ({"on_disconnect": "stop"}, "on_disconnect"),
        ({"buffer": 0}, "buffer"),
        ({"buffer": "64k"}, "buffer"),
    ],
    ids=str,
)
def test_an_option_that_means_nothing_is_refused(options: dict[str, object], named: str) -> None:
    """It is named, and the stream is still its maker's."""
    with asked(say("a"), done()) as (stream, _):
        with pytest.raises(ConfigError, match=named):
            sse_body(stream, **options)  # type: ignore[arg-type]  # on purpose
        assert stream.get_final_text() == "a"


# --- how it is left --------------------------------------------------------------------------


def closed(body: EventStreamBody) -> None:
    next(body)
    body.close()


def closed_twice(body: EventStreamBody) -> None:
    closed(body)
    body.close()
    assert list(body) == []


def closed_unread(body: EventStreamBody) -> None:
    body.close()
    assert list(body) == []


def left_by_with(body: EventStreamBody) -> None:
    with body:
        next(body)


def test_nothing_comes_out_of_a_body_that_was_closed() -> None:
    """What still waited goes with it."""
    more = threading.Event()
    with asked(say("a"), wait(more), done()) as (stream, _):
        body = sse_body(stream)
        next(body)
        more.set()
        assert until(lambda: stream.state == "done")
        body.close()
        assert list(body) == []


@pytest.mark.parametrize("leave", [closed, closed_twice, closed_unread, left_by_with])
def test_leaving_ends_the_answer_at_the_service(leave: Callable[[EventStreamBody], None]) -> None:
    """While the model is silent too; and the plugins are told, once."""
    ends = Ends()
    with asked(say("a"), silence(), plugin=ends) as (stream, sandbox):
        leave(sse_body(stream))
        assert sandbox.wait_disconnect(timeout=1.0)
        assert ends.happened.wait(1.0)
    assert ends.ends == ["StreamCancelledError"]


@pytest.mark.parametrize("started", [True, False], ids=["read", "unread"])
def test_garbage_ends_the_answer_at_the_service(started: bool) -> None:
    """A framework that drops a body without closing it leaves nothing behind."""
    with asked(say("a"), silence()) as (stream, sandbox):
        body = sse_body(stream)
        if started:
            next(body)
        del body
        gc.collect()
        assert sandbox.wait_disconnect(timeout=1.0)


def test_no_thread_is_left_when_close_returns() -> None:
    """Not soon after: when."""
    before = set(threading.enumerate())
    with asked(say("a"), silence()) as (stream, _):
        body = sse_body(stream)
        next(body)
        readers = [t for t in threading.enumerate() if t.name == "websopy-sse-body"]
        assert len(readers) == 1 and not set(readers) & before
        body.close()
        assert not readers[0].is_alive()


def test_close_wakes_who_waits_for_the_next_piece() -> None:
    """A server that closes from another thread does not wait for a heartbeat."""
    with asked(say("a"), silence()) as (stream, _), sse_body(stream, heartbeat=60) as body:
        next(body)
        rest: list[bytes] = []
        waiting = threading.Thread(target=lambda: rest.extend(body))
        waiting.start()
        body.close()
        waiting.join(1.0)
        assert not waiting.is_alive()
        assert rest == []


@pytest.mark.parametrize("started", [True, False], ids=["read", "unread"])
def test_finish_reads_on_for_the_plugins(started: bool) -> None:
    """Persistence gets the whole answer although the browser has gone."""
    ends, more = Ends(), threading.Event()
    script = [say("a"), wait(more), [say("b")] * 500, done()]
    with asked(script, plugin=ends) as (stream, _):
        body = sse_body(stream, on_disconnect="finish", buffer=100)
        if started:
            next(body)
        body.close()
        more.set()
        assert ends.happened.wait(5.0)
    assert ends.ends == ["done: a" + "b" * 500]


def test_finish_still_ends_what_nobody_can_read() -> None:
    """An upstream failure after the browser has gone is the plugins' to hear of."""
    ends = Ends()
    with asked(say("a"), cut(), plugin=ends) as (stream, _):
        sse_body(stream, on_disconnect="finish").close()
        assert ends.happened.wait(5.0)
    assert ends.ends == ["StreamInterruptedError"]


def test_a_hundred_bodies_left_at_once_leave_nothing() -> None:
    """Threads and sockets are checked after each test; here there were many."""
    with (
        Sandbox([say("a"), silence()]) as sandbox,
        WebsopyClient(api_key=KEY, base_url=sandbox.url, plugins=[]) as client,
    ):
        bodies = [sse_body(client.ai.chat_stream(QUESTION)) for _ in range(100)]
        for body in bodies:
            next(body)
        for body in bodies:
            body.close()
        assert sandbox.wait_closed()


# --- an event loop ---------------------------------------------------------------------------


def test_async_iteration_gives_a_piece_while_the_next_is_held_back() -> None:
    """What an ASGI framework looks for is there: `__aiter__`, live, and at its end no thread."""
    more = threading.Event()

    async def consume(body: EventStreamBody) -> tuple[bytes, list[bytes]]:
        assert isinstance(body, AsyncIterable)  # Starlette takes it for one by this
        pieces = aiter(body)
        first = await anext(pieces)
        more.set()
        return first, [piece async for piece in pieces]

    with asked(say("AI"), wait(more), done()) as (stream, _):
        first, rest = asyncio.run(consume(sse_body(stream)))
    assert chunks_of([first]) == [ContentChunk("AI")]
    assert chunks_of(rest) == [DoneChunk()]


def test_async_signs_of_life_while_the_model_is_silent() -> None:
    """As many as without an event loop."""

    async def consume(body: EventStreamBody) -> list[bytes]:
        async with contextlib.aclosing(body):
            return [await anext(body) for _ in range(3)]

    with asked(silence()) as (stream, _):
        assert asyncio.run(consume(sse_body(stream, heartbeat=0.3))) == [b": keep-alive\n\n"] * 3


async def cancelled_in_a_step(body: EventStreamBody) -> None:
    task = asyncio.create_task(anext(body))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def closed_in_a_step(body: EventStreamBody) -> None:
    step = body.__anext__()
    step.send(None)
    step.close()  # GeneratorExit, as an event loop that ends does


async def timed_out(body: EventStreamBody) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(body), 0.01)


async def left_by_aclosing(body: EventStreamBody) -> None:
    async with contextlib.aclosing(body):
        pass


async def loop_ended_in_a_step(body: EventStreamBody) -> None:
    task = asyncio.create_task(anext(body))
    await asyncio.sleep(0.01)
    assert not task.done()  # asyncio.run cancels it


async def cancelled_while_it_writes(body: EventStreamBody) -> None:
    async def send_all() -> None:
        async for _ in body:
            writing.set()
            await asyncio.sleep(60)

    writing = asyncio.Event()
    task = asyncio.create_task(send_all())
    await writing.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def left_in_a_generator(body: EventStreamBody) -> None:
    async def passed_on() -> AsyncIterator[bytes]:
        async with contextlib.aclosing(body):
            async for piece in body:
                yield piece

    pieces = passed_on()
    await anext(pieces)
    await pieces.aclose()


@pytest.mark.parametrize("spoken", [True, False], ids=["after a piece", "before any"])
@pytest.mark.parametrize(
    "leave",
    [
        cancelled_in_a_step,
        closed_in_a_step,
        timed_out,
        left_by_aclosing,
        loop_ended_in_a_step,
        cancelled_while_it_writes,
        left_in_a_generator,
    ],
)
def test_leaving_async_iteration_ends_the_answer_at_the_service(
    leave: Callable[[EventStreamBody], Coroutine[None, None, None]], spoken: bool
) -> None:
    """However it is left, without waiting for a heartbeat or for garbage collection."""

    async def consume() -> None:
        needs_a_piece = leave in (cancelled_while_it_writes, left_in_a_generator)
        body = sse_body(stream, heartbeat=0.5 if needs_a_piece else 60)
        if spoken:
            await anext(body)
        await leave(body)
        kept.append(body)

    kept: list[EventStreamBody] = []
    with asked([say("AI")] if spoken else [], silence()) as (stream, sandbox):
        asyncio.run(consume())
        assert sandbox.wait_disconnect(timeout=1.0)
        assert kept  # not garbage


def test_a_body_that_is_dropped_in_a_loop_ends_the_answer() -> None:
    """A framework that is cancelled while it writes holds the body no longer, and that is all."""

    async def consume() -> None:
        async for _ in sse_body(stream):
            break

    gc.disable()
    try:
        with asked(say("AI"), silence()) as (stream, sandbox):
            asyncio.run(consume())
            assert sandbox.wait_disconnect(timeout=1.0)
    finally:
        gc.enable()


def test_a_second_async_iteration_goes_on_and_then_ends() -> None:
    """As a second `for` loop does."""

    async def consume(body: EventStreamBody) -> list[bytes]:
        async for piece in body:
            first = piece
            break
        more.set()
        assert chunks_of([first]) == [ContentChunk("AI")]
        rest = [piece async for piece in body]
        assert [piece async for piece in body] == []
        return rest

    more = threading.Event()
    with asked(say("AI"), wait(more), done()) as (stream, _):
        assert chunks_of(asyncio.run(consume(sse_body(stream)))) == [DoneChunk()]


def test_a_cancelled_task_leaves_nothing_that_another_one_reads_by_now() -> None:
    """Only the last task that read counts."""

    async def consume(body: EventStreamBody) -> list[bytes]:
        async def begin() -> None:
            pieces.append(await anext(body))
            await asyncio.sleep(60)

        pieces: list[bytes] = []
        beginner = asyncio.create_task(begin())
        while not pieces:
            await asyncio.sleep(0.001)
        rest = asyncio.create_task(anext(body))
        await asyncio.sleep(0.01)
        beginner.cancel()
        await asyncio.sleep(0.01)
        more.set()
        return [*pieces, await rest, *[piece async for piece in body]]

    more = threading.Event()
    with asked(say("AI"), wait(more), done()) as (stream, _):
        pieces = asyncio.run(consume(sse_body(stream)))
    assert chunks_of(pieces) == [ContentChunk("AI"), DoneChunk()]


def test_mixing_next_and_async_iteration_is_refused() -> None:
    """Whoever began reads on."""

    async def first_async(body: EventStreamBody) -> list[bytes]:
        first = await anext(body)
        with pytest.raises(StreamError, match=r"read with async for .* not? be with next\(\)|next"):
            next(body)
        more.set()
        return [first, *[piece async for piece in body]]

    async def first_sync(body: EventStreamBody) -> list[bytes]:
        first = next(body)
        with pytest.raises(StreamError, match="async for"):
            await anext(body)
        more.set()
        return [first, *body]

    for way in (first_async, first_sync):
        more = threading.Event()
        with asked(say("AI"), wait(more), done()) as (stream, _):
            pieces = asyncio.run(way(sse_body(stream)))
            assert chunks_of(pieces) == [ContentChunk("AI"), DoneChunk()]


def test_two_readers_of_a_body_at_once_are_refused() -> None:
    """The second one is; the first one misses nothing."""

    async def two_tasks(body: EventStreamBody) -> list[bytes]:
        first = asyncio.create_task(anext(body))
        await asyncio.sleep(0.01)
        with pytest.raises(StreamError, match="another thread or task"):
            await anext(body)
        more.set()
        return [await first, *[piece async for piece in body]]

    async def two_threads(body: EventStreamBody) -> list[bytes]:
        rest: list[bytes] = []
        first = threading.Thread(target=lambda: rest.extend(body))
        first.start()
        assert until(lambda: body._reading.locked())
        with pytest.raises(StreamError, match="another thread or task"):
            next(body)
        more.set()
        first.join()
        return rest

    for way in (two_tasks, two_threads):
        more = threading.Event()
        with asked(wait(more), say("AI"), done()) as (stream, _):
            pieces = asyncio.run(way(sse_body(stream)))
            assert chunks_of(pieces) == [ContentChunk("AI"), DoneChunk()]


def test_many_silent_bodies_leave_the_loops_own_threads_free() -> None:
    """asyncio.to_thread has six on two cores, and a view may need one."""

    async def consume(client: WebsopyClient) -> float:
        bodies = [sse_body(client.ai.chat_stream(QUESTION), heartbeat=60) for _ in range(40)]
        steps = [asyncio.create_task(anext(body)) for body in bodies]
        await asyncio.sleep(0.05)
        began = time.monotonic()
        await asyncio.to_thread(int)
        took = time.monotonic() - began
        for step in steps:
            step.cancel()
        await asyncio.gather(*steps, return_exceptions=True)
        return took

    with (
        Sandbox([silence()]) as sandbox,
        WebsopyClient(api_key=KEY, base_url=sandbox.url, plugins=[]) as client,
    ):
        assert asyncio.run(consume(client)) < 1.0
        assert sandbox.wait_disconnect(40)


@pytest.fixture
def no_thread_to_be_had(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Refuses threads of a name, as Python does at a container's limit."""
    start = threading.Thread.start

    def refuse(name: str) -> None:
        def refusing(thread: threading.Thread) -> None:
            if thread.name.startswith(name):
                raise RuntimeError("can't start new thread")
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", refusing)

    return refuse


@pytest.mark.parametrize("on_disconnect", ["cancel", "finish"])
def test_no_thread_to_read_in_is_told_as_a_late_failure(
    on_disconnect: OnDisconnect,
    no_thread_to_be_had: Callable[[str], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The visitor reads an error event, not a cut answer; the log has the traceback."""
    no_thread_to_be_had("websopy-sse-body")
    with asked(say("AI"), silence()) as (stream, sandbox):
        (told,) = chunks_of(sse_body(stream, on_disconnect=on_disconnect))
        assert sandbox.wait_disconnect(timeout=1.0)
    assert isinstance(told, ErrorChunk) and told.code == "internal"
    assert "can't start new thread" in caplog.text


def test_no_thread_to_finish_in_ends_the_answer(
    no_thread_to_be_had: Callable[[str], None],
) -> None:
    """A body that is left before it was read cannot be finished then."""
    no_thread_to_be_had("websopy-sse-body")
    with asked(say("AI"), silence()) as (stream, sandbox):
        sse_body(stream, on_disconnect="finish").close()
        assert sandbox.wait_disconnect(timeout=1.0)


def test_no_thread_to_step_in_is_a_typed_error(no_thread_to_be_had: Callable[[str], None]) -> None:
    """The server is told, and the answer ends."""
    no_thread_to_be_had("websopy-sse-step")

    async def consume() -> None:
        with pytest.raises(StreamError, match="can't start new thread"):
            await anext(sse_body(stream))

    with asked(say("AI"), silence()) as (stream, sandbox):
        asyncio.run(consume())
        assert sandbox.wait_disconnect(timeout=1.0)


# --- frameworks ------------------------------------------------------------------------------


def test_nothing_is_imported_until_it_is_asked_for() -> None:
    """Neither Flask nor Django is a dependency."""
    code = "import sys, websopy_sync.web; print({'flask', 'django'} & set(sys.modules))"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30
    )
    assert answer.stdout == "set()\n", answer.stderr


def test_flask_response(needs: Callable[[object, str], None]) -> None:
    """Headers and body as sse_body and SSE_HEADERS have them; options pass through."""
    needs(_can_import("flask"), "Flask")
    with asked(say("AI"), done(1, 2)) as (stream, _):
        response = flask_response(stream, heartbeat=5.0)
        assert {name: response.headers[name] for name in SSE_HEADERS} == dict(SSE_HEADERS)
        assert "Content-Length" not in response.headers
        with closing(response):
            assert chunks_of(response.iter_encoded()) == [
                ContentChunk("AI"),
                DoneChunk(Usage(1, 2)),
            ]


def test_a_flask_response_that_is_closed_ends_the_answer(
    needs: Callable[[object, str], None],
) -> None:
    """As a server does when the browser has gone, or when it only asked for the head."""
    needs(_can_import("flask"), "Flask")
    with asked(say("AI"), silence()) as (stream, sandbox):
        flask_response(stream).close()
        assert sandbox.wait_disconnect(timeout=1.0)


def test_django_response(needs: Callable[[object, str], None], django_set_up: None) -> None:
    """The same, and nothing for GZipMiddleware to do."""
    needs(_can_import("django"), "Django")
    with asked(say("AI"), done(1, 2)) as (stream, _):
        response = django_response(stream, heartbeat=5.0)
        assert dict(response.items()) == {**SSE_HEADERS, "Content-Encoding": "identity"}
        assert not response.is_async
        with closing(response):
            assert chunks_of(response) == [ContentChunk("AI"), DoneChunk(Usage(1, 2))]


def test_a_django_response_that_is_closed_ends_the_answer(
    needs: Callable[[object, str], None], django_set_up: None
) -> None:
    needs(_can_import("django"), "Django")
    with asked(say("AI"), silence()) as (stream, sandbox):
        django_response(stream).close()
        assert sandbox.wait_disconnect(timeout=1.0)


@pytest.mark.parametrize("in_loop", [False, True], ids=["sync view", "async view"])
def test_a_django_response_is_live_under_asgi(
    in_loop: bool, needs: Callable[[object, str], None], django_set_up: None
) -> None:
    """A piece is there while the next is held back, whatever kind of view made the response."""
    needs(_can_import("django"), "Django")
    more = threading.Event()

    async def consume(response: Any) -> tuple[bytes, list[bytes]]:
        response = response or django_response(stream)
        assert response.is_async == in_loop  # what a middleware goes by
        pieces = aiter(response)
        first = await anext(pieces)
        more.set()
        return first, [piece async for piece in pieces]

    with asked(say("AI"), wait(more), done()) as (stream, _):
        first, rest = asyncio.run(consume(None if in_loop else django_response(stream)))
    assert chunks_of([first]) == [ContentChunk("AI")]
    assert chunks_of(rest) == [DoneChunk()]


@pytest.mark.parametrize("in_loop", [False, True], ids=["sync view", "async view"])
def test_a_cancelled_task_ends_the_answer(
    in_loop: bool, needs: Callable[[object, str], None], django_set_up: None
) -> None:
    """Django cancels the task of a browser that has gone; no heartbeat is waited for."""
    needs(_can_import("django"), "Django")

    async def consume(response: Any) -> None:
        began = asyncio.Event()

        async def pass_on() -> None:
            async with contextlib.aclosing(aiter(response or django_response(stream))) as pieces:
                async for _ in pieces:
                    began.set()

        task = asyncio.create_task(pass_on())
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with asked(say("AI"), silence()) as (stream, sandbox):
        asyncio.run(consume(None if in_loop else django_response(stream)))
        assert sandbox.wait_disconnect(timeout=1.0)


def test_a_middleware_may_wrap_a_django_response(
    needs: Callable[[object, str], None], django_set_up: None
) -> None:
    """Most middlewares know sync bodies only; wrapped by one it is still live under ASGI."""
    needs(_can_import("django"), "Django")
    more = threading.Event()

    async def consume(response: Any) -> list[bytes]:
        pieces = []
        async for piece in response:
            pieces.append(piece)
            more.set()
        return pieces

    with asked(say("AI"), wait(more), done()) as (stream, _):
        response = django_response(stream)
        response.streaming_content = (piece.upper() for piece in response.streaming_content)
        assert b'"CONTENT":"AI"' in asyncio.run(consume(response))[0]


@pytest.fixture(scope="module")
def django_set_up() -> None:
    """Django with no more settings than its responses need."""
    try:
        from django.conf import settings  # noqa: PLC0415  Django may be missing
    except ImportError:
        return
    if not settings.configured:
        settings.configure()


def _can_import(name: str) -> bool:
    try:
        __import__(name)
    except ImportError:
        return False
    return True
