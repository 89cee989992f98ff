"""The body of a response to a browser, and the buffer behind it, without a server."""

from __future__ import annotations

import asyncio
import gc
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest
from faults import FORKS_BESIDE_THREADS, child, output
from web_bodies import KEY, QUESTION, Ends, Said, asked, chunks_of, until

from websopy_sync.chunks import ContentChunk, DoneChunk, ErrorChunk, StreamChunk
from websopy_sync.client import WebsopyClient
from websopy_sync.errors import ConfigError, StreamError
from websopy_sync.hooks import hookimpl
from websopy_sync.sandbox import Sandbox, cut, done, say, silence, wait
from websopy_sync.stream import ChatStream
from websopy_sync.web import SSE_HEADERS, EventStreamBody, OnDisconnect, sse_body

MANY = "x" * 1000
"""A text of which a few do not fill a small buffer."""


def test_headers() -> None:
    """No cache, no proxy and no browser holds an answer back or takes it for something else."""
    assert dict(SSE_HEADERS) == {
        "Content-Type": "text/event-stream; charset=utf-8",
        "Cache-Control": "no-store, no-transform",
        "X-Accel-Buffering": "no",
        "X-Content-Type-Options": "nosniff",
    }


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


FORK = """
    import atexit, os, threading
    from websopy_sync.web.buffer import EventBuffer
    from websopy_sync.web.body import EventStreamBody
    from websopy_sync.web.events import WebsopyFormat
    from websopy_sync.web.opening import Opening

    opening = Opening(lambda cancel: None)
    feed = EventBuffer(opening, WebsopyFormat(), limit=1, finish=False, interval=1)
    body = EventStreamBody(feed)
    held, over = threading.Event(), threading.Event()

    def hold():
        with feed._changed:
            held.set()
            over.wait()

    threading.Thread(target=hold).start()
    held.wait()
    pid = os.fork()
    if pid == 0:
        atexit._run_exitfuncs()
        body.close()
        print("over", flush=True)
        os._exit(0)
    os.waitpid(pid, 0)
    over.set()
"""


def test_a_forked_child_leaves_the_body_to_its_parent() -> None:
    """It has no thread that could release the lock; at its end it would wait forever."""
    with child(FORK, env=FORKS_BESIDE_THREADS) as process:
        assert output(process, seconds=5) == ["over"]


def test_a_body_of_any_feed() -> None:
    """What has take, leave and join can be read, with a status and headers of its own."""
    feed = Said(b"a", b"b")
    body = EventStreamBody(feed, status=409, headers={"X-Mine": "1"})
    assert (body.status, body.headers) == (409, {"X-Mine": "1"})
    assert list(body) == [b"a", b"b"]
    assert feed.left
    assert EventStreamBody(Said()).status == 200
    assert EventStreamBody(Said()).headers == SSE_HEADERS


def test_nothing_is_imported_until_it_is_asked_for() -> None:
    """No framework is a dependency."""
    code = (
        "import sys, websopy_sync.web; print({'flask', 'django', 'starlette'} & set(sys.modules))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30
    )
    assert answer.stdout == "set()\n", answer.stderr
