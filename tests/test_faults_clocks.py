"""Promise 6: what counts for a limit, what does not, and which limit is said to have passed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import faults
import pytest
import requests
from faults import (
    DONE,
    Conn,
    Framing,
    Script,
    answer,
    ask,
    authority,
    client,
    encoded,
    event,
    http_chunked,
    play,
    text,
    to_close,
)
from test_custom_adapter import Own
from test_ways import WAYS, Way, over, travel

from websopy_sync import (
    APIConnectionError,
    APITimeoutError,
    StreamInterruptedError,
    Timeouts,
    WebsopyError,
)

pytestmark = pytest.mark.timing


def limits(**chosen: float) -> Timeouts:
    """Limits that no test meets but those chosen."""
    return Timeouts(**{"connect": 5, "first_chunk": 5, "idle": 5, "total": 5, **chosen})


# -------------------------------------------------------------------------- a limit is granted once


def late_head_then(*pieces: bytes) -> Script:
    """Most of the limit passes before the head, and then comes what is no chunk."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.pause(0.3)
        conn.head()
        conn.body(*pieces)
        conn.wait_gone()

    return script


@pytest.mark.parametrize("pieces", [[], [b": thinking\n\n"]], ids=["silence", "comment"])
@pytest.mark.parametrize("own_adapter", [False, True])
def test_first_chunk_is_granted_once(pieces: list[bytes], own_adapter: bool) -> None:
    """It lasts from the question's sending to the first chunk: the head does not begin it anew."""
    with play(late_head_then(*pieces)) as server, requests.Session() as session:
        if own_adapter:
            session.mount(server.url, Own())
        with client(server, session=session, timeout=limits(first_chunk=0.4)) as asker:
            got = ask(server, through=asker)
    assert type(got.error) is APITimeoutError
    assert got.error.phase == "first_chunk"
    assert 0.35 < got.seconds < 0.6


def test_idle_is_granted_once_to_a_resumption() -> None:
    """It lasts from the resumption's sending to the next chunk."""

    def cut(conn: Conn) -> None:
        conn.read_request()
        conn.head(headers=faults.LAST)
        conn.body(b"retry: 0\n\n", text("a", id="1"))

    with play(cut, late_head_then()) as server:
        got = ask(server, timeout=limits(idle=0.4))
    assert (type(got.error), got.error.phase) == (APITimeoutError, "idle")
    assert 0.35 < got.seconds < 0.65


def thinking(*, silent: bool) -> Script:
    """Reasoning for longer than any limit, then silence or the end."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head(headers=faults.LAST)
        for _ in range(4):
            conn.pause(0.15)
            conn.body(faults.thought("hm"))
        if silent:
            conn.wait_gone()
        conn.end(DONE)

    return script


def test_reasoning_is_progress() -> None:
    """It is the first chunk, and begins the idle limit anew: a model that thinks is not silent."""
    with play(thinking(silent=False)) as server:
        got = ask(server, timeout=limits(first_chunk=0.4, idle=0.4))
    assert (got.error, got.stream.current_message.reasoning) == (None, "hmhmhmhm")
    with play(thinking(silent=True)) as server:
        got = ask(server, timeout=limits(first_chunk=0.4, idle=0.4))
    assert (type(got.error), got.error.phase) == (APITimeoutError, "idle")
    assert (got.error.partial.reasoning, got.error.partial.content) == ("hmhmhmhm", "")


# -------------------------------------------------------------- what is here already is handed over


def whole_answer_at_once(framing: Callable[[], Framing]) -> Script:
    """Comments, then a chunk, all of it here before anybody reads it."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head(framing=framing())
        conn.pause(0.02)  # so that it does not come with the head
        conn.body(b": thinking\n\n", b": still\n\n", text("a"), text("b"))
        conn.end(DONE)
        conn.wait_gone()

    return script


FRAMINGS: dict[str, Callable[[], Framing]] = {
    "chunked": http_chunked,
    "gzip": lambda: encoded(http_chunked()),
    "to the close": to_close,
}


@pytest.mark.slow
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("framing", FRAMINGS.values(), ids=FRAMINGS)
def test_chunks_that_wait_in_the_socket(framing: Callable[[], Framing], tls: bool) -> None:
    """Several streams read in turn: what came in time is no time-out, however late it is read."""
    with play(
        always=whole_answer_at_once(framing), tls=authority().server() if tls else None
    ) as server:
        with client(server, timeout=limits(first_chunk=0.2, idle=0.2)) as asker:
            streams = [asker.ai.chat_stream("hi") for _ in range(3)]
            for stream in streams:
                time.sleep(0.25)
                assert stream.get_final_text() == "ab"


@over(WAYS)
def test_chunks_that_wait_by_every_way(way: Way) -> None:
    """Whatever the bytes are wrapped in."""
    script = whole_answer_at_once(http_chunked)
    with travel(way, script, timeout=limits(first_chunk=0.3)) as journey:
        stream = journey.asker.ai.chat_stream("hi")
        time.sleep(0.3)
        assert stream.get_final_text() == "ab"


@pytest.mark.parametrize(
    "framing", [http_chunked, lambda: encoded(http_chunked())], ids=["plain", "gzip"]
)
def test_chunks_that_wait_in_an_own_adapters_socket(framing: Callable[[], Framing]) -> None:
    """So it is over an adapter of the user's own."""
    with play(always=whole_answer_at_once(framing)) as server, requests.Session() as session:
        session.mount(server.url, Own())
        with client(server, session=session, timeout=limits(first_chunk=0.2)) as asker:
            stream = asker.ai.chat_stream("hi")
            time.sleep(0.25)
            assert stream.get_final_text() == "ab"


