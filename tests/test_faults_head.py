"""Promises 6, 12, 13, 19: everything a head can be but a good one."""

from __future__ import annotations

import threading

import faults
import pytest
from faults import (
    DONE,
    Conn,
    answer,
    ask,
    client,
    listen,
    play,
    raw_answer,
    stall,
    text,
    to_close,
)

from websopy_sync import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    StreamInterruptedError,
    StreamProtocolError,
    Timeouts,
)

TYPE = b"Content-Type: text/event-stream\r\n"
GOOD = b"HTTP/1.1 200 OK\r\n" + TYPE + b"Connection: close\r\n\r\n"
BODY = text("hi") + DONE


def limits(**chosen: float) -> Timeouts:
    """Limits that are far away but for the chosen ones."""
    return Timeouts(**{"connect": 5, "first_chunk": 5, "idle": 5, "total": 5, **chosen})


# ------------------------------------------------------------------------------------------ time


@pytest.mark.timing
def test_silence_after_the_question() -> None:
    """The first-chunk limit ends it; the question was sent, so it is not sent again."""
    with play(stall) as server:
        got = ask(server, timeout=limits(first_chunk=0.2))
    assert type(got.error) is APITimeoutError
    assert (got.error.phase, got.error.sent, got.error.attempts) == ("first_chunk", True, 1)
    assert 0.15 < got.seconds < 0.8


@pytest.mark.timing
def test_silence_and_the_total_limit() -> None:
    """So does the total limit."""
    with play(stall) as server:
        got = ask(server, timeout=limits(total=0.2))
    assert (type(got.error), got.error.phase, got.error.sent) == (APITimeoutError, "total", True)
    assert 0.15 < got.seconds < 0.8


def trickled_head(conn: Conn) -> None:
    conn.read_request()
    conn.trickle(GOOD + BODY)


@pytest.mark.timing
@pytest.mark.parametrize("phase", ["first_chunk", "total"])
def test_head_that_trickles(phase: str) -> None:
    """Bytes of a head are no chunk: neither limit starts anew with each of them."""
    with play(trickled_head) as server:
        got = ask(server, timeout=limits(**{phase: 0.25}))
    assert (type(got.error), got.error.phase) == (APITimeoutError, phase)
    assert 0.2 < got.seconds < 0.8


@pytest.mark.timing
def test_endless_interim_answers_in_time() -> None:
    """Interim answers, slow enough to be few, do not move the limits either."""

    def script(conn: Conn) -> None:
        conn.read_request()
        for _ in range(12):
            conn.send(b"HTTP/1.1 102 Processing\r\n\r\n")
            conn.pause(0.1)
        conn.wait_gone()

    with play(script) as server:
        got = ask(server, timeout=limits(first_chunk=0.3))
    assert (type(got.error), got.error.phase) == (APITimeoutError, "first_chunk")
    assert got.seconds < 0.9


def test_slow_head_within_the_limits() -> None:
    """A head that takes its time, but less than the limits, is fine."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.pause(0.2)
        conn.trickle(GOOD, every=0.001)
        conn.send(BODY)

    with play(script) as server:
        got = ask(server)
    assert (got.text, got.error) == ("hi", None)


def test_call_returns_with_the_head() -> None:
    """chat_stream returns when the head is here, before any of the body."""
    returned = threading.Event()

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head(headers={"X-Request-Id": "r-1", "X-Other": "o"})
        conn.wait(returned)
        conn.body(BODY)
        conn.end()

    with play(script) as server, client(server) as asker:
        stream = asker.ai.chat_stream("hi")
        assert (stream.status_code, stream.request_id, stream.state) == (200, "r-1", "open")
        assert stream.headers["x-other"] == "o"
        returned.set()
        assert stream.get_final_text() == "hi"


# ------------------------------------------------------------------------------- how it is cut off


@pytest.mark.parametrize("size", [0, 1, 8, 12, 15, 16, 17, 20, len(GOOD) - 4, len(GOOD) - 2])
def test_cut_in_the_head(size: int) -> None:
    """The end of the bytes inside the head is a lost connection, never the head's end."""
    with play(raw_answer(GOOD[:size])) as server:
        got = ask(server, max_retries=0)
    assert type(got.error) is APIConnectionError
    assert got.error.sent is True


