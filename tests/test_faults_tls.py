"""Promises 7, 8, 9, 11, 23 over TLS: who may be talked to, how it ends, no ciphertext."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import faults
import pytest
import requests
from faults import (
    DONE,
    PROMPT,
    Conn,
    answer,
    ask,
    authority,
    body,
    client,
    listen,
    play,
    stall_after,
    text,
    to_close,
)

from websopy_sync import (
    APIConnectionError,
    APITimeoutError,
    CancelToken,
    ConfigError,
    StreamCancelledError,
    StreamInterruptedError,
    Timeouts,
    WebsopyError,
)

pytestmark = pytest.mark.usefixtures("no_ca_in_the_environment")


def never(conn: Conn) -> None:
    """A script of a server that must not be asked anything."""
    conn.read_request()
    raise AssertionError("the question was sent")


def test_trusted_server() -> None:
    """With its authority trusted, a server is asked and answers."""
    with play(answer("safe"), tls=authority().server()) as server:
        assert ask(server).text == "safe"


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("framing", [None, to_close])
def test_whole_answer(version: str, framing: Any) -> None:
    """TLS 1.2 and 1.3, chunked and ended by the connection."""
    context = authority().server(tls12=version == "1.2")
    with play(answer("a", "b", framing=framing and framing()), tls=context) as server:
        got = ask(server)
    assert (got.text, got.error) == ("ab", None)


@pytest.mark.parametrize("fault", ["untrusted", "expired", "wrong host"])
def test_certificate_refused(fault: str) -> None:
    """A certificate that does not hold ends the call at once; nothing is sent, nor tried again."""
    context = {
        "untrusted": lambda: authority("stranger").server(),
        "expired": lambda: authority().server(expired=True),
        "wrong host": lambda: authority().server("other.example"),
    }[fault]()
    with play(never, tls=context) as server:
        got = ask(server)
        assert len(server.conns) == 1
    assert type(got.error) is APIConnectionError
    assert got.error.sent is False
    assert "certificate" in str(got.error).lower()


def test_untrusted_by_default() -> None:
    """Without an argument only the public authorities are trusted."""
    with play(never, tls=authority().server()) as server:
        with client(server, verify=True, max_retries=0) as asker:
            got = listen(lambda: asker.ai.chat_stream("hi"))
    assert type(got.error) is APIConnectionError


def test_explicit_authority_beats_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """verify=path is what counts, whatever REQUESTS_CA_BUNDLE says: both ways round."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", authority("stranger").path)
    monkeypatch.setenv("CURL_CA_BUNDLE", authority("stranger").path)
    with play(answer("safe"), tls=authority().server()) as server:
        assert ask(server).text == "safe"
    with play(never, tls=authority("stranger").server()) as server:
        assert type(ask(server).error) is APIConnectionError


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_authority_from_the_environment(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """With no authority given, the one that requests takes from the environment counts."""
    monkeypatch.setenv(variable, authority().path)
    with play(answer("safe"), tls=authority().server()) as server:
        with client(server, verify=True) as asker:
            assert listen(lambda: asker.ai.chat_stream("hi")).text == "safe"


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_missing_authority_file(monkeypatch: pytest.MonkeyPatch, how: str, tmp_path: Path) -> None:
    """An authority file that is not there is our own error, and nothing is sent."""
    missing = str(tmp_path / "nowhere.pem")
    if how == "environment":
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", missing)
    with play(always=never, tls=authority().server()) as server:
        with pytest.raises(WebsopyError) as caught:
            verify = missing if how == "argument" else True
            with client(server, verify=verify, max_retries=0) as asker:
                asker.ai.chat("hi")
    assert isinstance(caught.value, ConfigError | APIConnectionError)


def test_authority_file_that_is_none(tmp_path: Path) -> None:
    """A file without a certificate is our own error too."""
    (tmp_path / "ca.pem").write_text("this is no certificate\n")
    with play(always=never, tls=authority().server()) as server:
        with pytest.raises(WebsopyError):
            with client(server, verify=str(tmp_path / "ca.pem"), max_retries=0) as asker:
                asker.ai.chat("hi")


def test_verification_off_warns() -> None:
    """verify=False works, and warns."""
    with play(answer("unsafe"), tls=authority("stranger").server()) as server:
        with pytest.warns(Warning, match="(?i)verif|certificate|TLS"):
            with client(server, verify=False) as asker:
                assert asker.ai.chat("hi").content == "unsafe"


def test_verification_on_does_not_warn() -> None:
    """A verified call warns of nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with play(answer("safe"), tls=authority().server()) as server:
            assert ask(server).text == "safe"


def test_verification_off_in_the_environment_means_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An empty REQUESTS_CA_BUNDLE does not turn verification off."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "")
    with play(never, tls=authority("stranger").server()) as server:
        with client(server, verify=True, max_retries=0) as asker:
            got = listen(lambda: asker.ai.chat_stream("hi"))
    assert type(got.error) is APIConnectionError


def test_session_that_does_not_verify() -> None:
    """Only the client's own argument turns verification off; a session's `verify` does not."""
    with play(never, tls=authority("stranger").server()) as server, requests.Session() as session:
        session.verify = False
        with client(server, session=session, verify=True, max_retries=0) as asker:
            got = listen(lambda: asker.ai.chat_stream("hi"))
    assert type(got.error) is APIConnectionError


def garbage_in_the_handshake(conn: Conn) -> None:
    conn.receive()
    conn.send(b"\x16\x03\x03\x00\x05garbage garbage garbage")
    conn.half_close()


def tls_url(server: faults.Server) -> str:
    """The URL by which a plain server is asked for TLS."""
    return f"https://127.0.0.1:{server.port}/v1"


@pytest.mark.parametrize(
    "fault",
    [faults.plain_http_early, faults.hang_up_early, faults.reset_early, garbage_in_the_handshake],
)
def test_handshake_that_fails(fault: faults.Script) -> None:
    """A handshake that fails is a connection error before anything was sent."""
    with play(fault) as server, client(server, base_url=tls_url(server), max_retries=0) as asker:
        got = listen(lambda: asker.ai.chat_stream("hi"))
    assert type(got.error) is APIConnectionError
    assert got.error.sent is False


@pytest.mark.timing
@pytest.mark.parametrize(("limit", "phase"), [("connect", "connect"), ("total", "total")])
def test_handshake_that_takes_for_ever(limit: str, phase: str) -> None:
    """The handshake is part of connecting; both limits hold in it."""
    limits = Timeouts(**{"connect": 5, "first_chunk": 5, "idle": 5, "total": 5, limit: 0.2})
    with play(lambda conn: conn.wait_gone()) as server:
        with client(server, base_url=tls_url(server), timeout=limits, max_retries=0) as asker:
            got = listen(lambda: asker.ai.chat_stream("hi"))
    assert type(got.error) is APITimeoutError
    assert (got.error.phase, got.error.sent) == (phase, False)
    assert got.seconds < 0.8


@pytest.mark.timing
def test_handshake_that_trickles() -> None:
    """A handshake that is fed one byte at a time does not outlast the connect limit by much."""

    def trickle(conn: Conn) -> None:
        conn.receive()
        conn.trickle(b"\x16\x03\x03\x3f\xff" + b"\x02" * 200)

    limits = Timeouts(connect=0.3, first_chunk=5, idle=5, total=5)
    with play(trickle) as server:
        with client(server, base_url=tls_url(server), timeout=limits, max_retries=0) as asker:
            got = listen(lambda: asker.ai.chat_stream("hi"))
    assert isinstance(got.error, APIConnectionError)
    assert got.error.sent is False
    assert got.seconds < 1.0


@pytest.mark.timing
def test_cancel_in_the_handshake() -> None:
    """cancel() ends a handshake."""
    token = CancelToken()
    with play(lambda conn: conn.wait_gone()) as server:
        with client(server, base_url=tls_url(server)) as asker:
            threading.Timer(0.1, token.cancel).start()
            got = listen(lambda: asker.ai.chat_stream("hi", cancel_token=token))
    assert type(got.error) is StreamCancelledError
    assert got.seconds < 0.6


@pytest.mark.parametrize("framing", [None, to_close])
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_cut_without_close_notify(framing: Any, version: str) -> None:
    """A TLS stream that just stops is an interrupted answer, with what had come."""
    cut = body(text("half"), framing=framing and framing(), end=False)
    with play(cut, tls=authority().server(tls12=version == "1.2")) as server:
        got = ask(server)
    assert type(got.error) is StreamInterruptedError
    assert (got.text, got.error.partial.content) == ("half", "half")


def test_cut_without_close_notify_after_done() -> None:
    """After the done chunk nobody minds how the connection ends."""
    cut = body(text("all"), DONE, framing=to_close())
    with play(cut, tls=authority().server()) as server:
        got = ask(server)
    assert (got.text, got.error) == ("all", None)


def test_clean_close_without_done() -> None:
    """A close_notify is no done chunk."""

    def closed(conn: Conn) -> None:
        body(text("half"), framing=to_close())(conn)
        with contextlib.suppress(OSError):  # the client may be gone by then
            conn.sock.unwrap()  # type: ignore[attr-defined]

    with play(closed, tls=authority().server()) as server:
        got = ask(server)
    assert type(got.error) is StreamInterruptedError
    assert got.error.partial.content == "half"


def test_reset_after_an_event() -> None:
    """RST under TLS: the event is delivered, then the error with it."""

    def broken(conn: Conn) -> None:
        body(text("half"), end=False)(conn)
        conn.pause(0.1)
        conn.reset()

    with play(broken, tls=authority().server()) as server:
        got = ask(server)
    assert type(got.error) is StreamInterruptedError
    assert (got.text, got.error.partial.content) == ("half", "half")


def test_record_that_does_not_decrypt() -> None:
    """Bytes that are no TLS record end the answer as an interruption, and are never text."""

    def broken(conn: Conn) -> None:
        body(text("half"), end=False)(conn)
        conn.pause(0.1)
        socket.socket.send(conn.sock, b"\x17\x03\x03\x00\x30" + b"\x5a" * 48)
        conn.pause(0.2)

    with play(broken, tls=authority().server()) as server:
        got = ask(server)
    assert isinstance(got.error, StreamInterruptedError)
    assert (got.text, got.error.partial.content) == ("half", "half")


def test_broken_record_instead_of_a_head() -> None:
    """TLS that breaks when the question is out is a lost connection that admits it."""

    def broken(conn: Conn) -> None:
        conn.read_request()
        socket.socket.send(conn.sock, b"\x17\x03\x03\x00\x30" + b"\x5a" * 48)
        conn.pause(0.2)

    with play(broken, tls=authority().server()) as server:
        got = ask(server, max_retries=0)
    assert (type(got.error), got.error.sent) == (APIConnectionError, True)


def test_cut_before_the_head() -> None:
    """A TLS connection that ends before the head is asked again with the same key."""
    with play(faults.hang_up, answer("again"), tls=authority().server()) as server:
        assert ask(server).text == "again"
        assert len({request.header("idempotency-key") for request in server.requests}) == 1


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_cancel_of_a_busy_stream_never_yields_ciphertext(version: str) -> None:
    """Whatever is in flight when cancel() falls, the text is the server's."""
    flood = text("abcdefgh" * 500)

    def busy(conn: Conn) -> None:
        conn.read_request()
        conn.head(framing=to_close())
        conn.flood(flood, limit=50_000_000)

    context = authority().server(tls12=version == "1.2")
    with play(*[busy] * 6, tls=context) as server, client(server) as asker:
        for turn in range(6):
            stream = asker.ai.chat_stream("hi")
            threading.Timer(0.02 + turn * 0.011, stream.cancel).start()
            with pytest.raises(StreamCancelledError) as caught:
                for piece in stream:
                    assert piece.content == "abcdefgh" * 500
            assert set(caught.value.partial.content) <= set("abcdefgh")


@pytest.mark.timing
def test_cancel_before_the_head_of_a_busy_server() -> None:
    """The same while the head has not come."""
    token = CancelToken()
    with play(faults.stall, tls=authority().server()) as server:
        threading.Timer(0.1, token.cancel).start()
        got = ask(server, cancel_token=token)
    assert type(got.error) is StreamCancelledError
    assert got.seconds < 0.6


@pytest.mark.timing
def test_cancel_in_the_body() -> None:
    """cancel() wakes a reader that is blocked in TLS."""
    with play(stall_after(text("half")), tls=authority().server()) as server:
        with client(server) as asker:
            stream = asker.ai.chat_stream(PROMPT)
            assert next(stream).content == "half"
            threading.Timer(0.1, stream.cancel).start()
            begun = time.monotonic()
            with pytest.raises(StreamCancelledError) as caught:
                next(stream)
            assert time.monotonic() - begun < 0.6
    assert caught.value.partial.content == "half"


def test_idle_limit() -> None:
    """The idle limit holds under TLS."""
    limits = Timeouts(connect=2, first_chunk=5, idle=0.2, total=5)
    with play(stall_after(text("half")), tls=authority().server()) as server:
        got = ask(server, timeout=limits)
    assert type(got.error) is APITimeoutError
    assert (got.error.phase, got.error.partial.content) == ("idle", "half")


def test_one_connection_for_many_answers() -> None:
    """A TLS connection is given back after an answer too."""
    with play(faults.answers("hi"), tls=authority().server()) as server, client(server) as asker:
        assert [ask(server, through=asker).text for _ in range(5)] == ["hi"] * 5


def test_event_is_handed_over_while_the_record_after_it_is_incomplete() -> None:
    """An event whose TLS record came is not held back for the next record."""
    told = threading.Event()

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head()
        conn.body(text("first"))
        conn.wait(told)
        conn.body(DONE)
        conn.end()

    with play(script, tls=authority().server()) as server, client(server) as asker:
        stream = asker.ai.chat_stream("hi")
        assert next(stream).content == "first"
        told.set()
        assert [piece.type for piece in stream] == ["done"]
