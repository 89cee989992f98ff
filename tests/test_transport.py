"""The transport as a unit: one request, one response, over a real socket."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests
from faults import Conn, Script, length, play, raw_answer, stall, to_close

from websopy_sync import (
    APIConnectionError,
    APITimeoutError,
    ConfigError,
    StreamCancelledError,
    StreamInterruptedError,
    StreamProtocolError,
)
from websopy_sync.cancel import CancelScope
from websopy_sync.secret import Secret
from websopy_sync.transport import HTTPRequest, HTTPResponse, Transport

BEARER = ("Authorization", "Bearer ")


def send(
    transport: Transport, request: HTTPRequest, *, scope: CancelScope | None = None, wait: float = 5
) -> HTTPResponse:
    return transport.send(
        request,
        scope or CancelScope(5),
        key=Secret("the-key"),
        connect=5,
        limit=("first_chunk", wait),
    )


@contextmanager
def opened(**options: Any) -> Iterator[Transport]:
    transport = Transport(key_header=BEARER, **options)
    try:
        yield transport
    finally:
        transport.close()


def whole(response: HTTPResponse) -> bytes:
    return b"".join(iter(response.receive, b""))


def one(data: bytes, **options: Any) -> Script:
    """A counted body, on a connection that stays open until the client leaves."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head(framing=length(len(data)), **options)
        conn.body(data)
        conn.wait_gone()

    return script


def several(*bodies: bytes) -> Script:
    """Counted bodies, each for a request of the same connection."""

    def script(conn: Conn) -> None:
        for data in bodies:
            conn.read_request()
            conn.head(framing=length(len(data)))
            conn.body(data)
        conn.wait_gone()

    return script


def test_what_is_sent_and_what_comes_back() -> None:
    """The method, target, headers and body as given; the status, headers and body as they came."""
    with play(one(b"hello", status=418, headers={"X-A": "1", "x-a": "2"})) as server:
        with opened() as transport:
            request = HTTPRequest(
                "POST", server.url + "/ai", {"X-Mine": "yes"}, b'{"a": 1}', query="q=a%20b"
            )
            response = send(transport, request)
            assert response.status_code == 418
            assert response.headers["content-length"] == "5"
            assert whole(response) == b"hello"
            response.release()
    (seen,) = server.requests
    assert (seen.method, seen.target, seen.body) == ("POST", "/v1/ai?q=a%20b", b'{"a": 1}')
    assert seen.header("x-mine") == b"yes"
    assert seen.header("content-length") == b"8"
    assert seen.header("authorization") == b"Bearer the-key"


def test_a_key_header_of_the_users_own_stays() -> None:
    """It is sent instead of the key, whatever its case of letters."""
    with play(one(b"")) as server, opened() as transport:
        send(transport, HTTPRequest("GET", server.url, {"authorization": "Mine"})).close()
    assert server.requests[0].header("authorization") == b"Mine"


def test_the_repr_of_a_request_shows_no_prompt() -> None:
    """Nor the URL, which may hold one in its query."""
    request = HTTPRequest("POST", "http://x/secret", {"A": "secret"}, b"secret", query="secret")
    assert "secret" not in repr(request)


def test_a_released_connection_is_used_again() -> None:
    """Both requests are read by one script, which has one connection."""
    with play(several(b"one", b"two")) as server, opened() as transport:
        for expected in (b"one", b"two"):
            response = send(transport, HTTPRequest("GET", server.url, {}))
            assert whole(response) == expected
            response.release()
    assert len(server.requests) == 2


def test_a_closed_connection_is_not_used_again() -> None:
    """Each request has its own script, on its own connection."""
    with play(one(b"one"), one(b"two")) as server, opened() as transport:
        for expected in (b"one", b"two"):
            response = send(transport, HTTPRequest("GET", server.url, {}))
            assert whole(response) == expected
            response.close()


def test_a_release_before_the_end_reads_what_is_there() -> None:
    """The rest of the body is read, so that the connection can be kept."""
    with play(several(b"one", b"two")) as server, opened() as transport:
        for _ in range(2):
            send(transport, HTTPRequest("GET", server.url, {})).release()
    assert len(server.requests) == 2


