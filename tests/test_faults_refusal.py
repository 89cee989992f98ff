"""Promise 18: a refusal that comes while the question is still being sent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import faults
import pytest
from faults import DONE, Conn, Script, answer, ask, authority, client, play, text
from test_ways import Way, over, travel

from websopy_sync import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    CancelToken,
    StreamCancelledError,
    Timeouts,
)

pytestmark = pytest.mark.timing

LONG = "lengthy " * 800_000
"""More than the buffers between client and server hold."""

FAR = Timeouts(connect=5, first_chunk=5, idle=5, total=5)

ENDS: dict[str, Callable[[Conn], None]] = {
    "closes": lambda conn: None,  # with what it has not read, which is a reset
    "resets": Conn.reset,
    "half-closes": lambda conn: (conn.half_close(), conn.wait_gone())[0],
    "keeps it": lambda conn: conn.wait_gone(),
    "keeps it unread": lambda conn: conn.pause(1.5),
}

TLS = {
    "plain": lambda: None,
    "TLS": lambda: authority().server(),
    "TLS 1.2": lambda: authority().server(tls12=True),
}

every_end = pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
every_tls = pytest.mark.parametrize("tls", TLS.values(), ids=TLS)


def refuse(end: Callable[[Conn], None], *, status: int = 413, read: int = 0) -> Script:
    """Refuse a question when only so many bytes of its body were read."""

    def script(conn: Conn) -> None:
        conn.read_head()
        while read and len(conn._unread) < read:
            conn._unread += conn.receive()
        # A keep-alive answer: that the connection is of no more use is for the client to know.
        headers = {"Content-Type": "text/plain", "Retry-After": "3600"}
        conn.head(status, headers, framing=faults.length(7))
        conn.send(b"refused")
        end(conn)

    return script


@every_tls
@every_end
@pytest.mark.parametrize("status", [413, 401, 429])
def test_status_surfaces_while_a_large_question_is_sent(
    end: Callable[[Conn], None], status: int, tls: Callable[[], object]
) -> None:
    """Whatever becomes of the connection then; and the question went out once."""
    with play(refuse(end, status=status), tls=tls()) as server:
        got = ask(server, messages=LONG, timeout=FAR)
    assert isinstance(got.error, APIStatusError), got.error
    assert (got.error.status_code, got.error.body) == (status, "refused")
    assert got.error.attempts == 1
    assert got.seconds < 2.5


@every_tls
@every_end
def test_refusal_in_the_middle_of_a_large_question(
    end: Callable[[Conn], None], tls: Callable[[], object]
) -> None:
    """When megabytes of it were read."""
    with play(refuse(end, read=3_000_000), tls=tls()) as server:
        got = ask(server, messages=LONG, timeout=FAR)
    assert isinstance(got.error, APIStatusError), got.error
    assert (got.error.status_code, got.error.body, got.error.attempts) == (413, "refused", 1)


@every_tls
@every_end
def test_refusal_of_a_small_question(
    end: Callable[[Conn], None], tls: Callable[[], object]
) -> None:
    """Between its head and its body."""
    with play(refuse(end), tls=tls()) as server:
        got = ask(server, timeout=FAR)
    assert isinstance(got.error, APIStatusError), got.error
    assert (got.error.status_code, got.error.attempts) == (413, 1)


@over([Way("https", "http"), Way("https", "https"), Way("http", "socks5h"), Way("https", "socks5")])
@pytest.mark.parametrize("end", ["closes", "keeps it unread"])
def test_refusal_by_every_way(way: Way, end: str) -> None:
    """A proxy in between changes nothing."""
    with travel(way, refuse(ENDS[end]), timeout=FAR) as journey:
        got = journey.ask(messages=LONG)
    assert isinstance(got.error, APIStatusError), got.error
    assert (got.error.status_code, got.error.body, got.error.attempts) == (413, "refused", 1)


def test_connection_of_half_a_question_is_not_used_again() -> None:
    """The next question would be taken for the rest of it."""
    with play(refuse(ENDS["keeps it"]), answer("hi")) as server, client(server) as asker:
        assert isinstance(ask(server, through=asker, messages=LONG).error, APIStatusError)
        assert ask(server, through=asker).text == "hi"


@every_tls
def test_interim_answers_do_not_stop_the_sending(tls: Callable[[], object]) -> None:
    """100 and 103 say nothing against the question."""

    def script(conn: Conn) -> None:
        conn.read_head()
        conn.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        conn.pause(0.1)
        conn.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>", b"\r\n\r\n")
        conn.pause(0.1)
        read_rest(conn)
        faults.reply(conn, "hi", headers=faults.LAST)

    with play(script, tls=tls()) as server:
        got = ask(server, messages=LONG, timeout=FAR)
    assert (got.text, got.error) == ("hi", None)


@every_tls
def test_answer_that_begins_before_the_question_is_read(tls: Callable[[], object]) -> None:
    """A success is no reason to stop: the server goes on reading."""

    def script(conn: Conn) -> None:
        conn.read_head()
        conn.head(headers=faults.LAST)
        conn.body(text("a"))
        conn.pause(0.1)
        read_rest(conn)
        conn.body(text("b"))
        conn.end(DONE)

    with play(script, tls=tls()) as server:
        got = ask(server, messages=LONG, timeout=FAR)
    assert (got.text, got.error) == ("ab", None)


def read_rest(conn: Conn) -> None:
    """Read the body whose head was read, which must be whole."""
    while not conn._unread.endswith(b"}"):
        conn._unread += conn.receive()
    assert LONG.encode() in conn._unread


@pytest.mark.slow
@every_tls
def test_server_that_hangs_up_without_an_answer(tls: Callable[[], object]) -> None:
    """That is a lost connection, and it is repeated."""

    def hang_up(conn: Conn) -> None:
        conn.read_head()
        conn.reset()

    with play(hang_up, answer("hi"), tls=tls()) as server:
        got = ask(server, messages=LONG, timeout=FAR)
        assert (got.text, got.error, got.stream.retries_taken) == ("hi", None, 1)
    with play(hang_up, tls=tls()) as server:
        got = ask(server, messages=LONG, timeout=FAR, max_retries=0)
    assert type(got.error) is APIConnectionError
    assert (got.error.sent, got.error.retryable) == (True, True)


def sip(conn: Conn) -> None:
    """Read the question in small drops, for ever."""
    conn.read_head()
    while not conn.server.over.is_set():
        conn.sock.recv(1000)
        conn.pause(0.01)


NO_READERS: dict[str, Script] = {"nobody reads": lambda conn: conn.pause(1.5), "in drops": sip}
no_reader = pytest.mark.parametrize("script", NO_READERS.values(), ids=NO_READERS)


@pytest.mark.slow
@every_tls
@no_reader
@pytest.mark.parametrize("phase", ["first_chunk", "total"])
def test_sending_obeys_the_limits(script: Script, phase: str, tls: Callable[[], object]) -> None:
    """A server that does not read the question does not stretch them."""
    limits = Timeouts(**{"connect": 5, "first_chunk": 5, "idle": 5, "total": 5, phase: 0.3})
    with play(script, tls=tls()) as server:
        got = ask(server, messages=LONG, timeout=limits)
    assert type(got.error) is APITimeoutError
    assert (got.error.phase, got.error.sent, got.error.attempts) == (phase, True, 1)
    assert 0.25 < got.seconds < 1


@every_tls
@no_reader
def test_sending_is_cancelled(script: Script, tls: Callable[[], object]) -> None:
    """cancel() ends it at once."""
    token = CancelToken()
    cancelled_at: list[float] = []

    def cancel() -> None:
        cancelled_at.append(time.monotonic())
        token.cancel()

    def cancelled_meanwhile(conn: Conn) -> None:
        threading.Timer(0.15, cancel).start()
        script(conn)

    with play(cancelled_meanwhile, tls=tls()) as server, client(server, timeout=FAR) as asker:
        got = ask(server, through=asker, messages=LONG, cancel_token=token)
        assert time.monotonic() - cancelled_at[0] < 0.5
    assert type(got.error) is StreamCancelledError
