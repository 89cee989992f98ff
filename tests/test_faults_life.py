"""Promises 6, 7, 25-30, 33: how an answer is left, and what is left of it then."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import pickle
import random
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import faults
import pytest
from endings import ChunksAndEndings
from faults import (
    DONE,
    FORKS_BESIDE_THREADS,
    Conn,
    Gone,
    Script,
    answer,
    answers,
    ask,
    authority,
    body,
    child,
    client,
    event,
    listen,
    listen_here,
    output,
    play,
    reply,
    stall,
    stall_after,
    status_answer,
    text,
)

from websopy_sync import (
    APITimeoutError,
    CancelToken,
    Message,
    StreamCancelledError,
    StreamError,
    StreamInterruptedError,
    Timeouts,
    Usage,
    WebsopyError,
    hookimpl,
)

FAR = Timeouts(connect=5, first_chunk=5, idle=5, total=5)
HALF = text("half")
AT_ONCE = 0.5
"""Seconds within which something happens "at once", on a machine that is busy with other things."""


class Watched:
    """A script that gives some events and then waits until the client has left."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces
        self.gone = threading.Event()

    def __call__(self, conn: Conn) -> None:
        conn.read_request()
        conn.head()
        with contextlib.suppress(Gone):  # it may have left before the first piece
            conn.body(*self.pieces)
            conn.wait_gone()
        self.gone.set()

    def check(self) -> None:
        """The client left before its server gave up."""
        assert self.gone.wait(faults.PATIENCE), "the connection is still open"


# --------------------------------------------------------------------------------------- leaving


def leave_by_break(stream: Any) -> None:
    for _ in stream:
        break


def leave_by_exception(stream: Any) -> None:
    with contextlib.suppress(ZeroDivisionError):
        for _ in stream:
            raise ZeroDivisionError


def leave_by_close(stream: Any) -> None:
    next(stream)
    stream.close()


def leave_by_close_unread(stream: Any) -> None:
    stream.close()


def leave_by_with(stream: Any) -> None:
    with stream:
        next(stream)


def leave_by_exception_in_with(stream: Any) -> None:
    with contextlib.suppress(ZeroDivisionError), stream:
        raise ZeroDivisionError


def leave_by_closing_the_iterator(stream: Any) -> None:
    iterator = iter(stream)
    next(iterator)
    iterator.close()


def leave_by_dropping_the_iterator(stream: Any) -> None:
    iterator = iter(stream)
    next(iterator)
    del iterator


def leave_text_by_break(stream: Any) -> None:
    for _ in stream.text_stream:
        break


def leave_text_by_close(stream: Any) -> None:
    texts = stream.text_stream
    next(texts)
    texts.close()


WAYS = [way for name, way in list(globals().items()) if name.startswith("leave_")]


@pytest.mark.timing
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("tls", [False, True])
def test_leaving_closes_the_connection_at_once(way: Callable[[Any], None], tls: bool) -> None:
    """However it is left: the server sees it, though the stream is held; plugins hear once."""
    watched, endings = Watched(HALF), ChunksAndEndings()
    with play(watched, tls=authority().server() if tls else None) as server:
        with client(server, plugins=[endings]) as asker:
            stream = asker.ai.chat_stream("hi")
            begun = time.monotonic()
            way(stream)
            assert time.monotonic() - begun < AT_ONCE
            watched.check()
            assert stream.state == "closed"
            assert stream.current_message.content in ("", "half")
            stream.close()
    assert endings.ends == ["StreamCancelledError closed"]


@pytest.mark.parametrize("read", [0, 1])
def test_garbage(read: int) -> None:
    """A stream that nobody holds any more is closed without a run of the collector."""
    watched, endings = Watched(HALF), ChunksAndEndings()
    gc.collect()
    gc.disable()
    try:
        with play(watched) as server, client(server, plugins=[endings]) as asker:
            stream = asker.ai.chat_stream("hi")
            for _ in range(read):
                next(stream)
            del stream
            watched.check()
            assert endings.ends == ["StreamCancelledError closed"]
    finally:
        gc.enable()


def test_garbage_in_a_loop() -> None:
    """So is one that only the loop held."""
    watched, endings = Watched(HALF), ChunksAndEndings()
    gc.disable()
    try:
        with play(watched) as server, client(server, plugins=[endings]) as asker:
            for _ in asker.ai.chat_stream("hi"):
                break
            watched.check()
            assert endings.ends == ["StreamCancelledError closed"]
    finally:
        gc.enable()


def test_client_that_only_the_loop_knows() -> None:
    """A client that nobody holds serves its stream to the end."""
    with play(answer("a", "b")) as server:
        stream = client(server).ai.chat_stream("hi")
        gc.collect()
        assert stream.get_final_text() == "ab"


ABANDONED = """
    import sys, threading
    from websopy_sync import WebsopyClient

    stream = WebsopyClient("key", base_url=sys.argv[1], plugins=[]).ai.chat_stream("hi")
    print(next(stream).content, flush=True)
    if sys.argv[2] == "thread":
        threading.Thread(target=lambda: next(stream), daemon=True).start()
"""


@pytest.mark.parametrize("how", ["held", "thread"])
def test_process_that_ends_in_the_middle(how: str) -> None:
    """A process that ends with an open stream ends, at once and without a word."""
    watched = Watched(HALF)
    with play(watched) as server, child(ABANDONED, server.url, how) as process:
        assert output(process, seconds=5) == ["half"]
        watched.check()


