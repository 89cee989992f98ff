"""Lines that are redrawn: the screen always has the final ones and the growing ones, once each."""

from __future__ import annotations

import pyte
from hypothesis import given, settings
from hypothesis import strategies as st
from screens import lines_of, shown

from websopy_sync.cli.screen import Region

LINE = st.text(st.sampled_from("ab 中"), max_size=6).map(str.rstrip)
LINES = st.lists(LINE, max_size=6)
SIZE = {"columns": 20, "rows": 8}


@settings(max_examples=40)
@given(steps=st.lists(st.tuples(LINES, LINES), max_size=8))
def test_the_screen_has_every_line_once(steps: list[tuple[list[str], list[str]]]) -> None:
    """Whatever became final or changed, above and on the screen."""
    region, written = Region(), ""
    expected: list[str] = []
    for final, growing in steps:
        written += region.update(final, growing, **SIZE)
        expected += final
        whole = "\n".join([*expected, *growing[-7:]]).rstrip().split("\n")
        assert shown(written, **SIZE) == whole


@given(lines=LINES, more=st.lists(LINE, min_size=1, max_size=4))
def test_what_is_only_added_is_not_redrawn(lines: list[str], more: list[str]) -> None:
    """No code moves the cursor, so nothing flickers."""
    region = Region()
    region.update([], lines, columns=20, rows=24)
    assert "\x1b" not in region.update([], [*lines, *more], columns=20, rows=24)
    longer = [*lines, *more[:-1], more[-1] + "x"]
    assert region.update([], longer, columns=20, rows=24).strip("\n") == "x"


def test_growing_lines_that_are_final_now() -> None:
    """They stay as they are, whatever is drawn next."""
    region = Region()
    written = region.update([], ["one", "two"], **SIZE)
    assert region.update(["one"], ["two"], **SIZE) == ""
    written += region.update([], ["2"], **SIZE)
    assert shown(written, **SIZE) == ["one", "2"]


def test_nothing_changed() -> None:
    """Nothing is written."""
    region = Region()
    region.update([], ["a", "b"], **SIZE)
    assert region.update([], ["a", "b"], **SIZE) == ""


def test_one_changed_line() -> None:
    """The lines above it are left alone."""
    region = Region()
    region.update([], ["one", "two", "three"], **SIZE)
    written = region.update([], ["one", "two", "3"], **SIZE)
    assert "3" in written and "one" not in written and "two" not in written


def test_lines_higher_than_the_screen() -> None:
    """The last of them are shown, and all of them once they are final; nothing is smeared."""
    region, written = Region(), "before\n"
    for count in range(1, 30):
        lines = [f"{number} of {count}" for number in range(count)]
        written += region.update([], lines, **SIZE)
    assert shown(written, **SIZE)[-7:] == [f"{number} of 29" for number in range(22, 29)]
    written += region.update(lines, [], **SIZE)
    assert shown(written, **SIZE) == ["before", *lines]


def test_a_narrower_terminal() -> None:
    """A line that the terminal has folded since is taken back with all its rows."""
    region = Region()
    written = region.update([], ["first", "123456789 12345678"], columns=20, rows=8)
    narrow = region.update([], ["first", "123456789", "12345678!"], columns=10, rows=8)
    screen = pyte.HistoryScreen(10, 8)
    # As terminals fold what is on them: pyte cuts it off.
    pyte.Stream(screen).feed((written + narrow).replace("\n", "\r\n"))
    assert lines_of(screen) == ["first", "123456789", "12345678!"]


def test_styles_take_no_room() -> None:
    """What a row holds is counted without them."""
    region = Region()
    styled = "\x1b[1;35m" + "x" * 8 + "\x1b[0m"
    written = region.update([], ["first", styled], columns=10, rows=8)
    written += region.update([], ["first", "y"], columns=10, rows=8)
    assert shown(written, columns=10) == ["first", "y"]
