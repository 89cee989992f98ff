"""Promise 50: an answer that is opened by the body, and left before the service has answered."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import signal
import threading
import time
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest
from discretion import assert_discreet
from tables import each
from web_bodies import KEY, QUESTION, Ends, Opens, asked, chunks_of, events_of, opener, until

from websopy_sync.cancel import CancelToken
from websopy_sync.chunks import ContentChunk, DoneChunk, ErrorChunk, StreamChunk
from websopy_sync.client import WebsopyClient
from websopy_sync.errors import APIStatusError, ConfigError
from websopy_sync.hooks import hookimpl
from websopy_sync.sandbox import (
    Sandbox,
    before_headers,
    done,
    say,
    silence,
    status,
    tool,
    wait,
)
from websopy_sync.status_errors import AuthenticationError, RateLimitError
from websopy_sync.stream import ChatStream
from websopy_sync.web import EventStreamBody, sse_body

SIGN = b": keep-alive\n\n"

NEVER = before_headers(silence())
"""A service that never answers."""


# --- before the service's headers ------------------------------------------------------------


@pytest.mark.timing
def test_signs_of_life_begin_before_the_service_answers() -> None:
    """The first at once: the browser gets the headers, and the page knows that it was heard."""
    more = threading.Event()
    with opener(before_headers(wait(more)), say("AI"), done()) as (opens, _):
        with sse_body(opens, heartbeat=0.3) as body:
            began = time.monotonic()
            assert next(body) == SIGN
            assert time.monotonic() - began < 0.1
            assert [next(body), next(body)] == [SIGN, SIGN]
            more.set()
            assert chunks_of(body) == [ContentChunk("AI"), DoneChunk()]


def closed(body: EventStreamBody) -> None:
    body.close()


def left(body: EventStreamBody) -> None:
    body.leave()


def left_by_with(body: EventStreamBody) -> None:
    with body:
        pass


def dropped(body: EventStreamBody) -> None:
    del body
    gc.collect()


def closed_while_it_waits(body: EventStreamBody) -> None:
    waiting = threading.Thread(target=list, args=(body,))
    waiting.start()
    body.close()
    waiting.join(1.0)
    assert not waiting.is_alive()


def task_cancelled(body: EventStreamBody) -> None:
    async def consume() -> None:
        task = asyncio.create_task(anext(body._steps))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(consume())


@each("leave", [closed, left, left_by_with, closed_while_it_waits, task_cancelled])
def test_leaving_ends_the_request(leave: Callable[[EventStreamBody], None]) -> None:
    """However it is left; the plugins are told once, and no thread stays."""
    ends = Ends()
    with opener(NEVER, plugin=ends) as (opens, sandbox):
        body = sse_body(opens, heartbeat=60)
        assert next(body) == SIGN
        assert sandbox.wait_request()
        leave(body)
        assert sandbox.wait_disconnect(timeout=1.0)
        assert ends.happened.wait(1.0)
    assert ends.ends == ["StreamCancelledError"]


@each("waited", [0, 0.01])
def test_garbage_ends_the_request(waited: float) -> None:
    """A framework that drops a body leaves nothing behind; nor does a view that has waited."""
    with opener(NEVER) as (opens, sandbox):
        body = sse_body(opens, heartbeat=60, wait_for_status=waited)
        if not waited:
            next(body)
        assert sandbox.wait_request()
        del body
        gc.collect()
        assert sandbox.wait_disconnect(timeout=1.0)


@each("leave", [closed, left, dropped])
def test_a_body_that_is_never_read_never_asks(leave: Callable[[EventStreamBody], None]) -> None:
    """A browser that has gone before its server wrote anything costs nothing."""
    called: list[CancelToken] = []
    body = sse_body(called.append)  # type: ignore[arg-type]  # never called
    leave(body)
    assert called == []


def test_a_token_that_is_not_passed_on_ends_the_answer_once_it_is_there() -> None:
    """Later than with it, but nothing is read of it."""
    more, ends = threading.Event(), Ends()
    with opener(before_headers(wait(more)), say("AI"), silence(), plugin=ends) as (opens, sandbox):
        body = sse_body(lambda cancel: opens(CancelToken()))
        next(body)
        assert sandbox.wait_request()
        body.leave()
        more.set()
        assert sandbox.wait_disconnect(timeout=1.0)
        assert ends.happened.wait(1.0)
    assert ends.ends == ["StreamCancelledError"]


def test_a_function_is_let_go_of_once_it_has_opened_its_answer() -> None:
    """It may hold a conversation of a megabyte, and the answer takes a minute."""
    with opener(say("AI"), silence()) as (opens, _):

        def opens_once(cancel: CancelToken) -> ChatStream:
            return opens(cancel)

        held = weakref.ref(opens_once)
        with sse_body(opens_once) as body:
            del opens_once
            next(body)
            assert until(lambda: held() is None, seconds=1.0)


@pytest.mark.timing
def test_a_function_that_heeds_no_token_holds_its_own_thread_only() -> None:
    """The server's thread is free at once."""
    more = threading.Event()

    def opens(cancel: CancelToken) -> ChatStream:
        more.wait(5.0)
        raise AssertionError("nobody hears of this")

    body = sse_body(opens)
    next(body)
    began = time.monotonic()
    body.leave()
    assert time.monotonic() - began < 0.2
    assert reader_of(body).is_alive()
    more.set()
    reader_of(body).join(1.0)
    assert not reader_of(body).is_alive()