@pytest.mark.parametrize("head", [b"HTTP/1.1 2", GOOD[:30]])
def test_cut_in_the_head_is_asked_again(head: bytes) -> None:
    """No head came, so it is asked again, with the same key."""
    with play(raw_answer(head), answer("again")) as server:
        assert ask(server).text == "again"
        assert len({request.header("idempotency-key") for request in server.requests}) == 1


def test_cut_status_error() -> None:
    """A refusal whose head is cut is no refusal yet."""
    with play(raw_answer(b"HTTP/1.1 401 No\r\nContent-Le")) as server:
        assert type(ask(server, max_retries=0).error) is APIConnectionError


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nContent-Ty"])
def test_reset_in_the_head(head: bytes) -> None:
    """So is a reset."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.send(head)
        conn.pause(0.05)
        conn.reset()

    with play(script) as server:
        got = ask(server, max_retries=0)
    assert (type(got.error), got.error.sent) == (APIConnectionError, True)


# -------------------------------------------------------------------------------------- malformed


@pytest.mark.parametrize(
    "line",
    [
        b"HTTP/1.1 abc OK", b"HTTP/1.1 99 Low", b"HTTP/1.1 1000 High", b"HTTP/1.1 -200 OK",
        b"ICY 200 OK", b"200 OK", b"HTTP/1.1", b"HTTP/1.1 2 0 0", b"", b"HTTP 200 OK",
        b"\xff\xfe\x00", b"<html>", b"HTTP/1.1 2_0 OK", b"HTTP/1.1 +200 OK",
    ],
)  # fmt: skip
def test_malformed_status_line(line: bytes) -> None:
    """A status line that is none is a protocol error, and not asked again."""
    with play(raw_answer(line + b"\r\n" + TYPE + b"Connection: close\r\n\r\n" + BODY)) as server:
        got = ask(server)
    assert type(got.error) is StreamProtocolError
    assert got.chunks == []


@pytest.mark.parametrize(
    "line", [b"HTTP/1.1 200 OK", b"HTTP/1.0 200 OK", b"HTTP/1.1 200 ", b"HTTP/1.1 200",
             b"HTTP/1.1 200 \xe5\xa5\xbd"]
)  # fmt: skip
def test_unusual_status_line(line: bytes) -> None:
    """A status line with an empty, missing or odd reason is fine."""
    with play(raw_answer(line + b"\r\n" + TYPE + b"Connection: close\r\n\r\n" + BODY)) as server:
        got = ask(server)
    assert (got.text, got.error) == ("hi", None)


def test_bare_line_feeds() -> None:
    """Line ends may be bare LF (RFC 9112 2.2)."""
    with play(raw_answer(GOOD.replace(b"\r\n", b"\n") + BODY)) as server:
        assert ask(server).text == "hi"


@pytest.mark.parametrize(
    "line", [b"no colon here", b": no name", b"Transfer Encoding chunked", b"\x00\x01\x02"]
)
def test_header_line_that_is_none(line: bytes) -> None:
    """A line without a name does not end the head: what follows it is not taken for the body."""
    head = b"HTTP/1.1 200 OK\r\n" + TYPE + line + b"\r\nTransfer-Encoding: chunked\r\n\r\n"
    with play(raw_answer(head + faults.http_chunk(BODY) + b"0\r\n\r\n")) as server:
        got = ask(server)
    assert type(got.error) is StreamProtocolError


def test_folded_header() -> None:
    """A folded header line (RFC 9112 5.2) does not disturb the others."""
    folded = b"X-Fold: a\r\n b\r\n"
    with play(raw_answer(GOOD.replace(TYPE, folded + TYPE) + BODY)) as server:
        assert ask(server).text == "hi"


@pytest.mark.parametrize("value", [b"\xff\xfe", "中文".encode(), b"a\tb", b"a\x00b", b"x" * 60_000])
def test_odd_header_values(value: bytes) -> None:
    """Whatever bytes a header has that nobody asked for, the answer counts."""
    with play(raw_answer(GOOD.replace(TYPE, b"X-Odd: " + value + b"\r\n" + TYPE) + BODY)) as server:
        got = ask(server)
    assert (got.text, got.error) == ("hi", None)
    str(got.stream.headers["x-odd"]).encode("utf-8", "surrogateescape")


def headers(count: int) -> bytes:
    """A good head with so many headers."""
    extra = b"".join(b"X-%d: x\r\n" % number for number in range(count - 2))
    return GOOD.replace(TYPE, extra + TYPE)


def test_a_hundred_headers() -> None:
    """A hundred headers are the most."""
    with play(raw_answer(headers(100) + BODY)) as server:
        assert ask(server).text == "hi"


@pytest.mark.parametrize("count", [101, 150, 3000])
def test_more_than_a_hundred_headers(count: int) -> None:
    """One more is a protocol error, not asked again."""
    with play(raw_answer(headers(count) + BODY)) as server:
        got = ask(server)
    assert type(got.error) is StreamProtocolError


@pytest.mark.parametrize(
    "start", [b"", b"HTTP/1.1 200 ", b"HTTP/1.1 200 OK\r\nX-Long: ", b"HTTP/1.1 200 OK\r\nX"]
)
def test_endless_line(start: bytes) -> None:
    """A line without end is given up at 64 KiB."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.send(start)
        conn.flood(b"x" * 8192, limit=32_000_000)

    with play(script) as server:
        got = ask(server)
        assert server.sent < 16_000_000
    assert type(got.error) is StreamProtocolError
    assert len(str(got.error)) < 1000


