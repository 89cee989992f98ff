"""Where a text may be cut, by the two characters beside the place."""

from __future__ import annotations

import pytest
from websopy_tokens.cuts import last_cut


@pytest.mark.parametrize(
    ("before", "after"),
    ["a ", ". ", "1 ", "😀 ", "a.", "你。", "a1", ".1", "1a", "1.", "\n1", "\na", "\n#", "é,", "́ "],
)
def test_safe(before: str, after: str) -> None:
    """A piece ends here whatever stands around."""
    assert last_cut(before + after) == 1


@pytest.mark.parametrize(
    ("before", "after"),
    [
        "ab",  # inside a word
        "a'",  # can't
        " a",  # a space belongs to the word behind it
        "  ",
        " 1",  # o200k: of two spaces before a digit the second stands alone
        ".a",  # one sign belongs to the word behind it
        "..",
        "12",  # digits go in threes
        "a\n",
        ".\n",  # a line end belongs to the sign before it
        "\n ",  # a line of spaces may go on
        "\n/",  # o200k: [\r\n/]*
        "é́",  # a combining mark belongs to its letter
        "\U000e01f0a",  # not assigned when this was written: could be anything one day
    ],
)
def test_not_safe(before: str, after: str) -> None:
    """What comes could still change the piece that ends here, or it is inside one."""
    assert last_cut(before + after) == 0


def test_the_last_one_counts() -> None:
    """The later the cut, the less has to wait."""
    assert last_cut("one two three") == len("one two")
    assert last_cut("") == 0 == last_cut("x")
