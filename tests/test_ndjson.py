"""Lines of JSON, cut anywhere."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import each

from websopy_sync.errors import StreamProtocolError
from websopy_sync.ndjson import LineDecoder


def lines_of(*pieces: bytes) -> list[str]:
    decoder = LineDecoder()
    return [data for piece in pieces for _, data, _, _ in decoder.take(piece)]


@each(
    ("data", "lines"),
    [
        (b'{"a":1}\n{"b":2}\n', ['{"a":1}', '{"b":2}']),
        (b'{"a":1}\r\n\r\n\n \t\n{"b":2}\r\n', ['{"a":1}', '{"b":2}']),
        (b'\xef\xbb\xbf{"a":1}\n', ['{"a":1}']),
        (b'{"a":1}\n\xef\xbb\xbf{"b":2}\n', ['{"a":1}', '\ufeff{"b":2}']),
        ('{"a":"世界\u2028\x85"}\n'.encode(), ['{"a":"世界\u2028\x85"}']),
        (b'{"a":"\xff"}\n', ['{"a":"\ufffd"}']),
        (b'{"a":1}\n{"b":2}', ['{"a":1}']),
        (b'{"a":1}', []),
        (b"", []),
    ],
)
def test_lines(data: bytes, lines: list[str]) -> None:
    """LF ends a line, white space around it is nothing, and an unfinished one is dropped."""
    assert lines_of(data) == lines
    assert lines_of(*(data[i : i + 1] for i in range(len(data)))) == lines


@given(st.lists(st.binary(max_size=9), max_size=9), st.integers(1, 5))
def test_any_cut_gives_the_same_lines(lines: list[bytes], size: int) -> None:
    """Wherever the bytes are cut."""
    data = b"\n".join(lines)
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    assert lines_of(*pieces) == lines_of(data)


def test_each_line_comes_with_its_end() -> None:
    """No line waits for the next."""
    decoder = LineDecoder()
    assert list(decoder.take(b'{"a"')) == []
    assert list(decoder.take(b":1}\n{")) == [("message", '{"a":1}', "", False)]


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_line_that_is_too_large(end: bytes) -> None:
    """PROMISE 16: the lines before it are read, and nothing after it."""
    decoder = LineDecoder(max_event_size=8)
    events = iter(decoder.take(b"12345678\n" + b"x" * 9 + end))
    assert next(events)[1] == "12345678"
    with pytest.raises(StreamProtocolError, match="at most 8 bytes"):
        next(events)
    with pytest.raises(StreamProtocolError, match="at most 8 bytes"):
        list(decoder.take(b"1\n"))


def test_memory_stays_bounded() -> None:
    """PROMISE 16: a line that never ends takes no more than the limit allows."""
    decoder = LineDecoder(max_event_size=100_000)
    tracemalloc.start()
    try:
        with pytest.raises(StreamProtocolError):
            for _ in range(1000):
                list(decoder.take(b"x" * 1000))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 400_000


def test_it_cannot_be_resumed() -> None:
    """The format has no ids."""
    decoder = LineDecoder()
    list(decoder.take(b'{"id":"1"}\n'))
    assert (decoder.last_event_id, decoder.retry_ms, decoder.resumable) == ("", None, False)