def test_header_line_too_long() -> None:
    """A single line of more than 64 KiB is one too long though it ends."""
    long = b"X-Long: " + b"x" * 66_000 + b"\r\n"
    with play(raw_answer(GOOD.replace(TYPE, long + TYPE) + BODY)) as server:
        assert type(ask(server).error) is StreamProtocolError


def test_endless_headers() -> None:
    """Headers without end are given up."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.send(b"HTTP/1.1 200 OK\r\n")
        conn.flood(b"X-Again: x\r\n" * 100, limit=32_000_000)

    with play(script) as server:
        got = ask(server)
        assert server.sent < 16_000_000
    assert type(got.error) is StreamProtocolError


# ------------------------------------------------------------------------------- interim answers


@pytest.mark.parametrize("code", [100, 102, 103, 199])
@pytest.mark.parametrize("count", [1, 2, 16])
def test_interim_answers(code: int, count: int) -> None:
    """Up to 16 interim answers are passed over, with their headers."""
    interim = b"HTTP/1.1 %d Early\r\nLink: </style>\r\nContent-Type: text/html\r\n\r\n" % code
    with play(raw_answer(interim * count + GOOD + BODY)) as server:
        got = ask(server)
    assert (got.text, got.error) == ("hi", None)
    assert "link" not in {name.lower() for name in got.stream.headers}


def test_interim_answer_and_a_refusal() -> None:
    """The status after an interim answer is the one that counts."""
    refusal = b"HTTP/1.1 401 No\r\nContent-Length: 3\r\n\r\nbad"
    with play(raw_answer(b"HTTP/1.1 103 Early Hints\r\n\r\n" + refusal)) as server:
        got = ask(server)
    assert (got.error.status_code, got.error.body) == (401, "bad")


def test_seventeen_interim_answers() -> None:
    """The seventeenth is a protocol error."""
    with play(raw_answer(b"HTTP/1.1 102 Processing\r\n\r\n" * 17 + GOOD + BODY)) as server:
        assert type(ask(server).error) is StreamProtocolError


@pytest.mark.parametrize("code", [100, 102])
def test_endless_interim_answers(code: int) -> None:
    """Interim answers without end are given up."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.flood(b"HTTP/1.1 %d Again\r\n\r\n" % code * 50, limit=32_000_000)

    with play(script) as server:
        got = ask(server)
        assert server.sent < 16_000_000
    assert type(got.error) is StreamProtocolError


