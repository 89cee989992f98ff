"""The head of a response: one table of what servers send, cut at every byte."""

from __future__ import annotations

import random
import re
import time

import pytest
from tables import each

from websopy_sync.errors import StreamProtocolError
from websopy_sync.transport.response_head import (
    MAX_HEADERS,
    MAX_INTERIM,
    MAX_LINE,
    HeadParser,
    ResponseHead,
    is_early_refusal,
    join_headers,
)

SSE = ("Content-Type", "text/event-stream")

GOOD: dict[str, tuple[bytes, ResponseHead]] = {
    "nginx": (
        b"HTTP/1.1 200 OK\r\nServer: nginx/1.27.2\r\nDate: Wed, 25 Nov 2026 10:00:00 GMT\r\n"
        b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n"
        b"Connection: keep-alive\r\nX-Accel-Buffering: no\r\n\r\n",
        ResponseHead(
            11,
            200,
            "OK",
            (
                ("Server", "nginx/1.27.2"),
                ("Date", "Wed, 25 Nov 2026 10:00:00 GMT"),
                SSE,
                ("Transfer-Encoding", "chunked"),
                ("Connection", "keep-alive"),
                ("X-Accel-Buffering", "no"),
            ),
        ),
    ),
    "uvicorn": (  # lower case, no Connection
        b"HTTP/1.1 200 OK\r\ndate: Wed, 25 Nov 2026 10:00:00 GMT\r\nserver: uvicorn\r\n"
        b"content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n",
        ResponseHead(
            11,
            200,
            "OK",
            (
                ("date", "Wed, 25 Nov 2026 10:00:00 GMT"),
                ("server", "uvicorn"),
                ("content-type", "text/event-stream; charset=utf-8"),
                ("transfer-encoding", "chunked"),
            ),
        ),
    ),
    "Python's http.server": (
        b"HTTP/1.0 404 File not found\r\nServer: SimpleHTTP/0.6 Python/3.11\r\n"
        b"Connection: close\r\nContent-Length: 335\r\n\r\n",
        ResponseHead(
            10,
            404,
            "File not found",
            (
                ("Server", "SimpleHTTP/0.6 Python/3.11"),
                ("Connection", "close"),
                ("Content-Length", "335"),
            ),
        ),
    ),
    "Envoy, after early hints": (
        b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n"
        b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 2\r\nserver: envoy\r\n\r\n",
        ResponseHead(11, 429, "Too Many Requests", (("retry-after", "2"), ("server", "envoy"))),
    ),
    "100 Continue": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n",
        ResponseHead(11, 200, "OK", (SSE,)),
    ),
    "the same header twice": (
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n",
        ResponseHead(11, 200, "OK", (("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"))),
    ),
    "no headers": (b"HTTP/1.1 204 No Content\r\n\r\n", ResponseHead(11, 204, "No Content", ())),
    "no reason, with its blank": (b"HTTP/1.1 200 \r\n\r\n", ResponseHead(11, 200, "", ())),
    "no reason": (b"HTTP/1.1 200\r\n\r\n", ResponseHead(11, 200, "", ())),
    "an unassigned status": (b"HTTP/1.1 999 x\r\n\r\n", ResponseHead(11, 999, "x", ())),
    "a reason in Latin-1": (
        b"HTTP/1.1 404 Pas trouv\xe9\r\n\r\n",
        ResponseHead(11, 404, "Pas trouvé", ()),
    ),
    "bare line feeds": (
        b"HTTP/1.1 200 OK\nContent-Type: text/event-stream\n\n",
        ResponseHead(11, 200, "OK", (SSE,)),
    ),
    "blanks around values": (
        b"HTTP/1.1 200 OK\r\nA:b\r\nC: \t d e \t\r\nEmpty:\r\n\r\n",
        ResponseHead(11, 200, "OK", (("A", "b"), ("C", "d e"), ("Empty", ""))),
    ),
    "a colon in a value": (
        b"HTTP/1.1 200 OK\r\nVia: 1.1 a:80\r\n\r\n",
        ResponseHead(11, 200, "OK", (("Via", "1.1 a:80"),)),
    ),
    "folded lines": (  # RFC 9112 5.2
        b"HTTP/1.1 200 OK\r\nX-Fold: a\r\n\t b\r\n c\r\nY: d\r\n\r\n",
        ResponseHead(11, 200, "OK", (("X-Fold", "a b c"), ("Y", "d"))),
    ),
    "lone carriage returns": (  # RFC 9112 2.2
        b"HTTP/1.1 200 OK\r\nX: a\rContent-Length: 5\r\n\r\n",
        ResponseHead(11, 200, "OK", (("X", "a Content-Length: 5"),)),
    ),
    "any bytes in a value": (
        b"HTTP/1.1 200 OK\r\nX: \xff\x00\x85\x0b\x1c|\r\n\r\n",
        ResponseHead(11, 200, "OK", (("X", "\xff\x00\x85\x0b\x1c|"),)),
    ),
}


