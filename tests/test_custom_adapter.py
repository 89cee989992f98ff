"""An adapter of the user's own, mounted on the session that is lent.

How it gets its bytes is its own affair: its response, urllib3's, is read as it arrives,
and each receive is held to the limits.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import pytest
import requests
import urllib3
from faults import (
    DONE,
    QUICK,
    Conn,
    Framing,
    Outcome,
    Script,
    client,
    encoded,
    http_chunked,
    in_step,
    listen,
    play,
    reply,
    stall,
    stall_after,
    text,
    to_close,
)
from tables import each

from websopy_sync import (
    APITimeoutError,
    CancelToken,
    StreamCancelledError,
    StreamInterruptedError,
    WebsopyClient,
)


class Own(requests.adapters.HTTPAdapter):
    """An adapter that is not requests' own."""


@contextmanager
def through(
    adapter: requests.adapters.BaseAdapter, script: Script, **options: Any
) -> Iterator[WebsopyClient]:
    """A client whose requests to this server go through the adapter."""
    with play(script) as server, requests.Session() as session:
        session.mount(server.url, adapter)
        with client(server, session=session, max_retries=0, **options) as asker:
            yield asker


def asked(asker: WebsopyClient, **call: Any) -> Outcome:
    return listen(lambda: asker.ai.chat_stream("hi", **call))


@pytest.mark.parametrize(
    "framing", [http_chunked, lambda: encoded(http_chunked())], ids=["plain", "gzip"]
)
def test_each_chunk_before_the_next_is_sent(framing: Callable[[], Framing]) -> None:
    """It is handed over when it is there."""
    word = threading.Semaphore(0)
    script = in_step(framing(), [text(str(number)) for number in range(3)], word)
    with through(Own(), script) as asker:
        seen = []
        for chunk in asker.ai.chat_stream("hi"):
            if chunk.type == "content":
                seen.append(chunk.content)
                word.release()
    assert seen == ["0", "1", "2"]


@pytest.mark.timing
@pytest.mark.slow
@each(
    ("pieces", "limits", "phase"),
    [
        ([], {"first_chunk": 0.3}, "first_chunk"),
        ([text("a")], {"idle": 0.3}, "idle"),
        ([text("a")], {"first_chunk": 0.3, "idle": 0.6}, "idle"),
        ([text("a")], {"total": 0.3}, "total"),
    ],
)
@each("framing", [http_chunked, to_close])
def test_limits(
    pieces: list[bytes], limits: dict[str, float], phase: str, framing: Callable[[], Framing]
) -> None:
    """A server that falls silent is left when the limit has passed, and the text is not lost."""
    with through(Own(), stall_after(*pieces, framing=framing())) as asker:
        got = asked(asker, timeout=attrs.evolve(QUICK, **limits))
    assert limits[phase] <= got.seconds < limits[phase] + 0.3
    assert isinstance(got.error, APITimeoutError) and got.error.phase == phase
    assert got.text == "a" * len(pieces)


@pytest.mark.timing
@pytest.mark.parametrize(
    ("limits", "phase"), [({"first_chunk": 0.3}, "first_chunk"), ({"total": 0.3}, "total")]
)
def test_limits_before_the_head(limits: dict[str, float], phase: str) -> None:
    """The server has the request, so there is no retry."""
    with through(Own(), stall) as asker:
        got = asked(asker, timeout=attrs.evolve(QUICK, **limits), max_retries=2)
    assert isinstance(got.error, APITimeoutError)
    assert (got.error.phase, got.error.sent, got.error.attempts) == (phase, True, 1)
    assert got.seconds < 1


def test_the_connect_limit() -> None:
    """An adapter's own timeout names the phase."""

    class Slow(Own):
        def send(self, *args: Any, timeout: Any, **kwargs: Any) -> requests.Response:
            raise requests.ConnectTimeout(f"not within {timeout[0]}")

    with requests.Session() as session:
        session.mount("http://slow", Slow())
        asker = WebsopyClient("key", base_url="http://slow/v1", session=session, plugins=[])
        got = asked(asker, max_retries=0)
    assert isinstance(got.error, APITimeoutError)
    assert (got.error.phase, got.error.sent) == ("connect", False)


def test_a_cut_response_is_not_complete() -> None:
    """What had come is there."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head(framing=http_chunked())
        conn.body(text("a"))

    with through(Own(), script) as asker:
        got = asked(asker)
    assert isinstance(got.error, StreamInterruptedError)
    assert got.text == "a"


def test_a_connection_goes_back_as_it_was() -> None:
    """Once urllib3 has it in its pool again, it is not ours to set limits on."""
    adapter = Own()

    def script(conn: Conn) -> None:
        conn.read_request()
        reply(conn, "a", framing=http_chunked())
        conn.wait_gone()

    with play(script) as server, requests.Session() as session:
        session.mount(server.url, adapter)
        with client(server, session=session) as asker:
            assert list(asker.events("GET", "/ai/chat", params={"message": "hi"}))
            pools = adapter.poolmanager.pools
            (pool,) = (pools[key] for key in pools.keys())  # noqa: SIM118  # it cannot be iterated
            connection: Any = pool._get_conn()
            assert connection.sock.gettimeout() > 0.1
            connection.close()


@pytest.mark.timing
@pytest.mark.parametrize("framing", [http_chunked, to_close])
def test_cancel_reaches_a_blocked_reader(framing: Callable[[], Framing]) -> None:
    """The adapter's socket is as good as ours."""
    token = CancelToken()
    with through(Own(), stall_after(text("a"), framing=framing())) as asker:
        threading.Timer(0.2, token.cancel).start()
        began = time.monotonic()
        got = asked(asker, cancel_token=token)
        assert time.monotonic() - began < 2
    assert isinstance(got.error, StreamCancelledError)
    assert got.text == "a"


def test_an_adapter_without_a_network() -> None:
    """As those that play a server in tests."""

    class Recorded(requests.adapters.BaseAdapter):
        def send(
            self, request: requests.PreparedRequest, *args: Any, **kwargs: Any
        ) -> requests.Response:
            response = requests.Response()
            response.status_code, response.request = 200, request
            response.headers["Content-Type"] = "text/event-stream"
            response.raw = urllib3.HTTPResponse(
                io.BytesIO(text("a") + DONE), headers=dict(response.headers), preload_content=False
            )
            return response

        def close(self) -> None:
            """Nothing to close."""

    with requests.Session() as session:
        session.mount("http://recorded", Recorded())
        asker = WebsopyClient("key", base_url="http://recorded/v1", session=session, plugins=[])
        assert asker.ai.chat("hi").content == "a"