def test_cut_after_an_interim_answer() -> None:
    """An interim answer is no answer."""
    with play(raw_answer(b"HTTP/1.1 102 Processing\r\n\r\n")) as server:
        assert type(ask(server, max_retries=0).error) is APIConnectionError


def test_switching_protocols() -> None:
    """Nobody asked for another protocol."""
    with play(
        raw_answer(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
    ) as server:
        got = ask(server)
    assert isinstance(got.error, StreamProtocolError | APIStatusError)


# ----------------------------------------------------------------------------------- content type


@pytest.mark.parametrize(
    "value",
    [
        "text/event-stream", "text/event-stream;", "text/event-stream;charset=UTF-8",
        "text/event-stream; charset=utf-8", "TEXT/Event-Stream", "text/event-stream ;x=y",
        "text/event-stream; charset=windows-1252", "text/event-stream; charset=nonsense",
    ],
)  # fmt: skip
def test_content_type_accepted(value: str) -> None:
    """An event stream however it is written; the charset is UTF-8 whatever it says."""
    with play(answer("ok…", headers={"Content-Type": value})) as server:
        got = ask(server)
    assert (got.text, got.error) == ("ok…", None)


@pytest.mark.parametrize(
    "value",
    [
        "x bogus", "text/x-bogus", "text/html", "text/plain", "application/json", "", ";", "text",
        "application/json, text/event-stream", "text/event-streams", "x-text/event-stream",
    ],
)  # fmt: skip
def test_content_type_refused(value: str) -> None:
    """200 with anything else is a protocol error with a snippet, no chunk, no second question."""
    with play(answer("snip", headers={"Content-Type": value})) as server:
        got = ask(server)
    assert type(got.error) is StreamProtocolError
    assert got.chunks == []
    assert "snip" in str(got.error)


def test_no_content_type() -> None:
    """No type at all is none that we can read."""
    with play(raw_answer(GOOD.replace(TYPE, b"") + BODY)) as server:
        assert type(ask(server).error) is StreamProtocolError


@pytest.mark.parametrize(
    ("value", "page"),
    [
        ("text/html; charset=utf-8", "<html><title>Log in to the network</title></html>"),
        ("application/json", '{"error": "maintenance"}'),
    ],
)
def test_snippet_tells_what_came(value: str, page: str) -> None:
    """The message names the type and shows the page's beginning, at most 200 characters of it."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {value}\r\nConnection: close\r\n\r\n"
    with play(raw_answer((head + page + "x" * 100_000).encode())) as server:
        got = ask(server)
    assert type(got.error) is StreamProtocolError
    assert value.split(";")[0] in str(got.error) and page[:30].split('"')[0] in str(got.error)
    assert len(str(got.error)) < 600


@pytest.mark.timing
def test_other_type_that_never_ends() -> None:
    """A page that goes on for ever costs neither time nor memory."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head(headers={"Content-Type": "text/html"})
        conn.flood(faults.http_chunk(b"<p>" * 10_000), limit=64_000_000)

    with play(script) as server:
        got = ask(server, timeout=limits())
        assert server.sent < 32_000_000
    assert type(got.error) is StreamProtocolError
    assert got.seconds < 1.5


@pytest.mark.timing
def test_other_type_that_is_silent() -> None:
    """Nor is a page waited for that does not come."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head(headers={"Content-Type": "text/html"})
        conn.wait_gone()

    with play(script) as server:
        got = ask(server, timeout=limits())
    assert type(got.error) is StreamProtocolError
    assert got.seconds < 1.7


@pytest.mark.parametrize("code", [201, 202, 203, 204, 205, 206, 210, 226, 299])
def test_other_success(code: int) -> None:
    """A success that is not 200 is no answer, though its type were right; not asked again."""
    with play(
        raw_answer(GOOD.replace(b"200", b"%d" % code) + (b"" if code in (204, 205) else BODY))
    ) as server:
        got = ask(server)
        assert len(server.requests) == 1
    assert type(got.error) is StreamProtocolError
    assert got.chunks == []
    assert str(code) in str(got.error)


def test_other_success_through_events() -> None:
    """The native layer does not take 204 for an answer either."""
    with play(raw_answer(b"HTTP/1.1 204 No Content\r\n\r\n")) as server, client(server) as asker:
        got = listen(lambda: asker.events("GET", "/ai/chat", params={"message": "hi"}))
    assert isinstance(got.error, APIError)


# ---------------------------------------------------------------------------------------- lengths


@pytest.mark.parametrize(
    "value", ["abc", "-5", "1_000", "+5", "5, 6", "0x10", "", "1e3", "９", "9" * 5000]
)
def test_bad_content_length(value: str) -> None:
    """A length that is none never makes a wrong answer out of a right one."""
    head = b"HTTP/1.1 200 OK\r\n" + TYPE + b"Content-Length: " + value.encode() + b"\r\n\r\n"
    with play(raw_answer(head + BODY)) as server:
        got = ask(server)
    if got.error is None:
        assert got.text == "hi"
    else:
        assert isinstance(got.error, StreamProtocolError | StreamInterruptedError)


def test_two_content_lengths() -> None:
    """Two lengths that differ are not guessed about."""
    head = b"HTTP/1.1 200 OK\r\n" + TYPE + b"Content-Length: 10\r\nContent-Length: 900\r\n\r\n"
    with play(raw_answer(head + BODY)) as server:
        got = ask(server)
    assert isinstance(got.error, StreamProtocolError | StreamInterruptedError)


def test_length_and_chunks() -> None:
    """Transfer-Encoding overrides Content-Length (RFC 9112 6.3)."""
    head = (
        b"HTTP/1.1 200 OK\r\n" + TYPE + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    with play(raw_answer(head + faults.http_chunk(BODY) + b"0\r\n\r\n")) as server:
        got = ask(server)
    assert (got.text, got.error) == ("hi", None)


@pytest.mark.parametrize(
    "value", ["gzip", "identity", "nonsense", "chunked, chunked", "gzip, chunked"]
)
def test_unknown_transfer_encoding(value: str) -> None:
    """A transfer coding that we do not know never becomes wrong text."""
    head = GOOD.replace(TYPE, TYPE + b"Transfer-Encoding: " + value.encode() + b"\r\n")
    with play(raw_answer(head + BODY)) as server:
        got = ask(server)
    if got.error is None:
        assert got.text == "hi"
    else:
        assert isinstance(got.error, StreamProtocolError | StreamInterruptedError)


def test_chunked_written_oddly() -> None:
    """The coding's name has no case."""
    head = b"HTTP/1.1 200 OK\r\n" + TYPE + b"transfer-encoding: Chunked\r\n\r\n"
    with play(raw_answer(head + faults.http_chunk(BODY) + b"0\r\n\r\n")) as server:
        assert ask(server).text == "hi"


def test_http_1_0_answer() -> None:
    """An old server that ends its body by closing is fine; the next question connects anew."""
    old = raw_answer(b"HTTP/1.0 200 OK\r\n" + TYPE + b"\r\n" + BODY)
    with play(old, answer("two")) as server, client(server) as asker:
        assert [ask(server, through=asker).text for _ in range(2)] == ["hi", "two"]


def test_neither_length_nor_chunks() -> None:
    """A head without a length is read to the connection's end."""
    with play(answer("hi", framing=to_close())) as server:
        assert ask(server).text == "hi"