@each(("wire", "head"), GOOD.values())
@each("body", [b"", b"data: {}\n\n", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_cut_at_every_byte(wire: bytes, head: ResponseHead, body: bytes) -> None:
    """The same head wherever it is cut, and not a byte of the body is lost."""
    for at in range(len(wire)):
        parser = HeadParser()
        assert parser.feed(wire[:at]) is None
        assert parser.feed(wire[at:] + body) == head
        assert parser.body_start == body


@each(("wire", "head"), GOOD.values())
def test_byte_by_byte(wire: bytes, head: ResponseHead) -> None:
    """The head is there with its last byte, and not before."""
    parser = HeadParser()
    seen = [parser.feed(bytes((byte,))) for byte in wire]
    assert seen == [None] * (len(wire) - 1) + [head]
    assert parser.body_start == b""


BAD = {
    "HTTP/2": b"HTTP/2 200 OK\r\n",
    "HTTP/0.9": b"HTTP/0.9 200 OK\r\n",
    "HTTP/1.2": b"HTTP/1.2 200 OK\r\n",
    "lower case": b"http/1.1 200 OK\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n",
    "SMTP": b"220 mail ready\r\n",
    "SSH": b"SSH-2.0-OpenSSH_9.6\r\n",
    "Icecast": b"ICY 200 OK\r\n",
    "TLS": b"\x15\x03\x01\x00\x02\x02\x28\n",
    "a page": b"<html>\n",
    "an empty line first": b"\r\n",
    "no status": b"HTTP/1.1\r\n",
    "two digits": b"HTTP/1.1 99 Low\r\n",
    "four digits": b"HTTP/1.1 1000 High\r\n",
    "below 100": b"HTTP/1.1 099 Low\r\n",
    "signed": b"HTTP/1.1 +20 OK\r\n",
    "underscore": b"HTTP/1.1 2_0 OK\r\n",
    "digits of another script": "HTTP/1.1 ٢٠٠ OK\r\n".encode(),
    "no colon": b"HTTP/1.1 200 OK\r\nno colon here\r\n",
    "no name": b"HTTP/1.1 200 OK\r\n: value\r\n",
    "blank before the colon": b"HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\n",
    "blank in the name": b"HTTP/1.1 200 OK\r\nTransfer Encoding: chunked\r\n",
    "lone CR in the name": b"HTTP/1.1 200 OK\r\nA\rB: c\r\n",
    "folded line first": b"HTTP/1.1 200 OK\r\n A: b\r\n",
    "other protocol": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
    "bad after an interim": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/2 200 OK\r\n",
    "an interim with a bad header": b"HTTP/1.1 103 Early Hints\r\nlink\r\n",
}


@each("wire", BAD.values())
def test_refused(wire: bytes) -> None:
    """With the line that is wrong, wherever it is cut, and not before."""
    for at in range(len(wire)):
        parser = HeadParser()
        assert parser.feed(wire[:at]) is None
        with pytest.raises(StreamProtocolError, match="HTTP"):
            parser.feed(wire[at:])


INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
START = b"HTTP/1.1 200 OK\r\n"
END = b"\r\n"


@each(
    ("wire", "problem"),
    [
        (INTERIM * MAX_INTERIM + START + END, None),
        (INTERIM * (MAX_INTERIM + 1), "at most 16 interim"),
        (START + b"A: b\r\n" * MAX_HEADERS + END, None),
        (START + b"A: b\r\n" * (MAX_HEADERS + 1), "at most 100 headers"),
        (START + b"A: b\r\n" + b" c\r\n" * MAX_HEADERS, "at most 100 headers"),
        ((INTERIM + START[:0]) * 16 + START + b"A: b\r\n" * MAX_HEADERS + END, None),
        (START + b"A: ".ljust(MAX_LINE - 2, b"x") + END + END, None),
        (START + b"A: ".ljust(MAX_LINE - 1, b"x") + END, "lines of at most 65536 bytes"),
        (START + b"A: ".ljust(MAX_LINE + 1, b"x"), "lines of at most 65536 bytes"),
        (b"H" * (MAX_LINE + 1), "lines of at most 65536 bytes"),
    ],
)
@each("size", [7, 1000, 10**6])
def test_limits(wire: bytes, problem: str | None, size: int) -> None:
    """PROMISE 19: one more than the limit is refused, however it is cut."""

    def parse() -> ResponseHead | None:
        parser = HeadParser()
        heads = [parser.feed(wire[at : at + size]) for at in range(0, len(wire), size)]
        return heads[-1]

    if problem is None:
        assert parse() is not None
    else:
        with pytest.raises(StreamProtocolError, match=re.escape(problem)):
            parse()


def test_no_refusal_quotes_more_than_80_bytes() -> None:
    """A line may be long, and an error is read by people."""
    with pytest.raises(StreamProtocolError) as caught:
        HeadParser().feed(b"x" * 60_000 + b"\n")
    assert len(str(caught.value)) < 150


def test_a_long_line_byte_by_byte_costs_little() -> None:
    """What was searched for a line end is not searched again."""
    parser = HeadParser()
    parser.feed(START + b"A: ")
    began = time.process_time()
    for _ in range(60_000):
        parser.feed(b"x")
    assert time.process_time() - began < 1


def test_random_bytes_raise_nothing_else() -> None:
    """Whatever comes is a head, no head yet, or refused."""
    source = random.Random(5)
    parts = [
        b"HTTP/1.1 ",
        b"200",
        b"100",
        b" OK",
        b"\r\n",
        b"\n",
        b"\r",
        b"A: b",
        b":",
        b" ",
        b"\0",
    ]
    for _ in range(3000):
        wire = b"".join(source.choices(parts, k=source.randint(1, 12)))
        try:
            head = HeadParser().feed(wire)
        except StreamProtocolError:
            continue
        assert head is None or head.status >= 200


@each(
    ("version", "headers", "keeps"),
    [
        (11, (), True),
        (11, (("Connection", "keep-alive"),), True),
        (11, (("Connection", "close"),), False),
        (11, (("connection", "Close"),), False),
        (11, (("Connection", "keep-alive, close"),), False),
        (11, (("Connection", "upgrade"), ("Connection", "close")), False),
        (11, (("Connection", "closed"),), True),
        (10, (), False),
        (10, (("Connection", "Keep-Alive"),), True),
        (10, (("Connection", "close, keep-alive"),), False),
        (11, (("Content-Length", "5"), ("Transfer-Encoding", "chunked")), False),
        (11, (("Content-Length", "5"),), True),
        (11, (("Transfer-Encoding", "chunked"),), True),
    ],
)
def test_keeping_the_connection(
    version: int, headers: tuple[tuple[str, str], ...], keeps: bool
) -> None:
    """RFC 9112 9.3; and nothing is kept after a head that says two things about its body."""
    assert ResponseHead(version, 200, "OK", headers).keeps_connection is keeps


def test_joined_headers() -> None:
    """By name in lower case, in the order in which they came."""
    assert join_headers([("A", "1"), ("b", "2"), ("a", "3")]) == {"a": "1, 3", "b": "2"}


@each(
    ("received", "refusal"),
    [
        (b"", False),
        (b"HTTP/1.1 413 Payload Too Lar", False),  # its reader would wait for the rest
        (b"HTTP/1.1 413 Payload Too Large\r\n", True),
        (b"HTTP/1.0 500\n", True),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", True),
        (b"HTTP/1.1 100 Continue\r\n", False),
        (b"HTTP/1.1 100 Continue\r\n\r\n", False),
        (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nLink: </b>\r\n\r\n", False),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 401 Unauthorized\r\n", True),
        (b"HTTP/1.1 100 A\r\n\r\nHTTP/1.1 103 B\r\nx: y\r\n\r\nHTTP/1.1 429 C\r\n", True),
        (b"HTTP/1.1 103 B\nx: y\n\nHTTP/1.1 429 C\n", True),
        (b"HTTP/1.1 103 B\r\nx: HTTP/1.1 413 C\r\n", False),
        (b"HTTP/1.1 200 OK\r\n", False),
        (b"HTTP/1.1 2000 OK\r\n", True),
        (b"220 mail ready\r\n", True),
        (b"\r\n", True),
    ],
)
def test_refusal_before_the_request_is_whole(received: bytes, refusal: bool) -> None:
    """Interim responses and successes do not stop the request."""
    assert is_early_refusal(received) is refusal
