"""Halves of surrogate pairs: replaced, joined, split off."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from websopy_sync.surrogates import scalar_text, split_half

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
    ("text", "before", "half"),
    [
        ("", "", ""),
        ("a", "a", ""),
        ("a" + HIGH, "a", HIGH),
        (HIGH, "", HIGH),
        ("a" + LOW, "a" + LOW, ""),
        (HIGH + HIGH, HIGH, HIGH),
    ],
    ids=ascii,
)
def test_split_half(text: str, before: str, half: str) -> None:
    """Only the first half of a pair can be completed by what comes next."""
    assert split_half(text) == (before, half)


@pytest.mark.parametrize("code", [0xD800, 0xDBFF, 0xD7FF, 0xDC00], ids=hex)
def test_first_halves(code: int) -> None:
    """U+D800 to U+DBFF are the first halves (Unicode 3.8, D71)."""
    assert (split_half(chr(code))[1] != "") == (0xD800 <= code <= 0xDBFF)
