"""Promise 41: what holds on a direct connection holds over every way to the service."""

from __future__ import annotations

import base64
import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import attrs
import faults
import proxies
import pytest
import requests
from faults import (
    DONE,
    KEY,
    PROMPT,
    QUICK,
    Conn,
    Script,
    answer,
    answers,
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
    APIStatusError,
    APITimeoutError,
    CancelToken,
    StreamCancelledError,
    StreamInterruptedError,
    StreamProtocolError,
    Timeouts,
    WebsopyClient,
)

USER, PASSWORD = "me", "proxy-pass-5e21"


@attrs.frozen
class Way:
    """How a client comes to the service."""

    service: str
    proxy: str = ""
    user: str = ""

    def __str__(self) -> str:
        by = f"-by-{self.proxy}" if self.proxy else ""
        return f"{self.service}{by}{'-with-password' if self.user else ''}"

    def script(self, port: int, asked: proxies.Asked) -> Script:
        """The proxy, as a script that relays to the service's port."""
        if self.proxy.startswith("socks5"):
            password = PASSWORD if self.user else ""
            return proxies.socks5(port, asked, user=self.user, password=password)
        if self.proxy.startswith("socks4"):
            return proxies.socks4(port, asked, user=self.user)
        relay = proxies.connect if self.service == "https" else proxies.forward
        return relay(port, asked)

    def url(self, proxy: faults.Server) -> str:
        """The proxy's URL."""
        user = f"{self.user}:{PASSWORD}@" if self.user else ""
        return f"{self.proxy}://{user}127.0.0.1:{proxy.port}"


WAYS = [
    Way("http"), Way("https"),
    Way("http", "http", USER), Way("https", "http", USER),
    Way("http", "https"), Way("https", "https"),
    Way("http", "socks4"), Way("https", "socks4a", USER),
    Way("http", "socks5"), Way("https", "socks5", USER),
    Way("http", "socks5h", USER), Way("https", "socks5h"),
]  # fmt: skip
QUICK_WAYS = {
    Way("http"),
    Way("http", "socks5h", USER),
    Way("https", "socks5h"),
    Way("https", "https"),
}
"""The ways that the quick run takes; CI takes all."""


def over(ways: list[Way]) -> pytest.MarkDecorator:
    """The test, once for each of these ways."""
    marked = [
        pytest.param(way, marks=[] if way in QUICK_WAYS else pytest.mark.slow, id=str(way))
        for way in ways
    ]
    return pytest.mark.parametrize("way", marked)


every_way = over(WAYS)
by_proxy = over([way for way in WAYS if way.proxy])
by_tunnel = over([way for way in WAYS if way.proxy and way != Way("http", "http", USER)])


@attrs.frozen
class Journey:
    """A service at the end of a way, and a client that takes it."""

    service: faults.Server
    proxy: faults.Server | None
    asked: proxies.Asked
    asker: WebsopyClient

    def ask(self, **call: Any) -> faults.Outcome:
        """One question to its end."""
        return ask(self.service, through=self.asker, **call)


@contextlib.contextmanager
def travel(way: Way, *scripts: Script, **options: Any) -> Iterator[Journey]:
    """The service plays the scripts, and the client comes to it by that way."""
    asked = proxies.Asked()
    with contextlib.ExitStack() as stack:
        tls = authority().server() if way.service == "https" else None
        service = stack.enter_context(play(*scripts, tls=tls))
        session = stack.enter_context(requests.Session())
        proxy = None
        if way.proxy:
            tls = authority().server() if way.proxy == "https" else None
            script = way.script(service.port, asked)
            proxy = stack.enter_context(play(always=script, tls=tls))
            session.proxies = {"all": way.url(proxy)}
        url = f"{way.service}://localhost:{service.port}/v1"
        settings = {"base_url": url, "session": session, "verify": authority().path, **options}
        asker = stack.enter_context(client(service, **settings))
        yield Journey(service, proxy, asked, asker)


@contextlib.contextmanager
def broken(way: Way, fault: Script, **options: Any) -> Iterator[WebsopyClient]:
    """A client whose proxy plays a fault, before anything reaches the service."""
    with play(always=fault) as proxy, requests.Session() as session:
        session.proxies = {"all": way.url(proxy)}
        url = f"{way.service}://localhost:1/v1"
        settings = {"base_url": url, "session": session, "verify": authority().path, **options}
        with client(proxy, **settings) as asker:
            yield asker