def read_by_loop(stream: Any) -> None:
    for _ in stream:
        pass


def read_by_next(stream: Any) -> None:
    with contextlib.suppress(StopIteration):
        while True:
            next(stream)


def read_as_text(stream: Any) -> None:
    for _ in stream.text_stream:
        pass


@pytest.mark.parametrize("read", [read_by_loop, read_by_next, read_as_text])
def test_finished_stream_leaves_no_cycle(read: Callable[[Any], None]) -> None:
    """A stream read to its end is freed at once."""
    freed = threading.Event()

    class Flag:
        def __del__(self) -> None:
            freed.set()

    gc.disable()
    try:
        with play(answers()) as server, client(server) as asker:
            stream = asker.ai.chat_stream("hi")
            stream.flag = Flag()
            read(stream)
            del stream
            assert freed.is_set()
    finally:
        gc.enable()


def test_client_closed() -> None:
    """Closing the client closes its open streams."""
    watched, endings = [Watched(HALF), Watched(HALF)], ChunksAndEndings()
    with play(*watched) as server:
        asker = client(server, plugins=[endings])
        streams = [asker.ai.chat_stream("hi") for _ in range(2)]
        next(streams[0])
        asker.close()
        for one in watched:
            one.check()
        assert [stream.state for stream in streams] == ["closed", "closed"]
    assert endings.ends == ["StreamCancelledError closed"] * 2


@pytest.mark.timing
def test_client_closed_under_a_reader() -> None:
    """A reader that is blocked in another thread is told."""
    with play(stall_after(HALF)) as server:
        asker = client(server, timeout=FAR)
        stream = asker.ai.chat_stream("hi")
        threading.Timer(0.1, asker.close).start()
        got = listen(lambda: stream)
    assert type(got.error) is StreamCancelledError
    assert (got.error.reason, got.error.partial.content, got.seconds < 0.7) == (
        "closed",
        "half",
        True,
    )


def test_question_to_a_closed_client() -> None:
    """A closed client is not asked; nothing is sent."""
    with play() as server:
        asker = client(server)
        asker.close()
        asker.close()
        with pytest.raises(WebsopyError):
            asker.ai.chat_stream("hi")


@pytest.mark.timing
def test_closed_by_another_thread() -> None:
    """close() from another thread wakes the reader and does not wait itself."""
    with play(stall_after(HALF)) as server, client(server, timeout=FAR) as asker:
        stream = asker.ai.chat_stream("hi")
        took = []

        def close() -> None:
            begun = time.monotonic()
            stream.close()
            took.append(time.monotonic() - begun)

        threading.Timer(0.1, close).start()
        got = listen(lambda: stream)
    assert type(got.error) is StreamCancelledError
    assert (got.error.reason, stream.state) == ("closed", "closed")
    assert took[0] < AT_ONCE and got.seconds < 0.1 + AT_ONCE


def test_read_on_after_close() -> None:
    """Who reads on after close() is told, whoever closed."""
    with play(*[stall_after(text("a") + text("b"))] * 2) as server, client(server) as asker:
        for close_it in (lambda stream: stream.close(), close_in_a_thread):
            stream = asker.ai.chat_stream("hi")
            next(stream)
            close_it(stream)
            with pytest.raises(StreamCancelledError) as caught:
                next(stream)
            assert (caught.value.reason, caught.value.partial.content) == ("closed", "a")
            with pytest.raises(StreamCancelledError):
                stream.get_final_message()


def close_in_a_thread(stream: Any) -> None:
    """close(), called by a thread that does not read."""
    thread = threading.Thread(target=stream.close)
    thread.start()
    thread.join()


def test_close_in_a_hook() -> None:
    """A plugin may close the stream that it is told of."""
    endings = ChunksAndEndings()

    class Closer:
        @hookimpl
        def on_chunk(self, stream: Any) -> None:
            stream.close()

    with play(stall_after(HALF)) as server:
        with client(server, plugins=[Closer(), endings]) as asker:
            got = ask(server, through=asker)
    assert (type(got.error), got.error.reason) == (StreamCancelledError, "closed")
    assert endings.ends == ["StreamCancelledError closed"]


def test_two_readers() -> None:
    """A second thread that reads the same stream is refused by our own error; the first goes on."""
    told = threading.Event()

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head()
        conn.wait(told)
        conn.body(text("a"), DONE)
        conn.end()

    with play(script) as server, client(server) as asker:
        stream = asker.ai.chat_stream("hi")
        first = threading.Thread(
            target=lambda: outcomes.append(listen(lambda: iter_by_next(stream)))
        )
        outcomes: list[faults.Outcome] = []
        first.start()
        time.sleep(0.1)
        with pytest.raises(StreamError):
            next(stream)
        told.set()
        first.join(2)
    assert (outcomes[0].text, outcomes[0].error) == ("a", None)


def iter_by_next(stream: Any) -> Iterator[Any]:
    """The chunks of a stream as next() gives them."""
    with contextlib.suppress(StopIteration):
        while True:
            yield next(stream)


# -------------------------------------------------------------------------------------- cancelling


