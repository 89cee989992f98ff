"""Halves of surrogate pairs: replaced, and joined over pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from websopy_sync.surrogates import SurrogateJoiner, scalar_text

HIGH, LOW = chr(0xD83D), chr(0xDE00)
texts = st.lists(st.sampled_from(["a", "世", "😀", HIGH, LOW]), max_size=9).map("".join)


@pytest.mark.parametrize(
    ("text", "scalar"),
    [
        ("", ""),
        ("a世😀", "a世😀"),
        (HIGH + LOW, "😀"),
        (HIGH, "\ufffd"),
        ("a" + LOW + "b", "a\ufffdb"),
        (LOW + HIGH, "\ufffd\ufffd"),
        (HIGH + HIGH + LOW, "\ufffd😀"),
    ],
    ids=ascii,
)
def test_scalar_text(text: str, scalar: str) -> None:
    """Pairs become one character, lone halves U+FFFD."""
    assert scalar_text(text) == scalar


@given(texts)
def test_scalar_text_can_be_encoded(text: str) -> None:
    """Whatever halves a text has; a second time changes nothing."""
    scalar = scalar_text(text)
    scalar.encode()
    assert scalar_text(scalar) == scalar


@pytest.mark.parametrize(
    ("pieces", "joined", "end"),
    [
        (["", "a"], ["", "a"], ""),
        (["a" + HIGH, LOW + "b"], ["a", "😀b"], ""),
        ([HIGH, "", LOW], ["", "", "😀"], ""),
        ([HIGH, HIGH, LOW], ["", "\ufffd", "😀"], ""),
        ([HIGH, "x"], ["", "\ufffdx"], ""),
        (["a" + LOW], ["a\ufffd"], ""),
        (["a" + HIGH], ["a"], "\ufffd"),
    ],
    ids=ascii,
)
def test_joining(pieces: list[str], joined: list[str], end: str) -> None:
    """Only a first half at the end of a piece is held; its other half makes it a character."""
    joiner = SurrogateJoiner()
    assert [joiner.join(piece) for piece in pieces] == joined
    assert (joiner.flush(), joiner.flush(), joiner.half) == (end, "", "")


@given(st.lists(texts, max_size=6))
def test_joining_any_pieces(pieces: list[str]) -> None:
    """The pieces join to the text that they were cut from, and each can be encoded."""
    joiner = SurrogateJoiner()
    joined = [*(joiner.join(piece) for piece in pieces), joiner.flush()]
    assert "".join(joined) == scalar_text("".join(pieces))
    "".join(joined).encode()


@pytest.mark.parametrize("code", [0xD800, 0xDBFF, 0xD7FF, 0xDC00], ids=hex)
def test_first_halves(code: int) -> None:
    """U+D800 to U+DBFF are the first halves (Unicode 3.8, D71)."""
    joiner = SurrogateJoiner()
    joiner.join(chr(code))
    assert (joiner.half != "") == (0xD800 <= code <= 0xDBFF)
