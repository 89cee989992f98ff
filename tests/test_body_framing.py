"""Framing of a body, fed in pieces of any size."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import each

from websopy_sync.errors import StreamProtocolError
from websopy_sync.transport.body_framing import (
    MAX_LINE,
    ChunkedReader,
    ContentLengthReader,
    UntilCloseReader,
    body_reader_for,
)


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def feed(body: Any, pieces: Sequence[bytes]) -> list[bytes]:
    """The payload after each piece."""
    return [body.feed(piece) for piece in pieces]


def chunked(*chunks: bytes, trailers: bytes = b"") -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))[:-2] + (
        trailers + b"\r\n"
    )


# --- chunked -------------------------------------------------------------------------------------

GOOD: list[tuple[bytes, bytes]] = [
    (b"0\r\n\r\n", b""),
    (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
    (b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", b"hello world"),
    (b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", b"0123456789" * 2),
    (b"005\r\nhello\r\n000\r\n\r\n", b"hello"),
    (b"5;name=value\r\nhello\r\n0;last\r\n\r\n", b"hello"),
    (b'5;a="b;c"\r\nhello\r\n0\r\n\r\n', b"hello"),
    (b"5 \r\nhello\r\n0\t\r\n\r\n", b"hello"),
    (b"5 ; x\r\nhello\r\n0\r\n\r\n", b"hello"),
    (b"7\r\na\r\n0\r\n\r\r\n0\r\n\r\n", b"a\r\n0\r\n\r"),
    (b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n"),
    (b"1\r\nx\r\n0\r\nX-Sum: 1\r\nB: 2\r\n\r\n", b"x"),
]


@each(("wire", "payload"), GOOD)
def test_chunked_in_pieces_of_any_size(wire: bytes, payload: bytes) -> None:
    """The same payload however the bytes come, and the end is seen at its last byte."""
    for size in range(1, len(wire) + 1):
        body = ChunkedReader()
        pieces = cut(wire, size)
        got = b"".join(body.feed(piece) for piece in pieces[:-1])
        assert not body.complete
        assert got + body.feed(pieces[-1]) == payload
        assert body.complete


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=8),
    st.randoms(use_true_random=False),
)
def test_any_chunks_in_any_pieces(chunks: list[bytes], source: random.Random) -> None:
    """A property over payloads and cuts."""
    wire = chunked(*chunks, trailers=b"T: 1\r\n")
    body, got = ChunkedReader(), b""
    while wire:
        size = source.randint(1, 9)
        got += body.feed(wire[:size])
        wire = wire[size:]
    assert got == b"".join(chunks)
    assert body.complete


_sizes_again = st.sampled_from([b"a", b"bc", b"\r\n", b"0\r\n\r\n", b"\r"])


@given(st.lists(st.tuples(_sizes_again, st.none() | st.integers(1, 9)), max_size=12))
def test_whole_chunks_of_sizes_met_before(chunks: list[tuple[bytes, int | None]]) -> None:
    """Each comes by itself, or cut in two: the same payload, and the same end."""
    body, got = ChunkedReader(), b""
    for chunk, place in chunks:
        wire = b"%x\r\n%b\r\n" % (len(chunk), chunk)
        got += body.feed(wire[:place])
        got += body.feed(wire[place:]) if place else b""
    assert not body.complete
    assert got + body.feed(b"0\r\n\r\n") == b"".join(chunk for chunk, _ in chunks)
    assert (body.complete, body.trailing_data, body.failure) == (True, False, "")


LIKE_A_CHUNK = b"5\r\nhello\r\n"


@pytest.mark.parametrize(
    ("pieces", "payload"),
    [
        ([b"a\r\n", LIKE_A_CHUNK, b"\r\n"], LIKE_A_CHUNK),
        ([b"1", LIKE_A_CHUNK, b"x" * 14 + b"\r\n"], b"hello\r\n" + b"x" * 14),
        ([b"0\r\n", LIKE_A_CHUNK], b""),
    ],
    ids=["in a chunk", "in a size", "in the trailers"],
)
def test_what_only_looks_like_a_chunk(pieces: list[bytes], payload: bytes) -> None:
    """Payload, sizes and trailers may come as bytes that were a chunk elsewhere."""
    body = ChunkedReader()
    body.feed(LIKE_A_CHUNK)
    assert b"".join(map(body.feed, pieces)) == payload
    assert (body.complete, body.failure) == (False, "")


@pytest.mark.parametrize("bad", [b"5\r\nhelloXY", b"5\r\nhello\rX", b"5\r\nhelloX\r\n"])
def test_a_bad_chunk_of_a_size_met_before(bad: bytes) -> None:
    """A good one before it makes it no better."""
    body = ChunkedReader()
    assert body.feed(b"5\r\nhello\r\n") == b"hello"
    body.feed(bad)
    assert body.failure


def test_payload_comes_at_once_out_of_a_chunk_that_is_still_arriving() -> None:
    """PROMISE 9: one HTTP chunk that trickles holds nothing back."""
    body = ChunkedReader()
    assert feed(body, [b"ff\r\n", b"da", b"ta", b": x\n"]) == [b"", b"da", b"ta", b": x\n"]


def test_payload_before_the_chunks_line_end_is_not_held_back() -> None:
    """The CRLF after a chunk may come much later than its last byte."""
    body = ChunkedReader()
    assert feed(body, [b"3\r\nabc", b"\r", b"\n1\r\nd", b"\r\n"]) == [b"abc", b"", b"d", b""]


def test_small_chunks_that_came_together_are_one() -> None:
    """One look at the events for one receive."""
    assert ChunkedReader().feed(b"1\r\na\r\n1\r\nb\r\n1\r\nc\r\n") == b"abc"


def test_end_of_the_connection_completes_no_chunked_body() -> None:
    """A cut inside a chunk, between chunks, and inside the trailers."""
    for wire in (b"5\r\nhel", b"5\r\nhello\r\n", b"5\r\nhello\r\n0\r\n", b"0\r\nX: 1\r\n", b""):
        body = ChunkedReader()
        body.feed(wire)
        assert body.end() is False, wire
        assert not body.complete, wire


BAD = [
    b"\r\n",
    b"zz\r\n",
    b"-5\r\nhello\r\n",
    b"+5\r\nhello\r\n",
    b"1_0\r\nhello\r\n",
    b"0x5\r\nhello\r\n",
    b" 5\r\nhello\r\n",
    b"5,5\r\nhello\r\n",
    b"5.0\r\nhello\r\n",
    b"\xd9\xa5\r\nhello\r\n",
    b"12345678901234567\r\n",
    b"5\r\nhelloX\r\n0\r\n\r\n",
    b"5\r\nhello\n0\r\n\r\n",
    b"5\r\nhello0\r\n\r\n",
    b"5\r\nhello\r0\r\n\r\n",
    b"5\rhello\r\n0\r\n\r\n",
    b"HTTP/1.1 500 x\r\n",
]


@each("wire", BAD)
@each("size", [1, 2, 100])
def test_bad_chunks_are_a_failure(wire: bytes, size: int) -> None:
    """int() would take some of these; what follows would be read at the wrong place."""
    body = ChunkedReader()
    for piece in cut(wire, size):
        body.feed(piece)
        if body.failure:
            break
    assert "HTTP chunk" in body.failure
    assert not body.complete


def test_what_came_before_a_bad_chunk_is_given() -> None:
    """However it was cut: the failure comes after it."""
    for size in (1, 5, 100):
        body = ChunkedReader()
        assert b"".join(feed(body, cut(b"5\r\nhello\r\n3\r\nabc\r\nzz\r\n", size))) == b"helloabc"
        assert body.failure


def test_good_bodies_have_no_failure() -> None:
    """Of no kind."""
    for body in (ChunkedReader(), ContentLengthReader(2), UntilCloseReader()):
        body.feed(b"0\r\n\r\n")
        assert body.failure == ""


@each("head", [b"", b"5;", b"0\r\nX: "])
@each("size", [1000, 10**6])
def test_lines_without_end_are_refused(head: bytes, size: int) -> None:
    """At most 64 KiB of a size line or of trailers, then it is no body."""
    body = ChunkedReader()
    taken = 0
    for piece in cut(head + b"0" * 3 * MAX_LINE, size):
        body.feed(piece)
        taken += len(piece)
        if body.failure:
            break
    assert str(MAX_LINE) in body.failure
    assert taken <= max(size, MAX_LINE + 2 * size)


def test_trailers_without_end_are_refused() -> None:
    """Many short ones, too."""
    body = ChunkedReader()
    body.feed(b"0\r\n")
    for _ in range(MAX_LINE):
        body.feed(b"A: b\r\n")
        if body.failure:
            break
    assert "trailers" in body.failure and not body.complete


def test_chunked_memory_does_not_grow() -> None:
    """A stream of ever new chunk sizes and extensions leaves nothing in memory."""
    body = ChunkedReader()
    tracemalloc.start()
    try:
        for number in range(30_000):
            body.feed(b"1;n=%d\r\nx\r\n" % number)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


# --- length and close ----------------------------------------------------------------------------


def test_length_ends_by_count() -> None:
    """What follows the body on the connection is not the body's."""
    body = ContentLengthReader(5)
    assert feed(body, [b"he", b"", b"l"]) == [b"he", b"", b"l"]
    assert not body.complete
    assert body.feed(b"loHTTP/1.1") == b"lo"
    assert body.complete
    assert body.feed(b"more") == b""