def test_small_tls_records_that_wait() -> None:
    """TLS gives a record at a time: all that wait are looked at before a limit is declared over."""
    sent = threading.Event()

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head()
        conn.body(*[b": thinking\n\n"] * 100)
        conn.body(text("a"))
        conn.end(DONE)
        sent.set()
        conn.wait_gone()

    with play(script, tls=authority().server()) as server:
        with client(server, timeout=limits(first_chunk=0.2)) as asker:
            stream = asker.ai.chat_stream("hi")
            assert sent.wait(2)
            time.sleep(0.25)
            assert stream.get_final_text() == "a"


def test_event_that_waits_in_the_socket() -> None:
    """Native events too."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head()
        conn.body(event("first"))
        conn.end()

    with play(script) as server, client(server, timeout=limits(first_chunk=0.1)) as asker:
        events = asker.events("GET", "/events")
        time.sleep(0.2)
        assert [each.data for each in events] == ["first"]


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("pieces", [[], [b": thinking\n\n"] * 5], ids=["silence", "comments"])
def test_nothing_waits(pieces: list[bytes], tls: bool) -> None:
    """A limit that has passed while the consumer was away is declared over at once."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head()
        conn.body(*pieces)
        conn.wait_gone()

    with play(script, tls=authority().server() if tls else None) as server:
        with client(server, timeout=limits(first_chunk=0.2)) as asker:
            stream = asker.ai.chat_stream("hi")
            time.sleep(0.25)
            began = time.monotonic()
            with pytest.raises(APITimeoutError) as caught:
                next(stream)
    assert caught.value.phase == "first_chunk"
    assert time.monotonic() - began < 0.1


@pytest.mark.parametrize("piece", [b": x\n\n", b": %s\n\n" % (b"x" * 60_000)], ids=["small", "big"])
def test_what_is_no_chunk_cannot_be_late_for_ever(piece: bytes) -> None:
    """A server that floods the socket with comments keeps no limit from passing."""

    def flood(conn: Conn) -> None:
        conn.read_request()
        conn.head()
        conn.flood(faults.http_chunk(piece), limit=1 << 30)

    with play(flood) as server, client(server, timeout=limits(first_chunk=0.2)) as asker:
        stream = asker.ai.chat_stream("hi")
        time.sleep(0.25)
        began = time.monotonic()
        with pytest.raises(APITimeoutError) as caught:
            next(stream)
    assert caught.value.phase == "first_chunk"
    assert time.monotonic() - began < 1


def test_total_limit_is_not_late() -> None:
    """The total one is on the whole call: what waits then comes too late."""
    with play(whole_answer_at_once(http_chunked)) as server:
        with client(server, timeout=limits(total=0.2)) as asker:
            stream = asker.ai.chat_stream("hi")
            time.sleep(0.25)
            with pytest.raises(APITimeoutError) as caught:
                next(stream)
    assert caught.value.phase == "total"


# -------------------------------------------------------------------------- the consumer's own time


@pytest.mark.parametrize("form", ["chat", "events"])
def test_time_spent_with_a_ping_is_the_consumers(form: str) -> None:
    """A ping is no chunk, but while the consumer is busy with it the server owes nothing."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head()
        conn.body(text("a"))
        conn.pause(0.05)
        conn.body(event({"type": "ping"}, name="ping" if form == "events" else None))
        conn.pause(0.4)  # 0.3 of it while the consumer has the ping
        conn.end(DONE)

    with play(script) as server, client(server, timeout=limits(idle=0.3)) as asker:
        stream: Any = asker.ai.chat_stream("hi") if form == "chat" else asker.events("GET", "/")
        for number, _ in enumerate(stream):
            if number == 1:
                time.sleep(0.3)
    assert number == 2


# ----------------------------------------------------------------- a limit that passed is forgotten


def refusal_that_does_not_end(conn: Conn) -> None:
    """A 503 whose body is announced and does not come."""
    conn.read_request()
    conn.head(503, {"Content-Length": "100", "Retry-After": "0"}, framing=faults.length(100))
    conn.send(b"busy")
    conn.wait_gone()


@pytest.mark.parametrize("fault", [faults.reset, faults.hang_up])
def test_failure_after_a_refusal_whose_body_does_not_end(fault: Script) -> None:
    """The time that the body was given says nothing of what follows: that is a lost connection."""
    with play(refusal_that_does_not_end, fault) as server:
        got = ask(server, max_retries=1, timeout=limits())
    assert type(got.error) is APIConnectionError
    assert got.error.attempts == 2


def test_failure_after_a_refusal_whose_body_does_not_end_is_repeated() -> None:
    """And is repeated as such."""
    with play(refusal_that_does_not_end, faults.reset, answer("hi")) as server:
        assert ask(server, timeout=limits()).text == "hi"


def test_cut_after_a_refusal_whose_body_does_not_end() -> None:
    """Nor is an answer that is cut then a time-out."""
    cut = faults.body(text("a"), end=False)
    with play(refusal_that_does_not_end, cut) as server:
        got = ask(server, timeout=limits())
    assert type(got.error) is StreamInterruptedError


@pytest.mark.parametrize("fault", [faults.reset, faults.body(text("a"), end=False)])
def test_failure_while_a_time_out_is_handled(fault: Script) -> None:
    """A caller that asks again because of a time-out is told of the new failure, not of that."""
    with play(faults.stall, fault) as server, client(server, max_retries=0) as asker:
        with pytest.raises(WebsopyError) as caught:
            try:
                asker.ai.chat("hi", timeout=limits(first_chunk=0.1))
            except APITimeoutError:
                asker.ai.chat("hi", timeout=limits())
    assert not isinstance(caught.value, APITimeoutError)
