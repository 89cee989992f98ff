"""A body that is read as a whole, cut anywhere."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from websopy_sync.errors import StreamProtocolError
from websopy_sync.whole_body import BodyDecoder


def text_of(*pieces: bytes) -> str:
    """The text of a body that comes in these pieces."""
    decoder = BodyDecoder(max_size=1000)
    return "".join(data for piece in pieces for _, data, _, _ in decoder.take(piece))


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=30) | st.text(max_size=9).map(str.encode), st.integers(1, 5))
def test_any_cut_gives_the_same_text(data: bytes, size: int) -> None:
    """UTF-8 without a byte order mark, U+FFFD for what is none; half a character waits."""
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    whole = data.decode("utf-8-sig", "replace")
    assert text_of(*pieces) == text_of(data)
    assert text_of(*pieces).rstrip("\ufffd") == whole.rstrip("\ufffd")


def test_a_body_that_is_too_large() -> None:
    """PROMISE 16: it may have max_size bytes, in however many pieces."""
    decoder = BodyDecoder(max_size=8)
    decoder.take(b"1234"), decoder.take(b"5678")
    with pytest.raises(StreamProtocolError, match="at most 8 bytes"):
        decoder.take(b"9")
