"""Promises 1, 2, 3, 6: what can go wrong before a server has the whole question."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import faults
import pytest
import requests
from faults import (
    KEY,
    QUICK,
    Conn,
    answer,
    ask,
    client,
    hang_up,
    listen,
    listen_here,
    play,
    raw_answer,
)

from websopy_sync import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    CancelToken,
    ConfigError,
    StreamCancelledError,
    StreamProtocolError,
    Timeouts,
    WebsopyClient,
    WebsopyError,
    hookimpl,
)

LONG_PROMPT = "lengthy " * 800_000
"""More than the buffers between client and server hold."""


@contextlib.contextmanager
def closed_port() -> Iterator[socket.socket]:
    """A socket that owns a port and refuses whoever connects, until it listens."""
    with socket.socket() as owner:
        owner.bind(("127.0.0.1", 0))
        yield owner


def url_of(owner: socket.socket) -> str:
    """The base_url of a socket's port."""
    return f"http://127.0.0.1:{owner.getsockname()[1]}/v1"


def client_at(url: str, **options: object) -> WebsopyClient:
    """A client with short limits for a place that is no fault server."""
    settings = {"api_key": KEY, "base_url": url, "timeout": QUICK, "plugins": []}
    return WebsopyClient(**{**settings, **options})


@contextlib.contextmanager
def full_backlog() -> Iterator[str]:
    """The URL of a server whose queue is full: SYNs are dropped and connecting takes for ever."""
    with socket.socket() as owner, contextlib.ExitStack() as stack:
        owner.bind(("127.0.0.1", 0))
        owner.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(owner.getsockname())
        yield url_of(owner)


@pytest.mark.timing
def test_refused_once_without_retries() -> None:
    """A refused connection is an APIConnectionError that says nothing was sent."""
    with closed_port() as owner, client_at(url_of(owner), max_retries=0) as asker:
        got = listen(lambda: asker.ai.chat_stream("hi"))
    assert type(got.error) is APIConnectionError
    assert (got.error.sent, got.error.attempts, got.error.retryable) == (False, 1, True)
    assert got.seconds < 0.5


def test_refused_is_tried_again_as_often_as_allowed() -> None:
    """What never reached the server is repeated up to max_retries times."""
    with closed_port() as owner, client_at(url_of(owner), max_retries=1) as asker:
        got = listen(lambda: asker.ai.chat_stream("hi"))
    assert type(got.error) is APIConnectionError
    assert (got.error.sent, got.error.attempts) == (False, 2)


def test_refused_and_then_there() -> None:
    """A server that comes up between two tries gets the question."""
    with closed_port() as owner:

        class Starter:
            @hookimpl
            def on_retry(self, error: Exception) -> None:
                owner.listen(1)

        owner.settimeout(2)
        server = threading.Thread(target=_accept_when_listening, args=(owner,))
        server.start()
        with client_at(url_of(owner), plugins=[Starter()], max_retries=3) as asker:
            got = listen(lambda: asker.ai.chat_stream("hi"))
        server.join(3)
    assert (got.text, got.error) == ("up", None)
    assert got.stream.retries_taken >= 1


def _accept_when_listening(owner: socket.socket) -> None:
    for _ in range(200):
        try:
            sock, _ = owner.accept()
        except OSError:  # not listening yet
            time.sleep(0.01)
            continue
        with sock:
            sock.recv(65536)
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
            sock.sendall(head + faults.text("up") + faults.DONE)
        return


def test_name_that_does_not_resolve() -> None:
    """A host without an address is an APIConnectionError, nothing sent."""
    # A zone that does not exist fails like an unknown name, and no name server is asked.
    with client_at("http://[::1%25nowhere]/v1", max_retries=0) as asker:
        got = listen(lambda: asker.ai.chat_stream("hi"))
    assert type(got.error) is APIConnectionError
    assert got.error.sent is False


