"""The handshake with a SOCKS proxy: what it may answer, its limits, its password."""

from __future__ import annotations

import errno
import math
import signal
import socket
from collections.abc import Callable
from typing import Any

import faults
import pytest
import requests
from faults import KEY, PROMPT, Conn, Script, answer, client, listen, play
from proxies import Asked, read_exactly, read_until, socks5

from websopy_sync import APIConnectionError, APITimeoutError, ConfigError, Timeouts, WebsopyError
from websopy_sync.cancel import CancelScope
from websopy_sync.transport.proxies import Proxy
from websopy_sync.transport.socks_handshake import shake_hands

PASSWORD = "proxy-pass-5e21"


def ask_by(scheme: str, fault: Script, *, user: str = "", **options: Any) -> faults.Outcome:
    """One question through a SOCKS proxy that plays a fault."""
    with play(always=fault) as proxy, requests.Session() as session:
        session.proxies = {"all": f"{scheme}://{user}127.0.0.1:{proxy.port}"}
        settings = {"base_url": "http://127.0.0.1:1/v1", "session": session, **options}
        with client(proxy, **settings) as asker:
            return listen(lambda: asker.ai.chat_stream(PROMPT))


def socks5_until(reply: Callable[[Conn], None]) -> Script:
    """A SOCKS5 proxy up to its answer to the request."""

    def script(conn: Conn) -> None:
        read_exactly(conn, read_exactly(conn, 2)[1])
        conn.send(b"\x05\x00")
        read_exactly(conn, 10)
        reply(conn)
        conn.wait_gone()

    return script


def socks4_answers(code: int) -> Script:
    """A SOCKS4 proxy with that answer."""

    def script(conn: Conn) -> None:
        read_exactly(conn, 8)
        read_until(conn, b"\0")
        conn.send(bytes([0, code]) + bytes(6))
        conn.wait_gone()

    return script


@pytest.mark.parametrize(
    ("code", "retryable", "words"),
    [
        (1, True, "general"), (2, False, "ruleset"), (3, True, "network unreachable"),
        (4, True, "host unreachable"), (5, True, "refused"), (6, True, "ttl"),
        (7, False, "command"), (8, False, "address type"), (99, True, "unknown"),
    ],
)  # fmt: skip
def test_socks5_refusal(code: int, retryable: bool, words: str) -> None:
    """A SOCKS5 proxy's refusal is a connection error with its words; nothing was sent."""
    refusal = socks5_until(lambda conn: conn.send(bytes([5, code, 0, 1]) + bytes(6)))
    error = ask_by("socks5", refusal, max_retries=0).error
    assert type(error) is APIConnectionError
    assert (error.sent, error.retryable) == (False, retryable)
    assert words in str(error)


@pytest.mark.parametrize(("code", "retryable"), [(0x5B, True), (0x5C, False), (0x5D, False)])
def test_socks4_refusal(code: int, retryable: bool) -> None:
    """So is a SOCKS4 proxy's."""
    error = ask_by("socks4", socks4_answers(code), max_retries=0).error
    assert type(error) is APIConnectionError
    assert (error.sent, error.retryable) == (False, retryable)
    assert "reject" in str(error)


def test_refusal_is_tried_again() -> None:
    """A refusal that may pass is tried again, as a refused connection is."""
    refusal = socks5_until(lambda conn: conn.send(b"\x05\x05\x00\x01" + bytes(6)))
    assert ask_by("socks5", refusal, max_retries=1).error.attempts == 2


def no_method(conn: Conn) -> None:
    conn.receive()
    conn.send(b"\x05\xff")
    conn.wait_gone()


def wrong_password(conn: Conn) -> None:
    conn.receive()
    conn.send(b"\x05\x02")
    conn.receive()
    conn.send(b"\x01\x01")
    conn.wait_gone()


@pytest.mark.parametrize("fault", [no_method, wrong_password])
def test_password_refused(fault: Script) -> None:
    """A refused password is said once, is not tried again, and is not in the error."""
    error = ask_by("socks5h", fault, user=f"me:{PASSWORD}@").error
    assert type(error) is APIConnectionError
    assert (error.sent, error.retryable, error.attempts) == (False, False, 1)
    faults_text = f"{error!r} {error} {error.__dict__} {error.__cause__} {error.__context__}"
    assert not any(secret in faults_text for secret in (PASSWORD, KEY, PROMPT))


def trickles(conn: Conn) -> None:
    conn.trickle(b"\x05\x00\x00\x03\xff" + b"x" * 257)


@pytest.mark.timing
@pytest.mark.parametrize("phase", ["connect", "total"])
@pytest.mark.parametrize("reply", [trickles, Conn.wait_gone])
def test_handshake_that_takes_for_ever(reply: Script, phase: str) -> None:
    """The handshake is part of connecting; no trickle moves the limit."""
    limits = Timeouts(**{"connect": 2.0, "first_chunk": 2.0, "idle": 2.0, "total": 2.0, phase: 0.3})
    got = ask_by("socks5", socks5_until(reply), timeout=limits, max_retries=0)
    assert type(got.error) is APITimeoutError
    assert (got.error.phase, got.error.sent) == (phase, False)
    assert got.seconds < 0.8


def test_handshake_without_a_limit() -> None:
    """Without limits a slow handshake is waited for."""

    def slow(conn: Conn) -> None:
        conn.pause(0.2)
        conn.send(b"\x05\x05\x00\x01" + bytes(6))

    limits = Timeouts(connect=None, first_chunk=None, idle=None, total=None)
    got = ask_by("socks5", socks5_until(slow), timeout=limits, max_retries=0)
    assert "refused" in str(got.error)


