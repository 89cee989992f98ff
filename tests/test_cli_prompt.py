"""What is typed ahead, taken apart. Prompts on a real terminal are in test_cli_session.py."""

from __future__ import annotations

from tables import each

from websopy_sync.cli.prompt import typed_lines

BEGIN, END = "\x1b[200~", "\x1b[201~"


@each(
    ("text", "lines", "begun"),
    [
        ("", [], ""),
        ("one\n", ["one"], ""),
        ("one\ntwo\n", ["one", "two"], ""),
        ("one\r\ntwo", ["one", ""], "two"),
        ("\n\n", ["", ""], ""),
        ("half", [], "half"),
        (f"{BEGIN}one\ntwo{END}\n", ["one\ntwo"], ""),
        (f"{BEGIN}one\rtwo{END}\n", ["one\ntwo"], ""),
        (f"see {BEGIN}one\n  two{END} there\nnext\n", ["see one\n  two there", "next"], ""),
        (f"{BEGIN}one\n{END}{BEGIN}two{END}", [], "one\ntwo"),
        (f"first\n{BEGIN}one\ntw", ["first"], "one\ntw"),
        (f"{END}one\n", ["one"], ""),
        ("o\x1b[An\x1b[1;5De\x1bOP\x1b\n", ["one"], ""),
        ("a\tb\x01\x7f\n", ["a\tb"], ""),
        (f"{BEGIN}a\x1b[31mb{END}\n", ["a\x1b[31mb"], ""),
        ("写\udcff\n", ["写\udcff"], ""),
    ],
)
def test_typed_lines(text: str, lines: list[str], begun: str) -> None:
    """A line is a message, a paste is one whatever it holds, and keys leave no characters."""
    assert typed_lines(text) == (lines, begun)


def test_a_line_that_was_begun_earlier() -> None:
    """It goes on, with the lines of a paste in it."""
    assert typed_lines("ee\nfour\nfi", begun="one\nthr") == (["one\nthree", "four"], "fi")
