"""Promises 12, 18: refusals, and bodies of refusals that misbehave."""

from __future__ import annotations

import gzip
import json
import threading
from typing import Any

import faults
import pytest
from faults import (
    Conn,
    Framing,
    answer,
    ask,
    client,
    http_chunk,
    length,
    play,
    raw_answer,
    reply_status,
    status_answer,
    to_close,
)
from tables import each

from websopy_sync import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    CancelToken,
    ConflictError,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    StreamCancelledError,
    Timeouts,
    UnprocessableEntityError,
)

CLASSES = {
    400: BadRequestError, 401: AuthenticationError, 403: PermissionDeniedError,
    404: NotFoundError, 409: ConflictError, 422: UnprocessableEntityError, 429: RateLimitError,
    500: InternalServerError, 501: InternalServerError, 502: InternalServerError,
    503: InternalServerError, 504: InternalServerError, 505: InternalServerError,
    529: InternalServerError, 599: InternalServerError,
    300: APIStatusError, 304: APIStatusError, 402: APIStatusError, 405: APIStatusError,
    408: APIStatusError, 410: APIStatusError, 413: APIStatusError, 418: APIStatusError,
    425: APIStatusError, 431: APIStatusError, 451: APIStatusError,
}  # fmt: skip
FOREVER = Timeouts(connect=5, first_chunk=5, idle=5, total=5)
MEGABYTE = b"0" * 1_000_000


@each("code", CLASSES)
def test_class_and_fields(code: int) -> None:
    """Each status has its class; the error holds status, body, headers and request id."""
    sent = b"" if code == 304 else '{"error": "nö"}'.encode()
    with play(status_answer(code, {"X-Request-Id": "r-7", "X-Limit": "0"}, sent)) as server:
        got = ask(server, max_retries=0)
    assert type(got.error) is CLASSES[code]
    assert (got.error.status_code, got.error.request_id) == (code, "r-7")
    assert got.error.body == sent.decode()
    assert {name.lower(): value for name, value in got.error.headers.items()}["x-limit"] == "0"
    assert str(code) in str(got.error)
    assert got.stream is None


@each("code", [300, 304, 400, 401, 402, 403, 404, 405, 410, 413, 418, 422, 501, 505])
def test_not_asked_again(code: int) -> None:
    """A refusal that asking again does not mend is raised at the first time."""
    with play(status_answer(code)) as server:
        got = ask(server)
    assert (got.error.status_code, got.error.attempts) == (code, 1)
    assert got.error.retryable is False


def test_raised_at_the_call() -> None:
    """A refused key raises where the question is asked, not in the loop."""
    with play(status_answer(401)) as server, client(server) as asker:
        with pytest.raises(AuthenticationError):
            asker.ai.chat_stream("hi")


def test_refusal_that_looks_like_an_answer() -> None:
    """The body of a refusal is no stream, whatever its type."""
    with play(answer("no chunk", status=503)) as server:
        got = ask(server, max_retries=0)
    assert (type(got.error), got.chunks) == (InternalServerError, [])
    assert "no chunk" in got.error.body