@pytest.mark.parametrize(
    "scheme", ["socks", "socks6", "socks5hh", "SOCKS", "socks4b", "ftp", "javascript"]
)
def test_scheme_that_names_no_version(scheme: str) -> None:
    """`socks://` does not say which version it means: a ConfigError that lists those that do."""
    with requests.Session() as session:
        session.proxies = {"all": f"{scheme}://me:{PASSWORD}@127.0.0.1:1"}
        with play() as server, client(server, session=session) as asker:
            with pytest.raises(ConfigError, match="socks5h, got ") as caught:
                asker.ai.chat("hi")
    assert PASSWORD not in str(caught.value)


def test_scheme_in_capitals() -> None:
    """A scheme may be written in capitals."""
    refusal = socks5_until(lambda conn: conn.send(b"\x05\x05\x00\x01" + bytes(6)))
    assert "refused" in str(ask_by("SOCKS5", refusal, max_retries=0).error)


WITHOUT_PYSOCKS = """
    import sys
    sys.modules["socks"] = None  # what importing a missing package comes to
    from websopy_sync import ConfigError, WebsopyClient

    with WebsopyClient("key", base_url=sys.argv[1], plugins=[]) as client:
        try:
            client.ai.chat("hi")
        except ConfigError as error:
            print(error)
"""


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_without_pysocks(scheme: str) -> None:
    """Without PySocks a SOCKS proxy is one ConfigError that names the package."""
    env = {"all_proxy": f"socks5h://me:{PASSWORD}@127.0.0.1:1"}
    with faults.child(WITHOUT_PYSOCKS, f"{scheme}://chat.example/v1", env=env) as process:
        [line] = faults.output(process)
    assert "pip install PySocks" in line
    assert PASSWORD not in line


@pytest.mark.parametrize("scheme", ["socks4", "socks5"])
def test_user_that_cannot_be_sent(scheme: str) -> None:
    """A user or password that the protocol has no way to write is a ConfigError, unquoted."""
    for user in (f"me%00:{PASSWORD}@", f"{'m' * 128}:{PASSWORD}@", f"me:{PASSWORD * 20}@"):
        with pytest.raises(ConfigError) as caught:
            raise ask_by(scheme, faults.unexpected, user=user).error
        assert PASSWORD not in str(caught.value)


def network_unreachable(conn: Conn) -> None:
    conn.send(b"\x05\x03\x00\x01" + bytes(6))


TWO_ADDRESSES = """
    import socket, sys
    from websopy_sync import Timeouts, WebsopyClient

    real = socket.getaddrinfo

    def two(host, *rest):
        hosts = ["::1", "127.0.0.1"] if host == "two.example" else [host]
        return [entry for host in hosts for entry in real(host, *rest)]

    socket.getaddrinfo = two
    limits = Timeouts(connect=1.0)
    url = "http://two.example:80/v1"
    with WebsopyClient("key", base_url=url, timeout=limits, max_retries=0, plugins=[]) as client:
        print(client.ai.chat("hi").content)
"""


@pytest.mark.parametrize("unreachable", [network_unreachable, Conn.wait_gone])
def test_second_address_of_the_service(unreachable: Script) -> None:
    """Where this machine looks the name up, the proxy is asked for the next address as well.

    An address that the proxy cannot reach, or takes its time with, costs its share of the limit.
    """
    asked = Asked()
    with play(answer("second")) as server:
        script = socks5(server.port, asked, unreachable=unreachable)
        with play(always=script) as proxy:
            env = {"http_proxy": f"socks5://127.0.0.1:{proxy.port}"}
            with faults.child(TWO_ADDRESSES, env=env) as process:
                assert faults.output(process) == ["second"]
    assert asked.targets == ["[::1]:80", "127.0.0.1:80"]


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_ipv6_address_over_socks5(scheme: str) -> None:
    """A service's IPv6 address is named to the proxy as one."""
    asked = Asked()
    with play(answer("six")) as server, requests.Session() as session:
        with play(always=socks5(server.port, asked)) as proxy:
            session.proxies = {"all": f"{scheme}://127.0.0.1:{proxy.port}"}
            with client(server, base_url="http://[::1]:9/v1", session=session) as asker:
                assert asker.ai.chat("hi").content == "six"
    assert asked.targets == ["[::1]:9"]


def test_proxy_with_an_ipv6_address() -> None:
    """A proxy may be named by its IPv6 address."""
    with requests.Session() as session, play() as server:
        session.proxies = {"all": "socks5h://[::1]:1"}
        with client(server, session=session, max_retries=0) as asker:
            error = listen(lambda: asker.ai.chat_stream("hi")).error
    assert type(error) is APIConnectionError
    assert str(error).endswith("through the proxy [::1]:1: connection refused")


def test_ipv6_address_over_socks4() -> None:
    """SOCKS4 cannot name an IPv6 address: said at once, and not tried again."""
    with requests.Session() as session:
        session.proxies = {"all": "socks4://127.0.0.1:1"}
        with play() as server:
            with client(server, base_url="http://[::1]:1/v1", session=session) as asker:
                with pytest.raises(WebsopyError, match="IPv6") as caught:
                    asker.ai.chat("hi")
    assert caught.value.attempts == 1  # type: ignore[attr-defined]


def test_a_signal_handlers_eagain_comes_out_of_a_handshake() -> None:
    """socket's own file object takes it for "no bytes yet" and swallows it."""

    def handler(signum: int, frame: Any) -> None:
        raise BlockingIOError(errno.EAGAIN, "mine")

    proxy = Proxy("socks5", "127.0.0.1", 1)
    ours, theirs = socket.socketpair()
    old = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        with theirs, pytest.raises(BlockingIOError, match="mine"):
            target = ("127.0.0.1", 80)
            shake_hands(ours, proxy, target=target, scope=CancelScope(5), until=math.inf)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