@pytest.mark.parametrize(
    "framing", [faults.http_chunked, faults.to_close, lambda: faults.length(9999)]
)
def test_cancel_in_every_framing(framing: Any) -> None:
    """A shutdown that looks like an orderly end is not taken for one."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head(framing=framing())
        conn.body(HALF)
        conn.wait_gone()

    with play(script) as server, client(server, timeout=FAR) as asker:
        stream = asker.ai.chat_stream("hi")
        threading.Timer(0.05, stream.cancel).start()
        got = listen(lambda: stream)
    assert (type(got.error), got.text) == (StreamCancelledError, "half")


def test_cancel_before_the_first_step() -> None:
    """So does one right after the call."""
    with play(stall_after(HALF)) as server:
        with client(server) as asker:
            stream = asker.ai.chat_stream("hi")
            stream.cancel()
            got = listen(lambda: stream)
    assert (type(got.error), got.chunks) == (StreamCancelledError, [])


def test_cancel_of_a_stream_that_nobody_reads_closes_its_connection() -> None:
    """The server is not kept busy until somebody looks."""
    watched = Watched(HALF)
    with play(watched) as server, client(server) as asker:
        stream = asker.ai.chat_stream("hi")
        next(stream)
        stream.cancel()
        watched.check()
        stream.close()
        assert stream.state == "cancelled"


def test_cancel_twice_and_late() -> None:
    """cancel() may be called again, and after the end; a done answer stays done."""
    with play(answers("hi")) as server, client(server) as asker:
        stream = asker.ai.chat_stream("hi")
        assert stream.get_final_text() == "hi"
        stream.cancel()
        stream.cancel()
        stream.close()
        assert (stream.state, stream.get_final_text()) == ("done", "hi")
        assert ask(server, through=asker).text == "hi"


def test_late_token_does_not_touch_the_next_answer() -> None:
    """A token of an answer that is done leaves its connection alone, which serves another now."""
    token = CancelToken()
    with play(answers("hi")) as server, client(server) as asker:
        assert ask(server, through=asker, cancel_token=token).text == "hi"
        stream = asker.ai.chat_stream("hi")
        token.cancel()
        assert stream.get_final_text() == "hi"


@pytest.mark.parametrize("end", ["done", "cut", "refused", "closed", "left", "cancelled"])
def test_token_lets_go_of_a_stream_that_ended(end: str) -> None:
    """A token that lives as long as the program does not grow with each answer."""
    token = CancelToken()
    scripts = {
        "done": answer("a"),
        "cut": body(HALF, end=False),
        "refused": faults.status_answer(401),
    }
    with play(scripts.get(end, stall_after(HALF))) as server, client(server) as asker:
        with contextlib.suppress(WebsopyError):
            stream: Any = asker.ai.chat_stream("hi", cancel_token=token)
            if end in ("closed", "cancelled"):
                next(stream)
                (stream.close if end == "closed" else stream.cancel)()
            for _ in stream:
                if end == "left":
                    break
        assert not token._callbacks


@pytest.mark.timing
def test_one_token_for_many() -> None:
    """One token ends all its streams, each with its own partial answer."""
    token = CancelToken()
    scripts = [stall_after(text(str(number))) for number in range(4)]
    with play(*scripts) as server, client(server, timeout=FAR) as asker:
        streams = [asker.ai.chat_stream("hi", cancel_token=token) for _ in scripts]
        outcomes: dict[int, faults.Outcome] = {}

        def read(number: int) -> None:
            outcomes[number] = listen(lambda: streams[number])

        threads = [threading.Thread(target=read, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(0.1)
        token.cancel()
        for thread in threads:
            thread.join(AT_ONCE)
            assert not thread.is_alive()
    assert [outcomes[number].error.partial.content for number in range(4)] == list("0123")
    assert {type(one.error) for one in outcomes.values()} == {StreamCancelledError}


def test_cancel_out_of_a_hook() -> None:
    """A plugin may cancel the stream it is told of."""

    class Enough:
        @hookimpl
        def on_chunk(self, stream: Any) -> None:
            stream.cancel()

    with play(stall_after(HALF + HALF)) as server, client(server, plugins=[Enough()]) as asker:
        got = ask(server, through=asker)
    assert type(got.error) is StreamCancelledError
    assert got.text in ("", "half")


@pytest.mark.timing
def test_cancel_out_of_a_signal_handler() -> None:
    """A signal handler may cancel the very thread that it interrupts."""
    with play(stall_after(HALF)) as server, client(server, timeout=FAR) as asker:
        stream = asker.ai.chat_stream("hi")
        old = signal.signal(signal.SIGALRM, lambda *_: stream.cancel())
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            got = listen(lambda: stream)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, old)
    assert type(got.error) is StreamCancelledError
    assert got.seconds < 0.1 + AT_ONCE


class AlarmError(Exception):
    """What a program's own signal handler raises, as job queues do at their soft time limit."""


@pytest.mark.timing
@pytest.mark.parametrize("script", [stall, stall_after(HALF)])
@pytest.mark.parametrize("kind", [AlarmError, MemoryError])
def test_exception_out_of_a_signal_handler(script: Script, kind: type[Exception]) -> None:
    """What a signal handler raises into a blocked read comes out as it is; nothing is re-sent."""
    watched, endings = threading.Event(), ChunksAndEndings()

    def ring(*_: object) -> None:
        raise kind("out of the handler")

    def play_and_watch(conn: Conn) -> None:
        script(conn)
        watched.set()

    with play(play_and_watch) as server:
        with client(server, plugins=[endings], timeout=FAR) as asker:
            old = signal.signal(signal.SIGALRM, ring)
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.15)
                with pytest.raises(kind, match="out of the handler"):
                    listen_here(lambda: asker.ai.chat_stream("hi"))
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, old)
            assert watched.wait(AT_ONCE)
    assert (endings.asked, len(endings.ends)) == (1, 1)


