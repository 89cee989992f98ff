"""The life of a stream: every transition of its table, and each way to read and to end."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from streams import read_until_error

from websopy_sync import (
    APIError,
    CancelToken,
    ChatStream,
    ContentChunk,
    DoneChunk,
    Message,
    StreamCancelledError,
    StreamError,
    StreamServerError,
    ToolCall,
    WebsopyClient,
    hookimpl,
)
from websopy_sync.lifecycle import ENDED, NEVER, REFUSED, SAME, TRANSITIONS
from websopy_sync.sandbox import (
    Sandbox,
    Steps,
    before_headers,
    cut,
    done,
    error,
    event,
    ping,
    say,
    silence,
    status,
    think,
    tool,
)

Ask = Callable[..., ChatStream]
Make = Callable[..., WebsopyClient]

SOON = 5.0
"""Seconds in which what happens at once has happened on a busy machine, too."""

# --- the table -----------------------------------------------------------------------------------

ENDS = ("done", "error", "cancelled", "closed")
STATES = ("opening", "open", "reading", *ENDS)
CELLS = {
    (state, event): row[min(index, 3)]  # the last column is of all four ends
    for event, row in TRANSITIONS.items()
    for index, state in enumerate(STATES)
    if row[min(index, 3)] != NEVER
}

SCRIPTS: dict[tuple[str, str], list[Any]] = {
    ("opening", "failure"): [status(400)],
    ("reading", "failure"): [cut()],
    ("reading", "done chunk"): [done()],
    ("reading", "error chunk"): [error("no")],
}
TEXT_FIRST = {"done": [say("a"), done()], "error": [say("a"), error("no")]}


class Watcher:
    """A plugin that acts once inside a step, and notes each end of a stream."""

    def __init__(self) -> None:
        self.on_request_do: Callable[[ChatStream], object] | None = None
        self.on_chunk_do: Callable[[ChatStream], object] | None = None
        self.ends: list[str] = []

    @hookimpl
    def on_request(self, stream: ChatStream) -> None:
        act, self.on_request_do = self.on_request_do, None
        if act is not None:
            act(stream)

    @hookimpl
    def on_chunk(self, stream: ChatStream) -> None:
        act, self.on_chunk_do = self.on_chunk_do, None
        if act is not None:
            act(stream)

    @hookimpl
    def on_done(self, stream: ChatStream) -> None:
        self.ends.append(stream.state)

    @hookimpl
    def on_error(self, stream: ChatStream) -> None:
        self.ends.append(stream.state)


class Life:
    """One stream in one state of the table, and what an event makes of it."""

    def __init__(self, state: str, event: str, sandbox: Sandbox, make: Make) -> None:
        self.state, self.event = state, event
        self.watcher = Watcher()
        self.client = make(self.watcher)
        script = SCRIPTS.get((state, event)) or TEXT_FIRST.get(state)
        sandbox.play(script or [say("a"), say("b"), silence()])
        self.stream: ChatStream | None = None
        self.raised: BaseException | None = None
        """What came out of the event's own call, or of the step in which it happened."""
        self.within: BaseException | None = None
        """What came out of a call that a hook made."""

    def live(self) -> str:
        """Bring a stream to the state, and let the event happen. The state after it."""
        if self.state == "opening":
            self.watcher.on_request_do = self.happen_within
        self.raised = raised_by(self.open)
        if self.state != "opening":
            self.go_on()
        if self.stream is None:  # garbage now
            gc.collect()
            return self.watcher.ends[-1]
        return state_of(self.stream)

    def open(self) -> None:
        self.stream = self.client.ai.chat_stream("hi", resume=False)

    def go_on(self) -> None:
        """Go on from an open stream."""
        assert self.stream is not None
        if self.state == "reading":
            if self.event not in ("item", "done chunk", "error chunk", "failure"):
                self.watcher.on_chunk_do = self.happen_within
            self.raised = raised_by(lambda: next(stream_of(self)))
        elif self.event in ("break", "interrupt"):
            self.raised = raised_by(self.leave_a_loop)
        else:
            while True:
                chunk = next(self.stream)
                if self.reached(chunk.type):
                    break
            self.raised = raised_by(lambda: self.happen(stream_of(self)))

    def leave_a_loop(self) -> None:
        for chunk in stream_of(self):
            if self.reached(chunk.type):
                if self.event == "interrupt":
                    raise KeyboardInterrupt
                break

    def reached(self, kind: str) -> bool:
        """Whether the stream is in its state now, which a chunk of this type brings or not."""
        if self.state in ("cancelled", "closed"):
            end = stream_of(self).cancel if self.state == "cancelled" else stream_of(self).close
            end()
        return self.state not in ("done", "error") or kind == self.state

    def happen_within(self, stream: ChatStream) -> None:
        """Let the event happen in a hook."""
        self.stream = stream
        assert state_of(stream) == self.state
        if self.event == "interrupt":
            raise KeyboardInterrupt
        self.within = raised_by(lambda: self.happen(stream))

    def happen(self, stream: ChatStream) -> None:
        """Let the event happen, here and now."""
        if self.event == "next":
            if self.state == "open":
                self.watcher.on_chunk_do = self.note_reading
            elif self.state in ENDS:
                raised_by(lambda: next(stream))  # the second next() raises as the first one does
            next(stream)
        elif self.event == "second loop":
            with contextlib.suppress(StreamError):
                self.loop = iter(stream)  # kept: dropping it would leave the loop
            iter(stream)
        elif self.event == "cancel":
            stream.cancel()
        elif self.event == "close":
            stream.close()
        elif self.event == "garbage":
            self.stream = None
        elif self.event == "fork":
            self.fork(stream)

    def note_reading(self, stream: ChatStream) -> None:
        self.within = raised_by(lambda: next(stream))
        assert state_of(stream) == "reading"

    def fork(self, stream: ChatStream) -> None:
        """Note what the child sees; the parent must see nothing of it."""
        reader, writer = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the sandbox has threads
            child = os.fork()
        if child == 0:
            refused = isinstance(raised_by(lambda: next(stream)), StreamError)
            os.write(writer, f"{stream.state} {refused}".encode())
            os._exit(0)
        os.waitpid(child, 0)
        os.close(writer)
        with open(reader, encoding="ascii") as pipe:
            self.in_the_child = pipe.read()