@every_way
def test_whole_answer(way: Way) -> None:
    """The answer arrives whole, and the key is sent to the service."""
    with travel(way, answer("a", "b")) as journey:
        got = journey.ask()
        assert (got.text, got.error) == ("ab", None)
        request = journey.service.requests[0]
        assert request.header("authorization") == f"Bearer {KEY}".encode()
        assert PROMPT.encode() in request.body


@by_proxy
def test_the_proxy_is_asked_for_the_service(way: Way) -> None:
    """A proxy that looks names up is told the name, any other one the address; and who asks."""
    with travel(way, answer("a")) as journey:
        assert journey.ask().text == "a"
        host = "127.0.0.1" if way.proxy in ("socks4", "socks5") else "localhost"
        place = f"{host}:{journey.service.port}"
        if way.service == "http" and not way.proxy.startswith("socks"):
            place = f"http://{place}/v1/ai/chat"
        assert journey.asked.targets == [place]
        if way.user:
            given = "" if way.proxy.startswith("socks4") else PASSWORD
            assert journey.asked.users == [(USER, given)]


@every_way
def test_query_of_native_events(way: Way) -> None:
    """The parameters of client.events() arrive."""
    with travel(way, body(text("a"))) as journey:
        events = journey.asker.events("GET", "/log", params={"after": "7", "name": "a b"})
        assert len(list(events)) == 1
        assert journey.service.requests[0].target.endswith("/v1/log?after=7&name=a+b")


@every_way
def test_one_connection_for_many_answers(way: Way) -> None:
    """A finished answer gives its connection back."""
    with travel(way, answers("hi")) as journey:
        assert [journey.ask().text for _ in range(3)] == ["hi"] * 3


@every_way
@pytest.mark.parametrize("fault", [faults.hang_up, faults.reset])
def test_lost_before_the_head(way: Way, fault: Script) -> None:
    """A connection that ends before the head is a connection error: the question was sent."""
    with travel(way, fault, max_retries=0) as journey:
        got = journey.ask()
    assert (type(got.error), got.error.sent) == (APIConnectionError, True)


@every_way
def test_lost_before_the_head_is_asked_again(way: Way) -> None:
    """It is asked again under the same key."""
    with travel(way, faults.hang_up, answer("again")) as journey:
        assert journey.ask().text == "again"
        keys = {request.header("idempotency-key") for request in journey.service.requests}
        assert len(keys) == 1


@every_way
@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\nContent-Type: text/event-str"]
)
def test_cut_in_the_head(way: Way, head: bytes) -> None:
    """An end inside the head is a lost connection too."""
    with travel(way, faults.raw_answer(head), max_retries=0) as journey:
        got = journey.ask()
    assert (type(got.error), got.error.sent) == (APIConnectionError, True)


@every_way
@pytest.mark.parametrize("framing", [None, to_close])
@pytest.mark.parametrize("pieces", [(), (text("half"),)], ids=["no event", "an event"])
def test_cut_after_the_head(way: Way, framing: Any, pieces: tuple[bytes, ...]) -> None:
    """An end after the head is an interrupted answer, with what had come."""
    cut = body(*pieces, framing=framing and framing(), end=False)
    with travel(way, cut) as journey:
        got = journey.ask()
    assert type(got.error) is StreamInterruptedError
    assert got.text == got.error.partial.content == ("half" if pieces else "")


@every_way
def test_reset_after_an_event(way: Way) -> None:
    """A reset after an event is one as well."""

    def resets(conn: Conn) -> None:
        body(text("half"), end=False)(conn)
        conn.pause(0.05)
        conn.reset()

    with travel(way, resets) as journey:
        got = journey.ask()
    assert (type(got.error), got.text) == (StreamInterruptedError, "half")


@every_way
def test_end_of_native_events(way: Way) -> None:
    """Events that end with their connection end well."""
    with travel(way, body(text("a"), framing=to_close())) as journey:
        assert len(list(journey.asker.events("GET", "/log"))) == 1


@pytest.mark.timing
@every_way
@pytest.mark.parametrize("phase", ["first_chunk", "total"])
def test_limit_before_the_head(way: Way, phase: str) -> None:
    """A service that says nothing is given up at the limit."""
    limits = Timeouts(**{**attrs.asdict(QUICK), phase: 0.3})
    with travel(way, faults.stall, timeout=limits) as journey:
        got = journey.ask()
    assert type(got.error) is APITimeoutError
    assert (got.error.phase, got.error.sent) == (phase, True)
    assert got.seconds < 0.8