@pytest.mark.parametrize(
    "url",
    [
        "", "http://", "http:///v1", "ftp://127.0.0.1/v1", "127.0.0.1/v1", "http://a b/v1",
        "http://[::1/v1", "http://127.0.0.1:99999/v1", "http://127.0.0.1:abc/v1", "http://../v1",
        "http://\u4e2d\u56fd\uff0e/v1\n", "file:///etc/passwd", "http://:80/v1",
        "http://" + "a" * 64 + "/v1", "http://127.0.0.1:0x50/v1", "http://127.0.0.1:-1/v1",
    ],
)  # fmt: skip
def test_odd_base_url_is_our_own_error(url: str) -> None:
    """Whatever the base_url is, no foreign exception comes out; a bad one is a ConfigError."""
    with pytest.raises((ConfigError, APIConnectionError)) as caught:
        with client_at(url, max_retries=0) as asker:
            asker.ai.chat("hi")
    if isinstance(caught.value, APIConnectionError):
        assert caught.value.sent is False


NO_DESCRIPTORS = """
    import os, resource, sys
    from websopy_sync import WebsopyClient, WebsopyError

    with WebsopyClient("key", base_url=sys.argv[1], plugins=[], max_retries=0) as client:
        client.ai.chat("warm")
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (os.dup(0), limits[1]))
        try:
            client.ai.chat("hi")
        except WebsopyError as error:
            print(type(error).__name__, error.sent)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        print(client.ai.chat("hi").content)
"""


def test_no_descriptor_left() -> None:
    """A process that has used up its files gets a connection error, and may go on later."""
    with play(*[answer("hi")] * 2) as server, faults.child(NO_DESCRIPTORS, server.url) as process:
        assert faults.output(process) == ["APIConnectionError False", "hi"]


@pytest.mark.timing
def test_connecting_that_takes_for_ever() -> None:
    """The connect limit ends it, and it counts as never reached."""
    with full_backlog() as url:
        limits = Timeouts(connect=0.2, first_chunk=5, idle=5, total=5)
        with client_at(url, timeout=limits, max_retries=0) as asker:
            got = listen(lambda: asker.ai.chat_stream("hi"))
    assert type(got.error) is APITimeoutError
    assert isinstance(got.error, TimeoutError)
    assert (got.error.phase, got.error.sent, got.error.attempts) == ("connect", False, 1)
    assert 0.15 < got.seconds < 1


def test_connecting_is_tried_again_after_its_limit() -> None:
    """A connect time-out never reached the server, so it is repeated."""
    with full_backlog() as url:
        limits = Timeouts(connect=0.1, first_chunk=5, idle=5, total=5)
        with client_at(url, timeout=limits, max_retries=1) as asker:
            got = listen(lambda: asker.ai.chat_stream("hi"))
    assert (got.error.phase, got.error.sent, got.error.attempts) == ("connect", False, 2)


@pytest.mark.timing
def test_total_limit_while_connecting() -> None:
    """The total limit holds while connecting too."""
    with full_backlog() as url:
        limits = Timeouts(connect=5, first_chunk=5, idle=5, total=0.2)
        with client_at(url, timeout=limits) as asker:
            got = listen(lambda: asker.ai.chat_stream("hi"))
    assert type(got.error) is APITimeoutError
    assert (got.error.phase, got.error.sent) == ("total", False)
    assert 0.15 < got.seconds < 1


@pytest.mark.timing
def test_cancel_while_connecting() -> None:
    """cancel() ends the wait for a connection."""
    token = CancelToken()
    timer = threading.Timer(0.1, token.cancel)
    with full_backlog() as url:
        limits = Timeouts(connect=1.5, first_chunk=5, idle=5, total=5)
        with client_at(url, timeout=limits) as asker:
            timer.start()
            got = listen(lambda: asker.ai.chat_stream("hi", cancel_token=token))
    assert type(got.error) is StreamCancelledError
    assert got.seconds < 0.8