def reader_of(body: EventStreamBody) -> threading.Thread:
    """The thread that reads for a body."""
    thread = body._feed._reader  # type: ignore[attr-defined]  # an EventBuffer has one
    assert isinstance(thread, threading.Thread)
    return thread


def test_stop_from_elsewhere_is_told() -> None:
    """The token is the view's, too: it may keep it for a stop button."""
    tokens = []
    with opener(NEVER) as (opens, sandbox):

        def opens_and_keeps(cancel: CancelToken) -> ChatStream:
            tokens.append(cancel)
            return opens(cancel)

        with sse_body(opens_and_keeps) as body:
            assert next(body) == SIGN
            assert sandbox.wait_request()
            tokens[0].cancel()
            (told,) = chunks_of(body)
    assert isinstance(told, ErrorChunk) and told.code == "cancelled"


def test_stop_does_not_wait_for_a_slow_browser() -> None:
    """What waits for it still comes, and then that the answer was stopped."""
    tokens = []
    with opener([say("x" * 1000)] * 100, silence()) as (opens, _):

        def opens_and_keeps(cancel: CancelToken) -> ChatStream:
            tokens.append(cancel)
            return opens(cancel)

        with sse_body(opens_and_keeps, heartbeat=0.3, buffer=1) as body:
            assert next(body) == SIGN
            assert until(lambda: body._feed._size)  # type: ignore[attr-defined]  # a buffer has one
            reader = reader_of(body)
            tokens[0].cancel()
            reader.join(1.0)
            assert not reader.is_alive()
            told = chunks_of(body)
    assert isinstance(told[-1], ErrorChunk) and told[-1].code == "cancelled"
    assert len(told) < 5


def test_finish_opens_and_reads_on_for_the_plugins() -> None:
    """The visitor has left before the service answered, or before the body was read at all."""
    for read in (True, False):
        ends, more = Ends(), threading.Event()
        script = [before_headers(wait(more)), say("a"), done()]
        with opener(script, plugin=ends) as (opens, sandbox):
            body = sse_body(opens, on_disconnect="finish")
            if read:
                next(body)
            body.close()
            assert sandbox.wait_request()
            more.set()
            assert ends.happened.wait(5.0)
        assert ends.ends == ["done: a"]


def test_a_run_with_tools_is_left_in_a_tool_and_before_any_answer() -> None:
    """A run ends as an answer does."""
    for script, until_asked in ([NEVER], 1), ([tool("look_up", {}), done()], 1):
        in_tool = threading.Event()
        leave = threading.Event()

        def look_up() -> str:
            """Look something up."""
            in_tool.set()  # noqa: B023  # called within this round
            leave.wait(5.0)  # noqa: B023
            return "found"

        with (
            Sandbox(script) as sandbox,
            WebsopyClient(api_key=KEY, base_url=sandbox.url, plugins=[]) as client,
        ):
            run = functools.partial(client.ai.run, QUESTION, tools=[look_up])
            body = sse_body(lambda cancel, run=run: run(cancel_token=cancel))
            next(body)
            assert sandbox.wait_request(until_asked)
            assert script == [NEVER] or in_tool.wait(5.0)
            body.leave()
            leave.set()
            assert script != [NEVER] or sandbox.wait_disconnect(timeout=1.0)
            reader_of(body).join(1.0)
            assert not reader_of(body).is_alive()
            assert len(sandbox.requests) == 1


def test_a_hundred_visitors_who_leave_at_once_leave_nothing() -> None:
    """Threads and sockets are checked after each test; here there were many."""
    with opener(NEVER) as (opens, sandbox):
        bodies = [sse_body(opens) for _ in range(100)]
        for body in bodies:
            next(body)
        assert sandbox.wait_request(100)
        for body in bodies:
            body.leave()
        assert sandbox.wait_closed()
        for body in bodies:
            body.close()


# --- the view's own -----------------------------------------------------------------------------


user: ContextVar[str] = ContextVar("user", default="nobody")