@pytest.mark.slow
def test_cancel_around_the_end_spoils_nothing() -> None:
    """A cancel() at any moment around done ends this answer or comes too late: never another."""
    chance = random.Random(5)
    with play(always=answers("hi")) as server, client(server) as asker:
        for _ in range(150):
            stream = asker.ai.chat_stream("hi")
            timer = threading.Timer(chance.random() * 0.002, stream.cancel)
            timer.start()
            got = listen(lambda stream=stream: stream)  # type: ignore[misc]
            assert got.error is None or type(got.error) is StreamCancelledError
            following = ask(server, through=asker)
            assert (following.text, following.error) == ("hi", None)
            assert following.stream.retries_taken == 0
            timer.join()


@pytest.mark.timing
def test_cancel_while_bytes_rush_in() -> None:
    """cancel() of a busy stream is neither late nor slow."""

    def busy(conn: Conn) -> None:
        conn.read_request()
        conn.head()
        conn.flood(faults.http_chunk(text("x" * 1000)), limit=400_000_000)

    with play(busy) as server, client(server, timeout=FAR) as asker:
        stream = asker.ai.chat_stream("hi", keep_message=False)
        took = []

        def cancel() -> None:
            begun = time.monotonic()
            stream.cancel()
            took.append(time.monotonic() - begun)

        threading.Timer(0.1, cancel).start()
        got = listen(lambda: stream)
    assert type(got.error) is StreamCancelledError
    assert (took[0] < AT_ONCE, got.seconds < 0.1 + AT_ONCE) == (True, True)


def strict_states() -> Iterator[tuple[str, Script, bool]]:
    yield "head", stall, False
    yield "body", stall_after(HALF), False
    yield "tls head", stall, True
    yield "tls body", stall_after(HALF), True
    yield "back-off", status_answer(503, {"Retry-After": "2"}), False
    yield "resuming", body(b"retry: 3000\n\n", text("half", id="1"), end=False), False


@pytest.mark.timing
@pytest.mark.slow
@pytest.mark.parametrize(("name", "script", "tls"), list(strict_states()))
def test_strict_cancel(name: str, script: Script, tls: bool) -> None:
    """The median of 20: the reader is out within 50 ms, and cancel() did not wait itself."""
    late, took = [], []
    with play(always=script, tls=authority().server() if tls else None) as server:
        with client(server, timeout=FAR) as asker:
            for _ in range(20):
                token = CancelToken()

                def cancel(token: CancelToken = token) -> None:
                    begun = time.monotonic()
                    token.cancel()
                    took.append(time.monotonic() - begun)
                    late.append(begun)

                timer = threading.Timer(0.04, cancel)
                timer.start()
                got = ask(server, through=asker, cancel_token=token)
                out = time.monotonic()
                timer.join()
                assert type(got.error) is StreamCancelledError
                late[-1] = out - late[-1]
    assert len(server.conns) > 10  # on a busy machine one may be cancelled before it connects
    assert statistics.median(late) < 0.05
    assert statistics.median(took) < 0.05


# ------------------------------------------------------------------------------------ exact limits


def trickle_head(conn: Conn) -> None:
    conn.read_request()
    conn.trickle(b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 500, every=0.005)


def trickle_comments(conn: Conn) -> None:
    conn.read_request()
    conn.head()
    conn.keep_until_gone(b":\n\n", every=0.005)


def trickle_chunks(conn: Conn) -> None:
    conn.read_request()
    conn.head()
    conn.keep_until_gone(HALF, every=0.005)


def trickle_trailers(conn: Conn) -> None:
    conn.read_request()
    conn.head()
    conn.send(b"0\r\nX-Slow: ")
    conn.trickle(b"x" * 500, every=0.005)


def trickle_refusal(conn: Conn) -> None:
    conn.read_request()
    conn.head(400)
    conn.keep_until_gone(b"no", every=0.005)


def back_off(conn: Conn) -> None:
    conn.read_request()
    faults.reply_status(conn, 500)


STRICT = [stall, stall_after(), trickle_head, trickle_comments, trickle_chunks, trickle_trailers,
          trickle_refusal, back_off]  # fmt: skip


@pytest.mark.timing
@pytest.mark.slow
@pytest.mark.parametrize("script", STRICT)
@pytest.mark.parametrize("tls", [False, True])
def test_strict_total_limit(script: Script, tls: bool) -> None:
    """The median of 7: the total limit ends any trickle within 50 ms."""
    limits = Timeouts(connect=5, first_chunk=5, idle=5, total=0.12)
    over = []
    with play(always=script, tls=authority().server() if tls else None) as server:
        with client(server, timeout=limits) as asker:
            for _ in range(7):
                got = ask(server, through=asker, max_retries=100)
                assert got.error is not None
                over.append(got.seconds - 0.12)
    assert statistics.median(over) < 0.05


# ---------------------------------------------------------------------------------------- the end


def test_done_gives_the_connection_back() -> None:
    """n answers in a row are one connection."""
    with play(answers("hi")) as server, client(server) as asker:
        for _ in range(10):
            got = ask(server, through=asker)
            assert (got.text, got.stream.state) == ("hi", "done")
        assert len(server.requests) == 10