def test_empty_body_is_complete_from_the_start() -> None:
    """Nothing has to be waited for."""
    assert ContentLengthReader(0).complete


def test_length_cut_short_is_not_complete() -> None:
    """The connection ended too early."""
    body = ContentLengthReader(5)
    body.feed(b"hell")
    assert body.end() is False
    assert not body.complete
    body.feed(b"o")
    assert body.end() is True


def test_close_ends_with_the_connection() -> None:
    """All bytes are payload, and the end is as good as any."""
    body = UntilCloseReader()
    assert feed(body, [b"a", b"", b"b"]) == [b"a", b"", b"b"]
    assert not body.complete
    assert body.end() is True
    assert body.complete


@each(
    ("body", "wire", "trailing_data"),
    [
        (ContentLengthReader(2), b"ab", False),
        (ContentLengthReader(2), b"abc", True),
        (ContentLengthReader(0), b"HTTP/1.1 200 OK", True),
        (ChunkedReader(), b"1\r\na\r\n0\r\n\r\n", False),
        (ChunkedReader(), b"1\r\na\r\n0\r\nT: 1\r\n\r\n", False),
        (ChunkedReader(), b"1\r\na\r\n0\r\n\r\nHTTP/1.1 200 OK", True),
        (ChunkedReader(), b"1\r\na\r\n", False),
        (UntilCloseReader(), b"all of it", False),
    ],
)
def test_what_follows_a_body_is_seen(body: Any, wire: bytes, trailing_data: bool) -> None:
    """A connection with bytes of no response must not be used again."""
    body.feed(wire)
    assert body.trailing_data is trailing_data