class Users:
    """A plugin that writes down for whom it is called."""

    def __init__(self) -> None:
        self.users: list[str] = []

    @hookimpl
    def on_request(self, request: object, stream: ChatStream) -> None:
        self.users.append(user.get())

    @hookimpl
    def on_chunk(self, chunk: StreamChunk, stream: ChatStream) -> None:
        self.users.append(user.get())

    @hookimpl
    def on_done(self, message: object, stream: ChatStream) -> None:
        self.users.append(user.get())


def test_the_function_and_hooks_see_the_views_context_variables() -> None:
    """Those of the moment when the view made the body."""
    seen = Users()
    with opener(say("a"), done(), plugin=seen) as (opens, _):

        def opens_for(cancel: CancelToken) -> ChatStream:
            seen.users.append(user.get())
            return opens(cancel)

        reset = user.set("Ada")
        body = sse_body(opens_for)
        user.reset(reset)
        assert chunks_of(body) == [ContentChunk("a"), DoneChunk()]
    assert seen.users == ["Ada"] * 5  # the function, on_request, two chunks, on_done


def test_a_stream_that_was_opened_before_is_read_as_ever() -> None:
    """No comment comes before its first event."""
    with asked(say("AI"), silence()) as (stream, _), sse_body(stream) as body:
        assert chunks_of([next(body)]) == [ContentChunk("AI")]


# --- failures -----------------------------------------------------------------------------------


def raises(error: BaseException) -> Opens:
    def opens(cancel: CancelToken) -> ChatStream:
        raise error

    return opens