def test_second_address_of_a_name() -> None:
    """A name with two addresses is reached when only one of them listens."""
    with play(answer("hi")) as server:
        with client(server, base_url=f"http://localhost:{server.port}/v1") as asker:
            assert listen(lambda: asker.ai.chat_stream("hi")).text == "hi"


def addresses(*found: tuple[int, Any]) -> Callable[..., list[Any]]:
    """A resolver that gives these addresses, each a family and where to connect to."""
    return lambda host, port, *rest, **more: [
        (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address) for family, address in found
    ]


class WithoutIPv6(socket.socket):
    """The sockets of a kernel that was booted with ipv6.disable=1."""

    def __init__(
        self, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None
    ) -> None:
        if family == socket.AF_INET6 and fileno is None:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        super().__init__(family, type, proto, fileno)


def test_kernel_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that has an IPv6 address too is reached over IPv4."""
    with play(answer("hi")) as server, monkeypatch.context() as patch:
        found = addresses(
            (socket.AF_INET6, ("::1", server.port, 0, 0)),
            (socket.AF_INET, ("127.0.0.1", server.port)),
        )
        patch.setattr(socket, "socket", WithoutIPv6)
        patch.setattr(socket, "getaddrinfo", found)
        with client(server, base_url=f"http://localhost:{server.port}/v1") as asker:
            got = listen(lambda: asker.ai.chat_stream("hi"))
        patch.undo()
    assert (got.text, got.error) == ("hi", None)


@pytest.mark.timing
@pytest.mark.parametrize(
    "number",
    [
        errno.ENETUNREACH,  # no route
        errno.EINVAL,  # link-local, and no scope says which link
        errno.EADDRNOTAVAIL,
        errno.EAFNOSUPPORT,
        errno.EACCES,  # a firewall's word
        errno.EPERM,
    ],
    ids=errno.errorcode.get,
)
def test_address_that_connect_refuses_at_once_is_passed_over(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the kernel has against it: the next one is tried."""

    class Refusing(socket.socket):
        def connect(self, address: Any) -> None:
            if self.family == socket.AF_INET6:
                raise OSError(number, os.strerror(number))
            super().connect(address)

    with play(answer("hi")) as server, monkeypatch.context() as patch:
        found = addresses(
            (12345, ("a family that nobody knows", 0)),
            (socket.AF_INET6, ("::1", server.port, 0, 0)),
            (socket.AF_INET, ("127.0.0.1", server.port)),
        )
        patch.setattr(socket, "socket", Refusing)
        patch.setattr(socket, "getaddrinfo", found)
        with client(server, base_url=f"http://localhost:{server.port}/v1", max_retries=0) as asker:
            got = listen(lambda: asker.ai.chat_stream("hi"))
        patch.undo()
    assert (got.text, got.error) == ("hi", None)
    assert got.seconds < 0.8


def test_error_of_the_address_that_can_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is down is not reported as a lack of IPv6."""
    with closed_port() as owner:
        port = owner.getsockname()[1]
        found = addresses(
            (socket.AF_INET, ("127.0.0.1", port)), (socket.AF_INET6, ("::1", port, 0, 0))
        )
        monkeypatch.setattr(socket, "socket", WithoutIPv6)
        monkeypatch.setattr(socket, "getaddrinfo", found)
        with client_at("http://service/v1", max_retries=0) as asker:
            got = listen(lambda: asker.ai.chat_stream("hi"))
    assert "refused" in got.error.message


def test_socket_option_that_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection without it is better than none."""

    class Strict(socket.socket):
        def __init__(self, *arguments: Any, fileno: int | None = None) -> None:
            super().__init__(*arguments, fileno=fileno)
            self.ours = fileno is None  # a server's come with theirs

        def setsockopt(self, *option: Any) -> None:
            if self.ours:
                raise OSError(errno.ENOPROTOOPT, "Protocol not available")

    with play(answer("hi")) as server:
        monkeypatch.setattr(socket, "socket", Strict)
        assert ask(server).text == "hi"