@each(
    ("status", "headers", "kind"),
    [
        (200, {"transfer-encoding": "chunked"}, ChunkedReader),
        (200, {"transfer-encoding": " Chunked "}, ChunkedReader),
        (200, {"transfer-encoding": "chunked", "content-length": "5"}, ChunkedReader),
        (200, {"content-length": "5"}, ContentLengthReader),
        (200, {"content-length": " 5 "}, ContentLengthReader),
        (200, {"content-length": "5, 5"}, ContentLengthReader),
        (200, {"content-length": "0"}, ContentLengthReader),
        (200, {}, UntilCloseReader),
        (500, {}, UntilCloseReader),
        (204, {"content-length": "5"}, ContentLengthReader),
        (304, {"transfer-encoding": "chunked"}, ContentLengthReader),
    ],
)
def test_framing_that_the_head_announces(
    status: int, headers: dict[str, str], kind: type[object]
) -> None:
    """RFC 9112 6.3, in its order."""
    body = body_reader_for(status, headers)
    assert type(body) is kind
    assert body.complete == (status in (204, 304) or headers.get("content-length") == "0")


@each(
    "headers",
    [
        {"transfer-encoding": "gzip"},
        {"transfer-encoding": "gzip, chunked"},
        {"transfer-encoding": "chunked, chunked"},
        {"transfer-encoding": "identity"},
        {"content-length": "-5"},
        {"content-length": "+5"},
        {"content-length": "5_0"},
        {"content-length": "0x5"},
        {"content-length": "5.0"},
        {"content-length": "5 5"},
        {"content-length": "5, 6"},
        {"content-length": "٥"},
        {"content-length": "²"},
    ],
)
def test_framing_that_cannot_be_trusted(headers: dict[str, str]) -> None:
    """A wrong guess would read one response as the next."""
    with pytest.raises(StreamProtocolError):
        body_reader_for(200, headers)


@pytest.mark.parametrize("length", ["9" * 18, "9" * 19, "9" * 100, "9" * 5000])
def test_absurd_length_is_no_foreign_error(length: str) -> None:
    """int() refuses more than 4,300 digits; so long a body never ends anyway."""
    body = body_reader_for(200, {"content-length": length})
    assert body.feed(b"x" * 1000) == b"x" * 1000
    assert not body.complete
