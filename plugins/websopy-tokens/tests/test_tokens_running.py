"""The running count: what tiktoken says of the whole, however the text was cut."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable, Iterable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from websopy_tokens import PuretiktokenCounter, RunningCount
from websopy_tokens.cuts import LONGEST_PART

Oracle = Callable[[str, str], int]

ENGLISH = (
    "The quick brown fox can't jump over 12,345 lazy dogs; it's 3.14159 times too tired, "
    "isn't it? \"No,\" they'd said — 'we'll see'.\n\nYours,  J. O'Neill\n"
) * 3
CHINESE = (
    "人工智能正在改变世界。从搜索引擎到自动驾驶,它已经走进了我们的日常生活!"
    "2026年,大约有1,234家公司(包括初创企业)在用它写作、翻译、编程……"
    "“你好”,她说:‘这是什么?’\n第二段:没有标点的一句话也应该能数得很准确才对\n"
) * 3
CODE = (
    "def f(x: int) -> dict[str, list[int]]:\n    '''Doc.'''\n    return {'a': [x**2, 0xFF]}\n\n"
    "for(;;){\n\tif (a!=b && c<=d) { std::vector<int> v{1,2,3}; }\n}\r\n//--------\n/* x */ /\n"
    "SELECT * FROM t WHERE id='7' AND name LIKE '%o\\'k%';\n\n\n   \n\t\t\n"
) * 3
EMOJI = "👍🏽👩‍👩‍👧‍👦🇩🇪❤️ok👌 so 😀😀😀! 1️⃣2️⃣ (╯°□°)╯︵ ┻━┻ ñ é é ﷽ 𝒜𝓑 ﬁ ½² Ⅷ"
TEXTS = {"english": ENGLISH, "chinese": CHINESE, "code": CODE, "emoji": EMOJI * 3}

ALPHABETS = (
    "abcdeSTLVREDMſK",
    "你好世界写文章的了",
    "。,!?、:;()“”《》…",
    "'’`\"",
    " \t\u00a0\u3000\u2003\x0b\x0c\x85\u2028\u1680\u200b\x1c",
    "\r\n",
    "/\\|-_=+*#.,;:!?()[]{}<>@$%^&~",
    "0123456789٣४Ⅷ½²",
    "😀👍🏽❤\ufe0f\u200d🇩🇪",
    "éüßñÉÑDžʰªº\u0301\u0308\u064b\u0e31\u093e",
    "กขฃคไทยहिन्दीمرحبا한국어こんにちはカタカナー",
    "\x00\x01\x7f\ufffd\ue000𝒜𝓑𐐀𐐨",
)
# Python and tiktoken each bring a Unicode of their own age; on what was there in 2002 they agree.
OLD = unicodedata.ucd_3_2_0
mixed = st.one_of(
    st.lists(st.sampled_from(ALPHABETS).flatmap(st.sampled_from), max_size=300).map("".join),
    st.lists(st.sampled_from(ALPHABETS), min_size=1, max_size=3).flatmap(
        lambda some: st.text(st.sampled_from("".join(some)), max_size=400)
    ),
    st.text(st.characters(exclude_categories=["Cs"]).filter(lambda c: OLD.category(c) != "Cn")),
)


@pytest.fixture(scope="module", params=["o200k_base", "cl100k_base"])
def counter(request: pytest.FixtureRequest) -> PuretiktokenCounter:
    return PuretiktokenCounter(request.param)


def pieces(text: str, seed: int, longest: int) -> Iterable[str]:
    """The text in pieces of 1 to `longest` characters."""
    rng, start = random.Random(seed), 0
    while start < len(text):
        size = rng.randint(1, longest)
        yield text[start : start + size]
        start += size


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("size", [1, 2, 7, 64, 100_000])
def test_known_texts(counter: PuretiktokenCounter, oracle: Oracle, kind: str, size: int) -> None:
    """English, Chinese, code and emoji come out as tiktoken counts them, at every moment."""
    text, running = TEXTS[kind], RunningCount(counter)
    for start in range(0, len(text), size):
        running.feed(text[start : start + size])
        if start % 7 == 0:
            assert running.total == oracle(counter.encoding, text[: start + size])
    assert running.total == oracle(counter.encoding, text)


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(text=mixed, seed=st.integers(0, 2**32), longest=st.integers(1, 40))
@example(text="a'll" * 40, seed=1, longest=3)
@example(text="x \n /y\r\n" * 40, seed=1, longest=3)
def test_any_text_cut_anywhere(
    counter: PuretiktokenCounter, oracle: Oracle, text: str, seed: int, longest: int
) -> None:
    """The running total of any text is tiktoken's count of the whole, however it is cut."""
    running = RunningCount(counter)
    for piece in pieces(text, seed, longest):
        running.feed(piece)
    assert running.total == oracle(counter.encoding, text)
    assert running.at_most >= running.total


def test_text_is_not_counted_twice(oracle: Oracle) -> None:
    """Text with spaces or punctuation is counted once: what waits stays short."""

    class Spy(PuretiktokenCounter):
        characters = 0

        def count(self, text: str) -> int:
            self.characters += len(text)
            return super().count(text)

    spy = Spy()
    running = RunningCount(spy)
    text = (CHINESE + ENGLISH + CODE) * 4
    for piece in pieces(text, 3, 4):
        running.feed(piece)
    assert running.total == oracle("o200k_base", text)
    assert spy.characters == len(text)


@pytest.mark.parametrize(
    "text",
    ["x" * 3000, "你" * 3000, "-" * 3000, " " * 3000, "😀" * 1500, "ab1" * 1000, "😀-你" * 900],
    ids=["letters", "chinese", "signs", "spaces", "emoji", "hexadecimal", "mixed"],
)
def test_row_without_a_cut(counter: PuretiktokenCounter, oracle: Oracle, text: str) -> None:
    """A row that offers no cut is counted within a token or two for each 510 characters,
    and alike however it came."""
    totals = set()
    for longest in (1, 5, 10_000):
        running = RunningCount(counter)
        for piece in pieces(text, 7, longest):
            running.feed(piece)
        totals.add(running.total)
    assert len(totals) == 1
    allowed = 2 * (len(text) // LONGEST_PART)
    assert abs(totals.pop() - oracle(counter.encoding, text)) <= allowed


def test_row_of_digits_is_exact(counter: PuretiktokenCounter, oracle: Oracle) -> None:
    """Digits go in threes from the start of their row, so a forced cut loses nothing."""
    text = "3." + "14159265" * 500
    running = RunningCount(counter)
    for piece in pieces(text, 5, 9):
        running.feed(piece)
    assert running.total == oracle(counter.encoding, text)


def test_end_part(counter: PuretiktokenCounter) -> None:
    """After end_part() the next text stands alone, as a tool call's arguments do."""
    running = RunningCount(counter)
    running.feed("hel")
    running.end_part()
    running.feed("lo")
    assert counter.count("hello") == 1
    assert running.total == counter.count("hel") + counter.count("lo")


def test_nothing_is_counted_before_it_must() -> None:
    """A short text loads no vocabulary until its total is asked for."""
    lazy = PuretiktokenCounter()
    running = RunningCount(lazy)
    running.feed("only a few words")
    assert not lazy.loaded and running.at_most == 16
    assert running.total == 4 and lazy.loaded