@pytest.mark.timing
@every_way
def test_head_that_trickles(way: Way) -> None:
    """No trickle moves the limit."""

    def trickles(conn: Conn) -> None:
        conn.read_request()
        conn.trickle(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200)

    limits = attrs.evolve(QUICK, first_chunk=0.3)
    with travel(way, trickles, timeout=limits) as journey:
        got = journey.ask()
    assert (type(got.error), got.error.phase) == (APITimeoutError, "first_chunk")
    assert got.seconds < 0.8


@pytest.mark.timing
@every_way
@pytest.mark.parametrize("phase", ["idle", "total"])
def test_limit_in_the_body(way: Way, phase: str) -> None:
    """A service that falls silent is given up at the limit."""
    limits = Timeouts(**{**attrs.asdict(QUICK), phase: 0.3})
    with travel(way, stall_after(text("half")), timeout=limits) as journey:
        got = journey.ask()
    assert type(got.error) is APITimeoutError
    assert (got.error.phase, got.error.partial.content) == (phase, "half")
    assert got.seconds < 0.9


@pytest.mark.timing
@every_way
@pytest.mark.parametrize("script", [faults.stall, stall_after(text("half"))])
def test_cancel(way: Way, script: Script) -> None:
    """cancel() ends the wait for the head and for the body at once."""
    token = CancelToken()
    at: list[float] = []

    def cancel() -> None:
        at.append(time.monotonic())
        token.cancel()

    with travel(way, script) as journey:
        timer = threading.Timer(0.2, cancel)
        timer.start()
        got = journey.ask(cancel_token=token)
        assert time.monotonic() - at[0] < 0.4
        timer.join()
    assert type(got.error) is StreamCancelledError


@every_way
def test_each_event_at_once(way: Way) -> None:
    """An event is handed over before the next one is sent."""
    word = threading.Semaphore(0)
    events = [text(str(number)) for number in range(5)]
    with travel(way, faults.in_step(faults.http_chunked(), events, word)) as journey:
        seen = []
        for piece in journey.asker.ai.chat_stream("hi"):
            seen.append(piece.type)
            word.release()
    assert seen == ["content"] * 5 + ["done"]


@every_way
@pytest.mark.parametrize("script", [answer("hi"), faults.hang_up])
def test_no_log_tells_a_secret(way: Way, script: Script, caplog: pytest.LogCaptureFixture) -> None:
    """No library on the way logs key, question or the proxy's password, at any level."""
    caplog.set_level(0)
    with travel(way, script, max_retries=0) as journey:
        journey.ask()
    basic = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    assert not any(secret in caplog.text for secret in (KEY, PROMPT, PASSWORD, basic))


@pytest.mark.timing
@every_way
def test_question_is_not_held_back(way: Way) -> None:
    """No way costs the 40 ms for which a kernel may hold an acknowledgement back."""
    with travel(way, answers("hi")) as journey:
        assert min(journey.ask().seconds for _ in range(8)) < 0.03


@every_way
def test_large_answer(way: Way) -> None:
    """Text of several megabytes comes through as it is."""
    large = "0123456789" * 50_000
    with travel(way, answer(*[large] * 4)) as journey:
        assert journey.ask().text == large * 4


@every_way
def test_large_question(way: Way) -> None:
    """So does a question."""
    large = "0123456789" * 200_000
    with travel(way, answer("hi")) as journey:
        assert journey.ask(messages=large).text == "hi"
        assert large.encode() in journey.service.requests[0].body


@every_way
def test_refusal(way: Way) -> None:
    """The service's status surfaces."""
    with travel(way, faults.status_answer(401, body=b"{}"), max_retries=0) as journey:
        got = journey.ask()
    assert isinstance(got.error, APIStatusError)
    assert got.error.status_code == 401


@every_way
def test_no_http(way: Way) -> None:
    """A service that does not speak HTTP is a protocol error."""
    with travel(way, faults.raw_answer(b"220 mail ready\r\n\r\n"), max_retries=0) as journey:
        assert type(journey.ask().error) is StreamProtocolError