def test_an_error_body_within_its_bounds() -> None:
    """As many bytes as allowed, of a body that has more."""
    with play(one(b"x" * 1000, status=500)) as server, opened() as transport:
        response = send(transport, HTTPRequest("GET", server.url, {}))
        assert response.read_error_body(limit=10, seconds=1) == b"x" * 10
        response.close()


def test_an_error_body_that_does_not_end() -> None:
    """What came in the time that is allowed; no limit is raised for it."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head(500, framing=length(1000))
        conn.body(b"some")
        conn.wait_gone()

    with play(script) as server, opened() as transport:
        response = send(transport, HTTPRequest("GET", server.url, {}))
        assert response.read_error_body(limit=1000, seconds=0.1) == b"some"
        response.close()


def test_a_body_that_ends_with_its_connection() -> None:
    """Read to its end, even though http.client has closed the connection by then."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head(framing=to_close())
        conn.body(b"a", b"b")

    with play(script) as server, opened() as transport:
        assert whole(send(transport, HTTPRequest("GET", server.url, {}))) == b"ab"


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("pieces", "error"),
    [
        ([], APIConnectionError),
        ([HEAD], APIConnectionError),
        ([b"220 mail ready\r\n"], StreamProtocolError),
        ([HEAD + b"Content-Length: x\r\n\r\n"], StreamProtocolError),
        ([HEAD + b"Transfer-Encoding: gzip\r\n\r\n"], StreamProtocolError),
    ],
    ids=["nothing", "cut head", "no HTTP", "no length", "unknown framing"],
)
def test_failures_before_the_head(pieces: list[bytes], error: type[Exception]) -> None:
    """An error of ours, without a foreign cause or context."""
    with play(raw_answer(*pieces)) as server, opened() as transport:
        with pytest.raises(error) as caught:
            send(transport, HTTPRequest("GET", server.url, {}))
    assert caught.value.__cause__ is None and caught.value.__context__ is None


@pytest.mark.parametrize(
    ("rest", "error"),
    [
        (b"Content-Length: 5\r\n\r\nab", StreamInterruptedError),
        (b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", StreamInterruptedError),
        (b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\nzz\r\n", StreamProtocolError),
    ],
    ids=["cut length", "cut chunks", "bad chunk"],
)
def test_failures_in_the_body(rest: bytes, error: type[Exception]) -> None:
    """What came before is returned first."""
    with play(raw_answer(HEAD + rest)) as server, opened() as transport:
        response = send(transport, HTTPRequest("GET", server.url, {}))
        assert response.receive() == b"ab"
        with pytest.raises(error) as caught:
            response.receive()
        response.close()
    assert caught.value.__cause__ is None and caught.value.__context__ is None


def test_a_limit_before_the_head() -> None:
    """It names the phase, and that the request was sent."""
    with play(stall) as server, opened() as transport:
        with pytest.raises(APITimeoutError) as caught:
            send(transport, HTTPRequest("GET", server.url, {}), wait=0.1)
    assert (caught.value.phase, caught.value.sent) == ("first_chunk", True)


def test_an_aborted_scope_sends_nothing() -> None:
    """No connection is made; the server would fail the test for it."""
    scope = CancelScope(5)
    scope.abort("cancelled")
    with play() as server, opened() as transport:
        with pytest.raises(StreamCancelledError):
            send(transport, HTTPRequest("GET", server.url, {}), scope=scope)


def test_a_bundle_that_is_missing() -> None:
    """An argument that cannot be right is refused before anything is sent."""
    with pytest.raises(ConfigError, match="verify"):
        Transport(key_header=BEARER, verify="/there/is/no/such/bundle")


def test_the_session_stays_open() -> None:
    """It is the caller's: closing the transport does not close its adapters."""
    closed = []

    class Own(requests.adapters.HTTPAdapter):
        def close(self) -> None:
            closed.append(self)

    session = requests.Session()
    session.mount("http://own", Own())
    with opened(session=session):
        pass
    assert not closed
