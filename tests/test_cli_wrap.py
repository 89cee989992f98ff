"""Line ends between words: on the screen of a terminal emulator, cut into pieces anywhere."""

from __future__ import annotations

import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from screens import shown
from tables import each

from websopy_sync.cli.wrap import Wrapper, cells, line_starts


def wrapped(text: str, columns: int, *, piece: int = 1) -> str:
    """What is written for a text that comes in pieces."""
    wrapper = Wrapper(lambda: columns)
    return "".join(
        wrapper.write(text[start : start + piece]) for start in range(0, len(text), piece)
    )


PIECES = [*"abc.,-(/*`~#éß人工，。（）“”한국あー😀\u3000 \n\t❤♥", "x\u0301", "```\n"]
WORDS = st.lists(st.sampled_from(PIECES), max_size=60).map("".join)


@each(
    ("text", "lines"),
    [
        ("one two three four", ["one two", "three", "four"]),
        ("a word-that fits", ["a", "word-that", "fits"]),
        ("exactly 9 x", ["exactly 9", "x"]),
        ("123456789 123456789 1", ["123456789", "123456789", "1"]),
        ("one two\nthree", ["one two", "three"]),
        ("ends here\n\nnext", ["ends here", "", "next"]),
        ("spaces    at the end", ["spaces", "at the", "end"]),
        ("a https://example.com/x b", ["a", "https://ex", "ample.com/", "x b"]),
        ("人工智能正在", ["人工智能", "正在"]),
        ("医疗、教育和、通", ["医疗、教", "育和、通"]),
        ("人工智能。正在", ["人工智", "能。正在"]),
        ("人工智（真）", ["人工智", "（真）"]),
        ("use 中文 in it", ["use 中文", "in it"]),
        ("abcdefghiー x", ["abcdefghi", "ー x"]),
        ("한국어 단어를 쓴다", ["한국어", "단어를", "쓴다"]),
        ("cafx\u0301 cafx\u0301s", ["cafx\u0301", "cafx\u0301s"]),
        ("tab\there it is", ["tab", "here it", "is"]),
        ("  indented words", ["", "indented", "words"]),
        (
            "```\na long line of code\n```\nand words again",
            ["```", "a long lin", "e of code", "```", "and words", "again"],
        ),
        (
            "- ~~~sh\n  echo a b c\n  ~~~\nwords after it",
            ["- ~~~sh", "  echo a b", " c", "  ~~~", "words", "after it"],
        ),
        ("``` is `not` a fence", ["``` is", "`not` a", "fence"]),
    ],
)
def test_lines(text: str, lines: list[str]) -> None:
    """Words move to the next line as a whole; code and long words break at the edge."""
    for piece in (1, 2, 3, 5, 100):
        assert shown(wrapped(text, 10, piece=piece), columns=10) == lines, piece


@given(text=WORDS.map(lambda text: text.replace("\n", "")), width=st.integers(2, 14))
def test_a_whole_line(text: str, width: int) -> None:
    """Its rows fit, hold all of it, and break words only where these are longer than a row."""
    rows = [text[start:end] for start, end in pairwise([0, *line_starts(text, width), len(text)])]
    assert "".join(rows) == text
    for row in rows:
        assert sum(map(cells, row.rstrip())) <= width or len(row) == 1


def test_a_tab_in_code() -> None:
    """It stays one, except at the edge, where what follows would overwrite the last column."""
    assert wrapped("```\na\tb\n```", 12) == "```\na\tb\n```"
    assert shown(wrapped("```\n123456789\tb\n1234567890\tb", 10), columns=10) == [
        "```",
        "123456789",
        "b",
        "1234567890",
        " b",
    ]


def test_a_joined_emoji_stays_whole() -> None:
    """Its characters are never on two lines, however many cells a terminal gives them."""
    family = "👩\u200d👩\u200d👧"
    for before in range(12):
        out = wrapped("x" * before + " " + family + " flag 🇩🇪", 12)
        assert family in out and "🇩🇪" in out
        assert out.count(family[0]) == 2


@each(
    ("text", "erased"),
    [("one two three", 1), ("人工智能。", 2), ("ab 한국어국", 6), ("12345 x\u0301yzz", 3)],
)
def test_only_the_word_is_erased(text: str, erased: int) -> None:
    """So many cells as its beginning takes: what stands before it may be a wide character."""
    assert wrapped(text, 10).count("\b") == erased


def test_nothing_waits() -> None:
    """What is written holds all of the text so far, in the middle of a word as well."""
    text = "The beginning of a word is shown when it comes, 中文 too."
    for end in range(1, len(text)):
        assert without_spaces("".join(shown(wrapped(text[:end], 12), columns=12))) == (
            without_spaces(text[:end])
        )


def test_a_new_width_holds_from_the_next_line() -> None:
    """A user who makes the window wider gets longer lines."""
    width = 10
    wrapper = Wrapper(lambda: width)
    out = wrapper.write("one two three ")
    width = 20
    out += wrapper.write("four five six seven eight")
    assert shown(out, columns=20) == ["one two", "three", "four five six seven", "eight"]


def test_mid_line() -> None:
    """It is known whether the last line has been ended."""
    wrapper = Wrapper(lambda: 10)
    states = []
    for piece in ("a", "\n", "```\n", "x", "\n"):
        wrapper.write(piece)
        states.append(wrapper.mid_line)
    assert states == [True, False, False, True, False]


def without_spaces(text: str) -> str:
    return re.sub(r"\s+", "", text)


@given(text=WORDS, columns=st.integers(2, 14), piece=st.integers(1, 7))
def test_nothing_is_lost_or_doubled(text: str, columns: int, piece: int) -> None:
    """The screen has the text's characters in their order, and spaces only where it has some."""
    lines = shown(wrapped(text, columns, piece=piece), columns=columns, rows=60)
    assert without_spaces("".join(lines)) == without_spaces(text)
    assert without_spaces(" ".join(lines)) == without_spaces(text)
    words = re.findall(r"\S+", text)
    for word in re.findall(r"\S+", " ".join(lines)):
        assert any(word in other for other in words), word


@given(text=WORDS, columns=st.integers(2, 14))
def test_pieces_do_not_matter(text: str, columns: int) -> None:
    """A text looks the same however it comes."""
    whole = shown(wrapped(text, columns, piece=len(text) or 1), columns=columns, rows=60)
    assert shown(wrapped(text, columns), columns=columns, rows=60) == whole


@given(
    words=st.lists(st.text(st.sampled_from("abcé"), min_size=1, max_size=9), max_size=12),
    columns=st.integers(10, 30),
)
def test_a_word_that_fits_is_never_broken(words: list[str], columns: int) -> None:
    """The words of the screen's lines are the words of the text."""
    lines = shown(wrapped(" ".join(words), columns), columns=columns, rows=60)
    assert " ".join(lines).split() == words


@each(
    ("character", "count"),
    [
        ("a", 1),
        ("é", 1),
        ("\u0301", 0),
        ("\u200d", 0),
        ("\u00ad", 1),
        ("中", 2),
        ("，", 2),
        ("😀", 2),
        ("\ufe0f", 1),
    ],
)
def test_cells(character: str, count: int) -> None:
    """As terminals count them."""
    assert cells(character) == count