def stream_of(life: Life) -> ChatStream:
    assert life.stream is not None
    return life.stream


def raised_by(call: Callable[[], object]) -> BaseException | None:
    """What a call raised, without its traceback, which would hold the stream."""
    try:
        call()
    except BaseException as error:  # noqa: BLE001  # an interrupt as well
        return error.with_traceback(None)
    return None


def state_of(stream: ChatStream) -> str:
    """The state of the table, which tells apart three that a user sees as one."""
    if stream.state == "open" and stream._step.busy:
        return "reading" if stream.status_code else "opening"
    return stream.state


def is_the_end_of(state: str, raised: BaseException | None) -> bool:
    """Whether this is what reading raises after a stream came to this end."""
    if state == "done":
        return isinstance(raised, StopIteration)
    if state == "error":
        return isinstance(raised, APIError)
    return isinstance(raised, StreamCancelledError) and raised.reason == state


@pytest.mark.parametrize(("state", "event"), CELLS, ids=map(" ".join, CELLS))
def test_what_an_event_makes_of_a_state(
    state: str, event: str, sandbox: Sandbox, make: Make
) -> None:
    """Every cell of the table, and exactly one end for the plugins."""
    expected = CELLS[state, event]
    life = Life(state, event, sandbox, make)
    after = life.live()
    if event == "fork":
        check_fork(life, after, expected)
    elif expected == REFUSED:
        refusal = life.within if state in ("opening", "reading") else life.raised
        assert type(refusal) is StreamError
        assert after == ("open" if state in ("opening", "reading") else state)
    elif expected == ENDED:
        assert is_the_end_of(state, life.raised) and after == state
    elif expected == SAME:
        assert after == state
    elif (state, event) == ("open", "next"):
        assert type(life.within) is StreamError  # the hook's own next(), as the stream is read
        assert after == "open"
    else:
        assert after == expected
        if state in ("opening", "reading"):
            check_the_step(life, expected)
    if life.stream is not None and after in ENDS:
        life.stream.close()  # cancel() notifies nobody by itself
    assert life.watcher.ends == ([after] if after in ENDS else [])