@pytest.mark.parametrize("framing", ["length", "gzip", "one chunk"])
def test_done_gives_the_connection_back_in_every_framing(framing: str) -> None:
    """However the body is framed, as long as it has an end of its own."""
    whole = text("hi") + DONE

    def script(conn: Conn) -> None:
        for _ in range(5):
            conn.read_request()
            made = {
                "length": lambda: faults.length(len(whole)),
                "gzip": lambda: faults.encoded(faults.http_chunked()),
                "one chunk": lambda: faults.one_http_chunk(len(whole)),
            }[framing]()
            conn.head(framing=made)
            conn.body(whole)
            conn.end()

    with play(script) as server, client(server) as asker:
        assert [ask(server, through=asker).text for _ in range(5)] == ["hi"] * 5


def test_break_at_done_is_a_whole_answer() -> None:
    """Who leaves at the done chunk has left nothing: done, and one connection."""
    endings = ChunksAndEndings()
    with play(answers("hi")) as server, client(server, plugins=[endings]) as asker:
        for _ in range(4):
            stream = asker.ai.chat_stream("hi")
            for piece in stream:
                if piece.type == "done":
                    break
            assert stream.state == "done"
    assert endings.ends == ["done"] * 4


@pytest.mark.timing
def test_end_that_comes_a_little_late() -> None:
    """A body's end that comes a moment after done costs no noticeable time, whatever follows."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head()
        conn.body(text("hi"), DONE)
        conn.pause(0.2)
        conn.end()
        conn.wait_gone()

    with play(*[script] * 5) as server, client(server) as asker:
        begun = time.monotonic()
        for _ in range(5):
            assert ask(server, through=asker).text == "hi"
        assert time.monotonic() - begun < 0.5


def test_after_the_end() -> None:
    """After the end there is nothing more to read; reading anew is a mistake that is told."""
    with play(answers("hi")) as server, client(server) as asker:
        stream = asker.ai.chat_stream("hi")
        assert [piece.type for piece in stream] == ["content", "done"]
        with pytest.raises(StreamError):
            list(stream)
        assert stream.get_final_message() == Message("hi", (), Usage(20, 150))
        assert stream.until_done() is not None
        other = asker.ai.chat_stream("hi")
        next(other), next(other)
        for _ in range(2):
            with pytest.raises(StopIteration):
                next(other)


def test_after_an_error() -> None:
    """An answer that failed stays failed."""
    with play(body(HALF, end=False)) as server, client(server) as asker:
        stream = asker.ai.chat_stream("hi")
        with pytest.raises(StreamInterruptedError):
            list(stream)
        with pytest.raises(StreamInterruptedError):
            stream.get_final_message()
        with pytest.raises((StopIteration, WebsopyError)):
            next(stream)
        stream.cancel()
        stream.close()
        assert stream.state == "error"


def test_final_message_after_a_part() -> None:
    """What was read counts: the final message is the whole."""
    with play(answer("a", "b", "c")) as server, client(server) as asker:
        stream = asker.ai.chat_stream("hi")
        assert next(stream).content == "a"
        assert stream.current_message.content == "a"
        assert stream.get_final_message().content == "abc"


def test_slow_consumer_is_not_idle() -> None:
    """Time that the consumer takes is not the server's."""
    limits = Timeouts(connect=5, first_chunk=0.2, idle=0.2, total=5)

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head()
        conn.body(text("a"))
        conn.pause(0.25)
        conn.body(text("b"))
        conn.pause(0.1)
        conn.body(DONE)
        conn.end()

    with play(script) as server, client(server, timeout=limits) as asker:
        for piece in asker.ai.chat_stream("hi"):
            if piece.type == "content":
                time.sleep(0.3)
        assert piece.type == "done"


def test_slow_consumer_meets_the_total_limit() -> None:
    """The total limit is on the whole call."""
    limits = Timeouts(connect=5, first_chunk=5, idle=5, total=0.2)
    with play(stall_after(text("a"))) as server, client(server, timeout=limits) as asker:
        stream = asker.ai.chat_stream("hi")
        next(stream)
        time.sleep(0.25)
        with pytest.raises(APITimeoutError) as caught:
            next(stream)
    assert caught.value.phase == "total"


def test_slow_consumer_that_never_looks() -> None:
    """A stream that nobody reads costs the server's patience, not ours: it can be closed."""
    watched = Watched(*[text("x" * 10_000)] * 20)
    with play(watched) as server, client(server) as asker:
        stream = asker.ai.chat_stream("hi")
        time.sleep(0.1)
        stream.close()
        watched.check()


# --------------------------------------------------------------------------------------- endings

ENDS: dict[str, tuple[Script, Callable[[Any], None], str]] = {
    "done": (answer("a"), list, "done"),
    "whole": (answer("a"), lambda stream: stream.get_final_text(), "done"),
    "cut": (body(HALF, end=False), list, "StreamInterruptedError"),
    "no JSON": (body(HALF, b"data: x\n\n"), list, "StreamProtocolError"),
    "error chunk": (body(event({"type": "error", "error": "x"})), list, "StreamServerError"),
    "error chunk, left": (
        body(event({"type": "error", "error": "x"})), lambda stream: next(iter(stream)),
        "StreamServerError",
    ),
    "idle": (stall_after(HALF), list, "APITimeoutError"),
    "text alone": (answer("a"), lambda stream: list(stream.text_stream), "done"),
}  # fmt: skip