@every_way
def test_answer_nobody_asked_for(way: Way) -> None:
    """What comes after an answer is never taken for the next one."""

    def talks_on(conn: Conn) -> None:
        conn.read_request()
        conn.head()
        conn.body(text("one"))
        stray = faults.http_chunk(text("stray") + DONE) + b"0\r\n\r\n"
        conn.send(
            conn.framing.wrap(DONE) + b"0\r\n\r\n"
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n" + stray
        )
        conn.wait_gone()

    with travel(way, talks_on, answer("two")) as journey:
        assert [journey.ask().text for _ in range(2)] == ["one", "two"]


@every_way
@pytest.mark.parametrize(
    "script", [faults.hang_up, faults.stall, body(text("half"), end=False), stall_after(DONE[:9])]
)
def test_error_names_host_and_port(way: Way, script: Script) -> None:
    """An error names the service and the proxy it was asked by, and never the proxy's password."""
    with travel(way, script, timeout=Timeouts(total=0.3), max_retries=0) as journey:
        told = str(journey.ask().error)
        assert f"localhost:{journey.service.port}" in told
        assert journey.proxy is None or f"proxy 127.0.0.1:{journey.proxy.port}" in told
    assert PASSWORD not in told
    assert USER not in told.split()


@pytest.mark.timing
@by_tunnel
@pytest.mark.parametrize("phase", ["connect", "total"])
def test_proxy_that_stalls(way: Way, phase: str) -> None:
    """A proxy that says nothing is part of connecting, under its limits."""
    limits = Timeouts(**{**attrs.asdict(QUICK), phase: 0.3})
    with broken(way, Conn.wait_gone, timeout=limits, max_retries=0) as asker:
        got = listen(lambda: asker.ai.chat_stream("hi"))
    assert type(got.error) is APITimeoutError
    assert (got.error.phase, got.error.sent) == (phase, False)
    assert got.seconds < 0.8


@pytest.mark.timing
@by_tunnel
def test_cancel_while_the_proxy_stalls(way: Way) -> None:
    """cancel() ends the wait for a proxy."""
    token = CancelToken()
    with broken(way, Conn.wait_gone) as asker:
        timer = threading.Timer(0.1, token.cancel)
        timer.start()
        got = listen(lambda: asker.ai.chat_stream("hi", cancel_token=token))
        timer.join()
    assert type(got.error) is StreamCancelledError
    assert got.seconds < 0.6


@by_tunnel
@pytest.mark.parametrize("how", [Conn.half_close, Conn.reset])
def test_proxy_that_breaks_off(way: Way, how: Script) -> None:
    """A proxy that ends the connection is a connection error that may be tried again."""

    def breaks_off(conn: Conn) -> None:
        conn.receive()
        how(conn)

    with broken(way, breaks_off, max_retries=0) as asker:
        got = listen(lambda: asker.ai.chat_stream("hi"))
    assert type(got.error) is APIConnectionError
    assert (got.error.sent, got.error.retryable) == (False, True)


@pytest.mark.timing
@by_tunnel
def test_proxy_that_speaks_something_else(way: Way) -> None:
    """What does not speak the proxy's protocol is our own error, and nothing was sent."""

    def banner(conn: Conn) -> None:
        conn.receive()
        conn.send(b"SSH-2.0-x and more than a handshake has\r\n" * 20)
        conn.wait_gone()

    with broken(way, banner, max_retries=0) as asker:
        got = listen(lambda: asker.ai.chat_stream("hi"))
    assert isinstance(got.error, APIConnectionError | StreamProtocolError)
    assert getattr(got.error, "sent", False) is False
    assert got.seconds < 0.8


@by_proxy
def test_proxy_that_is_not_there(way: Way) -> None:
    """A proxy that refuses the connection is like a service that does."""
    with travel(way, max_retries=0) as journey:
        assert journey.proxy is not None
        journey.proxy.close()
        got = journey.ask()
    assert type(got.error) is APIConnectionError
    assert (got.error.sent, got.error.retryable) == (False, True)


@by_proxy
def test_service_behind_the_proxy_that_is_not_there(way: Way) -> None:
    """A service that the proxy cannot reach is an error of ours; nothing of the proxy's leaks."""
    with travel(way, max_retries=0) as journey:
        journey.service.close()
        got = journey.ask()
    assert isinstance(got.error, APIConnectionError | APIStatusError)
    assert PASSWORD not in repr(got.error) + str(got.error)