def check_the_step(life: Life, end: str) -> None:
    """The step in which the event happened, or the next one, raises what ended the stream."""
    if life.event == "interrupt":
        assert type(life.raised) is KeyboardInterrupt
    elif life.event in ("head", "item", "done chunk", "error chunk"):
        assert life.raised is None
    else:
        raised = life.raised or raised_by(lambda: next(stream_of(life)))
        assert is_the_end_of(end, raised)


def check_fork(life: Life, after: str, expected: str) -> None:
    """The child's copy is closed and cannot be read; the parent goes on."""
    in_step = life.state in ("opening", "reading")
    assert after == ("open" if in_step else life.state)
    if expected == SAME:
        assert life.in_the_child.startswith(life.state)
    else:
        assert life.in_the_child == f"{expected} True"
        assert next(stream_of(life)).type == "content"


def later(call: Callable[[], object], seconds: float = 0.05) -> threading.Timer:
    timer = threading.Timer(seconds, call)
    timer.start()
    return timer


# --- read once -----------------------------------------------------------------------------------


def test_next_and_for_go_on_with_each_other(ask: Ask) -> None:
    """A loop reads the rest after next()."""
    stream = ask(say("a"), say("b"), say("c"), done())
    assert next(stream) == ContentChunk("a")
    assert next(stream) == ContentChunk("b")
    assert list(stream) == [ContentChunk("c"), DoneChunk()]


def test_next_ends_with_stop_iteration(ask: Ask) -> None:
    """After the end, each next() raises StopIteration, as for any iterator."""
    stream = ask(done())
    assert next(stream) == DoneChunk()
    for _ in range(3):
        with pytest.raises(StopIteration):
            next(stream)


@pytest.mark.parametrize(
    "again",
    [iter, list, lambda stream: list(stream.text_stream)],
    ids=["iter", "list", "text_stream"],
)
@pytest.mark.parametrize("how", ["whole", "by next()", "broken off", "failed"])
def test_a_stream_is_read_once(ask: Ask, how: str, again: Callable[[ChatStream], object]) -> None:
    """A second loop raises StreamError: without it, the response would look empty."""
    ends_well = how in ("whole", "by next()")
    stream = ask(say("a"), done() if ends_well else error("no"))
    if how == "by next()":
        while next(stream, None) is not None:
            pass
    else:
        with contextlib.suppress(StreamServerError):
            for _ in stream:
                if how == "broken off":
                    break
    with pytest.raises(StreamError, match="once"):
        again(stream)


def test_a_loop_within_the_loop_is_an_error(ask: Ask) -> None:
    """A second loop inside the first raises StreamError: each would get half."""
    stream = ask(say("a"), say("b"), done())
    for _ in stream:
        with pytest.raises(StreamError, match="once"):
            iter(stream)
        break


# --- the end: left -------------------------------------------------------------------------------


def test_an_exception_in_the_loop_closes(ask: Ask, sandbox: Sandbox) -> None:
    """The exception comes out unchanged, and the connection is closed."""
    stream = ask(say("a"), silence())

    def read() -> None:
        for _ in stream:
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine") as caught:
        read()
    del caught  # its traceback holds the loop
    gc.collect()
    assert stream.state == "closed"
    assert sandbox.wait_disconnect()


def test_an_exception_in_the_with_block_closes_at_once(ask: Ask, sandbox: Sandbox) -> None:
    """The connection is closed although the traceback still holds the frames."""
    with pytest.raises(LookupError), ask(say("a"), silence()) as stream:
        next(stream)
        raise LookupError
    assert stream.state == "closed"
    assert sandbox.wait_disconnect()


def test_a_generator_around_the_loop_that_is_closed(ask: Ask, sandbox: Sandbox) -> None:
    """GeneratorExit closes the stream as well: a web server gives a view up."""
    stream = ask(say("a"), silence())

    def view() -> Iterator[str]:
        for each in stream:
            if each.type == "content":
                yield each.content

    body = view()
    assert next(body) == "a"
    body.close()
    assert stream.state == "closed"
    assert sandbox.wait_disconnect()


def test_a_stream_in_a_cycle_closes_with_the_garbage(ask: Ask, sandbox: Sandbox) -> None:
    """The garbage collector closes the connection of a stream in a reference cycle."""
    cycle: list[object] = [ask(say("a"), silence())]
    cycle.append(cycle)
    del cycle
    gc.collect()
    assert sandbox.wait_disconnect()