@pytest.mark.parametrize("name", ENDS)
def test_nothing_adds_a_second_end(name: str) -> None:
    """After its end a stream is cancelled, closed and dropped: plugins hear nothing more."""
    script, read, end = ENDS[name]
    endings = ChunksAndEndings()
    limits = Timeouts(connect=5, first_chunk=5, idle=0.2, total=5)
    with play(script) as server, client(server, plugins=[endings], timeout=limits) as asker:
        stream = asker.ai.chat_stream("hi")
        with contextlib.suppress(WebsopyError):
            read(stream)
        stream.cancel()
        stream.close()
        del stream
        gc.collect()
    assert (endings.asked, endings.ends) == (1, [end])


@pytest.mark.parametrize(
    ("script", "end"),
    [
        (status_answer(401), "AuthenticationError"), (faults.hang_up, "APIConnectionError"),
        (answer(headers={"Content-Type": "text/html"}), "StreamProtocolError"),
        (stall, "APITimeoutError"),
    ],
)  # fmt: skip
def test_one_end_without_a_stream(script: Script, end: str) -> None:
    """The call itself raises: plugins hear of that end once."""
    endings = ChunksAndEndings()
    limits = Timeouts(connect=5, first_chunk=0.2, idle=5, total=5)
    with play(script) as server, client(server, plugins=[endings], timeout=limits) as asker:
        ask(server, through=asker, max_retries=0)
    assert (endings.asked, endings.ends) == (1, [end])


def test_chunks_come_to_hooks_in_order_and_first() -> None:
    """on_chunk has each chunk before the loop does, and current_message holds it already."""
    seen: list[str] = []

    class Watcher:
        @hookimpl
        def on_chunk(self, chunk: Any, stream: Any) -> None:
            if chunk.type == "content":
                seen.append(f"hook {stream.current_message.content}")

    with play(answer("a", "b")) as server, client(server, plugins=[Watcher()]) as asker:
        for piece in asker.ai.chat_stream("hi"):
            if piece.type == "content":
                seen.append(f"loop {piece.content}")
    assert seen == ["hook a", "loop a", "hook ab", "loop b"]


@pytest.mark.parametrize("hook", ["on_request", "on_chunk", "on_done", "on_error", "on_retry"])
def test_plugin_that_raises(hook: str, caplog: pytest.LogCaptureFixture) -> None:
    """A plugin that raises breaks neither the answer nor another plugin; it is logged once."""

    def fail(self: Any) -> None:
        raise RuntimeError("plugin is broken")

    broken = type("Broken", (), {hook: hookimpl(fail)})()
    endings = ChunksAndEndings()
    scripts = [status_answer(503, {"Retry-After": "0"}), answer("a", "b"), body(HALF, end=False)]
    with play(*scripts) as server, client(server, plugins=[broken, endings]) as asker:
        assert ask(server, through=asker).text == "ab"
        assert type(ask(server, through=asker).error) is StreamInterruptedError
    assert endings.ends == ["done", "StreamInterruptedError"]
    assert endings.chunks == ["content", "content", "done", "content"]
    logged = [record for record in caplog.records if "Broken" in record.getMessage()]
    assert len(logged) == 1 and logged[0].exc_info


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_plugin_that_is_interrupted(kind: type[BaseException]) -> None:
    """KeyboardInterrupt and SystemExit pass through, and the connection is closed."""

    class Interrupted:
        @hookimpl
        def on_chunk(self) -> None:
            raise kind

    watched, endings = Watched(HALF), ChunksAndEndings()
    with play(watched) as server, client(server, plugins=[Interrupted(), endings]) as asker:
        stream = asker.ai.chat_stream("hi")
        with pytest.raises(kind):
            next(stream)
        watched.check()
    assert endings.ends == ["StreamCancelledError closed"]


def test_chunks_are_frozen() -> None:
    """No plugin can change what another, or the loop, sees."""
    tool = event({"type": "tool_call", "tool": {"name": "f", "arguments": "{}"}})
    with play(body(HALF, tool, DONE)) as server:
        got = ask(server)
    for piece in got.chunks:
        for field in attrs.fields(type(piece)):
            with pytest.raises(attrs.exceptions.FrozenInstanceError):
                setattr(piece, field.name, "changed")


def test_unknown_chunk_is_frozen_to_its_depth() -> None:
    """Nor in the JSON of a chunk that this version does not know."""

    class Vandal:
        @hookimpl
        def on_chunk(self, chunk: Any) -> None:
            with contextlib.suppress(TypeError, AttributeError):
                chunk.data["text"] = "changed"
            with contextlib.suppress(TypeError, AttributeError):
                chunk.data["deep"]["text"] = "changed"
            with contextlib.suppress(TypeError, AttributeError):
                chunk.data["list"].append("changed")

    sent = {"type": "new", "text": "a", "deep": {"text": "b"}, "list": []}
    with play(body(event(sent), DONE)) as server, client(server, plugins=[Vandal()]) as asker:
        got = ask(server, through=asker)
    assert got.error is None
    assert json.loads(json.dumps(got.chunks[0].to_dict()["data"])) == sent


# ------------------------------------------------------------------------------ threads and forks


def echo(conn: Conn) -> None:
    """Answer each question with itself."""
    while True:
        request = conn.read_request()
        content = json.loads(request.body)["messages"][-1]["content"]
        conn.pause(0.002)
        reply(conn, f"{conn.number}:{content}")


