"""Content-Encoding, fed in pieces of any size."""

from __future__ import annotations

import gzip
import random
import struct
import tracemalloc
import zlib
from collections.abc import Sequence

import pytest
from tables import each

from websopy_sync.errors import StreamProtocolError
from websopy_sync.transport.content_coding import INFLATE_STEP, Inflater, inflater_for


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def inflate(inflater: Inflater, pieces: Sequence[bytes]) -> list[bytes]:
    """What each piece gives, all its steps together; no step above the bound."""
    results = []
    for piece in pieces:
        inflater.feed(piece)
        steps = []
        while step := inflater.take():
            assert len(step) <= INFLATE_STEP
            steps.append(step)
        results.append(b"".join(steps))
    return results


def _raw_deflate(data: bytes) -> bytes:
    engine = zlib.compressobj(wbits=-15)
    return engine.compress(data) + engine.flush()


TEXT = ("data: 世界 " * 3000).encode() + bytes(range(256))
GARBAGE = random.Random(3).randbytes(5000)
CODED = {
    "gzip": ("gzip", gzip.compress(TEXT)),
    "x-gzip": ("x-gzip", gzip.compress(TEXT)),
    "two members": ("gzip", gzip.compress(TEXT[:1000]) + gzip.compress(TEXT[1000:])),
    "zlib": ("deflate", zlib.compress(TEXT)),
    "raw deflate": ("deflate", _raw_deflate(TEXT)),
    "stored": ("gzip", gzip.compress(TEXT, 0)),
    # the first byte of a stored block may look like zlib's: its padding is free
    "raw deflate like zlib": (
        "deflate",
        b"\x08" + struct.pack("<HH", 5, 5 ^ 0xFFFF) + TEXT[:5] + _raw_deflate(TEXT[5:]),
    ),
}


@each(("coding", "data"), CODED.values())
@each("size", [1, 2, 3, 7, 1000, 10**6])
def test_inflating_in_pieces_of_any_size(coding: str, data: bytes, size: int) -> None:
    """The text comes back, and the coding's own end is seen."""
    inflater = Inflater(coding)
    assert b"".join(inflate(inflater, cut(data, size))) == TEXT
    assert inflater.complete


@each("late", range(10))
def test_members_that_are_cut_where_they_meet(late: int) -> None:
    """What ends the first comes with the second; one of them may hold nothing."""
    for texts in ([b"one", b"two"], [b"", b"two"], [b"one", b"", b"", b"two"]):
        first, *others = map(gzip.compress, texts)
        cut_at = len(first) - late
        inflater = Inflater("gzip")
        pieces = inflate(inflater, [first[:cut_at], first[cut_at:] + b"".join(others)])
        assert b"".join(pieces) == b"".join(texts)
        assert inflater.complete


def test_each_flush_comes_out_at_once() -> None:
    """PROMISE 9 in gzip: an event whose bytes are here is handed on."""
    engine = zlib.compressobj(wbits=31)
    events = [b"data: %d\n\n" % number for number in range(5)]
    pieces = [engine.compress(event) + engine.flush(zlib.Z_SYNC_FLUSH) for event in events]
    inflater = Inflater("gzip")
    assert inflate(inflater, pieces) == events
    assert not inflater.complete
    inflate(inflater, [engine.flush()])
    assert inflater.complete


def test_a_bomb_comes_in_bounded_steps() -> None:
    """PROMISE 17: 64 MiB in 64 KiB, one step after the other, never all at a time."""
    inflater = Inflater("gzip")
    inflater.feed(gzip.compress(b"\0" * (64 << 20), 9))
    tracemalloc.start()
    try:
        total = 0
        while step := inflater.take():
            total += len(step)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == 64 << 20
    assert peak < 1 << 20


@pytest.mark.slow
def test_nothing_stays_in_the_engine() -> None:
    """All that some bytes stand for comes out, also when the last step was just full."""
    coded = gzip.compress(b"\0" * 2_000_000, 9)
    for length in range(20, 1000):
        expected = zlib.decompressobj(31).decompress(coded[:length])
        assert inflate(Inflater("gzip"), [coded[:length]]) == [expected], length


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_exact_multiples_of_a_step(steps: int) -> None:
    """A step that is just full, and nothing after it."""
    text = random.Random(1).randbytes(steps * INFLATE_STEP)
    inflater = Inflater("gzip")
    assert inflate(inflater, [gzip.compress(text)]) == [text]
    assert inflater.complete


@each(
    ("coding", "data"),
    [
        ("gzip", b"plain text that is no gzip"),
        ("gzip", _raw_deflate(TEXT)),
        ("deflate", b"\xff\xff\xff\xff plain"),
        ("gzip", gzip.compress(TEXT)[:100] + GARBAGE),
        ("gzip", gzip.compress(TEXT)[:-8] + b"\0" * 8),
        ("deflate", zlib.compress(TEXT)[:100] + GARBAGE),
    ],
)
@each("size", [1, 50, 10**6])
def test_broken_coding_is_a_failure(coding: str, data: bytes, size: int) -> None:
    """No zlib.error comes out, and it is never complete."""
    inflater = Inflater(coding)
    for piece in cut(data, size):
        inflate(inflater, [piece])
        if inflater.failure:
            break
    assert "cannot be inflated" in inflater.failure


@pytest.mark.parametrize("size", [1, 7, 10**6])
def test_what_came_before_a_broken_byte_is_given(size: int) -> None:
    """Each flushed event before it, however it was cut; the failure comes after them."""
    engine = zlib.compressobj(wbits=31)
    events = [b"data: %d\n\n" % number for number in range(5)]
    coded = b"".join(engine.compress(event) + engine.flush(zlib.Z_SYNC_FLUSH) for event in events)
    inflater = Inflater("gzip")
    got = b"".join(inflate(inflater, cut(coded + b"\xff" * 50, size)))
    assert got == b"".join(events)
    assert inflater.failure


def test_coding_cut_short_is_not_complete() -> None:
    """What came is given; that the end is missing is known."""
    inflater = Inflater("gzip")
    inflate(inflater, [gzip.compress(TEXT)[:-1]])
    assert not inflater.complete


def test_no_bytes_are_a_complete_coding() -> None:
    """A server may announce gzip for an empty body."""
    assert Inflater("gzip").complete


@pytest.mark.parametrize("value", [None, "", "identity", " Identity "])
def test_no_coding(value: str | None) -> None:
    """Nothing to undo."""
    assert inflater_for({} if value is None else {"content-encoding": value}) is None


@pytest.mark.parametrize("value", ["gzip", "GZIP", " x-gzip", "deflate"])
def test_known_codings(value: str) -> None:
    """In any case of letters."""
    assert isinstance(inflater_for({"content-encoding": value}), Inflater)


@each("value", ["br", "zstd", "gzip, gzip", "gzip, identity", "compress", "x"])
def test_unknown_and_stacked_codings_are_refused(value: str) -> None:
    """One coding, and one that inflates in bounded steps."""
    with pytest.raises(StreamProtocolError, match="Content-Encoding"):
        inflater_for({"content-encoding": value})