@each(
    ("error", "code"),
    [
        (ConfigError("no model of that name"), "internal"),
        (ValueError("a bug"), "internal"),
        (SystemExit(), "internal"),
        (RateLimitError("slow down", status_code=429), "rate_limited"),
    ],
)
def test_what_the_function_raises_is_the_last_event(
    error: BaseException, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A fixed text for the visitor; who runs the server is told what was raised."""
    caplog.clear()
    (event,) = events_of(sse_body(raises(error)))
    assert event.event == "error"
    (told,) = chunks_of(sse_body(raises(error)))
    assert isinstance(told, ErrorChunk) and told.code == code
    assert type(error).__name__ in caplog.records[0].getMessage()
    assert bool(caplog.records[0].exc_info) == (code == "internal")


def test_a_refusal_of_the_service_is_the_last_event() -> None:
    """When nobody waits for its status."""
    with opener(status(401)) as (opens, _):
        (told,) = chunks_of(sse_body(opens))
    assert isinstance(told, ErrorChunk) and told.code == "refused"


async def coroutine(cancel: CancelToken) -> None:
    """What this package cannot run."""


@each(
    ("source", "said"),
    [
        (None, "a ChatStream, a ToolRun or a function that opens one, got NoneType"),
        ("Hello", "got str"),
        (coroutine, "got an async one"),
        (lambda: None, "of a cancel token: too many positional arguments"),
        (lambda cancel, other: None, "of a cancel token: missing a required argument: 'other'"),
    ],
)
def test_what_is_no_source_is_refused_at_once(source: Any, said: str) -> None:
    """In the view, where its author sees it."""
    with pytest.raises(ConfigError, match=said):
        sse_body(source)


def test_a_function_that_returns_something_else() -> None:
    """It is told as a bug; a native stream is closed all the same."""
    with (
        Sandbox([say("AI"), silence()]) as sandbox,
        WebsopyClient(api_key=KEY, base_url=sandbox.url, plugins=[]) as client,
    ):
        kept: list[object] = []  # the garbage collector would close it
        question = {"messages": [{"role": "user", "content": QUESTION}]}

        def native(cancel: CancelToken) -> Any:
            kept.append(client.events("POST", "/ai/chat", json=question, cancel_token=cancel))
            return kept[0]

        with pytest.raises(ConfigError, match="must return a ChatStream or a ToolRun, got EventSt"):
            sse_body(native, wait_for_status=5.0)
        assert sandbox.wait_disconnect(timeout=1.0)
    with pytest.raises(ConfigError, match="got NoneType"):
        sse_body(lambda cancel: None, wait_for_status=5.0)  # type: ignore[arg-type, return-value]


# --- wait_for_status ----------------------------------------------------------------------------


@each(
    ("script", "kind"),
    [([status(401)], AuthenticationError), ([status(429)], RateLimitError)],
)
def test_a_failure_in_time_is_raised_in_the_view(script: Any, kind: type[APIStatusError]) -> None:
    """As it is, with nothing left behind, and nothing logged."""
    with opener(script) as (opens, _), pytest.raises(kind) as raised:
        sse_body(opens, wait_for_status=5.0)
    assert_discreet(raised.value)


@each("error", [SystemExit(3), ValueError("a bug"), ConfigError("no such model")])
def test_whatever_the_function_raises_in_time_comes_out(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """Unchanged; the view logs it, if it is to be logged."""
    with pytest.raises(type(error)) as raised:
        sse_body(raises(error), wait_for_status=5.0)
    assert raised.value is error
    assert caplog.records == []


def test_no_frame_shows_the_source() -> None:
    """A partial shows its arguments, and crash reporters show locals."""
    secret = "pr1vate question of nobody else"

    def opens(question: str, cancel: CancelToken) -> ChatStream:
        raise ValueError("a bug")

    for waited in (0.0, 5.0):
        with pytest.raises((ValueError, ConfigError)) as raised:
            sse_body(
                functools.partial(opens, secret),
                wait_for_status=waited,
                buffer=0 if not waited else 1,
            )
        assert_discreet(raised.value)


def test_an_answer_in_time_is_not_waited_for_longer() -> None:
    """The body goes on from where it is."""
    with opener(say("AI"), done()) as (opens, _):
        began = time.monotonic()
        body = sse_body(opens, wait_for_status=30.0)
        assert time.monotonic() - began < 5.0
        assert chunks_of([*body]) == [ContentChunk("AI"), DoneChunk()]


def test_a_failure_that_comes_too_late_is_the_last_event(caplog: pytest.LogCaptureFixture) -> None:
    """The browser has had the headers by then."""
    more = threading.Event()
    with opener(before_headers(wait(more)), status(401)) as (opens, _):
        body = sse_body(opens, wait_for_status=0.05)
        assert next(body) == SIGN
        more.set()
        (told,) = chunks_of(body)
    assert isinstance(told, ErrorChunk) and told.code == "refused"
    assert "AuthenticationError" in caplog.text


def test_a_failure_after_the_status_is_the_last_event() -> None:
    """The view was told of an answer, and has returned it."""
    with opener(say("AI"), silence(timeout=0.01)) as (opens, _):
        body = sse_body(opens, wait_for_status=5.0)
        assert chunks_of(body) == [
            ContentChunk("AI"),
            ErrorChunk("The answer broke off.", "interrupted"),
        ]


def test_an_answer_that_fails_as_soon_as_it_is_there_has_its_status() -> None:
    """It was opened in time, so its failure is an event, whichever thread is faster."""

    def opens_and_closes(cancel: CancelToken) -> ChatStream:
        stream = opens(cancel)
        stream.close()
        return stream

    with opener(silence()) as (opens, _):
        for _ in range(5):
            (told,) = chunks_of(sse_body(opens_and_closes, wait_for_status=5.0))
            assert isinstance(told, ErrorChunk) and told.code == "cancelled"


class TimeUpError(Exception):
    """What a time limit of the server raises in the view."""


def test_a_time_limit_in_the_view_ends_the_request() -> None:
    """It comes out at once, and nothing goes on at the service."""

    def expire(number: int, frame: object) -> None:
        raise TimeUpError

    with opener(NEVER) as (opens, sandbox):
        before = signal.signal(signal.SIGALRM, expire)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(TimeUpError):
                sse_body(opens, wait_for_status=30.0)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert sandbox.wait_disconnect(timeout=1.0)


def test_a_time_limit_while_a_body_is_left() -> None:
    """It comes out of a callback of the source's too, and the answer ends all the same."""

    def expire(number: int, frame: object) -> None:
        raise TimeUpError

    def opens_and_rings(cancel: CancelToken) -> ChatStream:
        cancel.subscribe(lambda: signal.raise_signal(signal.SIGALRM))
        return opens(CancelToken())

    with opener(say("AI"), silence()) as (opens, sandbox):
        before = signal.signal(signal.SIGALRM, expire)
        body = sse_body(opens_and_rings)
        try:
            assert b"AI" in next(piece for piece in body if piece != SIGN)
            with pytest.raises(TimeUpError):
                body.leave()
        finally:
            signal.signal(signal.SIGALRM, before)
        assert sandbox.wait_disconnect(timeout=1.0)


def test_waiting_in_an_event_loop_is_refused() -> None:
    """It would block the loop; a thread may wait."""

    async def view() -> EventStreamBody:
        with pytest.raises(ConfigError, match="event loop"):
            sse_body(opens, wait_for_status=1.0)
        return await asyncio.to_thread(sse_body, opens, wait_for_status=5.0)

    async def consume() -> list[bytes]:
        async with contextlib.aclosing(await view()) as body:
            return [piece async for piece in body]

    with opener(say("AI"), done()) as (opens, _):
        assert chunks_of(asyncio.run(consume())) == [ContentChunk("AI"), DoneChunk()]


def test_no_thread_to_open_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """A view that waits is told; one that does not has an error event."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with opener(NEVER) as (opens, sandbox):
        monkeypatch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            sse_body(opens, wait_for_status=1.0)
        (told,) = chunks_of(sse_body(opens))
        monkeypatch.undo()
        assert sandbox.requests == []
    assert isinstance(told, ErrorChunk) and told.code == "internal"
