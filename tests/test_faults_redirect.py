"""Promise 20: wherever a server points, neither the key nor the question goes there."""

from __future__ import annotations

import faults
import pytest
from faults import Conn, answer, ask, client, listen, play, status_answer
from tables import each

from websopy_sync import APIStatusError, Timeouts

CODES = [300, 301, 302, 303, 305, 307, 308]


def moved(code: int, target: str | None) -> faults.Script:
    """A redirect to that place; one without a target when None."""
    return status_answer(code, {} if target is None else {"Location": target}, b"moved")


@each("code", CODES)
@each("target", ["/v1/elsewhere", "/v1/ai/chat", "?again=1", "//127.0.0.1/x", "\\\\127.0.0.1\\x"])
def test_same_server(code: int, target: str) -> None:
    """A redirect on the same server is an error with its status; it is not followed."""
    with play(moved(code, target)) as server:
        got = ask(server)
        assert len(server.requests) == 1
    assert isinstance(got.error, APIStatusError)
    assert (got.error.status_code, got.error.body, got.error.attempts) == (code, "moved", 1)
    assert got.error.retryable is False


@each("code", CODES)
@each("host", ["127.0.0.1", "localhost"])
def test_other_server(code: int, host: str) -> None:
    """Another server hears nothing at all, neither by POST nor by GET."""
    with play() as other:
        target = f"http://{host}:{other.port}/v1/ai/chat"
        with play(moved(code, target)) as server:
            got = ask(server)
        assert other.conns == []
    assert isinstance(got.error, APIStatusError)
    assert got.error.status_code == code
    headers = {name.lower(): value for name, value in got.error.headers.items()}
    assert headers["location"] == target


@each("code", CODES)
def test_from_https_to_http(code: int) -> None:
    """A redirect out of TLS is not followed either."""
    with play() as plain:
        fault = moved(code, plain.url + "/ai/chat")
        with play(fault, tls=faults.authority().server()) as server:
            got = ask(server)
        assert plain.conns == []
    assert (type(got.error), got.error.status_code) == (APIStatusError, code)


@each("code", CODES)
@each("target", [None, "", " ", "http://", "http://[", "javascript:1", "\xff"])
def test_odd_target(code: int, target: str | None) -> None:
    """A redirect to nowhere, or to something that is no URL, is the same error."""
    with play(moved(code, target)) as server:
        got = ask(server)
    assert (type(got.error), got.error.status_code) == (APIStatusError, code)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_native_events(code: int) -> None:
    """The native GET is not redirected."""
    with play() as other:
        with play(moved(code, other.url + "/ai/chat?message=x")) as server:
            with client(server) as asker:
                got = listen(lambda: asker.events("GET", "/ai/chat", params={"message": "hi"}))
        assert other.conns == []
    assert (type(got.error), got.error.status_code) == (APIStatusError, code)


@pytest.mark.timing
def test_body_that_never_ends() -> None:
    """The page that comes with a redirect is not read to its end."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head(307, {"Location": "/v1/elsewhere"})
        conn.flood(faults.http_chunk(b"moved " * 10_000), limit=64_000_000)

    with play(script) as server:
        got = ask(server, timeout=Timeouts(total=5))
        assert server.sent < 32_000_000
    assert (got.error.status_code, got.seconds < 1.7) == (307, True)


def test_redirect_that_refreshes() -> None:
    """Nor is a Refresh header followed."""
    with play(
        answer("hi", headers={"Refresh": "0; url=/v1/elsewhere", "Location": "/x"})
    ) as server:
        assert ask(server).text == "hi"


@pytest.mark.parametrize("code", [301, 307])
def test_redirect_when_resuming(code: int) -> None:
    """A resumption is not redirected; what had come is on the error."""
    first = faults.body(faults.text("half", id="1", retry=1), end=False)
    with play() as other:
        with play(first, moved(code, other.url + "/ai/chat")) as server:
            got = ask(server)
        assert other.conns == []
    assert got.error.partial.content == "half"