def test_one_client_many_threads() -> None:
    """Eight threads, one client: each gets its own answers."""
    wrong: list[str] = []
    with play(always=echo) as server, client(server, timeout=FAR) as asker:

        def talk(name: int) -> None:
            for number in range(20):
                question = f"{name}-{number}"
                got = ask(server, through=asker, messages=question)
                if got.text.partition(":")[2] != question:
                    wrong.append(f"{question} got {got.text} {got.error!r}")

        threads = [threading.Thread(target=talk, args=(name,)) for name in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(server.conns) < 40  # 8, but for an end that came too late on a busy machine
    assert wrong == []


def test_one_client_many_threads_that_leave() -> None:
    """The same when half of the answers are left or cancelled."""
    wrong: list[str] = []

    def script(conn: Conn) -> None:
        while True:
            request = conn.read_request()
            content = json.loads(request.body)["messages"][-1]["content"]
            conn.head()
            conn.body(text(content), text(content), DONE)
            conn.end()

    with play(always=script) as server, client(server, timeout=FAR) as asker:

        def talk(name: int) -> None:
            for number in range(20):
                stream = asker.ai.chat_stream(question := f"{name}-{number}")
                if next(stream).content != question:
                    wrong.append(question)
                (stream.close, stream.cancel, stream.until_done, lambda: None)[number % 4]()
                del stream

        threads = [threading.Thread(target=talk, args=(name,)) for name in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_many_answers_at_once() -> None:
    """One client may have sixty answers open at a time, each on a connection of its own."""
    going_on = threading.Event()

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head()
        conn.body(text(str(conn.number)))
        conn.wait(going_on)
        conn.body(text(str(conn.number)), DONE)
        conn.end()

    with play(*[script] * 60) as server, client(server, timeout=FAR) as asker:
        streams = [asker.ai.chat_stream("hi") for _ in range(60)]
        firsts = [next(stream).content for stream in streams]
        assert sorted(map(int, firsts)) == list(range(60))
        going_on.set()
        for first, stream in zip(firsts, streams, strict=True):
            assert stream.get_final_text() == first * 2


FORK = """
    import os, sys, warnings
    from websopy_sync import WebsopyClient

    def tell(text):
        os.write(1, f"{text}\\n".encode())  # in one piece, as two processes write

    client = WebsopyClient("key", base_url=sys.argv[1], plugins=[])
    tell(client.ai.chat("before").content)
    pid = os.fork()
    who = "parent" if pid else "child"
    for number in range(3):
        tell(client.ai.chat(f"{who}{number}").content)
    if pid == 0:
        client.close()
        sys.exit()
    assert os.waitpid(pid, 0)[1] == 0
    tell(client.ai.chat("after").content)
    client.close()
"""


def test_fork_with_an_idle_connection() -> None:
    """A forked child opens its own connection; the parent's stays the parent's."""
    with play(always=echo) as server, child(FORK, server.url) as process:
        lines = output(process)
    by_question = {line.partition(":")[2]: line.partition(":")[0] for line in lines}
    assert len(lines) == 8
    parents = {by_question[name] for name in ("before", "parent0", "parent1", "parent2", "after")}
    children = {by_question[name] for name in ("child0", "child1", "child2")}
    assert (len(parents), len(children), parents & children) == (1, 1, set())


FORK_WITH_A_LOCK_HELD = """
    import os, sys, threading
    from websopy_sync import WebsopyClient

    client = WebsopyClient("key", base_url=sys.argv[1], plugins=[])
    client.ai.chat("before")
    pools = client._calls._transport._adapter.poolmanager.pools
    held, over = threading.Event(), threading.Event()

    def hold():
        with pools.lock:
            held.set()
            over.wait()

    threading.Thread(target=hold).start()
    held.wait()
    pid = os.fork()
    if pid == 0:
        if sys.argv[2] == "ask":
            client.ai.chat("child")
        client.close()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    over.set()
    print("over")
"""


@pytest.mark.parametrize("does", ["close", "ask"])
def test_fork_while_another_thread_holds_the_pools_lock(does: str) -> None:
    """The child has no such thread, so it must not wait for the lock."""
    with play(always=echo) as server:
        with child(FORK_WITH_A_LOCK_HELD, server.url, does, env=FORKS_BESIDE_THREADS) as process:
            assert output(process) == ["over"]


FORK_IN_A_STREAM = """
    import gc, os, sys
    from websopy_sync import WebsopyClient

    client = WebsopyClient("key", base_url=sys.argv[1], plugins=[], verify=sys.argv[2] or True)
    stream = client.ai.chat_stream("hi")
    print(next(stream).content, flush=True)
    pid = os.fork()
    if pid == 0:
        stream.close() if sys.argv[3] == "close" else None
        client.close()
        del stream, client
        gc.collect()
        sys.exit()
    assert os.waitpid(pid, 0)[1] == 0
    print(stream.get_final_text(), stream.state)
    client.close()
"""


@pytest.mark.parametrize("how", ["close", "leave"])
@pytest.mark.parametrize("tls", [False, True])
def test_fork_in_a_stream(how: str, tls: bool) -> None:
    """A child that lets go of the parent's stream does not end it."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head()
        conn.body(text("a"))
        conn.pause(0.3)
        conn.body(text("b"), DONE)
        conn.end()

    path = authority().path if tls else ""
    with play(script, tls=authority().server() if tls else None) as server:
        with child(FORK_IN_A_STREAM, server.url, path, how) as process:
            assert output(process) == ["a", "ab done"]


# ------------------------------------------------------------------------------------------ Ctrl-C

INTERRUPTED = """
    import signal, sys
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from websopy_sync import Timeouts, WebsopyClient, hookimpl

    class Told:
        @hookimpl
        def on_error(self, error):
            print("told", type(error).__name__, getattr(error, "reason", ""), flush=True)

        @hookimpl
        def on_done(self):
            print("done", flush=True)

        @hookimpl
        def on_retry(self):
            print("waiting", flush=True)

    client = WebsopyClient("key", base_url=sys.argv[1], plugins=[Told()],
                           timeout=Timeouts(total=20), verify=sys.argv[2] or True)
    try:
        for chunk in client.ai.chat_stream("hi"):
            print(chunk.content, flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        input()
"""


def stalled_states() -> Iterator[tuple[str, Script, list[str]]]:
    yield "head", stall, []
    yield "body", stall_after(HALF), ["half"]
    yield "back-off", status_answer(503, {"Retry-After": "10"}), ["waiting"]
    resuming = body(b"retry: 10000\n\n", text("half", id="1"), end=False)
    yield "resuming", resuming, ["half", "waiting"]


@pytest.mark.timing
@pytest.mark.parametrize(("name", "script", "before"), list(stalled_states()))
@pytest.mark.parametrize("tls", [False, True])
def test_ctrl_c_while_stalled(name: str, script: Script, before: list[str], tls: bool) -> None:
    """KeyboardInterrupt comes out at once, plugins hear, the socket closes, nothing is re-sent."""
    gone = threading.Event()

    def watched(conn: Conn) -> None:
        script(conn)
        if name == "resuming":
            conn.half_close()
        conn.wait_gone()
        gone.set()

    path = authority().path if tls else ""
    with play(watched, tls=authority().server() if tls else None) as server:
        with child(INTERRUPTED, server.url, path) as process:
            assert process.stdout is not None
            for line in before:
                assert process.stdout.readline().strip() == line
            assert server.asked.wait(5)
            time.sleep(0.1)
            begun = time.monotonic()
            process.send_signal(signal.SIGINT)
            lines = [process.stdout.readline().strip() for _ in range(2)]
            assert time.monotonic() - begun < AT_ONCE
            assert gone.wait(AT_ONCE), "the connection outlives the interrupt"
            time.sleep(0.1)
            assert len(server.requests) == 1
    assert lines == ["told StreamCancelledError closed", "interrupted"]


# ------------------------------------------------------------------------------- pickles and copies


REAL = {
    "connection": faults.hang_up,
    "time": stall_after(HALF),
    "status": status_answer(429, {"Retry-After": "5", "X-Request-Id": "r"}, b"slow"),
    "interrupted": body(text("half", id="7"), b"id: \n\n", end=False),
    "protocol": body(HALF, b"data: x\n\n"),
    "server": body(HALF, event({"type": "error", "error": {"message": "m", "code": "c"}})),
}


@pytest.mark.parametrize("name", REAL)
def test_real_errors_survive_pickle(name: str) -> None:
    """An error as it is raised, not only as it is made, pickles whole and compares."""
    limits = Timeouts(connect=5, first_chunk=5, idle=0.2, total=5)
    with play(REAL[name]) as server:
        got = ask(server, max_retries=0, timeout=limits)
    back = pickle.loads(pickle.dumps(got.error))
    assert vars(back) == vars(got.error)
    assert back == got.error


# ---------------------------------------------------------------------------------- what is left


def open_files() -> int:
    """How many descriptors this process has."""
    return len(os.listdir("/proc/self/fd"))


def test_nothing_is_left_of_many_failures() -> None:
    """After fifty answers of every kind there are the threads and descriptors of before."""
    kinds: list[Script] = [
        answer(),
        status_answer(500),
        faults.hang_up,
        faults.reset,
        body(HALF, end=False),
        stall_after(HALF),
        stall,
        body(b"data: x\n\n"),
        answer(headers={"Content-Type": "text/html"}),
        status_answer(301, {"Location": "/"}),
    ]
    limits = Timeouts(connect=1, first_chunk=0.05, idle=0.05, total=1)
    gc.collect()
    files, threads = open_files(), threading.active_count()
    with play(*kinds * 5) as server, client(server, timeout=limits) as asker:
        for _ in range(50):
            ask(server, through=asker, max_retries=0)
    deadline = time.monotonic() + 1
    while (open_files(), threading.active_count()) != (files, threads):
        assert time.monotonic() < deadline, (open_files(), files, threading.enumerate())
        time.sleep(0.01)


def own_threads() -> int:
    """How many threads there are beside the fault server's."""
    return sum(not thread.name.startswith("faults") for thread in threading.enumerate())


def test_idle_client_has_no_thread() -> None:
    """A client between two answers costs no thread, and in an answer at most one for all."""
    with play(answers(), *[stall_after(HALF)] * 5) as server, client(server) as asker:
        quiet = own_threads()
        ask(server, through=asker)
        assert own_threads() == quiet
        streams = [asker.ai.chat_stream("hi") for _ in range(6)]
        for stream in streams:
            next(stream)
        assert own_threads() <= quiet + 1
        for stream in streams:
            stream.close()


def test_forgotten_client() -> None:
    """A client that nobody closed leaves nothing when it is collected."""
    with play(answers()) as server:
        asker = client(server)
        ask(server, through=asker)
        del asker
        gc.collect()