def test_with_block_ends_what_is_left(ask: Ask, sandbox: Sandbox) -> None:
    """The `with` block gets the stream itself, and closes it."""
    stream = ask(say("a"), silence())
    with stream as same:
        assert same is stream
        assert next(stream) == ContentChunk("a")
    assert stream.state == "closed"
    assert sandbox.wait_disconnect()


def test_close_may_come_often(ask: Ask) -> None:
    """A second close() does nothing."""
    stream = ask(say("a"), silence())
    for _ in range(3):
        stream.close()
    assert stream.state == "closed"


@pytest.mark.parametrize("begin", [True, False], ids=["begun", "not begun"])
def test_reading_after_close(ask: Ask, begin: bool) -> None:
    """It raises StreamCancelledError: a closed stream must not look complete."""
    stream = ask(say("a"), say("b"), silence())
    if begin:
        next(stream)
    stream.close()
    with pytest.raises(StreamCancelledError) as caught:
        next(stream)
    assert caught.value.reason == "closed"
    assert caught.value.partial == Message("a" if begin else "")
    assert stream.state == "closed"


def test_close_inside_the_loop(ask: Ask) -> None:
    """The next step raises StreamCancelledError, reason closed."""
    stream = ask(say("a"), say("b"), silence())
    chunks = []
    with pytest.raises(StreamCancelledError) as caught:  # the loop is the test
        for each in stream:
            chunks.append(each)
            stream.close()
    assert chunks == [ContentChunk("a")]
    assert caught.value.reason == "closed"


def test_close_from_another_thread_wakes_the_reader(ask: Ask, sandbox: Sandbox) -> None:
    """The reader gets StreamCancelledError with the message so far."""
    stream = ask(say("a"), silence())
    thread = later(stream.close)
    chunks, failure = read_until_error(stream)
    thread.join()
    assert chunks == [ContentChunk("a")]
    assert isinstance(failure, StreamCancelledError)
    assert (failure.reason, stream.state) == ("closed", "closed")
    assert failure.partial == Message("a")
    assert sandbox.wait_disconnect()