class SilentResolver:
    """A name server that does not answer until the test is over."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.over = threading.Event()
        monkeypatch.setattr(socket, "getaddrinfo", self)

    def __call__(self, *arguments: Any, **more: Any) -> list[Any]:
        self.over.wait(5)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


@pytest.fixture
def silent_resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[SilentResolver]:
    resolver = SilentResolver(monkeypatch)
    yield resolver
    resolver.over.set()


through_what = pytest.mark.parametrize(
    ("url", "proxies"),
    [
        ("http://service/v1", {}),
        ("https://service/v1", {}),
        ("http://192.0.2.1/v1", {"http": "http://proxy:3128"}),
        ("https://192.0.2.1/v1", {"https": "http://proxy:3128"}),
    ],
    ids=["http", "https", "http proxy", "CONNECT"],
)


@pytest.mark.timing
@through_what
@pytest.mark.parametrize("phase", ["connect", "total"])
@pytest.mark.usefixtures("silent_resolver")
def test_name_look_up_obeys_the_limits(url: str, proxies: dict[str, str], phase: str) -> None:
    """PROMISE 45: a dead name server costs the connect or the total limit; nothing was sent."""
    limits = Timeouts(**{"connect": 5, "first_chunk": 5, "idle": 5, "total": 5, phase: 0.2})
    with requests.Session() as session:
        session.proxies.update(proxies)
        with client_at(url, timeout=limits, max_retries=0, session=session) as asker:
            got = listen(lambda: asker.ai.chat_stream("hi"))
    assert type(got.error) is APITimeoutError
    assert (got.error.phase, got.error.sent) == (phase, False)
    assert 0.15 < got.seconds < 1


@pytest.mark.timing
@through_what
@pytest.mark.usefixtures("silent_resolver")
def test_name_look_up_is_cancelled(url: str, proxies: dict[str, str]) -> None:
    """PROMISE 45: cancel() ends the wait for a name server."""
    token = CancelToken()
    limits = Timeouts(connect=5, first_chunk=5, idle=5, total=5)
    with requests.Session() as session:
        session.proxies.update(proxies)
        with client_at(url, timeout=limits, session=session) as asker:
            threading.Timer(0.1, token.cancel).start()
            got = listen(lambda: asker.ai.chat_stream("hi", cancel_token=token))
    assert type(got.error) is StreamCancelledError
    assert got.seconds < 0.8


@pytest.mark.timing
def test_cancel_during_the_look_up_of_a_host_that_cannot_be_reached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """PROMISE 7: the connecting that would follow does not begin."""
    token = CancelToken()
    real = socket.getaddrinfo

    def cancelled_meanwhile(host: str, port: int, *rest: Any) -> list[Any]:
        token.cancel()
        return real("127.0.0.1", port, *rest)

    monkeypatch.setattr(socket, "getaddrinfo", cancelled_meanwhile)
    with full_backlog() as url:
        limits = Timeouts(connect=5, first_chunk=5, idle=5, total=5)
        with client_at(url.replace("127.0.0.1", "service"), timeout=limits) as asker:
            got = listen(lambda: asker.ai.chat_stream("hi", cancel_token=token))
    assert type(got.error) is StreamCancelledError
    assert got.seconds < 0.8


def test_caller_that_handles_a_time_out() -> None:
    """What the caller is handling when it asks is no part of what goes wrong then."""
    with closed_port() as owner, client_at(url_of(owner), max_retries=1) as asker:
        try:
            raise TimeoutError("of the caller's own")
        except TimeoutError:
            got = listen_here(lambda: asker.ai.chat_stream("hi"))
    assert type(got.error) is APIConnectionError
    assert got.error.attempts == 2


def fin_at_once(conn: Conn) -> None:
    conn.half_close()
    conn.wait_gone()


def reset_at_once(conn: Conn) -> None:
    conn.reset()


def reset_in_the_request(conn: Conn) -> None:
    conn.receive()
    conn.reset()


@pytest.mark.parametrize(
    "fault", [fin_at_once, reset_at_once, reset_in_the_request, hang_up, faults.reset]
)
def test_lost_before_the_answer(fault: faults.Script) -> None:
    """A connection lost before the head is a connection error that admits it may have been seen."""
    with play(fault) as server:
        got = ask(server, max_retries=0)
    assert type(got.error) is APIConnectionError
    assert (got.error.attempts, got.error.retryable) == (1, True)
    assert got.error.sent or fault is reset_at_once  # that may come before anything is sent
    assert not got.error.partial or not got.error.partial.content


@pytest.mark.parametrize("fault", [fin_at_once, reset_at_once, hang_up, faults.reset])
def test_lost_before_the_answer_is_asked_again(fault: faults.Script) -> None:
    """It is asked again with the same Idempotency-Key and the same body."""
    with play(fault, answer("again")) as server:
        got = ask(server)
        assert (got.text, got.error, got.stream.retries_taken) == ("again", None, 1)
        keys = {request.header("idempotency-key") for request in server.requests}
        bodies = {request.body for request in server.requests}
        assert len(keys) == len(bodies) == 1 and None not in keys


@pytest.mark.timing
def test_long_question_nobody_reads_total() -> None:
    """A question that does not fit into the socket is given up at the total limit."""
    limits = Timeouts(connect=1, first_chunk=5, idle=5, total=0.4)
    with play(lambda conn: conn.pause(1.0)) as server:
        got = ask(server, messages=LONG_PROMPT, timeout=limits)
    assert type(got.error) is APITimeoutError
    assert (got.error.phase, got.error.sent) == ("total", True)
    assert got.seconds < 0.9


@pytest.mark.timing
def test_long_question_nobody_reads_first_chunk() -> None:
    """Neither does the first-chunk limit wait for it to be sent."""
    limits = Timeouts(connect=1, first_chunk=0.3, idle=5, total=5)
    with play(lambda conn: conn.pause(1.0)) as server:
        got = ask(server, messages=LONG_PROMPT, timeout=limits)
    assert type(got.error) is APITimeoutError
    assert (got.error.phase, got.error.sent) == ("first_chunk", True)
    assert got.seconds < 0.9


@pytest.mark.timing
def test_long_question_nobody_reads_cancelled() -> None:
    """cancel() ends the sending."""
    token = CancelToken()
    cancelled_at: list[float] = []

    def cancel() -> None:
        cancelled_at.append(time.monotonic())
        token.cancel()

    def read_nothing(conn: Conn) -> None:
        threading.Timer(0.1, cancel).start()
        conn.pause(1.0)

    with play(read_nothing) as server:
        got = ask(server, messages=LONG_PROMPT, cancel_token=token)
        assert time.monotonic() - cancelled_at[0] < 0.5
    assert type(got.error) is StreamCancelledError


def test_long_question_arrives_whole() -> None:
    """A question of many megabytes is sent as it is."""
    with play(answer("hi")) as server:
        assert ask(server, messages=LONG_PROMPT).text == "hi"
        assert LONG_PROMPT.encode() in server.requests[0].body


def test_answer_before_the_question_was_read() -> None:
    """A refusal that comes while the question is still being sent is what is raised."""

    def too_large(conn: Conn) -> None:
        conn.read_head()
        conn.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\nConnection: close\r\n\r\nhuge")
        conn.half_close()
        conn.wait_gone()

    with play(too_large) as server:
        got = ask(server, messages=LONG_PROMPT)
    assert isinstance(got.error, APIStatusError)
    assert (got.error.status_code, got.error.body) == (413, "huge")


@pytest.mark.parametrize(
    "banner",
    [
        b"220 mail ready\r\n",
        b"SSH-2.0-x\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"\0" * 100,
        b"{}\n",
    ],
)
def test_server_that_speaks_something_else(banner: bytes) -> None:
    """A server that does not speak HTTP is our own error, a cut or a protocol error."""
    with play(raw_answer(banner)) as server:
        got = ask(server, max_retries=0)
    assert isinstance(got.error, StreamProtocolError | APIConnectionError)
    assert isinstance(got.error, WebsopyError)


def test_banner_with_a_line_end_is_a_protocol_error() -> None:
    """A whole line that is no status line is no lost connection."""
    with play(raw_answer(b"220 mail ready\r\n\r\n")) as server:
        assert type(ask(server).error) is StreamProtocolError


def test_idle_connection_that_the_server_closed() -> None:
    """A pooled connection closed between two questions costs the second nothing, not even a try."""
    closed = threading.Event()

    def once(conn: Conn) -> None:
        conn.read_request()
        faults.reply(conn, "one")
        conn.half_close()
        closed.set()

    with play(once, answer("two")) as server, client(server, max_retries=0) as asker:
        assert ask(server, through=asker).text == "one"
        assert closed.wait(2)
        time.sleep(0.02)
        got = ask(server, through=asker)
        assert (got.text, got.stream.retries_taken) == ("two", 0)
        assert len(server.requests) == 2


def test_reused_connection_that_dies_under_the_question() -> None:
    """A pooled connection that is lost under the question is a lost connection like others."""

    def once(conn: Conn) -> None:
        conn.read_request()
        faults.reply(conn, "one")
        conn.read_request()
        conn.half_close()

    with play(once, answer("two")) as server, client(server) as asker:
        assert ask(server, through=asker).text == "one"
        assert ask(server, through=asker).text == "two"
        assert len(server.requests) == 3
        again = [request.header("idempotency-key") for request in server.requests[1:]]
        assert again[0] == again[1]


@pytest.mark.parametrize("retries", [0, 2])
def test_error_names_host_port_and_attempts(retries: int) -> None:
    """An error says where there was no connection, and how often that was tried."""
    with closed_port() as owner, client_at(url_of(owner), max_retries=retries) as asker:
        error = listen(lambda: asker.ai.chat_stream("hi")).error
        place = f"127.0.0.1:{owner.getsockname()[1]}"
    told = f"no connection to {place}: connection refused"
    assert str(error) == error.message == (f"{told} (3 attempts)" if retries else told)
    assert error.attempts == retries + 1
    assert repr(error) == f"APIConnectionError({error.message!r})"


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("http://[::1%25nowhere]/v1", "[::1%25nowhere]:80"),
        ("https://[::1%25nowhere]/v1", "[::1%25nowhere]:443"),
    ],
)
def test_error_names_the_port_that_the_url_leaves_out(url: str, place: str) -> None:
    """The port is the scheme's own where the URL has none, and IPv6 keeps its brackets."""
    with client_at(url, max_retries=0) as asker:
        assert f" {place}: " in str(listen(lambda: asker.ai.chat_stream("hi")).error)


@pytest.mark.timing
@pytest.mark.slow
def test_more_connections_than_are_kept(caplog: pytest.LogCaptureFixture) -> None:
    """Beyond the 256 idle connections that are kept, one is closed without a word."""

    def patient(conn: Conn) -> None:
        conn.sock.settimeout(30)  # a busy machine takes its time over 260 streams
        faults.answers("hi")(conn)

    with play(always=patient) as server, client(server, timeout=30) as asker:
        streams = [asker.ai.chat_stream("hi") for _ in range(260)]
        assert {next(stream).content for stream in streams} == {"hi"}
        for stream in streams:
            assert [piece.type for piece in stream] == ["done"]
        assert len(server.conns) == 260
        ask(server, through=asker)
        assert len(server.conns) == 260
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []
