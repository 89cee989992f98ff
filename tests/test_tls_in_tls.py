"""TLS inside the TLS connection to a proxy: its ends, its limits, and whom it trusts."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import faults
import proxies
import pytest
import requests
from faults import (
    DONE,
    Conn,
    Script,
    answer,
    ask,
    authority,
    client,
    listen,
    play,
    text,
)

from websopy_sync import (
    APIConnectionError,
    APITimeoutError,
    CancelToken,
    StreamCancelledError,
    StreamInterruptedError,
    Timeouts,
    WebsopyClient,
)


@contextlib.contextmanager
def journey(
    *scripts: Script,
    service: ssl.SSLContext | None = None,
    proxy: ssl.SSLContext | None = None,
    trickling: threading.Event | None = None,
    **options: Any,
) -> Iterator[tuple[faults.Server, WebsopyClient]]:
    """A service that speaks TLS as given, and a client that comes by a proxy that does too."""
    with play(*scripts, tls=service) as server, requests.Session() as session:
        relay = proxies.connect(server.port, proxies.Asked(), trickling=trickling)
        with play(always=relay, tls=proxy or authority().server()) as between:
            session.proxies = {"https": f"https://127.0.0.1:{between.port}"}
            url = f"https://localhost:{server.port}/v1"
            settings = {"base_url": url, "session": session, "verify": authority().path, **options}
            with client(server, **settings) as asker:
                yield server, asker


def limits(**seconds: float) -> Timeouts:
    """Limits that none of these tests comes near, but for those given."""
    return Timeouts(**{"connect": 2.0, "first_chunk": 2.0, "idle": 2.0, "total": 2.0, **seconds})


@pytest.mark.timing
@pytest.mark.parametrize("phase", ["connect", "total"])
def test_inner_handshake_that_trickles(phase: str) -> None:
    """No trickle of the inner handshake moves the limit, each byte in its own outer record."""

    def trickles(conn: Conn) -> None:
        conn.receive()
        conn.trickle(b"\x16\x03\x03\x3f\xff" + b"\x02" * 200)

    with journey(trickles, timeout=limits(**{phase: 0.3}), max_retries=0) as (_, asker):
        got = listen(lambda: asker.ai.chat_stream("hi"))
    assert type(got.error) is APITimeoutError
    assert (got.error.phase, got.error.sent) == (phase, False)
    assert got.seconds < 0.9


@pytest.mark.timing
@pytest.mark.parametrize("phase", ["idle", "total"])
def test_inner_record_that_trickles(phase: str) -> None:
    """Neither does the trickle of a record in the body."""
    trickling = threading.Event()

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head()
        conn.body(text("half"))
        conn.pause(0.1)
        trickling.set()
        conn.body(text("x" * 4000))
        conn.wait_gone()

    context = authority().server()
    with journey(script, service=context, trickling=trickling, timeout=limits(**{phase: 0.4})) as (
        _,
        asker,
    ):
        got = listen(lambda: asker.ai.chat_stream("hi"))
    assert type(got.error) is APITimeoutError
    assert (got.error.phase, got.text) == (phase, "half")
    assert got.seconds < 1.0


def test_limit_of_the_next_call() -> None:
    """A connection that is used again obeys the limits of the call that uses it."""

    def script(conn: Conn) -> None:
        conn.read_request()
        faults.reply(conn, "one")
        conn.read_request()
        conn.head()
        conn.body(text("half"))
        conn.wait_gone()

    with journey(script, service=authority().server()) as (server, asker):
        assert ask(server, through=asker, timeout=limits()).text == "one"
        got = ask(server, through=asker, timeout=limits(idle=0.3))
        assert (got.error.phase, got.text, len(server.conns)) == ("idle", "half", 1)


@pytest.mark.timing
def test_cancel_in_the_inner_handshake() -> None:
    """cancel() ends the inner handshake."""
    token = CancelToken()
    with journey(Conn.wait_gone) as (_, asker):
        timer = threading.Timer(0.15, token.cancel)
        timer.start()
        got = listen(lambda: asker.ai.chat_stream("hi", cancel_token=token))
        timer.join()
    assert type(got.error) is StreamCancelledError
    assert got.seconds < 0.7


@pytest.mark.parametrize(
    "fault", [faults.hang_up_early, faults.reset_early, faults.plain_http_early]
)
def test_inner_handshake_that_fails(fault: Script) -> None:
    """An inner handshake that fails is a connection error before anything was sent."""
    with journey(fault, max_retries=0) as (_, asker):
        got = listen(lambda: asker.ai.chat_stream("hi"))
    assert (type(got.error), got.error.sent) == (APIConnectionError, False)


@pytest.mark.parametrize("who", ["proxy", "service"])
def test_certificate_refused(who: str) -> None:
    """The proxy's certificate is verified, and the service's is; a bad one is not tried again."""
    contexts = {"proxy": authority().server(), "service": authority().server()}
    contexts[who] = authority("stranger").server()
    scripts = [] if who == "proxy" else [Conn.wait_gone]
    with journey(*scripts, **contexts) as (server, asker):
        got = ask(server, through=asker)
        assert server.requests == []
    assert (type(got.error), got.error.sent, got.error.attempts) == (APIConnectionError, False, 1)
    assert "certificate" in str(got.error)


def broken_record(conn: Conn) -> None:
    """An inner record that does not decrypt."""
    conn.pause(0.05)
    socket.socket.send(conn.sock, b"\x17\x03\x03\x00\x30" + b"\x5a" * 48)
    conn.wait_gone()


def close_notify(conn: Conn) -> None:
    """A proper end of the inner TLS."""
    with contextlib.suppress(OSError):
        conn.sock.unwrap()  # type: ignore[attr-defined]


@pytest.mark.parametrize("end", [Conn.half_close, Conn.reset, broken_record, close_notify])
@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize(
    "place", ["before the head", "in the head", "after the head", "after text"]
)
def test_end(place: str, version: str, end: Script) -> None:
    """However and wherever the connection ends, the error is ours and tells the truth."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    sent = {
        "before the head": b"",
        "in the head": head[:40],
        "after the head": head,
        "after text": head + text("half"),
    }[place]

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.send(sent)
        conn.pause(0.05)
        end(conn)

    context = authority().server(tls12=version == "1.2")
    with journey(script, service=context, max_retries=0) as (server, asker):
        got = ask(server, through=asker)
    if place.endswith("the head") and not place.startswith("after"):
        assert (type(got.error), got.error.sent) == (APIConnectionError, True)
    else:
        assert type(got.error) is StreamInterruptedError
        assert got.text == ("half" if place == "after text" else "")


def test_record_after_the_answer() -> None:
    """A record that came with the answer's last one is not taken for the next answer."""

    def talks_on(conn: Conn) -> None:
        conn.read_request()
        conn.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        faults.reply(conn, "one")
        faults.reply(conn, "stray")
        conn.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)  # both in one segment
        conn.wait_gone()

    with journey(talks_on, answer("two"), service=authority().server()) as (server, asker):
        assert [ask(server, through=asker).text for _ in range(2)] == ["one", "two"]


@pytest.mark.timing
def test_long_question_nobody_reads() -> None:
    """The limit holds while a long question is sent."""

    def reads_nothing(conn: Conn) -> None:
        conn.read_head()
        conn.pause(0.8)

    context = authority().server()
    with journey(reads_nothing, service=context, timeout=limits(total=0.4)) as (server, asker):
        got = ask(server, through=asker, messages="lengthy " * 800_000)
    assert type(got.error) is APITimeoutError
    assert (got.error.phase, got.error.sent) == ("total", True)
    assert got.seconds < 1.2


def test_done_without_an_end() -> None:
    """The done chunk ends the answer, however the connection ends after it."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head(framing=faults.to_close())
        conn.body(text("all"), DONE)

    with journey(script, service=authority().server()) as (server, asker):
        got = ask(server, through=asker)
    assert (got.text, got.error) == ("all", None)


WITHOUT_MEMORY = """
    import ssl, sys
    import urllib3.util.ssl_
    from websopy_sync import ConfigError, WebsopyClient

    class Context(ssl.SSLContext):  # pyOpenSSL's has no wrap_bio() either
        @property
        def wrap_bio(self):
            raise AttributeError

    urllib3.util.ssl_.SSLContext = Context
    url, authority = sys.argv[1:]
    with WebsopyClient("key", base_url=url, verify=authority, plugins=[]) as client:
        try:
            client.ai.chat("hi")
        except ConfigError as error:
            print(error)
"""


def test_with_pyopenssl_in_the_place_of_ssl() -> None:
    """TLS that cannot be put inside TLS is a ConfigError, and nothing is sent."""
    with play(always=Conn.wait_gone) as server:
        relay = proxies.connect(server.port, proxies.Asked())
        with play(always=relay, tls=authority().server()) as proxy:
            env = {"https_proxy": f"https://127.0.0.1:{proxy.port}"}
            arguments = ("https://chat.example/v1", authority().path)
            with faults.child(WITHOUT_MEMORY, *arguments, env=env) as process:
                (line,) = faults.output(process)
    assert line.startswith("proxy: ") and "pyOpenSSL" in line