def test_the_readers_own_error_has_the_answer_when_another_thread_ends_the_stream(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when that comes between the error and the end it would have been."""
    with ask(say("a"), silence()) as stream:
        next(stream)
        stream.cancel()
        end = stream._end_and_close
        raced = []

        def close_first(error: BaseException | None, **options: Any) -> None:
            if not raced:
                raced.append(True)
                end(stream._scope.abort_error())
            end(error, **options)

        monkeypatch.setattr(stream, "_end_and_close", close_first)
        with pytest.raises(StreamCancelledError) as caught:
            next(stream)
        assert caught.value.partial == Message("a")
        assert caught.value.attempts == 1


def test_leaving_frees_no_more_than_its_own(ask: Ask) -> None:
    """A stream that ends leaves the client's other streams alone."""
    first, second = ask(say("a"), silence()), ask(say("b"), done())
    first.close()
    assert list(second) == [ContentChunk("b"), DoneChunk()]


# --- the end: cancelled --------------------------------------------------------------------------


def by_stream(stream: ChatStream, token: CancelToken) -> Callable[[], None]:
    return stream.cancel


def by_token(stream: ChatStream, token: CancelToken) -> Callable[[], None]:
    return token.cancel


@pytest.mark.timing
@pytest.mark.parametrize("how", [by_stream, by_token])
def test_cancel_wakes_a_blocked_read(
    ask: Ask, sandbox: Sandbox, how: Callable[[ChatStream, CancelToken], Callable[[], None]]
) -> None:
    """From another thread, at once; the server sees it (promise 7)."""
    token = CancelToken()
    stream = ask(say("a"), silence(), cancel_token=token)
    thread = later(how(stream, token))
    start = time.monotonic()
    chunks, failure = read_until_error(stream)
    assert time.monotonic() - start < SOON
    thread.join()
    assert chunks == [ContentChunk("a")]
    assert isinstance(failure, StreamCancelledError)
    assert (failure.reason, stream.state) == ("cancelled", "cancelled")
    assert failure.partial == Message("a")
    assert failure.request_id == stream.request_id
    assert sandbox.wait_disconnect()


@pytest.mark.timing
def test_cancel_before_the_headers(ask: Ask, sandbox: Sandbox) -> None:
    """A token ends the call that waits for the headers."""
    token = CancelToken()
    thread = later(token.cancel)
    start = time.monotonic()
    with pytest.raises(StreamCancelledError) as caught:
        ask(before_headers(silence()), cancel_token=token)
    assert time.monotonic() - start < SOON
    thread.join()
    assert caught.value.reason == "cancelled"
    assert sandbox.wait_disconnect()
    assert len(sandbox.requests) == 1


def test_a_cancelled_token_sends_nothing(ask: Ask, sandbox: Sandbox) -> None:
    """A token that was cancelled before the call: no request is sent."""
    token = CancelToken()
    token.cancel()
    with pytest.raises(StreamCancelledError):
        ask(cancel_token=token)
    assert not sandbox.requests


def test_a_cancelled_token_notifies_no_plugin(make: Make) -> None:
    """No plugin hears of a request that is never made: neither its begin nor its end."""
    token, watcher, seen = CancelToken(), Watcher(), []
    watcher.on_request_do = seen.append
    token.cancel()
    with pytest.raises(StreamCancelledError):
        make(watcher).ai.chat_stream("x", cancel_token=token)
    assert (seen, watcher.ends) == ([], [])


def test_cancel_in_the_loop(ask: Ask) -> None:
    """After cancel() the reader gets no chunk, even if one has arrived."""
    stream = ask(say("a"), say("b"), say("c"), done())
    chunks = []
    with pytest.raises(StreamCancelledError) as caught:  # the loop is the test
        for each in stream:
            chunks.append(each)
            stream.cancel()
            assert stream.state == "cancelled"
    assert chunks == [ContentChunk("a")]
    assert caught.value.partial == Message("a")


def test_one_token_ends_many_streams(ask: Ask) -> None:
    """A token ends each stream that it was given to, read or not."""
    token = CancelToken()
    streams = [ask(say("a"), silence(), cancel_token=token) for _ in range(3)]
    next(streams[0])
    token.cancel()
    for stream in streams:
        with pytest.raises(StreamCancelledError):
            list(stream)
        assert stream.state == "cancelled"


def test_a_token_forgets_a_stream_that_has_ended(ask: Ask) -> None:
    """A token that serves many streams keeps nothing of those that have ended."""
    token = CancelToken()
    for end in (done(), error("no")):
        with contextlib.suppress(StreamServerError):
            list(ask(say("a"), end, cancel_token=token))
    ask(say("a"), silence(), cancel_token=token).close()
    assert not token._callbacks


def test_cancel_after_the_end_is_nothing(ask: Ask) -> None:
    """cancel() after the end does nothing: a late click on a stop button."""
    stream = ask(say("a"), error("no"))
    read_until_error(stream)
    stream.cancel()
    assert stream.state == "error"


def test_cancelled_then_closed_is_cancelled(ask: Ask) -> None:
    """The state stays cancelled when close() follows cancel()."""
    stream = ask(say("a"), silence())
    next(stream)
    stream.cancel()
    stream.close()
    assert stream.state == "cancelled"
    with pytest.raises(StreamCancelledError) as caught:
        stream.until_done()
    assert caught.value.reason == "cancelled"


def test_usage_after_cancel(ask: Ask) -> None:
    """The message so far can be read after cancel()."""
    stream = ask(say("a"), tool("f", {}), silence())
    next(stream), next(stream)
    stream.cancel()
    assert stream.current_message == Message("a", (ToolCall("f", "{}"),))


@pytest.mark.parametrize(
    "first", [tool("f", "{}"), think("hm"), event('{"type":"later"}'), ping(), say("a")]
)
def test_cancelled_at_a_chunk_of_any_kind(first: Steps, sandbox: Sandbox) -> None:
    """PROMISE 7: the next step raises, though more chunks have come with this one."""
    sandbox.play([first, say("more"), done()])
    with WebsopyClient("k", base_url=sandbox.url, plugins=[]) as client:
        stream = client.ai.chat_stream("x")
        time.sleep(0.05)  # all of it is in the socket
        next(stream)
        stream.cancel()
        with pytest.raises(StreamCancelledError):
            next(stream)
        assert stream.current_message.content in ("", "a", "more")