def test_no_body() -> None:
    """A refusal without a body is one all the same."""
    with play(raw_answer(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n")) as server:
        assert ask(server, max_retries=0).error.body == ""


def test_body_that_is_no_utf8() -> None:
    """The body is text that can be encoded, whatever its bytes."""
    with play(status_answer(500, body=b"caf\xe9 \xed\xa0\x80 end")) as server:
        got = ask(server, max_retries=0)
    assert got.error.body.startswith("caf\ufffd") and got.error.body.endswith("end")
    got.error.body.encode()
    json.dumps(got.error.headers).encode()


# ------------------------------------------------------------------------- bodies that misbehave


def framed(head: Framing, *pieces: bytes) -> faults.Script:
    """A 500 whose body starts like this, and then the connection's end."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head(500, {"Content-Type": "application/json"}, framing=head)
        conn.send(*pieces)

    return script


def silent(conn: Conn) -> None:
    conn.read_request()
    conn.head(500, framing=length(1000))
    conn.send(b"sorry")
    conn.wait_gone()


def trickling(conn: Conn) -> None:
    conn.read_request()
    conn.head(500, framing=length(1000))
    conn.send(b"sorry")
    conn.keep_until_gone(b".")


def trickling_chunks(conn: Conn) -> None:
    conn.read_request()
    conn.head(500)
    conn.body(b"sorry")
    conn.keep_until_gone(b".")


def trickling_to_the_close(conn: Conn) -> None:
    conn.read_request()
    conn.head(500, framing=to_close())
    conn.body(b"sorry")
    conn.keep_until_gone(b".")


@pytest.mark.timing
@pytest.mark.slow
@pytest.mark.parametrize("fault", [silent, trickling, trickling_chunks, trickling_to_the_close])
def test_body_that_never_ends(fault: faults.Script) -> None:
    """The status comes out in a second, with what there was of its body."""
    with play(fault) as server:
        got = ask(server, max_retries=0, timeout=FOREVER)
    assert (type(got.error), got.error.status_code) == (InternalServerError, 500)
    assert got.error.body.startswith("sorry")
    assert got.seconds < 1.7


@pytest.mark.timing
@pytest.mark.parametrize("fault", [silent, trickling_chunks])
def test_total_limit_in_a_body(fault: faults.Script) -> None:
    """The total limit cuts that second short; the status still surfaces."""
    limits = Timeouts(connect=5, first_chunk=5, idle=5, total=0.3)
    with play(fault) as server:
        got = ask(server, timeout=limits)
    assert type(got.error) in (InternalServerError, APITimeoutError)
    assert type(got.error) is InternalServerError, "the status surfaces whatever the body does"
    assert 0.2 < got.seconds < 0.8


@pytest.mark.timing
@pytest.mark.parametrize("fault", [silent, trickling_chunks])
def test_cancel_in_a_body(fault: faults.Script) -> None:
    """cancel() ends it too."""
    token = CancelToken()
    with play(fault) as server:
        threading.Timer(0.15, token.cancel).start()
        got = ask(server, timeout=FOREVER, cancel_token=token)
    assert type(got.error) is StreamCancelledError
    assert got.seconds < 0.7


def endless(conn: Conn) -> None:
    conn.read_request()
    conn.head(500, framing=to_close())
    conn.flood(MEGABYTE, limit=64_000_000)


def endless_chunks(conn: Conn) -> None:
    conn.read_request()
    conn.head(500)
    conn.flood(http_chunk(MEGABYTE), limit=64_000_000)


def gigabyte(conn: Conn) -> None:
    conn.read_request()
    conn.head(500, framing=length(1 << 30))
    conn.flood(MEGABYTE, limit=64_000_000)


@pytest.mark.timing
@pytest.mark.parametrize("fault", [endless, endless_chunks, gigabyte])
def test_flood(fault: faults.Script) -> None:
    """At most 64 KiB of a body are kept, and the rest is not waited for."""
    with play(fault) as server:
        got = ask(server, max_retries=0, timeout=FOREVER)
        assert server.sent < 32_000_000
    assert type(got.error) is InternalServerError
    assert 0 < len(got.error.body) <= 65536
    assert set(got.error.body) == {"0"}
    assert got.seconds < 1.7


def test_body_of_64_kib_is_whole() -> None:
    """A body of exactly 64 KiB is kept whole; of a longer one its beginning."""
    for size in (65536, 70000):
        with play(status_answer(500, body=b"x" * size)) as server:
            assert ask(server, max_retries=0).error.body == "x" * 65536


def test_gzip_body() -> None:
    """A compressed body is readable."""
    packed = gzip.compress(b'{"error": "packed"}')
    with play(status_answer(500, {"Content-Encoding": "gzip"}, packed)) as server:
        assert "packed" in ask(server, max_retries=0).error.body


@pytest.mark.timing
def test_gzip_bomb() -> None:
    """A bomb is inflated as far as it is kept."""
    bomb = gzip.compress(b"0" * 100_000_000)
    with play(status_answer(500, {"Content-Encoding": "gzip"}, bomb)) as server:
        got = ask(server, max_retries=0)
    assert type(got.error) is InternalServerError
    assert len(got.error.body) <= 65536
    assert got.seconds < 1.5


def refusal(head: str, *pieces: bytes) -> faults.Script:
    """A 500 with these header lines and this body, and then FIN."""
    return raw_answer(f"HTTP/1.1 500 Oh\r\n{head}\r\n\r\n".encode(), *pieces)


@each(
    "fault",
    [
        refusal("Content-Encoding: gzip\r\nContent-Length: 9", b"not gzip!"),
        refusal("Content-Encoding: br\r\nContent-Length: 4", b"what"),
        refusal("Content-Encoding: gzip, gzip\r\nContent-Length: 4", b"what"),
        refusal("Content-Encoding: zstd\r\nContent-Length: 4", b"what"),
        refusal("Transfer-Encoding: chunked", b"zz\r\noops"),
        refusal("Transfer-Encoding: chunked", b"-5\r\noops"),
        refusal("Transfer-Encoding: chunked", b"5\r\noo"),
        refusal("Transfer-Encoding: nonsense", b"oops"),
        refusal("Content-Length: 1000", b"short"),
        refusal("Content-Length: abc", b"oops"),
        refusal("Content-Length: -1", b"oops"),
        refusal("Content-Length: 5\r\nContent-Length: 6", b"oops"),
        refusal("Content-Type: text/event-stream; charset=nonsense", b"oops"),
        refusal("X-Odd: \xff", b"oops"),
    ],
)
def test_status_surfaces_whatever_the_body_is(fault: faults.Script) -> None:
    """A body that cannot be read does not hide the status."""
    with play(fault) as server:
        got = ask(server, max_retries=0)
    assert (type(got.error), got.error.status_code) == (InternalServerError, 500)


def test_reset_in_the_body() -> None:
    """Nor does a reset in its middle."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head(401, framing=length(1000))
        conn.send(b"sorry")
        conn.pause(0.05)
        conn.reset()

    with play(script) as server:
        assert type(ask(server).error) is AuthenticationError


@each("code", [408, 425, 429, 500, 502, 503, 504])
def test_asked_again_after_a_misbehaving_body(code: int) -> None:
    """A refusal worth another try is one whatever its body; the connection is not used again."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.send(b"HTTP/1.1 %d Oh\r\nRetry-After: 0\r\nContent-Length: 1000\r\n\r\nshort" % code)
        conn.half_close()
        conn.wait_gone()

    with play(script, answer("again")) as server:
        assert ask(server).text == "again"


def test_connection_of_a_small_refusal_is_used_again() -> None:
    """A refusal that was read whole leaves the connection usable."""

    def script(conn: Conn) -> None:
        for _ in range(3):
            conn.read_request()
            reply_status(conn, 400, body=b"no")
        conn.read_request()
        faults.reply(conn, "yes")

    with play(script) as server, client(server) as asker:
        for _ in range(3):
            assert type(ask(server, through=asker).error) is BadRequestError
        assert ask(server, through=asker).text == "yes"


@pytest.mark.parametrize(
    "sent",
    [
        {"error": {"message": "no credit left", "code": 402}}, {"error": "no credit left"},
        {"message": "no credit left"}, {"detail": "no credit left"},
    ],
)  # fmt: skip
def test_what_the_service_says_can_be_read(sent: Any) -> None:
    """The service's own words are on the error."""
    with play(status_answer(402, body=json.dumps(sent).encode())) as server:
        got = ask(server)
    assert json.loads(got.error.body) == sent


@pytest.mark.parametrize(
    "sent", [b"[" * 100_000, b"1" * 10_000, b'{"error": NaN}', b'"\\ud83d"', b"null"]
)
def test_body_that_is_odd_json(sent: bytes) -> None:
    """Whatever JSON the body is, no foreign exception comes of it."""
    with play(status_answer(400, body=sent)) as server:
        got = ask(server)
    assert type(got.error) is BadRequestError
    str(got.error).encode()


def test_status_of_events() -> None:
    """The native layer raises the same errors."""
    with play(status_answer(404, body=b"gone")) as server, client(server) as asker:
        with pytest.raises(NotFoundError):
            list(asker.events("GET", "/ai/chat", params={"message": "hi"}))


def test_refused_before_anything_else() -> None:
    """A status error has no partial answer, and it is no connection error."""
    with play(status_answer(400)) as server:
        got = ask(server)
    assert not isinstance(got.error, APIConnectionError)
    assert got.error.partial is None or got.error.partial.content == ""
